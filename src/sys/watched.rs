//! Descriptors that a task of tokio waits for.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::unix::AsyncFd;

use super::bell::Bell;
use super::signal::Signals;

/// Owns its descriptor for as long as it lives, and never exchanges it for another.
trait Owner: AsRawFd {}

impl Owner for OwnedFd {}
impl Owner for Signals {}
impl Owner for Arc<Bell> {}

/// A non-blocking descriptor whose readiness a task waits for. It must be made within the runtime.
///
/// The edges of readiness are what the kernel reports: whoever waits clears the guard and looks
/// after that, so news that come meanwhile are another edge.
#[derive(Debug)]
pub struct Watched<T: AsRawFd>(AsyncFd<T>);

impl<T: AsRawFd> Watched<T> {
    /// Returns when there is something to read, or may be. The next wait is for what comes after
    /// this one has returned.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }

    /// What is waited for.
    pub fn get(&self) -> &T {
        self.0.get_ref()
    }
}

#[allow(private_bounds, reason = "that a type owns its descriptor is checked here, type by type")]
impl<T: Owner> Watched<T> {
    /// Watches a descriptor.
    pub fn new(owner: T) -> io::Result<Self> {
        // SAFETY: an `Owner` keeps the same descriptor open while it lives, and it lives in here.
        unsafe { AsyncFd::register(owner) }.map(Self).map_err(io::Error::from)
    }
}
