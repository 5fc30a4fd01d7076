//! The codec against an independent one, in both directions: what we write it must read, what it
//! writes we must read, and of random frames both must say the same as far as their rules agree.

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error as TheirError, Message, WebSocket};

use super::encode::{encode_masked_close, encode_masked_message};
use super::*;

const BYTES_MAX: usize = 4096;

const LIMITS: MessageLimits =
    MessageLimits { message_bytes_max: BYTES_MAX, fragments_max: u32::MAX };

/// What either codec made of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// Bytes to be read, and a sink for the answers that the oracle writes by itself.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the oracle reads, and the rule it says was broken, if any.
fn theirs(role: Role, bytes: &[u8]) -> (Vec<Seen>, Option<TheirError>) {
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let config = WebSocketConfig::default()
        .max_frame_size(Some(BYTES_MAX))
        .max_message_size(Some(BYTES_MAX))
        .read_buffer_size(1024);
    let mut socket =
        WebSocket::from_raw_socket(Wire(Cursor::new(bytes.to_vec())), role, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(payload)) => Seen::Binary(payload.to_vec()),
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Seen::Pong(payload.to_vec()),
            Ok(Message::Close(None)) => {
                seen.push(Seen::Close(None));
                return (seen, None);
            }
            Ok(Message::Close(Some(frame))) => {
                seen.push(Seen::Close(Some((frame.code.into(), frame.reason.to_string()))));
                return (seen, None);
            }
            Ok(Message::Frame(_)) => unreachable!("only when writing"),
            Err(TheirError::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        });
    }
}

fn ours(role: Role, bytes: &[u8], piece_bytes: usize) -> (Vec<Seen>, Option<WsError>) {
    let mut assembler = Assembler::new();
    let mut seen = Vec::new();
    let mut bytes = bytes.to_vec();
    for piece in bytes.chunks_mut(piece_bytes.max(1)) {
        let mut at = 0;
        loop {
            let step = match assembler.next(role, &LIMITS, &mut piece[at..]) {
                Ok(step) => step,
                Err(error) => return (seen, Some(error)),
            };
            at += step.consumed;
            seen.push(match step.event {
                None => break,
                Some(Event::Message { kind: MessageKind::Text, payload }) => {
                    Seen::Text(payload.to_vec())
                }
                Some(Event::Message { kind: MessageKind::Binary, payload }) => {
                    Seen::Binary(payload.to_vec())
                }
                Some(Event::Ping(payload)) => Seen::Ping(payload.to_vec()),
                Some(Event::Pong(payload)) => Seen::Pong(payload.to_vec()),
                Some(Event::Close(reason)) => {
                    Seen::Close(reason.map(|reason| (reason.code, reason.reason.to_owned())))
                }
            });
        }
    }
    (seen, None)
}

/// A legal thing to say, and how it is cut into fragments with Pings between them.
#[derive(Clone, Debug)]
struct Saying {
    what: Seen,
    cuts: Vec<prop::sample::Index>,
    key: [u8; 4],
}

fn saying() -> impl Strategy<Value = Saying> {
    let what = prop_oneof![
        "\\PC{0,300}".prop_map(|text| Seen::Text(text.into_bytes())),
        vec(any::<u8>(), 0..700).prop_map(Seen::Binary),
        vec(any::<u8>(), 0..=125).prop_map(Seen::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Seen::Pong),
    ];
    (what, vec(any::<prop::sample::Index>(), 0..4), any::<[u8; 4]>())
        .prop_map(|(what, cuts, key)| Saying { what, cuts, key })
}

impl Saying {
    /// Appends the frames, and what a reader must make of them.
    fn write(&self, role: Role, out: &mut Vec<u8>, expected: &mut Vec<Seen>) {
        let (opcode, payload) = match &self.what {
            Seen::Text(payload) => (OpCode::Text, payload),
            Seen::Binary(payload) => (OpCode::Binary, payload),
            Seen::Ping(payload) => (OpCode::Ping, payload),
            Seen::Pong(payload) => (OpCode::Pong, payload),
            Seen::Close(_) => unreachable!("not generated"),
        };
        if opcode.is_control() || self.cuts.is_empty() {
            match role {
                Role::Server => encode_masked_message(out, opcode, payload, self.key),
                Role::Client => encode_message(out, opcode, payload),
            }
        } else {
            let mut cuts: Vec<usize> =
                self.cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            cuts.extend([0, payload.len()]);
            cuts.sort_unstable();
            for (index, pair) in cuts.windows(2).enumerate() {
                let opcode = if index == 0 { opcode } else { OpCode::Continuation };
                let key = (role == Role::Server).then_some(self.key);
                let fin = index + 2 == cuts.len();
                out.extend_from_slice(&encode_header(fin, opcode, pair[1] - pair[0], key));
                let start = out.len();
                out.extend_from_slice(&payload[pair[0]..pair[1]]);
                mask(&mut out[start..], key.unwrap_or_default(), 0);
                if !fin {
                    let between = [0xB0; 3];
                    match role {
                        Role::Server => {
                            encode_masked_message(out, OpCode::Ping, &between, self.key);
                        }
                        Role::Client => encode_message(out, OpCode::Ping, &between),
                    }
                    expected.push(Seen::Ping(between.to_vec()));
                }
            }
        }
        expected.push(self.what.clone());
    }
}

/// A frame that need not be legal, but is whole: its payload is as long as it declares.
#[derive(Clone, Debug)]
struct AnyFrame {
    first: u8,
    masked: bool,
    length_form: u8,
    payload: Vec<u8>,
    key: [u8; 4],
}

fn any_frame() -> impl Strategy<Value = AnyFrame> {
    // Mostly legal, so that sequences get somewhere before a rule is broken.
    let opcode = prop_oneof![20 => prop::sample::select(vec![0_u8, 1, 2, 9, 10]), 1 => 0..16_u8];
    // The oracle does not know 1014, which came to the registry after the RFC.
    let code = prop_oneof![990..1020_u16, any::<u16>()].prop_filter("1014", |&code| code != 1014);
    let close = (code, "[a-é]{0,3}")
        .prop_map(|(code, text)| (0x88, [&code.to_be_bytes()[..], text.as_bytes()].concat()));
    let payload = prop_oneof![
        "[a-z€]{0,40}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
        vec(any::<u8>(), 100..200),
    ];
    let fin = prop::bool::weighted(0.6);
    let data = (opcode, fin, payload, prop::bool::weighted(0.01)).prop_map(
        |(opcode, fin, payload, reserved)| {
            // A control frame is cut only now and then.
            let fin = fin || opcode > 7 && payload.len() != 3;
            let first = opcode | u8::from(fin) << 7 | u8::from(reserved) << 5;
            (first, payload)
        },
    );
    let what = prop_oneof![12 => data, 1 => close];
    (what, prop::bool::weighted(0.98), 0..60_u8, any::<[u8; 4]>()).prop_map(
        |((first, payload), masked, length_form, key)| AnyFrame {
            first,
            masked,
            length_form,
            payload,
            key,
        },
    )
}

impl AnyFrame {
    fn write(&self, role: Role, out: &mut Vec<u8>) {
        let masked = self.masked == (role == Role::Server);
        let mask_bit = if masked { 0x80 } else { 0 };
        let len = self.payload.len();
        out.push(self.first);
        // Now and then a longer form than needed; a control frame has only the short one.
        if len <= 125 && (self.length_form > 0 || self.first & 8 != 0) {
            out.push(mask_bit | u8::try_from(len).unwrap());
        } else if self.length_form > 1 {
            out.push(mask_bit | 0x7E);
            out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        } else {
            out.push(mask_bit | 0x7F);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
        let key = if masked { self.key } else { [0; 4] };
        if masked {
            out.extend_from_slice(&key);
        }
        let start = out.len();
        out.extend_from_slice(&self.payload);
        mask(&mut out[start..], key, 0);
    }
}

proptest! {
    #[test]
    fn what_we_write_the_oracle_reads(sayings in vec(saying(), 0..8), server: bool) {
        let role = if server { Role::Server } else { Role::Client };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for saying in &sayings {
            saying.write(role, &mut bytes, &mut expected);
        }
        match role {
            Role::Server => encode_masked_close(&mut bytes, 4000, "that is all", [5, 6, 7, 8]),
            Role::Client => encode_close(&mut bytes, 4000, "that is all"),
        }
        expected.push(Seen::Close(Some((4000, "that is all".into()))));
        let (seen, error) = theirs(role, &bytes);
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn what_the_oracle_writes_we_read(
        sayings in vec(saying(), 0..8),
        server: bool,
        piece_bytes in 1..300_usize,
    ) {
        let writer = if server { TheirRole::Client } else { TheirRole::Server };
        let role = if server { Role::Server } else { Role::Client };
        let mut socket = WebSocket::from_raw_socket(Cursor::new(Vec::new()), writer, None);
        let mut expected = Vec::new();
        for saying in &sayings {
            let message = match saying.what.clone() {
                Seen::Text(text) => Message::text(String::from_utf8(text).unwrap()),
                Seen::Binary(payload) => Message::binary(payload),
                Seen::Ping(payload) => Message::Ping(payload.into()),
                Seen::Pong(payload) => Message::Pong(payload.into()),
                Seen::Close(_) => unreachable!("not generated"),
            };
            socket.write(message).unwrap();
            socket.flush().unwrap();
            expected.push(saying.what.clone());
        }
        socket.close(None).unwrap();
        expected.push(Seen::Close(None));
        let bytes = socket.get_ref().get_ref();
        prop_assert_eq!(ours(role, bytes, piece_bytes), (expected, None));
    }

    #[test]
    fn of_random_frames_both_say_the_same(
        frames in vec(any_frame(), 0..12),
        server: bool,
        piece_bytes in 1..300_usize,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.write(role, &mut bytes);
        }
        let (seen, error) = ours(role, &bytes, piece_bytes);
        let (their_seen, their_error) = theirs(role, &bytes);
        match error {
            None => {
                prop_assert!(their_error.is_none(), "{their_error:?}");
                prop_assert_eq!(seen, their_seen);
            }
            // The oracle takes lengths in any form.
            Some(WsError::LengthNotMinimal { .. }) => {
                prop_assert!(their_seen.starts_with(&seen));
            }
            // The oracle reports such a Close, as one of 1002, unless its reason is bad too.
            Some(WsError::InvalidCloseCode { .. }) if their_error.is_none() => {
                prop_assert!(their_seen.starts_with(&seen));
                let violation = Seen::Close(Some((1002, "Protocol violation".into())));
                prop_assert_eq!(&their_seen[seen.len()..], &[violation]);
            }
            Some(error) => {
                prop_assert_eq!(&seen, &their_seen);
                // The oracle judges a text of several frames when a frame has ended.
                let early = matches!(error, WsError::InvalidUtf8 { .. });
                prop_assert!(their_error.is_some() || early, "only we say {error}");
            }
        }
    }
}
