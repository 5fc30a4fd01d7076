//! Whether a step of the loop was long because of the handler, or because the thread was not
//! running: with more threads than cores most long steps are of the second kind.
//!
//! The kernel counts how long a thread waited for a core. Asking costs a system call, so it is
//! asked once in a while, and when a step was long: what was waited since the last look is taken
//! off it. That look was half of the threshold before the step at most. (At an eighth, 56 shards on
//! two cores spent 2 % of their time on looking.)

use std::time::{Duration, Instant};

use crate::sys::run_delay::RunDelay;

/// Looks within the time that is called a stall.
const LOOKS_PER_THRESHOLD: u32 = 2;

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Short,
    /// A stall of so long.
    Held(Duration),
    /// Long, because the thread had no core.
    Starved,
}

/// The account of a shard's thread, and what it was told last.
pub(super) struct Starvation {
    delay: RunDelay,
    threshold: Duration,
    looked_at: Instant,
    waited: Duration,
}

impl Starvation {
    /// Of the calling thread.
    pub(super) fn new(threshold: Duration, now: Instant) -> Self {
        let delay = RunDelay::of_this_thread();
        let waited = delay.total();
        Self { delay, threshold, looked_at: now, waited }
    }

    /// Looks if it has not for a while.
    pub(super) fn look(&mut self, now: Instant) {
        if now.duration_since(self.looked_at) > self.threshold / LOOKS_PER_THRESHOLD {
            self.waited_since(now);
        }
    }

    /// What a step was that took so long and ends `now`.
    pub(super) fn judge(&mut self, period: Duration, now: Instant) -> Verdict {
        if period <= self.threshold {
            self.look(now);
            return Verdict::Short;
        }
        let waited = self.waited_since(now);
        verdict(period, waited, self.threshold)
    }

    fn waited_since(&mut self, now: Instant) -> Duration {
        self.looked_at = now;
        let waited = self.delay.total();
        waited.saturating_sub(std::mem::replace(&mut self.waited, waited))
    }
}

/// Of a step that was longer than the threshold.
fn verdict(period: Duration, waited: Duration, threshold: Duration) -> Verdict {
    let held = period.saturating_sub(waited);
    if held > threshold { Verdict::Held(held) } else { Verdict::Starved }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_thread_waited_for_a_core_is_not_held() {
        let ms = Duration::from_millis;
        assert_eq!(verdict(ms(11), ms(0), ms(10)), Verdict::Held(ms(11)));
        assert_eq!(verdict(ms(40), ms(25), ms(10)), Verdict::Held(ms(15)));
        assert_eq!(verdict(ms(40), ms(30), ms(10)), Verdict::Starved);
        assert_eq!(verdict(ms(40), ms(50), ms(10)), Verdict::Starved, "it waited before as well");
    }

    #[test]
    fn a_step_within_the_threshold_is_short_whatever_was_waited() {
        let now = crate::sys::clock::now();
        let mut starvation = Starvation::new(Duration::from_millis(10), now);
        assert_eq!(starvation.judge(Duration::from_millis(10), now), Verdict::Short);
    }
}
