//! Whose turn it is: the channels with something to send, one after the other.
//!
//! Invariant: every channel stands here at most once, and makes at most `share` sends before all
//! others had their turn.

use super::arena::Key;
use crate::limits::BACKLOGS_SPARE_MAX;
use std::collections::VecDeque;

pub(super) struct Turns {
    waiting: VecDeque<Key>,
    share: u32,
    /// Sends that the first channel has left.
    left: u32,
}

impl Turns {
    pub(super) fn new(share: u32) -> Self {
        assert!(share > 0, "a share of nothing would spin");
        Self { waiting: VecDeque::new(), share, left: share }
    }

    /// Adds a channel, which the caller knows is not here, behind all others.
    pub(super) fn add(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// The channel whose turn it is: the next one, if the first has used its share up.
    pub(super) fn current(&mut self) -> Option<Key> {
        if self.left == 0 {
            self.pass();
        }
        self.waiting.front().copied()
    }

    /// The current channel makes one of its sends.
    pub(super) fn spend(&mut self) {
        self.left -= 1;
    }

    /// The current channel goes behind all others.
    pub(super) fn pass(&mut self) {
        if let Some(key) = self.waiting.pop_front() {
            self.waiting.push_back(key);
        }
        self.left = self.share;
    }

    /// The current channel has nothing to send any more.
    pub(super) fn retire(&mut self) {
        self.waiting.pop_front();
        self.left = self.share;
        if self.waiting.is_empty() {
            self.waiting.shrink_to(BACKLOGS_SPARE_MAX);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key> {
        self.waiting.iter().copied()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Key>()
    }
}
