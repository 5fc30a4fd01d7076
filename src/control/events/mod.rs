//! Events for the back end that is told of them: queued as they come, posted in batches, and
//! posted again until they are taken.
//!
//! ```text
//!   shards ─▶ Mailbox ─▶ Queue ─▶ batch ─▶ Courier ─▶ POST ─ 2xx ─▶ taken
//!                          └─ no room: lost, counted    └─ anything else: Backoff, the same again
//! ```
//!
//! Invariants: one POST is under way at a time, so that what happened to a client is told in its
//! order; an event keeps its id however often it is posted; every event that came is taken, lost
//! or waiting, and counted so.

mod backoff;
mod courier;
mod queue;

pub(super) use courier::Courier;
pub use courier::Mailbox;
pub use queue::EventCounts;
