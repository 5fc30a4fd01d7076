//! What this process did lately, and how much of a core it took for that.
//!
//! ```text
//!   ──┬ from ─────────┬ next ─────────── now ──▶ what was counted since `from`
//!     └── a period ───┘ then `next` is `from`, and now is `next`
//! ```
//!
//! Nobody counts for it in the background: it looks when it is asked, so that the time between is
//! at least a period from the second period on, and as long as nobody has asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::limits::INFO_PERIOD;
use crate::metrics::Counters;

/// Ticks of a core's time, as the kernel tells them to processes, whatever its own are.
const TICKS_PER_SECOND: u64 = 100;

/// Where the last periods began.
#[derive(Clone, Debug)]
pub(in crate::control) struct Pace(Arc<Mutex<Looks>>);

#[derive(Debug)]
struct Looks {
    from: Look,
    next: Look,
}

/// What had been done by some time.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    cpu: Duration,
    counters: Counters,
}

/// What was done since.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Metrics {
    /// Seconds.
    interval: f64,
    /// By the names of the counters; those that are not here did not change.
    items: BTreeMap<&'static str, u64>,
    /// In percent of one core.
    #[serde(skip)]
    pub(super) cpu: f64,
}

impl Pace {
    /// The process has begun.
    pub(in crate::control) fn new() -> Self {
        let begin = Look { at: Instant::now(), cpu: cpu_time(), counters: Counters::default() };
        Self(Arc::new(Mutex::new(Looks { from: begin.clone(), next: begin })))
    }

    /// What was done since the beginning of the last period but one.
    pub(super) fn look(&self, counters: &Counters) -> Metrics {
        let mut looks = self.0.try_lock().expect("one thread, and no wait while it is locked");
        let now = Look { at: Instant::now(), cpu: cpu_time(), counters: counters.clone() };
        looks.look(now)
    }
}

impl Looks {
    fn look(&mut self, now: Look) -> Metrics {
        let metrics = now.since(&self.from);
        if now.at.duration_since(self.next.at) >= INFO_PERIOD {
            self.from = std::mem::replace(&mut self.next, now);
        }
        metrics
    }
}

impl Look {
    fn since(&self, from: &Self) -> Metrics {
        let interval = self.at.duration_since(from.at).as_secs_f64();
        let both = self.counters.iter().zip(from.counters.iter());
        let done = both.map(|((name, now), (_, then))| (name, now.saturating_sub(then)));
        let cpu = self.cpu.saturating_sub(from.cpu).as_secs_f64();
        Metrics {
            interval,
            items: done.filter(|(_, count)| *count > 0).collect(),
            cpu: if interval > 0.0 { 100.0 * cpu / interval } else { 0.0 },
        }
    }
}

/// Time that this process has had on cores, its own and the kernel's for it; none where the kernel
/// does not say.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&stat)
        .map_or(Duration::ZERO, |ticks| Duration::from_millis(ticks * (1000 / TICKS_PER_SECOND)))
}

/// Fields 14 and 15 of the kernel's line (proc(5)). The name before them may have spaces in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, seconds: u64, published: u64) -> Look {
        let counters = Counters { published, ..Counters::default() };
        Look {
            at: at + Duration::from_secs(seconds),
            cpu: Duration::from_secs(published),
            counters,
        }
    }

    #[test]
    fn what_is_told_is_of_the_last_one_or_two_periods() {
        let start = Instant::now();
        let period = u32::try_from(INFO_PERIOD.as_secs()).unwrap();
        let begin = look(start, 0, 0);
        let mut looks = Looks { from: begin.clone(), next: begin };
        for (after, published, interval, done) in [
            (1, 1, 1, 1_u32),
            (period, 5, period, 5),
            (period + 1, 6, period + 1, 6),
            (2 * period, 8, 2 * period, 8),
            (2 * period + 1, 9, period + 1, 4),
            (9 * period, 9, 8 * period, 4),
            (9 * period + 1, 9, 7 * period + 1, 1),
        ] {
            let metrics = looks.look(look(start, after.into(), published));
            let cpu = 100.0 * f64::from(done) / f64::from(interval);
            let expected = (f64::from(interval), u64::from(done));
            assert_eq!((metrics.interval, metrics.items["published"]), expected);
            assert!((metrics.cpu - cpu).abs() < 1e-9);
            assert_eq!(metrics.items.len(), 1, "others did not change");
        }
    }

    #[test]
    fn the_kernels_line_is_read_behind_the_name() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 1 0 5 8 9";
        assert_eq!(ticks(line), Some(300));
        assert_eq!((ticks(""), ticks("7 (a) S 1")), (None, None));
        let own = std::fs::read_to_string("/proc/self/stat").expect("it is there");
        assert!(ticks(&own).is_some());
    }
}
