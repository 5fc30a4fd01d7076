//! Which channels a member is in, and where it stands in each of them.
//!
//! ```text
//! member ─▶ page ─▶ first membership ─▶ next membership ─▶ …      12 bytes each, 4 for the head
//!                    channel, place      channel, place: position and standing
//! ```
//!
//! Invariant: for each membership, the channel's member list holds the member at `position`.
//! A member in no channel costs nothing once its page of 256 neighbours is empty.

use super::arena::{Arena, Key, Slot};
use super::fanout::MemberId;
use crate::limits::MEMBERSHIPS_PER_SHARD_MAX;

/// Members whose heads share one allocation of a kilobyte.
const PAGE_MEMBERS: usize = 256;

pub(super) struct Memberships {
    pages: Box<[Option<Box<Page>>]>,
    memberships: Arena<Membership>,
}

struct Page {
    heads: [Option<Key>; PAGE_MEMBERS],
    used: u16,
}

struct Membership {
    channel: Key,
    place: Place,
    next: Option<Key>,
}

/// How a member stands in a channel: what is kept with its membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The caller's own, below 8.
    pub tag: u8,
    /// What becomes of frames that it does not take in time: the caller's own, below 4.
    pub overflow: u8,
    /// Whether the home counts it among those present.
    pub is_present: bool,
    /// Whether others are told of its coming and going.
    pub is_announced: bool,
    /// Whether it is sent the frames that tell of others coming and going.
    pub hears_joins: bool,
    /// Whether the home retains for its user what is published, until it is acknowledged.
    pub acknowledges: bool,
}

/// A position, and above it the standing, and whether the member has yet to hear that it has
/// joined.
#[derive(Clone, Copy)]
struct Place(u32);

impl Standing {
    /// Bits of a tag.
    pub const TAG_BITS: u32 = 3;
    /// Bits of what becomes of frames that are not taken in time.
    pub const OVERFLOW_BITS: u32 = 2;
}

impl Place {
    const POSITION_BITS: u32 = MEMBERSHIPS_PER_SHARD_MAX.trailing_zeros();
    const POSITION: u32 = (1 << Self::POSITION_BITS) - 1;
    const TAG_SHIFT: u32 = Self::POSITION_BITS;
    const OVERFLOW_SHIFT: u32 = Self::TAG_SHIFT + Standing::TAG_BITS;
    const PRESENT: u32 = 1 << (Self::OVERFLOW_SHIFT + Standing::OVERFLOW_BITS);
    const ANNOUNCED: u32 = Self::PRESENT << 1;
    const HEARS_JOINS: u32 = Self::ANNOUNCED << 1;
    const ACKNOWLEDGES: u32 = Self::HEARS_JOINS << 1;
    const WAITS: u32 = 1 << 31;

    fn new(position: u32, standing: Standing) -> Self {
        assert!(position <= Self::POSITION, "memberships are bounded by as much");
        assert!(standing.tag < 1 << 3 && standing.overflow < 1 << 2, "{standing:?} does not fit");
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        Self(
            position
                | u32::from(standing.tag) << Self::TAG_SHIFT
                | u32::from(standing.overflow) << Self::OVERFLOW_SHIFT
                | flag(standing.is_present, Self::PRESENT)
                | flag(standing.is_announced, Self::ANNOUNCED)
                | flag(standing.hears_joins, Self::HEARS_JOINS)
                | flag(standing.acknowledges, Self::ACKNOWLEDGES),
        )
    }

    fn waiting_at(position: u32) -> Self {
        Self(Self::new(position, Standing::default()).0 | Self::WAITS)
    }

    fn position(self) -> u32 {
        self.0 & Self::POSITION
    }

    fn waits(self) -> bool {
        self.0 & Self::WAITS != 0
    }

    fn moved_to(self, position: u32) -> Self {
        Self(position | self.0 & !Self::POSITION)
    }

    fn standing(self) -> Standing {
        let bits = |shift: u32, count: u32| ((self.0 >> shift) & ((1 << count) - 1)).to_le_bytes();
        Standing {
            tag: bits(Self::TAG_SHIFT, 3)[0],
            overflow: bits(Self::OVERFLOW_SHIFT, 2)[0],
            is_present: self.0 & Self::PRESENT != 0,
            is_announced: self.0 & Self::ANNOUNCED != 0,
            hears_joins: self.0 & Self::HEARS_JOINS != 0,
            acknowledges: self.0 & Self::ACKNOWLEDGES != 0,
        }
    }
}

const _: () = assert!(MEMBERSHIPS_PER_SHARD_MAX.is_power_of_two());
const _: () = assert!(Place::ACKNOWLEDGES < Place::WAITS);
const _: () = assert!(size_of::<Slot<Membership>>() == 12); // up to 4 Mi of them

impl Memberships {
    pub(super) fn new(members_max: u32) -> Self {
        let page_count = (members_max as usize).div_ceil(PAGE_MEMBERS);
        Self { pages: (0..page_count).map(|_| None).collect(), memberships: Arena::new() }
    }

    pub(super) fn len(&self) -> u32 {
        self.memberships.len()
    }

    /// Notes that `member` stands at `position` of `channel`, where it was not before. Without a
    /// `standing` it waits to hear that it has joined.
    pub(super) fn add(
        &mut self,
        member: MemberId,
        channel: Key,
        position: u32,
        standing: Option<Standing>,
    ) {
        let place = match standing {
            Some(standing) => Place::new(position, standing),
            None => Place::waiting_at(position),
        };
        let next = self.head(member);
        let key = self.memberships.insert(Membership { channel, place, next });
        self.set_head(member, Some(key));
    }

    /// Ends the membership; returns the position and standing it had, `None` if there was none.
    pub(super) fn remove(&mut self, member: MemberId, channel: Key) -> Option<(u32, Standing)> {
        let (previous, found) = self.find(member, channel)?;
        let Membership { place, next, .. } = self.memberships.remove(found);
        match previous {
            None => self.set_head(member, next),
            Some(previous) => self.at_mut(previous).next = next,
        }
        Some((place.position(), place.standing()))
    }

    /// Any one channel that it is in.
    pub(super) fn any(&self, member: MemberId) -> Option<Key> {
        let head = self.head(member)?;
        Some(self.memberships.get(head).expect("linked memberships are in use").channel)
    }

    /// Calls `each` for every channel that it is in, with how it stands there.
    pub(super) fn each(&self, member: MemberId, mut each: impl FnMut(Key, Standing)) {
        let mut next = self.head(member);
        while let Some(key) = next {
            let membership = self.memberships.get(key).expect("linked memberships are in use");
            each(membership.channel, membership.place.standing());
            next = membership.next;
        }
    }

    /// How the member stands in a channel; `None` if it is not in it.
    pub(super) fn standing(&self, member: MemberId, channel: Key) -> Option<Standing> {
        let (_, found) = self.find(member, channel)?;
        Some(self.memberships.get(found).expect("linked memberships are in use").place.standing())
    }

    /// Where the member stands in a channel's list; `None` if it is not in it.
    pub(super) fn position(&self, member: MemberId, channel: Key) -> Option<u32> {
        let (_, found) = self.find(member, channel)?;
        Some(self.memberships.get(found).expect("linked memberships are in use").place.position())
    }

    pub(super) fn contains(&self, member: MemberId, channel: Key) -> bool {
        self.find(member, channel).is_some()
    }

    /// Notes that `member` now stands elsewhere in `channel`.
    pub(super) fn move_to(&mut self, member: MemberId, channel: Key, position: u32) {
        let (_, found) = self.find(member, channel).expect("listed members have a membership");
        let place = &mut self.at_mut(found).place;
        *place = place.moved_to(position);
    }

    /// Ends the wait of `member` to hear that it has joined; false if it does not wait.
    pub(super) fn end_wait(&mut self, member: MemberId, channel: Key) -> bool {
        let Some((_, found)) = self.find(member, channel) else { return false };
        let place = &mut self.at_mut(found).place;
        let waited = place.waits();
        place.0 &= !Place::WAITS;
        waited
    }

    /// Bytes of memory behind the memberships, without the table of pages, whose size is fixed.
    pub(super) fn memory_bytes(&self) -> usize {
        let page_count = self.pages.iter().flatten().count();
        page_count * size_of::<Page>() + self.memberships.memory_bytes()
    }

    /// The membership and the one before it. A walk over the member's channels, of which the
    /// caller allows a connection few (Centrifugo: 128).
    fn find(&self, member: MemberId, channel: Key) -> Option<(Option<Key>, Key)> {
        let mut previous = None;
        let mut next = self.head(member);
        while let Some(key) = next {
            let membership = self.memberships.get(key).expect("linked memberships are in use");
            if membership.channel == channel {
                return Some((previous, key));
            }
            (previous, next) = (next, membership.next);
        }
        None
    }

    fn at_mut(&mut self, key: Key) -> &mut Membership {
        self.memberships.get_mut(key).expect("linked memberships are in use")
    }

    fn head(&self, member: MemberId) -> Option<Key> {
        let page = self.pages[page_index(member)].as_ref()?;
        page.heads[index_in_page(member)]
    }

    fn set_head(&mut self, member: MemberId, head: Option<Key>) {
        let place = &mut self.pages[page_index(member)];
        let page =
            place.get_or_insert_with(|| Box::new(Page { heads: [None; PAGE_MEMBERS], used: 0 }));
        let old = std::mem::replace(&mut page.heads[index_in_page(member)], head);
        page.used += u16::from(head.is_some());
        page.used -= u16::from(old.is_some());
        if page.used == 0 {
            *place = None;
        }
    }
}

fn page_index(member: MemberId) -> usize {
    member.0 as usize / PAGE_MEMBERS
}

fn index_in_page(member: MemberId) -> usize {
    member.0 as usize % PAGE_MEMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_comes_back_and_survives_moves_and_the_end_of_the_wait() {
        let mut memberships = Memberships::new(10);
        let mut channels = Arena::new();
        let (member, channel) = (MemberId(3), channels.insert(()));
        for (bits, acknowledges) in (0..=u8::MAX).flat_map(|bits| [(bits, false), (bits, true)]) {
            let standing = Standing {
                acknowledges,
                tag: bits & 7,
                overflow: bits >> 3 & 3,
                is_present: bits >> 5 & 1 == 1,
                hears_joins: bits >> 6 & 1 == 1,
                is_announced: bits >> 7 == 1,
            };
            memberships.add(member, channel, Place::POSITION, Some(standing));
            assert_eq!(memberships.standing(member, channel), Some(standing));
            assert!(!memberships.end_wait(member, channel), "it was told already");
            memberships.move_to(member, channel, 5);
            assert_eq!(memberships.remove(member, channel), Some((5, standing)));
        }
        memberships.add(member, channel, 9, None);
        assert!(memberships.end_wait(member, channel) && !memberships.end_wait(member, channel));
        assert_eq!(memberships.remove(member, channel), Some((9, Standing::default())));
        assert_eq!((memberships.any(member), memberships.standing(member, channel)), (None, None));
    }
}
