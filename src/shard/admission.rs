//! From an accepted socket to an open connection: seats, the request head, the answer.
//!
//! A shard with a free seat takes a connection; a nearly full one passes it to the emptiest; when
//! all are full it is told 503 on one of a few surplus slots, and beyond those it is closed.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use super::connection::{Connection, Flags, PartialHead};
use super::core::{Core, Turn};
use super::guard;
use super::listeners::Newcomer;
use super::moves::MoveId;
use super::seats::Seat;
use super::slab::Index;
use crate::address::{INTRODUCTION_BYTES, Introduction};
use crate::handler::{Accept, Handler, Peer, Refuse, Request, Sender, Upgrade};
use crate::limits::{HEAD_BYTES_MAX, HEARTBEAT_MESSAGES_MAX, MOVE_OFFER_BYTES_MAX};
use crate::ws::handshake::{self, Refusal, RequestHead, check_upgrade, write_refusal};

/// What to do with a new socket.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is a connection of this shard now.
    Taken,
    /// That shard has a seat reserved for it.
    Pass(usize, Newcomer),
    /// There is no room for it, not even to say so: it was closed.
    Dropped,
}

/// What is known of a socket that comes over the Unix socket between threads, as its one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Passing {
    /// Its seat here is reserved.
    Seated = b's',
    /// The same, and it begins with a header of the PROXY protocol.
    SeatedProxied = b'p',
    /// It was just accepted, and has no seat anywhere.
    Unseated = b'u',
    /// The control thread has made it for a client whose introduction stands behind this byte. It
    /// has no seat anywhere.
    Introduced = b'i',
    /// The same, and its seat here is reserved.
    SeatedIntroduced = b'j',
    /// It is a connection of another shard, which may move here: its move stands behind this byte.
    Moving = b'm',
    /// No connection, but the way to a shard of another process, whose number stands behind this
    /// byte.
    Channel = b'c',
}

/// Bytes of what is said of a socket between threads.
pub(crate) const PASSING_BYTES_MAX: usize = 1 + INTRODUCTION_BYTES;

impl Passing {
    pub(crate) fn of(byte: u8) -> Self {
        match byte {
            b's' => Self::Seated,
            b'p' => Self::SeatedProxied,
            b'u' => Self::Unseated,
            b'i' => Self::Introduced,
            b'j' => Self::SeatedIntroduced,
            b'm' => Self::Moving,
            b'c' => Self::Channel,
            _ => unreachable!("only our own threads send here"),
        }
    }

    /// Whether a seat was reserved for it.
    pub(crate) fn has_seat(self) -> bool {
        match self {
            Self::Seated | Self::SeatedProxied | Self::SeatedIntroduced => true,
            Self::Unseated | Self::Introduced | Self::Moving | Self::Channel => false,
        }
    }

    /// What is said of a socket whose seat is reserved where it is passed to.
    pub(super) fn message(newcomer: &Newcomer) -> Vec<u8> {
        match newcomer.introduction {
            None if newcomer.proxied => vec![Self::SeatedProxied as u8],
            None => vec![Self::Seated as u8],
            Some(introduction) => {
                [&[Self::SeatedIntroduced as u8], &introduction.encode()[..]].concat()
            }
        }
    }

    /// What is said of a connection that may move: its move, and its channels, with whether it
    /// hears of joins there.
    pub(super) fn moving(id: MoveId, channels: &[(String, bool)]) -> Vec<u8> {
        let mut message = vec![Self::Moving as u8];
        message.extend(id.from.to_le_bytes());
        message.extend(id.number.to_le_bytes());
        for (channel, hears_joins) in channels {
            let bytes = u16::try_from(channel.len()).expect("names are short");
            message.extend(bytes.to_le_bytes());
            message.push(u8::from(*hears_joins));
            message.extend(channel.as_bytes());
        }
        message
    }

    /// How many bytes that takes.
    pub(super) fn moving_bytes(channels: &[(String, bool)]) -> usize {
        7 + channels.iter().map(|(channel, _)| 3 + channel.len()).sum::<usize>()
    }

    /// The move that [`moving`](Self::moving) has said.
    pub(super) fn moving_said(message: &[u8]) -> MoveId {
        let said = message[1..].split_first_chunk().and_then(|(from, rest)| {
            let from = u16::from_le_bytes(*from);
            Some(MoveId { from, number: u32::from_le_bytes(*rest.first_chunk()?) })
        });
        said.expect("only our own threads send here")
    }

    /// The channels that it has said.
    pub(super) fn moving_channels(message: &[u8]) -> Vec<(String, bool)> {
        let (mut rest, mut channels) = (&message[7..], Vec::new());
        while let Some((bytes, behind)) = rest.split_first_chunk() {
            let (hears_joins, behind) = behind.split_first().expect("whole messages only");
            let (name, behind) = behind.split_at(u16::from_le_bytes(*bytes).into());
            let name = std::str::from_utf8(name).expect("it was text when it was sent");
            channels.push((name.to_owned(), *hears_joins == 1));
            rest = behind;
        }
        channels
    }

    /// What is said of the way to the shard of another process with this number, in this attempt.
    pub(crate) fn channel(number: u16, attempt: u8) -> [u8; 4] {
        let [low, high] = number.to_le_bytes();
        [Self::Channel as u8, low, high, attempt]
    }

    /// The number and the attempt that [`channel`](Self::channel) has said.
    pub(super) fn channel_said(message: &[u8]) -> (u16, u8) {
        let [_, low, high, attempt] = message else {
            unreachable!("only our own threads send here")
        };
        (u16::from_le_bytes([*low, *high]), *attempt)
    }

    /// What is said of a socket that the control thread has made for this client.
    pub(crate) fn introducing(introduction: &Introduction) -> Vec<u8> {
        [&[Self::Introduced as u8], &introduction.encode()[..]].concat()
    }
}

const _: () = assert!(PASSING_BYTES_MAX <= MOVE_OFFER_BYTES_MAX);

/// A whole request head, and what stands around it.
#[derive(Clone, Copy)]
struct Whole<'a> {
    head: &'a [u8],
    /// What came behind it.
    rest: &'a [u8],
    /// The client that a trusted PROXY header has named.
    proxied: Option<SocketAddr>,
    /// What the control thread has said of the client, if it has brought it.
    introduction: Option<Introduction>,
}

/// How an opening handshake ends.
enum Answer<S> {
    Open {
        state: S,
        route: u16,
        heartbeat: u8,
        heartbeat_waits: bool,
    },
    Refused,
    /// It is for no WebSocket, and there is somebody who answers such requests.
    Leave,
}

impl<H: Handler> Core<H> {
    /// Admits a socket that this shard accepted itself, or that the control thread has made.
    pub(crate) fn admit(&mut self, newcomer: Newcomer) -> Admission {
        if newcomer.introduction.is_some() {
            self.counters.introduced += 1;
        } else {
            self.counters.accepted += 1;
        }
        match self.settings.seats.reserve(self.number) {
            Seat::Here => self.take(newcomer, Flags::default()),
            Seat::On(shard) => {
                self.counters.passed_on += 1;
                return Admission::Pass(shard, newcomer);
            }
            Seat::None => {
                self.counters.refused_full += 1;
                if !self.settings.seats.reserve_surplus() {
                    self.counters.dropped_full += 1;
                    return Admission::Dropped;
                }
                self.take(newcomer, Flags::SURPLUS);
            }
        }
        Admission::Taken
    }

    /// Takes a socket that another shard passed, with the seat it reserved.
    pub(crate) fn take_passed(&mut self, newcomer: Newcomer) {
        self.counters.passed_here += 1;
        self.take(newcomer, Flags::default());
    }

    /// A socket that another shard passed was lost on the way, or is not wanted any more.
    pub(crate) fn passed_lost(&mut self, kind: Passing) {
        self.counters.pass_failures += 1;
        if kind.has_seat() {
            self.settings.seats.release(self.number);
        }
    }

    /// A socket for which a seat was reserved on `shard` could not be passed.
    pub(crate) fn pass_failed(&mut self, shard: usize, newcomer: Newcomer) -> Admission {
        self.counters.pass_failures += 1;
        self.settings.seats.release(shard);
        if self.settings.seats.reserve_here(self.number) {
            self.take(newcomer, Flags::default());
            return Admission::Taken;
        }
        self.counters.refused_full += 1;
        if self.settings.seats.reserve_surplus() {
            self.take(newcomer, Flags::SURPLUS);
            return Admission::Taken;
        }
        self.counters.dropped_full += 1;
        Admission::Dropped
    }

    fn take(&mut self, newcomer: Newcomer, flags: Flags) {
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let mut connection = Connection::new(newcomer.socket, serial, self.tick);
        connection.flags = flags;
        if newcomer.proxied {
            connection.flags.set(Flags::PROXIED);
        }
        if newcomer.introduction.is_some() {
            let head = PartialHead { introduction: newcomer.introduction, ..Default::default() };
            connection.busy().head = Some(Box::new(head));
        }
        let Ok(index) = self.connections.insert(connection) else {
            unreachable!("the slab has an entry for every seat and surplus slot")
        };
        self.watch(index);
        self.schedule(index);
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Takes bytes of the request head; returns how many of `bytes` belonged to it.
    pub(super) fn take_head(&mut self, handler: &mut H, index: Index, bytes: &[u8]) -> usize {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("being read");
        let earlier = connection.busy.as_mut().and_then(|busy| busy.head.take());
        let mut partial = earlier.unwrap_or_default();
        if connection.flags.has(Flags::PROXIED) {
            let Some(header_bytes) = self.take_proxy_header(index, &mut partial, bytes) else {
                return bytes.len();
            };
            return header_bytes
                + self.take_request(handler, index, partial, &bytes[header_bytes..]);
        }
        self.take_request(handler, index, partial, bytes)
    }

    fn take_request(
        &mut self,
        handler: &mut H,
        index: Index,
        mut partial: Box<PartialHead>,
        bytes: &[u8],
    ) -> usize {
        let core = &mut *self.core;
        let PartialHead { proxied, introduction, .. } = *partial;
        let before = partial.bytes.len();
        if before == 0 {
            // The usual case: the whole head in one read, and nothing copied.
            match partial.scanner.scan(bytes) {
                Ok(Some(end)) => {
                    let (head, rest) = bytes.split_at(end);
                    self.answer(handler, index, Whole { head, rest, proxied, introduction });
                    return end;
                }
                Ok(None) => self.keep_head(index, partial, bytes),
                Err(error) => self.refuse_with(index, error.into()),
            }
            return bytes.len();
        }
        core.partial_bytes -= partial.bytes.len();
        let room = HEAD_BYTES_MAX + 1 - before;
        partial.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match partial.scanner.scan(&partial.bytes) {
            Ok(Some(end)) => {
                let rest = &bytes[end - before..];
                let head = &partial.bytes[..end];
                self.answer(handler, index, Whole { head, rest, proxied, introduction });
                return end - before;
            }
            Ok(None) => self.keep_head(index, partial, &[]),
            Err(error) => self.refuse_with(index, error.into()),
        }
        bytes.len()
    }

    pub(super) fn keep_head(&mut self, index: Index, mut partial: Box<PartialHead>, bytes: &[u8]) {
        partial.bytes.extend_from_slice(bytes);
        let core = &mut *self.core;
        core.partial_bytes += partial.bytes.len();
        core.connections.get_mut(index).expect("being read").busy().head = Some(partial);
        if core.partial_bytes > core.settings.partial_bytes_max {
            core.counters.partial_budget_closes += 1;
            self.retire(index);
        }
    }

    fn answer(&mut self, handler: &mut H, index: Index, whole: Whole<'_>) {
        let mut out = Vec::with_capacity(256);
        let answer = self.decide(handler, index, whole, &mut out);
        match answer {
            Answer::Refused => self.refuse_bytes(index, &out),
            Answer::Leave => self.leave(index, whole.proxied, &[whole.head, whole.rest]),
            Answer::Open { state, route, heartbeat, heartbeat_waits } => {
                self.queue_frame(index, &out);
                self.core.set_heartbeat(index, heartbeat, heartbeat_waits);
                self.opened(handler, index, state, route);
            }
        }
    }

    fn opened(&mut self, handler: &mut H, index: Index, state: H::Connection, route: u16) {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("being upgraded");
        connection.phase = connection.phase.on(super::phase::Event::Upgraded);
        connection.state = Some(state);
        connection.route = route;
        connection.heard = core.tick;
        connection.calm();
        core.open_count += 1;
        core.counters.opened += 1;
        core.schedule(index);
        let id = core.id(index);
        if guard(|| handler.open(&mut Peer::new(self, id))).is_none() {
            self.panicked(index);
        }
    }

    /// Looks at a whole head and writes its answer into `out`.
    fn decide(
        &mut self,
        handler: &mut H,
        index: Index,
        whole: Whole<'_>,
        out: &mut Vec<u8>,
    ) -> Answer<H::Connection> {
        match self.try_decide(handler, index, whole, out) {
            Ok(answer) => answer,
            Err(refusal) => {
                tracing::debug!(connection = %self.core.id(index), %refusal, "upgrade refused");
                out.clear();
                refusal.write(out);
                Answer::Refused
            }
        }
    }

    fn try_decide(
        &mut self,
        handler: &mut H,
        index: Index,
        whole: Whole<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Answer<H::Connection>, Refusal> {
        let core = &mut *self.core;
        let connection = core.connections.get(index).expect("being read");
        let is_surplus = connection.flags.has(Flags::SURPLUS);
        let head = RequestHead::parse(whole.head)?;
        let routes = &core.routes;
        let found = routes.find(head.path());
        let introduction = whole.introduction;
        if found.is_none() && core.settings.door.is_some() && introduction.is_none() {
            // Also where every seat is taken: a full server still says that it lives, and takes
            // orders. It pays with a place at the door, not with a seat.
            return Ok(Answer::Leave);
        }
        if is_surplus {
            return Err(Refusal::Full);
        }
        let handshake = check_upgrade(&head)?;
        let found = found.ok_or(Refusal::Path)?;
        let (number, params) = (found.number, found.params);
        let limits = routes.limits_of(number);
        if !limits.origins.admits(handshake.origin(), head.header("host")) {
            return Err(Refusal::Origin);
        }
        let sender = core.sender(connection.socket.as_fd(), &head, &whole);
        let (peer, pattern) = (sender.client, routes.pattern_of(number));
        let request = Request::new(&head, &handshake, params, pattern, sender);
        let verdict = core.links_before(number, &request);
        let upgrade = match verdict {
            Ok(ControlFlow::Continue(())) => guard(|| handler.upgrade(&request)).ok_or(()),
            Ok(ControlFlow::Break(refuse)) => Ok(refuse.into()),
            Err(()) => Err(()),
        };
        match upgrade {
            Ok(Upgrade::Accept(accept)) => {
                if let Some(heartbeat) = core.write_accept(&handshake, &accept, out) {
                    core.log_opened(index, &head, peer);
                    return Ok(Answer::Open {
                        state: accept.state,
                        route: number,
                        heartbeat,
                        heartbeat_waits: accept.heartbeat_waits,
                    });
                }
            }
            Ok(Upgrade::Refuse(refuse)) => write_handler_refusal(out, &refuse),
            Err(()) => {
                core.counters.handler_panics += 1;
                tracing::error!("the handler panicked on an upgrade");
                write_status(out, 500, "internal error");
            }
        }
        Ok(Answer::Refused)
    }

    pub(super) fn refuse_with(&mut self, index: Index, refusal: Refusal) {
        let mut out = Vec::with_capacity(256);
        refusal.write(&mut out);
        self.refuse_bytes(index, &out);
    }

    /// The request head did not arrive in time.
    pub(super) fn refuse_late(&mut self, index: Index) {
        self.refuse_with(index, Refusal::HeadTimeout);
    }

    fn refuse_bytes(&mut self, index: Index, answer: &[u8]) {
        self.core.counters.upgrades_refused += 1;
        self.queue_frame(index, answer);
        let phase = self.core.connections.get(index).map(|one| one.phase);
        if phase == Some(super::phase::Phase::Handshake) {
            self.seal(index);
        }
    }
}

impl<H: Handler> Core<H> {
    /// Writes the 101 and returns the number of the connection's heartbeat; or writes a 500.
    fn write_accept(
        &mut self,
        handshake: &handshake::Upgrade<'_>,
        accept: &Accept<H::Connection>,
        out: &mut Vec<u8>,
    ) -> Option<u8> {
        let headers = accept.headers.iter().map(|(name, value)| (&**name, &**value));
        let written = handshake.accept(out, accept.protocol.as_deref(), headers);
        let heartbeat = self.heartbeats.number(accept.heartbeat);
        match written {
            Ok(()) if heartbeat.is_some() => return heartbeat,
            Ok(()) => tracing::error!(max = HEARTBEAT_MESSAGES_MAX, "too many heartbeats"),
            Err(error) => tracing::error!(%error, "the handler's answer cannot be written"),
        }
        out.clear();
        write_status(out, 500, "the answer cannot be written");
        None
    }

    /// Who has sent a request.
    fn sender(&self, socket: BorrowedFd<'_>, head: &RequestHead<'_>, whole: &Whole<'_>) -> Sender {
        let introduction = whole.introduction;
        if let Some(Introduction { client, is_proxy, .. }) = introduction {
            return Sender { client, socket_peer: None, is_proxy, introduction };
        }
        let socket_peer = (self.address_of)(socket);
        let forwarded = head.fields().all("x-forwarded-for");
        let real_ip = head.header("x-real-ip");
        let trusted = &self.settings.trusted_proxies;
        Sender {
            client: trusted.client(socket_peer, whole.proxied, forwarded, real_ip),
            socket_peer: socket_peer.address(),
            is_proxy: trusted.wrote_request(socket_peer, whole.proxied),
            introduction: None,
        }
    }

    /// The steps before the upgrade, from the outermost; an error is a panic of one.
    fn links_before(&self, route: u16, request: &Request<'_>) -> Result<ControlFlow<Refuse>, ()> {
        for link in self.routes.links(route) {
            match guard(|| link.borrow_mut().before_upgrade(request)) {
                Some(ControlFlow::Continue(())) => {}
                Some(refused) => return Ok(refused),
                None => return Err(()),
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn write_handler_refusal(out: &mut Vec<u8>, refuse: &Refuse) {
    let headers = refuse.headers.iter().map(|(name, value)| (&**name, &**value));
    if let Err(error) = write_refusal(out, refuse.status, headers, "refused") {
        tracing::error!(%error, "the handler's refusal cannot be written");
        out.clear();
        write_status(out, 500, "the answer cannot be written");
    }
}

fn write_status(out: &mut Vec<u8>, status: u16, text: &str) {
    write_refusal(out, status, [], text).expect("no header, so none that is refused");
}
