//! What has not left a server that is to be replaced, and the new process comes to nothing.
//!
//! Setup: `longwire serve`, and a client in channels of several homes that does not read what is
//! published to it; the new process is killed when its shards have told each other what they have
//! taken over. Claim: it has sent none of it, so the old process sends all of it once, in order.
#![cfg(debug_assertions)]

use std::io::{Chain, Cursor, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use session::{Client, Patient};
use successors::Succession;

#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

/// Together more than the kernel keeps for both ends.
const PUBLICATIONS: usize = 300;
const FILLING_BYTES: usize = 30_000;

const CONFIG: &str = "[client]\ninsecure = true\nqueue_max_size = 67108864\n\
                      [websocket]\nwrite_timeout = \"5m\"\n";

/// All that comes on a socket at once, or soon.
fn take_what_is_there(stream: &mut TcpStream, heard: &mut Vec<u8>) {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut misses = 0;
    while misses < 100 {
        if let Ok(count @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..count]);
            misses = 0;
        } else {
            misses += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    stream.set_nonblocking(false).unwrap();
}

/// A socket of which the first bytes were read already.
struct Reread(Chain<Cursor<Vec<u8>>, Patient>);

impl Read for Reread {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Reread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The numbers of all that was published, as they come.
fn numbers(heard: Vec<u8>, stream: TcpStream) -> Vec<usize> {
    let replayed = Reread(Cursor::new(heard).chain(Patient(stream)));
    let mut socket = WebSocket::from_raw_socket(replayed, Role::Client, None);
    let mut numbers = Vec::new();
    while numbers.len() < PUBLICATIONS {
        let text = match socket.read().expect("the old process serves on") {
            Message::Text(text) => text,
            Message::Ping(_) => continue,
            other => panic!("{other:?}"),
        };
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let data = line["push"]["pub"]["data"].as_str().expect("a publication");
            let (number, filling) = data.split_once('x').expect("a filling");
            assert_eq!(filling.len(), FILLING_BYTES - 1);
            numbers.push(number.parse().expect("a number"));
        }
    }
    numbers
}

/// The new process sent what had not left yet while it took over: after it had died the old one
/// sent the same again.
#[test]
fn nothing_is_sent_to_a_client_by_a_process_that_does_not_come_to_serve() {
    let server = Succession::start(1, CONFIG);
    let mut slow = Client::connect(server.address);
    // Some of their homes are other shards of the new process.
    (0..9).for_each(|number| slow.subscribe(&format!("own{number}")));
    let mut stream = slow.into_stream();
    socket2::SockRef::from(&stream).set_recv_buffer_size(256 * 1024).unwrap();
    let filling = "x".repeat(FILLING_BYTES);
    for number in 0..PUBLICATIONS {
        server.publish("own0", &format!("\"{number}{filling}\""));
    }
    server.steps.hold_at("OlderEnding");
    server.steps.hold_at("NewerTook");
    let asking = server.begin(3);
    let older = server.steps.held_at("OlderEnding");
    // All that has not left is in what goes to the new process; now there is room in the socket.
    let mut heard = Vec::new();
    take_what_is_there(&mut stream, &mut heard);
    kill_process(older, Signal::CONT).unwrap();
    let newer = server.steps.held_at("NewerTook");
    take_what_is_there(&mut stream, &mut heard);
    assert!(heard.len() < PUBLICATIONS * FILLING_BYTES, "there was nothing to send");
    kill_process(newer, Signal::KILL).unwrap();
    assert!(!asking.wait_with_output().unwrap().status.success());
    let numbers = numbers(heard, stream);
    assert!(numbers.iter().copied().eq(0..PUBLICATIONS), "{numbers:?}");
    server.stop();
}
