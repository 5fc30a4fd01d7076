//! Pure: the client protocol of Centrifugo, version 2: frames to commands, replies and pushes to
//! bytes, and its codes.
//!
//! ```text
//!   frame ─▶ Commands ─▶ Command ─▶ (session) ─▶ Reply, Push ─▶ json │ protobuf ─▶ bytes
//! ```
//!
//! The types are those of the protocol and know no format; a [`Format`] is one decoder for
//! [`Command`] and one encoder for [`Reply`] and [`Push`]. Numbers in brackets, as in "(7)", are
//! the sections of the protocol's reference.
//!
//! Invariant: a command borrows from its frame, and one frame makes at most as many commands as
//! it has lines, or bytes.
#![forbid(unsafe_code)]

pub mod channel;
mod client_id;
mod code;
mod command;
mod commands;
mod data_format;
pub mod delta;
mod emulation;
#[cfg(test)]
mod examples;
mod format;
pub mod fossil;
#[doc(hidden)]
pub mod fuzz;
mod glob;
pub mod json;
mod lines;
pub mod protobuf;
mod push;
mod reply;
mod tags_filter;
mod text;
mod translate;
mod transport;
mod user_command;

pub use client_id::{ClientId, Lineage};
pub use code::{Disconnect, DisconnectCode, ErrorCode, ReplyError, UnsubscribeCode};
pub use command::{
    Channel, Command, Connect, Held, History, Publish, Refresh, Request, Rpc, StreamPosition,
    SubRefresh, Subscribe,
};
pub use commands::{Commands, Malformed};
pub use data_format::DataFormat;
pub use emulation::EmulationRequest;
pub use format::{Format, PublicationList};
pub use glob::Glob;
pub use push::{ClientInfo, Farewell, Publication, Push, Subscription};
pub use reply::{
    ConnectResult, Failure, HistoryResult, PresenceStats, RefreshResult, Reply, StreamNames,
    SubscribeResult,
};
pub use tags_filter::TagsFilterError;
pub use text::{Entries, Raw, Text};
pub use translate::translate;
pub use transport::Transport;
pub use user_command::{
    OptionsForUser, Selection, Term, UserAction, UserCommand, UserSubscription,
};
