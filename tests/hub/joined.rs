//! Claim: who joined is told once, before anything is delivered to it; from then on it gets every
//! publication that the home orders, and nothing of an interest that had ended. A home that is
//! full ends the membership and says so. The model is a shard and a home far away, with a queue
//! of messages in each direction that are handled one by one, at any time.

use super::fanout;
use longwire::hub::{
    Announcement, Answer, Fanout, FanoutBounds, Homes, MemberId, Order, ShardId, Told,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::hash::RandomState;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const MEMBERS: u32 = 4;
const SHARD: usize = 0;

#[derive(Clone, Copy, Debug)]
enum Move {
    Join(usize, u32),
    Leave(usize, u32),
    LeaveAll(u32),
    Publish(usize),
    /// The shard tells the home what has changed.
    Tell,
    /// The home handles so many messages.
    Home(u32),
    /// The shard handles so many messages.
    Shard(u32),
    /// Members are told of their joins, and then sent what is theirs.
    Turn,
}

fn moves() -> impl Strategy<Value = Move> {
    let channel = || 0..NAMES.len();
    prop_oneof![
        6 => (channel(), 0..MEMBERS).prop_map(|(c, m)| Move::Join(c, m)),
        5 => (channel(), 0..MEMBERS).prop_map(|(c, m)| Move::Leave(c, m)),
        1 => (0..MEMBERS).prop_map(Move::LeaveAll),
        6 => channel().prop_map(Move::Publish),
        4 => Just(Move::Tell),
        4 => (1..4_u32).prop_map(Move::Home),
        4 => (1..4_u32).prop_map(Move::Shard),
        3 => Just(Move::Turn),
    ]
}

enum ToHome {
    Interested { channel: String, ask: u32 },
    Uninterested { channel: String },
    Publish { channel: usize, number: u64 },
}

enum ToShard {
    Answer { channel: String, ask: u32, answer: Answer },
    Deliver { channel: String, number: u64 },
}

/// One membership, as its owner sees it.
#[derive(Default)]
struct Seen {
    told: bool,
    /// The publications ordered before it was told: none of those from then on is missed.
    ordered_before: u64,
    heard: Vec<u64>,
}

struct Model {
    fanout: Fanout<u64>,
    order: Order,
    home: ShardId,
    to_home: VecDeque<ToHome>,
    to_shard: VecDeque<ToShard>,
    members: BTreeMap<(usize, u32), Seen>,
    /// What the home has put into each channel's order for the shard, in that order.
    ordered: [Vec<u64>; NAMES.len()],
    numbers: u64,
    refusals: u64,
}

impl Model {
    fn new(channels_max: u32) -> Self {
        // All names have one home: the other shard's.
        let home = ShardId::new(1);
        assert!(names().iter().all(|name| Homes::dealt(2).home_of_channel(name) == home));
        Self {
            fanout: fanout(2, FanoutBounds::default()),
            order: Order::new(2, channels_max, RandomState::new()),
            home,
            to_home: VecDeque::new(),
            to_shard: VecDeque::new(),
            members: BTreeMap::new(),
            ordered: Default::default(),
            numbers: 0,
            refusals: 0,
        }
    }

    fn step(&mut self, step: Move) {
        match step {
            Move::Join(channel, member) => {
                let joined = self.fanout.join(&names()[channel], MemberId(member));
                if joined.is_ok() {
                    let before = self.members.insert((channel, member), Seen::default());
                    assert!(before.is_none(), "a member twice");
                }
            }
            Move::Leave(channel, member) => {
                let known = self.fanout.find(&names()[channel]);
                let left =
                    known.is_some_and(|id| self.fanout.leave(id, MemberId(member)).is_some());
                assert_eq!(self.members.remove(&(channel, member)).is_some(), left);
            }
            Move::LeaveAll(member) => {
                self.fanout.leave_all(MemberId(member), |_, _| {});
                self.members.retain(|&(_, one), _| one != member);
            }
            Move::Publish(channel) => {
                self.numbers += 1;
                self.to_home.push_back(ToHome::Publish { channel, number: self.numbers });
            }
            Move::Tell => self.tell(),
            Move::Home(count) => (0..count).for_each(|_| self.home()),
            Move::Shard(count) => (0..count).for_each(|_| self.shard()),
            Move::Turn => self.turn(),
        }
    }

    fn tell(&mut self) {
        let to_home = &mut self.to_home;
        self.fanout.drain_changes(self.home, |change| {
            let channel = change.channel.to_owned();
            to_home.push_back(if change.on {
                ToHome::Interested { channel, ask: change.ask }
            } else {
                ToHome::Uninterested { channel }
            });
            Told::Sent
        });
    }

    fn home(&mut self) {
        let here = ShardId::new(SHARD);
        match self.to_home.pop_front() {
            None => {}
            Some(ToHome::Interested { channel, ask }) => {
                let noted = self.order.interested(&channel, here);
                let answer = if noted.is_ok() { Answer::Confirmed } else { Answer::Refused };
                self.to_shard.push_back(ToShard::Answer { channel, ask, answer });
            }
            Some(ToHome::Uninterested { channel }) => {
                self.order.uninterested(&channel, here);
            }
            Some(ToHome::Publish { channel, number }) => {
                let name = names()[channel].clone();
                if self.order.publish(&name, None).is_some() {
                    self.ordered[channel].push(number);
                    self.to_shard.push_back(ToShard::Deliver { channel: name, number });
                }
            }
        }
    }

    fn shard(&mut self) {
        match self.to_shard.pop_front() {
            None => {}
            Some(ToShard::Answer { channel, ask, answer }) => {
                self.fanout.answered(&channel, ask, answer);
            }
            Some(ToShard::Deliver { channel, number }) => {
                if let Some(id) = self.fanout.receiving(&channel) {
                    self.fanout.deliver(id, number, 1).unwrap();
                }
            }
        }
    }

    /// The order of a turn: announcements to the last one, then deliveries.
    fn turn(&mut self) {
        while let Some(told) = self.fanout.next_announcement() {
            let Announcement { member: MemberId(member), channel, is_member } = told;
            let channel = names().iter().position(|name| **name == *channel).unwrap();
            if is_member {
                let seen = self.members.get_mut(&(channel, member)).expect("still a member");
                assert!(!seen.told, "told twice");
                seen.told = true;
                seen.ordered_before = self.ordered[channel].len() as u64;
            } else {
                let seen = self.members.remove(&(channel, member)).expect("was a member");
                assert!(!seen.told, "told that it had joined, and then that it had not");
                self.refusals += 1;
            }
        }
        assert!(!self.fanout.has_announcements());
        while self.fanout.has_work() {
            let Some(delivery) = self.fanout.next() else { continue };
            let (MemberId(member), id) = (delivery.member, delivery.channel);
            let frames = delivery.frames.to_vec();
            let name = self.fanout.name(id).to_owned();
            let channel = names().iter().position(|known| *known == name).unwrap();
            let seen = self.members.get_mut(&(channel, member)).expect("a member");
            assert!(seen.told, "delivered before it was told");
            seen.heard.extend(frames);
        }
    }

    /// Handles everything, and compares.
    fn finish(&mut self) {
        for _ in 0..3 {
            self.tell();
            while !self.to_home.is_empty() || !self.to_shard.is_empty() {
                self.home();
                self.shard();
            }
            self.turn();
        }
        for (&(channel, member), seen) in &self.members {
            assert!(seen.told, "member {member} of channel {channel} never heard of its join");
            let ordered = &self.ordered[channel];
            let heard_from = ordered.len() - seen.heard.len();
            assert_eq!(seen.heard, ordered[heard_from..], "in one piece, to the end");
            assert!(
                heard_from as u64 <= seen.ordered_before,
                "nothing after it was told is missed"
            );
        }
    }
}

/// The first names of each letter whose home is the second of two shards.
fn names() -> &'static [String; NAMES.len()] {
    static FOUND: std::sync::OnceLock<[String; NAMES.len()]> = std::sync::OnceLock::new();
    FOUND.get_or_init(|| {
        NAMES.map(|name| {
            let mut numbered = (0..).map(|number| format!("{name}{number}"));
            let homes = Homes::dealt(2);
            numbered.find(|name| homes.home_of_channel(name) == ShardId::new(1)).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn a_member_is_told_once_and_misses_nothing_from_then_on(
        steps in prop::collection::vec(moves(), 0..300),
    ) {
        let mut model = Model::new(100);
        for step in &steps {
            model.step(*step);
        }
        model.finish();
        prop_assert_eq!(model.refusals, 0);
    }

    #[test]
    fn a_home_with_room_for_two_refuses_the_others_and_keeps_its_word(
        steps in prop::collection::vec(moves(), 0..300),
    ) {
        let mut model = Model::new(2);
        for step in &steps {
            model.step(*step);
        }
        model.finish();
        let known: std::collections::BTreeSet<_> =
            model.members.keys().map(|(channel, _)| channel).collect();
        prop_assert!(known.len() <= 2, "the home knows two channels");
    }
}

/// The shard's only member of a channel, asked about but not answered.
fn asked(fanout: &mut Fanout<u64>) -> u32 {
    fanout.join("a", MemberId(7)).unwrap();
    let mut asked = None;
    fanout.drain_changes(ShardId::new(0), |change| {
        asked = Some(change.ask);
        Told::Sent
    });
    asked.expect("the home is asked")
}

#[test]
fn an_answer_to_an_earlier_question_is_not_taken_for_the_present_one() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let first = asked(&mut fanout);
    fanout.leave_all(MemberId(7), |_, _| {});
    fanout.drain_changes(ShardId::new(0), |_| Told::Sent);
    let second = asked(&mut fanout);
    assert!(!fanout.answered("a", first, Answer::Confirmed));
    assert_eq!((fanout.next_announcement(), fanout.receiving("a")), (None, None));
    assert!(!fanout.answered("a", first, Answer::Refused));
    assert!(fanout.answered("a", second, Answer::Confirmed));
    assert!(fanout.next_announcement().is_some() && fanout.receiving("a").is_some());
}

#[test]
fn who_left_and_came_back_before_it_was_told_is_told_once() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let ask = asked(&mut fanout);
    fanout.answered("a", ask, Answer::Confirmed);
    let id = fanout.find("a").unwrap();
    fanout.leave(id, MemberId(7));
    fanout.join("a", MemberId(7)).unwrap();
    let told = Announcement { member: MemberId(7), channel: "a".into(), is_member: true };
    assert_eq!(fanout.next_announcement(), Some(told));
    assert_eq!(fanout.next_announcement(), None);
}

#[test]
fn a_refused_channel_is_forgotten_when_its_last_member_was_told() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let ask = asked(&mut fanout);
    fanout.join("a", MemberId(8)).unwrap();
    assert!(fanout.answered("a", ask, Answer::Refused));
    fanout.join("a", MemberId(9)).unwrap();
    let mut told = Vec::new();
    while let Some(next) = fanout.next_announcement() {
        assert!(!next.is_member);
        told.push(next.member.0);
    }
    told.sort_unstable();
    assert_eq!(told, [7, 8, 9]);
    assert_eq!((fanout.channel_count(), fanout.membership_count()), (0, 0));
    assert!(!fanout.has_changes(ShardId::new(0)), "the home knows of none");
}
