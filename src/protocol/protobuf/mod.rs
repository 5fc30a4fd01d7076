//! The protocol's other format: Protobuf messages, each behind its length (1).
//!
//! ```text
//!   length varint │ key varint, value │ key, value │ …      key = field number × 8 + wire type
//! ```
//!
//! Own code over varints, because what a client sends is read in place: nothing is allocated by a
//! declared length, and a command borrows its names and data from the frame. Field numbers are
//! those of the reference (2, 3, 4, 5). What a client embeds is bytes here, JSON or not.

mod decode;
mod emulation;
mod encode;
mod filter;
mod part;
mod push;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use decode::split_first;
pub(super) use emulation::read_emulation;
pub use encode::{write_clients, write_publications, write_push, write_reply};
pub(super) use filter::read_filter;
pub use part::{numbered, publication_part};
pub(super) use push::read_push;
pub use reader::WireError;

/// A ping, and its answer: an empty message behind its length.
pub const PING: &[u8] = &[0];
