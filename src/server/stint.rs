//! How long the control thread has held its core, so that a shard on the same core gets it back.
//!
//! A kernel that does not preempt in the middle of its ticks takes a core away every 4 ms (250 Hz)
//! at the earliest, whatever the threads' priorities. Ten thousand questions of sessions that
//! come back, or a flood of publications over HTTP, keep this thread busy for longer than that,
//! and whoever waits for a shard there would wait for it too. So it lets go of the core itself,
//! which costs a system call where nobody else wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::limits::CONTROL_STINT_MAX;
use crate::sys::clock;

/// A time without a pause.
pub(super) struct Stint {
    began: Instant,
    rest: Rest,
}

/// Whether the thread has slept.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<AtomicBool>);

impl Rest {
    /// The thread has slept.
    pub(super) fn had(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stint {
    /// It begins now, and anew whenever `rest` was had.
    pub(super) fn new(rest: Rest) -> Self {
        Self { began: clock::now(), rest }
    }

    /// Lets go of the core if it was held for long.
    pub(super) fn pause(&mut self) {
        if self.is_over(clock::now()) {
            std::thread::yield_now();
            self.began = clock::now();
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.rest.0.swap(false, Ordering::Relaxed) {
            self.began = now;
        }
        now.duration_since(self.began) >= CONTROL_STINT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stint_ends_in_time_and_begins_anew_after_a_rest() {
        let rest = Rest::default();
        let mut stint = Stint::new(rest.clone());
        let late = stint.began + CONTROL_STINT_MAX;
        assert!(stint.is_over(late));
        rest.had();
        assert!(!stint.is_over(late) && stint.is_over(late + CONTROL_STINT_MAX));
    }
}
