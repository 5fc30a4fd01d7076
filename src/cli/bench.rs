//! `longwire bench`: the load generator's arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use longwire::bench::session::{Scenario, Slo};
use longwire::bench::{self, Kind};
use longwire::protocol::Format;

use super::value::{bytes, duration};

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
    /// Begin sessions of the client protocol: how many a second, and how long one takes
    Connect(Sessions),
    /// Begin sessions and leave them alone but for their pings: what those that stand cost
    Idle(Sessions),
    /// Each session publishes into a channel of its own, and gets that back
    Echo(Sessions),
    /// Few sessions publish, and all get what is published into their channels
    Fanout(Sessions),
    /// All sessions publish in turn into the channels that they share, one each ten seconds unless
    /// there is a --publish-rate
    Chat(Sessions),
    /// So many sessions a second leave and come anew (--churn-rate), while the others stand
    Churn(Sessions),
    /// Drop all sessions at once; they come back as the SDKs do, and recover what they missed
    Storm(Sessions),
}

/// What the sessions speak
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SessionFormat {
    /// JSON lines in text messages
    Json,
    /// Protobuf in binary messages
    Protobuf,
}

/// How many sessions of the client protocol, how fast, and whom to observe
#[derive(Args, Debug)]
struct Sessions {
    /// Address of the server
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    target: SocketAddr,

    /// Path of its WebSocket endpoint
    #[arg(long, default_value = "/connection/websocket")]
    path: String,

    /// Format of the client protocol
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = SessionFormat::Json)]
    protocol: SessionFormat,

    /// Sessions
    #[arg(long, value_name = "N", default_value_t = 100)]
    connections: u32,

    /// Channels; session n subscribes to `bench-` and n modulo this number (`echo`: one each)
    #[arg(long, value_name = "N", default_value_t = 1)]
    channels: u32,

    /// What the names of the channels begin with: generators beside each other need one each
    #[arg(long, value_name = "NAME", default_value = "bench-")]
    channel_prefix: String,

    /// Sessions begun a second, at times fixed beforehand; without it, as fast as the server lets
    /// 512 at a time begin
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,

    /// Seconds measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u32,

    /// Bytes of what is published
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,

    /// Sessions of `fanout` and `storm` that publish, each into a channel of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: u32,

    /// Publications a second in all, at times fixed beforehand; without it, each publisher goes on
    /// when it has got back what it published
    #[arg(long, value_name = "PER_SECOND")]
    publish_rate: Option<u64>,

    /// Sessions that leave and come anew a second in a `churn`; without it, a tenth of all
    #[arg(long, value_name = "PER_SECOND")]
    churn_rate: Option<u64>,

    /// Publications of each publisher of `storm` while the others are away
    #[arg(long, value_name = "N", default_value_t = 0)]
    missed: u32,

    /// Publications of each publisher of `fanout`, each when all copies of the one before have
    /// come: tells the time from the first to the last copy of each
    #[arg(long, value_name = "N")]
    publications: Option<u32>,

    /// The floor of a `fanout`: no server, but as many threads as the generator has send the same
    /// frame to as many sockets by a plain loop of send(2)
    #[arg(long)]
    bare: bool,

    /// Sessions beside `idle` or `fanout` that publish into channels of their own, on a thread of
    /// their own; behind `idle`, once its seconds are over
    #[arg(long, value_name = "N", default_value_t = 0)]
    echo_connections: u32,

    /// Publications a second of all those; without it, ten each
    #[arg(long, value_name = "PER_SECOND")]
    echo_rate: Option<u64>,

    /// Seconds that they echo behind `idle`
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    echo_seconds: u32,

    /// Key (HS256) that the server checks tokens with: every session has a user of its own. Without
    /// it they have no token, which the server must allow
    #[arg(long, value_name = "KEY", env = "LONGWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY")]
    hmac_key: Option<String>,

    /// Objectives that decide the exit code: connect=99.9%,p95=800ms,heartbeat=99.98%, or some of
    /// them. Without, a run that lost anything ends with 1
    #[arg(long, value_name = "OBJECTIVES")]
    slo: Option<Slo>,

    /// Process of the server, whose CPU time and memory is read
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Operator's port of the server, which tells its memory by class: `http://127.0.0.1:9000`
    #[arg(long, value_name = "URL")]
    server_metrics: Option<String>,

    /// How much a busy host excuses: success is also told as P*e^(-ALPHA*L), L being the share of
    /// its cores that was taken while sessions began
    #[arg(long, value_name = "ALPHA", default_value_t = 1.0)]
    alpha: f64,

    /// Memory that this host keeps available; a run that comes below it ends
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "1000000000")]
    memory_floor: usize,

    /// How long the beginning of one session may take before it has failed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    deadline: Duration,

    /// Write a page with plots to this file: sessions, deliveries, times, cores and memory
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Core to run on
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Raw {
    /// Open connections and close them: opening handshakes per second, and what one costs
    Connect(Load),
    /// Hold connections of which --rate a second, the oldest, are closed and opened anew; without
    /// it, a tenth of them
    Churn(Load),
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
    if let Err(error) = longwire::sys::memory::forgo_huge_pages() {
        tracing::warn!(%error, "huge pages stay on: each thread will take some megabytes");
    }
    match args.protocol {
        Protocol::Raw(Raw::Connect(load)) => run_raw(Kind::Connect, load),
        Protocol::Raw(Raw::Churn(load)) => run_raw(Kind::Churn, load),
        Protocol::Raw(Raw::Idle(load)) => run_raw(Kind::Idle, load),
        Protocol::Raw(Raw::Echo(load)) => run_raw(Kind::Echo, load),
        Protocol::Raw(Raw::Fanout(load)) => run_raw(Kind::Fanout, load),
        Protocol::Connect(sessions) => run_sessions(Scenario::Connect, sessions),
        Protocol::Idle(sessions) => run_sessions(Scenario::Idle, sessions),
        Protocol::Echo(sessions) => run_sessions(Scenario::Echo, sessions),
        Protocol::Fanout(sessions) => run_sessions(Scenario::Fanout, sessions),
        Protocol::Chat(sessions) => run_sessions(Scenario::Chat, sessions),
        Protocol::Churn(sessions) => run_sessions(Scenario::Churn, sessions),
        Protocol::Storm(sessions) => run_sessions(Scenario::Storm, sessions),
    }
}

fn run_sessions(scenario: Scenario, sessions: Sessions) -> ExitCode {
    let args = bench::SessionArgs {
        scenario,
        target: sessions.target,
        path: sessions.path,
        format: match sessions.protocol {
            SessionFormat::Json => Format::Json,
            SessionFormat::Protobuf => Format::Protobuf,
        },
        connections: sessions.connections,
        channels: sessions.channels,
        channel_prefix: sessions.channel_prefix,
        rate: sessions.rate,
        seconds: sessions.seconds,
        size: sessions.size,
        publishers: sessions.publishers,
        publish_rate: sessions.publish_rate,
        churn_rate: sessions.churn_rate,
        missed: sessions.missed,
        publications: sessions.publications,
        bare: sessions.bare,
        echo_connections: sessions.echo_connections,
        echo_rate: sessions.echo_rate,
        echo_seconds: sessions.echo_seconds,
        hmac_key: sessions.hmac_key,
        server_pid: sessions.server_pid,
        server_metrics: sessions.server_metrics,
        cpu: sessions.cpu,
        alpha: sessions.alpha,
        memory_bytes_min: sessions.memory_floor as u64,
        deadline: sessions.deadline,
    };
    bench::run_sessions(&args, sessions.slo, sessions.json, sessions.report.as_deref())
}

fn run_raw(kind: Kind, load: Load) -> ExitCode {
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
