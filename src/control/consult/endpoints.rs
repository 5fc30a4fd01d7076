//! The endpoints of back ends: which is called, and what is known of each.

use std::collections::BTreeMap;
#[expect(
    clippy::disallowed_types,
    reason = "one thread has it, but what scrapes must be Sync"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::backend::{Breaker, BreakerState, Outcome};
use crate::limits::BREAKERS_MAX;

/// What is known of all endpoints that were called, by their URLs.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "see above")]
pub(super) struct Endpoints(Mutex<BTreeMap<String, Endpoint>>);

#[derive(Debug)]
struct Endpoint {
    breaker: Breaker,
    counts: Counts,
}

/// What has happened at one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::control) struct Counts {
    /// Calls that it answered.
    pub(in crate::control) succeeded: u64,
    /// Calls that came to nothing.
    pub(in crate::control) failed: u64,
    /// Calls that nobody waited for any more.
    pub(in crate::control) cancelled: u64,
    /// Calls that were kept away from it.
    pub(in crate::control) kept_away: u64,
    /// Times that its breaker opened.
    pub(in crate::control) opened: u64,
}

/// One call of one endpoint. Dropped without a word it was cancelled.
pub(super) struct Attempt {
    endpoints: Arc<Endpoints>,
    url: String,
    is_probe: bool,
    outcome: Outcome,
}

impl Attempt {
    /// The endpoint has answered, or not.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoints.ended(&self.url, self.outcome, self.is_probe, now());
    }
}

impl Endpoints {
    /// Begins a call, unless the endpoint's breaker is open.
    pub(super) fn begin(self: &Arc<Self>, url: &str) -> Option<Attempt> {
        let is_probe = self.with(url, |endpoint| {
            let may_begin = endpoint.breaker.may_begin(now());
            endpoint.counts.kept_away += u64::from(!may_begin);
            may_begin.then(|| endpoint.breaker.state() == BreakerState::HalfOpen)
        })?;
        let (endpoints, url) = (Arc::clone(self), url.to_owned());
        Some(Attempt { endpoints, url, is_probe, outcome: Outcome::Cancelled })
    }

    fn ended(&self, url: &str, outcome: Outcome, is_probe: bool, now: Instant) {
        self.with(url, |endpoint| {
            let Endpoint { breaker, counts } = endpoint;
            *match outcome {
                Outcome::Success => &mut counts.succeeded,
                Outcome::Failure => &mut counts.failed,
                Outcome::Cancelled => &mut counts.cancelled,
            } += 1;
            let was_open = breaker.state() != BreakerState::Closed;
            if breaker.ended(outcome, is_probe, now) {
                counts.opened += 1;
                tracing::warn!(url, "an endpoint fails: it is left alone for a while");
            } else if was_open && breaker.state() == BreakerState::Closed {
                tracing::info!(url, "an endpoint answers again");
            }
        });
    }

    /// What has happened at each, and where its breaker stands.
    pub(super) fn states(&self) -> Vec<(String, BreakerState, Counts)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = |(url, endpoint): (&String, &Endpoint)| {
            (url.clone(), endpoint.breaker.state(), endpoint.counts)
        };
        all.iter().map(state).collect()
    }

    fn with<T>(&self, url: &str, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        // One thread has it; the lock is for the compiler's sake.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(url) {
            if all.len() >= BREAKERS_MAX {
                all.clear();
            }
            let endpoint = Endpoint { breaker: Breaker::new(now()), counts: Counts::default() };
            all.insert(url.to_owned(), endpoint);
        }
        act(all.get_mut(url).expect("it is there now"))
    }
}

/// Tests stop this clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
