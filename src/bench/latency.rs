//! Times, as a histogram: from when something was due to when it was there.
#![forbid(unsafe_code)]

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times from when a message was due (or sent, in a closed loop) to its arrival.
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// One minute at most, three significant digits: about 200 KiB, whatever the run's length.
    pub fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants");
        Self { histogram }
    }

    /// Takes one time; what is over a minute counts as a minute.
    pub fn record(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the times of another thread.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the bounds of `new`");
    }

    /// The figures of the report; `None` where nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        if self.histogram.is_empty() {
            return None;
        }
        let at = |quantile| microseconds(self.histogram.value_at_quantile(quantile));
        Some(LatencySummary {
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: microseconds(self.histogram.max()),
        })
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
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
