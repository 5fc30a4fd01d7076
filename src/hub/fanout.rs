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
use super::bucket::Homes;
use super::channel::Channel;
use super::holds::Holds;
use super::interest::Interest;
use super::joining::Joining;
use super::memberships::Memberships;
use super::names::{NameError, Names};
use super::reading::{Filters, Wording, wording};
use super::turns::{Runs, Turns};
use crate::limits;
use std::hash::BuildHasher;

/// A connection of this shard, by its index in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A channel on this shard. Valid while it has a member, or is held for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(super) Key);

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
    /// Whether they tell of others coming and going, and are no publications.
    pub tells_joins: bool,
    /// How the member is to read them.
    pub wording: Wording<'a>,
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
    pub(super) channels: Names<Channel<F>>,
    pub(super) memberships: Memberships,
    pub(super) interest: Interest,
    pub(super) joining: Joining,
    pub(super) holds: Holds,
    pub(super) filters: Filters,
    /// The number of the next question to a home.
    pub(super) next_ask: u32,
    pub(super) homes: Homes,
    pub(super) bounds: FanoutBounds,
    pub(super) turns: Turns,
    /// Queues of channels that went idle. Boxed in both places: it moves by its pointer.
    #[expect(clippy::vec_box, reason = "the box is what is kept")]
    pub(super) spare: Vec<Box<Backlog<F>>>,
    /// What all queues are charged for.
    pub(super) queue_bytes: usize,
    /// Bytes of all member lists.
    pub(super) list_bytes: usize,
    pub(super) counters: FanoutCounters,
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
            holds: Holds::default(),
            filters: Filters::default(),
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

    // --- Frames -----------------------------------------------------------------------------

    /// Queues a frame for all who are members of the channel now; returns how many they are.
    ///
    /// An empty queue takes any one frame, so that no frame is too large for ever. A channel that
    /// is only held takes nothing: what its members to come are owed begins with their answers.
    pub fn deliver(
        &mut self,
        channel: ChannelId,
        frame: F,
        frame_bytes: usize,
    ) -> Result<u32, QueueFull> {
        if at(&self.channels, channel.0).members.is_empty() {
            return Ok(0);
        }
        if let Err(full) = self.check_room(channel.0, frame_bytes) {
            let (backlog, end) = self.backlog_mut(channel.0);
            backlog.lose(1, end);
            return Err(full);
        }
        Ok(self.queue(channel.0, frame, frame_bytes, false))
    }

    /// The same for a frame that tells of others' coming and going: it is only for members who
    /// hear of that, and nobody is told when it is lost.
    pub fn tell(
        &mut self,
        channel: ChannelId,
        frame: F,
        frame_bytes: usize,
    ) -> Result<(), QueueFull> {
        if !at(&self.channels, channel.0).members.is_empty() {
            self.check_room(channel.0, frame_bytes)?;
            self.queue(channel.0, frame, frame_bytes, true);
        }
        Ok(())
    }

    fn check_room(&mut self, key: Key, frame_bytes: usize) -> Result<(), QueueFull> {
        let backlog = at(&self.channels, key).backlog.as_ref();
        if !backlog.is_none_or(|backlog| backlog.has_room(frame_bytes, &self.bounds)) {
            self.counters.channel_full += 1;
            return Err(QueueFull::Channel);
        }
        let charge_max = frame_bytes.saturating_add(Backlog::<F>::OVERHEAD_BYTES_MAX);
        let all_bytes = self.queue_bytes.saturating_add(charge_max);
        if self.queue_bytes > 0 && all_bytes > self.bounds.shard_queue_bytes_max {
            self.counters.shard_full += 1;
            return Err(QueueFull::Shard);
        }
        Ok(())
    }

    fn queue(&mut self, key: Key, frame: F, frame_bytes: usize, for_hearers: bool) -> u32 {
        let (backlog, end) = self.backlog_mut(key);
        let charged_before = backlog.charged_bytes();
        backlog.push(frame, frame_bytes, end, for_hearers);
        let charge = backlog.charged_bytes() - charged_before;
        self.queue_bytes += charge;
        self.counters.queued += 1;
        end
    }

    /// The home sent a gap: all who are members now will be told that they missed this many.
    pub fn miss(&mut self, channel: ChannelId, missed: u64) {
        if missed > 0 && !at(&self.channels, channel.0).members.is_empty() {
            let (backlog, end) = self.backlog_mut(channel.0);
            backlog.lose(missed, end);
        }
    }

    /// Whether [`next`](Self::next) has something to do. A shard does not sleep while it has.
    pub fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The same of channels with few members here.
    pub fn has_short_work(&self) -> bool {
        self.turns.has_short()
    }

    /// The same of channels with many members here.
    pub fn has_long_work(&self) -> bool {
        self.turns.has_long()
    }

    /// What to send next. `None`: no more in this turn, and [`has_work`](Self::has_work) says
    /// whether in another. Frames are released by a later call than the one that hands them out
    /// last.
    #[expect(clippy::should_implement_trait, reason = "a delivery borrows from the hub")]
    pub fn next(&mut self) -> Option<Delivery<'_, F>> {
        self.next_of(Runs::All)
    }

    /// The same of these channels only.
    pub fn next_of(&mut self, runs: Runs) -> Option<Delivery<'_, F>> {
        let mut skips_left = limits::FANOUT_SKIPS_MAX;
        let (key, step) = loop {
            let key = self.turns.current(runs)?;
            let member_count = at(&self.channels, key).member_count();
            let is_allowed = self.turns.allow(member_count, runs);
            if let Some(step) = is_allowed.then(|| self.step(key)).flatten() {
                break (key, step);
            }
            skips_left -= 1;
            if skips_left == 0 {
                return None;
            }
        };
        self.turns.spend();
        self.counters.deliveries += 1;
        let Channel { members, backlog, .. } = at_mut(&mut self.channels, key);
        let listed = &mut members[step.position as usize];
        let backlog = backlog.as_ref().expect("it has just made a step");
        Some(Delivery {
            channel: ChannelId(key),
            member: listed.member(),
            missed: step.missed,
            frames: backlog.frames(step),
            tells_joins: step.for_hearers,
            wording: wording(listed, step, |member| self.filters.of(key, member)),
            chain: Chain {
                run: step.run,
                start: u32::try_from(step.start).expect("a run has few frames"),
            },
        })
    }

    /// What the next member of the current channel gets. `None`: the channel has nothing for
    /// anybody now, and the turn is another's.
    fn step(&mut self, key: Key) -> Option<Step> {
        let Channel { backlog, members, .. } = at_mut(&mut self.channels, key);
        let Some(backlog) = backlog else {
            // All members left while it waited for its turn.
            self.retire(key);
            return None;
        };
        if !backlog.has_run() {
            backlog.start_run(self.counters.runs, &self.bounds);
            self.counters.runs += 1;
        }
        let mut looks_left = limits::HEARERS_LOOKS_MAX;
        while let Some(step) = backlog.step() {
            if !step.for_hearers || members[step.position as usize].hears_joins() {
                return Some(step);
            }
            if let Some(step) = step.without_frames() {
                return Some(step);
            }
            looks_left -= 1;
            if looks_left == 0 {
                self.turns.pass();
                return None;
            }
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
        assert!(end > 0, "the callers look whether there are members");
        if !channel.has_turn {
            channel.has_turn = true;
            self.turns.add(key, end);
        }
        let spare = &mut self.spare;
        let backlog = channel
            .backlog
            .get_or_insert_with(|| spare.pop().unwrap_or_else(|| Box::new(Backlog::new())));
        (backlog, end)
    }

    /// Releases what is queued in a channel.
    pub(super) fn drop_backlog(&mut self, key: Key) {
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

    /// Members to come for whom channels are held.
    #[cfg(test)]
    pub(crate) fn hold_count(&self) -> u32 {
        self.holds.count()
    }

    /// Bytes that all queued frames are charged for.
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Bytes of memory that grow with channels, members and queues. Neither what frames point to
    /// is in it, nor what [`new`](Self::new) allocates.
    pub fn memory_bytes(&self) -> usize {
        self.channel_bytes()
            + self.subscription_bytes()
            + self.member_bytes()
            + self.queued_memory_bytes()
    }

    /// Those of names and states of channels.
    pub fn channel_bytes(&self) -> usize {
        self.channels.memory_bytes()
    }

    /// Those of the channels of each member. Looks at every page: for a scrape, not for a turn.
    pub fn subscription_bytes(&self) -> usize {
        self.memberships.memory_bytes()
    }

    /// Those of the members of each channel.
    pub fn member_bytes(&self) -> usize {
        self.list_bytes
    }

    /// Those of queues of frames.
    pub fn queued_memory_bytes(&self) -> usize {
        let queues = self.turns.iter().filter_map(|key| at(&self.channels, key).backlog.as_ref());
        let queue_bytes: usize = queues.chain(&self.spare).map(|queue| queue.memory_bytes()).sum();
        self.turns.memory_bytes() + queue_bytes
    }

    /// What was counted so far.
    pub fn counters(&self) -> FanoutCounters {
        self.counters
    }
}

pub(super) fn at<F>(channels: &Names<Channel<F>>, key: Key) -> &Channel<F> {
    channels
        .get(key)
        .expect("a channel is kept while it has members, is held or has a place in a queue")
}

pub(super) fn at_mut<F>(channels: &mut Names<Channel<F>>, key: Key) -> &mut Channel<F> {
    channels
        .get_mut(key)
        .expect("a channel is kept while it has members, is held or has a place in a queue")
}
