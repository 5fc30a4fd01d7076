//! The shard's half: who is in which channel here, and which frames they are still to be sent.
//!
//! A publication for a channel's members becomes part of a *run*: all frames queued when the run
//! starts go to one member after the other, so that the caller joins them into one write; what is
//! queued meanwhile waits for the next run. The caller pulls [`Delivery`] after [`Delivery`] for
//! as long as its turn allows, and the channels share the turns.
//!
//! Invariant (*fan-out*): a member gets exactly the frames queued while it was a member, once, in
//! order, or is told how many of them were lost. Who leaves gets nothing more; who comes back gets
//! nothing from before.
//!
//! A membership takes at most 24 bytes in all: 12 for it, 4 for the member's head, 5 at most in
//! the channel's list. The rest is per channel, not per member.

use super::arena::Key;
use super::backlog::{Backlog, Step};
use super::bounds::FanoutBounds;
use super::bucket::{Homes, ShardId};
use super::channel::Channel;
use super::interest::{Answer, Interest, InterestChange, Stance, Told};
use super::joining::{Announcement, Joining};
use super::memberships::Memberships;
use super::names::{NameError, Names};
use super::turns::Turns;
use crate::limits;
use std::hash::BuildHasher;

/// A connection of this shard, by its index in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A channel on this shard. Valid while it has a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(Key);

const _: () = assert!(size_of::<Option<ChannelId>>() == 4);

/// Why a member cannot join a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// It is in the channel.
    AlreadyMember(ChannelId),
    /// The name is longer than `CHANNEL_NAME_BYTES_MAX`.
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The shard holds as many channels as it may.
    ChannelsFull {
        /// How many that is.
        channels_max: u32,
    },
    /// The shard holds as many memberships as it may.
    MembershipsFull {
        /// How many that is.
        memberships_max: u32,
    },
}

impl From<NameError> for JoinError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong { bytes } => Self::NameTooLong { bytes },
            NameError::Full { channels_max } => Self::ChannelsFull { channels_max },
        }
    }
}

/// The frame does not fit what may be queued. The members will be told that they missed it, after
/// what is queued and before what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueFull {
    /// The channel's queue has no room: its members are served more slowly than it is published to.
    Channel,
    /// The queues of all the shard's channels together have no room.
    Shard,
}

/// What one member is to be sent now, as one write.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery<'a, F> {
    /// The channel it is a member of.
    pub channel: ChannelId,
    /// The member.
    pub member: MemberId,
    /// How many publications were lost to it just before `frames`.
    pub missed: u64,
    /// What it is to be sent, in order; empty only if it missed some.
    pub frames: &'a [F],
    /// Deliveries of equal chains have equal frames: joined once, sent to all.
    pub chain: Chain,
}

/// Identifies the frames of a delivery: a run, never repeated on this shard, and the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    run: u64,
    start: u32,
}

/// Events counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanoutCounters {
    /// Frames queued for a channel's members.
    pub queued: u64,
    /// Frames refused by [`QueueFull::Channel`].
    pub channel_full: u64,
    /// Frames refused by [`QueueFull::Shard`].
    pub shard_full: u64,
    /// Runs started.
    pub runs: u64,
    /// Deliveries handed out: writes, if the caller joins frames.
    pub deliveries: u64,
    /// Joins refused because channels or memberships are full.
    pub joins_refused: u64,
}

/// The members and queued frames of one shard.
pub struct Fanout<F> {
    channels: Names<Channel<F>>,
    memberships: Memberships,
    interest: Interest,
    joining: Joining,
    /// The number of the next question to a home.
    next_ask: u32,
    homes: Homes,
    bounds: FanoutBounds,
    turns: Turns,
    /// Queues of channels that went idle. Boxed in both places: it moves by its pointer.
    #[expect(clippy::vec_box, reason = "the box is what is kept")]
    spare: Vec<Box<Backlog<F>>>,
    /// What all queues are charged for.
    queue_bytes: usize,
    /// Bytes of all member lists.
    list_bytes: usize,
    counters: FanoutCounters,
}

impl<F> Fanout<F> {
    /// A shard without channels. Members are below `members_max`; `hasher` is keyed at random by
    /// the caller and never shows in what is returned.
    pub fn new(
        homes: Homes,
        members_max: u32,
        bounds: FanoutBounds,
        hasher: impl BuildHasher + Send + 'static,
    ) -> Self {
        Self {
            channels: Names::new(bounds.channels_max, hasher),
            memberships: Memberships::new(members_max),
            interest: Interest::new(homes.shard_count()),
            joining: Joining::default(),
            next_ask: 0,
            homes,
            bounds,
            turns: Turns::new(bounds.share),
            spare: Vec::new(),
            queue_bytes: 0,
            list_bytes: 0,
            counters: FanoutCounters::default(),
        }
    }

    // --- Members ----------------------------------------------------------------------------

    /// Makes `member` a member of the channel: it gets what is queued from now on, and an
    /// [`Announcement`] once the home has answered.
    ///
    /// How many channels one connection may be in is the caller's to bound.
    pub fn join(&mut self, channel: &str, member: MemberId) -> Result<ChannelId, JoinError> {
        let joined = self.try_join(channel, member);
        if joined.is_err_and(|error| !matches!(error, JoinError::AlreadyMember(_))) {
            self.counters.joins_refused += 1;
        }
        joined
    }

    fn try_join(&mut self, name: &str, member: MemberId) -> Result<ChannelId, JoinError> {
        let found = self.channels.find(name);
        if let Some(key) = found.filter(|&key| self.memberships.contains(member, key)) {
            return Err(JoinError::AlreadyMember(ChannelId(key)));
        }
        let memberships_max = self.bounds.memberships_max;
        if self.memberships.len() >= memberships_max {
            return Err(JoinError::MembershipsFull { memberships_max });
        }
        let key = match found {
            Some(key) => key,
            None => self.channels.enter(name, Channel::new(self.homes.home_of_channel(name)))?,
        };
        let channel = at_mut(&mut self.channels, key);
        if channel.members.is_empty() {
            self.interest.joined(channel.home, key, &mut channel.stance);
        }
        let list_bytes = channel.list_bytes();
        channel.append(key, member, &mut self.memberships);
        self.list_bytes += channel.list_bytes() - list_bytes;
        if channel.stance == Stance::Here {
            self.joining.joined(member, key);
        }
        Ok(ChannelId(key))
    }

    /// Ends a membership; false if there was none.
    pub fn leave(&mut self, channel: ChannelId, member: MemberId) -> bool {
        let Some(position) = self.memberships.remove(member, channel.0) else { return false };
        self.vacate(channel.0, position);
        true
    }

    /// Ends all memberships of a connection that is gone; returns how many there were.
    pub fn leave_all(&mut self, member: MemberId) -> u32 {
        let mut count = 0;
        while let Some((key, position)) = self.memberships.pop(member) {
            self.vacate(key, position);
            count += 1;
        }
        count
    }

    /// The channel of this name, if it has members here.
    pub fn find(&self, channel: &str) -> Option<ChannelId> {
        let key = self.channels.find(channel)?;
        let has_members = !at(&self.channels, key).members.is_empty();
        has_members.then_some(ChannelId(key))
    }

    /// Whether a connection is a member of a channel.
    pub fn is_member(&self, channel: ChannelId, member: MemberId) -> bool {
        self.memberships.contains(member, channel.0)
    }

    /// The name of a channel that has members here.
    pub fn name(&self, channel: ChannelId) -> &str {
        self.channels.name(channel.0)
    }

    /// How many members a channel has here.
    pub fn member_count(&self, channel: ChannelId) -> u32 {
        at(&self.channels, channel.0).member_count()
    }

    fn vacate(&mut self, key: Key, position: u32) {
        let channel = at_mut(&mut self.channels, key);
        let list_bytes = channel.list_bytes();
        channel.vacate(key, position, &mut self.memberships);
        self.list_bytes -= list_bytes - channel.list_bytes();
        if channel.members.is_empty() {
            self.interest.left(channel.home, key, &mut channel.stance);
            self.drop_backlog(key);
            self.forget_if_unused(key);
        }
    }

    fn forget_if_unused(&mut self, key: Key) {
        if at(&self.channels, key).is_unused() {
            self.channels.forget(key);
        }
    }

    // --- Interest ---------------------------------------------------------------------------

    /// Whether this home must still be told of a change.
    pub fn has_changes(&self, home: ShardId) -> bool {
        !self.interest.is_empty(home)
    }

    /// Hands the changes that wait for `home` to `tell`, until it says that one did not fit.
    /// What was told is settled; the rest waits.
    pub fn drain_changes(
        &mut self,
        home: ShardId,
        mut tell: impl FnMut(InterestChange<'_>) -> Told,
    ) {
        while let Some(key) = self.interest.next(home) {
            let on = at(&self.channels, key).stance.is_on();
            let ask = self.next_ask;
            let told = tell(InterestChange { channel: self.channels.name(key), on, ask });
            if told == Told::NoRoom {
                return;
            }
            let channel = at_mut(&mut self.channels, key);
            self.interest.told(home, key, &mut channel.stance);
            if on {
                channel.ask = ask;
                self.next_ask = ask.wrapping_add(1);
            }
            match told {
                Told::Answered(answer) if on => self.settle(key, answer),
                _ => self.forget_if_unused(key),
            }
        }
    }

    /// Takes a home's answer to the interest it was told of with the number `ask`; false if it
    /// answers a question that is not asked any more.
    pub fn answered(&mut self, channel: &str, ask: u32, answer: Answer) -> bool {
        let Some(key) = self.channels.find(channel) else { return false };
        let asked = at(&self.channels, key);
        let is_awaited = asked.stance.awaits_answer() && asked.ask == ask;
        if is_awaited {
            self.settle(key, answer);
        }
        is_awaited
    }

    fn settle(&mut self, key: Key, answer: Answer) {
        let channel = at_mut(&mut self.channels, key);
        self.interest.answered(channel.home, key, &mut channel.stance, answer);
        match channel.stance {
            Stance::Here => {
                for &member in &channel.members {
                    self.joining.joined(member, key);
                }
            }
            Stance::Refused => self.joining.refused(key),
            _ => self.forget_if_unused(key),
        }
    }

    /// Whether a member is to hear what became of its join. It does before anything is delivered.
    pub fn has_announcements(&self) -> bool {
        !self.joining.is_empty()
    }

    /// The next member to hear what became of its join.
    pub fn next_announcement(&mut self) -> Option<Announcement> {
        while let Some((member, key)) = self.joining.next_joined() {
            let is_known = self.channels.get(key).is_some_and(|one| one.stance == Stance::Here);
            if is_known && self.memberships.end_wait(member, key) {
                let channel = self.channels.name(key).into();
                return Some(Announcement { member, channel, is_member: true });
            }
        }
        loop {
            let key = self.joining.first_refused()?;
            let refused = self.channels.get(key).filter(|one| one.stance == Stance::Refused);
            let Some(&member) = refused.and_then(|channel| channel.members.last()) else {
                self.joining.end_refused();
                continue;
            };
            let channel = self.channels.name(key).into();
            self.leave(ChannelId(key), member);
            return Some(Announcement { member, channel, is_member: false });
        }
    }

    /// The channel of this name, if what its home sends now is for its members: they joined, and
    /// the home has confirmed that it knows. What comes otherwise was sent to an interest that
    /// has ended.
    pub fn receiving(&self, channel: &str) -> Option<ChannelId> {
        let key = self.channels.find(channel)?;
        (at(&self.channels, key).stance == Stance::Here).then_some(ChannelId(key))
    }

    /// Whether the home does not know yet that members came to the channel, or that they left.
    ///
    /// A publication that overtakes such a change would miss its own publisher: drain the changes
    /// for that home first, and hold the publication back while this still says true.
    pub fn is_pending(&self, channel: &str) -> bool {
        let found = self.channels.find(channel);
        found.is_some_and(|key| at(&self.channels, key).stance.is_pending())
    }

    // --- Frames -----------------------------------------------------------------------------

    /// Queues a frame for all who are members of the channel now; returns how many they are.
    ///
    /// An empty queue takes any one frame, so that no frame is too large for ever.
    pub fn deliver(
        &mut self,
        channel: ChannelId,
        frame: F,
        frame_bytes: usize,
    ) -> Result<u32, QueueFull> {
        let (bounds, queue_bytes) = (self.bounds, self.queue_bytes);
        let (backlog, end) = self.backlog_mut(channel.0);
        let charge_max = frame_bytes.saturating_add(Backlog::<F>::OVERHEAD_BYTES_MAX);
        if !backlog.has_room(frame_bytes, &bounds) {
            backlog.lose(1, end);
            self.counters.channel_full += 1;
            return Err(QueueFull::Channel);
        }
        if queue_bytes > 0 && queue_bytes.saturating_add(charge_max) > bounds.shard_queue_bytes_max
        {
            backlog.lose(1, end);
            self.counters.shard_full += 1;
            return Err(QueueFull::Shard);
        }
        let charged_before = backlog.charged_bytes();
        backlog.push(frame, frame_bytes, end);
        let charge = backlog.charged_bytes() - charged_before;
        self.queue_bytes += charge;
        self.counters.queued += 1;
        Ok(end)
    }

    /// The home sent a gap: all who are members now will be told that they missed this many.
    pub fn miss(&mut self, channel: ChannelId, missed: u64) {
        if missed > 0 {
            let (backlog, end) = self.backlog_mut(channel.0);
            backlog.lose(missed, end);
        }
    }

    /// Whether [`next`](Self::next) has something to do. A shard does not sleep while it has.
    pub fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// What to send next. `None`: no more in this turn, and [`has_work`](Self::has_work) says
    /// whether in another. Frames are released by a later call than the one that hands them out
    /// last.
    #[expect(clippy::should_implement_trait, reason = "a delivery borrows from the hub")]
    pub fn next(&mut self) -> Option<Delivery<'_, F>> {
        let mut skips_left = limits::FANOUT_SKIPS_MAX;
        let (key, step) = loop {
            let key = self.turns.current()?;
            if let Some(step) = self.step(key) {
                break (key, step);
            }
            skips_left -= 1;
            if skips_left == 0 {
                return None;
            }
        };
        self.turns.spend();
        self.counters.deliveries += 1;
        let channel = at(&self.channels, key);
        let backlog = channel.backlog.as_ref().expect("it has just made a step");
        Some(Delivery {
            channel: ChannelId(key),
            member: channel.members[step.position as usize],
            missed: step.missed,
            frames: backlog.frames(step),
            chain: Chain {
                run: step.run,
                start: u32::try_from(step.start).expect("a run has few frames"),
            },
        })
    }

    /// What the next member of the current channel gets. `None`: the channel has nothing for
    /// anybody now, and the turn is another's.
    fn step(&mut self, key: Key) -> Option<Step> {
        let Some(backlog) = &mut at_mut(&mut self.channels, key).backlog else {
            // All members left while it waited for its turn.
            self.retire(key);
            return None;
        };
        if !backlog.has_run() {
            backlog.start_run(self.counters.runs, &self.bounds);
            self.counters.runs += 1;
        }
        if let Some(step) = backlog.step() {
            return Some(step);
        }
        self.queue_bytes -= backlog.charged_bytes();
        backlog.end_run();
        self.queue_bytes += backlog.charged_bytes();
        if backlog.is_empty() {
            self.drop_backlog(key);
            self.retire(key);
        } else {
            self.turns.pass();
        }
        None
    }

    /// The channel's queue, made if it has none, and the end of what is queued now.
    fn backlog_mut(&mut self, key: Key) -> (&mut Backlog<F>, u32) {
        let channel = at_mut(&mut self.channels, key);
        let end = channel.member_count();
        assert!(end > 0, "the id of a channel is valid while it has a member");
        if !channel.has_turn {
            channel.has_turn = true;
            self.turns.add(key);
        }
        let spare = &mut self.spare;
        let backlog = channel
            .backlog
            .get_or_insert_with(|| spare.pop().unwrap_or_else(|| Box::new(Backlog::new())));
        (backlog, end)
    }

    /// Releases what is queued in a channel.
    fn drop_backlog(&mut self, key: Key) {
        let Some(mut backlog) = at_mut(&mut self.channels, key).backlog.take() else { return };
        self.queue_bytes -= backlog.charged_bytes();
        if self.spare.len() < limits::BACKLOGS_SPARE_MAX {
            backlog.reset(&self.bounds);
            self.spare.push(backlog);
        }
    }

    /// The current channel has nothing to send any more.
    fn retire(&mut self, key: Key) {
        self.turns.retire();
        at_mut(&mut self.channels, key).has_turn = false;
        self.forget_if_unused(key);
    }

    // --- Figures ----------------------------------------------------------------------------

    /// Channels known here: those with members, and those whose home must still be told.
    pub fn channel_count(&self) -> u32 {
        self.channels.len()
    }

    /// Memberships here.
    pub fn membership_count(&self) -> u32 {
        self.memberships.len()
    }

    /// Bytes that all queued frames are charged for.
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Bytes of memory that grow with channels, members and queues. Neither what frames point to
    /// is in it, nor what [`new`](Self::new) allocates. Looks at every page: for a scrape, not for
    /// a turn.
    pub fn memory_bytes(&self) -> usize {
        let queues = self.turns.iter().filter_map(|key| at(&self.channels, key).backlog.as_ref());
        let queue_bytes: usize = queues.chain(&self.spare).map(|queue| queue.memory_bytes()).sum();
        self.channels.memory_bytes()
            + self.memberships.memory_bytes()
            + self.list_bytes
            + self.turns.memory_bytes()
            + queue_bytes
    }

    /// What was counted so far.
    pub fn counters(&self) -> FanoutCounters {
        self.counters
    }
}

fn at<F>(channels: &Names<Channel<F>>, key: Key) -> &Channel<F> {
    channels.get(key).expect("a channel is kept while it has members or a place in a queue")
}

fn at_mut<F>(channels: &mut Names<Channel<F>>, key: Key) -> &mut Channel<F> {
    channels.get_mut(key).expect("a channel is kept while it has members or a place in a queue")
}
