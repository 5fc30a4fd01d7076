//! Pure: what a shard counts: plain integers of its own, summed when somebody asks.
//!
//! Everything that can be full, refused, cut or retried has a counter here, under a name that
//! says what was lost and to whom.
#![forbid(unsafe_code)]

mod closes;
mod counters;
mod details;
mod histogram;
mod memory;
mod snapshot;
mod totals;

pub use closes::Closes;
pub use counters::Counters;
pub use details::Details;
pub use histogram::Histogram;
pub use memory::{Class, Memory};
pub use snapshot::Snapshot;
pub use totals::Totals;
