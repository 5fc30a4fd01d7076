//! HTTP of tests: one answer, or one that does not end, read as it comes.
#![allow(dead_code)] // each property uses a part of it

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::session::Patient;

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    socket: Patient,
    pub(crate) status: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    /// Bytes that were read and not looked at.
    inbox: Vec<u8>,
}

/// Asks, and reads the head of the answer.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    if method == "POST" {
        request.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
    }
    request.push_str("\r\n");
    let mut socket = Patient::connect(address);
    socket.write_all(&[request.as_bytes(), body].concat()).expect("the server reads");
    let mut inbox = Vec::new();
    let head = loop {
        if let Some(end) = inbox.windows(4).position(|four| four == b"\r\n\r\n") {
            break inbox.drain(..end + 4).collect::<Vec<u8>>();
        }
        assert!(read(&mut socket, &mut inbox), "ended within the head: {inbox:?}");
    };
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).expect("a status");
    let headers = lines.map(|line| line.split_once(": ").expect("a header"));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { socket, status: status.parse().expect("a number"), headers, inbox }
}

fn read(socket: &mut Patient, inbox: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 16 * 1024];
    let count = socket.read(&mut bytes).expect("the server says something or ends");
    inbox.extend_from_slice(&bytes[..count]);
    count > 0
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next chunk of the body; `None` at its end, which must be a proper one.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        loop {
            if let Some(at) = self.inbox.windows(2).position(|two| two == b"\r\n") {
                let length = std::str::from_utf8(&self.inbox[..at]).expect("a length");
                let length = usize::from_str_radix(length, 16).expect("a length");
                if self.inbox.len() >= at + 2 + length + 2 {
                    let chunk = self.inbox[at + 2..at + 2 + length].to_vec();
                    self.inbox.drain(..at + 2 + length + 2);
                    return (length > 0).then_some(chunk);
                }
            }
            assert!(read(&mut self.socket, &mut self.inbox), "ended within a stream");
        }
    }

    /// The whole of a body that ends.
    pub(crate) fn body(mut self) -> String {
        let mut body = Vec::new();
        match self.header("content-length").map(str::parse::<usize>) {
            Some(length) => {
                let length = length.expect("a number");
                while self.inbox.len() < length {
                    assert!(read(&mut self.socket, &mut self.inbox), "ended within the body");
                }
                body.extend_from_slice(&self.inbox[..length]);
            }
            None => {
                while let Some(chunk) = self.chunk() {
                    body.extend_from_slice(&chunk);
                }
            }
        }
        String::from_utf8(body).expect("text")
    }

    /// Reads until the connection ends, in whatever way.
    pub(crate) fn drain(&mut self) {
        let mut bytes = [0; 16 * 1024];
        while self.socket.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }

    /// Whether the connection has ended behind what was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.inbox.is_empty() && !read(&mut self.socket, &mut self.inbox)
    }
}
