//! Eventfds: what a thread that sleeps in another runtime is woken by when its ring has work.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::EventfdFlags;

/// A new eventfd at zero; reads of it block.
pub fn eventfd() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?)
}
