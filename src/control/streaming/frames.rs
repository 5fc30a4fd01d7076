//! The frames that a shard sends, taken apart as they arrive. Pure.
//!
//! Invariant: no more is kept than a header or a control frame; a message passes through in the
//! parts that it comes in, however long it is.

use crate::ws::{CloseReason, OpCode, Role, WsError, decode_header};

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A part of a message.
    Part(&'a [u8]),
    /// A message has ended.
    End,
    /// The shard closes, with this code and reason; without one if it says none.
    Close(Option<(u16, String)>),
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a header, or of a control frame.
    kept: Vec<u8>,
    /// Payload of a message that is still to come.
    left: u64,
    /// Whether the message ends with it.
    is_last: bool,
    /// The message's last byte was handed out, and its end was not.
    ends: bool,
}

impl Frames {
    /// The next piece in `bytes`, of which it takes what it has read; `None` if they are used up.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, WsError> {
        loop {
            if std::mem::take(&mut self.ends) {
                return Ok(Some(Piece::End));
            }
            if self.left > 0 {
                return Ok(self.part(bytes).map(Piece::Part));
            }
            let Some((opcode, payload)) = self.frame(bytes)? else { return Ok(None) };
            match opcode {
                OpCode::Close => {
                    let reason = CloseReason::parse(&payload)?;
                    let reason = reason.map(|close| (close.code, close.reason.to_owned()));
                    return Ok(Some(Piece::Close(reason)));
                }
                // Heartbeats of sessions are messages, so nobody waits for an answer to these.
                OpCode::Ping | OpCode::Pong => {}
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    self.ends = self.left == 0 && self.is_last;
                }
            }
        }
    }

    fn part<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = bytes.split_at(count);
        *bytes = rest;
        self.left -= count as u64;
        self.ends = self.left == 0 && self.is_last;
        (count > 0).then_some(part)
    }

    /// The next frame, if it has arrived: its kind and, of a control frame, its payload.
    fn frame(&mut self, bytes: &mut &[u8]) -> Result<Option<(OpCode, Vec<u8>)>, WsError> {
        loop {
            if let Some(header) = decode_header(&self.kept, Role::Client)? {
                if !header.opcode.is_control() {
                    (self.left, self.is_last) = (header.payload_bytes, header.fin);
                    self.kept.clear();
                    return Ok(Some((header.opcode, Vec::new())));
                }
                let payload_bytes = usize::try_from(header.payload_bytes).expect("125 at most");
                if self.kept.len() == header.header_bytes + payload_bytes {
                    let payload = self.kept.split_off(header.header_bytes);
                    self.kept.clear();
                    return Ok(Some((header.opcode, payload)));
                }
            }
            // Byte by byte, so that none of the payload behind a header is kept.
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            self.kept.push(byte);
            *bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{encode_close, encode_header, encode_message};

    /// A message, or a Close.
    type Heard = Result<Vec<u8>, Option<(u16, String)>>;

    /// All pieces of these bytes, fed in parts of so many; parts of a message joined.
    fn pieces(bytes: &[u8], part_bytes: usize) -> Vec<Heard> {
        let (mut frames, mut message, mut all) = (Frames::default(), Vec::new(), Vec::new());
        for mut part in bytes.chunks(part_bytes) {
            while let Some(piece) = frames.next(&mut part).unwrap() {
                match piece {
                    Piece::Part(part) => message.extend_from_slice(part),
                    Piece::End => all.push(Ok(std::mem::take(&mut message))),
                    Piece::Close(why) => all.push(Err(why)),
                }
            }
        }
        assert!(frames.kept.capacity() < 256);
        all
    }

    #[test]
    fn every_cut_gives_the_same_messages() {
        let long = vec![b'x'; 70_000];
        let mut bytes = Vec::new();
        encode_message(&mut bytes, OpCode::Text, b"{}");
        encode_message(&mut bytes, OpCode::Ping, b"?");
        encode_message(&mut bytes, OpCode::Binary, b"");
        bytes.extend_from_slice(&encode_header(false, OpCode::Text, 2, None));
        bytes.extend_from_slice(b"ab");
        bytes.extend_from_slice(&encode_header(true, OpCode::Continuation, 1, None));
        bytes.extend_from_slice(b"c");
        encode_message(&mut bytes, OpCode::Text, &long);
        encode_close(&mut bytes, 3001, "shutdown");
        let expected = [
            Ok(b"{}".to_vec()),
            Ok(Vec::new()),
            Ok(b"abc".to_vec()),
            Ok(long),
            Err(Some((3001, "shutdown".to_owned()))),
        ];
        for part_bytes in (1..40).chain([1000, 16 * 1024, 1 << 20]) {
            assert_eq!(pieces(&bytes, part_bytes), expected, "in parts of {part_bytes}");
        }
    }

    #[test]
    fn a_close_may_say_nothing() {
        let mut bytes = Vec::new();
        encode_message(&mut bytes, OpCode::Close, b"");
        assert_eq!(pieces(&bytes, 1), [Err(None)]);
    }

    #[test]
    fn what_no_shard_sends_is_an_error() {
        let mut masked = &[0x81, 0x80, 1, 2, 3, 4][..];
        assert_eq!(Frames::default().next(&mut masked), Err(WsError::Masked));
    }
}
