//! Durations by size: counts in fixed buckets, and their sum.

use std::ops::AddAssign;
use std::time::Duration;

/// The upper bounds of the buckets, the bound included; what is longer than the last has a bucket
/// of its own. From a command that finds everything in the cache to a stall that clients notice.
const BOUNDS_US: [u64; 14] =
    [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Plain integers, so that histograms of shards add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

impl Histogram {
    /// How many numbers make one.
    pub(super) const COUNT: usize = BUCKETS + 1;

    /// Counts `count` durations that took `total` together, as equal ones.
    pub fn observe(&mut self, total: Duration, count: u64) {
        let total_ns = u64::try_from(total.as_nanos()).unwrap_or(u64::MAX);
        let each_ns = total_ns.checked_div(count).unwrap_or_default();
        let bucket = BOUNDS_US.partition_point(|bound| bound * 1000 < each_ns);
        self.counts[bucket] += count;
        self.sum_ns = self.sum_ns.saturating_add(total_ns);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_ns).as_secs_f64()
    }

    /// Upper bounds in seconds, the last one infinite, and how many lie between a bound and the
    /// one before it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64());
        bounds.chain([f64::INFINITY]).zip(self.counts)
    }

    /// What the numbers are called, in their order: by bounds, so that those of other bounds are
    /// not taken for them.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let bounds = BOUNDS_US.iter().map(|bound| format!("to_{bound}_us"));
        bounds.chain(["longer".to_owned(), "sum_ns".to_owned()])
    }

    pub(super) fn values(&self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().chain([self.sum_ns])
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counts.iter_mut().chain([&mut self.sum_ns])
    }
}

impl AddAssign<&Self> for Histogram {
    fn add_assign(&mut self, other: &Self) {
        for (value, more) in self.values_mut().zip(other.values()) {
            *value = value.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds, in microseconds, of the buckets that are not empty.
    fn filled(histogram: &Histogram) -> Vec<(f64, u64)> {
        let filled = histogram.buckets().filter(|(_, count)| *count > 0);
        filled.map(|(bound, count)| ((bound * 1e6).round(), count)).collect()
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for nanoseconds in [0, 1000, 1001, 5000, 2_500_000_000, 2_500_000_001] {
            histogram.observe(Duration::from_nanos(nanoseconds), 1);
        }
        assert_eq!(filled(&histogram), [(1.0, 2), (5.0, 2), (2.5e6, 1), (f64::INFINITY, 1)]);
        assert_eq!((histogram.count(), histogram.sum_ns), (6, 5_000_007_002));
    }

    #[test]
    fn what_was_done_together_is_shared_equally() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_micros(40), 4);
        assert_eq!((filled(&histogram), histogram.sum_ns), (vec![(10.0, 4)], 40_000));
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_micros(3), 1);
        other.observe(Duration::from_micros(4), 2);
        other.observe(Duration::from_secs(9), 1);
        one += &other;
        assert_eq!(filled(&one), [(5.0, 3), (f64::INFINITY, 1)]);
        assert_eq!(one.sum_ns, 9_000_007_000);
    }
}
