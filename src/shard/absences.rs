//! Connections that are not in a channel any more, until the channel's home was told: of those that
//! it has noted, because they are present there, or their users acknowledge what is published; and
//! those that it knows by another name, until it has heard by which.
//!
//! While some wait for room, nobody enters a channel of that home, so nobody comes back before the
//! home has heard that it was gone; and there are never more of them than there were memberships.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::channels::member;
use super::message::{Gone, Message, Returned};
use crate::handler::ConnectionId;
use crate::hub::{ShardId, Standing};
use crate::mesh::{Class, Member};

/// What is owed to each home, in order.
pub(super) struct Absences(Box<[VecDeque<Message>]>);

impl Absences {
    pub(super) fn new(shard_count: usize) -> Self {
        Self((0..shard_count).map(|_| VecDeque::new()).collect())
    }

    /// Frees the room that a crowd has left.
    pub(super) fn shrink(&mut self) {
        self.0.iter_mut().for_each(VecDeque::shrink_to_fit);
    }

    /// The connection is not in the channel any more: if its home has noted it, it is to be told.
    pub(super) fn owe(
        &mut self,
        home: ShardId,
        channel: &str,
        connection: ConnectionId,
        standing: Standing,
        is_for_good: bool,
    ) {
        let Standing { is_present, is_announced, acknowledges, .. } = standing;
        if is_present || acknowledges {
            let gone = Gone { is_present, is_announced, acknowledges, is_for_good };
            let absent = Message::Absent { channel: channel.into(), connection, gone };
            self.0[home.index()].push_back(absent);
        }
    }

    /// A member that has moved here from another shard, by whose name the home knows it.
    pub(super) fn owe_return(&mut self, home: ShardId, returned: Returned) {
        self.0[home.index()].push_back(Message::Returned(Box::new(returned)));
    }

    /// What a home that is here is owed next: it is told at once.
    pub(super) fn next(&mut self, home: ShardId) -> Option<Message> {
        let owed = &mut self.0[home.index()];
        let next = owed.pop_front();
        if owed.is_empty() {
            owed.shrink_to(ENTRIES_KEPT);
        }
        next
    }

    /// Whether this home is still to be told of some.
    pub(super) fn owes(&self, home: ShardId) -> bool {
        !self.0[home.index()].is_empty()
    }

    /// How many all homes are still to be told of.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    /// Tells another home, as far as there is room.
    pub(super) fn send(&mut self, mesh: &mut Member<Message>, home: ShardId) {
        while let Some(message) = self.0[home.index()].front() {
            if mesh.send(member(home), message.clone(), Class::Notice).is_err() {
                return;
            }
            self.next(home);
        }
    }
}

/// Places for which room is kept, after a crowd has left.
const ENTRIES_KEPT: usize = 64;
