//! What the doctor promises, held against what then stands.
//!
//! Setup: the limit of descriptors is lowered to some hundreds for a doctor and for a server, and a
//! generator, which has the usual limit, connects to it. Claims: the doctor names that limit; the
//! server holds what was promised within a tenth, although the kernel deals connections to its
//! descriptor tables by chance; and it refuses to start for an eighth more.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use longwire::bench::{BenchArgs, Kind, Plan, measure};

use lines::lines_of;

#[path = "support/lines.rs"]
mod lines;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// `longwire` with so many descriptors in a table, of which several are needed then.
fn longwire(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = "ulimit -n 400 && exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_longwire")]).args(arguments);
    command
}

/// What the doctor says this host holds, and what ends it.
fn promised() -> (u32, String) {
    let Output { stdout, .. } = longwire(&["doctor"]).output().expect("it runs");
    let text = String::from_utf8(stdout).expect("text");
    let (_, rest) = text.split_once(" holds ").expect("a verdict");
    let (count, rest) = rest.split_once(" connections; what ends it is ").expect("a verdict");
    let cause = rest.lines().next().expect("a cause").to_owned();
    (count.parse().expect("a number"), cause)
}

/// A raw server for so many connections.
fn server(connections: u32) -> Command {
    let connections = connections.to_string();
    let mut command = longwire(&["raw", "echo", "--listen", "127.0.0.1:0", "--log-format=json"]);
    command.args(["--max-connections", &connections]).stderr(Stdio::piped());
    command
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

#[test]
fn a_host_holds_what_the_doctor_says_within_a_tenth() {
    let (promised, cause) = promised();
    assert_eq!(cause, "descriptors");
    // More than one table holds, so several are laid out.
    assert!((400..10_000).contains(&promised), "{promised}");
    let mut server = Running(server(promised).spawn().expect("it starts"));
    let lines = lines_of(server.0.stderr.take().expect("piped"));
    let target = loop {
        let line = lines.recv_timeout(PATIENCE).expect("a server logs its address");
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if let Some(address) = line["address"].as_str() {
            break address.parse().expect("an address");
        }
    };
    let args = BenchArgs {
        kind: Kind::Idle,
        target,
        path: "/".into(),
        connections: promised + promised / 5,
        size: 20,
        rate: None,
        window: 1,
        seconds: 1,
        publishers: 1,
        probes: 0,
        probe_path: "/".into(),
        server_pid: None,
        bare: false,
        json: false,
        cpu: None,
    };
    let mut plan = Plan::new(&args).expect("the arguments are good");
    plan.handshake_deadline = PATIENCE;
    let findings = measure(&plan).expect("it runs");
    let held = u32::try_from(findings.connected).expect("few");
    let tenth = promised / 10;
    assert!((promised - tenth..=promised + tenth).contains(&held), "{promised}: {findings}");
}

#[test]
fn for_more_than_a_tenth_beyond_what_the_doctor_says_no_server_starts() {
    let (promised, _) = promised();
    let mut server = Running(server(promised + promised / 8).spawn().expect("it runs"));
    let lines = lines_of(server.0.stderr.take().expect("piped"));
    let mut text = String::new();
    // It ends by itself, and its log with it.
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        assert!(!line.contains("\"listening\""), "{promised} is too few: {line}");
        text.push_str(&line);
    }
    let status = server.0.wait().expect("it has ended");
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("descriptors"), "{text}");
}
