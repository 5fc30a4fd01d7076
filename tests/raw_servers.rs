//! The binary as its users meet it: started, spoken to over loopback, stopped by a signal.
//!
//! Claims: `raw echo` returns every message to its sender only, `raw broadcast` to everybody;
//! SIGTERM closes every connection with 1001 and the process ends with 0, a second signal ends it
//! at once and with 1; what keeps a server from starting is named, with the command that mends it,
//! and the process ends with 1.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket, client};

use lines::lines_of;

#[path = "support/lines.rs"]
mod lines;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `longwire raw`, killed if the test ends before it does.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mode: &str) -> Self {
        Self::start_with(mode, &[])
    }

    fn start_with(mode: &str, flags: &[&str]) -> Self {
        let mut child = longwire(&["raw", mode, "--listen", "127.0.0.1:0", "--log-format=json"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let address = loop {
            let line = lines.recv_timeout(PATIENCE).expect("a server logs its address");
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            assert_ne!(line["message"], "serving", "said after the addresses");
            if let Some(address) = line["address"].as_str() {
                break address.to_owned();
            }
        };
        Self { child, address }
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client(format!("ws://{}{path}", self.address), stream).unwrap().0
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
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

fn texts(numbers: std::ops::Range<u32>) -> Vec<Message> {
    numbers.map(|number| Message::text(format!("message {number}"))).collect()
}

#[test]
fn echo_returns_every_message_to_its_sender_only() {
    let server = Server::start("echo");
    let mut clients = [server.connect("/"), server.connect("/any/path?with=query")];
    for (client, numbers) in clients.iter_mut().zip([0..100, 100..200]) {
        for message in texts(numbers) {
            client.send(message).unwrap();
        }
    }
    for (client, numbers) in clients.iter_mut().zip([0..100, 100..200]) {
        for message in texts(numbers) {
            assert_eq!(client.read().unwrap(), message);
        }
    }
}

#[test]
fn broadcast_sends_every_message_to_all_but_bystanders() {
    let server = Server::start("broadcast");
    let mut members: Vec<_> = (0..16).map(|_| server.connect("/")).collect();
    let mut bystander = server.connect("/echo");
    // A join is complete when the member hears something: each publishes and hears itself.
    for (number, member) in members.iter_mut().enumerate() {
        let hello = Message::text(format!("hello {number}"));
        member.send(hello.clone()).unwrap();
        while member.read().unwrap() != hello {}
    }
    for message in texts(0..100) {
        members[3].send(message).unwrap();
    }
    bystander.send(Message::text("mine")).unwrap();
    for member in &mut members {
        let mut heard = Vec::new();
        while heard.len() < 100 {
            let message = member.read().unwrap();
            if message.to_text().unwrap().starts_with("message") {
                heard.push(message);
            }
        }
        assert_eq!(heard, texts(0..100));
    }
    assert_eq!(bystander.read().unwrap(), Message::text("mine"));
}

#[test]
fn a_signal_closes_every_connection_with_1001_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start("echo");
        let mut clients: Vec<_> = (0..20).map(|_| server.connect("/")).collect();
        server.signal(signal);
        for client in &mut clients {
            let Message::Close(Some(close)) = client.read().unwrap() else {
                panic!("the first thing heard is the close")
            };
            assert_eq!(u16::from(close.code), 1001);
            // Sends the answer, and sees the end that it leads to.
            assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        }
        drop(clients);
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
    }
}

/// The first signal waits for a minute here, for a client that never answers its Close.
#[test]
fn a_second_signal_ends_at_once_and_not_with_0() {
    let server = Server::start_with("echo", &["--drain-timeout=1m"]);
    let mut client = server.connect("/");
    server.signal(Signal::TERM);
    // Its first bytes: the stop has begun.
    let mut close = [0; 4];
    client.get_mut().read_exact(&mut close).unwrap();
    assert_eq!(close[2..], 1001_u16.to_be_bytes());
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_taken_port_is_named_with_the_command_that_finds_its_owner() {
    let first = Server::start("echo");
    let second = longwire(&["raw", "echo", "--listen", &first.address]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&first.address) && said.contains("ss -ltnp"), "{said}");
    // The first one is not harmed by the attempt.
    let mut client = first.connect("/");
    client.send(Message::text("still here")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("still here"));
}

#[test]
fn too_few_descriptors_are_named_with_the_number_that_is_enough() {
    let wanted = ["raw", "echo", "--listen", "127.0.0.1:0", "--shards", "1"];
    let output = longwire(&wanted).args(["--max-connections", "99999999"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ulimit -Hn") && said.contains("LimitNOFILE="), "{said}");
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let output = longwire(&["raw", "echo", "--max-message", "64K"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
