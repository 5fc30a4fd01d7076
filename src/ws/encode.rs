//! Messages and control frames to bytes: what an end appends to its output.
//!
//! A server's frames are unmasked and can be shared by all receivers; a client's carry a key that
//! the caller draws anew for each frame (§5.3: it must not be predictable).

use super::close::{self, REASON_BYTES_MAX};
use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, OpCode, encode_header};
use super::mask::mask;

/// A server's empty Ping.
pub const PING: [u8; 2] = [0x80 | OpCode::Ping as u8, 0];

/// A server's Pong to an empty Ping.
pub const PONG: [u8; 2] = [0x80 | OpCode::Pong as u8, 0];

/// A server's Close without a reason.
pub const CLOSE: [u8; 2] = [0x80 | OpCode::Close as u8, 0];

/// Bytes of the longest control frame that a server sends.
pub const CONTROL_FRAME_BYTES_MAX: usize = 2 + CONTROL_PAYLOAD_BYTES_MAX;

/// Appends a whole message, or a control frame, as a server sends it: one frame, unmasked.
pub fn encode_message(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    out.extend_from_slice(&encode_header(true, opcode, payload.len(), None));
    out.extend_from_slice(payload);
}

/// Appends a whole message, or a control frame, as a client sends it: one frame, masked by `key`.
pub fn encode_masked_message(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], key: [u8; 4]) {
    out.extend_from_slice(&encode_header(true, opcode, payload.len(), Some(key)));
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key, 0);
}

/// Appends a server's Close. A reason of more than 123 bytes is cut between characters.
///
/// `code` must be one that may be sent; [`close::may_be_sent`] asks that of codes from outside.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let (payload, len) = close_payload(code, reason);
    encode_message(out, OpCode::Close, &payload[..len]);
}

/// Appends a client's Close, masked by `key`; otherwise as [`encode_close`].
pub fn encode_masked_close(out: &mut Vec<u8>, code: u16, reason: &str, key: [u8; 4]) {
    let (payload, len) = close_payload(code, reason);
    encode_masked_message(out, OpCode::Close, &payload[..len], key);
}

fn close_payload(code: u16, reason: &str) -> ([u8; CONTROL_PAYLOAD_BYTES_MAX], usize) {
    assert!(close::may_be_sent(code), "close code {code} is not for the wire (§7.4)");
    let reason = close::cut_reason(reason).as_bytes();
    debug_assert!(reason.len() <= REASON_BYTES_MAX);
    let mut payload = [0; CONTROL_PAYLOAD_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..][..reason.len()].copy_from_slice(reason);
    (payload, 2 + reason.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{CloseReason, Role, decode_header};

    #[test]
    fn prebuilt_frames_are_what_the_encoder_writes() {
        let frames = [(PING, OpCode::Ping), (PONG, OpCode::Pong), (CLOSE, OpCode::Close)];
        for (frame, opcode) in frames {
            let mut out = Vec::new();
            encode_message(&mut out, opcode, b"");
            assert_eq!(out, frame);
        }
    }

    #[test]
    fn what_a_client_masks_unmasks_to_the_payload() {
        let payload = b"masked for the proxies between";
        let mut out = b"earlier output".to_vec();
        let earlier = out.len();
        encode_masked_message(&mut out, OpCode::Text, payload, [9, 8, 7, 6]);
        assert_eq!(&out[..earlier], b"earlier output");
        let frame = &mut out[earlier..];
        let header = decode_header(frame, Role::Server).unwrap().unwrap();
        let body = &mut frame[header.header_bytes..];
        assert_ne!(body, payload);
        mask(body, header.mask.unwrap(), 0);
        assert_eq!(body, payload);
    }

    #[test]
    fn a_close_with_an_endless_reason_still_fits_its_frame() {
        let mut out = Vec::new();
        encode_close(&mut out, 1001, &"€".repeat(1000));
        assert_eq!(out.len(), CONTROL_FRAME_BYTES_MAX);
        let parsed = CloseReason::parse(&out[2..]).unwrap().unwrap();
        assert_eq!((parsed.code, parsed.reason), (1001, "€".repeat(41).as_str()));
    }

    #[test]
    #[should_panic(expected = "close code 1005 is not for the wire")]
    fn a_code_that_may_not_be_sent_is_our_bug() {
        encode_close(&mut Vec::new(), 1005, "");
    }
}
