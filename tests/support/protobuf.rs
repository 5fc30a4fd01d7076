//! A client of the protocol's Protobuf format for tests. Its reader and writer are its own: a
//! server that errs in the same way as its client would be found by neither.
#![allow(dead_code)] // each property uses a part of it

use std::collections::VecDeque;
use std::net::SocketAddr;

use tungstenite::{Message, WebSocket};

use super::session::{End, Patient};

/// What a field of a message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message as the list of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(u64, Value)>);

impl Fields {
    pub(crate) fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut bytes)),
                2 => Value::Bytes(delimited(&mut bytes).to_vec()),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn find(&self, number: u64) -> Option<&Value> {
        let mut found = self.0.iter().filter(|(known, _)| *known == number);
        let value = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "field {number} twice in {self:?}");
        value
    }

    /// A number; 0 if it is not there.
    pub(crate) fn number(&self, field: u64) -> u64 {
        match self.find(field) {
            None => 0,
            Some(Value::Number(number)) => *number,
            Some(other) => panic!("field {field} is {other:?}"),
        }
    }

    /// Bytes, a string or a message; `None` if it is not there.
    pub(crate) fn bytes(&self, field: u64) -> Option<&[u8]> {
        match self.find(field)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Number(other) => panic!("field {field} is {other}"),
        }
    }

    pub(crate) fn text(&self, field: u64) -> &str {
        std::str::from_utf8(self.bytes(field).unwrap_or_default()).expect("a string")
    }

    pub(crate) fn message(&self, field: u64) -> Option<Self> {
        self.bytes(field).map(Self::read)
    }

    /// The messages of a field that may come several times.
    pub(crate) fn messages(&self, field: u64) -> Vec<Self> {
        let values = self.0.iter().filter(|(known, _)| *known == field);
        let read = |value: &Value| match value {
            Value::Bytes(bytes) => Self::read(bytes),
            Value::Number(other) => panic!("field {field} is {other}"),
        };
        values.map(|(_, value)| read(value)).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(varint(bytes)).expect("short");
    let (value, rest) = bytes.split_at(length);
    *bytes = rest;
    value
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A field of bytes, of a string or of a message.
pub(crate) fn field(number: usize, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, number << 3 | 2);
    put_varint(&mut out, value.len());
    out.extend_from_slice(value);
    out
}

/// A field of a number.
pub(crate) fn number(field: usize, value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, field << 3);
    put_varint(&mut out, value);
    out
}

/// A command behind its length: its id, and the request in the field of its kind.
pub(crate) fn command(id: usize, kind: usize, request: &[u8]) -> Vec<u8> {
    let mut message = vec![0x08];
    put_varint(&mut message, id);
    message.extend(field(kind, request));
    let mut out = Vec::new();
    put_varint(&mut out, message.len());
    out.extend(message);
    out
}

pub(crate) fn connect(id: usize) -> Vec<u8> {
    command(id, 4, &field(4, b"test"))
}

pub(crate) fn subscribe(id: usize, channel: &str) -> Vec<u8> {
    command(id, 5, &field(1, channel.as_bytes()))
}

pub(crate) fn unsubscribe(id: usize, channel: &str) -> Vec<u8> {
    command(id, 6, &field(1, channel.as_bytes()))
}

pub(crate) fn publish(id: usize, channel: &str, data: &[u8]) -> Vec<u8> {
    command(id, 7, &[field(1, channel.as_bytes()), field(2, data)].concat())
}

/// One client.
pub(crate) struct Client {
    socket: WebSocket<Patient>,
    replies: VecDeque<Fields>,
    /// Replies of each message received.
    pub(crate) message_replies: Vec<usize>,
}

impl Client {
    /// Connects the WebSocket with the sub-protocol, and says nothing.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        let request = tungstenite::ClientRequestBuilder::new(
            format!("ws://{address}/connection/websocket").parse().expect("a URI"),
        )
        .with_sub_protocol("centrifuge-protobuf");
        let (socket, response) =
            tungstenite::client(request, Patient::connect(address)).expect("upgrades");
        let echoed = response.headers().get("sec-websocket-protocol").expect("it is echoed");
        assert_eq!(echoed, "centrifuge-protobuf");
        Self { socket, replies: VecDeque::new(), message_replies: Vec::new() }
    }

    /// Connects, and begins a session.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::dial(address);
        client.send(&connect(1));
        let reply = client.reply();
        assert!(reply.message(5).is_some_and(|result| result.text(1).len() == 36), "{reply:?}");
        client
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.socket.send(Message::binary(frame.to_vec())).expect("the server takes it");
    }

    /// Is in the channel, or fails.
    pub(crate) fn subscribe(&mut self, channel: &str) {
        self.send(&subscribe(2, channel));
        let reply = self.reply();
        assert!(reply.number(1) == 2 && reply.message(6).is_some(), "{reply:?}");
    }

    /// The next reply, push or ping.
    pub(crate) fn reply(&mut self) -> Fields {
        self.next().unwrap_or_else(|end| panic!("closed: {end:?}"))
    }

    /// The data of the next publication.
    pub(crate) fn publication(&mut self) -> Vec<u8> {
        let reply = self.reply();
        let push = reply.message(4).unwrap_or_else(|| panic!("no push: {reply:?}"));
        let publication = push.message(4).unwrap_or_else(|| panic!("no publication: {push:?}"));
        publication.bytes(4).expect("data").to_vec()
    }

    /// The next reply, or the end of the connection.
    pub(crate) fn next(&mut self) -> Result<Fields, End> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    let mut bytes = &bytes[..];
                    let before = self.replies.len();
                    while !bytes.is_empty() {
                        self.replies.push_back(Fields::read(delimited(&mut bytes)));
                    }
                    self.message_replies.push(self.replies.len() - before);
                }
                Ok(Message::Close(frame)) => {
                    let frame = frame.expect("the server gives a code");
                    return Err(End { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Ok(other) => panic!("not a message of the format: {other:?}"),
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }
}
