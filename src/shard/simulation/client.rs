//! A client as the official SDKs are: it subscribes, follows positions, recovers what it missed
//! when it comes back, and does not forgive what the protocol does not allow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ledger::{Ledger, Position};
use super::network::{Link, Network};
use crate::session::random::Random;
use crate::ws::{Assembler, Event, MessageLimits, OpCode, Role, encode_header};

/// One client of the simulation.
pub(super) struct Client {
    /// Names its present connection, in the numbers of its publications: what it sent on an earlier
    /// one, to another shard, may be published later.
    number: u64,
    line: Option<Line>,
    subscriptions: BTreeMap<&'static str, Subscription>,
    published: u64,
}

/// One connection of a client.
struct Line {
    link: Link,
    /// Of the response to the handshake, which ends with an empty line.
    head: Vec<u8>,
    is_open: bool,
    assembler: Assembler,
    next_id: u32,
    /// Commands without a reply, in their order.
    asked: std::collections::VecDeque<(u32, Asked)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Connect,
    Subscribe { channel: &'static str, since: Option<Position> },
    Unsubscribe { channel: &'static str },
    Other,
}

#[derive(Default)]
struct Subscription {
    is_wanted: bool,
    phase: Phase,
    /// The last publication it has, where the channel has positions.
    position: Option<Position>,
    is_recoverable: bool,
    /// Per publisher, the last publication since the subscription began.
    heard: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    Asked,
    In,
    /// An unsubscribe is under way: publications may still come.
    Leaving,
}

/// Publications of one connection have numbers from its own times this on.
const PUBLISHER: u64 = 1_000_000;
/// More connections than a client makes.
const CONNECTIONS: u64 = 10_000;

impl Client {
    pub(super) fn new(number: u64) -> Self {
        let number = number * CONNECTIONS;
        Self { number, line: None, subscriptions: BTreeMap::new(), published: 0 }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    /// Connects to a shard, and in the same frame comes back into the channels it wants.
    pub(super) fn connect(&mut self, shard: usize, network: &mut Network, ledger: &mut Ledger) {
        ledger.counts.connects += 1;
        self.number += 1;
        let link = network.dial(shard);
        let head = "GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        network.send(link, head.as_bytes());
        self.line = Some(Line {
            link,
            head: Vec::new(),
            is_open: false,
            assembler: Assembler::new(),
            next_id: 1,
            asked: std::collections::VecDeque::new(),
        });
        let mut lines = vec![self.command(r#""connect":{}"#, Asked::Connect)];
        let wanted = self.subscriptions.iter().filter(|(_, one)| one.is_wanted);
        let wanted: Vec<&'static str> = wanted.map(|(channel, _)| *channel).collect();
        lines.extend(wanted.into_iter().map(|channel| self.subscribe_command(channel)));
        self.send(&lines.join("\n"), network);
    }

    /// Does one thing of its own accord.
    pub(super) fn act(
        &mut self,
        channels: &[&'static str],
        random: &mut Random,
        network: &mut Network,
    ) {
        let mut lines = Vec::new();
        for _ in 0..=random.below(4) {
            let channel = random.one_of(channels);
            lines.push(match random.below(8) {
                0..3 => self.want(channel),
                3 => self.unwant(channel),
                4..7 => Some(self.publish_command(channel)),
                _ => Some(self.read_command(channel, random)),
            });
        }
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        if !lines.is_empty() {
            self.send(&lines.join("\n"), network);
        }
    }

    fn want(&mut self, channel: &'static str) -> Option<String> {
        let subscription = self.subscriptions.entry(channel).or_default();
        subscription.is_wanted = true;
        (subscription.phase == Phase::Out).then(|| self.subscribe_command(channel))
    }

    fn unwant(&mut self, channel: &'static str) -> Option<String> {
        let subscription = self.subscriptions.get_mut(channel)?;
        subscription.is_wanted = false;
        if !matches!(subscription.phase, Phase::In | Phase::Asked) {
            return None;
        }
        subscription.phase = Phase::Leaving;
        subscription.position = None;
        let request = format!(r#""unsubscribe":{{"channel":"{channel}"}}"#);
        Some(self.command(&request, Asked::Unsubscribe { channel }))
    }

    fn subscribe_command(&mut self, channel: &'static str) -> String {
        let subscription = self.subscriptions.entry(channel).or_default();
        subscription.phase = Phase::Asked;
        subscription.heard.clear();
        let since = subscription.position.clone().filter(|_| subscription.is_recoverable);
        let recover = since.as_ref().map_or_else(String::new, |Position { epoch, offset }| {
            format!(r#","recover":true,"epoch":"{epoch}","offset":{offset}"#)
        });
        let request = format!(r#""subscribe":{{"channel":"{channel}"{recover}}}"#);
        self.command(&request, Asked::Subscribe { channel, since })
    }

    fn publish_command(&mut self, channel: &'static str) -> String {
        self.published += 1;
        let number = self.number * PUBLISHER + self.published;
        let request = format!(r#""publish":{{"channel":"{channel}","data":{number}}}"#);
        self.command(&request, Asked::Other)
    }

    fn read_command(&mut self, channel: &'static str, random: &mut Random) -> String {
        let limit = random.below(20);
        let requests = [
            format!(r#""history":{{"channel":"{channel}","limit":{limit}}}"#),
            format!(r#""presence":{{"channel":"{channel}"}}"#),
            format!(r#""presence_stats":{{"channel":"{channel}"}}"#),
        ];
        self.command(&requests[random.below(3)], Asked::Other)
    }

    fn command(&mut self, request: &str, asked: Asked) -> String {
        let line = self.line.as_mut().expect("it is connected");
        let id = line.next_id;
        line.next_id += 1;
        line.asked.push_back((id, asked));
        format!(r#"{{"id":{id},{request}}}"#)
    }

    fn send(&mut self, text: &str, network: &mut Network) {
        let line = self.line.as_ref().expect("it is connected");
        let mut bytes = encode_header(true, OpCode::Text, text.len(), Some([0; 4])).to_vec();
        bytes.extend_from_slice(text.as_bytes());
        network.send(line.link, &bytes);
    }

    /// Leaves without a word, to come back later.
    pub(super) fn drop_line(&mut self, is_reset: bool, network: &mut Network) {
        if let Some(line) = self.line.take() {
            network.leave(line.link, is_reset);
            self.lose_line();
        }
    }

    fn lose_line(&mut self) {
        for subscription in self.subscriptions.values_mut() {
            subscription.phase = Phase::Out;
        }
    }

    /// Reads what has come, at most so many bytes of it; true if there was any, or the end.
    pub(super) fn read(
        &mut self,
        limit_bytes: usize,
        network: &mut Network,
        ledger: &mut Ledger,
    ) -> bool {
        let Some(line) = &mut self.line else { return false };
        let (mut bytes, is_over) = network.read(line.link, limit_bytes);
        let mut messages = Vec::new();
        let is_closed = line.take(&mut bytes, &mut messages);
        for message in &messages {
            for text in message.lines() {
                let value: Value = serde_json::from_str(text).expect("one value on each line");
                self.hear(&value, network, ledger);
            }
        }
        if is_closed || is_over {
            ledger.counts.closes += 1;
            if let Some(line) = self.line.take() {
                network.forget(line.link);
            }
            self.lose_line();
        }
        is_closed || is_over || !bytes.is_empty()
    }

    fn hear(&mut self, value: &Value, network: &mut Network, ledger: &mut Ledger) {
        if let Some(push) = value.get("push") {
            let channel = push["channel"].as_str().expect("a push names its channel");
            if let Some(publication) = push.get("pub") {
                self.hear_publication(channel, publication, ledger);
            } else if let Some(ended) = push.get("unsubscribe") {
                assert_eq!(ended["code"], 2500, "{value}");
                self.lose_position(channel, network, ledger);
            }
            return;
        }
        let Some(id) = value.get("id") else { return };
        let line = self.line.as_mut().expect("it reads");
        let (asked_id, asked) = line.asked.pop_front().expect("a reply to nothing");
        assert_eq!(*id, asked_id, "replies come in the order of the commands: {value}");
        match asked {
            Asked::Subscribe { channel, since } => {
                self.hear_subscribed(channel, since.as_ref(), value, ledger);
            }
            Asked::Unsubscribe { channel } => {
                assert!(value.get("unsubscribe").is_some(), "{value}");
                let subscription = self.subscriptions.get_mut(channel).expect("it was in it");
                if subscription.phase == Phase::Leaving {
                    subscription.phase = Phase::Out;
                }
            }
            Asked::Connect => assert!(value.get("connect").is_some(), "{value}"),
            Asked::Other => {}
        }
    }

    fn hear_subscribed(
        &mut self,
        channel: &'static str,
        since: Option<&Position>,
        value: &Value,
        ledger: &mut Ledger,
    ) {
        ledger.counts.subscribes += 1;
        let subscription = self.subscriptions.get_mut(channel).expect("it asked");
        let is_leaving = subscription.phase == Phase::Leaving;
        let Some(result) = value.get("subscribe") else {
            // A home that is full, or far behind: the client comes again.
            assert_eq!(value["error"]["code"], 100, "{channel}: {value}");
            if !is_leaving {
                subscription.phase = Phase::Out;
            }
            return;
        };
        let position = result.get("positioned").map(|_| Position {
            epoch: result["epoch"].as_str().expect("a position has an epoch").to_owned(),
            offset: result.get("offset").map_or(0, |offset| offset.as_u64().expect("a number")),
        });
        subscription.is_recoverable = result.get("recoverable").is_some();
        if !is_leaving {
            subscription.phase = Phase::In;
        }
        subscription.position = position;
        ledger.counts.recoveries += u64::from(since.is_some());
        assert_eq!(result.get("was_recovering").is_some(), since.is_some(), "{value}");
        if result.get("recovered").is_some() {
            ledger.counts.recovered += 1;
            let since = since.expect("recovered without having asked");
            assert_eq!(subscription.position.as_ref(), Some(since), "{value}");
            let missed = result.get("publications").and_then(Value::as_array);
            for publication in missed.into_iter().flatten() {
                subscription.follow(channel, publication, ledger);
            }
        } else {
            assert!(result.get("publications").is_none(), "{value}");
        }
        if is_leaving {
            subscription.position = None;
        }
    }

    fn hear_publication(&mut self, channel: &str, publication: &Value, ledger: &mut Ledger) {
        let subscription = self.subscriptions.get_mut(channel);
        let subscription = subscription.expect("publications of channels it is in");
        ledger.counts.publications += 1;
        match subscription.phase {
            Phase::In => subscription.follow(channel, publication, ledger),
            Phase::Leaving => {}
            Phase::Out | Phase::Asked => {
                panic!("{channel}: {publication} before the subscribe reply")
            }
        }
    }

    /// The server has ended the subscription, because publications were lost.
    fn lose_position(&mut self, channel: &str, network: &mut Network, ledger: &mut Ledger) {
        ledger.counts.lost_positions += 1;
        let known = self.subscriptions.keys().find(|known| **known == channel);
        let channel = *known.expect("it was in it");
        if self.subscriptions[channel].phase == Phase::In {
            let command = self.subscribe_command(channel);
            self.send(&command, network);
        }
    }

    /// The channels it is in, with its position in them.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&'static str, &Position)> {
        let subscriptions = self.subscriptions.iter().filter(|(_, one)| one.phase == Phase::In);
        subscriptions.filter_map(|(channel, one)| Some((*channel, one.position.as_ref()?)))
    }

    /// Commands that still wait for their reply.
    pub(super) fn waits_for(&self) -> BTreeSet<u32> {
        self.line.iter().flat_map(|line| line.asked.iter().map(|(id, _)| *id)).collect()
    }
}

impl Subscription {
    /// The next publication: exactly the one that follows, where there are positions.
    fn follow(&mut self, channel: &str, publication: &Value, ledger: &mut Ledger) {
        let number = publication["data"].as_u64().expect("publications are numbers");
        let last = self.heard.insert(number / PUBLISHER, number);
        assert!(last < Some(number), "{channel}: {number} after {last:?}");
        let Some(position) = &mut self.position else { return };
        let offset = publication["offset"].as_u64().expect("a place in the stream");
        assert_eq!(offset, position.offset + 1, "{channel}: a gap or a duplicate: {publication}");
        position.offset = offset;
        ledger.agree(channel, position, number);
    }
}

impl Line {
    /// Takes bytes apart into messages; true if the server has closed.
    fn take(&mut self, bytes: &mut [u8], messages: &mut Vec<String>) -> bool {
        let mut start = 0;
        while !self.is_open && start < bytes.len() {
            self.head.push(bytes[start]);
            start += 1;
            self.is_open = self.head.ends_with(b"\r\n\r\n");
        }
        if self.is_open {
            assert!(self.head.starts_with(b"HTTP/1.1 101 "), "refused");
        }
        let limits = MessageLimits::for_message_bytes(1 << 20);
        loop {
            let step = self.assembler.next(Role::Client, &limits, &mut bytes[start..]);
            let step = step.expect("the server keeps to the protocol");
            start += step.consumed;
            match step.event {
                Some(Event::Message { payload, .. }) => {
                    messages.push(String::from_utf8(payload.to_vec()).expect("text"));
                }
                Some(Event::Close(_)) => return true,
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                None => return false,
            }
        }
    }
}
