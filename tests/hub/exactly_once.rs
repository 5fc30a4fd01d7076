//! Claim: whatever the interleaving of joins, leaves, publications, losses and turns, a member
//! gets exactly the frames queued while it was a member, once and in order, and is told of losses
//! where they happened. The model delivers at once: it keeps for each member what it is owed.

use super::{MEMBERS_MAX, fanout, settle};
use longwire::hub::{
    Answer, Chain, ChannelId, Delivery, Fanout, FanoutBounds, InterestChange, JoinError, MemberId,
    ShardId, Told,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, VecDeque};

const NAMES: [&str; 3] = ["a", "b", "c"];
const MEMBERS: u32 = 12;
const SHARDS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Move {
    Join(usize, u32),
    Leave(usize, u32),
    LeaveAll(u32),
    Deliver(usize, usize),
    Miss(usize, u64),
    Turn(u32),
    Tell(usize, u32),
}

fn moves() -> impl Strategy<Value = Move> {
    let channel = || 0..NAMES.len();
    prop_oneof![
        6 => (channel(), 0..MEMBERS).prop_map(|(c, m)| Move::Join(c, m)),
        4 => (channel(), 0..MEMBERS).prop_map(|(c, m)| Move::Leave(c, m)),
        1 => (0..MEMBERS).prop_map(Move::LeaveAll),
        8 => (channel(), 0..9_usize).prop_map(|(c, bytes)| Move::Deliver(c, bytes)),
        1 => (channel(), 0..4_u64).prop_map(|(c, missed)| Move::Miss(c, missed)),
        8 => (0..8_u32).prop_map(Move::Turn),
        2 => (0..SHARDS, 0..3_u32).prop_map(|(home, n)| Move::Tell(home, n)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Owed {
    Frame(u32),
    Loss,
}

#[derive(Default)]
struct Member {
    owed: VecDeque<Owed>,
    lost: u64,
    told: u64,
}

type Channel = BTreeMap<u32, Member>;

struct Model {
    fanout: Fanout<u32>,
    bounds: FanoutBounds,
    channels: [Channel; NAMES.len()],
    /// Whether the home was told last that there are members.
    homes: [bool; NAMES.len()],
    /// What each chain was when it was first seen.
    chains: HashMap<(ChannelId, Chain), Vec<u32>>,
    frame: u32,
}

impl Model {
    fn new(bounds: FanoutBounds) -> Self {
        Self {
            fanout: fanout(SHARDS, bounds),
            bounds,
            channels: Default::default(),
            homes: Default::default(),
            chains: HashMap::new(),
            frame: 0,
        }
    }

    fn step(&mut self, step: Move) {
        match step {
            Move::Join(channel, member) => self.join(channel, member),
            Move::Leave(channel, member) => {
                let left = self.channels[channel].remove(&member).is_some();
                match self.fanout.find(NAMES[channel]) {
                    Some(id) => assert_eq!(self.fanout.leave(id, MemberId(member)).is_some(), left),
                    None => assert!(!left, "a channel with members was not found"),
                }
            }
            Move::LeaveAll(member) => {
                let left = self.channels.iter_mut().filter_map(|c| c.remove(&member)).count();
                assert_eq!(self.fanout.leave_all(MemberId(member), |_, _| {}) as usize, left);
            }
            Move::Deliver(channel, bytes) => self.deliver(channel, bytes),
            Move::Miss(channel, missed) => {
                if let Some(id) = self.fanout.find(NAMES[channel]) {
                    self.fanout.miss(id, missed);
                    lose(&mut self.channels[channel], missed);
                }
            }
            Move::Turn(budget) => {
                for _ in 0..budget {
                    if !self.deliver_next() {
                        break;
                    }
                }
            }
            Move::Tell(home, room) => self.tell(home, room),
        }
        self.check();
    }

    fn join(&mut self, channel: usize, member: u32) {
        let joined = self.fanout.join(NAMES[channel], MemberId(member));
        if self.channels[channel].contains_key(&member) {
            assert!(matches!(joined, Err(JoinError::AlreadyMember(_))));
        } else {
            assert_eq!(joined.ok(), self.fanout.find(NAMES[channel]));
            self.channels[channel].insert(member, Member::default());
        }
    }

    fn deliver(&mut self, channel: usize, bytes: usize) {
        let Some(id) = self.fanout.find(NAMES[channel]) else { return };
        self.frame += 1;
        match self.fanout.deliver(id, self.frame, bytes) {
            Ok(count) => {
                assert_eq!(count as usize, self.channels[channel].len());
                for member in self.channels[channel].values_mut() {
                    member.owed.push_back(Owed::Frame(self.frame));
                }
            }
            Err(_) => lose(&mut self.channels[channel], 1),
        }
    }

    fn deliver_next(&mut self) -> bool {
        let Some(Delivery { channel: id, member, missed, frames, chain, .. }) = self.fanout.next()
        else {
            return false;
        };
        assert!(frames.len() <= self.bounds.run_frames_max);
        let frames = frames.to_vec();
        let known = self.chains.entry((id, chain)).or_insert_with(|| frames.clone());
        assert_eq!(*known, frames, "equal chains have equal frames");
        let name = self.fanout.name(id);
        let channel = NAMES.iter().position(|known| *known == name).unwrap();
        let member = self.channels[channel].get_mut(&member.0).expect("a member of the channel");
        member.told += missed;
        for _ in 0..missed {
            if member.owed.front() == Some(&Owed::Loss) {
                member.owed.pop_front();
            }
        }
        assert!(missed > 0 || !frames.is_empty(), "a delivery of nothing");
        for frame in frames {
            assert_eq!(member.owed.pop_front(), Some(Owed::Frame(frame)));
        }
        true
    }

    fn tell(&mut self, home: usize, mut room: u32) {
        let homes = &mut self.homes;
        self.fanout.drain_changes(ShardId::new(home), |InterestChange { channel, on, .. }| {
            if room == 0 {
                return Told::NoRoom;
            }
            room -= 1;
            let channel = NAMES.iter().position(|known| *known == channel).unwrap();
            assert_ne!(homes[channel], on, "told what it knew");
            homes[channel] = on;
            Told::Answered(Answer::Confirmed)
        });
    }

    fn check(&self) {
        for (channel, name) in NAMES.iter().enumerate() {
            let members = self.channels[channel].len();
            let found = self.fanout.find(name);
            assert_eq!(found.is_some(), members > 0);
            for member in 0..MEMBERS {
                let is_member = found.is_some_and(|id| self.fanout.is_member(id, MemberId(member)));
                assert_eq!(is_member, self.channels[channel].contains_key(&member));
            }
            assert_eq!(self.fanout.is_pending(name), self.homes[channel] != (members > 0));
        }
        let memberships: usize = self.channels.iter().map(BTreeMap::len).sum();
        assert_eq!(self.fanout.membership_count() as usize, memberships);
        let owes_frames = self.fanout.queue_bytes() > 0;
        assert!(!owes_frames || self.fanout.has_work());
    }

    fn finish(&mut self) {
        while self.fanout.has_work() {
            self.deliver_next();
        }
        assert_eq!(self.fanout.queue_bytes(), 0);
        for member in self.channels.iter().flat_map(BTreeMap::values) {
            assert!(member.owed.is_empty(), "still owed {:?}", member.owed);
            assert!(member.told >= member.lost, "told {} of {}", member.told, member.lost);
        }
        for member in 0..MEMBERS {
            self.step(Move::LeaveAll(member));
        }
        settle(&mut self.fanout, SHARDS);
        assert_eq!(self.fanout.next(), None);
        assert_eq!((self.fanout.channel_count(), self.fanout.membership_count()), (0, 0));
    }
}

fn lose(channel: &mut Channel, missed: u64) {
    for member in channel.values_mut() {
        member.lost += missed;
        member.owed.extend((0..missed).map(|_| Owed::Loss));
    }
}

fn tight() -> FanoutBounds {
    FanoutBounds {
        run_frames_max: 3,
        run_bytes_max: 12,
        channel_queue_frames_max: 6,
        channel_queue_bytes_max: 30,
        shard_queue_bytes_max: 600,
        share: 2,
        ..FanoutBounds::default()
    }
}

proptest! {
    #[test]
    fn a_member_gets_what_was_queued_while_it_was_one_once_in_order(
        steps in prop::collection::vec(moves(), 0..400),
    ) {
        for bounds in [FanoutBounds::default(), tight()] {
            let mut model = Model::new(bounds);
            for step in &steps {
                model.step(*step);
            }
            model.finish();
        }
    }

    #[test]
    fn members_who_were_there_throughout_are_told_the_exact_number_of_losses(
        steps in prop::collection::vec(moves(), 0..300),
    ) {
        let mut model = Model::new(tight());
        for channel in 0..NAMES.len() {
            for member in 0..3 {
                model.step(Move::Join(channel, 100 + member));
            }
        }
        for step in &steps {
            model.step(*step);
        }
        while model.fanout.has_work() {
            model.deliver_next();
        }
        for channel in &model.channels {
            for (_, member) in channel.range(100..) {
                prop_assert_eq!(member.told, member.lost);
            }
        }
    }
}

#[test]
fn who_leaves_in_a_run_gets_nothing_more_even_when_back_at_once() {
    for leaver in 0..5 {
        let mut fanout = fanout(1, FanoutBounds::default());
        let mut id = fanout.join("a", MemberId(0)).unwrap();
        for member in 1..5 {
            id = fanout.join("a", MemberId(member)).unwrap();
        }
        fanout.deliver(id, 'x', 1).unwrap();
        let first = [fanout.next().unwrap().member.0, fanout.next().unwrap().member.0];
        fanout.deliver(id, 'y', 1).unwrap();
        assert!(fanout.leave(id, MemberId(leaver)).is_some());
        fanout.join("a", MemberId(leaver)).unwrap();
        fanout.deliver(id, 'z', 1).unwrap();
        let mut got: BTreeMap<u32, String> = first.map(|m| (m, "x".into())).into();
        for (member, frames, _) in super::drain(&mut fanout) {
            got.entry(member).or_default().extend(frames);
        }
        for member in 0..5 {
            let before = if first.contains(&leaver) { "xz" } else { "z" };
            let expected = if member == leaver { before } else { "xyz" };
            assert_eq!(got[&member], expected, "member {member} when {leaver} left");
        }
    }
}

#[test]
fn a_connection_may_have_the_highest_index_and_none_above() {
    let mut fanout = fanout::<()>(1, FanoutBounds::default());
    assert!(fanout.join("a", MemberId(MEMBERS_MAX - 1)).is_ok());
}
