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
use crate::filter::Reading;

/// A member as it stands in the list, and in the highest bits what is asked of each who is served:
/// of ten thousand who want nothing but what is published, none has to be looked up for that.
#[derive(Clone, Copy)]
pub(super) struct Listed(u32);

impl Listed {
    /// It hears of others' coming and going.
    const HEARS_JOINS: u32 = 1 << 31;
    /// It reads publications as deltas, where they can be made.
    const TAKES_DELTAS: u32 = 1 << 30;
    /// It has the last publication: the next one may be a delta.
    const HAS_BASE: u32 = 1 << 29;
    /// It has a filter.
    const IS_SELECTIVE: u32 = 1 << 28;
    const MEMBER: u32 = Self::IS_SELECTIVE - 1;

    fn new(member: MemberId, hears_joins: bool, reading: &Reading) -> Self {
        assert!(member.0 <= Self::MEMBER, "a slab ends far below");
        let hears_joins = if hears_joins { Self::HEARS_JOINS } else { 0 };
        let reading = match reading {
            Reading::Whole => 0,
            Reading::Deltas => Self::TAKES_DELTAS,
            Reading::Selected(_) => Self::IS_SELECTIVE,
        };
        Self(member.0 | hears_joins | reading)
    }

    pub(super) fn member(self) -> MemberId {
        MemberId(self.0 & Self::MEMBER)
    }

    pub(super) fn hears_joins(self) -> bool {
        self.0 & Self::HEARS_JOINS != 0
    }

    pub(super) fn takes_deltas(self) -> bool {
        self.0 & Self::TAKES_DELTAS != 0
    }

    pub(super) fn has_base(self) -> bool {
        self.0 & Self::HAS_BASE != 0
    }

    pub(super) fn is_selective(self) -> bool {
        self.0 & Self::IS_SELECTIVE != 0
    }

    /// Notes whether it has the last publication.
    pub(super) fn set_base(&mut self, has_base: bool) {
        self.0 = self.0 & !Self::HAS_BASE | if has_base { Self::HAS_BASE } else { 0 };
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
        reading: &Reading,
        memberships: &mut Memberships,
    ) {
        memberships.add(member, key, self.member_count(), standing);
        let places = self.members.capacity();
        if self.members.len() == places {
            self.members.reserve_exact(places / 4 + 1);
        }
        let hears_joins = standing.is_some_and(|standing| standing.hears_joins);
        self.members.push(Listed::new(member, hears_joins, reading));
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
