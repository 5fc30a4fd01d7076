//! Whose turn it is: the channels with something to send, one after the other.
//!
//! Invariant: every channel stands here at most once, and makes at most `share` sends before all
//! others had their turn; the *long* ones, of many members, are passed over while they may not.
//! Which those are is looked at when they come and whenever it is their turn: they grow meanwhile.

use super::arena::Key;
use crate::limits::{BACKLOGS_SPARE_MAX, FANOUT_LONG_MIN};
use std::collections::VecDeque;

/// Which channels may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// All of them.
    All,
    /// Those with few members on this shard: it is another shard's turn to do long work.
    Short,
}

#[derive(Clone, Copy)]
struct Place {
    key: Key,
    is_long: bool,
}

pub(super) struct Turns {
    waiting: VecDeque<Place>,
    /// How many of them are long.
    long: usize,
    share: u32,
    /// Sends that the first channel has left.
    left: u32,
}

impl Turns {
    pub(super) fn new(share: u32) -> Self {
        assert!(share > 0, "a share of nothing would spin");
        Self { waiting: VecDeque::new(), long: 0, share, left: share }
    }

    /// Adds a channel of so many members, which the caller knows is not here, behind all others.
    pub(super) fn add(&mut self, key: Key, member_count: u32) {
        let is_long = member_count >= FANOUT_LONG_MIN;
        self.long += usize::from(is_long);
        self.waiting.push_back(Place { key, is_long });
    }

    /// The channel whose turn it is: the next one, if the first has used its share up.
    pub(super) fn current(&mut self, runs: Runs) -> Option<Key> {
        if self.left == 0 {
            self.pass();
        }
        if runs == Runs::Short {
            if !self.has_short() {
                return None;
            }
            while self.waiting.front().is_some_and(|place| place.is_long) {
                self.pass();
            }
        }
        self.waiting.front().map(|place| place.key)
    }

    /// The current channel has so many members now; false if it may not send by that.
    pub(super) fn allow(&mut self, member_count: u32, runs: Runs) -> bool {
        let Some(place) = self.waiting.front_mut() else { return true };
        self.long -= usize::from(place.is_long);
        place.is_long = member_count >= FANOUT_LONG_MIN;
        self.long += usize::from(place.is_long);
        runs == Runs::All || !place.is_long
    }

    /// The current channel makes one of its sends.
    pub(super) fn spend(&mut self) {
        self.left -= 1;
    }

    /// The current channel goes behind all others.
    pub(super) fn pass(&mut self) {
        if let Some(place) = self.waiting.pop_front() {
            self.waiting.push_back(place);
        }
        self.left = self.share;
    }

    /// The current channel has nothing to send any more.
    pub(super) fn retire(&mut self) {
        let retired = self.waiting.pop_front();
        self.long -= usize::from(retired.is_some_and(|place| place.is_long));
        self.left = self.share;
        if self.waiting.is_empty() {
            self.waiting.shrink_to(BACKLOGS_SPARE_MAX);
        }
    }

    pub(super) fn has_short(&self) -> bool {
        self.waiting.len() > self.long
    }

    pub(super) fn has_long(&self) -> bool {
        self.long > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key> {
        self.waiting.iter().map(|place| place.key)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Place>()
    }
}
