//! The home's half: publications of a channel to one sequence, and to the shards that want them.
//!
//! The hub numbers a publication and names its targets; the caller queues it to each. A target
//! whose queue refused it is *lagging* in that channel: what follows is counted, not queued, until
//! a [`Gap`] with the count has found room.
//!
//! ```text
//! in step ── the queue refused ──▶ lagging (missed += 1 per publication)
//!         ◀── the gap is queued ── or all that was missed, from the channel's stream
//! ```
//!
//! Invariants (*order*): a shard with interest is sent each publication of the channel in sequence
//! order, with no hole except where a gap, queued in the same order, counts it. Of a lag that
//! stands at an offset, all that was missed are the publications of the stream behind it.
//!
//! A channel exists here while some shard is interested. When the last one is not, it is forgotten
//! and its sequence starts at 1 again.

use super::arena::Key;
use super::bucket::ShardId;
use super::names::{NameError, Names};
use super::rotation::Rotation;
use super::shard_set::ShardSet;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

/// A channel at its home. Valid while a shard is interested in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HomeChannelId(Key);

/// Why a home cannot note a shard's interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderError {
    /// The name is longer than `CHANNEL_NAME_BYTES_MAX`.
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// This home keeps as many channels as it may.
    ChannelsFull {
        /// How many that is.
        channels_max: u32,
    },
}

impl From<NameError> for OrderError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong { bytes } => Self::NameTooLong { bytes },
            NameError::Full { channels_max } => Self::ChannelsFull { channels_max },
        }
    }
}

/// A publication that has its place: queue it to each of `targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The channel, for [`Order::lagging`].
    pub channel: HomeChannelId,
    /// Its number in the channel, from 1.
    pub sequence: u64,
    /// Its place in the channel's stream, if it is in it.
    pub offset: Option<u64>,
    /// The interested shards that are in step.
    pub targets: ShardSet,
    /// Whether some of its members read another form of it than the published one.
    pub in_both_forms: bool,
    /// If some of its members take deltas, whether there is what to compare it with.
    pub deltas: Option<Follows>,
}

/// Whether a publication follows the channel's last one in its stream too. Then that is what all
/// who got it have, and what it can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It does.
    Last,
    /// One of the two is not in the stream, or nobody has taken deltas before.
    Nothing,
}

/// What a lagging shard is to be told, or sent, before it is in step again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair<'a> {
    /// The channel, for [`Order::repaired`] and [`Order::resent`].
    pub channel: HomeChannelId,
    /// Its name, for the shard.
    pub name: &'a str,
    /// How many publications were not queued.
    pub missed: u64,
    /// The number of the last one missed: the shard's next is one more.
    pub sequence: u64,
    /// The offset of the last one it was sent, if all that it has missed since are in the stream.
    pub since: Option<u64>,
}

/// Events counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounters {
    /// Publications that were given a sequence.
    pub published: u64,
    /// Publications to channels in which no shard is interested.
    pub unheard: u64,
    /// Publications × shards that a gap stands for.
    pub missed: u64,
    /// Gaps that were opened by a full queue.
    pub gaps: u64,
    /// Of the missed, those that were sent later, from the channel's stream.
    pub resent: u64,
    /// Interest refused because the home is full.
    pub refused: u64,
}

/// The channels of one home.
pub struct Order {
    channels: Names<Ordered>,
    /// Per shard, the channels in which it lags.
    lagging: Box<[Rotation]>,
    /// The channels whose publications are read in both of their forms, if there are any.
    both_forms: BTreeSet<Key>,
    /// The channels with members who take deltas, and for each the offset of its last publication
    /// if that is in its stream.
    deltas: BTreeMap<Key, Option<u64>>,
    /// The shards with members who hear of others' coming and going, where there are any.
    hearers: BTreeMap<Key, ShardSet>,
    counters: OrderCounters,
}

struct Ordered {
    sequence: u64,
    interested: ShardSet,
    /// The shards that lag: none at all in nearly every channel.
    lags: Vec<Lag>,
}

struct Lag {
    shard: ShardId,
    missed: u64,
    /// The offset of the last publication it was sent. None once it has missed one without.
    since: Option<u64>,
}

const _: () = assert!(size_of::<Ordered>() <= 48); // up to 2 Mi of them

impl Order {
    /// A home without channels, among `shard_count` shards. `hasher` is keyed at random by the
    /// caller and never shows in what is returned.
    pub fn new(
        shard_count: usize,
        channels_max: u32,
        hasher: impl BuildHasher + Send + 'static,
    ) -> Self {
        Self {
            channels: Names::new(channels_max, hasher),
            lagging: (0..shard_count).map(|_| Rotation::default()).collect(),
            both_forms: BTreeSet::new(),
            deltas: BTreeMap::new(),
            hearers: BTreeMap::new(),
            counters: OrderCounters::default(),
        }
    }

    /// Notes that `shard` has members in the channel; returns the sequence so far: the shard is
    /// sent what follows. Repeating it changes nothing.
    pub fn interested(&mut self, channel: &str, shard: ShardId) -> Result<u64, OrderError> {
        let key = match self.channels.find(channel) {
            Some(key) => key,
            None => self.channels.enter(channel, Ordered::new()).inspect_err(|_| {
                self.counters.refused += 1;
            })?,
        };
        let ordered = at_mut(&mut self.channels, key);
        ordered.interested.insert(shard);
        Ok(ordered.sequence)
    }

    /// Whether `shard` has members in the channel, as far as it has said.
    pub fn has_members(&self, channel: &str) -> bool {
        let ordered = self.channels.find(channel).and_then(|key| self.channels.get(key));
        ordered.is_some_and(|ordered| !ordered.interested.is_empty())
    }

    /// Whether this shard has.
    pub fn is_interested(&self, channel: &str, shard: ShardId) -> bool {
        let ordered = self.channels.find(channel).and_then(|key| self.channels.get(key));
        ordered.is_some_and(|ordered| ordered.interested.contains(shard))
    }

    /// Whether `shard` has members in the channel, and is sent what is published there at once.
    pub fn is_in_step(&self, channel: &str, shard: ShardId) -> bool {
        let ordered = self.channels.find(channel).and_then(|key| self.channels.get(key));
        ordered.is_some_and(|ordered| ordered.in_step().contains(shard))
    }

    /// The offset up to which `shard` was sent the channel's stream, where it lags and the rest
    /// will follow from there; all of it otherwise.
    pub fn view(&self, channel: &str, shard: ShardId) -> u64 {
        let ordered = self.channels.find(channel).and_then(|key| self.channels.get(key));
        let lag = ordered.and_then(|ordered| Some(&ordered.lags[ordered.lag_index(shard)?]));
        lag.and_then(|lag| lag.since).unwrap_or(u64::MAX)
    }

    /// Notes that `shard` has no members in the channel any more, and needs no gap either. True if
    /// no shard has: the channel is forgotten.
    pub fn uninterested(&mut self, channel: &str, shard: ShardId) -> bool {
        let Some(key) = self.channels.find(channel) else { return false };
        let ordered = at_mut(&mut self.channels, key);
        ordered.interested.remove(shard);
        if let Some(index) = ordered.lag_index(shard) {
            ordered.lags.swap_remove(index);
            self.lagging[shard.index()].remove(key);
        }
        let is_over = ordered.interested.is_empty();
        if let Some(hearers) = self.hearers.get_mut(&key) {
            hearers.remove(shard);
        }
        if is_over {
            self.both_forms.remove(&key);
            self.deltas.remove(&key);
            self.hearers.remove(&key);
            self.channels.forget(key);
        }
        is_over
    }

    /// Notes that members of the channel read another form of its publications than that in which
    /// they come. It holds until the channel is forgotten.
    pub fn needs_both_forms(&mut self, channel: &str) {
        self.both_forms.extend(self.channels.find(channel));
    }

    /// Whether publications of the channel are read in both of their forms.
    pub fn is_read_in_both_forms(&self, channel: &str) -> bool {
        self.channels.find(channel).is_some_and(|key| self.both_forms.contains(&key))
    }

    /// Notes that members of the channel take deltas. It holds until the channel is forgotten.
    pub fn needs_deltas(&mut self, channel: &str) {
        if let Some(key) = self.channels.find(channel) {
            self.deltas.entry(key).or_default();
        }
    }

    /// The shards that are interested in a channel.
    pub fn interested_shards(&self, channel: &str) -> ShardSet {
        let ordered = self.channels.find(channel).and_then(|key| self.channels.get(key));
        ordered.map(|ordered| ordered.interested).unwrap_or_default()
    }

    /// Notes that an interested shard has members who hear of others' coming and going. It holds
    /// until the shard is not interested any more.
    pub fn hears_joins(&mut self, channel: &str, shard: ShardId) {
        if let Some(key) = self.channels.find(channel) {
            self.hearers.entry(key).or_default().insert(shard);
        }
    }

    /// The shards with members who hear of others' coming and going.
    pub fn hearers(&self, channel: &str) -> ShardSet {
        let key = self.channels.find(channel);
        key.and_then(|key| self.hearers.get(&key)).copied().unwrap_or_default()
    }

    /// Gives the next publication of the channel its place; it has an `offset` if it goes into the
    /// channel's stream. `None`: nobody is interested.
    pub fn publish(&mut self, channel: &str, offset: Option<u64>) -> Option<Published> {
        let Some(key) = self.channels.find(channel) else {
            self.counters.unheard += 1;
            return None;
        };
        let ordered = at_mut(&mut self.channels, key);
        ordered.sequence += 1;
        self.counters.published += 1;
        for lag in &mut ordered.lags {
            lag.missed += 1;
            lag.since = lag.since.filter(|_| offset.is_some());
            self.counters.missed += 1;
        }
        let targets = ordered.in_step();
        let (channel, sequence) = (HomeChannelId(key), ordered.sequence);
        let in_both_forms = self.both_forms.contains(&key);
        let deltas = self.deltas.get_mut(&key).map(|last| {
            let follows = last.is_some_and(|last| offset == Some(last + 1));
            *last = offset;
            if follows { Follows::Last } else { Follows::Nothing }
        });
        Some(Published { channel, sequence, offset, targets, in_both_forms, deltas })
    }

    /// The publication just made could not be queued to `shard`, one of its targets.
    pub fn lagging(&mut self, published: &Published, shard: ShardId) {
        let Published { channel, offset, .. } = *published;
        let ordered = at_mut(&mut self.channels, channel.0);
        assert!(ordered.interested.contains(shard), "{shard:?} was no target");
        assert!(ordered.lag_index(shard).is_none(), "{shard:?} was no target: it lags already");
        ordered.lags.push(Lag { shard, missed: 1, since: offset.map(|offset| offset - 1) });
        self.lagging[shard.index()].insert(channel.0);
        self.counters.missed += 1;
        self.counters.gaps += 1;
    }

    /// Whether `shard` lags in any channel.
    pub fn has_repairs(&self, shard: ShardId) -> bool {
        !self.lagging[shard.index()].is_empty()
    }

    /// The gap to queue to `shard` next, channel after channel. It stays the next one until
    /// [`repaired`](Self::repaired) says that it was queued, or [`resent`](Self::resent) what of it
    /// was.
    pub fn next_repair(&self, shard: ShardId) -> Option<Repair<'_>> {
        let key = self.lagging[shard.index()].next()?;
        let ordered = self.channels.get(key).expect("lagging channels are kept");
        let index = ordered.lag_index(shard).expect("listed as lagging");
        let Lag { missed, since, .. } = ordered.lags[index];
        Some(Repair {
            channel: HomeChannelId(key),
            name: self.channels.name(key),
            missed,
            sequence: ordered.sequence,
            since,
        })
    }

    /// The next publications that `shard` has missed, so many, were queued to it from the stream.
    /// It is in step again if there are no more; if there are, the next channel has its turn.
    pub fn resent(&mut self, channel: HomeChannelId, shard: ShardId, count: u64) {
        let ordered = at_mut(&mut self.channels, channel.0);
        let index = ordered.lag_index(shard).expect("only a lagging shard is repaired");
        let lag = &mut ordered.lags[index];
        lag.missed = lag.missed.checked_sub(count).expect("no more than it has missed");
        let since = lag.since.as_mut().expect("what it has missed is in the stream");
        *since += count;
        self.counters.resent += count;
        if lag.missed == 0 {
            self.repaired(channel, shard);
        } else {
            let lagging = &mut self.lagging[shard.index()];
            lagging.serve(channel.0);
            lagging.insert(channel.0);
        }
    }

    /// The gap was queued: `shard` is in step again from the next publication on.
    pub fn repaired(&mut self, channel: HomeChannelId, shard: ShardId) {
        let ordered = at_mut(&mut self.channels, channel.0);
        let index = ordered.lag_index(shard).expect("only a lagging shard is repaired");
        ordered.lags.swap_remove(index);
        if ordered.lags.is_empty() {
            ordered.lags = Vec::new();
        }
        self.lagging[shard.index()].serve(channel.0);
    }

    /// Bytes of memory behind the names and states of channels.
    pub fn memory_bytes(&self) -> usize {
        self.channels.memory_bytes()
    }

    /// Channels in which some shard is interested.
    pub fn channel_count(&self) -> u32 {
        self.channels.len()
    }

    /// What was counted so far.
    pub fn counters(&self) -> OrderCounters {
        self.counters
    }
}

impl Ordered {
    fn new() -> Self {
        Self { sequence: 0, interested: ShardSet::default(), lags: Vec::new() }
    }

    /// The interested shards that do not lag.
    fn in_step(&self) -> ShardSet {
        let mut shards = self.interested;
        for lag in &self.lags {
            shards.remove(lag.shard);
        }
        shards
    }

    fn lag_index(&self, shard: ShardId) -> Option<usize> {
        self.lags.iter().position(|lag| lag.shard == shard)
    }
}

fn at_mut(channels: &mut Names<Ordered>, key: Key) -> &mut Ordered {
    channels.get_mut(key).expect("a channel is kept while a shard is interested")
}

#[cfg(test)]
mod tests;
