//! How long the control thread has held its core, so that a shard on the same core gets it back.
//!
//! A kernel that does not preempt in the middle of its ticks takes a core away every 4 ms (250 Hz)
//! at the earliest, whatever the threads' priorities. Ten thousand questions of sessions that
//! come back, or a flood of publications over HTTP, keep this thread busy for longer than that,
//! and whoever waits for a shard there would wait for it too. So it lets go of the core itself,
//! which costs a system call where nobody else wants it.

use std::time::Duration;

use crate::limits::CONTROL_STINT_MAX;
use crate::sys::clock;

/// A time on the core without a pause; what the thread slept is not in it.
pub(super) struct Stint {
    /// The thread's time on a core when it began.
    began: Duration,
}

impl Stint {
    /// It begins now.
    pub(super) fn new() -> Self {
        Self { began: clock::on_core() }
    }

    /// Lets go of the core if it was held for long.
    pub(super) fn pause(&mut self) {
        if self.is_over(clock::on_core()) {
            std::thread::yield_now();
        }
    }

    /// Whether it is over; then the next one begins.
    fn is_over(&mut self, on_core: Duration) -> bool {
        let is_over = on_core.saturating_sub(self.began) >= CONTROL_STINT_MAX;
        if is_over {
            self.began = on_core;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stint_is_over_in_time_and_the_next_begins() {
        let mut stint = Stint { began: Duration::from_secs(1) };
        let late = stint.began + CONTROL_STINT_MAX;
        assert!(!stint.is_over(stint.began + CONTROL_STINT_MAX / 2));
        assert!(stint.is_over(late) && !stint.is_over(late));
        assert!(stint.is_over(late + CONTROL_STINT_MAX));
    }
}
