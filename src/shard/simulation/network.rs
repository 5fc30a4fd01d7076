//! Shards without threads, a kernel without sockets: the shipped core, sessions, hub and mesh, in
//! turns that the simulation deals out, with clients' bytes in queues of a few kilobytes.

mod bounds;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::core::{Core, Effect, Turn};
use super::super::listeners::Newcomer;
use super::super::message::Message;
use super::super::outbound::Send;
use super::super::ready::Rank;
use super::super::session_settings::SessionSettings;
use super::super::sessions::Sessions;
use super::super::slab::Index;
use super::super::{BackEnd, Channels, Jobs, Seats, Settings};
use super::ledger::Position;
use crate::address::SocketPeer;
use crate::config::Config;
use crate::handler::{Handler, Keep, MessageKind};
use crate::hub::{StreamBounds, Streams};
use crate::mesh::{Class, Member};
use crate::metrics::Counters;
use crate::ring::{Batch, Operation, Received, Token};
use crate::sys::bell::Bell;
use crate::sys::clock;

/// Bytes of a turn's arena: small, so that frames of their own are needed too.
const ARENA_BYTES: usize = 4 * 1024;
/// Connections on one shard at the same time.
const SEATS: u32 = 4096;

/// One connection as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) shard: usize,
    number: u64,
}

/// What the kernel would hold of one connection.
struct Pipe {
    token: Token,
    to_shard: VecDeque<u8>,
    to_client: Vec<u8>,
    /// Bytes that may wait for the client.
    room_bytes: usize,
    is_room_watched: bool,
    /// The client has left: with a FIN, or with a reset.
    left: Option<Received>,
    /// Nothing follows what waits for the client.
    is_over: bool,
}

/// What a shard's ring would report.
enum Report {
    Readable { half_closed: bool },
    Ended { operation: Operation, result: i32 },
    Room,
    SendFailed(i32),
}

struct Node {
    core: Core<Sessions>,
    sessions: Sessions,
    batch: Batch,
    pipes: BTreeMap<u64, Pipe>,
    /// By slot, the pipe of the connection in it.
    numbers: BTreeMap<u32, u64>,
    reports: Vec<(Token, Report)>,
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
    /// One socket to lend to all connections: nobody reads or writes it.
    socket: OwnedFd,
}

impl Network {
    /// Shards that are to be like this.
    pub(super) fn new(shape: Shape, seed: u64, settings: &SessionSettings) -> Self {
        let Shape { shard_count, mesh_slots, requests_max, streams, .. } = shape;
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        settings.configure(&mut config);
        let make = Sessions::for_shards(settings.clone()).expect("they are valid");
        let seats = Arc::new(Seats::new(shard_count, SEATS, SEATS * 8));
        let hasher = std::hash::RandomState::new();
        let mut members =
            crate::mesh::build_with_slots(shard_count + 1, mesh_slots).expect("a mesh");
        let control = members.pop().expect("there is one for it");
        let now = clock::now();
        let nodes = members.into_iter().enumerate().map(|(number, mesh)| {
            let mut sessions = make(number);
            let routes = sessions.routes();
            let seats = Arc::clone(&seats);
            let settings = Settings::new(&config, number, shard_count, seats, None, 0, &routes);
            let mut channels = Channels::new(number, shard_count, SEATS, mesh, now, &hasher);
            channels.requests.limit(requests_max);
            let seed = seed.wrapping_add(number as u64);
            channels.home.streams = Streams::new(streams, seed, hasher.clone());
            let bell = Arc::new(Bell::new().expect("a bell"));
            let jobs = Jobs::new(crossbeam_channel::bounded(1).0, 1, bell);
            let core = Core::new(settings, routes, channels, jobs, now, |_| SocketPeer::Local);
            Node::new(core, sessions)
        });
        Self {
            nodes: nodes.collect(),
            control,
            back_end: BackEnd::new(shard_count),
            now,
            next_number: 0,
            shape,
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
        Link { shard, number }
    }

    /// The client sends; nothing happens if the connection is gone.
    pub(super) fn send(&mut self, link: Link, bytes: &[u8]) {
        let node = &mut self.nodes[link.shard];
        let Some(pipe) = node.pipes.get_mut(&link.number) else { return };
        pipe.to_shard.extend(bytes);
        node.reports.push((pipe.token, Report::Readable { half_closed: false }));
    }

    /// The client leaves without a word: by a FIN or by a reset.
    pub(super) fn leave(&mut self, link: Link, is_reset: bool) {
        let node = &mut self.nodes[link.shard];
        let Some(pipe) = node.pipes.get_mut(&link.number) else { return };
        let left = if is_reset { Received::Failed(libc::ECONNRESET) } else { Received::End };
        pipe.left = Some(left);
        pipe.is_over = true;
        pipe.to_client.clear();
        if std::mem::take(&mut pipe.is_room_watched) {
            node.reports.push((pipe.token, Report::Room)); // for an error is news too
        }
        node.reports.push((pipe.token, Report::Readable { half_closed: true }));
    }

    /// The client reads at most `limit_bytes`; also whether nothing follows.
    pub(super) fn read(&mut self, link: Link, limit_bytes: usize) -> (Vec<u8>, bool) {
        let node = &mut self.nodes[link.shard];
        let Some(pipe) = node.pipes.get_mut(&link.number) else { return (Vec::new(), true) };
        let count = pipe.to_client.len().min(limit_bytes);
        let bytes: Vec<u8> = pipe.to_client.drain(..count).collect();
        if count > 0 && pipe.is_room_watched {
            pipe.is_room_watched = false;
            node.reports.push((pipe.token, Report::Room));
        }
        let is_over = pipe.is_over && pipe.to_client.is_empty();
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
        let mut sum = Counters::default();
        for node in &self.nodes {
            sum += &node.core.counted().counters;
        }
        sum
    }

    /// Whether any shard has something to do that waits for nobody.
    pub(super) fn is_busy(&self) -> bool {
        self.nodes.iter().any(|node| {
            node.core.channels.is_behind() || node.core.has_work() || !node.reports.is_empty()
        })
    }
}

impl Node {
    fn new(core: Core<Sessions>, sessions: Sessions) -> Self {
        Self {
            core,
            sessions,
            batch: Batch::new(ARENA_BYTES),
            pipes: BTreeMap::new(),
            numbers: BTreeMap::new(),
            reports: Vec::new(),
        }
    }

    fn parts(&mut self) -> (Turn<'_, Sessions>, &mut Sessions) {
        (Turn { core: &mut self.core, batch: &mut self.batch }, &mut self.sessions)
    }

    fn admit(&mut self, number: u64, socket: OwnedFd, room_bytes: usize) {
        self.apply_effects();
        let _taken = self.core.admit(Newcomer::new(socket, false));
        let mut effects = Vec::new();
        self.core.take_effects(&mut effects);
        let [(serial, Effect::Watch(index))] = effects[..] else { panic!("no seat: {effects:?}") };
        self.numbers.insert(index.as_u32(), number);
        self.pipes.insert(
            number,
            Pipe {
                token: Token::new(Operation::Readable, serial, index.as_u32()),
                to_shard: VecDeque::new(),
                to_client: Vec::new(),
                room_bytes,
                is_room_watched: false,
                left: None,
                is_over: false,
            },
        );
    }

    /// The same order of things as in the loop that carries a shard.
    fn turn(&mut self, now: Instant, budget: Budget) {
        self.core.set_now(now);
        for (token, report) in std::mem::take(&mut self.reports) {
            self.take_report(token, &report);
        }
        self.parts().0.settle();
        self.batch = Batch::new(ARENA_BYTES);
        self.core.release();
        let (mut turn, sessions) = self.parts();
        turn.tell_endings(sessions);
        self.take_messages(budget.messages);
        self.core.catch_up();
        let (mut turn, sessions) = self.parts();
        turn.announce(sessions, 1024);
        if !self.core.channels.fanout.has_announcements() {
            self.read(budget);
        }
        let (mut turn, sessions) = self.parts();
        turn.announce(sessions, 1024);
        turn.expire(sessions, &mut 1024);
        turn.fan_out(sessions, budget.deliveries);
        self.apply_effects();
        self.flush();
    }

    fn take_report(&mut self, token: Token, report: &Report) {
        match *report {
            Report::Readable { half_closed } => self.core.readable(token, half_closed),
            Report::SendFailed(result) => self.parts().0.send_failed(token, result),
            Report::Room => {
                self.core.poll_ended(of(Operation::Writable, token), i32::from(libc::POLLOUT));
                self.parts().0.writable(token);
            }
            Report::Ended { operation, result } => {
                self.core.poll_ended(of(operation, token), result);
                if operation == Operation::Writable {
                    self.parts().0.writable(token);
                }
            }
        }
    }

    fn take_messages(&mut self, budget: usize) {
        for _ in 0..budget {
            let Some(received) = self.core.channels.mesh.receive() else { return };
            let (mut turn, sessions) = self.parts();
            turn.take(sessions, received.from, received.message.checked());
        }
    }

    fn read(&mut self, budget: Budget) {
        for rank in [Rank::Known, Rank::New] {
            for _ in 0..self.core.ready_count(rank).min(budget.reads) {
                self.read_next(rank, budget.read_bytes);
            }
        }
    }

    fn read_next(&mut self, rank: Rank, bytes_max: usize) {
        let Some(entry) = self.core.next_ready(rank) else { return };
        let number = self.numbers[&entry.index.as_u32()];
        let pipe = self.pipes.get_mut(&number).expect("a connection has its pipe");
        let count = pipe.to_shard.len().min(bytes_max);
        let mut buffer: Vec<u8> = pipe.to_shard.drain(..count).collect();
        // A buffer as long as what was read: there may be more.
        let received = match (count, pipe.left) {
            (0, left) => left.unwrap_or(Received::Nothing),
            (count, _) => Received::Bytes(count),
        };
        let (mut turn, sessions) = self.parts();
        let serviced = turn.received(sessions, entry.index, received, &mut buffer);
        if serviced.again {
            self.core.ready_again(entry, serviced.cost);
        }
    }

    fn apply_effects(&mut self) {
        let mut effects = Vec::new();
        self.core.take_effects(&mut effects);
        for (serial, effect) in effects {
            let (Effect::Watch(index)
            | Effect::WatchWritable(index)
            | Effect::EndRoomPoll(index)
            | Effect::ShutWrite(index)
            | Effect::Shut(index)
            | Effect::Detach(index)) = effect;
            if self.core.serial(index) == serial {
                self.apply(index, effect);
            }
        }
    }

    fn apply(&mut self, index: Index, effect: Effect) {
        let pipe = self.pipes.get_mut(&self.numbers[&index.as_u32()]).expect("it lives");
        let token = pipe.token;
        let cancelled = |operation| Report::Ended { operation, result: -libc::ECANCELED };
        match effect {
            Effect::Watch(_) => {
                let half_closed = pipe.left.is_some();
                self.reports.push((token, Report::Readable { half_closed }));
            }
            Effect::WatchWritable(_) => {
                pipe.is_room_watched = pipe.to_client.len() >= pipe.room_bytes;
                if !pipe.is_room_watched {
                    self.reports.push((token, Report::Room));
                }
            }
            Effect::EndRoomPoll(_) => self.reports.push((token, cancelled(Operation::Writable))),
            Effect::ShutWrite(_) => pipe.is_over = true,
            Effect::Shut(_) | Effect::Detach(_) => {
                pipe.is_over = true;
                pipe.is_room_watched = false;
                // What it reported before its end is of nobody's.
                let is_room = |report: &(Token, Report)| {
                    report.0 == token && matches!(report.1, Report::Room)
                };
                self.reports.retain(|report| !is_room(report));
                for operation in self.core.armed(index) {
                    self.reports.push((token, cancelled(operation)));
                }
            }
        }
    }

    /// The sends of the turn, as a kernel takes them: as far as there is room.
    fn flush(&mut self) {
        let mut sends = Vec::new();
        self.parts().0.flush(&mut sends);
        for Send { index, piece, token } in sends {
            let number = self.numbers[&index.as_u32()];
            let pipe = self.pipes.get_mut(&number).expect("a connection has its pipe");
            let bytes = self.batch.bytes(piece);
            if pipe.left.is_some() {
                // A socket that is closed answers with a reset.
                self.reports.push((token, Report::SendFailed(-libc::EPIPE)));
                continue;
            }
            let room_bytes = pipe.room_bytes.saturating_sub(pipe.to_client.len());
            let count = bytes.len().min(room_bytes);
            pipe.to_client.extend_from_slice(&bytes[..count]);
            if count < bytes.len() {
                let count = i32::try_from(count).expect("a few kilobytes");
                let result = if count == 0 { -libc::EAGAIN } else { count };
                self.reports.push((token, Report::SendFailed(result)));
            }
        }
        self.core.channels.mesh.flush(|_| {});
    }
}

/// The same connection's token for another operation.
fn of(operation: Operation, token: Token) -> Token {
    Token::new(operation, token.generation(), token.index())
}
