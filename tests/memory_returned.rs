//! What connections took is given back to the system when they have left.
//!
//! Setup: the binary, since its allocator is meant, on two shards, as a plain server and as one of
//! sessions; 15,000 clients of the generator come, stay a moment and leave. Claim: within a minute
//! 95 % of the private memory that they added is the system's again. Once nothing was: shards
//! whose clients have left never call the allocator, which gives back only while it is called.
//!
//! What a process touches once and keeps is no connection's: a first crowd comes and goes before.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lines::lines_of;
use longwire::limits::GIVE_BACK_DELAY;

#[path = "support/lines.rs"]
mod lines;

const CONNECTIONS: u32 = 15_000;

/// What the issue gives it.
const GIVEN_BACK_WITHIN: Duration = Duration::from_mins(1);

/// What nothing here takes unless it hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server in a process of its own, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = longwire(arguments)
            .args(["--shards=2", "--log-format=json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = lines_of(child.stderr.take().expect("piped"));
        let address = loop {
            let line = log.recv_timeout(PATIENCE).expect("a server logs its address");
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if let Some(address) = line["address"].as_str() {
                break address.to_owned();
            }
        };
        Self { child, address }
    }

    /// Kilobytes of memory that are this process's alone and in no file.
    fn private_kb(&self) -> i64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().expect("a number")
    }

    /// Waits until it has come down to so much, or the time for that is over; what there is then.
    fn settle(&self, enough_kb: i64, within: Duration) -> i64 {
        let deadline = Instant::now() + within;
        loop {
            let now = self.private_kb();
            if now <= enough_kb || Instant::now() >= deadline {
                return now;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has a crowd come, stay for a second and leave; the most memory there was meanwhile.
    fn visit(&self, arguments: &[&str]) -> i64 {
        let crowd = CONNECTIONS.to_string();
        let common = ["--target", &self.address, "--connections", &crowd, "--seconds", "1"];
        let mut command = longwire(&["bench"]);
        let mut visitors =
            command.args(arguments).args(common).stdout(Stdio::null()).spawn().expect("it starts");
        let mut most = 0;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            most = most.max(self.private_kb());
            if let Some(status) = visitors.try_wait().expect("it is ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "{CONNECTIONS} do not come and go");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}");
        most
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

fn longwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.args(arguments);
    command
}

/// A crowd has come before, so that what the second adds is what connections take.
fn assert_given_back(server: &Server, visit: &[&str]) {
    server.visit(visit);
    let before = server.settle(0, 2 * GIVE_BACK_DELAY);
    let most = server.visit(visit);
    let added = most - before;
    println!("{before} KB before, {added} KB added");
    assert!(added > i64::from(CONNECTIONS) * 64 / 1024, "{added} KB: this is no crowd");
    let after = server.settle(before + added / 20, GIVEN_BACK_WITHIN);
    assert!(after - before <= added / 20, "{added} KB were added, {} are kept", after - before);
}

#[test]
fn of_plain_connections() {
    let server = Server::start(&["raw", "echo", "--listen=127.0.0.1:0"]);
    assert_given_back(&server, &["raw", "idle"]);
}

#[test]
fn of_sessions() {
    let ports = ["--http-server-port=0", "--http-server-internal-port=off"];
    let server = Server::start(&[&["serve", "--dev"][..], &ports].concat());
    assert_given_back(&server, &["idle", "--channels=15"]);
}
