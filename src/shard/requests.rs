//! Requests to other shards for which the mesh has no room yet.
//!
//! A shard has only so many requests under way to each other shard, and a queue that deliveries
//! have filled takes none. What a client asked for then waits here, in order, and is asked once a
//! turn again; the client's commands behind it wait with it, and nobody is told to try again.
//!
//! Invariant: what waits here for a home is asked in order, and nothing that a client asked for
//! later goes before it. The shard's own news, of interest and of who is gone, do.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::channels::member;
use super::message::Message;
use crate::hub::ShardId;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::mesh::{Class, Full, Member};

/// What waits to be asked of each home, in order.
pub(super) struct Requests {
    waiting: Box<[VecDeque<Message>]>,
    count: usize,
    count_max: usize,
    refused: u64,
}

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Requests {
    pub(super) fn new(shard_count: usize) -> Self {
        let waiting = (0..shard_count).map(|_| VecDeque::new()).collect();
        Self { waiting, count: 0, count_max: REQUESTS_WAITING_MAX, refused: 0 }
    }

    /// Frees the room that a crowd has left.
    pub(super) fn shrink(&mut self) {
        self.waiting.iter_mut().for_each(VecDeque::shrink_to_fit);
    }

    /// Asks a home as soon as there is room: now, if `is_free` says that nothing else must go
    /// first and nothing waits.
    pub(super) fn ask(
        &mut self,
        mesh: &mut Member<Message>,
        home: ShardId,
        message: Message,
        is_free: bool,
    ) -> Result<(), TooMany> {
        let waiting = &mut self.waiting[home.index()];
        let message = if is_free && waiting.is_empty() {
            match mesh.send(member(home), message, Class::Request) {
                Ok(()) => return Ok(()),
                Err(Full(message)) => message,
            }
        } else {
            message
        };
        if self.count >= self.count_max {
            self.refused += 1;
            return Err(TooMany);
        }
        waiting.push_back(message);
        self.count += 1;
        Ok(())
    }

    /// What is to be asked of a home next, of what has waited.
    pub(super) fn next(&self, home: ShardId) -> Option<&Message> {
        self.waiting[home.index()].front()
    }

    /// Asks it; false if there is no room.
    pub(super) fn ask_next(&mut self, mesh: &mut Member<Message>, home: ShardId) -> bool {
        let Some(message) = self.drop_next(home) else { return false };
        let sent = mesh.send(member(home), message, Class::Request);
        if let Err(Full(message)) = sent {
            self.waiting[home.index()].push_front(message);
            self.count += 1;
            return false;
        }
        true
    }

    /// Takes it out, unasked.
    pub(super) fn drop_next(&mut self, home: ShardId) -> Option<Message> {
        let waiting = &mut self.waiting[home.index()];
        let next = waiting.pop_front()?;
        self.count -= 1;
        if waiting.is_empty() {
            waiting.shrink_to(ENTRIES_KEPT);
        }
        Some(next)
    }

    /// How many wait, for all homes.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many were refused, because as many waited as may.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// So few may wait in a test.
    #[cfg(test)]
    pub(super) fn limit(&mut self, count_max: usize) {
        self.count_max = count_max;
    }
}

/// Places for which room is kept, after a crowd has been asked for.
const ENTRIES_KEPT: usize = 64;
