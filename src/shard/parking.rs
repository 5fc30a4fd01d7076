//! Entering the ring, and how long to stay there: not at all while there is something to do, for
//! the settling period after a turn in which there was, and after that until a completion, a wake
//! of the mesh or the next deadline.
//!
//! Invariant: a shard that waits is known to the mesh as asleep, so that who sends to it posts a
//! wake into its ring; and whatever is to be done without a completion has its deadline in
//! `patience`, or keeps the shard from waiting.

use std::time::Duration;

use super::event_loop::{Loop, Service};
use crate::handler::Handler;
use crate::limits::{SETTLE_PERIOD, SLEEP_MAX};

impl<H: Handler> Loop<H> {
    /// Whether there is something to do that no completion will announce.
    fn is_pressed(&self) -> bool {
        self.core.is_pressed()
            || self.unwatched.is_some()
            || self.listeners.has_newcomers()
            || self.passed_ready
            || self.rung
    }

    /// Submits what the last turn queued and waits if there is nothing to do; true if it waited.
    pub(super) fn enter(&mut self) -> bool {
        let mut patience = self.patience();
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

    /// How long there is nothing to do.
    fn patience(&self) -> Duration {
        if self.core.channels.mesh.holds_core() {
            return Duration::ZERO; // others wait for it to be passed on
        }
        if self.is_settling_in {
            // Other shards have the cores meanwhile; what they say announces itself.
            return if self.stirred { Duration::ZERO } else { SETTLE_PERIOD };
        }
        if let Some(carriage) = &self.carriage {
            if carriage.is_settling() && self.core.channels.fanout.has_short_work() {
                return Duration::ZERO; // the freeze lasts as long as this does
            }
            return carriage.patience(self.core.now).min(SLEEP_MAX);
        }
        let (is_stopping, has_closes) = match self.service {
            Service::Running | Service::Left => (false, false),
            Service::Draining { cursor, .. } => (true, cursor < self.core.entries_max()),
        };
        let ahead = self.ahead.as_ref().map_or(Duration::MAX, |ahead| {
            let has_ended = self.core.copies.as_ref().is_some_and(|copies| copies.has_ended());
            ahead.patience(has_ended, self.core.now)
        });
        if self.is_pressed() || has_closes || ahead.is_zero() {
            return Duration::ZERO;
        }
        // What a turn leaves to the next one, and the end of a stop, is announced by nothing.
        let longest = if self.stirred || is_stopping { SETTLE_PERIOD } else { SLEEP_MAX };
        let accept = self.listeners.next_deadline();
        let now = self.core.now;
        let hand_over = self.hand_over_at.filter(|_| self.core.has_leavers());
        let rests = self.core.rests_until();
        let giving = self.giving_back.next_deadline();
        let moving = self.core.next_look_at_moves();
        let deadlines = [self.core.next_deadline(), accept, hand_over, rests, giving, moving];
        let nearest = deadlines.into_iter().flatten().min();
        let longest = longest.min(ahead);
        nearest.map_or(longest, |at| at.saturating_duration_since(now).min(longest))
    }
}
