//! Bells: what a thread is woken by that another one without a ring has work for.
//!
//! A bell is a pipe, not an eventfd, so that whoever sleeps on an eventfd that a ring signals can
//! be rung: a ring whose eventfd is signalled from within the write to another one defers that to
//! RCU, and on Linux 6.18 does so once only, and every later bell is lost.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A pipe that any thread may ring and one thread listens to.
///
/// Invariant: between a ring and the `quiet` that follows it, the pipe is readable or was just
/// read, so a listener that calls `quiet` before it looks for work misses none. The pipe never
/// holds more bytes than there are threads that ring it.
#[derive(Debug)]
pub struct Bell {
    heard: PipeReader,
    struck: PipeWriter,
    rung: AtomicBool,
}

/// Threads that ring one bell at the same moment: more leave a byte for the next `quiet`.
const RINGERS: usize = 64;

impl Bell {
    /// A silent bell. Neither end blocks.
    pub fn new() -> io::Result<Self> {
        let (heard, struck) = io::pipe()?;
        rustix::io::ioctl_fionbio(&heard, true)?;
        rustix::io::ioctl_fionbio(&struck, true)?;
        Ok(Self { heard, struck, rung: AtomicBool::new(false) })
    }

    /// Both ends, for whoever takes copies of pipes out of a descriptor table.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.heard.as_raw_fd(), self.struck.as_raw_fd()]
    }

    /// Wakes the listener; costs a system call only if nobody else has rung since it last looked.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It can fail only when the pipe is full, which is as good as rung.
            let _full = (&self.struck).write(&[0]);
        }
    }

    /// For the listener: from now on a ring is heard again. Look for work after it.
    pub fn quiet(&self) {
        // Nothing to read means that nobody rang: the listener may look all the same.
        let _silent = (&self.heard).read(&mut [0; RINGERS]);
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.heard.as_raw_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(bell: &Bell) -> bool {
        let mut polled = [rustix::event::PollFd::new(bell, rustix::event::PollFlags::IN)];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&none)).expect("poll") == 1
    }

    #[test]
    fn a_bell_is_heard_once_until_it_is_quieted() {
        let bell = Bell::new().expect("a pipe");
        assert!(!is_readable(&bell));
        bell.ring();
        bell.ring();
        assert!(is_readable(&bell));
        bell.quiet();
        assert!(!is_readable(&bell));
        bell.ring();
        assert!(is_readable(&bell));
    }
}
