//! Publications that are sent again to a user who has not acknowledged them.
//!
//! ```text
//!   home: due ─▶ a message for each connection of the user ─▶ its shard: sent, if it keeps up
//! ```
//!
//! Invariant: one that cannot be sent now is not kept for it. Its home sends it again later, as it
//! does whatever becomes of it, until it is acknowledged or given up.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::channels::{Channels, member};
use super::core::{Core, Turn};
use super::forms::{Readable, of_frames};
use super::guard;
use super::message::{Message, Redeliver};
use super::sections::Section;
use super::slab::Index;
use crate::handler::Handler;
use crate::hub::MemberId;
use crate::limits::{REDELIVERIES_SHARE, REDELIVERIES_WAITING_MAX};
use crate::mesh::Class;
use crate::ring::Frame;

/// What came for connections of this shard, and is to be sent within this turn or the next ones.
#[derive(Default)]
pub(super) struct Redeliveries {
    waiting: VecDeque<Redeliver>,
    /// Those that found no room on their way, or a member that does not keep up.
    pub(super) put_off: u64,
}

impl Redeliveries {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn add(&mut self, one: Redeliver) {
        if self.waiting.len() < REDELIVERIES_WAITING_MAX {
            self.waiting.push_back(one);
        } else {
            self.put_off += 1;
        }
    }
}

impl Channels {
    /// Hands on what is due of the channels whose home is here.
    pub(super) fn redeliver_due(&mut self) {
        let mut budget = REDELIVERIES_SHARE;
        while let Some(due) = self.home.next_redelivery(&mut budget) {
            for (shard, connection) in due.links {
                let (channel, frame) = (due.channel.clone(), Frame::clone(&due.frame));
                let one = Redeliver { channel, connection, frame };
                if shard == self.here {
                    self.redeliveries.add(one);
                    continue;
                }
                let message = Message::Redeliver(Box::new(one));
                let sent = self.mesh.send(member(shard), message, Class::Delivery);
                self.redeliveries.put_off += u64::from(sent.is_err());
            }
        }
    }
}

impl<H: Handler> Core<H> {
    /// What the connection is to be sent of it, if it is there and keeps up.
    fn is_ready_for(&mut self, one: &Redeliver) -> bool {
        let index = Index::new(one.connection.index());
        let bytes_max = self.settings.output_bytes_max;
        let connection = self.connections.get(index).expect("it is open");
        let frames = std::slice::from_ref(&one.frame);
        !connection.is_behind(&self.output, frames, bytes_max)
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Sends at most `budget` of what has come; returns how many it was.
    pub(super) fn redeliver(&mut self, budget: usize) -> usize {
        let mut count = 0;
        while count < budget {
            let Some(one) = self.core.channels.redeliveries.waiting.pop_front() else { break };
            count += 1;
            let index = Index::new(one.connection.index());
            let is_open = self.core.open(one.connection).is_some();
            if !is_open || !self.core.channels.is_member(index, &one.channel) {
                continue; // it has left, and its home hears of it
            }
            if !self.core.is_ready_for(&one) || !self.send_again(index, &one) {
                self.core.channels.redeliveries.put_off += 1;
            }
        }
        count
    }

    fn send_again(&mut self, index: Index, one: &Redeliver) -> bool {
        let core = &mut *self.core;
        let Some(channel) = core.channels.fanout.find(&one.channel) else { return false };
        // It is not the last publication that a member which takes deltas is taken to have.
        core.channels.fanout.lose_base(channel, MemberId(index.as_u32()));
        let state = core.connections.get(index).and_then(|one| one.state.as_ref());
        let reads = state.and_then(|state| guard(|| H::reads(state)).flatten());
        let words = core.channels.home.words;
        let plain = [Section::Plain; 2];
        let frames = std::slice::from_ref(&one.frame);
        let (Readable::Here(piece) | Readable::Translated(piece)) =
            of_frames(frames, reads, plain, words, self.batch)
        else {
            return false;
        };
        self.hand_over(index, channel, piece).is_ok()
    }
}
