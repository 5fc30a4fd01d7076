//! Random clients against the real session, under a seed: random commands in random frames, homes
//! that answer when they like, publications that are lost.
//!
//! Claims: exactly one reply per command, in the order of the commands; nothing grows beyond its
//! bound; a channel's publications could reach the client only between its subscribe reply and
//! the end of its membership. `LONGWIRE_SEED` replays one seed.

use super::random::Random;
use super::rig::Rig;
use super::{Answer, Position, Retention, Rules};
use crate::limits::{COMMANDS_UNDER_WAY_MAX, DEFERRED_BYTES_MAX, MESSAGE_REPLIES_MAX};
use crate::protocol::{DisconnectCode, ErrorCode};

/// Seeds of one run.
const SEEDS: u64 = 400;
/// Frames that one client sends.
const FRAMES: u32 = 60;
const CHANNELS: [&str; 7] = ["a", "b", "c", "d", "ns:e", "$private", "none:x"];
/// Channels that one client may be in.
const CHANNEL_LIMIT: u16 = 4;

/// One client and what it is owed.
struct Client {
    rig: Rig,
    random: Random,
    next_id: u32,
    /// Commands without a reply, in order, each with its channel.
    owed: std::collections::VecDeque<(u32, &'static str)>,
    /// Channels whose subscribe reply the client has read.
    told: std::collections::BTreeSet<String>,
    replies: u64,
}

impl Client {
    fn new(seed: u64) -> Self {
        let open = super::ChannelOptions {
            allow_publish_for_subscriber: true,
            allow_publish_for_anonymous: true,
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            history: Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 }),
            force_recovery: true,
            allow_history_for_client: true,
            allow_history_for_anonymous: true,
            ..super::ChannelOptions::default()
        };
        let rules = Rules {
            allow_anonymous_connect_without_token: true,
            channel_limit: CHANNEL_LIMIT,
            without_namespace: open,
            namespaces: [("ns".to_owned(), open)].into(),
            ..Rules::default()
        };
        Self {
            rig: Rig::new(rules),
            random: Random::new(seed),
            next_id: 1,
            owed: std::collections::VecDeque::new(),
            told: std::collections::BTreeSet::new(),
            replies: 0,
        }
    }

    fn command(&mut self) -> String {
        let id = self.next_id;
        self.next_id += 1;
        let channel = self.random.one_of(&CHANNELS);
        let request = match self.random.below(10) {
            0..4 => format!(r#""subscribe":{{"channel":"{channel}"}}"#),
            4..6 => format!(r#""unsubscribe":{{"channel":"{channel}"}}"#),
            6..8 => format!(r#""publish":{{"channel":"{channel}","data":{id}}}"#),
            8 => r#""rpc":{}"#.to_owned(),
            _ => format!(r#""history":{{"channel":"{channel}"}}"#),
        };
        self.owed.push_back((id, channel));
        format!(r#"{{"id":{id},{request}}}"#)
    }

    fn send_frame(&mut self) {
        let count = 1 + self.random.below(40);
        let mut lines: Vec<String> = (0..count).map(|_| self.command()).collect();
        if self.random.below(4) == 0 {
            lines.push(String::new());
        }
        self.rig.frame(&lines.join("\n"));
    }

    fn step(&mut self) {
        let (joining, asked) = (self.rig.joining.len(), self.rig.asked.len());
        if joining > 0 && self.random.below(3) > 0 {
            let failed = self.random.below(5) == 0;
            let answer = if failed { Err(ErrorCode::Internal) } else { Ok(()) };
            self.rig.joined_at(self.random.below(joining), answer);
        } else if asked > 0 && self.random.below(3) > 0 {
            let position = Position { offset: 3, epoch: "abcdefgh" };
            let answer = Answer::History { position, publications: b"{}" };
            let failed = self.random.below(5) == 0;
            let answer = if failed { Err(ErrorCode::TooManyRequests) } else { Ok(answer) };
            self.rig.answered_at(self.random.below(asked), answer);
        } else if self.random.below(6) == 0 {
            let members: Vec<String> = self.rig.members.keys().cloned().collect();
            if !members.is_empty() {
                let index = self.random.below(members.len());
                self.rig.missed(&members[index]);
            }
        } else {
            self.send_frame();
        }
    }

    /// Reads what was sent, and checks it against what is owed.
    fn read(&mut self) {
        for message in &self.rig.messages {
            assert!(message.split('\n').count() <= MESSAGE_REPLIES_MAX);
        }
        for line in self.rig.lines() {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(push) = value.get("push") {
                let channel = push["channel"].as_str().unwrap();
                assert_eq!(push["unsubscribe"]["code"], 2500, "{line}");
                assert!(self.told.remove(channel), "{channel}: it had not heard that it was in");
                continue;
            }
            let (id, channel) = self.owed.pop_front().expect("a reply to nothing");
            assert_eq!(value["id"], id, "in the order of the commands: {line}");
            self.replies += 1;
            if value.get("subscribe").is_some() {
                assert!(self.told.insert(channel.to_owned()), "{channel} twice");
            }
            if value.get("unsubscribe").is_some() {
                self.told.remove(channel);
            }
        }
        // Members could be sent publications from now on, unless they are held: each has read its
        // reply.
        let is_told = |channel: &String| self.told.contains(channel);
        assert!(self.rig.is_held || self.rig.members.keys().all(is_told), "{:?}", self.rig.members);
        assert!(self.rig.members.len() <= CHANNEL_LIMIT.into(), "the limit of channels");
    }
}

/// One client's life; returns the replies it got.
fn live(seed: u64) -> u64 {
    let mut client = Client::new(seed);
    client.owed.push_back((1, ""));
    client.next_id = 2;
    client.rig.frame(r#"{"id":1,"connect":{}}"#);
    for _ in 0..FRAMES {
        client.step();
        client.read();
        let session = &client.rig.session;
        assert!(session.deferred_bytes() <= DEFERRED_BYTES_MAX);
        let under_way = client.rig.joining.len() + client.rig.asked.len();
        assert!(under_way <= COMMANDS_UNDER_WAY_MAX, "{under_way}");
        if let Some(why) = client.rig.closed {
            // Who sends on and on while a home does not answer is told so, and nothing else ends
            // a client that keeps the rules.
            assert_eq!(why.code, DisconnectCode::TooManyRequests);
            return client.replies;
        }
    }
    while client.rig.session.is_waiting() {
        match (client.rig.joining.len(), client.rig.asked.len()) {
            (0, _) => client.rig.answered_at(0, Err(ErrorCode::Internal)),
            (count, _) => client.rig.joined_at(count - 1, Ok(())),
        }
        client.read();
    }
    assert!(client.owed.is_empty(), "every command has its reply: {:?}", client.owed);
    assert_eq!(client.replies, u64::from(client.next_id) - 1);
    client.replies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_one_reply_in_order_whatever_happens() {
        let seeds = match std::env::var("LONGWIRE_SEED") {
            Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("a number"),
            Err(_) => 0..SEEDS,
        };
        let mut replies = 0;
        for seed in seeds.clone() {
            let lived = std::panic::catch_unwind(|| live(seed));
            replies += lived.unwrap_or_else(|_| panic!("replay with LONGWIRE_SEED={seed}"));
        }
        assert!(replies > 100 * (seeds.end - seeds.start), "{replies}: too little happened");
    }
}
