//! Claim: whatever the interleaving of publications, entries, exits, ends of connections, turns of
//! the shards and refusals of queues far too small, a member that has entered gets every
//! publication behind its position, once and in order, or is told that it missed some; what it
//! recovers begins right behind what it has seen; a delta comes only to those who were sent what
//! it was made of just before; and when all have left, nothing is left.

use std::collections::BTreeMap;

use super::super::deliveries::sections;
use super::super::sections::{Section, part};
use super::*;
use crate::handler::{
    Asked, AskedEpoch, Entered, Entry, Message as Said, MessageKind, Position, Reading, Recover,
    Retention, Since,
};
use crate::sys::clock;
use proptest::prelude::*;

const SHARDS: usize = 3;
const CONNECTIONS: u32 = 3;
const MESH_SLOTS: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish { at: usize, channel: usize },
    PublishUnkept { at: usize, channel: usize },
    Enter { at: usize, who: u32, channel: usize, recovers: bool },
    Leave { at: usize, who: u32, channel: usize },
    Vanish { at: usize, who: u32 },
    Receive { at: usize, count: usize },
    Deliver { at: usize, count: usize },
}

fn steps() -> impl Strategy<Value = Step> {
    let at = || 0..SHARDS;
    let who = || 0..CONNECTIONS;
    let channel = || 0..2_usize;
    prop_oneof![
        12 => (at(), channel()).prop_map(|(at, channel)| Step::Publish { at, channel }),
        1 => (at(), channel()).prop_map(|(at, channel)| Step::PublishUnkept { at, channel }),
        6 => (at(), who(), channel(), any::<bool>())
            .prop_map(|(at, who, channel, recovers)| Step::Enter { at, who, channel, recovers }),
        2 => (at(), who(), channel())
            .prop_map(|(at, who, channel)| Step::Leave { at, who, channel }),
        1 => (at(), who()).prop_map(|(at, who)| Step::Vanish { at, who }),
        12 => (at(), 1..9_usize).prop_map(|(at, count)| Step::Receive { at, count }),
        8 => (at(), 1..9_usize).prop_map(|(at, count)| Step::Deliver { at, count }),
    ]
}

/// What one client of one channel knows.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// What it has seen everything up to.
    seen: Option<Position>,
    /// What it asked to recover from.
    asked: Option<Position>,
    is_member: bool,
    /// The publication that it was sent last.
    base: Option<u64>,
}

struct Simulation {
    shards: Vec<Channels>,
    names: [String; 2],
    /// By shard, connection and channel.
    clients: BTreeMap<(usize, u32, usize), Client>,
    /// The life of each slot.
    serials: [[u32; CONNECTIONS as usize]; SHARDS],
    /// Taken publications that have an offset, by channel.
    kept: [u64; 2],
    retention: Retention,
    recovered: u64,
    told_of_gaps: u64,
    deltas: u64,
    /// Publications that were tried, each of which has its own number.
    stamp: u64,
}

/// A binary message of two numbers: its offset, once it has one, and a number of its own.
fn blank(stamp: u64) -> Frame {
    [&[0x82, 16][..], &[0; 8], &stamp.to_le_bytes()].concat().into()
}

/// One of the numbers of a message.
fn number_at(message: &[u8], place: usize) -> u64 {
    let bytes = &message[2 + 8 * place..][..8];
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn offset_in(message: &[u8]) -> u64 {
    number_at(message, 0)
}

#[expect(clippy::unnecessary_wraps, reason = "some publications cannot be numbered")]
fn number(publication: Said<'_>, position: Position) -> Option<Vec<u8>> {
    Some([&position.offset.to_le_bytes(), &publication.payload()[8..]].concat())
}

/// A delta is the message itself, and behind it the number of what it was made of.
#[expect(clippy::unnecessary_wraps, reason = "some publications have no delta")]
fn delta(publication: Said<'_>, base: Said<'_>) -> Option<Vec<u8>> {
    Some([publication.payload(), &base.payload()[8..16]].concat())
}

impl Simulation {
    fn new(publications_max: u32) -> Self {
        let hasher = std::hash::RandomState::new();
        let members = crate::mesh::build_with_slots(SHARDS, MESH_SLOTS).expect("a mesh");
        let shards = members.into_iter().zip(0..).map(|(mesh, here)| {
            let mut shard = Channels::new(here, SHARDS, CONNECTIONS, mesh, clock::now(), &hasher);
            shard.word_by(Words { number, delta, ..Words::default() }, |_, _| Vec::new());
            shard
        });
        let homes = Homes::dealt(SHARDS);
        let name_at = |home| {
            let mut names = (0..).map(|number| format!("channel-{number}"));
            names.find(|name| homes.home_of_channel(name) == ShardId::new(home)).expect("enough")
        };
        Self {
            shards: shards.collect(),
            names: [name_at(0), name_at(1)],
            clients: BTreeMap::new(),
            serials: [[1; CONNECTIONS as usize]; SHARDS],
            kept: [0; 2],
            retention: Retention { publications_max, ttl_s: 60, meta_ttl_s: 600 },
            recovered: 0,
            told_of_gaps: 0,
            deltas: 0,
            stamp: 0,
        }
    }

    fn blank(&mut self) -> Frame {
        self.stamp += 1;
        blank(self.stamp)
    }

    fn id(&self, at: usize, who: u32) -> ConnectionId {
        ConnectionId::new(who, self.serials[at][who as usize])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { at, channel } => {
                let (frame, retention) = (self.blank(), self.retention);
                let keep = Some(Keep { retention, makes_delta: !self.stamp.is_multiple_of(8) });
                let taken = self.shards[at].publish(&self.names[channel], frame, keep);
                self.kept[channel] += u64::from(taken.is_ok());
            }
            Step::PublishUnkept { at, channel } => {
                let frame = self.blank();
                let _full = self.shards[at].publish(&self.names[channel], frame, None);
            }
            Step::Enter { at, who, channel, recovers } => self.enter(at, who, channel, recovers),
            Step::Leave { at, who, channel } => {
                let id = self.id(at, who);
                self.shards[at].leave(id, &self.names[channel], true);
                self.clients.entry((at, who, channel)).or_default().is_member = false;
            }
            Step::Vanish { at, who } => {
                let id = self.id(at, who);
                self.shards[at].leave_all(id);
                self.serials[at][who as usize] += 1;
                for channel in 0..2 {
                    self.clients.entry((at, who, channel)).or_default().is_member = false;
                }
            }
            Step::Receive { at, count } => {
                self.receive(at, count);
            }
            Step::Deliver { at, count } => self.deliver(at, count),
        }
        for shard in &mut self.shards {
            shard.mesh.flush(|_| {});
        }
    }

    fn enter(&mut self, at: usize, who: u32, channel: usize, recovers: bool) {
        let id = self.id(at, who);
        let client = self.clients.entry((at, who, channel)).or_default();
        let asked = client.seen.filter(|_| recovers);
        let since = |position: Position| Since {
            offset: position.offset,
            epoch: AskedEpoch::Is(position.epoch),
        };
        let recover = asked
            .map(|position| Recover::Missed { since: since(position), publications_max: 1000 });
        let reading = if who == 0 { Reading::Whole } else { Reading::Deltas };
        let stream = Some(self.retention);
        let entry = Entry { stream, recover, reading, ..Entry::default() };
        match self.shards[at].enter(id, &self.names[channel], entry) {
            Ok(Asked::Waits) => client.asked = asked,
            Ok(Asked::Done(entered)) => {
                client.asked = asked;
                self.entered(at, who, channel, &entered);
            }
            Err(JoinError::Busy | JoinError::Member) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn entered(&mut self, at: usize, who: u32, channel: usize, entered: &Entered) {
        let client = self.clients.get_mut(&(at, who, channel)).expect("it has asked");
        let position = entered.position.expect("it was asked for");
        assert!(!client.is_member, "let in twice");
        if let Some(asked) = client.asked.take() {
            let recovered = entered.recovered.as_ref().expect("it was asked for");
            let offsets: Vec<u64> =
                recovered.publications.frames().iter().map(|frame| offset_in(frame)).collect();
            if recovered.is_whole {
                assert!(offsets.into_iter().eq(asked.offset + 1..=position.offset));
                self.recovered += 1;
            } else {
                assert!(offsets.is_empty());
            }
        }
        *client = Client { seen: Some(position), is_member: true, ..Client::default() };
    }

    /// The shard takes so many messages; returns how many there were.
    fn receive(&mut self, at: usize, count: usize) -> usize {
        let mut taken = 0;
        while taken < count {
            let Some(received) = self.shards[at].mesh.receive() else { break };
            taken += 1;
            let entered = match received.message.checked() {
                Message::Entered(entered) => entered,
                message => {
                    self.shards[at].take(received.from, message);
                    continue;
                }
            };
            let (id, who) = (entered.connection, entered.connection.index());
            let is_open = self.id(at, who) == id;
            let told = self.shards[at].entered(*entered, is_open);
            if let Some((name, Ok(entered))) = told {
                let channel = self.names.iter().position(|known| **known == *name);
                self.entered(at, who, channel.expect("one of two"), &entered);
            }
        }
        self.shards[at].catch_up(|_| true, |_| true);
        taken
    }

    fn deliver(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let Some(delivery) = self.shards[at].fanout.next() else { return };
            let (who, missed) = (delivery.member.0, delivery.missed);
            let sections = sections(delivery.wording);
            let messages: Vec<Vec<u8>> = delivery
                .frames
                .iter()
                .enumerate()
                .map(|(place, frame)| {
                    let section = sections[usize::from(place > 0)];
                    let there = part(frame, section, Some(MessageKind::Binary));
                    let plain = || part(frame, Section::Plain, None).expect("it is there");
                    frame[there.unwrap_or_else(plain)].to_vec()
                })
                .collect();
            let channel = delivery.channel;
            let name = self.shards[at].fanout.name(channel).to_owned();
            let channel = self.names.iter().position(|known| *known == name).expect("one of two");
            let id = self.id(at, who);
            let client = self.clients.get_mut(&(at, who, channel)).expect("a member");
            assert!(client.is_member, "delivered to who is no member");
            if missed > 0 {
                self.told_of_gaps += 1;
                client.is_member = false;
                assert!(self.shards[at].leave(id, &name, true));
                continue;
            }
            for message in messages {
                if message.len() > 2 + 16 {
                    assert_eq!(client.base, Some(number_at(&message, 2)), "it has the base");
                    self.deltas += 1;
                }
                client.base = Some(number_at(&message, 1));
                let offset = offset_in(&message);
                if offset == 0 {
                    continue;
                }
                let seen = client.seen.as_mut().expect("it has entered");
                assert_eq!(offset, seen.offset + 1, "the one that comes next");
                seen.offset = offset;
            }
        }
    }

    /// Turns until nobody has anything.
    fn settle(&mut self) {
        // What one round sends, only the next one receives.
        let mut quiet_rounds = 0;
        while quiet_rounds < 2 {
            let mut count = 0;
            for at in 0..SHARDS {
                count += self.receive(at, usize::MAX);
                while self.shards[at].fanout.has_work() {
                    self.deliver(at, 100);
                    count += 1;
                }
            }
            for shard in &mut self.shards {
                shard.mesh.flush(|_| {});
            }
            quiet_rounds = if count == 0 { quiet_rounds + 1 } else { 0 };
        }
    }
}

fn run(publications_max: u32, steps: &[Step]) -> Simulation {
    let mut simulation = Simulation::new(publications_max);
    for step in steps {
        simulation.step(*step);
    }
    simulation.settle();
    for ((at, who, channel), client) in &simulation.clients {
        let seen = client.seen.map(|position| position.offset);
        let top = simulation.kept[*channel];
        assert!(!client.is_member || seen == Some(top), "{who} on {at}: {seen:?} of {top}");
    }
    for at in 0..SHARDS {
        for who in 0..CONNECTIONS {
            simulation.step(Step::Vanish { at, who });
        }
    }
    simulation.settle();
    for shard in &simulation.shards {
        assert_eq!((shard.fanout.channel_count(), shard.home.order.channel_count()), (0, 0));
    }
    simulation
}

proptest! {
    #[test]
    fn members_see_everything_behind_their_position(
        publications_max in prop_oneof![Just(3_u32), Just(1000)],
        steps in prop::collection::vec(steps(), 0..400),
    ) {
        run(publications_max, &steps);
    }
}

/// A shard stands still while another channel's worth of queues is published: what it missed comes
/// from the stream, and nobody is told of anything.
#[test]
fn a_shard_that_stood_still_is_sent_all_it_missed_from_the_stream() {
    let enter = |who| Step::Enter { at: 2, who, channel: 0, recovers: true };
    let mut steps = vec![enter(0)];
    steps.extend((0..6).map(|at| Step::Receive { at: at % 3, count: 9 }));
    steps.extend([Step::Publish { at: 0, channel: 0 }; 500]);
    let simulation = run(1000, &steps);
    assert_eq!(simulation.told_of_gaps, 0);
    let counters = simulation.shards[0].home.order.counters();
    assert_eq!((counters.gaps, counters.missed), (1, counters.resent));
    assert!(counters.resent > 450, "the queue holds few");
    assert_eq!(simulation.shards[0].gaps_sent, 0);
    // Where less is kept than was missed, the member is told of it.
    let simulation = run(100, &steps);
    assert_eq!((simulation.told_of_gaps, simulation.shards[0].gaps_sent), (1, 1));
}

/// One who takes deltas gets the first publication whole, and from there on what it differs by,
/// but for those that are not marked, and those behind one that is not kept.
#[test]
fn a_delta_is_made_of_what_was_sent_just_before() {
    let mut steps = vec![Step::Enter { at: 2, who: 1, channel: 0, recovers: false }];
    steps.extend((0..6).map(|at| Step::Receive { at: at % 3, count: 9 }));
    let deltas_of = |publications: &[Step]| {
        let each = publications.iter().flat_map(|one| {
            [*one, Step::Receive { at: 2, count: 9 }, Step::Deliver { at: 2, count: 9 }]
        });
        run(1000, &steps.iter().copied().chain(each).collect::<Vec<_>>()).deltas
    };
    let (kept, unkept) =
        (Step::Publish { at: 0, channel: 0 }, Step::PublishUnkept { at: 0, channel: 0 });
    assert_eq!(deltas_of(&[kept; 7]), 6);
    assert_eq!(deltas_of(&[kept; 9]), 7, "the eighth is not marked");
    assert_eq!(deltas_of(&[kept, kept, unkept, kept, kept]), 2);
}
