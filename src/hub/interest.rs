//! What the homes have been told about a shard's channels, and what they have answered.
//!
//! ```text
//!         first joins           told           confirmed
//!   Away ────────────▶ Joining ──────▶ Asked ────────────▶ Here
//!    ▲ ▲                  │            │   ▲             │    ▲
//!    │ └──── last leaves ─┘       last ▼   │ first  last ▼    │ first
//!    │                            Withdrawn ─ confirmed ▶ Leaving
//!    └──────────── told ─────────────┴──────────────────────┘
//!   refused:  Asked ─▶ Refused ── its members were told ──▶ Away,   Withdrawn ─▶ Away
//! ```
//!
//! Changes that undo each other before the home heard of them cancel out. Invariants: a channel
//! waits at most once, at its own home, exactly while what the home was told is not what is so;
//! hence there are never more changes than channels, and they always fit. Publications are the
//! members' from the answer to the present question on: what comes before it belongs to an
//! interest that has ended.

use super::arena::Key;
use super::bucket::ShardId;
use super::rotation::Rotation;

/// What a home is to be told: this shard's members of a channel came, or are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterestChange<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// Whether the shard has members in it now.
    pub on: bool,
    /// The number of the question that the home is asked by it, for its answer.
    pub ask: u32,
}

/// What became of a change that a home was to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There is no room for it: it waits.
    NoRoom,
    /// It is on its way. Interest is answered later, by [`Fanout::answered`](super::Fanout).
    Sent,
    /// The home is here, and has answered at once.
    Answered(Answer),
}

/// What a home says to a shard's interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is published from now on is sent to the shard.
    Confirmed,
    /// The home has no room for another channel.
    Refused,
}

/// What the home of one channel was told and has answered, against what is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// No members, and the home knows of none.
    Away,
    /// Members, and the home was not told.
    Joining,
    /// Members, and the home's answer is awaited.
    Asked,
    /// Members, and the home has confirmed.
    Here,
    /// No members, the home was not told that, and its answer is awaited.
    Withdrawn,
    /// No members, and the home, which has confirmed, was not told that.
    Leaving,
    /// The home has no room, and the members are still to hear of it.
    Refused,
}

impl Stance {
    fn joined(self) -> Self {
        match self {
            Self::Away => Self::Joining,
            Self::Withdrawn => Self::Asked,
            Self::Leaving => Self::Here,
            Self::Joining | Self::Asked | Self::Here | Self::Refused => {
                unreachable!("a first member joined in {self:?}")
            }
        }
    }

    fn left(self) -> Self {
        match self {
            Self::Joining | Self::Refused => Self::Away,
            Self::Asked => Self::Withdrawn,
            Self::Here => Self::Leaving,
            Self::Away | Self::Withdrawn | Self::Leaving => {
                unreachable!("a last member left in {self:?}")
            }
        }
    }

    fn told(self) -> Self {
        match self {
            Self::Joining => Self::Asked,
            Self::Withdrawn | Self::Leaving => Self::Away,
            Self::Away | Self::Asked | Self::Here | Self::Refused => {
                unreachable!("nothing to tell in {self:?}")
            }
        }
    }

    fn answered(self, answer: Answer) -> Self {
        match (self, answer) {
            (Self::Asked, Answer::Confirmed) => Self::Here,
            (Self::Asked, Answer::Refused) => Self::Refused,
            (Self::Withdrawn, Answer::Confirmed) => Self::Leaving,
            (Self::Withdrawn, Answer::Refused) => Self::Away,
            _ => unreachable!("an answer in {self:?}: callers look whether one is awaited"),
        }
    }

    /// Whether the home must still be told.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, Self::Joining | Self::Withdrawn | Self::Leaving)
    }

    /// What the home is to be told while a change is pending.
    pub(super) fn is_on(self) -> bool {
        self == Self::Joining
    }

    /// Whether the home's answer is awaited.
    pub(super) fn awaits_answer(self) -> bool {
        matches!(self, Self::Asked | Self::Withdrawn)
    }
}

/// The changes that wait, per home.
pub(super) struct Interest {
    pending: Box<[Rotation]>,
}

impl Interest {
    pub(super) fn new(shard_count: usize) -> Self {
        Self { pending: (0..shard_count).map(|_| Rotation::default()).collect() }
    }

    /// The channel has its first member.
    pub(super) fn joined(&mut self, home: ShardId, key: Key, stance: &mut Stance) {
        self.change(home, key, stance, stance.joined());
    }

    /// The channel's last member left.
    pub(super) fn left(&mut self, home: ShardId, key: Key, stance: &mut Stance) {
        self.change(home, key, stance, stance.left());
    }

    /// The home's next change.
    pub(super) fn next(&self, home: ShardId) -> Option<Key> {
        self.pending[home.index()].next()
    }

    /// The change of `key` is on its way.
    pub(super) fn told(&mut self, home: ShardId, key: Key, stance: &mut Stance) {
        self.pending[home.index()].serve(key);
        *stance = stance.told();
    }

    /// The home has answered what it was asked about `key`.
    pub(super) fn answered(
        &mut self,
        home: ShardId,
        key: Key,
        stance: &mut Stance,
        answer: Answer,
    ) {
        self.change(home, key, stance, stance.answered(answer));
    }

    pub(super) fn is_empty(&self, home: ShardId) -> bool {
        self.pending[home.index()].is_empty()
    }

    fn change(&mut self, home: ShardId, key: Key, stance: &mut Stance, to: Stance) {
        let pending = &mut self.pending[home.index()];
        match (stance.is_pending(), to.is_pending()) {
            (false, true) => pending.insert(key),
            (true, false) => pending.remove(key),
            (true, true) | (false, false) => {}
        }
        *stance = to;
    }
}
