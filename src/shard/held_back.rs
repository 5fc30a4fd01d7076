//! Deliveries that the application keeps back, so that something else reaches the peer first.
//!
//! Invariants: what is kept back stands in order behind all that was queued before it, counts
//! against the connection's output bound and the shard's budget, and is gone with the connection;
//! who leaves a channel gets nothing more of it.

#![forbid(unsafe_code)]

use super::connection::Connection;
use super::core::{Core, Turn};
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, SendError};
use crate::hub::ChannelId;
use crate::ring::Piece;

/// What is kept back for one connection, of all its channels in the order in which it came.
#[derive(Default)]
pub(super) struct HeldBack {
    bytes: Vec<u8>,
    /// Whose bytes these are: so many of each channel, one behind the other.
    parts: Vec<(ChannelId, usize)>,
}

impl HeldBack {
    fn push(&mut self, channel: ChannelId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some((last, count)) if *last == channel => *count += bytes.len(),
            _ => self.parts.push((channel, bytes.len())),
        }
    }

    /// Drops what is of this channel; returns how many bytes it was.
    fn forget(&mut self, channel: ChannelId) -> usize {
        let Self { bytes, parts } = self;
        let (mut kept, mut at) = (Vec::new(), 0);
        parts.retain(|&(one, count)| {
            let stays = one != channel;
            if stays {
                kept.extend_from_slice(&bytes[at..at + count]);
            }
            at += count;
            stays
        });
        let dropped = bytes.len() - kept.len();
        *bytes = kept;
        dropped
    }
}

impl<S> Connection<S> {
    /// Bytes of deliveries that are kept back.
    pub(super) fn held_back_bytes(&self) -> usize {
        let held = self.busy.as_ref().and_then(|busy| busy.held_back.as_ref());
        held.map_or(0, |held| held.bytes.len())
    }

    fn held_back(&mut self) -> Option<&mut HeldBack> {
        self.busy.as_mut()?.held_back.as_deref_mut()
    }
}

impl<H: Handler> Core<H> {
    /// From now on deliveries to the connection are kept back.
    pub(super) fn hold_back(&mut self, connection: ConnectionId) {
        if let Some(one) = self.open(connection) {
            one.busy().held_back.get_or_insert_default();
        }
    }

    /// Takes out what was kept back; nothing is any more.
    pub(super) fn take_held_back(&mut self, index: Index) -> Vec<u8> {
        let one = self.connections.get_mut(index);
        let held = one.and_then(|one| {
            let held = one.busy.as_mut()?.held_back.take();
            one.calm();
            held
        });
        let bytes = held.map_or_else(Vec::new, |held| held.bytes);
        self.backlog_bytes -= bytes.len();
        bytes
    }

    /// The connection leaves a channel: it gets nothing more of it.
    pub(super) fn forget_held_back(&mut self, connection: ConnectionId, channel: &str) {
        let Some(channel) = self.channels.fanout.find(channel) else { return };
        let held = self.open(connection).and_then(|one| one.held_back());
        let freed = held.map_or(0, |held| held.forget(channel));
        self.backlog_bytes -= freed;
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Queues what a channel delivers, or keeps it back.
    pub(super) fn hand_over(
        &mut self,
        index: Index,
        channel: ChannelId,
        piece: Piece,
    ) -> Result<(), SendError> {
        let connection = self.core.connections.get_mut(index).expect("delivered to while it lives");
        if connection.held_back().is_none() {
            return self.queue(index, piece);
        }
        self.check_room(index, piece.len())?;
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("seen above");
        connection.held_back().expect("seen above").push(channel, self.batch.bytes(piece));
        core.backlog_bytes += piece.len();
        if core.is_over_budget() {
            self.cut_for_budget(index);
            return Err(SendError::Overflow);
        }
        Ok(())
    }

    /// Queues what was kept back.
    pub(super) fn let_go(&mut self, connection: ConnectionId) {
        if self.core.open(connection).is_none() {
            return;
        }
        let index = Index::new(connection.index());
        let held = self.core.take_held_back(index);
        if !held.is_empty() {
            let piece = self.batch.share(held.into());
            // It had its room while it was kept back.
            let _cut_on_overflow = self.queue(index, piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Fanout, FanoutBounds, Homes, MemberId};

    #[test]
    fn who_leaves_a_channel_gets_the_others_in_their_order() {
        let (homes, hasher) = (Homes::dealt(1), std::hash::RandomState::new());
        let mut fanout: Fanout<()> = Fanout::new(homes, 10, FanoutBounds::default(), hasher);
        let [a, b, c] = ["a", "b", "c"].map(|name| fanout.join(name, MemberId(0)).expect("room"));
        let mut held = HeldBack::default();
        let said: [(ChannelId, &[u8]); 6] =
            [(a, b"a1"), (b, b"b1"), (b, b"b22"), (a, b"a2"), (c, b"c"), (b, b"b3")];
        for (channel, bytes) in said {
            held.push(channel, bytes);
        }
        assert_eq!((held.forget(b), held.forget(b)), (7, 0));
        assert_eq!(held.bytes, b"a1a2c");
        held.push(b, b"b4");
        assert_eq!(held.forget(a), 4);
        assert_eq!(held.bytes, b"cb4");
    }

    /// It leaves behind what is chained in its turn, and would not fit behind more than that.
    #[test]
    fn what_is_kept_back_is_unsent_to_whom_it_is_kept_from() {
        let (mut core, _peer) = super::super::tests::core();
        let (homes, hasher) = (Homes::dealt(1), std::hash::RandomState::new());
        let mut fanout: Fanout<()> = Fanout::new(homes, 10, FanoutBounds::default(), hasher);
        let channel = fanout.join("a", MemberId(0)).expect("room");
        let frames: [crate::ring::Frame; 1] = [vec![b'x'; 10].into()];
        let index = Index::new(0);
        let one = core.connections.get_mut(index).expect("it is open");
        one.busy().held_back.get_or_insert_default().push(channel, b"12345");
        let one = core.connections.get(index).expect("it is open");
        assert!(!one.is_behind(&core.output, &frames, 15));
        assert!(one.is_behind(&core.output, &frames, 14), "it would be over the bound");
    }
}
