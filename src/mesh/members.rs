//! Names of the members of a mesh, and sets of them.
#![forbid(unsafe_code)]

use crate::limits::MESH_MEMBERS_MAX;

/// Words of a set of members.
pub(super) const WORDS: usize = MESH_MEMBERS_MAX / 64;

const _: () = assert!(MESH_MEMBERS_MAX.is_multiple_of(64) && MESH_MEMBERS_MAX <= 256);

/// A member of the mesh: a shard, the control thread, the broker thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u8);

impl MemberId {
    /// The member with this number, below [`MESH_MEMBERS_MAX`].
    pub const fn new(number: usize) -> Self {
        assert!(number < MESH_MEMBERS_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "below MESH_MEMBERS_MAX")]
        Self(number as u8)
    }

    /// The number of this member, counted from 0 in the order of [`super::build`]'s result.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// The word of a set that holds this member, and its bit there.
    pub(super) const fn place(self) -> (usize, u64) {
        (self.as_usize() / 64, 1 << (self.as_usize() % 64))
    }
}

/// A set of members, as plain bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberSet(pub(super) [u64; WORDS]);

impl MemberSet {
    pub(super) fn insert(&mut self, member: MemberId) {
        let (word, bit) = member.place();
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, member: MemberId) {
        let (word, bit) = member.place();
        self.0[word] &= !bit;
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(super) fn union(mut self, other: Self) -> Self {
        for (word, bits) in self.0.iter_mut().zip(other.0) {
            *word |= bits;
        }
        self
    }

    /// The first member whose number is not below `number`.
    pub(super) fn first_from(self, number: usize) -> Option<MemberId> {
        let mut word = number / 64;
        let mut bits = self.0.get(word)? & (!0 << (number % 64));
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        Some(MemberId::new(word * 64 + bits.trailing_zeros() as usize))
    }

    /// All members, in the order of their numbers.
    pub(super) fn iter(self) -> impl Iterator<Item = MemberId> {
        std::iter::successors(self.first_from(0), move |last| self.first_from(last.as_usize() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_a_set_is_found() {
        let numbers = [0, 1, 5, 63, 64, 100, 127];
        let mut set = MemberSet::default();
        assert!(set.is_empty());
        for number in numbers {
            set.insert(MemberId::new(number));
        }
        let found: Vec<_> = set.iter().map(MemberId::as_usize).collect();
        assert_eq!(found, numbers);
        for from in 0..=MESH_MEMBERS_MAX {
            let expected = numbers.iter().copied().find(|&number| number >= from);
            assert_eq!(set.first_from(from).map(MemberId::as_usize), expected, "from {from}");
        }
        for number in numbers {
            set.remove(MemberId::new(number));
        }
        assert!(set.is_empty());
    }
}
