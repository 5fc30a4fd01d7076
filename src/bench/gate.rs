//! Where the threads of a run wait for each other, while each goes on serving its clients: nobody
//! sleeps at a gate, for a server's pings do not wait either.
//!
//! Invariants: a step is open when every thread has arrived at it, and stays open; once one thread
//! has failed, all the others hear of it at their next look.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::BenchError;

/// The gate of one run.
pub(super) struct Gate {
    threads: u32,
    /// Arrivals of all threads at all steps so far.
    arrivals: AtomicU32,
    halted: AtomicBool,
}

impl Gate {
    /// A gate for so many threads.
    pub(super) fn new(threads: u32) -> Self {
        Self { threads, arrivals: AtomicU32::new(0), halted: AtomicBool::new(false) }
    }

    /// What one thread passes with. Each takes one.
    pub(super) fn pass(&self) -> Pass<'_> {
        Pass { gate: self, steps: 0, is_through: false }
    }

    /// Whether the run has been ended.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Ends the run for all.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Release);
    }
}

/// One thread's place in the sequence of steps. Dropped before [`finish`](Pass::finish), by an
/// error or a panic, it halts the run: the others would wait for ever.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    steps: u32,
    is_through: bool,
}

impl Pass<'_> {
    /// This thread has done what belongs before the next step.
    pub(super) fn arrive(&mut self) {
        self.steps += 1;
        self.gate.arrivals.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all have arrived where this thread has.
    pub(super) fn is_open(&self) -> Result<bool, BenchError> {
        self.check()?;
        Ok(self.gate.arrivals.load(Ordering::Acquire) >= self.gate.threads * self.steps)
    }

    /// Whether the run goes on.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        if self.gate.halted.load(Ordering::Acquire) {
            return Err(BenchError::Halted);
        }
        Ok(())
    }

    /// This thread is done.
    pub(super) fn finish(mut self) {
        self.is_through = true;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_through {
            self.gate.halt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_opens_with_the_last_arrival_and_stays_open() {
        let gate = Gate::new(2);
        let (mut one, mut other) = (gate.pass(), gate.pass());
        one.arrive();
        assert!(!one.is_open().unwrap());
        other.arrive();
        assert!(one.is_open().unwrap());
        other.arrive();
        assert!(one.is_open().unwrap() && !other.is_open().unwrap());
        one.arrive();
        assert!(one.is_open().unwrap() && other.is_open().unwrap());
        one.finish();
        assert!(other.check().is_ok());
    }

    #[test]
    fn whoever_fails_takes_the_others_along() {
        let gate = Gate::new(2);
        let (failing, mut waiting) = (gate.pass(), gate.pass());
        waiting.arrive();
        drop(failing);
        assert!(matches!(waiting.is_open(), Err(BenchError::Halted)));
    }
}
