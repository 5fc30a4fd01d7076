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

/// Microseconds of the kernel's monotonic clock, as supervisors want them.
pub fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is one initialised record, lives through the call, and is only written to.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(failed, 0, "the clock exists");
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}
