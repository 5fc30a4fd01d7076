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
    u64::try_from(read(libc::CLOCK_MONOTONIC).as_micros()).unwrap_or(u64::MAX)
}

/// CPU time of the calling thread, to the moment; what `/proc` tells of it is a tick old.
pub fn thread_cpu_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is one initialised record, lives through the call, and is only written to.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(failed, 0, "the clock exists");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("below a second");
    Duration::from_secs(now.tv_sec.unsigned_abs()) + Duration::from_nanos(nanoseconds)
}
