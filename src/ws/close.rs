//! RFC 6455 §5.5.1 and §7.4: the payload of a Close frame to a code and a reason, and back.

use super::error::WsError;
use super::frame::CONTROL_PAYLOAD_BYTES_MAX;

/// Bytes of a close reason: a control frame's payload less the code.
pub const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// Close codes that longwire itself sends (§7.4.1).
pub mod code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the page is left.
    pub const GOING_AWAY: u16 = 1001;
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Never on the wire: the peer's Close had no code (§7.4.1).
    pub const NO_STATUS: u16 = 1005;
    /// Never on the wire: the connection ended without a Close (§7.4.1).
    pub const ABNORMAL: u16 = 1006;
    /// A message of a kind that is not taken, such as binary by a text service.
    pub const UNSUPPORTED_DATA: u16 = 1003;
    /// A text message that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A rule of ours was broken that no other code names.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message over our limit.
    pub const MESSAGE_TOO_BIG: u16 = 1009;
    /// A fault of ours.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The service restarts (IANA registry): clients come back after a while.
    pub const SERVICE_RESTART: u16 = 1012;
    /// Overload (IANA registry).
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// The peer did not answer the application's heartbeat (Centrifugo's code for it).
    pub const NO_PONG: u16 = 3012;
}

/// Why a connection is closed, as one end told the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason<'a> {
    /// A code that [`may_be_sent`].
    pub code: u16,
    /// At most [`REASON_BYTES_MAX`] bytes; often empty.
    pub reason: &'a str,
}

impl<'a> CloseReason<'a> {
    /// Reads the payload of a Close frame; an empty one states no reason.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, WsError> {
        let Some((&code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() { Ok(None) } else { Err(WsError::CloseCodeCut) };
        };
        let code = u16::from_be_bytes(code);
        if !may_be_sent(code) {
            return Err(WsError::InvalidCloseCode { code });
        }
        let reason = std::str::from_utf8(reason)
            .map_err(|error| WsError::InvalidCloseReason { valid_bytes: error.valid_up_to() })?;
        Ok(Some(Self { code, reason }))
    }
}

/// Whether a Close frame may carry `code`: 1004 to 1006 and 1015 are never on the wire, 1016 to
/// 2999 belong to nobody yet, and 3000 to 4999 to libraries and applications (§7.4.2).
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The longest start of `reason` that fits a Close frame and does not cut a character.
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), reason].concat()
    }

    /// All 65,536 codes, against the ranges as RFC 6455 §7.4 and the IANA registry list them.
    #[test]
    fn every_close_code_is_judged_as_the_rfc_says() {
        for code in 0..=u16::MAX {
            let reserved = [1004, 1005, 1006, 1015].contains(&code);
            let legal = (1000..1016).contains(&code) && !reserved || (3000..5000).contains(&code);
            let expected = if legal {
                Ok(Some(CloseReason { code, reason: "bye" }))
            } else {
                Err(WsError::InvalidCloseCode { code })
            };
            assert_eq!(CloseReason::parse(&payload(code, b"bye")), expected);
        }
    }

    #[test]
    fn no_payload_is_no_reason_and_one_byte_is_a_fault() {
        assert_eq!(CloseReason::parse(&[]), Ok(None));
        assert_eq!(CloseReason::parse(&[3]), Err(WsError::CloseCodeCut));
        assert_eq!(
            CloseReason::parse(&payload(1000, b"")),
            Ok(Some(CloseReason { code: 1000, reason: "" }))
        );
    }

    /// Hazard 13: the reason is text too.
    #[test]
    fn a_reason_that_is_not_utf8_is_refused_as_1007() {
        for reason in [&b"ab\xFF"[..], b"ab\xC3", b"ab\xED\xA0\x80"] {
            let payload = payload(1000, reason);
            let error = CloseReason::parse(&payload).unwrap_err();
            assert_eq!(error, WsError::InvalidCloseReason { valid_bytes: 2 });
            assert_eq!(error.close_code(), 1007);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        for (reason, kept) in [("a", 123), ("é", 122), ("€", 123), ("𝄞", 120)] {
            let cut = cut_reason(&reason.repeat(123)).to_owned();
            assert_eq!(cut.len(), kept, "{reason}");
            assert_eq!(cut, reason.repeat(kept / reason.len()));
        }
        assert_eq!(cut_reason("short"), "short");
    }
}
