//! HTTP that is no WebSocket: the API, health, metrics and pages, on one thread of tokio.
//!
//! ```text
//!  shards ── socket + bytes read so far ──▶ Arrival ─▶ Gate ─▶ hyper ─▶ public routes ──┐
//!  internal listener ───────────────────────────────▶ Gate ─▶ hyper ─▶ internal routes ─┤
//!  shards ◀── sockets of clients over HTTP, introduced
//!  shards ◀── mesh ◀── server ◀── Ask (publish, snapshot), answered by oneshot ─────────┘
//! ```
//!
//! Invariants: a request head means the same here as on a shard, because the same parser judges
//! every one of them before hyper sees it; nothing here waits for a client without a deadline or
//! buffers for one without a bound; no shard ever waits for this thread.
#![forbid(unsafe_code)]

mod api;
mod ask;
mod body;
mod channels;
mod connection;
mod consult;
mod crossing;
mod crowd;
mod debug;
mod events;
mod exposition;
mod gate;
mod health;
mod page;
mod request_id;
mod routes;
mod sending_on;
mod service;
mod settings;
mod site;
mod streaming;
mod traffic;

#[cfg(test)]
mod tests;

pub use crate::metrics::Snapshot;
pub use api::KnownKey;
pub use ask::{Ask, Audience, Busy, ListError, Placed, Publication, Question, TellError, Told};
pub use channels::{ChannelKind, Channels, Kept};
pub use consult::{Desk, TokenKeys};
pub use crossing::{Address, Crossing, CrossingCounts, Side};
pub use events::{EventCounts, Mailbox};
pub use settings::{ErrorMode, HttpApi, Settings};
pub use site::{Arrival, Live, Memory, Site, SiteError};
pub use streaming::{Endpoint, Introduced, Pages, StreamTerms, Streaming};
