//! A client as the official SDKs are: it subscribes, follows positions, and recovers what it missed
//! when it comes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::ledger::{Ledger, Position};
use super::network::{Link, Network};
use super::scenario::{OWED, token};
use super::subscription::{PUBLISHER, Phase, Subscription};
use super::wire::{self, Form};
use crate::session::random::Random;
use crate::ws::{Assembler, Event, MessageLimits, OpCode, Role, encode_header};

/// One client of the simulation.
pub(super) struct Client {
    /// Names its present connection, in the numbers of its publications: what it sent on an earlier
    /// one, to another shard, may be published later.
    number: u64,
    pub(super) user: Option<&'static str>,
    pub(super) form: Form,
    pub(super) line: Option<Line>,
    /// By what the others call it.
    pub(super) id: Option<String>,
    pub(super) subscriptions: BTreeMap<&'static str, Subscription>,
    published: u64,
    /// What it has heard, and not acknowledged.
    pub(super) unsaid: BTreeSet<String>,
    /// Another connection of its user is in its place: it does not come back by itself.
    pub(super) is_replaced: bool,
    /// A connection of it has ended for another reason.
    pub(super) has_lost_line: bool,
}

/// One connection of a client.
pub(super) struct Line {
    pub(super) link: Link,
    form: Form,
    /// Of the response to the handshake, which ends with an empty line.
    head: Vec<u8>,
    is_open: bool,
    assembler: Assembler,
    next_id: u32,
    /// Commands without a reply, in their order.
    pub(super) asked: VecDeque<(u32, Asked)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Connect { held: BTreeMap<&'static str, Position>, asked_at: u64 },
    Subscribe { channel: &'static str, since: Option<Position> },
    Unsubscribe { channel: &'static str },
    Presence { channel: &'static str },
    Acknowledge { ids: BTreeSet<String> },
    Other,
}

/// More connections than a client makes.
const CONNECTIONS: u64 = 10_000;

impl Client {
    pub(super) fn new(number: u64, user: Option<&'static str>, form: Form) -> Self {
        Self {
            number: number * CONNECTIONS,
            user,
            form,
            line: None,
            id: None,
            subscriptions: BTreeMap::new(),
            published: 0,
            unsaid: BTreeSet::new(),
            is_replaced: false,
            has_lost_line: false,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    /// Connects to a shard, and in the same frame comes back into the channels it wants.
    pub(super) fn connect(&mut self, shard: usize, network: &mut Network, ledger: &mut Ledger) {
        ledger.counts.connects += 1;
        self.number += 1;
        self.is_replaced = false;
        let link = network.dial(shard);
        let query = if self.form == Form::Json { "" } else { "?format=protobuf" };
        let head = format!(
            "GET /connection/websocket{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        network.send(link, head.as_bytes());
        self.line = Some(Line::new(link, self.form));
        let mut commands = vec![self.connect_command(ledger.tick())];
        let wanted = self.subscriptions.iter().filter(|(_, one)| one.is_wanted);
        let wanted: Vec<&'static str> = wanted.map(|(channel, _)| *channel).collect();
        commands.extend(wanted.into_iter().map(|channel| self.subscribe_command(channel, ledger)));
        self.send(&commands, network);
    }

    /// It says what it has of the channels that the server has put it into.
    fn connect_command(&mut self, asked_at: u64) -> Value {
        let by_server = self.subscriptions.iter().filter(|(_, one)| one.is_by_server);
        let held: BTreeMap<&'static str, Position> =
            by_server.filter_map(|(channel, one)| Some((*channel, one.since()?))).collect();
        let say = |(channel, at): (&&'static str, &Position)| {
            let said = json!({"recover": true, "epoch": at.epoch, "offset": at.offset});
            ((*channel).to_owned(), said)
        };
        let subs: serde_json::Map<String, Value> = held.iter().map(say).collect();
        let mut request = json!({ "subs": subs });
        if let Some(user) = self.user {
            request["token"] = token(user).into();
        }
        self.command("connect", request, Asked::Connect { held, asked_at })
    }

    /// Does one thing of its own accord.
    pub(super) fn act(
        &mut self,
        channels: &[&'static str],
        random: &mut Random,
        network: &mut Network,
        ledger: &mut Ledger,
    ) {
        let mut commands = Vec::new();
        for _ in 0..=random.below(4) {
            let channel = random.one_of(channels);
            match random.below(9) {
                0..3 => commands.extend(self.want(channel, ledger)),
                3 => commands.extend(self.unwant(channel)),
                4 => commands.extend(self.return_to(channel, ledger).into_iter().flatten()),
                5 if random.one_in(4) => commands.extend(self.acknowledge_command(ledger)),
                5..8 => commands.push(self.publish_command(channel)),
                _ => commands.push(self.read_command(channel, random)),
            }
        }
        if !commands.is_empty() {
            self.send(&commands, network);
        }
    }

    fn want(&mut self, channel: &'static str, ledger: &mut Ledger) -> Option<Value> {
        let subscription = self.subscriptions.entry(channel).or_default();
        subscription.is_wanted = true;
        (subscription.phase == Phase::Out).then(|| self.subscribe_command(channel, ledger))
    }

    fn unwant(&mut self, channel: &'static str) -> Option<Value> {
        let subscription = self.subscriptions.get_mut(channel)?;
        subscription.is_wanted = false;
        if !matches!(subscription.phase, Phase::In | Phase::Asked) {
            return None;
        }
        subscription.phase = Phase::Leaving;
        subscription.position = None;
        let request = json!({ "channel": channel });
        Some(self.command("unsubscribe", request, Asked::Unsubscribe { channel }))
    }

    /// Leaves, and comes back in the same frame.
    fn return_to(&mut self, channel: &'static str, ledger: &mut Ledger) -> Option<[Value; 2]> {
        let subscription = self.subscriptions.get(channel);
        subscription.filter(|one| one.phase == Phase::In && one.is_wanted)?;
        let asked = Asked::Unsubscribe { channel };
        let leave = self.command("unsubscribe", json!({ "channel": channel }), asked);
        let enter = self.subscribe_command(channel, ledger);
        self.subscriptions.get_mut(channel).expect("it is in it").phase = Phase::Returning;
        Some([leave, enter])
    }

    pub(super) fn subscribe_command(
        &mut self,
        channel: &'static str,
        ledger: &mut Ledger,
    ) -> Value {
        let subscription = self.subscriptions.entry(channel).or_default();
        subscription.ask(ledger.tick());
        let since = subscription.since();
        let mut request = json!({ "channel": channel });
        if let Some(Position { epoch, offset }) = &since {
            request = json!({
                "channel": channel, "recover": true, "epoch": epoch, "offset": offset,
            });
        }
        self.command("subscribe", request, Asked::Subscribe { channel, since })
    }

    /// Says all that it has heard; `None` if that is nothing.
    fn acknowledge_command(&mut self, ledger: &mut Ledger) -> Option<Value> {
        let user = self.user?;
        let ids = std::mem::take(&mut self.unsaid);
        ledger.owed.said.extend(ids.iter().map(|id| (user, id.clone())));
        let data = json!({"channel": OWED, "ids": ids});
        let request = json!({"method": "longwire.ack", "data": data});
        let is_any = !ids.is_empty();
        is_any.then(|| self.command("rpc", request, Asked::Acknowledge { ids }))
    }

    pub(super) fn acknowledge(&mut self, network: &mut Network, ledger: &mut Ledger) {
        if !self.is_connected() {
            return;
        }
        if let Some(command) = self.acknowledge_command(ledger) {
            self.send(&[command], network);
        }
    }

    fn publish_command(&mut self, channel: &'static str) -> Value {
        self.published += 1;
        let number = self.number * PUBLISHER + self.published;
        self.command("publish", json!({"channel": channel, "data": number}), Asked::Other)
    }

    fn read_command(&mut self, channel: &'static str, random: &mut Random) -> Value {
        let request = json!({ "channel": channel });
        match random.below(3) {
            0 => {
                let request = json!({"channel": channel, "limit": random.below(20)});
                self.command("history", request, Asked::Other)
            }
            1 => self.command("presence", request, Asked::Other),
            _ => self.command("presence_stats", request, Asked::Other),
        }
    }

    /// Asks who is in a channel, for a time when nothing else happens.
    pub(super) fn ask_who_is_there(&mut self, channel: &'static str, network: &mut Network) {
        let request = json!({ "channel": channel });
        let command = self.command("presence", request, Asked::Presence { channel });
        self.send(&[command], network);
    }

    fn command(&mut self, name: &str, request: Value, asked: Asked) -> Value {
        let line = self.line.as_mut().expect("it is connected");
        let id = line.next_id;
        line.next_id += 1;
        line.asked.push_back((id, asked));
        let mut command = json!({ "id": id });
        command[name] = request;
        command
    }

    pub(super) fn send(&mut self, commands: &[Value], network: &mut Network) {
        let line = self.line.as_ref().expect("it is connected");
        let frame = wire::frame(self.form, commands);
        let code = if self.form == Form::Json { OpCode::Text } else { OpCode::Binary };
        let mut bytes = encode_header(true, code, frame.len(), Some([0; 4])).to_vec();
        bytes.extend_from_slice(&frame);
        network.send(line.link, &bytes);
    }

    /// Leaves without a word, to come back later.
    pub(super) fn drop_line(&mut self, is_reset: bool, network: &mut Network) {
        if let Some(line) = self.line.take() {
            network.leave(line.link, is_reset);
            self.lose_line();
        }
    }

    pub(super) fn lose_line(&mut self) {
        self.id = None;
        self.has_lost_line |= !self.is_replaced;
        for subscription in self.subscriptions.values_mut() {
            subscription.phase = Phase::Out;
        }
    }

    /// The channels it is in, with its subscription to each.
    pub(super) fn inside(&self) -> impl Iterator<Item = (&'static str, &Subscription)> {
        let inside = self.subscriptions.iter().filter(|(_, one)| one.phase == Phase::In);
        inside.map(|(channel, one)| (*channel, one))
    }

    /// Commands that still wait for their reply.
    pub(super) fn waits_for(&self) -> BTreeSet<u32> {
        self.line.iter().flat_map(|line| line.asked.iter().map(|(id, _)| *id)).collect()
    }
}

impl Line {
    fn new(link: Link, form: Form) -> Self {
        Self {
            link,
            form,
            head: Vec::new(),
            is_open: false,
            assembler: Assembler::new(),
            next_id: 1,
            asked: VecDeque::new(),
        }
    }

    /// Takes bytes apart into replies; the code if the server has closed.
    pub(super) fn take(&mut self, bytes: &mut [u8], replies: &mut Vec<Value>) -> Option<u16> {
        let mut start = 0;
        while !self.is_open && start < bytes.len() {
            self.head.push(bytes[start]);
            start += 1;
            self.is_open = self.head.ends_with(b"\r\n\r\n");
        }
        if self.is_open && !self.head.starts_with(b"HTTP/1.1 101 ") {
            assert!(self.head.starts_with(b"HTTP/1.1 408 "), "refused, and not as too late");
            return None;
        }
        let limits = MessageLimits::for_message_bytes(1 << 20);
        loop {
            let step = self.assembler.next(Role::Client, &limits, &mut bytes[start..]);
            let step = step.expect("the server keeps to the protocol");
            start += step.consumed;
            match step.event {
                Some(Event::Message { payload, .. }) => {
                    replies.extend(wire::replies(self.form, payload));
                }
                Some(Event::Close(why)) => return Some(why.expect("the server says why").code),
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                None => return None,
            }
        }
    }
}
