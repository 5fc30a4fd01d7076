//! One connection's inbound half: bytes in, messages and control frames out.
//!
//! ```text
//!   bytes ─▶ header ─▶ unmask in place ─┬─ whole in `bytes`: lent from there, nothing copied
//!                                       └─ in pieces or fragments: copied into `Partial`, lent
//! ```
//!
//! Invariants: a frame is judged by its header before a byte of its payload is kept; memory
//! follows what arrived, never what was declared; between messages an [`Assembler`] is 8 bytes and
//! owns nothing; after a Close or an error it takes all bytes and reports nothing.

mod replay;

use std::ops::Range;

use super::close::CloseReason;
use super::error::WsError;
use super::frame::{FrameHeader, HEADER_BYTES_MAX, OpCode, Role, decode_header};
use super::mask::mask;
use super::message::{MessageKind, MessageLimits, PartialMessage};
use super::utf8;

/// What the peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, unmasked, its fragments joined.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// At most `message_bytes_max` bytes.
        payload: &'a [u8],
    },
    /// To be answered by a Pong with the same payload.
    Ping(&'a [u8]),
    /// The answer to a Ping of ours, or a sign of life unasked for.
    Pong(&'a [u8]),
    /// The closing handshake. Nothing after it is reported.
    Close(Option<CloseReason<'a>>),
}

/// How far one call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes taken, from the start.
    pub consumed: usize,
    /// Frames whose header was completed: each costs us the same, however little it carries.
    pub frames: u32,
    /// `None` when all bytes were taken and more are needed.
    pub event: Option<Event<'a>>,
}

/// Joins one peer's bytes into events. See the module for its invariants.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Assembler>() == 8);
const _: () = assert!(size_of::<Partial>() <= 128);

/// A message or frame that has not arrived whole, as plain data.
#[derive(Clone, Debug, Default)]
struct Partial {
    reading: Reading,
    /// Payload, so far, of a control frame that comes in pieces: at most 125 bytes.
    control: Vec<u8>,
    /// The data message whose first frame has begun and whose last has not ended.
    message: Option<PartialMessage>,
}

/// Which bytes come next.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// A header, of which `held[..len]` arrived earlier; a whole one has left.
    Header { held: [u8; HEADER_BYTES_MAX - 1], len: u8 },
    /// Payload of an admitted frame, of which `taken` bytes arrived earlier.
    Payload { header: FrameHeader, taken: usize },
    /// A header; before it, what was lent to the caller from here is given back.
    Lent { control: bool },
    /// None: there was a Close, or an error.
    Ended,
}

impl Reading {
    const BOUNDARY: Self = Self::Header { held: [0; HEADER_BYTES_MAX - 1], len: 0 };
}

impl Default for Reading {
    fn default() -> Self {
        Self::BOUNDARY
    }
}

/// Where the payload of an event lies.
enum Found {
    InBytes { opcode: OpCode, payload: Range<usize> },
    HeldControl(OpCode),
    HeldMessage,
}

impl Assembler {
    /// An assembler at the start of a connection.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes bytes up to the end of the next event. Unmasks in place.
    ///
    /// The caller goes on with `bytes[consumed..]` until the event is `None`, also when nothing is
    /// left: the call after an event gives back the memory that the event was lent from. After an
    /// error the connection is failed with [`WsError::close_code`].
    pub fn next<'a>(
        &'a mut self,
        role: Role,
        limits: &MessageLimits,
        bytes: &'a mut [u8],
    ) -> Result<Step<'a>, WsError> {
        self.give_back();
        let mut step = Step { consumed: 0, frames: 0, event: None };
        let found = match self.advance(role, limits, bytes, &mut step) {
            Ok(found) => found,
            Err(error) => {
                self.end();
                return Err(error);
            }
        };
        let held = self.partial.as_deref();
        let (opcode, payload) = match found {
            None => return Ok(step),
            Some(Found::InBytes { opcode, payload }) => (opcode, &bytes[payload]),
            Some(Found::HeldControl(opcode)) => {
                (opcode, held.expect("held, as found").control.as_slice())
            }
            Some(Found::HeldMessage) => {
                let message = held.and_then(|held| held.message.as_ref()).expect("held, as found");
                (message.kind.into(), message.bytes.as_slice())
            }
        };
        step.event = Some(match opcode {
            OpCode::Text => Event::Message { kind: MessageKind::Text, payload },
            OpCode::Binary => Event::Message { kind: MessageKind::Binary, payload },
            OpCode::Ping => Event::Ping(payload),
            OpCode::Pong => Event::Pong(payload),
            // Good or bad, the assembler has ended already: a Close is the last thing parsed.
            OpCode::Close => Event::Close(CloseReason::parse(payload)?),
            OpCode::Continuation => unreachable!("continuations are joined, never found"),
        });
        Ok(step)
    }

    /// Whether the peer is between two messages and nothing is held for it.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Heap bytes held for what arrived and is not whole; 0 when idle.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_deref().map_or(0, |partial| {
            let message = partial.message.as_ref().map_or(0, |message| message.bytes.capacity());
            size_of::<Partial>() + partial.control.capacity() + message
        })
    }

    /// Goes through `bytes` until an event is found or all are taken.
    fn advance(
        &mut self,
        role: Role,
        limits: &MessageLimits,
        bytes: &mut [u8],
        step: &mut Step<'_>,
    ) -> Result<Option<Found>, WsError> {
        loop {
            let rest = &mut bytes[step.consumed..];
            match self.reading() {
                Reading::Ended => {
                    step.consumed = bytes.len();
                    return Ok(None);
                }
                Reading::Payload { header, taken } => {
                    let (used, found) = self.take_payload(&header, taken, limits, rest)?;
                    step.consumed += used;
                    if found.is_some() {
                        return Ok(found);
                    }
                    if step.consumed == bytes.len() {
                        return Ok(None);
                    }
                }
                Reading::Header { held, len } => {
                    let held = &held[..usize::from(len)];
                    let Some(header) = self.take_header(role, held, rest)? else {
                        step.consumed = bytes.len();
                        return Ok(None);
                    };
                    step.frames += 1;
                    step.consumed += header.header_bytes - held.len();
                    limits.admit(&header, self.message())?;
                    let rest = &mut bytes[step.consumed..];
                    if self.is_whole(&header, rest.len()) {
                        let start = step.consumed;
                        let len = payload_len(&header);
                        self.lend(&header, &mut rest[..len])?;
                        let payload = start..start + len;
                        step.consumed = payload.end;
                        return Ok(Some(Found::InBytes { opcode: header.opcode, payload }));
                    }
                    self.begin(header);
                }
                Reading::Lent { .. } => unreachable!("given back when this call began"),
            }
        }
    }

    fn reading(&self) -> Reading {
        self.partial.as_deref().map_or(Reading::BOUNDARY, |partial| partial.reading)
    }

    fn message(&self) -> Option<&PartialMessage> {
        self.partial.as_deref().and_then(|partial| partial.message.as_ref())
    }

    /// Reads a header from `held` and then `rest`; keeps all of `rest` when it is too short.
    fn take_header(
        &mut self,
        role: Role,
        held: &[u8],
        rest: &[u8],
    ) -> Result<Option<FrameHeader>, WsError> {
        if held.is_empty() {
            let header = decode_header(rest, role)?;
            if header.is_none() && !rest.is_empty() {
                self.hold_header(rest);
            }
            return Ok(header);
        }
        let mut joined = [0; HEADER_BYTES_MAX];
        let len = HEADER_BYTES_MAX.min(held.len() + rest.len());
        joined[..held.len()].copy_from_slice(held);
        joined[held.len()..len].copy_from_slice(&rest[..len - held.len()]);
        let header = decode_header(&joined[..len], role)?;
        if header.is_none() {
            self.hold_header(&joined[..len]);
        }
        Ok(header)
    }

    fn hold_header(&mut self, bytes: &[u8]) {
        let mut held = [0; HEADER_BYTES_MAX - 1];
        held[..bytes.len()].copy_from_slice(bytes);
        let len = u8::try_from(bytes.len()).expect("14 bytes are always a whole header");
        self.partial.get_or_insert_default().reading = Reading::Header { held, len };
    }

    /// Whether the frame is an event by itself and all of its payload is at hand.
    fn is_whole(&self, header: &FrameHeader, available: usize) -> bool {
        let event = header.opcode.is_control() || (header.fin && self.message().is_none());
        event && payload_len(header) <= available
    }

    /// Makes the frame's payload ready to be lent from where it arrived.
    fn lend(&mut self, header: &FrameHeader, payload: &mut [u8]) -> Result<(), WsError> {
        if let Some(key) = header.mask {
            mask(payload, key, 0);
        }
        match header.opcode {
            OpCode::Text => utf8::validate(payload)?,
            OpCode::Close => {
                self.end();
                return Ok(());
            }
            _ => {}
        }
        // Held header bytes may be all there was; a fragmented message around it stays.
        match self.partial.as_deref_mut() {
            Some(partial) if partial.message.is_some() => partial.reading = Reading::BOUNDARY,
            Some(_) => self.partial = None,
            None => {}
        }
        Ok(())
    }

    /// Starts to hold an admitted frame.
    fn begin(&mut self, header: FrameHeader) {
        let partial = self.partial.get_or_insert_default();
        partial.reading = Reading::Payload { header, taken: 0 };
        let message = match header.opcode {
            OpCode::Close | OpCode::Ping | OpCode::Pong => return,
            OpCode::Continuation => partial.message.as_mut().expect("admitted: it goes on"),
            OpCode::Text => partial.message.insert(PartialMessage::new(MessageKind::Text)),
            OpCode::Binary => partial.message.insert(PartialMessage::new(MessageKind::Binary)),
        };
        message.fragments += 1;
    }

    /// Copies what `rest` has of the frame's payload; how much that was, and what it completed.
    fn take_payload(
        &mut self,
        header: &FrameHeader,
        taken: usize,
        limits: &MessageLimits,
        rest: &mut [u8],
    ) -> Result<(usize, Option<Found>), WsError> {
        let partial = self.partial.as_deref_mut().expect("a payload is read into a partial");
        let missing = payload_len(header) - taken;
        let used = missing.min(rest.len());
        let piece = &mut rest[..used];
        if let Some(key) = header.mask {
            mask(piece, key, taken);
        }
        let whole = used == missing;
        let found = if header.opcode.is_control() {
            partial.control.extend_from_slice(piece);
            whole.then_some(Found::HeldControl(header.opcode))
        } else {
            let message = partial.message.as_mut().expect("begun with its first frame");
            // The last frame says how long the message gets; until then only the limit does.
            let end_max =
                if header.fin { message.bytes.len() + missing } else { limits.message_bytes_max };
            message.append(piece, end_max)?;
            if whole && header.fin {
                message.finish()?;
                Some(Found::HeldMessage)
            } else {
                None
            }
        };
        partial.reading = match found {
            _ if !whole => Reading::Payload { header: *header, taken: taken + used },
            None => Reading::BOUNDARY,
            Some(Found::HeldControl(OpCode::Close)) => Reading::Ended,
            Some(Found::HeldControl(_)) => Reading::Lent { control: true },
            Some(_) => Reading::Lent { control: false },
        };
        Ok((used, found))
    }

    /// Drops what was lent by the call before.
    fn give_back(&mut self) {
        let Some(partial) = self.partial.as_deref_mut() else {
            return;
        };
        match partial.reading {
            Reading::Header { .. } | Reading::Payload { .. } => {}
            Reading::Lent { control: true } if partial.message.is_some() => {
                partial.control = Vec::new();
                partial.reading = Reading::BOUNDARY;
            }
            Reading::Lent { .. } => self.partial = None,
            Reading::Ended => *partial = Partial { reading: Reading::Ended, ..Partial::default() },
        }
    }

    fn end(&mut self) {
        let ended = Partial { reading: Reading::Ended, ..Partial::default() };
        **self.partial.get_or_insert_default() = ended;
    }
}

fn payload_len(header: &FrameHeader) -> usize {
    usize::try_from(header.payload_bytes).expect("admitted: within a limit that is a usize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::mask::mask;
    use crate::ws::{encode_close, encode_header};

    const KEY: [u8; 4] = [0xA1, 0x52, 0x13, 0xF4];

    const LIMITS: MessageLimits = MessageLimits { message_bytes_max: 1000, fragments_max: 5 };

    /// An [`Event`] that outlives its bytes, or the error that ended them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Message(MessageKind, Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<(u16, String)>),
        Error(WsError),
    }

    impl From<Event<'_>> for Seen {
        fn from(event: Event<'_>) -> Self {
            match event {
                Event::Message { kind, payload } => Self::Message(kind, payload.to_vec()),
                Event::Ping(payload) => Self::Ping(payload.to_vec()),
                Event::Pong(payload) => Self::Pong(payload.to_vec()),
                Event::Close(reason) => {
                    Self::Close(reason.map(|reason| (reason.code, reason.reason.to_owned())))
                }
            }
        }
    }

    /// One assembler and what came out of it.
    struct Peer {
        role: Role,
        limits: MessageLimits,
        assembler: Assembler,
        seen: Vec<Seen>,
        frames: u32,
    }

    impl Peer {
        fn new(role: Role, limits: MessageLimits) -> Self {
            let assembler = Assembler::new();
            Self { role, limits, assembler, seen: Vec::new(), frames: 0 }
        }

        /// Feeds one arrival, as a caller does: until the event is `None`.
        fn feed(&mut self, piece: &[u8]) {
            let mut piece = piece.to_vec();
            let mut at = 0;
            loop {
                match self.assembler.next(self.role, &self.limits, &mut piece[at..]) {
                    Ok(step) => {
                        at += step.consumed;
                        self.frames += step.frames;
                        match step.event {
                            Some(event) => self.seen.push(event.into()),
                            None => break,
                        }
                    }
                    Err(error) => {
                        self.seen.push(Seen::Error(error));
                        return;
                    }
                }
            }
            assert_eq!(at, piece.len(), "no event means that all bytes were taken");
        }
    }

    fn feed_all(role: Role, pieces: &[&[u8]]) -> (Vec<Seen>, u32, bool) {
        let mut peer = Peer::new(role, LIMITS);
        for piece in pieces {
            peer.feed(piece);
        }
        let failed = matches!(peer.seen.last(), Some(Seen::Error(_)));
        // The step that fails reports no frames, so where it began does not count.
        (peer.seen, if failed { 0 } else { peer.frames }, peer.assembler.is_idle())
    }

    /// A frame as the peer of `role` sends it.
    fn frame(role: Role, fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let key = match role {
            Role::Server => Some(KEY),
            Role::Client => None,
        };
        let mut bytes = encode_header(fin, opcode, payload.len(), key).to_vec();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut bytes[start..], key, 0);
        }
        bytes
    }

    fn text(payload: &str) -> Seen {
        Seen::Message(MessageKind::Text, payload.as_bytes().to_vec())
    }

    const ROLES: [Role; 2] = [Role::Server, Role::Client];

    /// Conversations that between them take every path, with what they must come to.
    fn scripts(role: Role) -> Vec<(Vec<u8>, Vec<Seen>)> {
        [legal_scripts(role), broken_scripts(role)].concat()
    }

    fn legal_scripts(role: Role) -> Vec<(Vec<u8>, Vec<Seen>)> {
        use OpCode::{Binary, Close, Continuation, Ping, Pong, Text};
        let f = |fin, opcode, payload: &[u8]| frame(role, fin, opcode, payload);
        let long = "κόσμε ".repeat(30);
        let close = [&1000_u16.to_be_bytes()[..], "bye é".as_bytes()].concat();
        vec![
            (f(true, Text, "h€y".as_bytes()), vec![text("h€y")]),
            (f(true, Text, b""), vec![text("")]),
            (
                [f(true, Binary, &[0xFF; 300]), f(true, Text, long.as_bytes())].concat(),
                vec![Seen::Message(MessageKind::Binary, vec![0xFF; 300]), text(&long)],
            ),
            // Fragments that cut a character, controls between them, one of each kind.
            (
                [
                    f(false, Text, &[b'a', 0xE2]),
                    f(true, Ping, b"1"),
                    f(false, Continuation, b""),
                    f(false, Continuation, &[0x82]),
                    f(true, Pong, b""),
                    f(true, Continuation, &[0xAC, b'z']),
                    f(true, Text, b"next"),
                ]
                .concat(),
                vec![Seen::Ping(b"1".to_vec()), Seen::Pong(vec![]), text("a€z"), text("next")],
            ),
            (
                [f(false, Binary, b"left"), f(true, Close, &close), f(true, Text, b"late")]
                    .concat(),
                vec![Seen::Close(Some((1000, "bye é".into())))],
            ),
            (f(true, Close, b""), vec![Seen::Close(None)]),
        ]
    }

    fn broken_scripts(role: Role) -> Vec<(Vec<u8>, Vec<Seen>)> {
        use OpCode::{Binary, Close, Continuation, Ping, Text};
        let f = |fin, opcode, payload: &[u8]| frame(role, fin, opcode, payload);
        let error = |error| vec![Seen::Error(error)];
        vec![
            (
                [f(true, Ping, &[7; 125]), f(true, Text, b"then"), vec![0x83]].concat(),
                [
                    vec![Seen::Ping(vec![7; 125]), text("then")],
                    error(WsError::ReservedOpCode { opcode: 3 }),
                ]
                .concat(),
            ),
            (f(true, Close, b"x"), error(WsError::CloseCodeCut)),
            (
                f(true, Close, &1005_u16.to_be_bytes()),
                error(WsError::InvalidCloseCode { code: 1005 }),
            ),
            (
                f(true, Close, &[3, 232, b'o', 0xC0]),
                error(WsError::InvalidCloseReason { valid_bytes: 1 }),
            ),
            (f(true, Continuation, b"x"), error(WsError::UnexpectedContinuation)),
            (
                [f(false, Text, b"a"), f(true, Binary, b"b")].concat(),
                error(WsError::MessageInterrupted { opcode: Binary }),
            ),
            (f(true, Text, b"ok\xFFnot"), error(WsError::InvalidUtf8 { valid_bytes: 2 })),
            (f(true, Text, b"ok\xE2\x82"), error(WsError::InvalidUtf8 { valid_bytes: 2 })),
            (
                [f(false, Text, b"ok\xE2"), f(true, Continuation, b"\x82")].concat(),
                error(WsError::InvalidUtf8 { valid_bytes: 2 }),
            ),
            (
                [f(false, Text, b"ok\xE2"), f(false, Continuation, b"(")].concat(),
                error(WsError::InvalidUtf8 { valid_bytes: 2 }),
            ),
            (
                f(true, Binary, &[1; 1001]),
                error(WsError::MessageTooBig { message_bytes: 1001, message_bytes_max: 1000 }),
            ),
            (
                [f(false, Binary, &[1; 700]), f(true, Continuation, &[1; 301])].concat(),
                error(WsError::MessageTooBig { message_bytes: 1001, message_bytes_max: 1000 }),
            ),
            (vec![0xC1], error(WsError::ReservedBits { bits: 4 })),
        ]
    }

    #[test]
    fn every_split_at_one_place_gives_the_same_events() {
        for role in ROLES {
            for (bytes, expected) in scripts(role) {
                let whole = feed_all(role, &[&bytes]);
                assert_eq!(whole.0, expected, "{bytes:x?}");
                let single: Vec<&[u8]> = bytes.chunks(1).collect();
                assert_eq!(feed_all(role, &single), whole, "byte by byte: {bytes:x?}");
                for cut in 0..=bytes.len() {
                    let (head, tail) = bytes.split_at(cut);
                    assert_eq!(feed_all(role, &[head, tail]), whole, "{cut} in {bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn every_split_at_two_places_gives_the_same_events() {
        for role in ROLES {
            for (bytes, _) in scripts(role).into_iter().filter(|(bytes, _)| bytes.len() < 100) {
                let whole = feed_all(role, &[&bytes]);
                for second in 0..=bytes.len() {
                    let (rest, tail) = bytes.split_at(second);
                    for first in 0..=second {
                        let (head, middle) = rest.split_at(first);
                        let split = feed_all(role, &[head, middle, tail]);
                        assert_eq!(split, whole, "{first}, {second} in {bytes:x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_whole_message_is_lent_from_where_it_arrived() {
        let mut bytes = frame(Role::Server, true, OpCode::Text, b"in place");
        let range = bytes.as_ptr_range();
        let mut assembler = Assembler::new();
        let step = assembler.next(Role::Server, &LIMITS, &mut bytes).unwrap();
        let Some(Event::Message { payload, .. }) = step.event else { panic!("{step:?}") };
        assert_eq!(payload, b"in place");
        assert!(range.contains(&payload.as_ptr()));
        assert_eq!(assembler.buffered_bytes(), 0, "nothing was held, nothing is left");
    }

    #[test]
    fn nothing_is_held_between_messages() {
        for role in ROLES {
            let mut peer = Peer::new(role, LIMITS);
            let script = [
                frame(role, false, OpCode::Text, b"one "),
                frame(role, true, OpCode::Ping, b"two"),
                frame(role, true, OpCode::Continuation, b"three"),
            ]
            .concat();
            for byte in script.chunks(1) {
                peer.feed(byte);
                let done = peer.seen.last() == Some(&text("one three"));
                assert_eq!(peer.assembler.is_idle(), done);
                assert_eq!(peer.assembler.buffered_bytes() == 0, done);
            }
            assert!(peer.assembler.is_idle());
        }
    }

    /// Hazards 1 and 2: however much a frame declares, memory is for what arrived.
    #[test]
    fn a_declared_length_reserves_nothing() {
        let unlimited = MessageLimits { message_bytes_max: usize::MAX, fragments_max: u32::MAX };
        for declared in [60_000, 1 << 40, (1 << 63) - 1] {
            for fin in [true, false] {
                let mut peer = Peer::new(Role::Server, unlimited);
                peer.feed(&encode_header(fin, OpCode::Binary, declared, Some(KEY)));
                for arrived in 1..=3000 {
                    peer.feed(b"x");
                    let held = peer.assembler.buffered_bytes() - size_of::<Partial>();
                    assert!((arrived..=2 * arrived).contains(&held), "{held} for {arrived}");
                }
                assert_eq!(peer.seen, [], "the message goes on");
            }
        }
    }

    #[test]
    fn room_is_never_made_beyond_the_message() {
        let mut peer = Peer::new(Role::Client, LIMITS);
        let bytes = frame(Role::Client, true, OpCode::Binary, &[1; 1000]);
        for piece in bytes[..bytes.len() - 1].chunks(600) {
            peer.feed(piece);
        }
        assert_eq!(peer.assembler.buffered_bytes(), size_of::<Partial>() + 1000);
    }

    /// Hazards 1 and 7: the header is enough, also for the sum over fragments.
    #[test]
    fn a_message_over_the_limit_is_refused_before_its_payload() {
        for declared in [1001, 65_536, 1 << 40, (1 << 63) - 1] {
            let error =
                WsError::MessageTooBig { message_bytes: declared as u64, message_bytes_max: 1000 };
            assert_eq!(error.close_code(), 1009);
            let mut peer = Peer::new(Role::Server, LIMITS);
            peer.feed(&encode_header(true, OpCode::Binary, declared, Some(KEY)));
            assert_eq!(peer.seen, [Seen::Error(error)]);

            let mut peer = Peer::new(Role::Server, LIMITS);
            peer.feed(&frame(Role::Server, false, OpCode::Binary, b"!"));
            peer.feed(&encode_header(true, OpCode::Continuation, declared - 1, Some(KEY)));
            assert_eq!(peer.seen, [Seen::Error(error)]);
        }
        let mut peer = Peer::new(Role::Server, LIMITS);
        peer.feed(&frame(Role::Server, true, OpCode::Binary, &[0; 1000]));
        assert_eq!(peer.seen, [Seen::Message(MessageKind::Binary, vec![0; 1000])]);
    }

    /// Hazard 7, Netty CVE-2014-0193: continuations that add nothing and never end.
    #[test]
    fn endless_empty_fragments_are_refused() {
        let mut peer = Peer::new(Role::Server, LIMITS);
        peer.feed(&frame(Role::Server, false, OpCode::Text, b""));
        for _ in 1..LIMITS.fragments_max {
            peer.feed(&frame(Role::Server, false, OpCode::Continuation, b""));
            peer.feed(&frame(Role::Server, true, OpCode::Pong, b"")); // no fragment
        }
        assert!(peer.seen.iter().all(|seen| *seen == Seen::Pong(vec![])));
        peer.feed(&frame(Role::Server, true, OpCode::Continuation, b""));
        let error = WsError::TooManyFragments { fragments_max: 5 };
        assert_eq!(peer.seen.last(), Some(&Seen::Error(error)));
        assert_eq!(error.close_code(), 1008);
    }

    #[test]
    fn a_route_for_long_messages_takes_more_fragments() {
        let fragments_max = |bytes| MessageLimits::for_message_bytes(bytes).fragments_max;
        assert_eq!(fragments_max(0), 1024);
        assert_eq!(fragments_max(64 * 1024), 1024);
        assert_eq!(fragments_max(16 * 1024 * 1024), 262_144);
    }

    /// Hazard 8, RUSTSEC-2026-0258: frames that carry nothing are charged for all the same.
    #[test]
    fn every_frame_is_counted_once_however_empty_and_however_cut() {
        let script = [
            frame(Role::Server, false, OpCode::Binary, b""),
            frame(Role::Server, false, OpCode::Continuation, b""),
            frame(Role::Server, true, OpCode::Ping, b""),
            frame(Role::Server, true, OpCode::Continuation, b""),
            frame(Role::Server, true, OpCode::Text, b""),
        ]
        .concat();
        for len in 1..=script.len() {
            let mut peer = Peer::new(Role::Server, LIMITS);
            script.chunks(len).for_each(|piece| peer.feed(piece));
            assert_eq!(peer.frames, 5, "in pieces of {len}");
        }
    }

    /// Hazard 13, Autobahn 6.4: the bad byte ends the message, not the end of its frame.
    #[test]
    fn bad_text_is_refused_with_the_byte_that_makes_it_bad() {
        // ED begins a character, ED A0 (a surrogate) none; the text goes on after it.
        let text = b"ok \xED\xA0 and much more";
        let whole = frame(Role::Server, true, OpCode::Text, text);
        let fragments = [
            frame(Role::Server, false, OpCode::Text, &text[..4]),
            frame(Role::Server, false, OpCode::Continuation, &text[4..]),
        ]
        .concat();
        for script in [whole, fragments] {
            let bad_index = script.len() - text[5..].len() - 1;
            let mut peer = Peer::new(Role::Server, LIMITS);
            script[..bad_index].chunks(1).for_each(|byte| peer.feed(byte));
            assert_eq!(peer.seen, [], "all may still become good");
            peer.feed(&script[bad_index..=bad_index]);
            let error = WsError::InvalidUtf8 { valid_bytes: 3 };
            assert_eq!(peer.seen, [Seen::Error(error)]);
            assert_eq!(error.close_code(), 1007);
        }
    }

    /// Hazard 14: data behind a Close is taken and forgotten, and so is data behind an error.
    #[test]
    fn nothing_is_reported_after_the_end() {
        let mut close = Vec::new();
        encode_close(&mut close, 1001, "leaving");
        let ends = [close, vec![0xFF], frame(Role::Client, true, OpCode::Close, b"1")];
        let late = frame(Role::Client, true, OpCode::Text, &[b'x'; 200]);
        for end in ends {
            for len in 1..=end.len() {
                let mut peer = Peer::new(Role::Client, LIMITS);
                end.chunks(len).for_each(|piece| peer.feed(piece));
                assert_eq!(peer.seen.len(), 1);
                for _ in 0..3 {
                    peer.feed(&late);
                    assert_eq!(peer.assembler.buffered_bytes(), size_of::<Partial>());
                }
                assert_eq!((peer.seen.len(), peer.frames <= 1), (1, true));
                assert!(!peer.assembler.is_idle());
            }
        }
    }

    /// Hazard 15: each role refuses the other's frames, before any payload.
    #[test]
    fn a_frame_masked_as_the_wrong_role_is_refused() {
        for (role, other, error) in [
            (Role::Server, Role::Client, WsError::Unmasked),
            (Role::Client, Role::Server, WsError::Masked),
        ] {
            let bytes = frame(other, true, OpCode::Text, b"hi");
            let mut peer = Peer::new(role, LIMITS);
            peer.feed(&bytes[..2]);
            assert_eq!(peer.seen, [Seen::Error(error)]);
            assert_eq!(error.close_code(), 1002);
        }
    }

    /// Hazard 15, CVE-2016-10518: a Ping that declares more than it sends gets no answer, and one
    /// that comes in pieces is answered with its own bytes only.
    #[test]
    fn a_ping_is_lent_exactly_as_it_was_sent() {
        let long = frame(Role::Server, true, OpCode::Ping, &[9; 125]);
        let short = frame(Role::Server, true, OpCode::Ping, b"short");
        let begun = frame(Role::Server, false, OpCode::Binary, b"around them");
        for around in [&begun[..], &[]] {
            let mut peer = Peer::new(Role::Server, LIMITS);
            peer.feed(around);
            for ping in [&long, &short] {
                let (head, tail) = ping.split_at(ping.len() - 1);
                let seen_before = peer.seen.len();
                peer.feed(head);
                assert_eq!(peer.seen.len(), seen_before, "no answer before its last byte");
                peer.feed(tail);
            }
            assert_eq!(peer.seen, [Seen::Ping(vec![9; 125]), Seen::Ping(b"short".to_vec())]);
        }
    }
}
