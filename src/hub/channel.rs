//! One channel on one shard: its members in a dense list, and what they are still to be sent.
//!
//! Invariant: the list has no holes, and every member's membership says where in it the member
//! stands.

use super::arena::Key;
use super::backlog::Backlog;
use super::bucket::ShardId;
use super::fanout::MemberId;
use super::interest::Stance;
use super::memberships::{Memberships, Standing};

/// A member as it stands in the list, and in the highest bit whether it hears of others' coming
/// and going: of ten thousand who do not, none has to be looked up for that.
#[derive(Clone, Copy)]
pub(super) struct Listed(u32);

impl Listed {
    const HEARS_JOINS: u32 = 1 << 31;

    fn new(member: MemberId, hears_joins: bool) -> Self {
        assert!(member.0 < Self::HEARS_JOINS, "a slab ends far below");
        Self(member.0 | if hears_joins { Self::HEARS_JOINS } else { 0 })
    }

    pub(super) fn member(self) -> MemberId {
        MemberId(self.0 & !Self::HEARS_JOINS)
    }

    pub(super) fn hears_joins(self) -> bool {
        self.0 & Self::HEARS_JOINS != 0
    }
}

pub(super) struct Channel<F> {
    pub(super) members: Vec<Listed>,
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

    /// Adds a member at the end; without a standing it waits to hear that it has joined. The list
    /// grows by a quarter: doubling a list of a million would waste more than a membership takes.
    pub(super) fn append(
        &mut self,
        key: Key,
        member: MemberId,
        standing: Option<Standing>,
        memberships: &mut Memberships,
    ) {
        memberships.add(member, key, self.member_count(), standing);
        let places = self.members.capacity();
        if self.members.len() == places {
            self.members.reserve_exact(places / 4 + 1);
        }
        let hears_joins = standing.is_some_and(|standing| standing.hears_joins);
        self.members.push(Listed::new(member, hears_joins));
    }

    /// Takes out the member who stood at `position`, whose membership has ended.
    pub(super) fn vacate(&mut self, key: Key, position: u32, memberships: &mut Memberships) {
        let members = &mut self.members;
        let mut relocate = |from: u32, to: u32| {
            let moved = members[from as usize];
            members[to as usize] = moved;
            memberships.move_to(moved.member(), key, to);
        };
        let free = match &mut self.backlog {
            Some(backlog) => backlog.vacate(position, &mut relocate),
            None => position,
        };
        members.swap_remove(free as usize);
        if let Some(&moved) = members.get(free as usize) {
            memberships.move_to(moved.member(), key, free);
        }
        if members.len() * 2 <= members.capacity() {
            members.shrink_to(members.len() + members.len() / 4);
        }
    }

    /// Bytes of the member list.
    pub(super) fn list_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Listed>()
    }
}
