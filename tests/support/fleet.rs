//! Many plain clients against a server in this process: blocking TCP, frames cut by hand.
//!
//! What a server sends is parsed here and not by `longwire::ws`, so that both ends of a test
//! cannot share one mistake. Every wait has a deadline, only to fail instead of hanging.
#![allow(dead_code)] // each property uses a part of it

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use longwire::ws::OpCode;
use longwire::ws::encode::{encode_masked_close, encode_masked_message};
use longwire::{Config, Running, Snapshot};

#[path = "snapshots.rs"]
mod snapshots;

pub(crate) use snapshots::wait_for;

/// Far beyond what anything here takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A masking key; the server must not care which.
const KEY: [u8; 4] = [0x17, 0x2a, 0x9c, 0xe3];

/// One frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        (self.opcode == 8).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }
}

/// One client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    taken: usize,
}

impl Client {
    /// Connects, and says nothing.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("connects"))
    }

    /// A client on a socket that is connected already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, received: Vec::new(), taken: 0 }
    }

    /// A client on a Unix socket.
    pub(crate) fn dial_unix(path: &std::path::Path) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(path).expect("connects");
        let stream = TcpStream::from(std::os::fd::OwnedFd::from(stream));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, received: Vec::new(), taken: 0 }
    }

    /// Connects and upgrades.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "/")
    }

    /// The same, to a path.
    pub(crate) fn connect_to(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::dial(address);
        client.ask(path);
        let head = client.head().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Sends the request head.
    pub(crate) fn ask(&mut self, path: &str) {
        self.write(request(path).as_bytes());
    }

    /// The head of the answer; `None` if the server closed without one.
    pub(crate) fn head(&mut self) -> Option<String> {
        loop {
            let unread = &self.received[self.taken..];
            if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(unread[..end + 4].to_vec()).expect("ASCII");
                self.taken += end + 4;
                return Some(head);
            }
            if !self.receive() {
                return None;
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.write(&message(text));
    }

    pub(crate) fn send_close(&mut self, code: u16) {
        let mut bytes = Vec::new();
        encode_masked_close(&mut bytes, code, "", KEY);
        self.write(&bytes);
    }

    pub(crate) fn pong(&mut self, payload: &[u8]) {
        let mut bytes = Vec::new();
        encode_masked_message(&mut bytes, OpCode::Pong, payload, KEY);
        self.write(&bytes);
    }

    /// The next frame; `None` when the server has closed the TCP connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.buffered() {
                return Some(frame);
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// The next text; anything else fails.
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame().expect("open");
        assert_eq!(frame.opcode, 1, "a text, not {frame:?}");
        String::from_utf8(frame.payload).expect("text")
    }

    /// Sends a text and returns the next one.
    pub(crate) fn ask_text(&mut self, text: &str) -> String {
        self.send(text);
        self.text()
    }

    /// Sends texts one by one and expects each back.
    pub(crate) fn echo(&mut self, count: usize) {
        for number in 0..count {
            let text = format!("echo {number}");
            assert_eq!(self.ask_text(&text), text);
        }
    }

    /// The code of the Close frame that comes next, messages before it skipped.
    pub(crate) fn closed(&mut self) -> Option<u16> {
        loop {
            let frame = self.frame()?;
            if let Some(code) = frame.close_code() {
                return Some(code);
            }
        }
    }

    /// So many bytes, whatever they are.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() - self.taken < count {
            assert!(self.receive(), "the server ended before {count} bytes");
        }
        self.taken += count;
        self.received[self.taken - count..self.taken].to_vec()
    }

    /// Reads until the server's end.
    pub(crate) fn end(&mut self) {
        while self.receive() {
            self.taken = self.received.len();
        }
    }

    /// Shuts the write side.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("connected");
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) {
        longwire::sys::socket::reset_on_close(&self.stream).expect("a socket");
    }

    fn buffered(&mut self) -> Option<Frame> {
        let unread = &self.received[self.taken..];
        let (&first, rest) = unread.split_first()?;
        let (&length, rest) = rest.split_first()?;
        assert_eq!(first & 0xf0, 0x80, "whole frames, no reserved bits");
        assert_eq!(length & 0x80, 0, "unmasked");
        let (bytes, header) = match length {
            126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
            127 => {
                let length = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
                (usize::try_from(length).expect("fits"), 10)
            }
            short => (usize::from(short), 2),
        };
        let payload = unread.get(header..header + bytes)?.to_vec();
        self.taken += header + bytes;
        Some(Frame { opcode: first & 15, payload })
    }

    /// Receives more; false at the end, whether by FIN or by a reset.
    fn receive(&mut self) -> bool {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        }
        let start = self.received.len();
        self.received.resize(start + 16 * 1024, 0);
        // An executor's preemption timer may interrupt any thread of the process.
        let count = loop {
            match self.stream.read(&mut self.received[start..]) {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break 0,
                Err(error) => panic!("nothing came: {error}"),
            }
        };
        self.received.truncate(start + count);
        count > 0
    }
}

/// A request head that every server here accepts.
pub(crate) fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A masked text frame.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_masked_message(&mut bytes, OpCode::Text, text.as_bytes(), KEY);
    bytes
}

/// A configuration of `shards` shards without heartbeats, on a free port.
pub(crate) fn config(shards: u32, max_connections: u32) -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().expect("an address"));
    config.shards = Some(shards);
    config.max_connections = Some(max_connections);
    config.ping_interval = None;
    // Busy machines are slow: only who is meant to time out does.
    config.handshake_timeout = PATIENCE;
    config.write_timeout = PATIENCE;
    config.close_timeout = PATIENCE;
    config
}

/// Waits until no connection is left; all that were taken have been released then.
pub(crate) fn wait_until_empty(server: &Running) -> Snapshot {
    let snapshot = wait_for(server, "no connections", |snapshot| snapshot.connections == 0);
    let counters = &snapshot.counters;
    // Who has moved to another shard had a slot in both.
    let taken = counters.accepted - counters.dropped_full + counters.moved_here;
    assert_eq!(counters.released, taken);
    snapshot
}

/// Connects until each of the shards has `count` clients; servers here greet with their number.
pub(crate) fn on_each_shard(server: &Running, path: &str, count: usize) -> Vec<Vec<Client>> {
    let mut shards: Vec<Vec<Client>> = (0..server.shard_count()).map(|_| Vec::new()).collect();
    let deadline = Instant::now() + PATIENCE;
    while shards.iter().any(|clients| clients.len() < count) {
        assert!(Instant::now() < deadline, "the kernel spreads connections over the shards");
        let mut client = Client::connect_to(server.address(), path);
        let shard: usize = client.text().parse().expect("the shard's number");
        if shards[shard].len() < count {
            shards[shard].push(client);
        }
    }
    shards
}
