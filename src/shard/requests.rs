//! Requests to other shards for which the mesh has no room yet.
//!
//! A shard has only so many requests under way to each other shard, and a queue that deliveries
//! have filled takes none. What a client asked for then waits here, in order, and is asked once a
//! turn again; the client's commands behind it wait with it, and nobody is told to try again.
//!
//! Invariant: nothing overtakes. While some wait for a home, nothing else is asked of it.

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

    /// Asks what waits for a home, as far as there is room.
    pub(super) fn ask_again(&mut self, mesh: &mut Member<Message>, home: ShardId) {
        let waiting = &mut self.waiting[home.index()];
        while let Some(message) = waiting.pop_front() {
            self.count -= 1;
            if let Err(Full(message)) = mesh.send(member(home), message, Class::Request) {
                waiting.push_front(message);
                self.count += 1;
                break;
            }
        }
        if waiting.is_empty() {
            waiting.shrink_to(ENTRIES_KEPT);
        }
    }

    /// How many wait, for all homes.
    #[cfg(test)]
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
