//! Replies and pushes as JSON: one object each, on one line (1).
//!
//! Fields with a zero value are left out, but for those that the protocol always writes; the
//! result of a command is always there, if only as `{}`. Embedded values stand as they came, raw
//! line feeds removed: a JSON string cannot hold one, so they are only white space.
//!
//! Invariant: what is appended to the output holds no line feed.

mod encode;
mod object;
mod part;
#[cfg(test)]
mod tests;

pub use encode::{write_clients, write_publications, write_push, write_reply};
pub(super) use object::quoted;
pub use part::{numbered, publication_part};

/// A ping, and its answer: an empty object.
pub const PING: &str = "{}";
