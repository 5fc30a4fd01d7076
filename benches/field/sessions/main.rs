//! What sessions of the client protocol cost: memory of many that are idle, CPU of what they are
//! sent, and what it takes when all of them come back at once.
//!
//! ```text
//!   first core: longwire serve         second core: this program, one task per session
//! ```
//!
//! `cargo build --release && cargo run --release --example sessions -- memory|fan-out|storm`

mod echo;
mod fanout;
mod memory;
#[path = "../publish/server.rs"]
mod server;
mod storm;
mod token;
#[path = "../publish/wire.rs"]
mod wire;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use core_affinity::CoreId;
use tokio::task::LocalSet;

/// Sessions of the client protocol, measured
#[derive(Parser)]
struct Args {
    /// The server's binary; without it, the one beside this program
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Memory of idle sessions, part by part
    Memory(memory::MemoryArgs),
    /// CPU of a publication to many, beside the raw broadcast of the same bytes
    FanOut(fanout::FanOutArgs),
    /// Sessions that are dropped at once and come back to recover
    Storm(storm::StormArgs),
    /// The echo of bystanders; the storm starts this itself
    #[command(hide = true)]
    Echo(echo::EchoArgs),
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (own, rest) = cores.split_last().expect("a program runs on some core");
    let server_core = *rest.first().unwrap_or(own);
    let binary = args.binary.map_or_else(server::default_binary, Ok)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let bench = Bench { binary, server_core, own_core: *own };
    let local = LocalSet::new();
    let what = args.what;
    let holds = match &what {
        What::Memory(args) => local.block_on(&runtime, memory::run(&bench, args))?,
        What::FanOut(args) => local.block_on(&runtime, fanout::run(&bench, args))?,
        What::Storm(args) => local.block_on(&runtime, storm::run(&bench, args))?,
        What::Echo(args) => local.block_on(&runtime, echo::run(args))?,
    };
    if !matches!(what, What::Echo(_)) {
        println!("{}", if holds { "holds" } else { "MISSED" });
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where things run.
pub(crate) struct Bench {
    pub(crate) binary: PathBuf,
    server_core: CoreId,
    own_core: CoreId,
}

impl Bench {
    /// Starts a server on its core: it takes over the affinity of the thread that starts it.
    pub(crate) fn on_server_core<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        pin(self.server_core);
        let started = start();
        pin(self.own_core);
        started
    }
}

fn pin(core: CoreId) {
    assert!(core_affinity::set_for_current(core), "core {} is not ours", core.id);
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
