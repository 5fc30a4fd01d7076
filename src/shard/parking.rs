//! Entering the ring, and how long to stay there: not at all while there is something to do, for
//! the spin period at first, and after it until something happens.

use std::time::Duration;

use super::event_loop::{Loop, Service};
use crate::handler::Handler;
use crate::limits::SPIN_PERIOD;
use crate::ring::{Operation, Signals, Token};
use crate::sys::clock;

impl<H: Handler> Loop<H> {
    pub(super) fn has_work(&self) -> bool {
        self.core.has_work() || self.is_pressed()
    }

    /// Whether there is something to do that no completion will announce.
    fn is_pressed(&self) -> bool {
        self.core.is_pressed() || self.listeners.has_newcomers() || self.passed_ready || self.rung
    }

    /// Submits what the last turn queued and waits if there is nothing to do; true if it waited.
    pub(super) fn enter(&mut self) -> bool {
        let mut patience = self.patience(SPIN_PERIOD);
        let sleepy = !patience.is_zero() && self.core.channels.mesh.prepare_sleep();
        if !sleepy {
            patience = Duration::ZERO;
        }
        let wait = sleepy.then_some(patience);
        if let Err(error) = self.ring.enter(wait) {
            panic!("the ring of shard {} cannot be entered: {error}", self.core.number);
        }
        if sleepy {
            self.core.channels.mesh.woke();
        }
        sleepy
    }

    /// How long there is nothing to do, `longest` at most.
    fn patience(&self, longest: Duration) -> Duration {
        let has_closes = match self.service {
            Service::Running => false,
            Service::Draining { cursor, .. } => cursor < self.core.entries_max(),
        };
        if self.is_pressed() || has_closes {
            return Duration::ZERO;
        }
        let accept = self.listeners.next_deadline();
        let now = self.core.now;
        let hand_over = self.hand_over_at.filter(|_| self.core.has_leavers());
        let rests = self.core.rests_until();
        let deadlines = [self.core.next_deadline(), accept, hand_over, rests];
        let nearest = deadlines.into_iter().flatten().min();
        nearest.map_or(longest, |at| at.saturating_duration_since(now).min(longest))
    }

    /// Ready to sleep for longer? Then a signal or `deadline` wakes it. The caller parks on the
    /// eventfd that the ring signals, and calls [`unpark`](Self::unpark) after.
    pub(crate) fn prepare_park(&mut self) -> bool {
        let patience = self.patience(Duration::MAX);
        // A timer that was cancelled but has not said so yet would pass for the new one.
        if patience.is_zero() || self.parked_timer || !self.core.channels.mesh.prepare_sleep() {
            return false;
        }
        if patience != Duration::MAX {
            self.ring.timeout(patience, Token::of(Operation::Timeout));
            self.parked_timer = true;
        }
        self.ring.signals(Signals::On);
        // The enter submits the timeout, and whatever came while signals were off is seen here:
        // no later event would signal it (design, decision 5).
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let entered = self.ring.enter(None);
        if entered.is_err() || self.ring.has_work() {
            self.unpark();
            return false;
        }
        self.core.counters().parks += 1;
        true
    }

    /// To be called after parking.
    pub(crate) fn unpark(&mut self) {
        self.ring.signals(Signals::Off);
        self.core.channels.mesh.woke();
        if self.parked_timer {
            self.ring.cancel(Token::of(Operation::Timeout));
        }
        self.active = clock::now();
    }

    /// For an executor without a runtime of its own: sleeps in the ring.
    pub(crate) fn sleep(&mut self) {
        let patience = self.patience(Duration::from_hours(1));
        if patience.is_zero() || !self.core.channels.mesh.prepare_sleep() {
            return;
        }
        self.core.counters().parks += 1;
        if let Err(error) = self.ring.enter(Some(patience)) {
            panic!("the ring of shard {} cannot be entered: {error}", self.core.number);
        }
        self.core.channels.mesh.woke();
        self.active = clock::now();
    }
}
