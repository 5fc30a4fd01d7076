//! A client of the world: what it has said, what it was told, and what it may be told next.

use std::collections::BTreeMap;

use serde_json::Value;

use super::CHANNELS;
use crate::shard::slab::Index;
use crate::ws::{OpCode, Role, decode_header};

/// What everybody who reads agrees on: the epoch of each channel, and what stands at its offsets.
#[derive(Default)]
pub(super) struct Truth {
    epochs: BTreeMap<usize, String>,
    publications: BTreeMap<(usize, u64), u64>,
    pub(super) recovered: u64,
    pub(super) lost: u64,
}

impl Truth {
    fn epoch(&mut self, channel: usize, epoch: &str) {
        let known = self.epochs.entry(channel).or_insert_with(|| epoch.to_owned());
        assert_eq!(known, epoch, "a channel with members has one epoch");
    }

    fn publication(&mut self, channel: usize, offset: u64, data: u64) {
        let known = *self.publications.entry((channel, offset)).or_insert(data);
        assert_eq!(known, data, "two publications at offset {offset} of {channel}");
    }
}

/// Where a client is connected: the shard, the slot, and which life of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) index: Index,
    pub(super) serial: u32,
}

/// How a client stands to a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Out,
    /// It has asked, to recover from this offset if it named one.
    Asked(Option<u64>),
    In,
    /// It has asked to be let out.
    Leaving,
}

#[derive(Clone, Debug, Default)]
struct Channel {
    standing: Standing,
    /// The last offset it has seen everything up to.
    seen: Option<u64>,
}

/// What a command was about.
#[derive(Clone, Copy, Debug)]
enum Command {
    Connect,
    Subscribe(usize),
    Unsubscribe(usize),
    Publish,
    History(usize),
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) place: Option<Place>,
    /// It does not read.
    pub(super) is_stuck: bool,
    /// The server has said that it closes.
    pub(super) is_closed: bool,
    has_upgraded: bool,
    received: Vec<u8>,
    next_id: u64,
    /// Commands without a reply, in order.
    awaited: std::collections::VecDeque<(u64, Command)>,
    channels: [Channel; CHANNELS.len()],
}

impl Client {
    /// Its connection is gone: it knows what it has seen, and nothing else.
    pub(super) fn forget_connection(&mut self) {
        let channels = std::mem::take(&mut self.channels);
        *self = Self { next_id: self.next_id, channels, ..Self::default() };
        for channel in &mut self.channels {
            channel.standing = Standing::Out;
        }
    }

    pub(super) fn is_in(&self, channel: usize) -> bool {
        self.channels[channel].standing == Standing::In
    }

    pub(super) fn seen(&self, channel: usize) -> Option<u64> {
        self.channels[channel].seen
    }

    // --- What it says -----------------------------------------------------------------------

    fn command(&mut self, command: Command, body: &str) -> String {
        self.next_id += 1;
        self.awaited.push_back((self.next_id, command));
        format!(r#"{{"id":{},{body}}}"#, self.next_id)
    }

    pub(super) fn connect(&mut self) -> String {
        self.command(Command::Connect, r#""connect":{}"#)
    }

    pub(super) fn publish(&mut self, channel: usize, data: u64) -> String {
        let name = CHANNELS[channel];
        self.command(
            Command::Publish,
            &format!(r#""publish":{{"channel":"{name}","data":{data}}}"#),
        )
    }

    /// For all that is kept of a channel.
    pub(super) fn ask(&mut self, channel: usize) -> String {
        let name = CHANNELS[channel];
        let body = format!(r#""history":{{"channel":"{name}","limit":-1}}"#);
        self.command(Command::History(channel), &body)
    }

    /// A subscribe if it is out, an unsubscribe if it is in and `leaves`, nothing otherwise.
    pub(super) fn change(&mut self, number: usize, leaves: bool, truth: &Truth) -> Option<String> {
        let name = CHANNELS[number];
        let channel = &mut self.channels[number];
        match channel.standing {
            Standing::Out => {
                channel.standing = Standing::Asked(channel.seen);
                let recovery = |offset| {
                    let epoch = &truth.epochs[&number];
                    format!(r#","recover":true,"offset":{offset},"epoch":"{epoch}""#)
                };
                let from = channel.seen.map_or_else(String::new, recovery);
                let body =
                    format!(r#""subscribe":{{"channel":"{name}","recoverable":true{from}}}"#);
                Some(self.command(Command::Subscribe(number), &body))
            }
            Standing::In if leaves => {
                channel.standing = Standing::Leaving;
                let body = format!(r#""unsubscribe":{{"channel":"{name}"}}"#);
                Some(self.command(Command::Unsubscribe(number), &body))
            }
            Standing::In | Standing::Asked(_) | Standing::Leaving => None,
        }
    }

    // --- What it is told --------------------------------------------------------------------

    /// Bytes arrive, cut anywhere.
    pub(super) fn read(&mut self, bytes: &[u8], truth: &mut Truth) {
        self.received.extend_from_slice(bytes);
        if !self.has_upgraded {
            let end = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { return };
            assert!(self.received.starts_with(b"HTTP/1.1 101 "));
            self.received.drain(..end + 4);
            self.has_upgraded = true;
        }
        loop {
            let header = decode_header(&self.received, Role::Client).expect("our own frames");
            let Some(header) = header else { return };
            let length = usize::try_from(header.payload_bytes).expect("small");
            let end = header.header_bytes + length;
            if self.received.len() < end {
                return;
            }
            let frame: Vec<u8> = self.received.drain(..end).collect();
            match header.opcode {
                OpCode::Text => self.read_lines(&frame[header.header_bytes..], truth),
                OpCode::Close => self.is_closed = true,
                _ => {}
            }
        }
    }

    fn read_lines(&mut self, text: &[u8], truth: &mut Truth) {
        for line in text.split(|byte| *byte == b'\n') {
            let line: Value = serde_json::from_slice(line).expect("JSON");
            if let Some(push) = line.get("push") {
                self.read_push(push, truth);
            } else {
                let (id, command) = self.awaited.pop_front().expect("a reply to nothing");
                assert_eq!(line["id"], id, "replies come in the order of the commands: {line}");
                self.read_reply(command, &line, truth);
            }
        }
    }

    fn read_reply(&mut self, command: Command, line: &Value, truth: &mut Truth) {
        let error = line.get("error").map(|error| error["code"].as_u64().expect("a code"));
        match (command, error) {
            (Command::Connect, None)
            | (Command::Publish, None | Some(111))
            | (Command::History(_), Some(100 | 111)) => {}
            (Command::Subscribe(channel), None) => {
                self.read_entry(channel, &line["subscribe"], truth);
            }
            (Command::History(channel), None) => read_history(channel, &line["history"], truth),
            // 100: the home could not be asked, and it comes again.
            (Command::Subscribe(channel), Some(100)) | (Command::Unsubscribe(channel), None) => {
                self.channels[channel].standing = Standing::Out;
            }
            _ => panic!("{command:?}: {line}"),
        }
    }

    fn read_entry(&mut self, number: usize, result: &Value, truth: &mut Truth) {
        truth.epoch(number, result["epoch"].as_str().expect("an epoch"));
        let top = result.get("offset").map_or(0, |offset| offset.as_u64().expect("a number"));
        let channel = &mut self.channels[number];
        let Standing::Asked(from) = channel.standing else { panic!("{:?}", channel.standing) };
        channel.standing = Standing::In;
        channel.seen = Some(top);
        assert_eq!(result.get("was_recovering").is_some(), from.is_some());
        let is_recovered = result.get("recovered").is_some();
        truth.recovered += u64::from(is_recovered);
        truth.lost += u64::from(from.is_some() && !is_recovered);
        if is_recovered {
            assert_eq!(from, Some(top), "the client's own place: it goes on from there");
        }
        let publications = result.get("publications").and_then(Value::as_array);
        for publication in publications.into_iter().flatten() {
            assert!(is_recovered, "{result}");
            self.read_publication(number, publication, truth);
        }
    }

    fn read_push(&mut self, push: &Value, truth: &mut Truth) {
        let name = push["channel"].as_str().expect("a channel");
        let number = CHANNELS.iter().position(|known| *known == name).expect("one of ours");
        let standing = self.channels[number].standing;
        let is_told = matches!(standing, Standing::In | Standing::Leaving);
        assert!(is_told, "{standing:?}, and told {push}");
        if let Some(publication) = push.get("pub") {
            self.read_publication(number, publication, truth);
        } else if let Some(end) = push.get("unsubscribe") {
            assert_eq!(end["code"], 2500);
            if standing == Standing::In {
                self.channels[number].standing = Standing::Out;
            }
        } else {
            assert!(push.get("join").or(push.get("leave")).is_some(), "{push}");
        }
    }

    fn read_publication(&mut self, number: usize, publication: &Value, truth: &mut Truth) {
        let offset = publication["offset"].as_u64().expect("an offset");
        let data = publication["data"].as_u64().expect("a number");
        let seen = self.channels[number].seen.as_mut().expect("it is in");
        assert_eq!(offset, *seen + 1, "in order, no gap, none twice");
        *seen = offset;
        truth.publication(number, offset, data);
    }
}

/// The end of a stream is all that is kept of it, without a hole.
fn read_history(channel: usize, result: &Value, truth: &mut Truth) {
    truth.epoch(channel, result["epoch"].as_str().expect("an epoch"));
    let top = result["offset"].as_u64().expect("always said");
    let kept = result["publications"].as_array().expect("always said");
    let first = top + 1 - kept.len() as u64;
    for (publication, offset) in kept.iter().zip(first..) {
        assert_eq!(publication["offset"], offset, "{result}");
        let data = publication["data"].as_u64().expect("a number");
        truth.publication(channel, offset, data);
    }
}
