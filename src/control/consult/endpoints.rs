//! The endpoints of back ends: whether one may be called now, and what is known of each.
//!
//! ```text
//!   call ─▶ breaker open? ─no─▶ room at the endpoint ─▶ room in all ─▶ Attempt ─▶ Outcome
//!              └─yes─▶ Broken      └─ not in time ─▶ Full ◀┘
//! ```
//!
//! Invariant: an endpoint that hangs fills its own room and no other's, and its breaker opens
//! before three of them could fill that of all.

use std::collections::BTreeMap;
#[expect(
    clippy::disallowed_types,
    reason = "one thread has it, but what scrapes must be Sync"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::backend::{Breaker, BreakerState, Outcome, Proxies};
use crate::limits::{BACKEND_CALLS_ALL_MAX, BACKEND_CALLS_MAX, BREAKERS_MAX};

/// What is known of all endpoints that were called.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "see above")]
pub(super) struct Endpoints {
    known: Mutex<BTreeMap<Name, Endpoint>>,
    /// One permit for each call of any of them that may be under way.
    room: Arc<Semaphore>,
}

/// An endpoint by its proxy and its URL. The URL may hold a secret: logs and metrics are not told.
type Name = (String, String);

#[derive(Debug)]
struct Endpoint {
    breaker: Breaker,
    counts: Counts,
    /// One permit for each call that may be under way.
    room: Arc<Semaphore>,
}

impl Endpoint {
    fn new() -> Self {
        Self {
            breaker: Breaker::new(now()),
            counts: Counts::default(),
            room: Arc::new(Semaphore::new(BACKEND_CALLS_MAX)),
        }
    }
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
    /// Calls that were not made because too many were under way.
    pub(in crate::control) crowded_out: u64,
    /// Times that its breaker opened.
    pub(in crate::control) opened: u64,
}

/// One endpoint, as metrics tell of it.
#[derive(Clone, Debug)]
pub(in crate::control) struct EndpointState {
    /// The name of its proxy.
    pub(in crate::control) proxy: String,
    /// Its place among the endpoints of its proxy, from 1.
    pub(in crate::control) place: usize,
    pub(in crate::control) breaker: BreakerState,
    pub(in crate::control) counts: Counts,
    /// Calls that are under way.
    pub(in crate::control) open: usize,
}

/// Why an endpoint is not called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// It has failed too often.
    Broken,
    /// Too many calls were under way all the time.
    Full,
}

/// One call of one endpoint. Dropped without a word it was cancelled.
pub(super) struct Attempt {
    endpoints: Arc<Endpoints>,
    name: Name,
    is_probe: bool,
    outcome: Outcome,
    /// Its room there, and in all.
    _room: [OwnedSemaphorePermit; 2],
}

impl Attempt {
    /// The endpoint has answered, or not.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoints.ended(&self.name, self.outcome, self.is_probe);
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            known: BTreeMap::new().into(),
            room: Arc::new(Semaphore::new(BACKEND_CALLS_ALL_MAX)),
        }
    }
}

impl Endpoints {
    /// Begins a call as soon as there is room for it, unless the breaker is open by then.
    pub(super) async fn begin(
        self: &Arc<Self>,
        (proxy, url): (&str, &str),
        until: Instant,
    ) -> Result<Attempt, Unavailable> {
        let name = (proxy.to_owned(), url.to_owned());
        // Nobody waits for room in front of one that is left alone.
        let own = self.with(&name, |endpoint| {
            let is_kept_away = endpoint.breaker.keeps_away(now());
            endpoint.counts.kept_away += u64::from(is_kept_away);
            (!is_kept_away).then(|| Arc::clone(&endpoint.room))
        });
        let own = own.ok_or(Unavailable::Broken)?;
        let entering = async {
            // Its own first: who waits for that takes no room from others.
            let own = own.acquire_owned().await.expect("it is never closed");
            let all = Arc::clone(&self.room).acquire_owned().await.expect("it is never closed");
            [own, all]
        };
        let Ok(room) = timeout_at(until, entering).await else {
            self.with(&name, |endpoint| endpoint.counts.crowded_out += 1);
            return Err(Unavailable::Full);
        };
        let is_probe = self.with(&name, |endpoint| {
            let may_begin = endpoint.breaker.may_begin(now());
            endpoint.counts.kept_away += u64::from(!may_begin);
            may_begin.then(|| endpoint.breaker.state() == BreakerState::HalfOpen)
        });
        let is_probe = is_probe.ok_or(Unavailable::Broken)?;
        let (endpoints, outcome) = (Arc::clone(self), Outcome::Cancelled);
        Ok(Attempt { endpoints, name, is_probe, outcome, _room: room })
    }

    fn ended(&self, name: &Name, outcome: Outcome, is_probe: bool) {
        self.with(name, |endpoint| {
            let Endpoint { breaker, counts, .. } = endpoint;
            *match outcome {
                Outcome::Success => &mut counts.succeeded,
                Outcome::Failure => &mut counts.failed,
                Outcome::Cancelled => &mut counts.cancelled,
            } += 1;
            let was_open = breaker.state() != BreakerState::Closed;
            let proxy = &name.0;
            if breaker.ended(outcome, is_probe, now()) {
                counts.opened += 1;
                tracing::warn!(proxy, "an endpoint fails: it is left alone for a while");
            } else if was_open && breaker.state() == BreakerState::Closed {
                tracing::info!(proxy, "an endpoint answers again");
            }
        });
    }

    /// What is known of those that are configured now and were called.
    pub(super) fn states(&self, proxies: &Proxies) -> Vec<EndpointState> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = proxies.0.iter().flat_map(|(proxy, one)| {
            one.endpoints.iter().enumerate().map(move |(index, url)| (proxy, index + 1, url))
        });
        let state = |(proxy, place, url): (&String, usize, &String)| {
            let endpoint = known.get(&(proxy.clone(), url.clone()))?;
            Some(EndpointState {
                proxy: proxy.clone(),
                place,
                breaker: endpoint.breaker.state(),
                counts: endpoint.counts,
                open: BACKEND_CALLS_MAX - endpoint.room.available_permits(),
            })
        };
        all.filter_map(state).collect()
    }

    fn with<T>(&self, name: &Name, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        // One thread has it; the lock is for the compiler's sake.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(name) {
            if known.len() >= BREAKERS_MAX {
                known.clear();
            }
            known.insert(name.clone(), Endpoint::new());
        }
        act(known.get_mut(name).expect("it is there now"))
    }
}

/// Tests stop this clock.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Proxy;
    use crate::limits::BREAKER_FAILURES_MAX;

    const URL: &str = "http://127.0.0.1:1/?key=secret";

    async fn begin(endpoints: &Arc<Endpoints>, proxy: &str) -> Result<Attempt, Unavailable> {
        endpoints.begin((proxy, URL), Instant::now() + Duration::from_secs(1)).await
    }

    fn of(endpoints: &Endpoints, proxies: &[&str]) -> Vec<EndpointState> {
        let proxy = Proxy { endpoints: vec!["other".into(), URL.into()], ..Proxy::default() };
        let all = proxies.iter().map(|name| ((*name).to_owned(), proxy.clone()));
        endpoints.states(&Proxies(all.collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_full_keeps_nobody_from_another() {
        let endpoints = Arc::<Endpoints>::default();
        let mut calls = Vec::new();
        for _ in 0..BACKEND_CALLS_MAX {
            calls.push(begin(&endpoints, "slow").await.expect("there is room"));
        }
        assert_eq!(begin(&endpoints, "slow").await.err(), Some(Unavailable::Full));
        let other = begin(&endpoints, "other").await.expect("there is room");
        other.end(Outcome::Success);
        calls.pop();
        assert!(begin(&endpoints, "slow").await.is_ok(), "one has left");
        let [slow, other] = &of(&endpoints, &["slow", "other"])[..] else { panic!("two") };
        let told = |one: &EndpointState| (one.counts.crowded_out, one.counts.cancelled, one.open);
        assert_eq!((told(other), told(slow)), ((1, 2, BACKEND_CALLS_MAX - 1), (0, 0, 0)));
        assert_eq!((&*slow.proxy, slow.place), ("other", 2), "in the order of their names");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_when_one_leaves_and_those_of_all_are_bounded() {
        let endpoints = Arc::<Endpoints>::default();
        let mut calls = Vec::new();
        for number in 0..BACKEND_CALLS_ALL_MAX {
            let proxy = (number / BACKEND_CALLS_MAX).to_string();
            calls.push(begin(&endpoints, &proxy).await.expect("there is room"));
        }
        assert_eq!(begin(&endpoints, "one more").await.err(), Some(Unavailable::Full));
        let leaves = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            calls.pop();
        };
        let (begun, ()) = tokio::join!(begin(&endpoints, "one more"), leaves);
        assert!(begun.is_ok());
        assert_eq!(of(&endpoints, &["one more"])[0].counts.crowded_out, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_room_at_one_that_is_left_alone() {
        let endpoints = Arc::<Endpoints>::default();
        let mut calls = Vec::new();
        for _ in 0..BACKEND_CALLS_MAX {
            calls.push(begin(&endpoints, "dead").await.expect("there is room"));
        }
        let fails = async {
            for call in calls.drain(..BREAKER_FAILURES_MAX as usize) {
                call.end(Outcome::Failure);
            }
        };
        // One that waits already finds it open when it is let in.
        let (waits, ()) = tokio::join!(begin(&endpoints, "dead"), fails);
        assert_eq!(waits.err(), Some(Unavailable::Broken));
        let began = Instant::now();
        assert_eq!(begin(&endpoints, "dead").await.err(), Some(Unavailable::Broken));
        assert_eq!(began.elapsed(), Duration::ZERO);
        let counts = of(&endpoints, &["dead"])[0].counts;
        assert_eq!((counts.kept_away, counts.failed, counts.opened), (2, 5, 1));
    }
}
