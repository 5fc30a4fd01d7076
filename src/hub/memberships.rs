//! Which channels a member is in, and where it stands in each of them.
//!
//! ```text
//! member ─▶ page ─▶ first membership ─▶ next membership ─▶ …      12 bytes each, 4 for the head
//!                    channel, position   channel, position
//! ```
//!
//! Invariant: for each membership, the channel's member list holds the member at `position`.
//! A member in no channel costs nothing once its page of 256 neighbours is empty.

use super::arena::{Arena, Key, Slot};
use super::fanout::MemberId;

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

/// A position, and in its highest bit whether the member has yet to hear that it has joined.
#[derive(Clone, Copy)]
struct Place(u32);

impl Place {
    const WAITS: u32 = 1 << 31;

    fn waiting_at(position: u32) -> Self {
        assert!(position < Self::WAITS, "memberships are bounded far below");
        Self(position | Self::WAITS)
    }

    fn position(self) -> u32 {
        self.0 & !Self::WAITS
    }

    fn waits(self) -> bool {
        self.0 & Self::WAITS != 0
    }

    fn moved_to(self, position: u32) -> Self {
        Self(position | self.0 & Self::WAITS)
    }
}

const _: () = assert!(size_of::<Slot<Membership>>() == 12); // up to 4 Mi of them

impl Memberships {
    pub(super) fn new(members_max: u32) -> Self {
        let page_count = (members_max as usize).div_ceil(PAGE_MEMBERS);
        Self { pages: (0..page_count).map(|_| None).collect(), memberships: Arena::new() }
    }

    pub(super) fn len(&self) -> u32 {
        self.memberships.len()
    }

    /// Notes that `member` stands at `position` of `channel`, where it was not before, and waits to
    /// hear that it has joined.
    pub(super) fn add(&mut self, member: MemberId, channel: Key, position: u32) {
        let next = self.head(member);
        let key = self.memberships.insert(Membership {
            channel,
            place: Place::waiting_at(position),
            next,
        });
        self.set_head(member, Some(key));
    }

    /// Ends the membership; returns the position it had, `None` if there was none.
    pub(super) fn remove(&mut self, member: MemberId, channel: Key) -> Option<u32> {
        let (previous, found) = self.find(member, channel)?;
        let Membership { place, next, .. } = self.memberships.remove(found);
        match previous {
            None => self.set_head(member, next),
            Some(previous) => self.at_mut(previous).next = next,
        }
        Some(place.position())
    }

    /// Ends any one membership; returns its channel and position.
    pub(super) fn pop(&mut self, member: MemberId) -> Option<(Key, u32)> {
        let head = self.head(member)?;
        let Membership { channel, place, next } = self.memberships.remove(head);
        self.set_head(member, next);
        Some((channel, place.position()))
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
        *place = Place(place.position());
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
