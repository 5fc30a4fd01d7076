//! WebSocket clients on a wire: opening handshakes, frames, and what each came to.
//!
//! ```text
//!   open ─▶ connecting ─▶ upgrading ─▶ open ─▶ (broken) ─▶ closing ─▶ free
//!               ╰─────────────┴──── failed, by class ─────────┘
//! ```
//!
//! Against a bare server there is no upgrade, and frames are our own coming back, so they are
//! read in the server's role. Invariants: every connection that was opened is told of as open or
//! as failed, once; an idle client owns no buffer.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::failures::Failures;
use super::payload::split_mix;
use super::terms::{Opening, Terms};
use super::wire::{Turn, Wire};
use crate::limits;
use crate::ring::{Received, RingError};
use crate::sys::clock;
use crate::ws::encode::encode_masked_message;
use crate::ws::handshake::{
    HeadScanner, KEY_BYTES, ResponseFault, ResponseHead, check_response, client_key, write_request,
};
use crate::ws::{Assembler, Event, MessageKind, MessageLimits, OpCode, Role, WsError};

/// What one client tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// The connection stands.
    Open,
    /// It does not; why is counted in `Clients::failures`.
    Failed,
    /// A message.
    Message(MessageKind, &'a [u8]),
    /// A standing connection ended by itself.
    Broken(Break),
    /// The slot can be opened again.
    Free,
}

/// How a standing connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Without a word.
    Silent,
    /// With a Close frame, and its code if it had one.
    Closed(Option<u16>),
    /// Bytes arrived that are no frames.
    Corrupt,
}

/// Who listens to the clients, and may answer at once.
pub(super) trait Listener {
    /// Takes what client `slot` tells.
    fn hear(
        &mut self,
        slot: u32,
        heard: Heard<'_>,
        now: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()>;
}

/// The sending half of all clients.
pub(super) struct Speaker {
    wire: Wire,
    /// The frame being encoded; one for all.
    frame: Vec<u8>,
    /// Keys drawn so far: they need to differ, not to be secret from a server under test.
    keys: u64,
}

impl Speaker {
    /// Sends a text message.
    pub(super) fn text(&mut self, slot: u32, payload: &[u8]) -> io::Result<()> {
        self.message(slot, OpCode::Text, payload)
    }

    /// Sends a binary message.
    pub(super) fn binary(&mut self, slot: u32, payload: &[u8]) -> io::Result<()> {
        self.message(slot, OpCode::Binary, payload)
    }

    /// Ends a connection; `Heard::Free` follows.
    pub(super) fn close(&mut self, slot: u32) -> io::Result<()> {
        self.wire.close(slot)
    }

    /// Which life of the slot this is.
    pub(super) fn life(&self, slot: u32) -> u32 {
        self.wire.generation(slot)
    }

    fn message(&mut self, slot: u32, opcode: OpCode, payload: &[u8]) -> io::Result<()> {
        self.keys += 1;
        let key: [u8; 8] = split_mix(self.keys).to_le_bytes();
        self.frame.clear();
        encode_masked_message(&mut self.frame, opcode, payload, [key[0], key[1], key[2], key[3]]);
        self.wire.send(slot, &self.frame)
    }
}

/// One client. Small, because there may be millions.
#[derive(Default)]
struct Client {
    phase: Phase,
    /// Whether it stands in a ready list.
    is_ready: bool,
    /// Whether the end is behind what can be received.
    has_ended: bool,
    assembler: Assembler,
    /// The answer to the handshake, while it has not arrived whole.
    head: Option<Box<PartialHead>>,
}

const _: () = assert!(size_of::<Client>() <= 24);

#[derive(Default)]
struct PartialHead {
    scanner: HeadScanner,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Free,
    Connecting,
    Upgrading,
    Open,
    Closing,
}

/// An attempt that fails when it is not over by then. All are given the same time, so a queue
/// keeps them sorted.
struct Deadline {
    at: Duration,
    slot: u32,
    generation: u32,
}

/// Why an opening handshake failed, of those causes that only bytes can show.
enum HeadFault {
    /// No HTTP, or one that breaks the rules of the handshake.
    Broken,
    Status(u16),
}

/// All clients of a generator.
pub(super) struct Clients {
    speaker: Speaker,
    states: Vec<Client>,
    opening: Opening,
    role: Role,
    message_limits: MessageLimits,
    host: String,
    path: String,
    /// Clients from this number on are probes: they have a path of their own, and are read first.
    probes_from: u32,
    probe_path: String,
    ready: VecDeque<u32>,
    ready_probes: VecDeque<u32>,
    deadlines: VecDeque<Deadline>,
    handshake_deadline: Duration,
    turns: Vec<Turn>,
    /// What `recv(2)` reads into; one for all.
    buffer: Vec<u8>,
    started: Instant,
    opening_count: u32,
    /// Attempts that failed.
    pub(super) failures: Failures,
}

impl Clients {
    /// Clients on these terms, none of them open.
    pub(super) fn new(terms: Terms) -> Result<Self, RingError> {
        let mut wire = Wire::new(terms.target, terms.sockets)?;
        if terms.gathers {
            wire.gather();
        }
        Ok(Self {
            speaker: Speaker { wire, frame: Vec::new(), keys: 0 },
            states: (0..terms.sockets).map(|_| Client::default()).collect(),
            opening: terms.opening,
            role: terms.role,
            message_limits: MessageLimits::for_message_bytes(limits::BENCH_PAYLOAD_BYTES_MAX),
            host: terms.target.to_string(),
            path: terms.path,
            probes_from: terms.probes_from,
            probe_path: terms.probe_path,
            ready: VecDeque::new(),
            ready_probes: VecDeque::new(),
            deadlines: VecDeque::new(),
            handshake_deadline: terms.handshake_deadline,
            turns: Vec::new(),
            buffer: vec![0; limits::RECEIVE_BUFFER_BYTES],
            started: terms.started,
            opening_count: 0,
            failures: Failures::default(),
        })
    }

    /// Time since the run began.
    pub(super) fn now(&self) -> Duration {
        clock::now().duration_since(self.started)
    }

    /// Connections being opened.
    pub(super) fn opening_count(&self) -> u32 {
        self.opening_count
    }

    /// The sending half.
    pub(super) fn speaker(&mut self) -> &mut Speaker {
        &mut self.speaker
    }

    /// Starts to open a free client. `false`: this host could not even try, which is counted.
    pub(super) fn open(&mut self, slot: u32, source: Option<Ipv4Addr>) -> bool {
        if self.speaker.wire.open(slot, source).is_err() {
            self.failures.local += 1;
            return false;
        }
        self.states[slot as usize] = Client { phase: Phase::Connecting, ..Client::default() };
        self.opening_count += 1;
        self.deadlines.push_back(Deadline {
            at: self.now() + self.handshake_deadline,
            slot,
            generation: self.speaker.wire.generation(slot),
        });
        true
    }

    /// Hands all sends to the kernel, waits for something to happen, at most `wait`, and tells
    /// `listener` what did. Bounded: what remains ready is served by the next turn.
    pub(super) fn turn(&mut self, wait: Duration, listener: &mut impl Listener) -> io::Result<()> {
        let is_idle = self.ready.is_empty() && self.ready_probes.is_empty();
        let mut turns = std::mem::take(&mut self.turns);
        self.speaker.wire.turn(is_idle.then_some(wait), &mut turns)?;
        for turn in turns.drain(..) {
            self.take(turn, listener)?;
        }
        self.turns = turns;
        for _ in 0..limits::BENCH_TURN_SOCKETS_MAX {
            let Some(slot) = self.ready_probes.pop_front().or_else(|| self.ready.pop_front())
            else {
                break;
            };
            self.states[slot as usize].is_ready = false;
            self.read(slot, listener)?;
        }
        self.expire(listener)
    }

    fn take(&mut self, turn: Turn, listener: &mut impl Listener) -> io::Result<()> {
        match turn {
            Turn::Connected(slot) => self.connected(slot, listener),
            Turn::Failed(slot, errno) => {
                let count = match errno {
                    libc::ECONNREFUSED => &mut self.failures.refused,
                    libc::ECONNRESET => &mut self.failures.reset,
                    libc::ETIMEDOUT => &mut self.failures.timeout,
                    _ => &mut self.failures.local,
                };
                *count += 1;
                self.opening_count -= 1;
                self.tell(slot, Heard::Failed, listener)?;
                self.freed(slot, listener)
            }
            Turn::Readable { slot, ended } => {
                self.states[slot as usize].has_ended |= ended;
                self.make_ready(slot);
                Ok(())
            }
            Turn::Closed(slot) => self.freed(slot, listener),
        }
    }

    fn make_ready(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.states[slot as usize].is_ready, true) {
            let list =
                if slot < self.probes_from { &mut self.ready } else { &mut self.ready_probes };
            list.push_back(slot);
        }
    }

    fn freed(&mut self, slot: u32, listener: &mut impl Listener) -> io::Result<()> {
        let client = &mut self.states[slot as usize];
        // It may still stand in a ready list, and is then found with nothing to receive.
        *client = Client { is_ready: client.is_ready, ..Client::default() };
        self.tell(slot, Heard::Free, listener)
    }

    fn tell(
        &mut self,
        slot: u32,
        heard: Heard<'_>,
        listener: &mut impl Listener,
    ) -> io::Result<()> {
        let now = self.now();
        listener.hear(slot, heard, now, &mut self.speaker)
    }

    fn connected(&mut self, slot: u32, listener: &mut impl Listener) -> io::Result<()> {
        if self.opening == Opening::None {
            return self.opened(slot, listener);
        }
        self.states[slot as usize].phase = Phase::Upgrading;
        let path = if slot < self.probes_from { &self.path } else { &self.probe_path };
        let key = key_of(slot, self.speaker.wire.generation(slot));
        let frame = &mut self.speaker.frame;
        frame.clear();
        write_request(frame, &self.host, path, &key, &[], [])
            .expect("an address is a host, and the plan has checked the path");
        self.speaker.wire.send(slot, frame)
    }

    fn opened(&mut self, slot: u32, listener: &mut impl Listener) -> io::Result<()> {
        self.states[slot as usize].phase = Phase::Open;
        self.opening_count -= 1;
        self.tell(slot, Heard::Open, listener)
    }

    fn read(&mut self, slot: u32, listener: &mut impl Listener) -> io::Result<()> {
        if !matches!(self.states[slot as usize].phase, Phase::Upgrading | Phase::Open) {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.speaker.wire.receive(slot, &mut buffer);
        let outcome = match received {
            Received::Bytes(count) => {
                if count == buffer.len() || self.states[slot as usize].has_ended {
                    self.make_ready(slot);
                }
                self.take_bytes(slot, &mut buffer[..count], listener)
            }
            Received::Nothing => Ok(()),
            Received::End | Received::Failed(_) => self.lost(slot, Break::Silent, listener),
        };
        self.buffer = buffer;
        outcome
    }

    fn take_bytes(
        &mut self,
        slot: u32,
        bytes: &mut [u8],
        listener: &mut impl Listener,
    ) -> io::Result<()> {
        if self.states[slot as usize].phase == Phase::Open {
            return self.take_frames(slot, bytes, listener);
        }
        match self.take_head(slot, bytes) {
            Ok(None) => Ok(()),
            Ok(Some(rest)) => {
                self.opened(slot, listener)?;
                self.take_frames(slot, &mut bytes[rest..], listener)
            }
            Err(fault) => {
                match fault {
                    HeadFault::Broken => self.failures.handshake += 1,
                    HeadFault::Status(status) => {
                        *self.failures.http.entry(status).or_default() += 1;
                    }
                }
                self.give_up(slot, listener)
            }
        }
    }

    /// Looks for the end of the answer; where it is whole and good, the rest of `bytes` are frames
    /// and start at the place returned.
    fn take_head(&mut self, slot: u32, bytes: &[u8]) -> Result<Option<usize>, HeadFault> {
        let key = key_of(slot, self.speaker.wire.generation(slot));
        let held = self.states[slot as usize].head.take();
        let known = held.as_ref().map_or(0, |held| held.bytes.len());
        let mut scanner = HeadScanner::default();
        // Nearly always the answer comes whole, and is read where it lies.
        let Some(mut held) = held else {
            let end = scanner.scan(bytes).map_err(|_| HeadFault::Broken)?;
            if let Some(end) = end {
                self.check_head(&bytes[..end], &key)?;
            } else {
                let partial = PartialHead { scanner, bytes: bytes.to_vec() };
                self.states[slot as usize].head = Some(Box::new(partial));
            }
            return Ok(end);
        };
        held.bytes.extend_from_slice(bytes);
        let end = held.scanner.scan(&held.bytes).map_err(|_| HeadFault::Broken)?;
        if let Some(end) = end {
            self.check_head(&held.bytes[..end], &key)?;
            return Ok(Some(end - known));
        }
        self.states[slot as usize].head = Some(held);
        Ok(None)
    }

    fn check_head(&self, head: &[u8], key: &[u8; KEY_BYTES]) -> Result<(), HeadFault> {
        let head = ResponseHead::parse(head).map_err(|_| HeadFault::Broken)?;
        if self.opening == Opening::FixedAnswer && head.status() == 101 {
            return Ok(());
        }
        match check_response(&head, key, &[]) {
            Ok(_) => Ok(()),
            Err(ResponseFault::Status(status)) => Err(HeadFault::Status(status)),
            Err(_) => Err(HeadFault::Broken),
        }
    }

    fn take_frames(
        &mut self,
        slot: u32,
        mut bytes: &mut [u8],
        listener: &mut impl Listener,
    ) -> io::Result<()> {
        // One reading of the clock for all messages of one receive: they arrived together.
        let now = self.now();
        let mut assembler = std::mem::take(&mut self.states[slot as usize].assembler);
        loop {
            let step = match assembler.next(self.role, &self.message_limits, bytes) {
                Ok(step) => step,
                Err(error) => return self.garbled(slot, error, listener),
            };
            let consumed = step.consumed;
            match step.event {
                None => break,
                Some(Event::Message { kind, payload }) => {
                    let heard = Heard::Message(kind, payload);
                    listener.hear(slot, heard, now, &mut self.speaker)?;
                }
                Some(Event::Ping(payload)) => {
                    self.speaker.message(slot, OpCode::Pong, payload)?;
                }
                Some(Event::Pong(_)) => {}
                Some(Event::Close(reason)) => {
                    let code = reason.map(|reason| reason.code);
                    return self.lost(slot, Break::Closed(code), listener);
                }
            }
            bytes = &mut bytes[consumed..];
        }
        self.states[slot as usize].assembler = assembler;
        Ok(())
    }

    fn garbled(
        &mut self,
        slot: u32,
        error: WsError,
        listener: &mut impl Listener,
    ) -> io::Result<()> {
        tracing::debug!(slot, %error, "the server broke the protocol");
        self.lost(slot, Break::Corrupt, listener)
    }

    /// The server ended the connection, or we end it because it sent no frames.
    fn lost(&mut self, slot: u32, how: Break, listener: &mut impl Listener) -> io::Result<()> {
        match self.states[slot as usize].phase {
            Phase::Upgrading => {
                self.failures.reset += 1;
                self.give_up(slot, listener)
            }
            Phase::Open => {
                self.states[slot as usize].phase = Phase::Closing;
                self.speaker.wire.close(slot)?;
                self.tell(slot, Heard::Broken(how), listener)
            }
            Phase::Free | Phase::Connecting | Phase::Closing => Ok(()),
        }
    }

    /// Ends an attempt whose failure has been counted.
    fn give_up(&mut self, slot: u32, listener: &mut impl Listener) -> io::Result<()> {
        self.opening_count -= 1;
        self.states[slot as usize].phase = Phase::Closing;
        self.speaker.wire.close(slot)?;
        self.tell(slot, Heard::Failed, listener)
    }

    fn expire(&mut self, listener: &mut impl Listener) -> io::Result<()> {
        let now = self.now();
        while let Some(&Deadline { at, slot, generation }) = self.deadlines.front() {
            let phase = self.states[slot as usize].phase;
            let is_opening = self.speaker.wire.generation(slot) == generation
                && matches!(phase, Phase::Connecting | Phase::Upgrading);
            if is_opening && at > now {
                break;
            }
            self.deadlines.pop_front();
            if is_opening {
                self.failures.timeout += 1;
                self.give_up(slot, listener)?;
            }
        }
        Ok(())
    }
}

/// The key of one life of one client: made again for the check instead of being kept.
fn key_of(slot: u32, generation: u32) -> [u8; KEY_BYTES] {
    let life = u64::from(slot) << 32 | u64::from(generation);
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&split_mix(life).to_le_bytes());
    nonce[8..].copy_from_slice(&split_mix(!life).to_le_bytes());
    client_key(nonce)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::super::plan::tests::args;
    use super::super::plan::{Kind, Plan};
    use super::*;

    /// What was heard, without the payloads.
    #[derive(Default)]
    struct Ears(Vec<&'static str>);

    impl Listener for Ears {
        fn hear(
            &mut self,
            _slot: u32,
            heard: Heard<'_>,
            _now: Duration,
            _speaker: &mut Speaker,
        ) -> io::Result<()> {
            self.0.push(match heard {
                Heard::Open => "open",
                Heard::Failed => "failed",
                Heard::Message(..) => "message",
                Heard::Broken(_) => "broken",
                Heard::Free => "free",
            });
            Ok(())
        }
    }

    #[test]
    fn an_end_that_comes_together_with_the_last_message_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut args = args(Kind::Idle);
        (args.connections, args.bare) = (1, true);
        args.target = listener.local_addr().unwrap();
        let mut clients = Clients::new(Plan::new(&args).unwrap().terms(clock::now())).unwrap();
        let mut ears = Ears::default();
        assert!(clients.open(0, None));
        while ears.0.is_empty() {
            clients.turn(Duration::from_millis(100), &mut ears).unwrap();
        }
        clients.speaker.wire.flush().unwrap();
        let peer = listener.accept().unwrap().0;
        socket2::SockRef::from(&peer).set_tcp_cork(true).unwrap();
        let mut frame = Vec::new();
        encode_masked_message(&mut frame, OpCode::Text, b"bye", [1, 2, 3, 4]);
        (&peer).write_all(&frame).unwrap();
        drop(peer);
        for _ in 0..20 {
            clients.turn(Duration::from_millis(20), &mut ears).unwrap();
        }
        assert_eq!(ears.0, ["open", "message", "broken", "free"]);
        assert!(!clients.open_is_counted());
    }

    impl Clients {
        fn open_is_counted(&self) -> bool {
            self.opening_count > 0 || self.failures != Failures::default()
        }
    }
}
