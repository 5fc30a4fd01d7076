//! When a shard gives connections away, to which other one, and how many.
//!
//! ```text
//!           more than the emptiest by the difference
//!   level ────────────────────────────────────────────▶ giving
//!     ▲                                                   │
//!     └──── no more than the average, or nobody has less ─┘
//! ```
//!
//! Each shard decides for itself, from the seats that all have taken. Invariants: nobody gives what
//! would take it below the average, and nobody is given what would take it above; so who was given
//! something never gives it back, in whatever order shards look, and all come to an end.

#![forbid(unsafe_code)]

use std::time::Instant;

use crate::limits::{BALANCE_PERIOD, BALANCE_SHARE, MOVES_PER_PERIOD_MAX};

/// What a shard may give away until it looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gift {
    /// To this shard.
    pub(super) to: usize,
    /// Which is not to have more than so many then.
    pub(super) level: u32,
    pub(super) count: u32,
}

/// Where one shard stands.
#[derive(Debug)]
pub(super) struct Balance {
    /// `None`: nothing is given away.
    difference_min: Option<u32>,
    next_look: Instant,
    is_giving: bool,
}

impl Balance {
    pub(super) fn new(difference_min: Option<u32>, now: Instant) -> Self {
        Self { difference_min, next_look: now, is_giving: false }
    }

    /// Whether it is time to decide anew.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.difference_min.is_some() && now >= self.next_look
    }

    /// Decides anew: `counts` are the connections of all shards, of which this one is `here`.
    pub(super) fn look(&mut self, now: Instant, here: usize, counts: &[u32]) -> Gift {
        self.next_look = now + BALANCE_PERIOD;
        let gift = gift(here, counts);
        let is_apart = gift.zip(self.difference_min).is_some_and(|(gift, min)| {
            counts[here] - counts[gift.to] >= min.max(counts[here] / BALANCE_SHARE)
        });
        self.is_giving = gift.is_some() && (self.is_giving || is_apart);
        let nothing = Gift { to: here, level: 0, count: 0 };
        gift.filter(|_| self.is_giving).unwrap_or(nothing)
    }

    /// When a shard with so many connections is to look again, whether or not anything happens: one
    /// with fewer than the difference has nothing to give.
    pub(super) fn next_deadline(&self, count: u32) -> Option<Instant> {
        self.difference_min.filter(|min| count >= *min).map(|_| self.next_look)
    }
}

/// What is over the average here, for the emptiest of the others.
fn gift(here: usize, counts: &[u32]) -> Option<Gift> {
    let sum: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let shards = counts.len() as u64;
    let narrow = |count: u64| u32::try_from(count).expect("an average of 32 bits");
    let (level, kept) = (narrow(sum / shards), narrow(sum.div_ceil(shards)));
    let to = (0..counts.len()).min_by_key(|&shard| counts[shard])?;
    let room = level.checked_sub(counts[to])?;
    let count = counts[here].checked_sub(kept)?.min(room).min(MOVES_PER_PERIOD_MAX);
    (count > 0).then_some(Gift { to, level, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use proptest::prelude::*;

    const DIFFERENCE: u32 = 16;

    fn threshold(count: u32) -> u32 {
        DIFFERENCE.max(count / BALANCE_SHARE)
    }

    proptest! {
        /// Shards look in any order, and what they give may stay.
        #[test]
        fn shards_come_level_and_never_swing(
            start in prop::collection::vec(0..3000_u32, 2..6),
            orders in prop::collection::vec((0..6_usize, 0..4_u32), 400),
        ) {
            let (mut now, mut counts) = (clock::now(), start.clone());
            let mut shards: Vec<_> =
                counts.iter().map(|_| Balance::new(Some(DIFFERENCE), now)).collect();
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
                let gift = shards[here].look(now, here, &counts);
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
    }

    #[test]
    fn what_is_nearly_level_is_left_alone_and_what_is_not_becomes_quite_level() {
        let now = clock::now();
        let mut balance = Balance::new(Some(100), now);
        let none = Gift { to: 0, level: 0, count: 0 };
        assert_eq!(balance.look(now, 0, &[199, 100]), none);
        let later = now + BALANCE_PERIOD;
        assert_eq!(balance.look(later, 0, &[200, 100]), Gift { to: 1, level: 150, count: 50 });
        // It goes on below the difference, to the average, and then rests.
        let later = later + BALANCE_PERIOD;
        assert_eq!(balance.look(later, 0, &[160, 140]), Gift { to: 1, level: 150, count: 10 });
        let later = later + BALANCE_PERIOD;
        assert_eq!(balance.look(later, 0, &[150, 150]), none);
        let later = later + BALANCE_PERIOD;
        assert_eq!(balance.look(later, 0, &[160, 140]), none, "it has to begin anew");
    }

    #[test]
    fn large_shards_are_not_moved_about_for_a_few() {
        let now = clock::now();
        let mut balance = Balance::new(Some(100), now);
        let gift = balance.look(now, 0, &[80_000, 70_001]);
        assert_eq!(gift.count, 0);
        let gift = balance.look(now + BALANCE_PERIOD, 0, &[80_000, 70_000]);
        assert_eq!((gift.to, gift.count), (1, MOVES_PER_PERIOD_MAX));
    }

    #[test]
    fn who_is_told_not_to_gives_nothing_and_need_not_look() {
        let now = clock::now();
        let never = Balance::new(None, now);
        assert_eq!((never.is_due(now), never.next_deadline(9000)), (false, None));
        let small = Balance::new(Some(100), now);
        assert_eq!((small.next_deadline(99), small.next_deadline(100)), (None, Some(now)));
    }
}
