//! When a shard gives connections away, to which other one, how many, and why.
//!
//! ```text
//!           more than the emptiest by the difference, or full
//!   level ────────────────────────────────────────────▶ giving
//!     ▲                                                   │
//!     └──── no more than the average, or nobody has less ─┘
//!
//!           its core is busy, and another is much less so, for a while
//!   calm  ────────────────────────────────────────────▶ giving, a little at a time
//!     ▲                                                   │
//!     └── half as far apart, not so busy, or half is gone ┘
//! ```
//!
//! Each shard decides for itself, from the seats that all have taken and how busy their cores are.
//! Invariants: nobody gives for their number what would take it below the average, and nobody is
//! given what would take it above; nobody gives for their number to a core that is busier, unless
//! both are calm; and where cores are busy, what is given is little, and what became of it is
//! looked at before more is. So in whatever order shards look, all come to an end.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::limits::{
    BALANCE_PERIOD, BALANCE_SHARE, HOT_APART, HOT_CALM, HOT_HEAT, HOT_LOOKS, HOT_REST, HOT_SETTLE,
    HOT_SHARE, MOVES_PER_PERIOD_MAX,
};

/// Why connections go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Why {
    /// There are more than elsewhere.
    #[default]
    Uneven,
    /// There is hardly a seat left.
    Full,
    /// The core is busier than others.
    Hot,
}

/// What a shard may give away until it looks again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gift {
    /// To this shard.
    pub(super) to: usize,
    /// Which is not to have more than so many then.
    pub(super) level: u32,
    pub(super) count: u32,
    pub(super) why: Why,
}

/// How one shard stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stance {
    pub(super) count: u32,
    /// The core that it runs on, perhaps with others.
    pub(super) core: usize,
    /// How busy that core was with shards lately, in thousandths.
    pub(super) heat: u32,
}

/// Where one shard stands with giving.
#[derive(Debug)]
pub(super) struct Balance {
    /// `None`: nothing is given away.
    difference_min: Option<u32>,
    /// Seats of each shard.
    capacity: u32,
    next_look: Instant,
    is_giving: bool,
    /// Looks behind each other at which this core was much busier than another.
    hot_looks: u32,
    /// It gives for its heat, and so many more at most.
    hot_left: Option<u32>,
    /// Where cores are busy, nothing is given before.
    settled_at: Instant,
}

impl Balance {
    pub(super) fn new(difference_min: Option<u32>, capacity: u32, now: Instant) -> Self {
        Self {
            difference_min,
            capacity,
            next_look: now,
            is_giving: false,
            hot_looks: 0,
            hot_left: None,
            settled_at: now,
        }
    }

    /// Whether it is time to decide anew.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.difference_min.is_some() && now >= self.next_look
    }

    /// Decides anew: of all shards, this one is `here`.
    pub(super) fn look(&mut self, now: Instant, here: usize, shards: &[Stance]) -> Gift {
        self.next_look = now + BALANCE_PERIOD;
        let by_heat = self.look_at_heat(now, here, shards);
        let gift = by_heat.or_else(|| self.look_at_counts(now, here, shards));
        gift.unwrap_or(Gift { to: here, ..Gift::default() })
    }

    /// What is over the average here, for the emptiest of those that are not busier.
    fn look_at_counts(&mut self, now: Instant, here: usize, shards: &[Stance]) -> Option<Gift> {
        let gift = gift(here, shards);
        let is_apart = gift.zip(self.difference_min).is_some_and(|(gift, min)| {
            let count = shards[here].count;
            count - shards[gift.to].count >= min.max(count / BALANCE_SHARE)
        });
        // The last seats are worth something while others have many.
        let is_full = gift.is_some_and(|gift| {
            shards[here].count >= nearly(self.capacity, 2) && gift.level <= nearly(self.capacity, 5)
        });
        self.is_giving = gift.is_some() && (self.is_giving || is_apart || is_full);
        let mut gift = gift.filter(|_| self.is_giving)?;
        if is_full {
            gift.why = Why::Full;
        }
        let is_elsewhere = shards[here].core != shards[gift.to].core;
        if is_elsewhere && shards[here].heat.max(shards[gift.to].heat) >= HOT_CALM {
            if now < self.settled_at {
                return None;
            }
            self.settled_at = now + HOT_SETTLE;
            gift.count = gift.count.min((shards[here].count / HOT_SHARE).max(1));
        }
        Some(gift)
    }

    /// Some of what is here, for the calmest core.
    fn look_at_heat(&mut self, now: Instant, here: usize, shards: &[Stance]) -> Option<Gift> {
        let own = shards[here];
        let room = nearly(self.capacity, 5);
        let others = (0..shards.len()).filter(|&one| {
            shards[one].core != own.core && shards[one].count < room //
        });
        let to = others.min_by_key(|&one| (shards[one].heat, shards[one].count));
        let apart = to.map_or(0, |to| own.heat.saturating_sub(shards[to].heat));
        // What it takes to begin is more than what it takes to go on.
        let (heat_min, apart_min) = match self.hot_left {
            None => (HOT_HEAT, HOT_APART),
            Some(_) => (HOT_CALM, HOT_APART / 2),
        };
        if own.heat < heat_min || apart < apart_min {
            (self.hot_looks, self.hot_left) = (0, None);
            return None;
        }
        self.hot_looks = self.hot_looks.saturating_add(1);
        if self.hot_looks < HOT_LOOKS || now < self.settled_at {
            return None;
        }
        let to = to.expect("it is apart from one");
        let left = *self.hot_left.get_or_insert(own.count / 2);
        // A quarter of the way: some of it is on the way still, or not seen yet.
        let share = u64::from(own.count) * u64::from(apart) / (4 * u64::from(own.heat)).max(1);
        let step = u32::try_from(share).expect("no more than there are");
        let count = step.max(1).min(left).min(MOVES_PER_PERIOD_MAX);
        self.hot_left = Some(left - count);
        let pause = if count < left { HOT_SETTLE } else { HOT_REST };
        self.settled_at = now + pause;
        if count == left {
            // What makes it hot does not go with those who can.
            (self.hot_looks, self.hot_left) = (0, None);
        }
        let level = shards[to].count.saturating_add(count).min(room);
        (count > 0).then_some(Gift { to, level, count, why: Why::Hot })
    }

    /// When a shard with so many connections is to look again, whether or not anything happens: one
    /// with fewer than the difference has nothing to give.
    pub(super) fn next_deadline(&self, count: u32) -> Option<Instant> {
        self.difference_min.filter(|min| count >= *min).map(|_| self.next_look)
    }
}

/// All but so many in a hundred.
fn nearly(capacity: u32, percent: u32) -> u32 {
    capacity - capacity / 100 * percent
}

/// What is over the average here, for the emptiest of the others that is not busier.
fn gift(here: usize, shards: &[Stance]) -> Option<Gift> {
    let sum: u64 = shards.iter().map(|shard| u64::from(shard.count)).sum();
    let shard_count = shards.len() as u64;
    let narrow = |count: u64| u32::try_from(count).expect("an average of 32 bits");
    let (level, kept) = (narrow(sum / shard_count), narrow(sum.div_ceil(shard_count)));
    let own = shards[here];
    let may_have = |one: &Stance| one.heat < HOT_CALM || one.heat <= own.heat;
    let others = (0..shards.len()).filter(|&one| may_have(&shards[one]));
    let to = others.min_by_key(|&one| shards[one].count)?;
    let room = level.checked_sub(shards[to].count)?;
    let count = own.count.checked_sub(kept)?.min(room).min(MOVES_PER_PERIOD_MAX);
    (count > 0).then_some(Gift { to, level, count, why: Why::Uneven })
}

/// How busy a shard was lately: what its thread was running, of the time that passed.
#[derive(Debug)]
pub(super) struct Thermometer {
    read_at: Instant,
    ran: Duration,
    heat: u32,
}

impl Thermometer {
    pub(super) fn new(now: Instant) -> Self {
        Self { read_at: now, ran: Duration::ZERO, heat: 0 }
    }

    /// Whether it is time to read it.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.read_at) >= BALANCE_PERIOD
    }

    /// The thread has run for so long since it began; returns its heat. Long pauses count by their
    /// length, short peaks for a quarter.
    pub(super) fn read(&mut self, now: Instant, ran: Duration) -> u32 {
        let period = now.saturating_duration_since(self.read_at);
        let spent = ran.saturating_sub(self.ran).min(period);
        (self.read_at, self.ran) = (now, ran);
        let thousandths = spent.as_nanos() * 1000 / period.as_nanos().max(1);
        let new = u32::try_from(thousandths).expect("a thousand at most");
        let periods = period.as_nanos() / BALANCE_PERIOD.as_nanos();
        self.heat = if periods >= 4 { new } else { (3 * self.heat + new) / 4 };
        self.heat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use proptest::prelude::*;

    const DIFFERENCE: u32 = 16;
    const CAPACITY: u32 = 1_000_000;
    const CALM: u32 = HOT_CALM - 1;

    fn threshold(count: u32) -> u32 {
        DIFFERENCE.max(count / BALANCE_SHARE)
    }

    /// Each on a core of its own.
    fn shards<const N: usize>(all: [(u32, u32); N]) -> [Stance; N] {
        std::array::from_fn(|core| Stance { count: all[core].0, core, heat: all[core].1 })
    }

    fn calm(counts: &[u32]) -> Vec<Stance> {
        let stance = |(core, &count)| Stance { count, core, heat: 0 };
        counts.iter().enumerate().map(stance).collect()
    }

    fn uneven(to: usize, level: u32, count: u32) -> Gift {
        Gift { to, level, count, why: Why::Uneven }
    }

    const NONE: Gift = Gift { to: 0, level: 0, count: 0, why: Why::Uneven };

    proptest! {
        /// Shards look in any order, and what they give may stay.
        #[test]
        fn shards_come_level_and_never_swing(
            start in prop::collection::vec(0..3000_u32, 2..6),
            orders in prop::collection::vec((0..6_usize, 0..4_u32), 400),
        ) {
            let (mut now, mut counts) = (clock::now(), start.clone());
            let mut shards: Vec<_> =
                counts.iter().map(|_| Balance::new(Some(DIFFERENCE), CAPACITY, now)).collect();
            let sum: u32 = counts.iter().sum();
            let shard_count = u32::try_from(counts.len()).unwrap();
            let (level, kept) = (sum / shard_count, sum.div_ceil(shard_count));
            let mut moved = 0;
            let rounds = (0..2000).map(|turn| (turn, 0));
            for (here, refused) in orders.into_iter().chain(rounds) {
                let here = here % counts.len();
                now += BALANCE_PERIOD;
                // Some of what is given may have to stay.
                prop_assert!(shards[here].is_due(now));
                let gift = shards[here].look(now, here, &calm(&counts));
                prop_assert!(gift.count <= MOVES_PER_PERIOD_MAX);
                let count = gift.count.saturating_sub(refused);
                if count > 0 {
                    prop_assert!(start[here] > kept, "{here} gives what it was given");
                    counts[gift.to] += count;
                    counts[here] -= count;
                    prop_assert!(counts[gift.to] <= level && counts[here] >= kept);
                    moved += count;
                }
            }
            let over: u32 = start.iter().map(|one| one.saturating_sub(kept)).sum();
            prop_assert!(moved <= over, "{moved} moves for {over} connections too many");
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            prop_assert!(most - least < threshold(*most).max(2), "{start:?} became {counts:?}");
        }

        /// Whatever the connections cost: each brings its load with it, the heaviest never move,
        /// and what was given shows in the heat only after a while.
        #[test]
        fn under_any_steady_load_moves_come_to_an_end(
            loads in prop::collection::vec(prop::collection::vec(0..60_u32, 0..120), 2..5),
            scale in 1..6_u32,
            orders in prop::collection::vec(any::<prop::sample::Index>(), 64),
            per_core in 1..3_usize,
        ) {
            let mut world = Loaded::new(loads, scale, per_core);
            let mut picks = orders.iter().cycle();
            let total: usize = world.shards.iter().map(Vec::len).sum();
            let (mut moved, mut late) = (0, 0);
            for round in 0..6000 {
                let given = world.round(&mut picks);
                moved += given;
                late += if round >= 5000 { given } else { 0 };
            }
            prop_assert_eq!(late, 0, "they never rest: {:?}", world.heats());
            prop_assert!(moved <= 6 * total, "{moved} moves of {total} connections");
        }
    }

    /// Shards with connections of known costs, in thousandths of a core times `scale` over 10.
    struct Loaded {
        shards: Vec<Vec<u32>>,
        balances: Vec<Balance>,
        seen: Vec<u32>,
        now: Instant,
        scale: u32,
        core_count: usize,
    }

    impl Loaded {
        fn new(shards: Vec<Vec<u32>>, scale: u32, per_core: usize) -> Self {
            let now = clock::now();
            let balance = |_| Balance::new(Some(DIFFERENCE), CAPACITY, now);
            Self {
                balances: (0..shards.len()).map(balance).collect(),
                seen: vec![0; shards.len()],
                now,
                scale,
                core_count: shards.len().div_ceil(per_core),
                shards,
            }
        }

        fn heats(&self) -> Vec<u32> {
            let mut heats = vec![0; self.core_count];
            for (number, loads) in self.shards.iter().enumerate() {
                heats[number % self.core_count] += loads.iter().sum::<u32>() * self.scale / 10;
            }
            heats.into_iter().map(|heat| heat.min(1000)).collect()
        }

        /// All look once; how many connections moved.
        fn round<'a>(
            &mut self,
            picks: &mut impl Iterator<Item = &'a prop::sample::Index>,
        ) -> usize {
            self.now += BALANCE_PERIOD;
            for (core, heat) in self.heats().into_iter().enumerate() {
                self.seen[core] = (3 * self.seen[core] + heat) / 4;
            }
            let mut moved = 0;
            for here in 0..self.shards.len() {
                let stance = |number: usize| Stance {
                    count: u32::try_from(self.shards[number].len()).unwrap(),
                    core: number % self.core_count,
                    heat: self.seen[number % self.core_count],
                };
                let stances: Vec<_> = (0..self.shards.len()).map(stance).collect();
                let gift = self.balances[here].look(self.now, here, &stances);
                for _ in 0..gift.count {
                    let place = picks.next().unwrap().index(self.shards[here].len().max(1));
                    // Who is busy does not go.
                    if self.shards[here].get(place).is_some_and(|load| *load < 50) {
                        let load = self.shards[here].swap_remove(place);
                        self.shards[gift.to].push(load);
                        moved += 1;
                    }
                }
            }
            moved
        }
    }

    #[test]
    fn what_is_nearly_level_is_left_alone_and_what_is_not_becomes_quite_level() {
        let mut now = clock::now();
        let mut balance = Balance::new(Some(100), CAPACITY, now);
        let mut look = |counts: [u32; 2]| {
            now += BALANCE_PERIOD;
            balance.look(now, 0, &calm(&counts))
        };
        assert_eq!(look([199, 100]), NONE);
        assert_eq!(look([200, 100]), uneven(1, 150, 50));
        // It goes on below the difference, to the average, and then rests.
        assert_eq!(look([160, 140]), uneven(1, 150, 10));
        assert_eq!(look([150, 150]), NONE);
        assert_eq!(look([160, 140]), NONE, "it has to begin anew");
    }

    #[test]
    fn large_shards_are_not_moved_about_for_a_few() {
        let now = clock::now();
        let mut balance = Balance::new(Some(100), CAPACITY, now);
        let gift = balance.look(now, 0, &calm(&[80_000, 70_001]));
        assert_eq!(gift.count, 0);
        let gift = balance.look(now + BALANCE_PERIOD, 0, &calm(&[80_000, 70_000]));
        assert_eq!((gift.to, gift.count), (1, MOVES_PER_PERIOD_MAX));
    }

    #[test]
    fn who_is_told_not_to_gives_nothing_and_need_not_look() {
        let now = clock::now();
        let never = Balance::new(None, CAPACITY, now);
        assert_eq!((never.is_due(now), never.next_deadline(9000)), (false, None));
        let small = Balance::new(Some(100), CAPACITY, now);
        assert_eq!((small.next_deadline(99), small.next_deadline(100)), (None, Some(now)));
    }

    #[test]
    fn a_full_shard_gives_where_others_have_seats_to_spare() {
        let now = clock::now();
        let full =
            |counts: [u32; 2]| Balance::new(Some(500), 1000, now).look(now, 0, &calm(&counts));
        assert_eq!(full([980, 880]), Gift { to: 1, level: 930, count: 50, why: Why::Full });
        assert_eq!(full([979, 880]), NONE, "it has seats still");
        assert_eq!(full([980, 930]), NONE, "the others have hardly more");
    }

    /// What shards like these give in the end, if they look for long.
    fn after(looks: u32, mut shards: Vec<Stance>) -> Gift {
        let mut now = clock::now();
        let mut balance = Balance::new(Some(100), CAPACITY, now);
        let mut gift = NONE;
        for _ in 0..looks {
            now += BALANCE_PERIOD;
            gift = balance.look(now, 0, &shards);
            shards[0].count -= gift.count;
            shards[gift.to].count += gift.count;
        }
        gift
    }

    #[test]
    fn heat_is_given_to_a_much_calmer_core_after_a_while() {
        let hot = |own, other| after(HOT_LOOKS, shards([(400, own), (400, other)]).into());
        let apart = 900 - 300;
        let count = 400 * apart / (4 * 900);
        let expected = Gift { to: 1, level: 400 + count, count, why: Why::Hot };
        assert_eq!(hot(900, 300), expected);
        let early = after(HOT_LOOKS - 1, shards([(400, 900), (400, 300)]).into());
        assert_eq!(early.count, 0, "it may be a moment's");
        assert_eq!(hot(900, 900 - HOT_APART + 1).count, 0, "the other is as busy");
        assert_eq!(hot(HOT_HEAT - 1, 0).count, 0, "it has time to spare");
        let later = after(HOT_LOOKS + 1, shards([(400, 900), (400, 300)]).into());
        assert_eq!(later.count, 0, "what became of it is to be seen");
    }

    #[test]
    fn heat_is_the_cores_and_stays_within_it() {
        let on = |core| move |(count, heat)| Stance { count, core, heat };
        let one_core = [(400, 1000), (400, 1000)].map(on(0));
        assert_eq!(after(100, one_core.into()).count, 0);
        let two = [on(0)((400, 900)), on(1)((500, 100)), on(0)((10, 900)), on(1)((400, 100))];
        assert_eq!(after(HOT_LOOKS, two.into()).to, 3, "the emptier one of the calm core");
    }

    #[test]
    fn what_makes_a_shard_hot_and_does_not_move_is_not_chased_for_ever() {
        let mut now = clock::now();
        let mut balance = Balance::new(Some(1000), CAPACITY, now);
        let (mut count, mut rested) = (400_u32, None);
        for _ in 0..1000 {
            now += BALANCE_PERIOD;
            let gift = balance.look(now, 0, &shards([(count, 950), (400, 100)]));
            count -= gift.count;
            if count == 200 {
                rested = Some(rested.unwrap_or(now));
            }
            let rest = rested.map(|at| now.duration_since(at));
            assert!(count >= 200 || rest.is_some_and(|rest| rest >= HOT_REST), "{rest:?}");
        }
        assert!(rested.is_some());
    }

    #[test]
    fn nobody_gives_for_the_number_to_a_busier_core_and_little_to_one_as_busy() {
        let give = |own, other| after(1, shards([(3200, own), (100, other)]).into()).count;
        assert_eq!(give(0, CALM), MOVES_PER_PERIOD_MAX);
        assert_eq!(give(HOT_CALM, HOT_CALM + 1), 0);
        assert_eq!(give(HOT_CALM + 1, HOT_CALM), 3200 / HOT_SHARE);
    }

    #[test]
    fn a_thread_is_as_hot_as_it_ran_lately() {
        let start = clock::now();
        let mut thermometer = Thermometer::new(start);
        let (mut now, mut ran, mut heat) = (start, Duration::ZERO, 0);
        for _ in 0..40 {
            now += BALANCE_PERIOD;
            ran += BALANCE_PERIOD / 2;
            heat = thermometer.read(now, ran);
        }
        assert!((490..=500).contains(&heat), "{heat}");
        assert!(!thermometer.is_due(now) && thermometer.is_due(now + BALANCE_PERIOD));
        assert_eq!(thermometer.read(now + 4 * BALANCE_PERIOD, ran), 0, "it has slept");
    }
}
