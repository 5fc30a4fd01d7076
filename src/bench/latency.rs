//! Times, as a histogram: from when something was due to when it was there.
#![forbid(unsafe_code)]

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times from when a message was due (or sent, in a closed loop) to its arrival.
///
/// Made by its first time: each of a generator's threads has several, and needs few in one run.
#[derive(Default)]
pub struct Latency {
    histogram: Option<Histogram<u64>>,
}

impl Latency {
    /// One minute at most, three significant digits: about 200 KiB, whatever the run's length.
    fn histogram(&mut self) -> &mut Histogram<u64> {
        self.histogram.get_or_insert_with(|| {
            Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants")
        })
    }

    /// Takes one time; what is over a minute counts as a minute.
    pub fn record(&mut self, time: Duration) {
        self.histogram().saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the times of another thread.
    pub fn add(&mut self, other: &Self) {
        if let Some(other) = &other.histogram {
            self.histogram().add(other).expect("all have the same bounds");
        }
    }

    /// The figures of the report; `None` where nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        let histogram = self.histogram.as_ref()?;
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Some(LatencySummary {
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: microseconds(histogram.max()),
        })
    }
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // The names say it.
pub struct LatencySummary {
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
}

#[allow(clippy::cast_precision_loss)] // A minute in nanoseconds is below 2^53.
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_threads_are_in_the_sum_and_who_has_none_takes_no_memory() {
        let (mut sum, mut other) = (Latency::default(), Latency::default());
        sum.add(&other);
        assert!(sum.summary().is_none() && sum.histogram.is_none());
        other.record(Duration::from_millis(3));
        sum.add(&other);
        sum.add(&Latency::default());
        assert!((sum.summary().unwrap().max_us - 3000.0).abs() < 10.0);
    }
}
