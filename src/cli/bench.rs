//! `longwire bench`: the load generator's arguments.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use longwire::bench::{self, Kind};

/// What is measured.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// Plain WebSocket messages, every byte checked
    #[command(subcommand)]
    Raw(Raw),
}

#[derive(Debug, Subcommand)]
enum Raw {
    /// Open connections and close them: opening handshakes per second, and what one costs
    Connect(Load),
    /// Open connections and leave them alone: memory and CPU time of those that stand
    Idle(Load),
    /// Send on every connection and expect the same back
    Echo(Load),
    /// Publish on few connections and expect every publication on all
    Fanout(Load),
}

/// How much, how fast, and whom to observe
#[derive(Args, Debug)]
struct Load {
    /// Address of the server
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    target: SocketAddr,

    /// Path of the opening handshake
    #[arg(long, default_value = "/")]
    path: String,

    /// Connections that stand at the same time (`connect` goes by --window or --rate)
    #[arg(long, value_name = "N", default_value_t = 100)]
    connections: u32,

    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 20)]
    size: usize,

    /// Messages (`connect`: handshakes) a second in all, at times fixed beforehand; without it,
    /// as fast as --window lets them
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,

    /// Messages under way per connection or publisher (`connect`: handshakes in all); the next
    /// is sent when one has come back
    #[arg(long, value_name = "N", default_value_t = 1)]
    window: u32,

    /// Seconds measured, after a warm-up of a fifth of them and at most one second
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u32,

    /// Connections of `fanout` that also publish
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: u32,

    /// Connections beside a `fanout` that echo ten times a second, to see what it does to others
    #[arg(long, value_name = "N", default_value_t = 0)]
    probes: u32,

    /// Path of the probes, where the server echoes
    #[arg(long, value_name = "PATH", default_value = "/echo")]
    probe_path: String,

    /// Process of the server, whose CPU time and memory is read
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// The server knows no WebSocket and sends our own frames back; `connect` does not check its
    /// accept key
    #[arg(long)]
    bare: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Core to run on
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
}

/// Runs the load generator.
pub(crate) fn run(args: BenchArgs) -> ExitCode {
    let Protocol::Raw(raw) = args.protocol;
    let (kind, load) = match raw {
        Raw::Connect(load) => (Kind::Connect, load),
        Raw::Idle(load) => (Kind::Idle, load),
        Raw::Echo(load) => (Kind::Echo, load),
        Raw::Fanout(load) => (Kind::Fanout, load),
    };
    bench::run(&bench::BenchArgs {
        kind,
        target: load.target,
        path: load.path,
        connections: load.connections,
        size: load.size,
        rate: load.rate,
        window: load.window,
        seconds: load.seconds,
        publishers: load.publishers,
        probes: load.probes,
        probe_path: load.probe_path,
        server_pid: load.server_pid,
        bare: load.bare,
        json: load.json,
        cpu: load.cpu,
    })
}
