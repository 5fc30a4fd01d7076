//! What back ends that publish over HTTP do to those who are on the shards: how long an echo
//! takes while nobody publishes, and while 5,000 publications a second come.
//!
//! ```text
//!   first core: longwire serve                second core: this program
//!     shard   ◀── "rpc", refused at once ──── 100 clients, 10 a second each: the echo
//!     control ◀── POST /api/publish ───────── 50 connections, kept alive, 100 a second each
//!                 or /api/batch
//!     shard   ─── publication ──────────────▶ 1 client in all 50 channels, who counts
//! ```
//!
//! Rounds are interleaved, quiet and loaded, and the medians are taken, so that a machine that is
//! slow for a while is slow for both. Publications are due at times fixed beforehand. The server's threads
//! share one core, which is harder on the shard than the cores of its own that it has elsewhere.
//!
//! `cargo build --release && cargo run --release --example publish_beside_echo`, and with
//! `--rate 100000 --batch 100` and `--history` for the other rows.
//!
//! The exit code is 0 when the bar holds: every publication answered and delivered, the rate
//! reached, and a loaded p99 of at most three times the quiet one or 5 ms. Otherwise it is 1.

mod server;
mod wire;

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use core_affinity::CoreId;
use hdrhistogram::Histogram;
use server::{KEY, Server, own_cpu_seconds};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};
use wire::{Answer, Wire};

/// Publish over HTTP beside an echo on the shards
#[derive(Clone, Parser)]
struct Args {
    /// Pairs of a quiet and a loaded run
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of one run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Publications a second
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    /// Publications in one request
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// The channels keep their publications
    #[arg(long)]
    history: bool,
    /// Connections that publish
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Connections that echo
    #[arg(long, default_value_t = 100)]
    echoes: u32,
    /// The server's binary; without it, the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Between two echoes of one connection.
const ECHO_INTERVAL: Duration = Duration::from_millis(100);

/// The bar: times the quiet p99, or milliseconds.
const RATIO_MAX: f64 = 3.0;
const P99_MAX_MS: f64 = 5.0;

/// The share of the rate that counts as reached: the last ones are still on their way.
const RATE_SHARE_MIN: f64 = 0.99;

/// What makes channels keep their publications.
const HISTORY: [(&str, &str); 2] = [
    ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_HISTORY_SIZE", "100"),
    ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_HISTORY_TTL", "60s"),
];

type Times = Histogram<u64>;

/// What one run found.
struct Run {
    echoes: Times,
    publishes: Times,
    publish_count: u32,
    /// Answers other than a plain "done", by what they were.
    wrong: Vec<String>,
    delivered: u32,
    seconds: f64,
    server_cpu: f64,
    own_cpu: f64,
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (own, rest) = cores.split_last().expect("a program runs on some core");
    // The server takes over the affinity of the thread that starts it.
    pin(*rest.first().unwrap_or(own));
    let binary = args.binary.clone().map_or_else(server::default_binary, Ok)?;
    let server = Server::start(&binary, if args.history { &HISTORY } else { &[] })?;
    pin(*own);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        for (connections, runs) in [0, args.connections].into_iter().zip(&mut runs) {
            let args = Args { connections, ..args.clone() };
            runs.push(LocalSet::new().block_on(&runtime, run(&args, &server))?);
        }
    }
    Ok(if report(&args, &runs) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn pin(core: CoreId) {
    assert!(core_affinity::set_for_current(core), "core {} is not ours", core.id);
}

/// One run: all echo, and those of `args` publish.
async fn run(args: &Args, server: &Server) -> io::Result<Run> {
    let (address, count) = (server.address, Rc::new(Cell::new(0)));
    let mut listener = JoinSet::new();
    if args.connections > 0 {
        let wire = listen(address, args.connections).await?;
        listener.spawn_local(deliveries(wire, Rc::clone(&count)));
    }
    let (mut echoing, mut publishing) = (JoinSet::new(), JoinSet::new());
    let mut wires = Vec::new();
    for _ in 0..args.echoes {
        wires.push(Wire::session(address).await?);
    }
    let start = Instant::now() + Duration::from_millis(100);
    let end = start + Duration::from_secs(args.seconds.into());
    for (wire, number) in wires.into_iter().zip(0..) {
        let first = start + ECHO_INTERVAL * number / args.echoes;
        echoing.spawn_local(echo(wire, first, end));
    }
    for number in 0..args.connections {
        let wire = Wire::connect(address).await?;
        let interval = Duration::from_secs((args.connections * args.batch).into()) / args.rate;
        let first = start + interval * number / args.connections;
        let request = Request::new(number, args.batch);
        publishing.spawn_local(publish(wire, request, first..end, interval));
    }
    let before = (server.cpu_seconds()?, own_cpu_seconds()?);
    let (mut echoes, mut publishes, mut wrong) = (times(), times(), Vec::new());
    while let Some(found) = publishing.join_next().await {
        let (these, others) = found.expect("no panic")?;
        publishes.add(these).expect("of one range");
        wrong.extend(others);
    }
    while let Some(found) = echoing.join_next().await {
        echoes.add(found.expect("no panic")?).expect("of one range");
    }
    let seconds = (Instant::now() - start).as_secs_f64();
    let (server_cpu, own_cpu) = (server.cpu_seconds()? - before.0, own_cpu_seconds()? - before.1);
    let publish_count = args.batch * u32::try_from(publishes.len()).expect("a run is short");
    let delivered = settled(&count, publish_count).await;
    Ok(Run { echoes, publishes, publish_count, wrong, delivered, seconds, server_cpu, own_cpu })
}

fn times() -> Times {
    Times::new_with_max(60_000_000_000, 3).expect("a minute in nanoseconds")
}

/// Somebody who is in all channels.
async fn listen(address: std::net::SocketAddr, channels: u32) -> io::Result<Wire> {
    let mut wire = Wire::session(address).await?;
    for channel in 0..channels {
        let id = channel + 2;
        let subscribe = format!(r#"{{"id":{id},"subscribe":{{"channel":"c{channel}"}}}}"#);
        let reply = wire.ask(&subscribe).await?;
        assert!(reply.starts_with(format!(r#"{{"id":{id},"subscribe":{{"#).as_bytes()));
    }
    Ok(wire)
}

/// Counts publications until it is stopped.
async fn deliveries(mut wire: Wire, count: Rc<Cell<u32>>) -> io::Result<()> {
    loop {
        let message = wire.message().await?;
        let lines = message.split(|byte| *byte == b'\n');
        let pushes = lines.filter(|line| line.starts_with(br#"{"push":"#)).count();
        count.set(count.get() + u32::try_from(pushes).expect("in one message"));
    }
}

/// What has been delivered when all has been, or for a second nothing more was.
async fn settled(count: &Cell<u32>, expected: u32) -> u32 {
    let mut last = None;
    while count.get() < expected && last != Some(count.get()) {
        last = Some(count.get());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    count.get()
}

/// Asks for what is refused at once, and notes how long the refusal took.
async fn echo(mut wire: Wire, first: Instant, end: Instant) -> io::Result<Times> {
    const REFUSED: &[u8] = br#"{"id":2,"error":{"code":108,"message":"not available"}}"#;
    let (mut times, mut due) = (times(), first);
    while due < end {
        sleep_until(due).await;
        let asked = Instant::now();
        let reply = wire.ask(r#"{"id":2,"rpc":{}}"#).await?;
        times.saturating_record(nanoseconds(asked.elapsed()));
        assert_eq!(reply, REFUSED);
        due += ECHO_INTERVAL;
    }
    Ok(times)
}

/// What is sent again and again.
struct Request {
    bytes: Vec<u8>,
    /// Publications in it.
    count: u32,
}

impl Request {
    /// Publications to the channel of this number.
    fn new(number: u32, count: u32) -> Self {
        let one = format!(r#"{{"channel":"c{number}","data":{{"text":"hello","value":42}}}}"#);
        let (method, body) = if count == 1 {
            ("publish", one)
        } else {
            let command = format!(r#"{{"publish":{one}}}"#);
            let commands = vec![command; count as usize].join(",");
            ("batch", format!(r#"{{"commands":[{commands}]}}"#))
        };
        let head = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: longwire\r\nX-API-Key: {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self { bytes: [head, body].concat().into_bytes(), count }
    }

    /// Whether this answer says that all of it was done.
    fn is_done(&self, answer: &Answer) -> bool {
        let body = String::from_utf8_lossy(&answer.body);
        let done = if self.count == 1 { r#"{"result":{"# } else { r#"{"publish":{"# };
        let count = body.matches(done).count();
        answer.status == 200 && !body.contains(r#""error""#) && count == self.count as usize
    }
}

/// Sends the request again and again: times from when each was due, and what was not done.
async fn publish(
    mut wire: Wire,
    request: Request,
    span: std::ops::Range<Instant>,
    interval: Duration,
) -> io::Result<(Times, Vec<String>)> {
    let (mut times, mut wrong, mut due) = (times(), Vec::new(), span.start);
    while due < span.end {
        sleep_until(due).await;
        wire.write(&request.bytes).await?;
        let answer = wire.answer().await?;
        times.saturating_record(nanoseconds(due.elapsed()));
        if !request.is_done(&answer) {
            let body = String::from_utf8_lossy(&answer.body);
            wrong.push(format!("{}: {body}", answer.status));
        }
        due += interval;
    }
    Ok((times, wrong))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Prints what was found; whether the bar holds.
fn report(args: &Args, [quiet, loaded]: &[Vec<Run>; 2]) -> bool {
    let quiet_p99 = median(quiet, |run| milliseconds(&run.echoes, 0.99));
    let loaded_p99 = median(loaded, |run| milliseconds(&run.echoes, 0.99));
    let ratio = loaded_p99 / quiet_p99;
    for (name, runs) in [("quiet", quiet), ("loaded", loaded)] {
        println!(
            "echo, {name}: p50 {:.3} ms, p99 {:.3} ms ({}); server {:.0} % of a core, generator {:.0} %",
            median(runs, |run| milliseconds(&run.echoes, 0.5)),
            median(runs, |run| milliseconds(&run.echoes, 0.99)),
            spread(runs, |run| milliseconds(&run.echoes, 0.99)),
            median(runs, |run| 100.0 * run.server_cpu / run.seconds),
            median(runs, |run| 100.0 * run.own_cpu / run.seconds),
        );
    }
    let rate = median(loaded, |run| f64::from(run.publish_count) / run.seconds);
    let wrong: Vec<_> = loaded.iter().flat_map(|run| &run.wrong).collect();
    let lost: u32 = loaded.iter().map(|run| run.publish_count.abs_diff(run.delivered)).sum();
    println!(
        "publish: {rate:.0} a second of {} over {} connections, p50 {:.3} ms, p99 {:.3} ms; \
         {} not done, {lost} not delivered",
        args.rate,
        args.connections,
        median(loaded, |run| milliseconds(&run.publishes, 0.5)),
        median(loaded, |run| milliseconds(&run.publishes, 0.99)),
        wrong.len(),
    );
    if let Some(first) = wrong.first() {
        println!("the first that was not done: {first}");
    }
    let all_done = wrong.is_empty() && lost == 0;
    let rate_reached = rate >= RATE_SHARE_MIN * f64::from(args.rate);
    let unhurt = ratio <= RATIO_MAX || loaded_p99 <= P99_MAX_MS;
    println!("p99 loaded / quiet: {ratio:.2} (bar: {RATIO_MAX} or {P99_MAX_MS} ms)");
    println!("{}", if all_done && rate_reached && unhurt { "holds" } else { "MISSED" });
    all_done && rate_reached && unhurt
}

fn milliseconds(times: &Times, quantile: f64) -> f64 {
    1e3 * Duration::from_nanos(times.value_at_quantile(quantile)).as_secs_f64()
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let values = sorted(runs, value);
    values[values.len() / 2]
}

fn spread(runs: &[Run], value: impl Fn(&Run) -> f64) -> String {
    let values = sorted(runs, value);
    format!("{:.3}-{:.3}", values[0], values[values.len() - 1])
}

fn sorted(runs: &[Run], value: impl Fn(&Run) -> f64) -> Vec<f64> {
    let mut values: Vec<_> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values
}
