//! Pure: the client protocol of Centrifugo, version 2: frames to commands, replies and pushes to
//! bytes, and its codes.
//!
//! ```text
//!   frame ─▶ Commands ─▶ Command ─▶ (session) ─▶ Reply, Push ─▶ json ─▶ bytes
//! ```
//!
//! The types are those of the protocol and know no format; a format is one decoder for [`Command`]
//! and one encoder for [`Reply`] and [`Push`]. JSON is the one that exists. Numbers in brackets,
//! as in "(7)", are the sections of the protocol's reference.
//!
//! Invariant: a command borrows from its frame, and one frame makes at most as many commands as
//! it has lines.
#![forbid(unsafe_code)]

pub mod channel;
mod client_id;
mod code;
mod command;
mod format;
#[doc(hidden)]
pub mod fuzz;
pub mod json;
mod lines;
mod push;
mod reply;
mod text;

pub use client_id::{ClientId, Lineage};
pub use code::{Disconnect, DisconnectCode, ErrorCode, ReplyError, UnsubscribeCode};
pub use command::{
    Channel, Command, Connect, History, Publish, Refresh, Request, SubRefresh, Subscribe,
};
pub use format::Format;
pub use lines::{Commands, Malformed};
pub use push::{ClientInfo, Publication, Push};
pub use reply::{ConnectResult, PresenceStats, Reply, SubscribeResult};
pub use text::{Raw, Text};
