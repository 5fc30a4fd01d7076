//! What the homes have been told about a shard's channels, and what they still must be told.
//!
//! ```text
//!             first joins               told
//!        ┌─────────────────▶ Joining ─────────┐
//!      Away ◀── last leaves ────┘             ▼
//!        ▲                         ┌────── Here
//!        │        told             ▼          ▲
//!        └───────────────── Leaving ──────────┘
//!                                 first joins
//! ```
//!
//! Changes that undo each other before the home heard of them cancel out. Invariant: a channel
//! waits at most once, at its own home, exactly while what the home knows is not what is so;
//! hence there are never more changes than channels, and they always fit.

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
}

/// What the home of one channel knows, against what is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// No members, and the home knows of none.
    Away,
    /// Members, and the home does not know.
    Joining,
    /// Members, and the home knows.
    Here,
    /// No members, and the home does not know that.
    Leaving,
}

impl Stance {
    fn joined(self) -> Self {
        match self {
            Self::Away => Self::Joining,
            Self::Leaving => Self::Here,
            Self::Joining | Self::Here => unreachable!("a first member joined in {self:?}"),
        }
    }

    fn left(self) -> Self {
        match self {
            Self::Joining => Self::Away,
            Self::Here => Self::Leaving,
            Self::Away | Self::Leaving => unreachable!("a last member left in {self:?}"),
        }
    }

    fn told(self) -> Self {
        match self {
            Self::Joining => Self::Here,
            Self::Leaving => Self::Away,
            Self::Away | Self::Here => unreachable!("nothing to tell in {self:?}"),
        }
    }

    /// Whether the home must still be told.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, Self::Joining | Self::Leaving)
    }

    /// What the home is to be told while a change is pending.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Joining | Self::Here)
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

    pub(super) fn is_empty(&self, home: ShardId) -> bool {
        self.pending[home.index()].is_empty()
    }

    fn change(&mut self, home: ShardId, key: Key, stance: &mut Stance, to: Stance) {
        let pending = &mut self.pending[home.index()];
        if to.is_pending() {
            pending.insert(key);
        } else {
            pending.remove(key);
        }
        *stance = to;
    }
}
