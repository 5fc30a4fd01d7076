//! How a run went, moment by moment: what its report draws.
//!
//! Invariant: however long a run lasts, it has at most [`BENCH_SAMPLES_MAX`](limits) samples: when
//! there are as many, every second one goes and the time between them doubles.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::limits;

/// What all threads of a run have come to so far; each adds to it once a turn.
#[derive(Debug, Default)]
pub struct Progress {
    standing: AtomicI64,
    delivered: AtomicU64,
}

impl Progress {
    /// So many more sessions stand, or fewer, and so many more publications have arrived.
    pub fn add(&self, standing: i64, delivered: u64) {
        if standing != 0 {
            self.standing.fetch_add(standing, Ordering::Relaxed);
        }
        if delivered > 0 {
            self.delivered.fetch_add(delivered, Ordering::Relaxed);
        }
    }

    /// Sessions in their channels now.
    pub fn standing(&self) -> u64 {
        u64::try_from(self.standing.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Publications that have arrived.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

/// One moment. What is the server's is 0 without `--server-pid`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Sessions in their channels.
    pub standing: u64,
    /// Publications that have arrived so far.
    pub delivered: u64,
    /// CPU seconds of the server so far.
    pub server_cpu_s: f64,
    /// CPU seconds of the generator so far.
    pub generator_cpu_s: f64,
    /// CPU seconds of everything on this host so far.
    pub host_cpu_s: f64,
    /// Private memory of the server.
    pub server_bytes: u64,
    /// The kernel's slabs, of the whole host.
    pub slab_bytes: u64,
    /// What lies in socket buffers, of the whole host.
    pub socket_bytes: u64,
}

/// The samples of a run, at equal distances.
#[derive(Debug)]
pub struct Timeline {
    samples: Vec<Sample>,
    distance: Duration,
    next: Duration,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { samples: Vec::new(), distance: limits::BENCH_SAMPLE_DISTANCE, next: Duration::ZERO }
    }
}

impl Timeline {
    /// Whether it is time for a sample.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Takes the sample of this moment.
    pub fn push(&mut self, now: Duration, sample: Sample) {
        if self.samples.len() >= limits::BENCH_SAMPLES_MAX {
            let mut number = 0;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.distance *= 2;
        }
        self.samples.push(sample);
        self.next = now + self.distance;
    }

    /// All of them, in their order.
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

/// A value of each sample by its time.
pub fn levels(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    samples.iter().map(|sample| (sample.at_s, value(sample))).collect()
}

/// How fast a value grew before each sample, a second.
pub fn rates(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let between = |two: &[Sample]| {
        let period = (two[1].at_s - two[0].at_s).max(1e-3);
        (two[1].at_s, (value(&two[1]) - value(&two[0])) / period)
    };
    samples.windows(2).map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_as_many_samples_as_a_short_one_further_apart() {
        let mut timeline = Timeline::default();
        let mut now = Duration::ZERO;
        for _ in 0..20 * limits::BENCH_SAMPLES_MAX {
            if timeline.is_due(now) {
                let sample = Sample { at_s: now.as_secs_f64(), ..Sample::default() };
                timeline.push(now, sample);
            }
            now += limits::BENCH_SAMPLE_DISTANCE;
        }
        let samples = timeline.into_samples();
        let range = limits::BENCH_SAMPLES_MAX / 2..=limits::BENCH_SAMPLES_MAX;
        assert!(range.contains(&samples.len()), "{}", samples.len());
        assert!(samples[0].at_s.abs() < f64::EPSILON, "the first stays");
        let distances: Vec<f64> = samples.windows(2).map(|two| two[1].at_s - two[0].at_s).collect();
        let (last, first) = (distances[distances.len() - 1], distances[0]);
        assert!((first - last).abs() < 1e-6, "{first} {last}: all of them went");
    }

    #[test]
    fn a_rate_is_what_a_value_grew_by_in_its_time() {
        let sample = |at_s, delivered| Sample { at_s, delivered, ..Sample::default() };
        let samples = [sample(1.0, 100), sample(3.0, 500), sample(4.0, 500)];
        #[allow(clippy::cast_precision_loss)]
        let found = rates(&samples, |sample| sample.delivered as f64);
        assert_eq!(found, [(3.0, 200.0), (4.0, 0.0)]);
    }

    #[test]
    fn what_fell_again_stands_no_more() {
        let progress = Progress::default();
        progress.add(5, 7);
        progress.add(-2, 0);
        assert_eq!((progress.standing(), progress.delivered()), (3, 7));
    }
}
