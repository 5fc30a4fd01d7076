//! What a client hears: it does not forgive what the protocol does not allow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Asked, Client};
use super::ledger::{Ledger, Position};
use super::network::Network;
use super::scenario::{OWED, known};
use super::subscription::Phase;
use super::wire;

/// Why a client that keeps the rules may be closed: an error inside, too slow, something missing in
/// a channel that it is in by the server, and another connection in its place.
const CODES: [u16; 4] = [3004, 3008, 3010, REPLACED];
const REPLACED: u16 = 3504;

impl Client {
    /// Reads what has come, at most so many bytes of it; true if there was any, or the end.
    pub(super) fn read(
        &mut self,
        limit_bytes: usize,
        network: &mut Network,
        ledger: &mut Ledger,
    ) -> bool {
        let Some(line) = &mut self.line else { return false };
        let (mut bytes, is_over) = network.read(line.link, limit_bytes);
        let mut replies = Vec::new();
        let closed = line.take(&mut bytes, &mut replies);
        for reply in &replies {
            self.hear(reply, network, ledger);
        }
        if closed.is_some() || is_over {
            ledger.counts.closes += 1;
            if let Some(code) = closed {
                self.hear_close(code, ledger);
            }
            if let Some(line) = self.line.take() {
                network.forget(line.link);
            }
            self.lose_line();
        }
        closed.is_some() || is_over || !bytes.is_empty()
    }

    fn hear_close(&mut self, code: u16, ledger: &mut Ledger) {
        assert!(CODES.contains(&code), "closed with {code}");
        self.is_replaced = code == REPLACED;
        ledger.counts.replaced += u64::from(self.is_replaced);
        if code == 3010 {
            // It may be in some already when it is yet to hear that it has connected.
            let is_connecting = self.line.as_ref().is_some_and(|line| {
                line.asked.iter().any(|(_, asked)| matches!(asked, Asked::Connect { .. }))
            });
            let mut by_server = self.inside().filter(|(_, one)| one.is_by_server);
            let is_by_server = is_connecting || by_server.next().is_some();
            assert!(is_by_server, "nothing can be missing where it is by itself");
            ledger.counts.lost_by_server += 1;
        }
    }

    fn hear(&mut self, value: &Value, network: &mut Network, ledger: &mut Ledger) {
        if let Some(push) = value.get("push") {
            return self.hear_push(push, network, ledger);
        }
        let Some(id) = value.get("id") else { return };
        let line = self.line.as_mut().expect("it reads");
        let (asked_id, asked) = line.asked.pop_front().expect("a reply to nothing");
        assert_eq!(*id, asked_id, "replies come in the order of the commands: {value}");
        match asked {
            Asked::Connect { held, asked_at } => {
                let result = value.get("connect").unwrap_or_else(|| panic!("{value}"));
                self.hear_connected(&held, asked_at, result, ledger);
            }
            Asked::Subscribe { channel, since } => {
                self.hear_subscribed(channel, since.as_ref(), value, ledger);
            }
            Asked::Unsubscribe { channel } => {
                assert!(value.get("unsubscribe").is_some(), "{value}");
                let subscription = self.subscriptions.get_mut(channel).expect("it was in it");
                match subscription.phase {
                    Phase::Leaving => subscription.phase = Phase::Out,
                    Phase::Returning => subscription.phase = Phase::Asked,
                    _ => {}
                }
            }
            Asked::Presence { channel } => self.hear_presence(channel, value, ledger),
            Asked::Acknowledge { ids } => self.hear_acknowledged(ids, value, ledger),
            Asked::Other => {}
        }
    }

    fn hear_push(&mut self, push: &Value, network: &mut Network, ledger: &mut Ledger) {
        let channel = known(push["channel"].as_str().expect("a push names its channel"));
        if let Some(publication) = push.get("pub") {
            self.hear_publication(channel, publication, ledger);
        } else if let Some(ended) = push.get("unsubscribe") {
            assert_eq!(ended["code"], 2500, "{push}");
            self.lose_position(channel, network, ledger);
        } else if let Some(join) = push.get("join") {
            self.hear_other(channel, &join["info"], true, ledger);
        } else if let Some(leave) = push.get("leave") {
            self.hear_other(channel, &leave["info"], false, ledger);
        } else {
            panic!("an unknown push: {push}");
        }
    }

    /// It is connected, and in all channels that the server has put it into.
    fn hear_connected(
        &mut self,
        held: &BTreeMap<&'static str, Position>,
        asked_at: u64,
        result: &Value,
        ledger: &mut Ledger,
    ) {
        self.id = Some(result["client"].as_str().expect("everybody has an id").to_owned());
        let subs = result.get("subs").and_then(Value::as_object);
        for (channel, result) in subs.into_iter().flatten() {
            let channel = known(channel);
            let subscription = self.subscriptions.entry(channel).or_default();
            assert_eq!(subscription.phase, Phase::Out, "{channel}: it was there already");
            subscription.ask(asked_at);
            subscription.is_by_server = true;
            subscription.begin(channel, held.get(channel), result, ledger);
            ledger.counts.entered_by_server += 1;
            let is_recovered = result.get("recovered").is_some();
            ledger.counts.recovered_by_server += u64::from(is_recovered);
        }
        assert!(held.keys().all(|channel| self.subscriptions[channel].phase == Phase::In));
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
        subscription.begin(channel, since, result, ledger);
        if is_leaving {
            subscription.position = None;
        }
    }

    fn hear_publication(&mut self, channel: &str, publication: &Value, ledger: &mut Ledger) {
        let subscription = self.subscriptions.get_mut(channel);
        let subscription = subscription.expect("publications of channels it is in");
        ledger.counts.publications += 1;
        let is_again = wire::tag(publication, "lw_try").is_some();
        match subscription.phase {
            Phase::In if is_again => ledger.counts.redelivered += 1,
            Phase::In => subscription.follow(channel, publication, ledger),
            Phase::Leaving | Phase::Returning => {}
            Phase::Out | Phase::Asked => {
                panic!("{channel}: {publication} before the subscribe reply")
            }
        }
        if channel == OWED && subscription.phase == Phase::In {
            self.hear_owed(publication, ledger);
        }
    }

    /// What it hears it is to acknowledge, until that has come through.
    fn hear_owed(&mut self, publication: &Value, ledger: &mut Ledger) {
        let (Some(user), Some(id)) = (self.user, wire::tag(publication, "lw_id")) else { return };
        let owed = (user, id.to_owned());
        assert!(!ledger.owed.settled.contains(&owed), "acknowledged before: {publication}");
        ledger.owed.heard.insert(owed);
        self.unsaid.insert(id.to_owned());
    }

    fn hear_acknowledged(&mut self, ids: BTreeSet<String>, value: &Value, ledger: &mut Ledger) {
        let user = self.user.expect("who is nobody acknowledges nothing");
        if value.get("rpc").is_some() {
            ledger.counts.acknowledged += ids.len() as u64;
            ledger.owed.answered.extend(ids.into_iter().map(|id| (user, id)));
        } else {
            assert_eq!(value["error"]["code"], 100, "{value}");
            self.unsaid.extend(ids);
        }
    }

    fn hear_other(&mut self, channel: &str, info: &Value, has_come: bool, ledger: &mut Ledger) {
        let subscription = self.subscriptions.get_mut(channel).expect("of channels it is in");
        match subscription.phase {
            Phase::In => subscription.hear_other(channel, info, has_come, ledger),
            Phase::Leaving | Phase::Returning => {}
            Phase::Out | Phase::Asked => panic!("{channel}: {info} before the subscribe reply"),
        }
    }

    /// The server has ended the subscription, because publications were lost.
    fn lose_position(&mut self, channel: &'static str, network: &mut Network, ledger: &mut Ledger) {
        ledger.counts.lost_positions += 1;
        let subscription = &self.subscriptions[channel];
        assert!(!subscription.is_by_server, "{channel}: who is there by the server is closed");
        if subscription.phase == Phase::In {
            let command = self.subscribe_command(channel, ledger);
            self.send(&[command], network);
        }
    }

    /// Who is in a channel that it is in itself.
    fn hear_presence(&mut self, channel: &str, value: &Value, ledger: &mut Ledger) {
        let Some(result) = value.get("presence") else {
            assert_eq!(value["error"]["code"], 111, "{channel}: {value}");
            return;
        };
        let there = result["presence"].as_object().expect("clients by their ids");
        let own = self.id.as_ref().expect("it is connected");
        assert!(there.contains_key(own), "{channel}: {own} is not there itself: {result}");
        ledger.counts.presence_checked += 1;
    }
}
