//! How many connections each shard may hold, and which one has room for another.
//!
//! The only counters that shards share: one atomic each, touched when a connection comes or goes,
//! never by its traffic; and beside it how busy each was, written four times a second. Invariant: a
//! seat is reserved before a connection is taken or passed, so no shard ever holds more than its
//! capacity.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::{HEAT_TERM, SURPLUS_SLOTS};
use crate::sys::clock;

/// Bits of a share in thousandths, behind the time at which it was said.
const HEAT_BITS: u32 = 16;

/// Where a new connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// It stays; the seat is taken.
    Here,
    /// That shard is emptier; the seat there is taken.
    On(usize),
    /// All shards are full.
    None,
}

/// The seats of all shards.
#[derive(Debug)]
pub(crate) struct Seats {
    taken: Box<[AtomicU32]>,
    all: AtomicU32,
    surplus: AtomicU32,
    capacity: u32,
    connections_max: u32,
    /// Of each shard, when it was said how busy it was, and that: see [`Seats::note_heat`].
    heats: Box<[AtomicU64]>,
    began: Instant,
    core_count: usize,
}

impl Seats {
    /// `capacity` seats for each shard, `connections_max` in all.
    pub(crate) fn new(shard_count: usize, capacity: u32, connections_max: u32) -> Self {
        let zero = || AtomicU32::new(0);
        let taken = (0..shard_count).map(|_| zero()).collect();
        let heats = (0..shard_count).map(|_| AtomicU64::new(0)).collect();
        let (began, core_count) = (clock::now(), shard_count);
        let (all, surplus) = (zero(), zero());
        Self { taken, all, surplus, capacity, connections_max, heats, began, core_count }
    }

    /// The shards run on so many cores, dealt to them in the order of their numbers.
    pub(crate) fn on_cores(self, core_count: usize) -> Self {
        Self { core_count: core_count.clamp(1, self.taken.len()), ..self }
    }

    /// Says how busy a shard was lately, in thousandths of the time.
    pub(crate) fn note_heat(&self, shard: usize, heat: u32, now: Instant) {
        let said = self.ms_at(now) << HEAT_BITS | u64::from(heat);
        self.heats[shard].store(said, Ordering::Relaxed);
    }

    /// For each shard its core, and how busy that is with all of its shards. One that has said
    /// nothing for a while sleeps.
    pub(crate) fn heats(&self, now: Instant) -> Vec<(usize, u32)> {
        let mut cores = vec![0; self.core_count];
        let stale = HEAT_TERM.as_millis().try_into().expect("seconds");
        for (shard, said) in self.heats.iter().enumerate() {
            let said = said.load(Ordering::Relaxed);
            let age = self.ms_at(now).saturating_sub(said >> HEAT_BITS);
            let heat = u32::try_from(said & ((1 << HEAT_BITS) - 1)).expect("few bits");
            cores[shard % self.core_count] += if age < stale { heat } else { 0 };
        }
        let cores = |shard| (shard % self.core_count, cores[shard % self.core_count]);
        (0..self.taken.len()).map(cores).collect()
    }

    fn ms_at(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(ms).expect("less than ages")
    }

    /// A seat for a socket that shard `here` accepted. One that is nearly full keeps its last
    /// seats for when the others are as full: the kernel spreads by hash, not by load.
    pub(crate) fn reserve(&self, here: usize) -> Seat {
        if self.taken(here) < self.nearly_full() && self.reserve_here(here) {
            return Seat::Here;
        }
        let emptiest = (0..self.taken.len()).min_by_key(|&shard| self.taken(shard));
        if let Some(shard) = emptiest
            && shard != here
            && self.taken(shard) < self.taken(here)
            && self.reserve_here(shard)
        {
            return Seat::On(shard);
        }
        if self.reserve_here(here) { Seat::Here } else { Seat::None }
    }

    pub(crate) fn reserve_here(&self, shard: usize) -> bool {
        if !reserve(&self.all, self.connections_max) {
            return false;
        }
        let is_seated = reserve(&self.taken[shard], self.capacity);
        if !is_seated {
            self.all.fetch_sub(1, Ordering::Relaxed);
        }
        is_seated
    }

    pub(crate) fn release(&self, shard: usize) {
        let before = self.taken[shard].fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a seat is given back once");
        self.all.fetch_sub(1, Ordering::Relaxed);
    }

    /// A second seat, on `shard`, for a connection that will give up the one it has on another.
    /// The shard is to have no more than `level` connections then.
    pub(crate) fn reserve_second(&self, shard: usize, level: u32) -> bool {
        reserve(&self.taken[shard], self.capacity.min(level))
    }

    /// Gives back one of two seats that a connection has.
    pub(crate) fn release_one_of_two(&self, shard: usize) {
        let before = self.taken[shard].fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a seat is given back once");
    }

    /// The seats taken on all shards together.
    pub(crate) fn taken_by_all(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// The seats taken on each shard.
    pub(crate) fn all_taken(&self) -> Vec<u32> {
        (0..self.taken.len()).map(|shard| self.taken(shard)).collect()
    }

    /// Connections of all shards.
    #[cfg(test)]
    pub(crate) fn sum(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// A slot for a connection that is only to be told 503.
    pub(crate) fn reserve_surplus(&self) -> bool {
        reserve(&self.surplus, SURPLUS_SLOTS)
    }

    pub(crate) fn release_surplus(&self) {
        let before = self.surplus.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a surplus slot is given back once");
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    fn taken(&self, shard: usize) -> u32 {
        self.taken[shard].load(Ordering::Relaxed)
    }

    /// 98 % of the capacity.
    fn nearly_full(&self) -> u32 {
        self.capacity - self.capacity / 50
    }
}

pub(super) fn reserve(count: &AtomicU32, max: u32) -> bool {
    let more = |now| (now < max).then_some(now + 1);
    count.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_shards_of_a_hundred_seat_four_hundred_wherever_they_arrive() {
        let seats = Seats::new(4, 100, 400);
        let mut held = [0; 4];
        for arrival in 0..400 {
            let here = usize::from(arrival % 10 == 0);
            match seats.reserve(here) {
                Seat::Here => held[here] += 1,
                Seat::On(shard) => held[shard] += 1,
                Seat::None => panic!("refused at {arrival}: {held:?}"),
            }
        }
        assert_eq!(held, [100; 4]);
        assert_eq!(seats.reserve(0), Seat::None);
        seats.release(2);
        assert_eq!(seats.reserve(0), Seat::On(2));
    }

    #[test]
    fn a_shard_with_room_keeps_its_own() {
        let seats = Seats::new(2, 100, 200);
        assert!((0..98).all(|_| seats.reserve(0) == Seat::Here));
        assert_eq!(seats.reserve(0), Seat::On(1));
    }

    #[test]
    fn all_shards_together_keep_to_the_maximum() {
        let seats = Seats::new(2, 100, 150);
        let seated = (0..200).filter(|here| seats.reserve(here % 2) != Seat::None).count();
        assert_eq!(seated, 150);
        seats.release(0);
        assert_ne!(seats.reserve(1), Seat::None);
    }

    #[test]
    fn no_shard_holds_more_than_its_capacity_and_who_finds_no_seat_takes_none() {
        let seats = Seats::new(2, 10, 25);
        let seated = |here| (0..100).filter(|_| seats.reserve_here(here)).count();
        assert_eq!([seated(0), seated(1)], [10, 10]);
    }

    #[test]
    fn who_has_two_seats_counts_once_in_all() {
        let seats = Seats::new(2, 100, 3);
        assert!((0..3).all(|_| seats.reserve_here(0)));
        assert!(seats.reserve_second(1, 1) && !seats.reserve_second(1, 1));
        assert_eq!(seats.all_taken(), [3, 1]);
        seats.release_one_of_two(0);
        assert_eq!(seats.reserve(0), Seat::None, "there are three still");
        seats.release(1);
        assert_eq!((seats.reserve(0), seats.all_taken()), (Seat::Here, vec![3, 0]));
    }

    #[test]
    fn heat_is_of_the_core_and_is_gone_when_nothing_is_said_of_it() {
        let seats = Seats::new(3, 10, 30).on_cores(2);
        let now = seats.began + HEAT_TERM;
        assert_eq!(seats.heats(now), [(0, 0), (1, 0), (0, 0)]);
        seats.note_heat(0, 300, now);
        seats.note_heat(1, 1000, now);
        seats.note_heat(2, 400, now + HEAT_TERM / 2);
        assert_eq!(seats.heats(now + HEAT_TERM / 2), [(0, 700), (1, 1000), (0, 700)]);
        assert_eq!(seats.heats(now + HEAT_TERM), [(0, 400), (1, 0), (0, 400)]);
    }

    #[test]
    fn surplus_slots_are_bounded_and_come_back() {
        let seats = Seats::new(1, 1, 1);
        assert!((0..SURPLUS_SLOTS).all(|_| seats.reserve_surplus()));
        assert!(!seats.reserve_surplus());
        seats.release_surplus();
        assert!(seats.reserve_surplus());
    }
}
