//! What 15,000 connections of each kind take, and whether longwire can say for what.
//!
//! Setup: the binary itself, with its allocator, as the server, and again as the load generator:
//! its sessions stand until it is ended, so nothing here depends on time. Claims: all come to stand
//! and none is lost; the classes of `/metrics` are as large for each as the objectives for a million
//! allow, and the server's private memory grows by no more than that and what traffic touches once.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longwire::bench::process::Process;
use longwire::bench::{self, BenchArgs, Kind, Plan};

use lines::lines_of;
use patient::Patient;

#[path = "support/lines.rs"]
mod lines;
#[path = "support/openmetrics.rs"]
mod openmetrics;
#[path = "support/patient.rs"]
mod patient;

const CONNECTIONS: u32 = 15_000;

/// Far beyond what anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a shard touches once, with its first traffic: arenas, buffers, the allocator's pages.
const SLACK_BYTES: f64 = 6_000_000.0;

/// The key of all tokens: each session has a user of its own.
const KEY: &str = "secret";

/// The tests, one at a time: each needs half of a small machine.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A process, killed if the test ends before it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

impl Running {
    fn private_bytes(&self) -> i64 {
        let process = Process::open(self.0.id()).expect("it runs");
        process.private_bytes().expect("it runs").cast_signed()
    }
}

fn longwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A server of the client protocol.
struct Server {
    process: Running,
    address: String,
    internal: SocketAddr,
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Self {
        let ports = ["--http-server-port=0", "--http-server-internal-port=0"];
        let mut child = longwire(&["serve", "--log-level=error"])
            .args(ports)
            .env("LONGWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY", KEY)
            // A busy machine is slow to say who it is, and to answer.
            .env("LONGWIRE_HANDSHAKE_TIMEOUT", "300s")
            .env("LONGWIRE_CLIENT_STALE_CLOSE_DELAY", "300s")
            .env("LONGWIRE_CLIENT_PING_INTERVAL", "1800s")
            .env("LONGWIRE_CLIENT_PONG_TIMEOUT", "900s")
            .env("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_ALLOW_SUBSCRIBE_FOR_CLIENT", "true")
            .envs(variables.iter().copied())
            .spawn()
            .expect("it starts");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let mut screen = String::new();
        while !screen.contains("  memory ") {
            screen.push_str(&lines.recv_timeout(PATIENCE).expect("a screen before the end"));
            screen.push('\n');
        }
        let behind = |scheme: &str| {
            let (_, behind) = screen.split_once(scheme).expect("an address");
            behind.split_once('/').expect("a path").0.replace("0.0.0.0", "127.0.0.1")
        };
        let internal = behind("  metrics      http://").parse().expect("an address");
        Self { process: Running(child), address: behind("ws://"), internal }
    }

    /// The samples of a scrape, without their prefix. Asked again where a shard on a busy machine
    /// did not answer in time.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let end = Instant::now() + PATIENCE;
        loop {
            let (status, text) = self.ask_for_metrics();
            if status == "200" {
                let strip = |name: String| name.trim_start_matches("longwire_").to_owned();
                let samples = openmetrics::read(&text).into_iter();
                return samples.map(|(name, value)| (strip(name), value)).collect();
            }
            assert!(status == "503" && Instant::now() < end, "{status}: {text}");
        }
    }

    fn ask_for_metrics(&self) -> (String, String) {
        let mut stream = Patient::connect(self.internal);
        let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].to_owned(), text.to_owned())
    }

    /// Sessions begun by a process of their own, all of them in their channels.
    fn hold(&self, sessions: u32, channels: u32) -> Running {
        let (sessions, channels) = (sessions.to_string(), channels.to_string());
        let mut command = longwire(&["bench", "idle", "--target", &self.address]);
        command.args(["--connections", &sessions, "--channels", &channels]);
        command.args(["--seconds", "3600", "--hmac-key", KEY, "--memory-floor", "0"]);
        command.args(["--deadline", "300s"]);
        let mut generator = Running(command.spawn().expect("it starts"));
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.scrape();
            if found["subscriptions"].to_string() == sessions {
                return generator;
            }
            let ended = generator.0.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}, {found:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Bytes of the process that the classes explain.
fn explained(samples: &BTreeMap<String, f64>) -> f64 {
    let classes = samples.iter().filter(|(name, _)| name.starts_with("memory_bytes{class="));
    classes.filter(|(name, _)| !name.contains("kernel_")).map(|(_, bytes)| bytes).sum()
}

fn class(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    samples[&format!("memory_bytes{{class=\"{name}\"}}")]
}

/// Holds sessions in so many channels; so many bytes for each.
fn sessions_take(bytes_range: RangeInclusive<f64>, channels: u32, variables: &[(&str, &str)]) {
    let server = Server::start(variables);
    let (before, own_before) = (server.scrape(), server.process.private_bytes());
    let generator = server.hold(CONNECTIONS, channels);
    let (after, own_after) = (server.scrape(), server.process.private_bytes());

    let all = f64::from(CONNECTIONS);
    for (name, expected) in [
        ("connections_open", all),
        ("node_num_clients", all),
        ("channels", f64::from(channels)),
        ("client_connects_total", all),
        ("client_ends_total", 0.0),
        ("closed_vanished_total", 0.0),
        ("refused_full_total", 0.0),
    ] {
        assert!((after[name] - expected).abs() < 0.5, "{name}: {} of {expected}", after[name]);
    }
    let each = (explained(&after) - explained(&before)) / all;
    let own_bytes = own_after - own_before;
    println!("{each:.0} bytes each explained, {own_bytes} more in all");
    for (name, bytes) in after.iter().filter(|(name, _)| name.starts_with("memory_bytes")) {
        println!("{name} {bytes} ({:.0} each)", (bytes - before[name]) / all);
    }
    assert!(bytes_range.contains(&each), "{each:.0} bytes each");
    let own_bytes_max = bytes_range.end() * all + SLACK_BYTES;
    assert!(
        f64::from(i32::try_from(own_bytes).expect("some megabytes")) <= own_bytes_max,
        "{own_bytes} more in all"
    );
    for name in ["slab", "sessions", "subscriptions", "members", "channels", "users"] {
        assert!(class(&after, name) > class(&before, name), "{name}");
    }
    drop(generator);
}

#[test]
fn sessions_with_users_in_a_thousand_channels() {
    let _alone = ALONE.lock();
    sessions_take(150.0..=320.0, 1000, &[]);
}

#[test]
fn sessions_each_in_a_channel_of_its_own_and_present() {
    let _alone = ALONE.lock();
    let presence = ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true");
    sessions_take(300.0..=640.0, CONNECTIONS, &[presence]);
}

#[test]
fn raw_connections() {
    let _alone = ALONE.lock();
    let mut child = longwire(&["raw", "echo", "--listen", "127.0.0.1:0", "--log-format=json"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = lines_of(child.stderr.take().expect("a pipe"));
    let server = Running(child);
    let target = loop {
        let line = lines.recv_timeout(PATIENCE).expect("a server logs its address");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = line["address"].as_str() {
            break address.parse().expect("an address");
        }
    };
    let args = BenchArgs {
        kind: Kind::Idle,
        target,
        path: "/".into(),
        connections: CONNECTIONS,
        size: 20,
        rate: None,
        window: 1,
        seconds: 1,
        publishers: 1,
        probes: 0,
        probe_path: "/".into(),
        server_pid: Some(server.0.id()),
        bare: false,
        json: false,
        cpu: None,
    };
    let mut plan = Plan::new(&args).expect("the arguments are good");
    plan.handshake_deadline = PATIENCE;
    let found = bench::measure(&plan).expect("it runs");
    assert_eq!((found.connected, found.failures.total()), (u64::from(CONNECTIONS), 0), "{found}");
    assert_eq!(found.tally.broken, 0, "{found}");
    let bytes = found.server.expect("its process is known").bytes;
    println!("{bytes} more in all");
    let bytes_max = f64::from(96 * CONNECTIONS) + SLACK_BYTES;
    assert!(f64::from(i32::try_from(bytes).expect("some megabytes")) <= bytes_max, "{bytes}");
}
