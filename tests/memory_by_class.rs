//! What 15,000 connections of each kind take, and whether longwire can say for what.
//!
//! Setup: the binary itself, with its allocator, as the server, and again as the load generator:
//! its sessions stand until it is ended, so nothing here depends on time. Claims: all come to stand
//! and none is lost; the server's private memory grows by no more for each than the objectives for
//! a million allow; `/metrics` explains most of that growth by class, and no more than there is;
//! the generator takes at most 150 bytes for each of a million, as its parts say.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
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

/// What the process had touched at its start and gives out later, or has touched ahead.
const SLACK_BYTES: f64 = 1_500_000.0;

/// The key of all tokens: each session has a user of its own.
const KEY: &str = "secret";

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

    /// The samples of a scrape, without their prefix.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let mut stream = Patient::connect(self.internal);
        let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, text) = answer.split_once("\r\n\r\n").expect("a head");
        let strip = |name: String| name.trim_start_matches("longwire_").to_owned();
        openmetrics::read(text).into_iter().map(|(name, value)| (strip(name), value)).collect()
    }

    /// Sessions begun by a process of their own, all of them in their channels.
    fn hold(&self, sessions: u32, channels: u32, descriptors: Option<u32>) -> Running {
        let (sessions, channels) = (sessions.to_string(), channels.to_string());
        let mut command = longwire(&["bench", "idle", "--target", &self.address]);
        if let Some(descriptors) = descriptors {
            // So few in a table that it takes many threads.
            let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
            let generator = command;
            command = Command::new("sh");
            command.args(["-c", &limited, env!("CARGO_BIN_EXE_longwire")]);
            command.args(generator.get_args()).stdout(Stdio::piped()).stderr(Stdio::null());
        }
        command.args(["--connections", &sessions, "--channels", &channels]);
        command.args(["--seconds", "3600", "--hmac-key", KEY]);
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

    /// Waits until those of a generator that was ended are gone.
    fn drain(&self) {
        let end = Instant::now() + PATIENCE;
        while self.scrape()["node_num_clients"] > 0.0 {
            assert!(Instant::now() < end, "{:#?}", self.scrape());
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

/// Holds sessions in so many channels each; at most so many bytes for each.
fn sessions_take_at_most(bytes_max: f64, channels: u32, variables: &[(&str, &str)]) {
    let server = Server::start(variables);
    let (before, own_before) = (server.scrape(), server.process.private_bytes());
    let generator = server.hold(CONNECTIONS, channels, None);
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
    let grown = f64::from(i32::try_from(own_after - own_before).expect("some megabytes"));
    let explained = explained(&after) - explained(&before);
    println!("{:.0} bytes each, of which {:.0} explained", grown / all, explained / all);
    for (name, bytes) in after.iter().filter(|(name, _)| name.starts_with("memory_bytes")) {
        println!("{name} {bytes} ({:.0} each)", (bytes - before[name]) / all);
    }
    assert!(grown / all <= bytes_max, "{:.0} bytes each", grown / all);
    // The rest is what the allocator rounds up.
    assert!(explained + SLACK_BYTES >= 0.75 * grown, "{explained} of {grown}");
    assert!(explained <= grown + SLACK_BYTES, "{explained} of {grown}: there is less than that");
    for name in ["slab", "sessions", "subscriptions", "members", "channels", "users"] {
        assert!(class(&after, name) > class(&before, name), "{name}");
    }
    let sockets = class(&after, "kernel_sockets") / all;
    assert!((3600.0..6000.0).contains(&sockets), "{sockets} of the kernel's for each");
    drop(generator);
}

#[test]
fn sessions_with_users_in_a_thousand_channels() {
    sessions_take_at_most(320.0, 1000, &[]);
}

#[test]
fn sessions_each_in_a_channel_of_its_own_and_present() {
    let presence = ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true");
    sessions_take_at_most(700.0, CONNECTIONS, &[presence]);
}

#[test]
fn raw_connections() {
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
    println!("{} bytes each", bytes / i64::from(CONNECTIONS));
    assert!(bytes <= 96 * i64::from(CONNECTIONS), "{} each", bytes / i64::from(CONNECTIONS));
}

#[test]
fn the_generator_takes_at_most_150_bytes_for_each_of_a_million() {
    let server = Server::start(&[]);
    let taken = |sessions, descriptors| {
        let generator = server.hold(sessions, 1000, descriptors);
        let bytes = generator.private_bytes();
        drop(generator);
        server.drain();
        bytes
    };
    // The process and its first thread; what a session takes; what fourteen more threads take.
    let least = taken(1000, None);
    let one_thread = taken(CONNECTIONS, None);
    let many_threads = taken(CONNECTIONS, Some(1016));
    let session = (one_thread - least).max(64 * 14_000) / 14_000;
    let thread = (many_threads - one_thread) / 14;
    let million = least + session * 1_000_000 + thread * 53;
    println!("{session} bytes a session, {thread} a thread, {million} for a million");
    assert!(million <= 150_000_000, "{session} a session, {thread} a thread, {million} in all");
}
