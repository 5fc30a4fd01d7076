//! RFC 6455: bytes in, events out; messages in, bytes out. Both roles, no I/O, no clock.
//!
//! ```text
//!   bytes ─▶ handshake: HeadScanner ─▶ RequestHead ─▶ check_upgrade ─▶ 101 or a Refusal
//!   bytes ─▶ assemble:  decode_header ─▶ mask ─▶ utf8 ─▶ Event
//!   message ─▶ encode ─▶ bytes
//! ```
//!
//! Invariants: every split of the same bytes gives the same events and the same error; nothing is
//! reserved for bytes that have not arrived; after a Close or an error nothing more is parsed.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod close;
pub mod encode;
pub mod error;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
pub mod mask;
pub mod message;
pub mod utf8;

#[cfg(test)]
mod oracle;

pub use assemble::{Assembler, Event, Step};
pub use close::CloseReason;
pub use encode::{encode_close, encode_message};
pub use error::WsError;
pub use frame::{FrameHeader, HeaderBytes, OpCode, Role, decode_header, encode_header};
pub use mask::mask;
pub use message::{MessageKind, MessageLimits};
