//! What one thread's sessions came to, and all threads' together.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bench::classes::ClassBytes;
use crate::bench::failures::Failures;
use crate::bench::latency::Latency;
use crate::bench::process::BusyThread;
use crate::bench::report::ServerCost;
use crate::bench::spread::Spreads;
use crate::bench::tally::Tally;
use crate::bench::timeline::Sample;

/// Counts and times of one thread, or of several.
#[derive(Default)]
pub(super) struct Found {
    /// Sessions in their channels, when the last had come or failed.
    pub(super) ready: u64,
    /// Those that did not come so far, the first time.
    pub(super) failures: Failures,
    /// Commands that were refused, by code.
    pub(super) refusals: BTreeMap<u32, u64>,
    /// Sessions that the server ended, by close code; 0 without one.
    pub(super) closes: BTreeMap<u16, u64>,
    /// Subscriptions that the server ended.
    pub(super) unsubscribed: u64,
    /// Messages.
    pub(super) tally: Tally,
    /// Publications that arrived while measuring.
    pub(super) messages: u64,
    /// From when a session was due to when it was in its channel.
    pub(super) begin: Latency,
    /// From when a publication was due to when it arrived, while measuring.
    pub(super) latency: Latency,
    /// From the first copy of a publication to the last.
    pub(super) spreads: Spreads,
    /// Pings that came while measuring, none counted beyond those due.
    pub(super) pings: u64,
    /// Pings that were due meanwhile.
    pub(super) pings_due: u64,
    /// Sessions that left in a churn.
    pub(super) left: u64,
    /// Attempts to come back.
    pub(super) attempts: u64,
    /// Sessions that came back after a drop, and had all they missed.
    pub(super) recovered: u64,
    /// Those that came back without.
    pub(super) unrecovered: u64,
    /// From when one that was dropped was due again to when it was in its channel.
    pub(super) come_back: Latency,
    /// How long it took until all were there.
    pub(super) ramp: Duration,
    /// How long it took until all were back.
    pub(super) storm: Duration,
    /// How long was measured.
    pub(super) measured: Duration,
    /// CPU time of the generator meanwhile.
    pub(super) generator_time: Duration,
    /// The whole run's.
    pub(super) generator_run_time: Duration,
    /// What it cost the server.
    pub(super) server: Option<ServerCost>,
    /// The share of the host's cores that was taken while sessions began.
    pub(super) ramp_load: f64,
    /// The thread of the server that ran for longest meanwhile.
    pub(super) busiest: Option<BusyThread>,
    /// What the server's memory is for, when all sessions stand.
    pub(super) classes: Vec<ClassBytes>,
    /// Seconds between two pings, as the server has announced.
    pub(super) ping_s: u32,
    /// Echoes of those beside the run while measuring, how long they did, and their times.
    pub(super) echoes: u64,
    pub(super) echoed: Duration,
    pub(super) echo_latency: Latency,
    /// CPU time of the plain loop's threads while measuring.
    pub(super) floor_time: Duration,
    /// Threads of the generator.
    pub(super) threads: u32,
    /// How the run went.
    pub(super) timeline: Vec<Sample>,
}

impl Found {
    /// Adds what another thread found.
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.latency.add(&other.latency);
        self.measured = self.measured.max(other.measured);
        self.add_rest(other);
    }

    /// Adds what the thread found whose sessions echo beside the run.
    pub(super) fn add_beside(&mut self, other: Self) {
        self.echoes += other.messages;
        self.echoed = other.echoed;
        self.echo_latency.add(&other.latency);
        self.add_rest(other);
    }

    fn add_rest(&mut self, other: Self) {
        self.ready += other.ready;
        self.failures.add(&other.failures);
        add_all(&mut self.refusals, &other.refusals);
        add_all(&mut self.closes, &other.closes);
        self.unsubscribed += other.unsubscribed;
        self.tally.add(&other.tally);
        self.begin.add(&other.begin);
        self.spreads.add(&other.spreads);
        self.pings += other.pings;
        self.pings_due += other.pings_due;
        self.left += other.left;
        self.attempts += other.attempts;
        self.recovered += other.recovered;
        self.unrecovered += other.unrecovered;
        self.come_back.add(&other.come_back);
        self.ramp = self.ramp.max(other.ramp);
        self.storm = self.storm.max(other.storm);
        self.generator_time += other.generator_time;
        self.generator_run_time += other.generator_run_time;
        self.floor_time = self.floor_time.max(other.floor_time);
        // The server and the host are looked at by the first thread, for all.
        self.server = self.server.or(other.server);
        self.busiest = self.busiest.take().or(other.busiest);
        self.ping_s = self.ping_s.max(other.ping_s);
        self.classes.extend(other.classes);
        self.ramp_load = self.ramp_load.max(other.ramp_load);
        if self.timeline.is_empty() {
            self.timeline = other.timeline;
        }
    }
}

fn add_all<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, others: &BTreeMap<K, u64>) {
    for (key, count) in others {
        *sums.entry(*key).or_default() += count;
    }
}
