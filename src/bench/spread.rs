//! How long one publication takes to reach everybody: from its first copy to its last.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

use crate::limits;

/// Publications of one channel, by their numbers from 1. Those behind the first
/// [`BENCH_PUBLICATIONS_TIMED`](limits::BENCH_PUBLICATIONS_TIMED) are not followed.
#[derive(Clone, Debug, Default)]
pub struct Spreads(Vec<Spread>);

/// How one publication spread, in the form of its JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpreadSummary {
    /// When the first copy came, in milliseconds of the run.
    pub first_ms: f64,
    /// Milliseconds from the first copy to the last.
    pub first_to_last_ms: f64,
    /// Copies that came.
    pub copies: u64,
    /// Copies a second in between.
    pub per_second: f64,
}

/// One publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spread {
    first: Duration,
    last: Duration,
    copies: u64,
}

const NONE: Spread = Spread { first: Duration::MAX, last: Duration::ZERO, copies: 0 };

impl Spreads {
    /// A copy of publication `number` has arrived.
    pub fn arrive(&mut self, number: u32, now: Duration) {
        let Some(index) = (number as usize).checked_sub(1) else { return };
        if index >= limits::BENCH_PUBLICATIONS_TIMED {
            return;
        }
        if index >= self.0.len() {
            self.0.resize(index + 1, NONE);
        }
        self.0[index].add(Spread { first: now, last: now, copies: 1 });
    }

    /// Adds those copies that another thread has seen.
    pub fn add(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), NONE);
        }
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            own.add(*other);
        }
    }

    /// Each publication that had several copies, in order.
    pub fn summaries(&self) -> Vec<SpreadSummary> {
        let summary = |one: &Spread| {
            let (period, copies) = one.period()?;
            Some(SpreadSummary {
                first_ms: one.first.as_secs_f64() * 1e3,
                first_to_last_ms: period.as_secs_f64() * 1e3,
                copies,
                per_second: per_second(copies, period),
            })
        };
        self.0.iter().filter_map(summary).collect()
    }

    /// The median time from first to last copy, and the deliveries a second within it.
    pub fn median(&self) -> Option<(Duration, f64)> {
        let mut all: Vec<(Duration, u64)> = self.0.iter().filter_map(Spread::period).collect();
        all.sort_unstable();
        let (period, copies) = *all.get(all.len() / 2)?;
        Some((period, per_second(copies, period)))
    }
}

#[allow(clippy::cast_precision_loss)] // Copies of one publication are below 2^53.
fn per_second(copies: u64, period: Duration) -> f64 {
    // Copies that all came in one reading of the clock came within a nanosecond.
    copies as f64 / period.max(Duration::from_nanos(1)).as_secs_f64()
}

impl Spread {
    fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.copies += other.copies;
    }

    /// Of one copy there is no first and last.
    fn period(&self) -> Option<(Duration, u64)> {
        (self.copies > 1).then(|| (self.last.saturating_sub(self.first), self.copies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn copies_that_different_threads_have_seen_are_of_one_publication() {
        let (mut one, mut other) = (Spreads::default(), Spreads::default());
        one.arrive(1, MS * 5);
        other.arrive(1, MS * 25);
        other.arrive(1, MS * 15);
        other.arrive(2, MS * 40);
        one.add(&other);
        // The second has one copy, which has no first and last.
        assert_eq!(one.median(), Some((MS * 20, 150.0)));
        let [only] = one.summaries()[..] else { panic!("one publication") };
        assert!((only.first_ms - 5.0).abs() < 1e-9 && (only.first_to_last_ms - 20.0).abs() < 1e-9);
        assert!(only.copies == 3 && (only.per_second - 150.0).abs() < 1e-6, "{only:?}");
    }

    #[test]
    fn the_middle_one_of_several_is_told() {
        let mut spreads = Spreads::default();
        for (number, period) in [(1, 10), (2, 1000), (3, 20)] {
            spreads.arrive(number, MS);
            spreads.arrive(number, MS + MS * period);
        }
        assert_eq!(spreads.median(), Some((MS * 20, 100.0)));
        assert_eq!(Spreads::default().median(), None);
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut spreads = Spreads::default();
        spreads.arrive(u32::MAX, MS);
        spreads.arrive(0, MS);
        assert!(spreads.0.is_empty());
    }
}
