//! Reading what is ready: first of those who are served, then of those who are still coming in.

use std::time::Instant;

use super::core::Turn;
use super::event_loop::Loop;
use super::ready::Rank;
use crate::handler::Handler;
use crate::limits::{
    KNOWN_EVENTS_MIN, NEW_EVENTS_MAX, NEW_EVENTS_MIN, TURN_EVENTS_MAX, TURN_OUTPUT_BYTES_MAX,
    TURN_PERIOD_MAX,
};
use crate::ring::receive;
use crate::sys::clock;

impl<H: Handler> Loop<H> {
    /// Reads connections that are ready, in their order, each rank within its share.
    pub(super) fn read_ready(&mut self) -> bool {
        // What a step before this one took is not this one's.
        let began = self.core.now;
        let mut before = began;
        let known = self.read_rank(Rank::Known, began, &mut before);
        let new = self.read_rank(Rank::New, began, &mut before);
        known || new
    }

    /// Reads those of this rank within their share, and until the turn is full.
    fn read_rank(&mut self, rank: Rank, began: Instant, before: &mut Instant) -> bool {
        let (max, full_min, late_min) = match rank {
            Rank::Known => (TURN_EVENTS_MAX, 0, KNOWN_EVENTS_MIN),
            Rank::New => (NEW_EVENTS_MAX, NEW_EVENTS_MIN, NEW_EVENTS_MIN),
        };
        let entries = self.core.ready_count(rank).min(max);
        for count in 1..=entries {
            self.read_next(rank, before);
            let is_full = self.ring.batch().used() > TURN_OUTPUT_BYTES_MAX;
            let is_late = *before - began > TURN_PERIOD_MAX;
            if (is_full && count >= full_min) || (is_late && count >= late_min) {
                break;
            }
        }
        entries > 0
    }

    fn read_next(&mut self, rank: Rank, before: &mut Instant) {
        let Some(entry) = self.core.next_ready(rank) else { return };
        let index = entry.index;
        let Some(socket) = self.core.socket(index) else { return };
        let received = receive(socket, &mut self.buffer);
        let mut turn = Turn { core: &mut self.core, batch: self.ring.batch() };
        let serviced = turn.received(&mut self.handler, index, received, &mut self.buffer);
        if serviced.again {
            self.core.ready_again(entry, serviced.cost);
        }
        let after = clock::now();
        self.core.step_to(after);
        self.core.called = false;
        let period = after - std::mem::replace(before, after);
        self.core.time_commands(period);
        self.judge("message", Some(index), period);
    }
}
