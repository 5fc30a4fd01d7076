//! What sessions ask the control thread: a question in, a task that finds the answer, its verdict
//! out.
//!
//! ```text
//!   shard ─ Question ─▶ Desk ─▶ task ─▶ Calls ─▶ reqwest ─▶ back end
//!   shard ◀─ Verdict ◀─ Desk ◀─ task ◀─ read, bounded ◀──────┘
//! ```
//!
//! Invariants: every question has one answer, if it is not called off before, within the time that
//! its proxy has; one that is called off is worked on no more; as many are open as the shards may
//! have open.

mod calls;
mod checkers;
mod desk;
mod endpoints;
mod key_fetch;
mod key_source;
mod verifiers;

pub(super) use calls::Calls;
pub use desk::Desk;
pub(super) use endpoints::{Counts, EndpointState};
pub use verifiers::TokenKeys;
pub(super) use verifiers::Verifiers;
