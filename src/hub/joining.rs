//! Members who are to hear what became of their join.
//!
//! Invariant: whoever waits to hear of a join to a channel whose home has confirmed stands here,
//! and so does every channel that was refused and still has members. Entries that turned stale
//! meanwhile (the member left, the channel's home was asked anew) are passed over when their turn
//! comes; each was made by one call, so there are never more than calls and members.

use super::arena::Key;
use super::fanout::MemberId;
use std::collections::VecDeque;

/// What one member is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The member.
    pub member: MemberId,
    /// The channel's name.
    pub channel: Box<str>,
    /// Whether it is a member now, and gets what is published from now on. Otherwise the home had
    /// no room, and its membership has just ended.
    pub is_member: bool,
}

#[derive(Default)]
pub(super) struct Joining {
    joined: VecDeque<(MemberId, Key)>,
    refused: VecDeque<Key>,
}

/// Entries for which room is kept: as many joins as a turn makes.
const ENTRIES_KEPT: usize = 1024;

impl Joining {
    pub(super) fn joined(&mut self, member: MemberId, channel: Key) {
        self.joined.push_back((member, channel));
    }

    pub(super) fn refused(&mut self, channel: Key) {
        self.refused.push_back(channel);
    }

    pub(super) fn next_joined(&mut self) -> Option<(MemberId, Key)> {
        let next = self.joined.pop_front();
        if next.is_none() {
            self.joined.shrink_to(ENTRIES_KEPT);
        }
        next
    }

    pub(super) fn first_refused(&self) -> Option<Key> {
        self.refused.front().copied()
    }

    pub(super) fn end_refused(&mut self) {
        self.refused.pop_front();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.refused.is_empty()
    }
}
