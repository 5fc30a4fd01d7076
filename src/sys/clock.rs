//! The one place where the clocks are read.
//!
//! Everything else is handed the time: pure modules as an argument, a shard once per turn. So a
//! test can move time, and a turn costs one reading instead of one per connection.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time now.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time since the Unix epoch, by the wall clock: for what others have dated. It may jump.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn since_epoch() -> Duration {
    // A clock before 1970 is not set; what is dated then is not valid yet.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
