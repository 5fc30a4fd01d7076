//! What the log tells of connections, read from `longwire serve` as JSON lines.
//!
//! Claims: each opened connection has one line with the client's address as trusted proxies state
//! it, the path without the query, and a request id, which is the one of a proxy in front if it is
//! fit for a log and else a new one; an end that nobody meant has a line with cause and code, and
//! one that somebody did has none unless it is asked for; at a level above, there are no such
//! lines at all; each request of HTTP is known by its own client's address, also on a connection
//! that a proxy keeps for many.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use fleet::Client;
use lines::lines_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/lines.rs"]
mod lines;

/// A running `longwire serve`, killed if the test ends before it does.
struct Server {
    child: Child,
    address: SocketAddr,
    log: Receiver<String>,
}

impl Server {
    /// Trusts this machine to speak for others.
    fn start(level: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_longwire"))
            .args(["serve", "--listen=127.0.0.1:0", "--http-server-internal-port=off"])
            .args(["--shards=1", "--trusted-proxies=127.0.0.1", "--log-format=json"])
            .arg(format!("--log-level={level}"))
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = lines_of(child.stderr.take().expect("piped"));
        let screen = lines_of(child.stdout.take().expect("piped"));
        let address = loop {
            let line = screen.recv_timeout(fleet::PATIENCE).expect("a screen with an address");
            let Some((_, behind)) = line.split_once("ws://") else { continue };
            break behind.split_once('/').expect("a path").0.parse().expect("an address");
        };
        Self { child, address, log }
    }

    /// Opens a connection by a request head with these lines added.
    fn open(&self, lines: &str) -> Client {
        let mut client = Client::dial(self.address);
        let head = fleet::request(&format!("{PATH}?token=secret"));
        client.write(head.replace("Host: here\r\n", &format!("Host: here\r\n{lines}")).as_bytes());
        let answer = client.head().expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        client
    }

    /// The next line of the log about a connection.
    fn line(&mut self) -> Value {
        self.line_of(&["opened", "closed"])
    }

    /// The next line with one of these messages.
    fn line_of(&mut self, messages: &[&str]) -> Value {
        loop {
            let line = self.log.recv_timeout(fleet::PATIENCE).expect("a line");
            assert!(!line.contains("secret"), "{line}");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if messages.iter().any(|message| line["message"] == *message) {
                return line;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

const PATH: &str = "/connection/websocket";

#[test]
fn an_opened_connection_has_a_line_that_says_who_where_and_by_what_name() {
    let mut server = Server::start("info");
    for (lines, peer, request_id) in [
        ("X-Request-ID: 6f2b-1\r\nX-Forwarded-For: 192.0.2.7\r\n", Some("192.0.2.7"), "6f2b-1"),
        ("X-Real-IP: 2001:db8::7\r\nx-request-id: a=b\r\n", Some("2001:db8::7"), "a=b"),
        (
            "X-Forwarded-For: 6.6.6.6, 192.0.2.7:81\r\nX-Request-ID: 3\r\n",
            Some("192.0.2.7:81"),
            "3",
        ),
        ("X-Request-ID: 4\r\n", None, "4"),
    ] {
        let client = server.open(lines);
        let line = server.line();
        let own = client.stream.local_addr().expect("connected").to_string();
        assert_eq!(line["message"], "opened", "{line}");
        assert_eq!(line["level"], "INFO", "{line}");
        assert_eq!(line["peer"], peer.unwrap_or(&own), "{line}");
        assert_eq!((&line["path"], &line["request_id"]), (&json!(PATH), &json!(request_id)));
        assert!(line["connection"].is_string(), "{line}");
        client.finish();
        assert_eq!(server.line()["connection"], line["connection"]);
    }
}

#[test]
fn a_request_id_that_is_missing_or_unfit_is_made_and_no_two_are_the_same() {
    let mut server = Server::start("info");
    let long = format!("X-Request-ID: {}\r\n", "x".repeat(129));
    let unfit = ["", "X-Request-ID:\r\n", "X-Request-ID: two words\r\n", &long];
    let mut ids = HashSet::new();
    let mut clients = Vec::new();
    for lines in unfit.into_iter().cycle().take(40) {
        clients.push(server.open(lines));
        let id = server.line()["request_id"].as_str().expect("a text").to_owned();
        assert!(id.len() > 10 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        assert!(ids.insert(id), "made twice");
    }
}

/// A proxy sends the requests of many clients over one connection.
#[test]
fn each_request_on_a_kept_connection_is_its_own_clients() {
    let mut server = Server::start("debug");
    let mut client = Client::dial(server.address);
    let own = client.stream.local_addr().expect("connected").to_string();
    for (lines, peer) in [
        ("X-Forwarded-For: 192.0.2.7:81\r\n", "192.0.2.7:81"),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.8:82\r\n", "192.0.2.8:82"),
        ("", &own),
        ("X-Real-IP: 192.0.2.9\r\n", "192.0.2.9"),
    ] {
        client.write(format!("GET /health HTTP/1.1\r\nHost: here\r\n{lines}\r\n").as_bytes());
        let head = client.head().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.bytes(2), b"{}");
        let line = server.line_of(&["HTTP"]);
        assert_eq!((&line["peer"], &line["path"]), (&json!(peer), &json!("/health")), "{line}");
    }
}

/// How a client goes, and what is then said of it.
type Way = (fn(Client), &'static str, u16);

/// Both ends of the scale: what is asked for is there, and what is not is not even between others.
#[test]
fn an_end_that_nobody_meant_has_a_line_with_its_cause_and_code() {
    for (level, tells_all) in [("info", false), ("debug", true)] {
        let mut server = Server::start(level);
        let mut meant = server.open("");
        let opened = server.line();
        meant.send_close(1000);
        assert_eq!(meant.closed(), Some(1000));
        if tells_all {
            let line = server.line();
            assert_eq!((&line["cause"], &line["code"]), (&json!("Peer"), &json!(1000)), "{line}");
            assert_eq!(line["connection"], opened["connection"]);
            assert_eq!(line["level"], "DEBUG");
        }
        let ways: [Way; 2] = [
            (|client| client.reset(), "Vanished", 1006),
            // A frame with reserved bits.
            (|mut client| client.write(&[0xf1, 0x80, 0, 0, 0, 0]), "Violation", 1002),
        ];
        for (end, cause, code) in ways {
            let client = server.open("");
            let opened = server.line();
            assert_eq!(opened["message"], "opened", "nothing was said of the one before");
            end(client);
            let line = server.line();
            assert_eq!((&line["message"], &line["level"]), (&json!("closed"), &json!("INFO")));
            assert_eq!((&line["cause"], &line["code"]), (&json!(cause), &json!(code)), "{line}");
            assert_eq!(line["connection"], opened["connection"], "{line}");
        }
    }
}

#[test]
fn at_a_level_above_connections_are_not_told() {
    let mut server = Server::start("warn");
    server.open("").reset();
    let mut last = server.open("");
    last.send_close(1000);
    last.end();
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("it runs");
    // To the end of the process; a slow machine may have been warned of.
    while let Ok(line) = server.log.recv_timeout(fleet::PATIENCE) {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert!(line["message"] != "opened" && line["message"] != "closed", "{line}");
    }
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}
