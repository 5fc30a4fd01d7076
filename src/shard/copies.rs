//! Which connections have a copy of their descriptor in the process that is to take over, while
//! they are served here.
//!
//! ```text
//!   slot order ─▶ open, and none that leaves by another way ─▶ copy on the way with the fewest
//!   its connection ends ─▶ shut down (`part`), `ended` ─▶ Dropped
//!   freeze ─▶ the record names the copy, unless its way has more than its share (`deal`)
//! ```
//!
//! A copy keeps the socket open in the kernel: a close of the descriptor alone would not be seen by
//! the peer. So only connections are copied whose end is a `shutdown(2)` here: not one whose
//! descriptor may go on elsewhere in this process, to the control thread with a request, or to
//! another shard; and who is copied does not move. Invariants: each connection is copied at most
//! once in an attempt, for each slot is looked at once; and every copy is told as ended, or named
//! by a record, once. What is kept here is bounded by the slots.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::core::Core;
use super::slab::Index;
use crate::handler::Handler;

/// The copies of one shard, in one attempt.
#[derive(Debug)]
pub(super) struct Copies {
    /// Slots before this one have been looked at: marks of others are of an earlier attempt.
    cursor: u32,
    /// Copies of connections that live, by their ways.
    live: Box<[u32]>,
    /// Ways and numbers of copies that no record will name, to be told.
    ended: VecDeque<(usize, u64)>,
    made_count: u64,
    /// The way that gets the odd one, as in [`Deal`].
    first: usize,
}

/// A connection that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) index: Index,
    pub(super) serial: u32,
    pub(super) way: usize,
}

impl Copied {
    pub(super) fn number(self) -> u64 {
        number_of(self.index, self.serial)
    }
}

/// The number by which both processes know the copy of a connection.
pub(super) fn number_of(index: Index, serial: u32) -> u64 {
    u64::from(serial) << 32 | u64::from(index.as_u32())
}

impl Copies {
    pub(super) fn new(way_count: usize, first: usize) -> Self {
        let live = vec![0; way_count].into();
        let first = first % way_count;
        Self { cursor: 0, live, ended: VecDeque::new(), made_count: 0, first }
    }

    /// Copies of connections that live, by their ways.
    pub(super) fn live(&self) -> &[u32] {
        &self.live
    }

    /// Copies that were made, whatever has become of them.
    pub(super) fn made_count(&self) -> u64 {
        self.made_count
    }

    /// Whether some are to be told as ended.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The next that is to be told as ended.
    pub(super) fn next_ended(&mut self) -> Option<(usize, u64)> {
        self.ended.pop_front()
    }

    fn emptiest(&self) -> usize {
        let ways = self.live.len();
        let turns = (0..ways).map(|turn| (self.first + turn) % ways);
        turns.min_by_key(|&way| self.live[way]).expect("there is a shard")
    }
}

impl<H: Handler> Core<H> {
    /// The next connection that is to be copied, within so many looks; `None` if none is left, or
    /// within reach.
    pub(super) fn next_to_copy(&mut self, looks: &mut u32) -> Option<Copied> {
        let end = self.entries_max();
        while let Some(copies) = self.copies.as_mut().filter(|one| one.cursor < end && *looks > 0) {
            *looks -= 1;
            let index = Index::new(copies.cursor);
            copies.cursor += 1;
            let way = copies.emptiest();
            let may_copy = self.may_copy(index);
            let Some(connection) = self.connections.get_mut(index) else { continue };
            // A mark of an earlier attempt is not one of this.
            connection.copy = 0;
            if may_copy {
                connection.copy = u8::try_from(way + 1).expect("SHARDS_MAX is below");
                let serial = connection.serial;
                let copies = self.copies.as_mut().expect("just seen");
                copies.live[way] += 1;
                copies.made_count += 1;
                self.counters.copied_ahead += 1;
                return Some(Copied { index, serial, way });
            }
        }
        None
    }

    /// Whether all slots have been looked at.
    pub(super) fn has_copied(&self) -> bool {
        self.copies.as_ref().is_none_or(|one| one.cursor >= self.entries_max())
    }

    fn may_copy(&self, index: Index) -> bool {
        let one = self.connections.get(index);
        let is_bound = one.is_some_and(|one| {
            one.phase.is_open() && !one.state.as_ref().is_some_and(|state| H::stays(state))
        });
        is_bound && !self.is_offered(index)
    }

    /// The way on which a copy of a connection went in this attempt.
    pub(super) fn copy_way(&self, index: Index) -> Option<usize> {
        let copies = self.copies.as_ref().filter(|one| index.as_u32() < one.cursor)?;
        let way = usize::from(self.connections.get(index)?.copy).checked_sub(1)?;
        (way < copies.live.len()).then_some(way)
    }

    /// A connection has ended: its copy is to be dropped.
    pub(super) fn end_copy(&mut self, index: Index) {
        if self.copy_way(index).is_some() {
            self.counters.copies_ended += 1;
            self.drop_copy(index);
        }
    }

    /// No record will name the copy of a connection, if it has one.
    pub(super) fn drop_copy(&mut self, index: Index) {
        let Some(way) = self.copy_way(index) else { return };
        let number = number_of(index, self.serial(index));
        let copies = self.copies.as_mut().expect("it has a copy");
        copies.live[way] -= 1;
        copies.ended.push_back((way, number));
    }
}

/// Deals connections to the shards of the other process, as evenly as if none had a copy there.
#[derive(Debug)]
pub(super) struct Deal {
    quotas: Vec<u32>,
    /// Connections that went, and copies of those that have yet to.
    loads: Vec<u32>,
    first: usize,
}

impl Deal {
    /// For so many connections at most, of which some have copies. `first`: the way that gets the
    /// odd one, another for each shard.
    pub(super) fn new(count: u32, first: usize, copies: &[u32]) -> Self {
        let ways = copies.len();
        let all = u32::try_from(ways).expect("SHARDS_MAX is below");
        let quota = |way: usize| {
            let turn = u32::try_from((way + ways - first % ways) % ways).expect("below all");
            count / all + u32::from(turn < count % all)
        };
        Self { quotas: (0..ways).map(quota).collect(), loads: copies.to_vec(), first: first % ways }
    }

    /// The way of the next connection, which may have a copy.
    pub(super) fn choose(&self, copied: Option<usize>) -> usize {
        if let Some(way) = copied.filter(|&way| self.loads[way] <= self.quotas[way]) {
            return way;
        }
        let room = |way: usize| i64::from(self.quotas[way]) - i64::from(self.loads[way]);
        let ways = self.loads.len();
        // The first of those with the most room, counted from this shard's first way on.
        let turns = (0..ways).rev().map(|turn| (self.first + turn) % ways);
        turns.max_by_key(|&way| room(way)).expect("there is a shard")
    }

    /// It has taken that way.
    pub(super) fn note(&mut self, copied: Option<usize>, way: usize) {
        if copied != Some(way) {
            if let Some(copied) = copied {
                self.loads[copied] -= 1;
            }
            self.loads[way] += 1;
        }
    }

    /// One that has a copy does not go at all.
    pub(super) fn forget(&mut self, copied: Option<usize>) {
        if let Some(way) = copied {
            self.loads[way] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ring::Batch;
    use crate::shard::core::Turn;
    use crate::shard::session_rig::{Client, SessionRig, open_settings};
    use proptest::prelude::*;

    fn rig() -> SessionRig {
        let config = Config::new(([127, 0, 0, 1], 0).into());
        SessionRig::new(1, 64, config, &open_settings())
    }

    fn begin(rig: &mut SessionRig, ways: usize) {
        rig.core(0).copies = Some(Box::new(Copies::new(ways, 0)));
    }

    fn end(rig: &mut SessionRig, client: Client) {
        let mut turn = Turn { core: rig.core(0), batch: &mut Batch::new(64) };
        turn.retire(client.index);
    }

    fn ended(rig: &mut SessionRig) -> Vec<(usize, u64)> {
        let copies = rig.core(0).copies.as_mut().expect("begun");
        std::iter::from_fn(|| copies.next_ended()).collect()
    }

    #[test]
    fn each_is_copied_once_and_told_as_ended_once() {
        let mut rig = rig();
        let clients = [0; 3].map(|shard| rig.connect(shard, ""));
        rig.exchange();
        begin(&mut rig, 2);
        let mut looks = 2;
        let first = rig.core(0).next_to_copy(&mut looks).expect("the first");
        let second = rig.core(0).next_to_copy(&mut looks).expect("the second");
        assert_eq!((first.way, second.way, looks), (0, 1, 0));
        assert_eq!(rig.core(0).next_to_copy(&mut looks), None, "no look is left");
        // The third has not been looked at.
        for client in clients {
            end(&mut rig, client);
        }
        assert_eq!(ended(&mut rig), [(0, first.number()), (1, second.number())]);
        assert_eq!(rig.core(0).copies.as_ref().map(|one| one.live().to_vec()), Some(vec![0, 0]));
        assert_eq!((rig.counters().copied_ahead, rig.counters().copies_ended), (2, 2));
        while rig.core(0).next_to_copy(&mut 1000).is_some() {}
        assert!(rig.core(0).has_copied() && ended(&mut rig).is_empty());
    }

    /// It may be a request that goes on to the control thread.
    #[test]
    fn who_has_not_come_in_is_not_copied() {
        let (mut core, _peer) = crate::shard::tests::core();
        core.copies = Some(Box::new(Copies::new(1, 0)));
        assert_eq!(core.next_to_copy(&mut 1000), None);
        assert_eq!((core.has_copied(), core.connection_count()), (true, 1));
    }

    #[test]
    fn a_mark_of_an_attempt_that_was_given_up_is_none_of_the_next() {
        let mut rig = rig();
        let clients = [0; 2].map(|shard| rig.connect(shard, ""));
        rig.exchange();
        begin(&mut rig, 3);
        while rig.core(0).next_to_copy(&mut 1000).is_some() {}
        rig.core(0).copies = None;
        end(&mut rig, clients[1]);
        begin(&mut rig, 1);
        end(&mut rig, clients[0]);
        assert_eq!(ended(&mut rig), []);
        let again = rig.connect(0, "");
        rig.exchange();
        assert!(rig.core(0).next_to_copy(&mut 1000).is_some());
        end(&mut rig, again);
        assert_eq!(ended(&mut rig).len(), 1);
    }

    /// Deals these, by the ways of their loads; returns who went where.
    fn deal(ways: usize, first: usize, copied: &[Option<usize>]) -> Vec<usize> {
        let mut loads = vec![0; ways];
        copied.iter().flatten().for_each(|&way| loads[way] += 1);
        let mut deal = Deal::new(u32::try_from(copied.len()).unwrap(), first, &loads);
        let went = copied.iter().map(|&one| {
            let way = deal.choose(one);
            deal.note(one, way);
            way
        });
        went.collect()
    }

    fn counts(ways: usize, went: &[usize]) -> Vec<usize> {
        (0..ways).map(|way| went.iter().filter(|one| **one == way).count()).collect()
    }

    proptest! {
        #[test]
        fn every_way_gets_as_many_as_another_whatever_was_copied_where(
            ways in 1..7_usize,
            first in 0..9_usize,
            copied in prop::collection::vec(prop::option::of(0..7_usize), 0..300),
        ) {
            let copied: Vec<_> = copied.iter().map(|one| one.map(|way| way % ways)).collect();
            let went = deal(ways, first, &copied);
            let counts = counts(ways, &went);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", counts);
            // No more come without their copies than there are too many on a way.
            let kept = copied.iter().zip(&went).filter(|(copy, way)| **copy == Some(**way));
            let share = copied.len().div_ceil(ways);
            let fit = |way| copied.iter().flatten().filter(|one| **one == way).count().min(share);
            let fitting: usize = (0..ways).map(fit).sum();
            prop_assert!(kept.count() + ways >= fitting);
        }
    }

    #[test]
    fn the_odd_ones_of_several_shards_go_to_several() {
        let mut all = vec![0; 3];
        for first in 0..3 {
            let went = deal(3, first, &[None; 4]);
            assert_eq!(went[0], first);
            counts(3, &went).iter().zip(&mut all).for_each(|(count, all)| *all += count);
        }
        assert_eq!(all, [4, 4, 4]);
    }
}
