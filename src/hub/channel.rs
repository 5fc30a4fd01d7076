//! One channel on one shard: its members in a dense list, and what they are still to be sent.
//!
//! Invariant: the list has no holes, and every member's membership says where in it the member
//! stands.

use super::arena::Key;
use super::backlog::Backlog;
use super::bucket::ShardId;
use super::fanout::MemberId;
use super::interest::Stance;
use super::memberships::Memberships;

pub(super) struct Channel<F> {
    pub(super) members: Vec<MemberId>,
    pub(super) backlog: Option<Box<Backlog<F>>>,
    pub(super) home: ShardId,
    pub(super) stance: Stance,
    /// The number of the question that its home was asked last.
    pub(super) ask: u32,
    /// Its key has a place among the turns, and so must not be given to another channel.
    pub(super) has_turn: bool,
}

const _: () = assert!(size_of::<Channel<()>>() <= 40); // up to 1 Mi of them

impl<F> Channel<F> {
    pub(super) fn new(home: ShardId) -> Self {
        Self {
            members: Vec::new(),
            backlog: None,
            home,
            stance: Stance::Away,
            ask: 0,
            has_turn: false,
        }
    }

    pub(super) fn member_count(&self) -> u32 {
        u32::try_from(self.members.len()).expect("memberships are bounded by a u32")
    }

    /// Whether nothing speaks against forgetting it.
    pub(super) fn is_unused(&self) -> bool {
        self.members.is_empty() && self.stance == Stance::Away && !self.has_turn
    }

    /// Adds a member at the end. The list grows by a quarter: doubling a list of a million would
    /// waste more than a membership takes.
    pub(super) fn append(&mut self, key: Key, member: MemberId, memberships: &mut Memberships) {
        memberships.add(member, key, self.member_count());
        let places = self.members.capacity();
        if self.members.len() == places {
            self.members.reserve_exact(places / 4 + 1);
        }
        self.members.push(member);
    }

    /// Takes out the member who stood at `position`, whose membership has ended.
    pub(super) fn vacate(&mut self, key: Key, position: u32, memberships: &mut Memberships) {
        let members = &mut self.members;
        let mut relocate = |from: u32, to: u32| {
            let moved = members[from as usize];
            members[to as usize] = moved;
            memberships.move_to(moved, key, to);
        };
        let free = match &mut self.backlog {
            Some(backlog) => backlog.vacate(position, &mut relocate),
            None => position,
        };
        members.swap_remove(free as usize);
        if let Some(&moved) = members.get(free as usize) {
            memberships.move_to(moved, key, free);
        }
        if members.len() * 2 <= members.capacity() {
            members.shrink_to(members.len() + members.len() / 4);
        }
    }

    /// Bytes of the member list.
    pub(super) fn list_bytes(&self) -> usize {
        self.members.capacity() * size_of::<MemberId>()
    }
}
