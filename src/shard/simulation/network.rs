//! Shards without threads, a kernel without sockets: the shipped core, sessions, hub and mesh, in
//! turns that the simulation deals out, with clients' bytes in queues of a few kilobytes.

mod bounds;
mod estate;
mod hand_over;
mod node;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::node::{Node, Pipe, Report};
use super::super::message::Message;
use super::super::session_settings::SessionSettings;
use super::super::sessions::Sessions;
use super::super::{BackEnd, Channels, Core, Jobs, LiveSettings, Seats, Settings};
use super::ledger::Position;
use crate::address::SocketPeer;
use crate::config::Config;
use crate::handler::{Handler, Keep, MessageKind};
use crate::hub::{AckBounds, Outstanding, StreamBounds, Streams};
use crate::mesh::{Class, Member};
use crate::metrics::{Counters, Totals};
use crate::ring::Received;
use crate::sys::bell::Bell;
use crate::sys::clock;

/// Connections on one shard at the same time.
const SEATS: u32 = 4096;

/// One connection as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    number: u64,
}

/// What the shards of one server are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) shard_count: usize,
    /// Slots of each queue between two of them.
    pub(super) mesh_slots: usize,
    /// Requests of one shard that may wait for room in a queue.
    pub(super) requests_max: usize,
    /// A queue with room is found full once in so many times, because it was emptied just then; 0
    /// is never.
    pub(super) refusals_one_in: u64,
    /// Bytes that may wait for each client.
    pub(super) room_bytes: usize,
    pub(super) streams: StreamBounds,
}

/// How much a shard does in one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) messages: usize,
    pub(super) reads: usize,
    pub(super) read_bytes: usize,
    pub(super) deliveries: usize,
}

impl Budget {
    /// As much as there is.
    pub(super) const ALL: Self =
        Self { messages: 4096, reads: 4096, read_bytes: 64 * 1024, deliveries: 4096 };
}

/// All shards, the control thread's end of the mesh, and the clients' ends of their connections.
pub(super) struct Network {
    nodes: Vec<Node>,
    control: Member<Message>,
    back_end: BackEnd,
    now: Instant,
    next_number: u64,
    shape: Shape,
    seed: u64,
    settings: SessionSettings,
    live: LiveSettings,
    /// Processes that have handed over to the next.
    handed_over_count: u64,
    /// What they have counted.
    inherited: Totals,
    /// Connections that had ended in one of them, as their clients see them.
    over: BTreeMap<u64, Pipe>,
    /// One socket to lend to all connections: nobody reads or writes it.
    socket: OwnedFd,
}

/// The shards of one process, and the control thread's end of their mesh.
struct Process {
    nodes: Vec<Node>,
    control: Member<Message>,
}

impl Process {
    /// Shards that are to be like this, at this time.
    fn new(
        shape: Shape,
        seed: u64,
        settings: &SessionSettings,
        live: &LiveSettings,
        now: Instant,
    ) -> Self {
        let Shape { shard_count, mesh_slots, requests_max, streams, .. } = shape;
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        settings.configure(&mut config);
        let make = Sessions::following(live);
        let seats = Arc::new(Seats::new(shard_count, SEATS, SEATS * 8));
        let hasher = std::hash::RandomState::new();
        let mut members =
            crate::mesh::build_with_slots(shard_count + 1, mesh_slots).expect("a mesh");
        let control = members.pop().expect("there is one for it");
        let nodes = members.into_iter().enumerate().map(|(number, mesh)| {
            let mut sessions = make(number);
            let routes = sessions.routes();
            let seats = Arc::clone(&seats);
            let settings = Settings::new(&config, number, shard_count, seats, None, 0, &routes);
            let mut channels = Channels::new(number, shard_count, SEATS, mesh, now, &hasher);
            channels.requests.limit(requests_max);
            let seed = seed.wrapping_add(number as u64);
            channels.home.streams = Streams::new(streams, seed, hasher.clone());
            channels.home.outstanding = {
                let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Outstanding::new(AckBounds::default(), seed)
            };
            let bell = Arc::new(Bell::new().expect("a bell"));
            let jobs = Jobs::new(crossbeam_channel::bounded(1).0, 1, bell);
            let core = Core::new(settings, routes, channels, jobs, now, |_| SocketPeer::Local);
            Node::new(core, sessions)
        });
        Self { nodes: nodes.collect(), control }
    }
}

impl Network {
    /// Shards that are to be like this.
    pub(super) fn new(shape: Shape, seed: u64, settings: &SessionSettings) -> Self {
        let live = LiveSettings::new(settings.clone()).expect("they are valid");
        let now = clock::now();
        let Process { nodes, control } = Process::new(shape, seed, settings, &live, now);
        Self {
            nodes,
            control,
            back_end: BackEnd::new(shape.shard_count),
            now,
            next_number: 0,
            shape,
            seed,
            settings: settings.clone(),
            live,
            handed_over_count: 0,
            inherited: Totals::default(),
            over: BTreeMap::new(),
            socket: std::os::unix::net::UnixDatagram::unbound().expect("a socket").into(),
        }
    }

    pub(super) fn shard_count(&self) -> usize {
        self.nodes.len()
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, period: Duration) {
        self.now += period;
    }

    /// A client connects; its first bytes are still to come.
    pub(super) fn dial(&mut self, shard: usize) -> Link {
        let number = self.next_number;
        self.next_number += 1;
        let socket = self.socket.try_clone().expect("a descriptor is left");
        self.nodes[shard].admit(number, socket, self.shape.room_bytes);
        Link { number }
    }

    /// The shard that has the connection.
    fn node_of(&mut self, link: Link) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.pipes.contains_key(&link.number))
    }

    /// The client sends; nothing happens if the connection is gone.
    pub(super) fn send(&mut self, link: Link, bytes: &[u8]) {
        if let Some(node) = self.node_of(link) {
            node.pipe(link.number).to_shard.extend(bytes);
            node.report_input(link.number);
        }
    }

    /// The client leaves without a word: by a FIN or by a reset.
    pub(super) fn leave(&mut self, link: Link, is_reset: bool) {
        self.over.remove(&link.number);
        let Some(node) = self.node_of(link) else { return };
        let left = if is_reset { Received::Failed(libc::ECONNRESET) } else { Received::End };
        let pipe = node.pipe(link.number);
        pipe.left = Some(left);
        pipe.is_over = true;
        pipe.to_client.clear();
        if std::mem::take(&mut pipe.is_room_watched) {
            let token = pipe.token;
            node.reports.push((token, Report::Room)); // for an error is news too
        }
        node.report_input(link.number);
    }

    /// The client reads at most `limit_bytes`; also whether nothing follows.
    pub(super) fn read(&mut self, link: Link, limit_bytes: usize) -> (Vec<u8>, bool) {
        if let Some(pipe) = self.over.get_mut(&link.number) {
            return pipe.read(limit_bytes);
        }
        let Some(node) = self.node_of(link) else { return (Vec::new(), true) };
        let pipe = node.pipe(link.number);
        let (bytes, is_over) = pipe.read(limit_bytes);
        if !bytes.is_empty() && std::mem::take(&mut pipe.is_room_watched) {
            let token = pipe.token;
            node.reports.push((token, Report::Room));
        }
        (bytes, is_over)
    }

    /// The connection is of no interest to its client any more.
    pub(super) fn forget(&mut self, link: Link) {
        self.leave(link, true);
    }

    /// A back end publishes; false if the home's queue is full.
    pub(super) fn publish(&mut self, channel: &str, text: &[u8], keep: Option<Keep>) -> bool {
        let frame = BackEnd::frame(MessageKind::Text, text);
        let message = Message::publication(channel.into(), frame, keep);
        let home = self.back_end.home_of(channel);
        let sent = self.control.send(home, message, Class::Delivery).is_ok();
        self.control.flush(|_| {});
        sent
    }

    /// One turn of one shard.
    pub(super) fn turn(&mut self, shard: usize, budget: Budget) {
        while self.control.receive().is_some() {}
        self.control.flush(|_| {});
        self.nodes[shard].turn(self.now, budget);
    }

    /// Turns until nobody has had anything to do for a while.
    pub(super) fn settle(&mut self) {
        let mut idle_rounds = 0;
        for round in 0.. {
            assert!(round < 10_000, "it never empties");
            idle_rounds = if self.is_busy() { 0 } else { idle_rounds + 1 };
            if idle_rounds > 64 {
                return;
            }
            for shard in 0..self.shard_count() {
                self.turn(shard, Budget::ALL);
            }
        }
    }

    /// The end of a channel's stream, if there is one.
    pub(super) fn top(&self, channel: &str) -> Option<Position> {
        self.nodes.iter().find_map(|node| {
            let streams = &node.core.channels.home.streams;
            let top = streams.position(streams.find(channel)?, u64::MAX);
            let epoch = String::from_utf8(top.epoch.to_vec()).expect("letters");
            Some(Position { epoch, offset: top.offset })
        })
    }

    /// Whether those who are in a channel are told of others.
    pub(super) fn tells_joins(&self, channel: &str) -> bool {
        let mut orders = self.nodes.iter().map(|node| &node.core.channels.home.order);
        orders.any(|order| !order.hearers(channel).is_empty())
    }

    /// How many are present in all channels together.
    pub(super) fn present_count(&self) -> usize {
        let counts = self.nodes.iter().map(|node| node.core.channels.home.attendance.count());
        counts.sum::<u32>() as usize
    }

    /// What all shards have counted together.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = self.inherited.counters.clone();
        for node in &self.nodes {
            sum += &node.core.counted().counters;
        }
        sum
    }

    /// Publications that went unacknowledged, in this process.
    pub(super) fn lost_count(&self) -> u64 {
        let counts = self.nodes.iter().map(|node| node.core.channels.home.outstanding.counters());
        counts.map(|counters| counters.lost + counters.unretained).sum()
    }

    /// Whether any shard has something to do that waits for nobody.
    pub(super) fn is_busy(&self) -> bool {
        self.nodes.iter().any(|node| {
            node.core.channels.is_behind()
                || node.core.has_work()
                || !node.reports.is_empty()
                || node.unwatched.is_some()
        })
    }
}
