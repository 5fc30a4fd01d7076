//! What arrived of a message, said again: bytes that put a fresh assembler where this one stands.
//!
//! ```text
//!   fragments that are whole ─▶ one frame with their bytes, empty frames for the others
//!   a frame that is not      ─▶ its header, and of its payload what there is
//!   a header that is not     ─▶ itself
//! ```
//!
//! For a connection that goes on in another process: its parser reads the replay as it reads the
//! peer, with its own limits, and knows nothing of how this one keeps things.

use super::{Assembler, Partial, Reading};
use crate::ws::frame::{FrameHeader, OpCode, encode_header};
use crate::ws::mask::mask;
use crate::ws::message::PartialMessage;

impl Assembler {
    /// Appends a replay of what this assembler holds; nothing if it is idle. `next` must have
    /// returned no event since it was last given bytes.
    pub fn replay(&self, out: &mut Vec<u8>) {
        let Some(partial) = self.partial.as_deref() else { return };
        match &partial.reading {
            Reading::Header { held, len } => {
                whole_fragments(partial, None, out);
                out.extend_from_slice(&held[..usize::from(*len)]);
            }
            Reading::Payload { header, taken } => {
                whole_fragments(partial, Some((header, *taken)), out);
                let payload = if header.opcode.is_control() {
                    partial.control.as_slice()
                } else {
                    let message = partial.message.as_ref().expect("begun with its first frame");
                    &message.bytes[message.bytes.len() - taken..]
                };
                begun_frame(header, payload, out);
            }
            // An event was lent, and nothing behind it was looked at.
            Reading::Lent { .. } => whole_fragments(partial, None, out),
            Reading::Ended => out.extend_from_slice(&encode_header(true, OpCode::Close, 0, KEY)),
        }
    }
}

/// The key under which whole fragments are said again: it leaves them as they are.
const KEY: Option<[u8; 4]> = Some([0; 4]);

/// The fragments of a message before the frame that is being read.
fn whole_fragments(partial: &Partial, begun: Option<(&FrameHeader, usize)>, out: &mut Vec<u8>) {
    let Some(PartialMessage { kind, bytes, fragments, .. }) = &partial.message else { return };
    let (begun_count, begun_bytes) = match begun {
        Some((header, taken)) if !header.opcode.is_control() => (1, taken),
        _ => (0, 0),
    };
    let bytes = &bytes[..bytes.len() - begun_bytes];
    for number in 0..fragments - begun_count {
        let (opcode, payload) =
            if number == 0 { ((*kind).into(), bytes) } else { (OpCode::Continuation, &b""[..]) };
        out.extend_from_slice(&encode_header(false, opcode, payload.len(), KEY));
        out.extend_from_slice(payload);
    }
}

fn begun_frame(header: &FrameHeader, payload: &[u8], out: &mut Vec<u8>) {
    let length = super::payload_len(header);
    out.extend_from_slice(&encode_header(header.fin, header.opcode, length, header.mask));
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = header.mask {
        mask(&mut out[start..], key, 0);
    }
}

#[cfg(test)]
mod tests {
    use crate::ws::frame::{OpCode, Role, encode_header};
    use crate::ws::mask::mask;
    use crate::ws::{Assembler, MessageLimits};

    const LIMITS: MessageLimits = MessageLimits { message_bytes_max: 1000, fragments_max: 5 };

    fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let key = [7, 0, 255, 4];
        let mut bytes = encode_header(fin, opcode, payload.len(), Some(key)).to_vec();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[start..], key, 0);
        bytes
    }

    /// What an assembler makes of these bytes, as text; errors end it.
    fn feed(assembler: &mut Assembler, bytes: &[u8]) -> Vec<String> {
        let (mut bytes, mut at, mut seen) = (bytes.to_vec(), 0, Vec::new());
        loop {
            match assembler.next(Role::Server, &LIMITS, &mut bytes[at..]) {
                Ok(step) => {
                    at += step.consumed;
                    let Some(event) = step.event else { return seen };
                    seen.push(format!("{event:?}"));
                }
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }

    fn conversations() -> [Vec<u8>; 4] {
        use OpCode::{Binary, Continuation, Ping, Text};
        [
            [frame(true, Binary, &[9; 200]), frame(true, Text, "hé€𝄞y".as_bytes())].concat(),
            [
                frame(false, Text, &[b'a', 0xE2]),
                frame(true, Ping, b"12345"),
                frame(false, Continuation, b""),
                frame(false, Continuation, &[0x82]),
                frame(true, Continuation, &[0xAC, b'z']),
            ]
            .concat(),
            // The sixth fragment is one too many, also after a replay.
            (0..6)
                .flat_map(|n| frame(false, if n == 0 { Text } else { Continuation }, b"x"))
                .collect(),
            [frame(false, Binary, &[1; 700]), frame(true, Continuation, &[1; 301])].concat(),
        ]
    }

    #[test]
    fn an_assembler_that_read_a_replay_goes_on_as_the_first_would_have() {
        for bytes in conversations() {
            for cut in 0..=bytes.len() {
                let mut first = Assembler::new();
                let before = feed(&mut first, &bytes[..cut]);
                if before.iter().any(|event| event.contains("Too")) {
                    continue; // an error: there is nothing to go on with
                }
                let mut replay = Vec::new();
                first.replay(&mut replay);
                assert_eq!(replay.is_empty(), first.is_idle());
                let mut second = Assembler::new();
                assert_eq!(feed(&mut second, &replay), [""; 0], "a replay is no event");
                let expected = feed(&mut first, &bytes[cut..]);
                assert_eq!(feed(&mut second, &bytes[cut..]), expected, "cut at {cut}");
            }
        }
    }

    #[test]
    fn one_that_has_ended_ends_again() {
        let mut first = Assembler::new();
        feed(&mut first, &frame(true, OpCode::Close, b""));
        let mut replay = Vec::new();
        first.replay(&mut replay);
        let mut second = Assembler::new();
        feed(&mut second, &replay);
        assert_eq!(feed(&mut second, &frame(true, OpCode::Text, b"late")), [""; 0]);
    }
}
