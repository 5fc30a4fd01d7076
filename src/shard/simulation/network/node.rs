//! One shard, and what a kernel would hold of its connections.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::super::super::core::{Core, Effect, Turn};
use super::super::super::listeners::Newcomer;
use super::super::super::message::{HandOver, Message};
use super::super::super::outbound::Send;
use super::super::super::ready::Rank;
use super::super::super::sessions::Sessions;
use super::super::super::slab::Index;
use super::Budget;
use crate::ring::{Batch, Operation, Received, Token};

/// Bytes of a turn's arena: small, so that frames of their own are needed too.
const ARENA_BYTES: usize = 4 * 1024;

/// What the kernel would hold of one connection.
pub(super) struct Pipe {
    pub(super) token: Token,
    pub(super) to_shard: VecDeque<u8>,
    pub(super) to_client: Vec<u8>,
    /// Bytes that may wait for the client.
    pub(super) room_bytes: usize,
    /// Its poll for input is armed.
    pub(super) is_watched: bool,
    pub(super) is_room_watched: bool,
    /// The client has left: with a FIN, or with a reset.
    pub(super) left: Option<Received>,
    /// Nothing follows what waits for the client.
    pub(super) is_over: bool,
}

/// What a shard's ring would report.
pub(super) enum Report {
    Readable { half_closed: bool },
    Ended { operation: Operation, result: i32 },
    Room,
    SendFailed(i32),
}

pub(super) struct Node {
    pub(super) core: Core<Sessions>,
    pub(super) sessions: Sessions,
    pub(super) batch: Batch,
    pub(super) pipes: BTreeMap<u64, Pipe>,
    /// By slot, the pipe of the connection in it.
    pub(super) numbers: BTreeMap<u32, u64>,
    pub(super) reports: Vec<(Token, Report)>,
    /// It reads nothing from clients.
    pub(super) is_still: bool,
    /// Connections from this slot on that were taken over are not watched yet.
    pub(super) unwatched: Option<u32>,
}

impl Pipe {
    /// At most so many bytes, and whether nothing follows.
    pub(super) fn read(&mut self, limit_bytes: usize) -> (Vec<u8>, bool) {
        let count = self.to_client.len().min(limit_bytes);
        let bytes = self.to_client.drain(..count).collect();
        (bytes, self.is_over && self.to_client.is_empty())
    }
}

impl Node {
    pub(super) fn new(core: Core<Sessions>, sessions: Sessions) -> Self {
        Self {
            core,
            sessions,
            batch: Batch::new(ARENA_BYTES),
            pipes: BTreeMap::new(),
            numbers: BTreeMap::new(),
            reports: Vec::new(),
            is_still: false,
            unwatched: None,
        }
    }

    /// A connection that lives here, or has.
    pub(super) fn pipe(&mut self, number: u64) -> &mut Pipe {
        self.pipes.get_mut(&number).expect("it was found here")
    }

    /// There is something to read, or an end.
    pub(super) fn report_input(&mut self, number: u64) {
        let pipe = self.pipe(number);
        if pipe.is_watched {
            let report = (pipe.token, Report::Readable { half_closed: pipe.left.is_some() });
            self.reports.push(report);
        }
    }

    pub(super) fn parts(&mut self) -> (Turn<'_, Sessions>, &mut Sessions) {
        (Turn { core: &mut self.core, batch: &mut self.batch }, &mut self.sessions)
    }

    pub(super) fn admit(&mut self, number: u64, socket: OwnedFd, room_bytes: usize) {
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
                is_watched: true,
                is_room_watched: false,
                left: None,
                is_over: false,
            },
        );
    }

    /// The same order of things as in the loop that carries a shard.
    pub(super) fn turn(&mut self, now: Instant, budget: Budget) {
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
        self.watch_some();
        self.core.catch_up();
        let (mut turn, sessions) = self.parts();
        turn.announce(sessions, 1024);
        if !self.is_still && !self.core.channels.fanout.has_announcements() {
            self.read(budget);
        }
        let is_timed = !self.is_still && self.unwatched.is_none();
        let (mut turn, sessions) = self.parts();
        turn.announce(sessions, 1024);
        if is_timed {
            turn.expire(sessions, &mut 1024);
        }
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

    pub(super) fn take_messages(&mut self, budget: usize) {
        for _ in 0..budget {
            let Some(received) = self.core.channels.mesh.receive() else { return };
            let message = received.message.checked();
            if matches!(message, Message::HandOver(HandOver::Settled)) {
                self.core.channels.returns.note_settled();
                continue;
            }
            let (mut turn, sessions) = self.parts();
            turn.take(sessions, received.from, message);
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
                pipe.is_watched = true;
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
