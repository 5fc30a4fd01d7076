//! A set of channels that are served in turn, whatever joins and leaves the set meanwhile.
//!
//! Invariant: a channel that stays in the set is served before any other is served twice.

use super::arena::Key;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

#[derive(Default)]
pub(super) struct Rotation {
    waiting: BTreeSet<Key>,
    served: Option<Key>,
}

impl Rotation {
    pub(super) fn insert(&mut self, key: Key) {
        let new = self.waiting.insert(key);
        debug_assert!(new, "{key:?} is waiting already");
    }

    pub(super) fn remove(&mut self, key: Key) {
        let present = self.waiting.remove(&key);
        debug_assert!(present, "{key:?} is not waiting");
    }

    /// Takes `key` out because it had its turn; the next one is the one after it.
    pub(super) fn serve(&mut self, key: Key) {
        self.remove(key);
        self.served = Some(key);
    }

    pub(super) fn next(&self) -> Option<Key> {
        let after = self.served.map_or(Unbounded, Excluded);
        let mut later = self.waiting.range((after, Unbounded));
        later.next().or_else(|| self.waiting.first()).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
