//! The rules of RFC 6455 that a peer's frames can break, one variant each, and the close code
//! that each is answered with.

use std::fmt;

use super::close::code;
use super::frame::OpCode;
use super::utf8::InvalidUtf8;

/// A rule that the peer's bytes broke. The connection is failed (§7.1.7): answered with a Close
/// that carries [`WsError::close_code`], and read no further.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsError {
    /// RSV1 to RSV3 are set though no extension was agreed on (§5.2).
    ReservedBits {
        /// The three bits, RSV1 highest.
        bits: u8,
    },
    /// An opcode that §5.2 reserves.
    ReservedOpCode {
        /// The four bits as sent.
        opcode: u8,
    },
    /// A control frame without FIN (§5.5).
    FragmentedControl {
        /// Which control frame.
        opcode: OpCode,
    },
    /// A control frame that declares more than 125 bytes (§5.5).
    ControlTooLong {
        /// Which control frame.
        opcode: OpCode,
    },
    /// A client sent an unmasked frame to us, a server (§5.1).
    Unmasked,
    /// A server sent a masked frame to us, a client (§5.1).
    Masked,
    /// A length that fits a shorter encoding (§5.2: the minimal number of bytes MUST be used).
    LengthNotMinimal {
        /// The declared length.
        payload_bytes: u64,
    },
    /// A 64-bit length with its most significant bit set (§5.2).
    LengthOverflow {
        /// The declared length.
        payload_bytes: u64,
    },
    /// A continuation frame outside a fragmented message (§5.4).
    UnexpectedContinuation,
    /// A new data frame inside a fragmented message (§5.4).
    MessageInterrupted {
        /// The opcode of the frame that should have been a continuation.
        opcode: OpCode,
    },
    /// The message, with the frame just declared, is longer than we take.
    MessageTooBig {
        /// Bytes assembled so far and declared.
        message_bytes: u64,
        /// Our limit.
        message_bytes_max: usize,
    },
    /// The message came in more frames than we take, empty ones included.
    TooManyFragments {
        /// Our limit.
        fragments_max: u32,
    },
    /// A text message that is not UTF-8 (§8.1).
    InvalidUtf8 {
        /// Bytes of the message before the ill-formed sequence.
        valid_bytes: usize,
    },
    /// A Close frame whose payload is one byte: too short for a code (§5.5.1).
    CloseCodeCut,
    /// A close code that may not be sent (§7.4).
    InvalidCloseCode {
        /// The code as sent.
        code: u16,
    },
    /// A close reason that is not UTF-8 (§5.5.1).
    InvalidCloseReason {
        /// Bytes of the reason before the ill-formed sequence.
        valid_bytes: usize,
    },
}

impl WsError {
    /// The close code that the peer is told (§7.4.1).
    ///
    /// Too many fragments is a breach of policy (1008), not of size: the bytes may be few.
    pub fn close_code(self) -> u16 {
        match self {
            Self::ReservedBits { .. }
            | Self::ReservedOpCode { .. }
            | Self::FragmentedControl { .. }
            | Self::ControlTooLong { .. }
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal { .. }
            | Self::LengthOverflow { .. }
            | Self::UnexpectedContinuation
            | Self::MessageInterrupted { .. }
            | Self::CloseCodeCut
            | Self::InvalidCloseCode { .. } => code::PROTOCOL_ERROR,
            Self::InvalidUtf8 { .. } | Self::InvalidCloseReason { .. } => code::INVALID_PAYLOAD,
            Self::TooManyFragments { .. } => code::POLICY_VIOLATION,
            Self::MessageTooBig { .. } => code::MESSAGE_TOO_BIG,
        }
    }
}

impl From<InvalidUtf8> for WsError {
    fn from(InvalidUtf8 { valid_bytes }: InvalidUtf8) -> Self {
        Self::InvalidUtf8 { valid_bytes }
    }
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits { bits } => write!(f, "reserved bits {bits:03b} are set"),
            Self::ReservedOpCode { opcode } => write!(f, "opcode {opcode:#x} is reserved"),
            Self::FragmentedControl { opcode } => write!(f, "{opcode:?} frame without FIN"),
            Self::ControlTooLong { opcode } => write!(f, "{opcode:?} frame over 125 bytes"),
            Self::Unmasked => f.write_str("frame from a client is not masked"),
            Self::Masked => f.write_str("frame from a server is masked"),
            Self::LengthNotMinimal { payload_bytes } => {
                write!(f, "length {payload_bytes} is not in its shortest form")
            }
            Self::LengthOverflow { payload_bytes } => {
                write!(f, "length {payload_bytes:#x} has its highest bit set")
            }
            Self::UnexpectedContinuation => f.write_str("continuation of no message"),
            Self::MessageInterrupted { opcode } => {
                write!(f, "{opcode:?} frame inside a fragmented message")
            }
            Self::MessageTooBig { message_bytes, message_bytes_max } => {
                write!(f, "message of {message_bytes} bytes is over {message_bytes_max}")
            }
            Self::TooManyFragments { fragments_max } => {
                write!(f, "message in more than {fragments_max} fragments")
            }
            Self::InvalidUtf8 { valid_bytes } => {
                write!(f, "text is not UTF-8 after {valid_bytes} bytes")
            }
            Self::CloseCodeCut => f.write_str("close payload of one byte"),
            Self::InvalidCloseCode { code } => write!(f, "close code {code} may not be sent"),
            Self::InvalidCloseReason { valid_bytes } => {
                write!(f, "close reason is not UTF-8 after {valid_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for WsError {}
