//! A breaker: keeps calls away from an endpoint that fails, and lets one through now and then.
//!
//! ```text
//!            5 failures behind each other, or over half of ≥ 10 calls in 5 s
//!   Closed ────────────────────────────────────────────────────────────▶ Open
//!     ▲                                                                    │ 3 s
//!     └───────────── it succeeds ── HalfOpen: one call ◀───────────────────┤
//!                                        └────────── it fails ─────────────┘
//! ```

use std::time::Instant;

use crate::limits::{
    BREAKER_CALLS_MIN, BREAKER_FAILURES_MAX, BREAKER_OPEN_PERIOD, BREAKER_WINDOW_PART,
    BREAKER_WINDOW_PARTS,
};

/// Whether an endpoint is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not, until then.
    Open {
        /// The end of the time without calls.
        until: Instant,
    },
    /// One call is under way that decides.
    HalfOpen,
}

/// What a call has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has answered.
    Success,
    /// It has not, or in no way that is of use.
    Failure,
    /// Nobody has waited for it: it says nothing of the endpoint.
    Cancelled,
}

/// The breaker of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: BreakerState,
    /// Failures since the last success.
    failures: u32,
    window: Window,
}

/// The calls of the last seconds, in parts.
#[derive(Clone, Debug)]
struct Window {
    parts: [Part; BREAKER_WINDOW_PARTS],
    /// When the newest part began, and where it is.
    began: Instant,
    newest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    calls: u32,
    failures: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new(now: Instant) -> Self {
        Self { state: BreakerState::Closed, failures: 0, window: Window::new(now) }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a call may begin now; its end is to be [told](Self::ended) then.
    pub fn may_begin(&mut self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { until } if now >= until => {
                self.state = BreakerState::HalfOpen;
                true
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen => false,
        }
    }

    /// Whether a call would be kept away now; asking changes nothing.
    pub fn keeps_away(&self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => false,
            BreakerState::Open { until } => now < until,
            BreakerState::HalfOpen => true,
        }
    }

    /// A call has ended; true if that opens the breaker. `is_probe`: it began half open.
    pub fn ended(&mut self, outcome: Outcome, is_probe: bool, now: Instant) -> bool {
        match (self.state, outcome) {
            // The next call decides in its place.
            (BreakerState::HalfOpen, Outcome::Cancelled) if is_probe => {
                self.state = BreakerState::Open { until: now };
                false
            }
            (BreakerState::HalfOpen, Outcome::Success) if is_probe => {
                *self = Self::new(now);
                false
            }
            (BreakerState::HalfOpen, Outcome::Failure) if is_probe => self.open(now),
            (BreakerState::Closed, Outcome::Success) => {
                self.failures = 0;
                self.window.note(false, now);
                false
            }
            (BreakerState::Closed, Outcome::Failure) => {
                self.failures += 1;
                self.window.note(true, now);
                let is_over = self.failures >= BREAKER_FAILURES_MAX || self.window.is_over(now);
                is_over && self.open(now)
            }
            // Calls that began before it opened are too late to say anything.
            _ => false,
        }
    }

    fn open(&mut self, now: Instant) -> bool {
        self.state = BreakerState::Open { until: now + BREAKER_OPEN_PERIOD };
        true
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { parts: Default::default(), began: now, newest: 0 }
    }

    fn note(&mut self, is_failure: bool, now: Instant) {
        self.pass_time(now);
        let part = &mut self.parts[self.newest];
        part.calls += 1;
        part.failures += u32::from(is_failure);
    }

    /// Whether more than half of the calls failed, of enough to say so.
    fn is_over(&mut self, now: Instant) -> bool {
        self.pass_time(now);
        let calls: u32 = self.parts.iter().map(|part| part.calls).sum();
        let failures: u32 = self.parts.iter().map(|part| part.failures).sum();
        calls >= BREAKER_CALLS_MIN && 2 * failures > calls
    }

    /// Forgets the parts that are too old.
    fn pass_time(&mut self, now: Instant) {
        for _ in 0..BREAKER_WINDOW_PARTS {
            if now.saturating_duration_since(self.began) < BREAKER_WINDOW_PART {
                return;
            }
            self.began += BREAKER_WINDOW_PART;
            self.newest = (self.newest + 1) % BREAKER_WINDOW_PARTS;
            self.parts[self.newest] = Part::default();
        }
        // All are new.
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use proptest::prelude::*;

    fn fail(breaker: &mut Breaker, count: u32, now: Instant) -> bool {
        (0..count).any(|_| {
            assert!(breaker.may_begin(now));
            breaker.ended(Outcome::Failure, false, now)
        })
    }

    #[test]
    fn so_many_failures_behind_each_other_open_it_and_one_success_between_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert!(!fail(&mut breaker, BREAKER_FAILURES_MAX - 1, now));
        breaker.ended(Outcome::Success, false, now);
        assert!(!fail(&mut breaker, BREAKER_FAILURES_MAX - 1, now));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(fail(&mut breaker, 1, now));
        assert!(!breaker.may_begin(now + BREAKER_OPEN_PERIOD / 2));
    }

    #[test]
    fn one_call_decides_after_the_time_without_calls() {
        let now = Instant::now();
        for (outcome, state) in [
            (Outcome::Success, BreakerState::Closed),
            (Outcome::Failure, BreakerState::Open { until: now + 2 * BREAKER_OPEN_PERIOD }),
            (Outcome::Cancelled, BreakerState::Open { until: now + BREAKER_OPEN_PERIOD }),
        ] {
            let mut breaker = Breaker::new(now);
            fail(&mut breaker, BREAKER_FAILURES_MAX, now);
            let later = now + BREAKER_OPEN_PERIOD;
            assert!(breaker.keeps_away(now) && !breaker.keeps_away(later));
            assert!(breaker.may_begin(later));
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            assert!(breaker.keeps_away(later) && !breaker.may_begin(later), "only one");
            // One that began before it opened says nothing.
            breaker.ended(Outcome::Success, false, later);
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            assert_eq!(breaker.ended(outcome, true, later), outcome == Outcome::Failure);
            assert_eq!(breaker.state(), state, "{outcome:?}");
        }
    }

    #[test]
    fn more_than_half_of_enough_calls_open_it_and_old_ones_do_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        // Never five behind each other: two of three fail.
        let mut opened_after = None;
        for call in 0..100 {
            let outcome = if call % 3 == 0 { Outcome::Success } else { Outcome::Failure };
            if breaker.ended(outcome, false, now) {
                opened_after = Some(call + 1);
                break;
            }
        }
        let opened_after = opened_after.expect("it opens");
        assert!((BREAKER_CALLS_MIN..BREAKER_CALLS_MIN + 3).contains(&opened_after));
        // The same, one in a second: there are never enough.
        let mut breaker = Breaker::new(now);
        for call in 0..100 {
            let outcome = if call % 3 == 0 { Outcome::Success } else { Outcome::Failure };
            assert!(!breaker.ended(outcome, false, now + Duration::from_secs(call)));
        }
    }

    proptest! {
        /// Whatever happens in whatever order, it comes back once its endpoint does.
        #[test]
        fn it_closes_when_calls_succeed_again(
            steps in proptest::collection::vec((0..3_u8, any::<bool>(), 0..4_000_u64), 0..100)
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            for (outcome, begins, wait_ms) in steps {
                now += Duration::from_millis(wait_ms);
                let is_probe = begins
                    && breaker.may_begin(now)
                    && breaker.state() == BreakerState::HalfOpen;
                let all = [Outcome::Success, Outcome::Failure, Outcome::Cancelled];
                breaker.ended(all[usize::from(outcome)], is_probe, now);
            }
            now += BREAKER_OPEN_PERIOD;
            let began = breaker.may_begin(now);
            prop_assert!(began, "{:?}", breaker.state());
            let is_probe = breaker.state() == BreakerState::HalfOpen;
            breaker.ended(Outcome::Success, is_probe, now);
            prop_assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }
}
