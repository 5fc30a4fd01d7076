//! Deliveries that the application keeps back, so that something else reaches the peer first.
//!
//! Invariants: what is kept back stands in order behind all that was queued before it, counts
//! against the connection's output bound and the shard's budget, and is gone with the connection;
//! who leaves a channel gets nothing more of it.

#![forbid(unsafe_code)]

use super::core::{Core, Turn};
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, SendError};
use crate::hub::ChannelId;
use crate::ring::Piece;

/// What is kept back for one connection.
#[derive(Default)]
pub(super) struct HeldBack {
    deliveries: Vec<(ChannelId, Box<[u8]>)>,
    bytes: usize,
}

impl HeldBack {
    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, channel: ChannelId, bytes: &[u8]) {
        self.deliveries.push((channel, bytes.into()));
        self.bytes += bytes.len();
    }

    /// Drops what is of a channel; returns how many bytes that were.
    fn forget(&mut self, channel: ChannelId) -> usize {
        let before = self.bytes;
        self.deliveries.retain(|(of, _)| *of != channel);
        self.bytes = self.deliveries.iter().map(|(_, bytes)| bytes.len()).sum();
        before - self.bytes
    }

    fn joined(self) -> Vec<u8> {
        self.deliveries.into_iter().flat_map(|(_, bytes)| bytes).collect()
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
    pub(super) fn take_held_back(&mut self, index: Index) -> Option<HeldBack> {
        let one = self.connections.get_mut(index)?;
        let held = one.busy.as_mut()?.held_back.take()?;
        one.calm();
        self.backlog_bytes -= held.len();
        Some(held)
    }

    /// The connection leaves a channel: what was kept back of it is not sent.
    pub(super) fn forget_held_back(&mut self, connection: ConnectionId, channel: &str) {
        let Some(channel) = self.channels.fanout.find(channel) else { return };
        let held = self.open(connection).and_then(|one| one.busy.as_mut()?.held_back.as_mut());
        let bytes = held.map_or(0, |held| held.forget(channel));
        self.backlog_bytes -= bytes;
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Queues a delivery, or keeps it back.
    pub(super) fn hand_over(
        &mut self,
        index: Index,
        channel: ChannelId,
        piece: Piece,
    ) -> Result<(), SendError> {
        let is_held = self
            .core
            .connections
            .get(index)
            .is_some_and(|one| one.busy.as_ref().is_some_and(|busy| busy.held_back.is_some()));
        if !is_held {
            return self.queue(index, piece);
        }
        self.check_room(index, piece.len())?;
        let core = &mut *self.core;
        let one = core.connections.get_mut(index).expect("seen above");
        let held = one.busy().held_back.as_mut().expect("seen above");
        held.keep(channel, self.batch.bytes(piece));
        core.backlog_bytes += piece.len();
        if core.backlog_bytes > core.settings.backlog_bytes_max {
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
        let held = self.core.take_held_back(index).map_or_else(Vec::new, HeldBack::joined);
        if !held.is_empty() {
            let piece = self.batch.share(held.into());
            // It had its room while it was kept back.
            let _cut_on_overflow = self.queue(index, piece);
        }
    }
}
