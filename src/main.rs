//! The `longwire` binary: parse, validate, run, exit code. It stands on the library's public API.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

use std::process::ExitCode;

use clap::Parser;

mod cli;

// A server's heap is small objects of few sizes that come and go with its clients: per-thread
// heaps without a lock, and pages given back after a storm, are what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: longwire::sys::memory::TwoHeaps = longwire::sys::memory::TwoHeaps;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
