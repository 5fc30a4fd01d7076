//! Whose connections a shard has: users to lists of their members.
//!
//! ```text
//!   hash of a user ─▶ bucket: the first ─▶ links ─▶ the next … each knows the one before it
//! ```
//!
//! A link is two words beside the slab, and a bucket is shared by some four connections, so one
//! takes ten bytes here, no name is stored again, and nothing is ever hashed anew. What a walk over
//! a user's list meets may be another's, and whoever walks asks them. Those who are nobody's have a
//! list of their own: there may be very many.
//!
//! Invariant: who was entered stands in exactly one list until it has left. A walk meets all of the
//! user's who were there when it began and are there still, once, and nobody who came after.

use std::hash::BuildHasher;

use super::fanout::MemberId;

/// Members for each bucket, on a shard that is full of users with one connection each.
const BUCKET_MEMBERS: u32 = 4;

/// Links of one chunk; growing never moves more than that.
const CHUNK_LINKS: u32 = 1024;

/// A hash of users, whatever hasher it is made of.
type UserHash = Box<dyn Fn(&str) -> u64 + Send>;

/// Users to lists of members.
pub struct Roster {
    /// Keyed, because peers choose their names: which of them collide must not be known to them.
    hash: UserHash,
    /// The first of each list; the last one is of those who are nobody's.
    firsts: Box<[Place]>,
    links: Links,
    /// Where the walk goes on, if there is one.
    cursor: Place,
}

/// A member, or none: its number and one, so that fresh memory says none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place(u32);

impl Place {
    const NONE: Self = Self(0);

    fn of(member: MemberId) -> Self {
        Self(member.0 + 1)
    }

    fn member(self) -> Option<MemberId> {
        self.0.checked_sub(1).map(MemberId)
    }
}

/// What stands before a member in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Member(MemberId),
    /// Nothing: it is the first of this list.
    List(usize),
}

/// Both neighbours of a member, in two words; the first one is 0 for who is in no list.
#[derive(Clone, Copy, Default)]
struct Link {
    before: u32,
    next: Place,
}

const _: () = assert!(size_of::<Link>() == 8);

impl Link {
    /// The bit by which a list is told from a member.
    const IS_LIST: u32 = 1 << 31;

    fn new(before: Before, next: Place) -> Self {
        let before = match before {
            Before::Member(member) => Place::of(member).0,
            Before::List(list) => u32::try_from(list).expect("lists are few") | Self::IS_LIST,
        };
        Self { before, next }
    }

    fn before(self) -> Option<Before> {
        if self.before & Self::IS_LIST != 0 {
            return Some(Before::List((self.before & !Self::IS_LIST) as usize));
        }
        Place(self.before).member().map(Before::Member)
    }
}

impl Roster {
    /// A shard without connections, which may have `members_max` of them. `hasher` is keyed at
    /// random by the caller.
    ///
    /// Panics if `members_max` is 2^31 or more.
    pub fn new(members_max: u32, hasher: impl BuildHasher + Send + 'static) -> Self {
        assert!(members_max < Link::IS_LIST, "far more than a process has descriptors");
        let lists = (members_max / BUCKET_MEMBERS).max(1) as usize;
        Self {
            hash: Box::new(move |user: &str| hasher.hash_one(user)),
            firsts: vec![Place::NONE; lists + 1].into(),
            links: Links::default(),
            cursor: Place::NONE,
        }
    }

    /// Enters a member as one of the user's, empty for nobody, and takes it out of the list that
    /// it was in.
    pub fn enter(&mut self, member: MemberId, user: &str) {
        self.leave(member);
        let list = self.list_of(user);
        let next = std::mem::replace(&mut self.firsts[list], Place::of(member));
        self.links.insert(member, Link::new(Before::List(list), next));
        if let Some(next) = next.member() {
            let link = self.links.of(next);
            *link = Link::new(Before::Member(member), link.next);
        }
    }

    /// Takes a member out of its list, if it is in one.
    pub fn leave(&mut self, member: MemberId) {
        let Some(link) = self.links.remove(member) else { return };
        let before = link.before().expect("it was in a list");
        let was_next = self.cursor == Place::of(member);
        if let Some(next) = link.next.member() {
            let after = self.links.of(next);
            *after = Link::new(before, after.next);
        }
        match before {
            Before::Member(before) => self.links.of(before).next = link.next,
            Before::List(list) => self.firsts[list] = link.next,
        }
        if was_next {
            self.cursor = link.next;
        }
    }

    /// Begins a walk over the user's members, instead of any other.
    pub fn begin(&mut self, user: &str) {
        self.cursor = self.firsts[self.list_of(user)];
    }

    /// The next member of the walk; some may be another user's.
    pub fn pass(&mut self) -> Option<MemberId> {
        let member = self.cursor.member()?;
        self.cursor = self.links.of(member).next;
        Some(member)
    }

    /// Whether the walk goes on.
    pub fn has_next(&self) -> bool {
        self.cursor != Place::NONE
    }

    /// Bytes of memory behind this roster.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.firsts) + self.links.memory_bytes()
    }

    fn list_of(&self, user: &str) -> usize {
        let lists = self.firsts.len() - 1;
        if user.is_empty() {
            return lists;
        }
        let place = (self.hash)(user) % lists as u64;
        usize::try_from(place).expect("less than a length")
    }
}

/// A link for each member, in chunks that are given back when nobody of them is there.
#[derive(Default)]
struct Links {
    chunks: Vec<Option<Box<Chunk>>>,
}

struct Chunk {
    links: [Link; CHUNK_LINKS as usize],
    used: u32,
}

fn chunk_of(member: MemberId) -> usize {
    (member.0 / CHUNK_LINKS) as usize
}

fn place_in_chunk(member: MemberId) -> usize {
    (member.0 % CHUNK_LINKS) as usize
}

impl Links {
    fn of(&mut self, member: MemberId) -> &mut Link {
        let chunk = self.chunks[chunk_of(member)].as_mut();
        let chunk = chunk.expect("lists and links name who is there");
        &mut chunk.links[place_in_chunk(member)]
    }

    fn insert(&mut self, member: MemberId, link: Link) {
        let place = chunk_of(member);
        if self.chunks.len() <= place {
            self.chunks.resize_with(place + 1, || None);
        }
        let empty = || Box::new(Chunk { links: [Link::default(); CHUNK_LINKS as usize], used: 0 });
        let chunk = self.chunks[place].get_or_insert_with(empty);
        chunk.links[place_in_chunk(member)] = link;
        chunk.used += 1;
    }

    fn remove(&mut self, member: MemberId) -> Option<Link> {
        let chunk = self.chunks.get_mut(chunk_of(member))?.as_mut()?;
        let link = std::mem::take(&mut chunk.links[place_in_chunk(member)]);
        link.before()?;
        chunk.used -= 1;
        if chunk.used == 0 {
            self.chunks[chunk_of(member)] = None;
        }
        while self.chunks.last().is_some_and(Option::is_none) {
            self.chunks.pop();
        }
        Some(link)
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::RandomState;

    #[test]
    fn a_connection_takes_few_bytes_and_none_after_it_was_there() {
        let count = 50_000;
        let mut roster = Roster::new(count, RandomState::new());
        let empty = roster.memory_bytes();
        for member in 0..count {
            roster.enter(MemberId(member), &format!("user-{member}"));
        }
        let each = roster.memory_bytes() / count as usize;
        assert!(each <= 9, "{each} bytes each");
        for member in 0..count {
            roster.leave(MemberId(member));
        }
        assert_eq!(roster.memory_bytes(), empty);
    }

    #[test]
    fn a_walk_meets_few_others_and_none_of_nobodys() {
        let mut roster = Roster::new(4000, RandomState::new());
        for member in 0..4000 {
            let user = if member < 2000 { member.to_string() } else { String::new() };
            roster.enter(MemberId(member), &user);
        }
        let met = |roster: &mut Roster, user: &str| {
            roster.begin(user);
            std::iter::from_fn(|| roster.pass()).count()
        };
        let of_all: usize = (0..2000).map(|member| met(&mut roster, &member.to_string())).sum();
        assert!(of_all < 2000 * 6, "{of_all} met for 2000");
        assert_eq!(met(&mut roster, ""), 2000);
    }

    /// What happens next.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter { member: u32, user: usize },
        Leave { member: u32 },
        Begin { user: usize },
        Next,
    }

    const USERS: [&str; 4] = ["", "ann", "bob", "cho"];

    fn step() -> impl Strategy<Value = Step> {
        let member = || prop_oneof![0..6_u32, 1022..1027_u32];
        prop_oneof![
            4 => (member(), 0..4_usize).prop_map(|(member, user)| Step::Enter { member, user }),
            3 => member().prop_map(|member| Step::Leave { member }),
            1 => (0..4_usize).prop_map(|user| Step::Begin { user }),
            3 => Just(Step::Next),
        ]
    }

    proptest! {
        /// Against plain sets, with walks that are cut by what happens between their steps.
        #[test]
        fn lists_hold_who_is_there_and_walks_meet_all_who_stayed(
            steps in proptest::collection::vec(step(), 0..300),
        ) {
            // Few lists, so that users share them.
            let mut roster = Roster::new(8, RandomState::new());
            let mut model: BTreeMap<u32, usize> = BTreeMap::new();
            let mut awaited: BTreeSet<u32> = BTreeSet::new();
            let mut walked = None;
            for step in steps {
                match step {
                    Step::Enter { member, user } => {
                        roster.enter(MemberId(member), USERS[user]);
                        model.insert(member, user);
                        awaited.remove(&member);
                    }
                    Step::Leave { member } => {
                        roster.leave(MemberId(member));
                        model.remove(&member);
                        awaited.remove(&member);
                    }
                    Step::Begin { user } => {
                        walked = Some(user);
                        roster.begin(USERS[user]);
                        let of_user = model.iter().filter(|(_, of)| **of == user);
                        awaited = of_user.map(|(member, _)| *member).collect();
                    }
                    Step::Next => {
                        match roster.pass() {
                            Some(met) if walked == Some(model[&met.0]) => {
                                prop_assert!(awaited.remove(&met.0), "{} unawaited", met.0);
                            }
                            Some(_) => {}
                            None => prop_assert!(awaited.is_empty()),
                        }
                        prop_assert!(roster.has_next() || awaited.is_empty());
                    }
                }
            }
            for (user, name) in USERS.iter().enumerate() {
                roster.begin(name);
                let mut met: Vec<u32> =
                    std::iter::from_fn(|| roster.pass()).map(|member| member.0).collect();
                met.retain(|member| model[member] == user);
                met.sort_unstable();
                let there = model.iter().filter(|(_, of)| **of == user);
                prop_assert!(met.into_iter().eq(there.map(|(member, _)| *member)));
            }
        }
    }
}
