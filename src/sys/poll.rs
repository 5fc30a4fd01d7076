//! Waiting for a few descriptors at once, in a thread that has no ring.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until one of `wanted` can be read, or the time is over. An early return is allowed, so
/// the caller looks at each of them.
pub fn readable(wanted: &mut [Option<BorrowedFd<'_>>], timeout: Option<Duration>) {
    let wanted = wanted.iter().flatten();
    let mut polled: Vec<_> =
        wanted.map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    // Interrupted, out of time or ready: the caller looks.
    let _looked = poll(&mut polled, timeout.as_ref());
}
