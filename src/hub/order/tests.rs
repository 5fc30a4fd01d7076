//! The order alone, and against queues that refuse.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::hash::RandomState;

fn shard(index: usize) -> ShardId {
    ShardId::new(index)
}

fn order(channels_max: u32) -> Order {
    Order::new(4, channels_max, RandomState::default())
}

#[test]
fn a_publication_goes_to_the_interested_shards_only() {
    let mut order = order(10);
    assert_eq!(order.publish("news", None), None);
    assert_eq!(order.interested("news", shard(1)), Ok(0));
    assert_eq!(order.interested("news", shard(3)), Ok(0));
    assert_eq!(order.interested("other", shard(0)), Ok(0));
    let published = order.publish("news", None).unwrap();
    assert_eq!(published.sequence, 1);
    assert_eq!(published.targets.into_iter().collect::<Vec<_>>(), [shard(1), shard(3)]);
    order.uninterested("news", shard(1));
    let published = order.publish("news", None).unwrap();
    assert_eq!(published.targets.into_iter().collect::<Vec<_>>(), [shard(3)]);
    assert_eq!((order.counters().published, order.counters().unheard), (2, 1));
}

#[test]
fn what_was_missed_of_a_stream_is_sent_from_where_the_shard_stands() {
    let mut order = order(10);
    order.interested("news", shard(1)).unwrap();
    for offset in 1..=3 {
        order.publish("news", Some(offset)).unwrap();
    }
    assert_eq!(order.view("news", shard(1)), u64::MAX, "it has been sent everything");
    let published = order.publish("news", Some(4)).unwrap();
    order.lagging(&published, shard(1));
    assert!(order.publish("news", Some(5)).unwrap().targets.is_empty());
    assert_eq!(order.view("news", shard(1)), 3);
    assert_eq!(order.view("news", shard(2)), u64::MAX);
    let repair = order.next_repair(shard(1)).unwrap();
    assert_eq!((repair.since, repair.missed), (Some(3), 2));
    let id = repair.channel;
    order.resent(id, shard(1), 1);
    assert_eq!(order.view("news", shard(1)), 4);
    order.resent(id, shard(1), 1);
    assert!(!order.has_repairs(shard(1)));
    assert!(order.publish("news", Some(6)).unwrap().targets.contains(shard(1)));
    assert_eq!((order.counters().missed, order.counters().resent), (2, 2));
}

/// What is not in the stream cannot be sent from it, and what came after it would be out of order.
#[test]
fn a_lag_with_a_publication_that_is_not_kept_ends_with_a_gap() {
    for kept_first in [true, false] {
        let mut order = order(10);
        order.interested("news", shard(1)).unwrap();
        let places = if kept_first { [Some(1), None] } else { [None, Some(1)] };
        let published = order.publish("news", places[0]).unwrap();
        order.lagging(&published, shard(1));
        order.publish("news", places[1]).unwrap();
        let repair = order.next_repair(shard(1)).unwrap();
        assert_eq!((repair.since, repair.missed), (None, 2));
        assert_eq!(order.view("news", shard(1)), u64::MAX, "the gap tells of the rest");
    }
}

#[test]
fn channels_that_are_mended_in_parts_have_their_turns() {
    let mut order = order(10);
    for channel in ["a", "b"] {
        order.interested(channel, shard(0)).unwrap();
        let published = order.publish(channel, Some(1)).unwrap();
        order.lagging(&published, shard(0));
        order.publish(channel, Some(2)).unwrap();
    }
    let mut turns = Vec::new();
    while let Some(repair) = order.next_repair(shard(0)) {
        turns.push(repair.name.to_owned());
        let id = repair.channel;
        order.resent(id, shard(0), 1);
    }
    assert_eq!(turns[..2].iter().collect::<BTreeSet<_>>().len(), 2, "{turns:?}");
    assert_eq!(turns.len(), 4);
}

#[test]
fn hearers_are_known_until_their_shard_is_not_interested() {
    let mut order = order(10);
    for index in [0, 1] {
        order.interested("news", shard(index)).unwrap();
    }
    order.hears_joins("news", shard(1));
    assert_eq!(order.hearers("news").into_iter().collect::<Vec<_>>(), [shard(1)]);
    order.uninterested("news", shard(1));
    assert!(order.hearers("news").is_empty());
    order.hears_joins("news", shard(0));
    order.uninterested("news", shard(0));
    order.interested("news", shard(0)).unwrap();
    assert!(order.hearers("news").is_empty(), "it was forgotten with the channel");
}

#[test]
fn a_channel_nobody_wants_is_forgotten_with_its_lag_and_sequence() {
    let mut order = order(1);
    order.interested("news", shard(0)).unwrap();
    let published = order.publish("news", None).unwrap();
    order.lagging(&published, shard(0));
    assert!(order.has_repairs(shard(0)));
    order.uninterested("news", shard(0));
    assert_eq!((order.channel_count(), order.has_repairs(shard(0))), (0, false));
    assert_eq!(order.next_repair(shard(0)), None);
    assert_eq!(order.interested("other", shard(0)), Ok(0));
}

#[test]
fn both_forms_are_asked_for_until_the_channel_is_forgotten() {
    let mut order = order(1);
    let in_both = |order: &mut Order| order.publish("news", None).map(|one| one.in_both_forms);
    order.needs_both_forms("news");
    assert_eq!(in_both(&mut order), None, "nobody is interested");
    for _ in 0..2 {
        order.interested("news", shard(0)).unwrap();
        assert_eq!(in_both(&mut order), Some(false));
        order.needs_both_forms("news");
        order.interested("news", shard(1)).unwrap();
        order.uninterested("news", shard(0));
        assert_eq!(in_both(&mut order), Some(true));
        order.uninterested("news", shard(1));
    }
    assert!(order.both_forms.is_empty(), "nothing is kept of it");
}

#[test]
fn a_full_home_refuses_new_channels_and_counts_it() {
    let mut order = order(1);
    order.interested("a", shard(0)).unwrap();
    assert_eq!(order.interested("b", shard(0)), Err(OrderError::ChannelsFull { channels_max: 1 }));
    assert_eq!(order.interested("a", shard(1)), Ok(0));
    assert_eq!(order.counters().refused, 1);
}

#[test]
fn lagging_channels_are_repaired_in_turn() {
    let mut order = order(10);
    for channel in ["a", "b", "c"] {
        order.interested(channel, shard(0)).unwrap();
    }
    let lag = |order: &mut Order, channel: &str| {
        let published = order.publish(channel, None).unwrap();
        order.lagging(&published, shard(0));
    };
    for channel in ["a", "b", "c"] {
        lag(&mut order, channel);
    }
    let mut repaired = Vec::new();
    for _ in 0..6 {
        let gap = order.next_repair(shard(0)).unwrap();
        let (channel, name) = (gap.channel, gap.name.to_owned());
        order.repaired(channel, shard(0));
        lag(&mut order, &name);
        repaired.push(name);
    }
    assert_eq!(repaired, ["a", "b", "c", "a", "b", "c"]);
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Interest(usize, usize, bool),
    Publish(usize),
    Repair(usize),
    Receive(usize, usize),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => (0..3_usize, 0..4_usize, any::<bool>())
            .prop_map(|(channel, shard, on)| Move::Interest(channel, shard, on)),
        8 => (0..3_usize).prop_map(Move::Publish),
        2 => (0..4_usize).prop_map(Move::Repair),
        2 => (0..4_usize, 1..6_usize).prop_map(|(s, n)| Move::Receive(s, n)),
    ]
}

/// What a shard reads from its queue; the channel is a number here.
#[derive(Clone, Copy, Debug)]
enum Message {
    Begins(usize, u64),
    Ends(usize),
    Publication(usize, u64),
    Gap(usize, u64, u64),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const QUEUE_MAX: usize = 4;

/// Four shards behind queues of four publications, and an order that feeds them.
struct Sim {
    order: Order,
    queues: Vec<VecDeque<Message>>,
    /// The sequence each shard saw last of each channel that it is in.
    seen: Vec<[Option<u64>; 3]>,
    delivered: u64,
    counted: u64,
    due: u64,
}

impl Sim {
    fn new() -> Self {
        Self {
            order: order(3),
            queues: vec![VecDeque::new(); 4],
            seen: vec![[None; 3]; 4],
            delivered: 0,
            counted: 0,
            due: 0,
        }
    }

    fn interested(&self) -> BTreeSet<(usize, usize)> {
        let mut interested = BTreeSet::new();
        for (channel, name) in NAMES.iter().enumerate() {
            if let Some(key) = self.order.channels.find(name) {
                let ordered = self.order.channels.get(key).unwrap();
                interested.extend(ordered.interested.into_iter().map(|s| (channel, s.index())));
            }
        }
        interested
    }

    fn step(&mut self, step: Move) {
        match step {
            Move::Interest(channel, to, true) => {
                let known = self.interested().contains(&(channel, to));
                let sequence = self.order.interested(NAMES[channel], shard(to)).unwrap();
                if !known {
                    self.queues[to].push_back(Message::Begins(channel, sequence));
                }
            }
            Move::Interest(channel, to, false) => {
                // What was counted for a gap that is now never sent is not owed any more.
                if self.interested().contains(&(channel, to)) {
                    let key = self.order.channels.find(NAMES[channel]).unwrap();
                    let ordered = self.order.channels.get(key).unwrap();
                    let lag = ordered.lag_index(shard(to));
                    self.due -= lag.map_or(0, |index| ordered.lags[index].missed);
                    self.queues[to].push_back(Message::Ends(channel));
                }
                self.order.uninterested(NAMES[channel], shard(to));
            }
            Move::Publish(channel) => {
                let interested = self.interested();
                self.due += interested.iter().filter(|(c, _)| *c == channel).count() as u64;
                let Some(published) = self.order.publish(NAMES[channel], None) else { return };
                for target in published.targets {
                    let queue = &mut self.queues[target.index()];
                    if queue.len() < QUEUE_MAX {
                        queue.push_back(Message::Publication(channel, published.sequence));
                    } else {
                        self.order.lagging(&published, target);
                    }
                }
            }
            Move::Repair(to) => {
                let Some(gap) = self.order.next_repair(shard(to)) else { return };
                if self.queues[to].len() < QUEUE_MAX {
                    let channel = NAMES.iter().position(|name| *name == gap.name).unwrap();
                    let message = Message::Gap(channel, gap.missed, gap.sequence);
                    let id = gap.channel;
                    self.queues[to].push_back(message);
                    self.order.repaired(id, shard(to));
                }
            }
            Move::Receive(to, count) => {
                for _ in 0..count {
                    let Some(message) = self.queues[to].pop_front() else { return };
                    self.receive(to, message);
                }
            }
        }
    }

    fn receive(&mut self, at: usize, message: Message) {
        let seen = &mut self.seen[at];
        match message {
            Message::Begins(channel, sequence) => seen[channel] = Some(sequence),
            Message::Ends(channel) => seen[channel] = None,
            Message::Publication(channel, sequence) => {
                let last = seen[channel].expect("only an interested shard is sent to");
                assert_eq!(sequence, last + 1, "a hole or a repetition");
                seen[channel] = Some(sequence);
                self.delivered += 1;
            }
            Message::Gap(channel, missed, sequence) => {
                let last = seen[channel].expect("only an interested shard is sent to");
                assert_eq!(sequence, last + missed, "the gap counts what was missed");
                seen[channel] = Some(sequence);
                self.counted += missed;
            }
        }
    }
}

proptest! {
    #[test]
    fn a_shard_sees_every_sequence_in_order_with_no_hole_but_a_counted_gap(
        steps in prop::collection::vec(moves(), 0..400),
    ) {
        let mut sim = Sim::new();
        for step in steps {
            sim.step(step);
        }
        for to in 0..4 {
            while !sim.queues[to].is_empty() || sim.order.has_repairs(shard(to)) {
                sim.step(Move::Receive(to, QUEUE_MAX));
                sim.step(Move::Repair(to));
            }
        }
        prop_assert_eq!(sim.delivered + sim.counted, sim.due);
        for channel in 0..3 {
            for to in 0..4 {
                sim.step(Move::Interest(channel, to, false));
            }
        }
        prop_assert_eq!(sim.order.channel_count(), 0);
    }
}
