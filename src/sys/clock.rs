//! The one place where the monotonic clock is read.
//!
//! Everything else is handed the time: pure modules as an argument, a shard once per turn. So a
//! test can move time, and a turn costs one reading instead of one per connection.

use std::time::Instant;

/// The time now.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}
