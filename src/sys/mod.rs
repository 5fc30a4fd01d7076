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
pub mod fdpass;
pub mod fdtable;
pub mod kernel;
pub mod memory;
pub mod rlimit;
pub mod run_delay;
pub mod signal;
pub mod socket;
pub mod step;
pub mod watched;
