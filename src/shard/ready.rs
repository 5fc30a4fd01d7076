//! Connections with input to read, each at most once, in the order they became ready.
//!
//! Those who have not come in yet stand in a list of their own, with a smaller share of the turn:
//! a crowd that comes back at once is many times the work of all others, who would wait behind it.
//!
//! A connection that made more work than its share of a turn owes the rest: it waits one turn for
//! every share it owes. Frames cost a fixed amount beside their bytes, so a flood of empty frames
//! is paid for like the data it displaces (the class of h2's RUSTSEC-2026-0258).

use std::collections::VecDeque;

use super::slab::Index;
use crate::limits::{FRAME_COST_BYTES, TURN_SHARE_BYTES};

/// Whether a connection has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It is served: its request was answered, and it has begun its session if there is one.
    Known,
    /// It is still coming in.
    New,
}

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadyEntry {
    pub(super) index: Index,
    pub(super) serial: u32,
    debt: usize,
}

/// The ready lists. A shard never waits while they have entries.
#[derive(Default)]
pub(super) struct Ready {
    known: VecDeque<ReadyEntry>,
    new: VecDeque<ReadyEntry>,
}

impl Ready {
    pub(super) fn push(&mut self, index: Index, serial: u32, rank: Rank) {
        self.list(rank).push_back(ReadyEntry { index, serial, debt: 0 });
    }

    /// Puts an entry back after its turn, with what it cost.
    pub(super) fn push_again(&mut self, entry: ReadyEntry, cost: usize, rank: Rank) {
        let debt = (entry.debt + cost).saturating_sub(TURN_SHARE_BYTES);
        self.list(rank).push_back(ReadyEntry { debt, ..entry });
    }

    /// Frees the room that a crowd has left.
    pub(super) fn shrink(&mut self) {
        self.known.shrink_to_fit();
        self.new.shrink_to_fit();
    }

    /// The first entry, if it owes nothing; one that does pays a share and goes to the end.
    pub(super) fn pop(&mut self, rank: Rank) -> Option<ReadyEntry> {
        let list = self.list(rank);
        let mut entry = list.pop_front()?;
        if entry.debt == 0 {
            return Some(entry);
        }
        entry.debt = entry.debt.saturating_sub(TURN_SHARE_BYTES);
        list.push_back(entry);
        None
    }

    pub(super) fn len(&self, rank: Rank) -> usize {
        match rank {
            Rank::Known => self.known.len(),
            Rank::New => self.new.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.new.is_empty()
    }

    fn list(&mut self, rank: Rank) -> &mut VecDeque<ReadyEntry> {
        match rank {
            Rank::Known => &mut self.known,
            Rank::New => &mut self.new,
        }
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
        ready.push(Index::new(1), 1, Rank::Known);
        let entry = ready.pop(Rank::Known).expect("owes nothing");
        let frames = u32::try_from(TURN_SHARE_BYTES / 6).expect("small");
        let flood = cost(TURN_SHARE_BYTES, frames);
        ready.push_again(entry, flood, Rank::Known);
        let mut waited = 0;
        while ready.pop(Rank::Known).is_none() {
            waited += 1;
        }
        assert_eq!(waited, (flood - TURN_SHARE_BYTES).div_ceil(TURN_SHARE_BYTES));
        assert!(waited >= 5, "six bytes of header cost as much as {FRAME_COST_BYTES} of data");
    }

    #[test]
    fn one_share_of_data_owes_nothing() {
        let mut ready = Ready::default();
        ready.push(Index::new(1), 1, Rank::Known);
        let entry = ready.pop(Rank::Known).expect("owes nothing");
        ready.push_again(entry, cost(TURN_SHARE_BYTES - FRAME_COST_BYTES, 1), Rank::Known);
        assert!(ready.pop(Rank::Known).is_some());
    }
}
