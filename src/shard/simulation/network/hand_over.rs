//! The hand-over: shards stand still and write all that they have in its format, and those of
//! another process read it, and go on.
//!
//! ```text
//!   freeze ─▶ turns, until has_settled ─▶ thaw, or hand_over: sinks ─▶ messages ─▶ sources
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use super::super::super::adoption::take_heirloom;
use super::super::super::carried::{Parcel, Unfit};
use super::super::super::estate;
use super::super::super::phase::Phase;
use super::super::super::slab::Index;
use super::node::Node;
use super::{LiveSettings, Network, Process, Shape};
use crate::handler::{ConnectionId, Handler, Peer};
use crate::handover::{Bequest, Item, Sink, Source};
use crate::hub::Homes;
use crate::mesh::Member;
use crate::metrics::{Details, Totals};
use crate::ring::{Operation, Token};
use crate::session::random::Random;

/// From one shard to one of the other process; sockets are named by their numbers.
#[derive(Default)]
struct Way {
    sink: Sink<u64>,
    messages: VecDeque<(Vec<u8>, Vec<u64>)>,
    source: Source<u64>,
    /// The channel of the last stream that came on it.
    stream: String,
    is_over: bool,
}

impl Way {
    fn has_room(&mut self) -> bool {
        if !self.sink.has_room() {
            self.pack();
        }
        self.sink.has_room()
    }

    /// What was put leaves.
    fn pack(&mut self) {
        while let Some((bytes, sockets)) = self.sink.message() {
            self.messages.push_back((bytes.to_vec(), sockets.copied().collect()));
            self.sink.sent();
        }
    }
}

/// By their sockets' numbers, where connections are now.
type Places = BTreeMap<u64, (usize, ConnectionId)>;

impl Network {
    /// All stand still from now on, and what is under way comes to its end in their turns.
    pub(in crate::shard::simulation) fn freeze(&mut self) {
        for node in &mut self.nodes {
            node.is_still = true;
            node.core.stand_still(true);
        }
    }

    /// Nothing has become of it: these go on.
    pub(in crate::shard::simulation) fn thaw(&mut self) {
        for node in &mut self.nodes {
            node.is_still = false;
            node.core.stand_still(false);
        }
    }

    /// Whether nothing is under way any more.
    pub(in crate::shard::simulation) fn has_settled(&self) -> bool {
        let members = self.nodes.iter().map(|node| &node.core.channels.mesh);
        let counts = members.chain([&self.control]).map(Member::counters);
        let on_their_way = counts.map(|all| all.sent.cast_signed() - all.received.cast_signed());
        let is_idle = self.nodes.iter().all(|node| node.core.has_settled());
        let is_idle = is_idle && self.nodes.iter().all(|node| node.unwatched.is_none());
        is_idle && on_their_way.sum::<i64>() == 0
    }

    /// So many shards of another process take everything over. If it does not fit there, nothing
    /// has happened here.
    pub(in crate::shard::simulation) fn hand_over(
        &mut self,
        shard_count: usize,
        random: &mut Random,
    ) -> Result<(), Unfit> {
        let before = self.everything();
        let (mut next, live) = self.successor(shard_count);
        let mut ways = self.load(shard_count, random);
        let places = unload(&mut ways, &mut next.nodes, random, || self.lend_socket())?;
        settle_in(&mut next.nodes, random);
        self.commit(next, live, &places);
        let after = self.everything();
        // What comes out is what was put in, as far as there is room.
        let counters = self.nodes.iter_mut().map(|node| node.core.counted().counters);
        let evicted = counters.map(|all| all.publications_evicted + all.streams_evicted).sum();
        before.must_be(&after, evicted);
        Ok(())
    }

    fn lend_socket(&self) -> OwnedFd {
        self.socket.try_clone().expect("a descriptor is left")
    }

    /// The other process, before it has taken anything over.
    fn successor(&self, shard_count: usize) -> (Process, LiveSettings) {
        let heritage = self.live.heritage();
        let live = LiveSettings::inheriting(self.settings.clone(), &heritage);
        let live = live.expect("they were valid before");
        // Epochs are drawn from it: those of two processes are not the same.
        let seed = self.seed.wrapping_add((self.handed_over_count + 1) << 32);
        let shape = Shape { shard_count, ..self.shape };
        (Process::new(shape, seed, &self.settings, &live, self.now), live)
    }

    /// All that the shards have, by shards of this process and of the other.
    fn load(&self, shard_count: usize, random: &mut Random) -> Vec<Vec<Way>> {
        let homes = Homes::dealt(shard_count);
        let load = |node: &Node| {
            let mut ways: Vec<Way> = (0..shard_count).map(|_| Way::default()).collect();
            if node.core.number == 0 {
                let legacy = node.sessions.legacy();
                for way in &mut ways {
                    way.sink.legacy(&legacy);
                }
            }
            for (number, index) in node.living() {
                let Parcel::Goes(connection) = node.core.carried(index) else {
                    panic!("{:?} has settled, and cannot go", node.core.id(index));
                };
                let way = &mut ways[random.below(shard_count)];
                assert!(way.has_room());
                way.sink.connection(&connection, number);
            }
            let home = &node.core.channels.home;
            let mut left = estate::Estate::default();
            while let Some((heirloom, next)) = home.heirloom(&left) {
                let way = &mut ways[homes.home_of_channel(heirloom.channel()).index()];
                assert!(way.has_room());
                heirloom.put(&mut way.sink);
                left = next;
            }
            for way in &mut ways {
                way.sink.end();
                way.pack();
            }
            ways
        };
        self.nodes.iter().map(load).collect()
    }

    /// All of it is the other process's now.
    fn commit(&mut self, next: Process, live: LiveSettings, places: &Places) {
        let counts = Totals::new(self.counters(), Details::default()).named().collect();
        let bequest = Bequest { counts, ..Bequest::default() }.encode();
        let bequest = Bequest::decode(&bequest).expect("it was encoded here");
        self.inherited = Totals::of_named(bequest.counts);
        let Process { nodes, control } = next;
        let former = std::mem::replace(&mut self.nodes, nodes);
        for (number, mut pipe) in former.into_iter().flat_map(|node| node.pipes) {
            let Some(&(shard, id)) = places.get(&number) else {
                assert!(pipe.is_over, "{number} was left behind");
                if pipe.left.is_none() {
                    self.over.insert(number, pipe);
                }
                continue;
            };
            (pipe.is_watched, pipe.is_room_watched) = (false, false);
            pipe.token = Token::new(Operation::Readable, id.serial(), id.index());
            let node = &mut self.nodes[shard];
            node.numbers.insert(id.index(), number);
            node.pipes.insert(number, pipe);
        }
        (self.control, self.live) = (control, live);
        self.shape.shard_count = self.nodes.len();
        self.back_end = super::BackEnd::new(self.nodes.len());
        self.handed_over_count += 1;
        for node in &mut self.nodes {
            node.core.channels.home.settle_inheritance();
            node.unwatched = Some(0);
            node.core.stand_still(true);
            assert_eq!(node.core.counted().counters.heirlooms_unmatched, 0);
        }
    }
}

/// Whatever comes first on some way is taken first.
fn unload(
    ways: &mut [Vec<Way>],
    nodes: &mut [Node],
    random: &mut Random,
    lend_socket: impl Fn() -> OwnedFd,
) -> Result<Places, Unfit> {
    let mut places = Places::new();
    while ways.iter().flatten().any(|way| !way.is_over) {
        let to = random.below(nodes.len());
        let from = random.below(ways.len());
        let way = &mut ways[from][to];
        let Some((bytes, sockets)) = way.messages.pop_front() else { continue };
        way.source.feed(&bytes, sockets);
        while let Some(item) = way.source.next_item().expect("it was written here") {
            if matches!(item, Item::End(_)) {
                assert!(way.messages.is_empty(), "nothing comes behind the end");
                way.is_over = true;
                break;
            }
            if let Some((number, id)) = nodes[to].take(item, &mut way.stream, &lend_socket)? {
                assert!(places.insert(number, (to, id)).is_none(), "{number} came twice");
            }
        }
    }
    Ok(places)
}

/// All tell the homes of what they have taken over, and hear what the others have to tell.
fn settle_in(nodes: &mut [Node], random: &mut Random) {
    for node in nodes.iter_mut() {
        node.core.settle_in();
    }
    for round in 0.. {
        assert!(round < 10_000, "they never settle in");
        if nodes.iter().all(|node| node.core.channels.has_settled_in()) {
            return;
        }
        let node = &mut nodes[random.below(nodes.len())];
        node.take_messages(1 + random.below(16));
        node.core.settle_in();
        node.core.channels.mesh.flush(|_| {});
    }
}

impl Node {
    /// Those who live here: the numbers of their sockets, and their slots.
    pub(super) fn living(&self) -> impl Iterator<Item = (u64, Index)> {
        let slots = (0..self.core.entries_max()).map(Index::new);
        slots.filter_map(|index| {
            let phase = self.core.phase(index)?;
            let number = self.numbers[&index.as_u32()];
            (phase != Phase::Retiring).then_some((number, index))
        })
    }

    /// Takes over what a shard of another process had; who that is, if it is a connection.
    fn take(
        &mut self,
        item: Item<u64>,
        stream: &mut String,
        lend_socket: impl Fn() -> OwnedFd,
    ) -> Result<Option<(u64, ConnectionId)>, Unfit> {
        match item {
            Item::Connection(connection, number) => {
                let Self { core, sessions, .. } = self;
                let id = core.take_over(sessions, *connection, lend_socket())?;
                let (mut turn, sessions) = self.parts();
                if turn.core.open(id).is_some() {
                    sessions.taken_over(&mut Peer::new(&mut turn, id));
                }
                Ok(Some((number, id)))
            }
            Item::Legacy(legacy) => {
                assert!(self.sessions.inherit(&legacy));
                Ok(None)
            }
            heirloom => {
                take_heirloom(&mut self.core.channels.home, stream, heirloom)?;
                Ok(None)
            }
        }
    }

    /// Watches some of the connections that were taken over.
    pub(super) fn watch_some(&mut self) {
        if let Some(cursor) = self.unwatched {
            self.unwatched = self.core.watch_from(cursor, 4);
            self.core.stand_still(self.unwatched.is_some());
        }
    }
}
