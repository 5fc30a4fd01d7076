//! How many connections each shard may hold, and which one has room for another.
//!
//! The only counters that shards share: one atomic each, touched when a connection comes or goes,
//! never by its traffic. Invariant: a seat is reserved before a connection is taken or passed, so
//! no shard ever holds more than its capacity.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::SURPLUS_SLOTS;

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
}

impl Seats {
    /// `capacity` seats for each shard, `connections_max` in all.
    pub(crate) fn new(shard_count: usize, capacity: u32, connections_max: u32) -> Self {
        let zero = || AtomicU32::new(0);
        let taken = (0..shard_count).map(|_| zero()).collect();
        Self { taken, all: zero(), surplus: zero(), capacity, connections_max }
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
    fn surplus_slots_are_bounded_and_come_back() {
        let seats = Seats::new(1, 1, 1);
        assert!((0..SURPLUS_SLOTS).all(|_| seats.reserve_surplus()));
        assert!(!seats.reserve_surplus());
        seats.release_surplus();
        assert!(seats.reserve_surplus());
    }
}
