//! What longwire asks of Linux besides the ring: sockets, limits, descriptor tables, signals.
//!
//! One file per noun. Beside `ring` the only module in which `unsafe` is allowed, one operation
//! per block, each with the reason why it holds. Errors are the kernel's, as values: nothing here
//! logs, prints or ends the process, and nothing waits longer than its name says.

#![allow(unsafe_code, reason = "system calls; every block says why it is sound")]

pub mod bell;
pub mod clock;
pub mod cpu;
pub mod dial;
pub mod eventfd;
pub mod fdpass;
pub mod fdtable;
pub mod kernel;
pub mod memory;
pub mod rlimit;
pub mod signal;
pub mod socket;
pub mod watched;

/// Gives a descriptor to a type that can own one but takes it only as a number.
pub fn adopt<T: std::os::fd::FromRawFd>(fd: std::os::fd::OwnedFd) -> T {
    use std::os::fd::IntoRawFd;
    // SAFETY: open and owned by us alone until now; the ownership moves into `T` here.
    unsafe { T::from_raw_fd(fd.into_raw_fd()) }
}
