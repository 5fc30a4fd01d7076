//! Connections with input to read, each at most once, in the order they became ready.
//!
//! A connection that made more work than its share of a turn owes the rest: it waits one turn for
//! every share it owes. Frames cost a fixed amount beside their bytes, so a flood of empty frames
//! is paid for like the data it displaces (the class of h2's RUSTSEC-2026-0258).

use std::collections::VecDeque;

use super::slab::Index;
use crate::limits::{FRAME_COST_BYTES, TURN_SHARE_BYTES};

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadyEntry {
    pub(super) index: Index,
    pub(super) serial: u32,
    debt: usize,
}

/// The ready list. A shard never waits while it has entries.
#[derive(Default)]
pub(super) struct Ready {
    queue: VecDeque<ReadyEntry>,
}

impl Ready {
    pub(super) fn push(&mut self, index: Index, serial: u32) {
        self.queue.push_back(ReadyEntry { index, serial, debt: 0 });
    }

    /// Puts an entry back after its turn, with what it cost.
    pub(super) fn push_again(&mut self, entry: ReadyEntry, cost: usize) {
        let debt = (entry.debt + cost).saturating_sub(TURN_SHARE_BYTES);
        self.queue.push_back(ReadyEntry { debt, ..entry });
    }

    /// The first entry, if it owes nothing; one that does pays a share and goes to the end.
    pub(super) fn pop(&mut self) -> Option<ReadyEntry> {
        let mut entry = self.queue.pop_front()?;
        if entry.debt == 0 {
            return Some(entry);
        }
        entry.debt = entry.debt.saturating_sub(TURN_SHARE_BYTES);
        self.queue.push_back(entry);
        None
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What `bytes` in `frames` frames cost of a turn's share.
pub(super) fn cost(bytes: usize, frames: u32) -> usize {
    bytes + frames as usize * FRAME_COST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_empty_frames_waits_for_the_turns_it_cost() {
        let mut ready = Ready::default();
        ready.push(Index::new(1), 1);
        let entry = ready.pop().expect("owes nothing");
        let frames = u32::try_from(TURN_SHARE_BYTES / 6).expect("small");
        let flood = cost(TURN_SHARE_BYTES, frames);
        ready.push_again(entry, flood);
        let mut waited = 0;
        while ready.pop().is_none() {
            waited += 1;
        }
        assert_eq!(waited, (flood - TURN_SHARE_BYTES).div_ceil(TURN_SHARE_BYTES));
        assert!(waited >= 5, "six bytes of header cost as much as {FRAME_COST_BYTES} of data");
    }

    #[test]
    fn one_share_of_data_owes_nothing() {
        let mut ready = Ready::default();
        ready.push(Index::new(1), 1);
        let entry = ready.pop().expect("owes nothing");
        ready.push_again(entry, cost(TURN_SHARE_BYTES - FRAME_COST_BYTES, 1));
        assert!(ready.pop().is_some());
    }
}
