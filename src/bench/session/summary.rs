//! What a run over the client protocol has found: a block for people or one JSON object, and what
//! makes it worthless.
//!
//! Invariant: a summary without faults may be quoted.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::found::Found;
use super::page::page;
use super::plan::{Scenario, SessionPlan};
use crate::bench::failures::Failures;
use crate::bench::latency::LatencySummary;
use crate::bench::tally::Tally;
use crate::bench::timeline::Sample;
use crate::bench::verdict::{Bottleneck, load_adjusted};
use crate::sys::{cpu, kernel};

/// The findings of a run, in the form of their JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was run.
    pub scenario: &'static str,
    /// Sessions that should have come to stand.
    pub sessions: u32,
    /// Those that did.
    pub ready: u64,
    /// Their share: S/R.
    pub success: f64,
    /// The share of the host's cores that was taken while they began.
    pub ramp_load: f64,
    /// The same success by that load: P·e^(-αL).
    pub load_adjusted: f64,
    /// Connections and sessions that failed, by class.
    pub failed_by: Failures,
    /// Commands that were refused, by the protocol's code.
    pub refused_by: BTreeMap<u32, u64>,
    /// Sessions that the server ended, by close code; 0 for none.
    pub closed_by: BTreeMap<u16, u64>,
    /// Subscriptions that the server ended.
    pub unsubscribed: u64,
    /// Seconds until the last session was there.
    pub ramp_s: f64,
    /// Sessions a second until then.
    pub ramp_per_second: f64,
    /// From when a session was due to its subscribe reply.
    pub begin: Option<LatencySummary>,
    /// Seconds that were measured behind that.
    pub measured_s: f64,
    /// Publications that arrived while measuring.
    pub messages: u64,
    /// The same a second.
    pub messages_per_second: f64,
    /// The balance of all publications.
    pub tally: Tally,
    /// Those that never arrived.
    pub lost: u64,
    /// From when a publication was due to its arrival.
    pub latency: Option<LatencySummary>,
    /// Milliseconds from the first to the last copy of a publication in the first channel.
    pub spread_ms: Option<f64>,
    /// Copies a second meanwhile.
    pub spread_per_second: Option<f64>,
    /// Pings that came, and those that were due.
    pub pings: u64,
    /// See `pings`.
    pub pings_due: u64,
    /// Their share.
    pub heartbeat: Option<f64>,
    /// Sessions that came back with all they had missed.
    pub recovered: u64,
    /// Those that came back without.
    pub unrecovered: u64,
    /// From when a session was due to come back to its subscribe reply.
    pub come_back: Option<LatencySummary>,
    /// Seconds until all were back.
    pub storm_s: Option<f64>,
    /// Cores that the server took while measuring.
    pub server_cores: Option<f64>,
    /// Private memory of the server for each session.
    pub server_bytes_per_session: Option<f64>,
    /// The kernel's slabs for each session, both ends.
    pub kernel_bytes_per_session: Option<f64>,
    /// Cores that the generator took while measuring.
    pub generator_cores: f64,
    /// CPU seconds of the generator in all.
    pub generator_cpu_s: f64,
    /// What kept it from being faster; not known where nothing was measured.
    pub bottleneck: Option<Bottleneck>,
    /// Where it ran.
    pub host: String,
    /// How it went.
    pub timeline: Vec<Sample>,
    /// What makes the run worthless, in words.
    pub faults: Vec<String>,
    /// The objectives that were missed, in words.
    pub missed: Vec<String>,
}

impl Summary {
    /// The summary of what was found.
    pub(super) fn new(plan: &SessionPlan, found: Found) -> Self {
        let per_session = |bytes: i64| (found.ready > 0).then(|| ratio_of(bytes, found.ready));
        let spread = found.spreads.median().filter(|_| plan.scenario == Scenario::Fanout);
        let host_cores = host_cores();
        let generator_cores = cores(found.generator_time, found.measured);
        let server_cores = found.server.map(|cost| cores(cost.cpu_time, found.measured));
        let bottleneck =
            || Bottleneck::of(server_cores, generator_cores, found.threads, host_cores);
        let success = ratio(found.ready, u64::from(plan.connections));
        let is_storm = plan.scenario == Scenario::Storm;
        let mut summary = Self {
            scenario: name(plan.scenario),
            sessions: plan.connections,
            ready: found.ready,
            success,
            ramp_load: found.ramp_load,
            load_adjusted: load_adjusted(success, plan.alpha, found.ramp_load),
            lost: found.tally.lost(),
            ramp_s: found.ramp.as_secs_f64(),
            ramp_per_second: per_second(found.ready, found.ramp),
            begin: found.begin.summary(),
            measured_s: found.measured.as_secs_f64(),
            messages: found.messages,
            messages_per_second: per_second(found.messages, found.measured),
            latency: found.latency.summary(),
            spread_ms: spread.map(|(period, _)| period.as_secs_f64() * 1e3),
            spread_per_second: spread.map(|(_, rate)| rate),
            pings: found.pings,
            pings_due: found.pings_due,
            heartbeat: (found.pings_due > 0).then(|| ratio(found.pings, found.pings_due)),
            recovered: found.recovered,
            unrecovered: found.unrecovered,
            come_back: found.come_back.summary(),
            storm_s: is_storm.then_some(found.storm.as_secs_f64()),
            server_cores,
            server_bytes_per_session: found.server.and_then(|cost| per_session(cost.bytes)),
            kernel_bytes_per_session: found.server.and_then(|cost| per_session(cost.kernel_bytes)),
            generator_cores,
            generator_cpu_s: found.generator_run_time.as_secs_f64(),
            failed_by: found.failures,
            refused_by: found.refusals,
            closed_by: found.closes,
            unsubscribed: found.unsubscribed,
            tally: found.tally,
            bottleneck: (!found.measured.is_zero()).then(bottleneck),
            host: format!("{host_cores} cores, Linux {}", kernel::release()),
            timeline: found.timeline,
            faults: Vec::new(),
            missed: Vec::new(),
        };
        summary.faults = summary.find_faults(plan);
        summary
    }

    /// What makes the run worthless; empty for a good one.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// One page for people, with plots.
    pub fn to_html(&self) -> String {
        page(self)
    }

    /// One JSON object on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are always JSON")
    }

    fn find_faults(&self, plan: &SessionPlan) -> Vec<String> {
        let missing = u64::from(self.sessions).saturating_sub(self.ready);
        let refused: u64 = self.refused_by.values().sum();
        let away = match plan.scenario {
            Scenario::Storm => {
                let dropped = self.ready.saturating_sub(u64::from(plan.publishers));
                dropped.saturating_sub(self.recovered + self.unrecovered)
            }
            _ => 0,
        };
        let pings_missing = self.pings_due.saturating_sub(self.pings);
        let counted = [
            (missing, "sessions did not come to stand"),
            (refused, "commands were refused"),
            (self.tally.broken, "sessions were ended by the server"),
            (self.unsubscribed, "subscriptions were ended by the server"),
            (self.lost, "publications lost"),
            (self.tally.repeated, "publications came twice or out of order"),
            (self.tally.corrupt, "messages corrupt"),
            (pings_missing, "pings did not come"),
            (away, "sessions did not come back"),
        ];
        let mut faults: Vec<String> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let publishes = matches!(plan.scenario, Scenario::Echo | Scenario::Fanout | Scenario::Chat);
        if publishes && self.messages == 0 {
            faults.push("no publication arrived while measuring".to_owned());
        }
        faults
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed_by.total() > 0 {
            writeln!(f, "failed        {}: {}", self.failed_by.total(), self.failed_by)?;
        }
        for (code, count) in &self.refused_by {
            writeln!(f, "refused       {count} with code {code}")?;
        }
        for (code, count) in &self.closed_by {
            writeln!(f, "closed        {count} with code {code}")?;
        }
        Ok(())
    }

    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = self.server_cores {
            write!(f, "server        {server:.3} cores")?;
            if let Some(bytes) = self.server_bytes_per_session {
                write!(f, ", {bytes:.0} B per session")?;
            }
            if let Some(bytes) = self.kernel_bytes_per_session {
                write!(f, " (kernel {bytes:.0} B, both ends)")?;
            }
            writeln!(f)?;
        }
        let (now, all) = (self.generator_cores, self.generator_cpu_s);
        writeln!(f, "generator     {now:.3} cores; {all:.1} s of CPU in all")?;
        match self.bottleneck {
            Some(side) => writeln!(f, "bottleneck    {side}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ready, sessions, ramp_s, ramp_per_second, .. } = self;
        writeln!(
            f,
            "sessions      {ready} of {sessions} ({:.3} %) in {ramp_s:.1} s, \
             {ramp_per_second:.0}/s",
            self.success * 100.0
        )?;
        let Self { ramp_load, load_adjusted, .. } = self;
        writeln!(f, "by load       {load_adjusted:.4} (load {:.0} %)", ramp_load * 100.0)?;
        self.write_failures(f)?;
        write_times(f, "to subscribed", self.begin)?;
        if self.tally.expected > 0 {
            writeln!(
                f,
                "publications  {} of {} arrived; {:.0}/s while measuring",
                self.tally.arrived, self.tally.expected, self.messages_per_second
            )?;
        }
        write_times(f, "latency", self.latency)?;
        if let (Some(spread), Some(rate)) = (self.spread_ms, self.spread_per_second) {
            writeln!(f, "first to last {spread:.1} ms, {rate:.0} deliveries/s")?;
        }
        if let Some(share) = self.heartbeat {
            let Self { pings, pings_due, .. } = self;
            writeln!(f, "heartbeats    {:.3} % ({pings} of {pings_due})", share * 100.0)?;
        }
        if let Some(storm_s) = self.storm_s {
            let Self { recovered, unrecovered, .. } = self;
            writeln!(
                f,
                "storm         {recovered} recovered, {unrecovered} came back without, \
                 in {storm_s:.1} s"
            )?;
        }
        write_times(f, "to recovered", self.come_back)?;
        self.write_costs(f)?;
        for fault in &self.faults {
            writeln!(f, "WORTHLESS     {fault}")?;
        }
        for objective in &self.missed {
            writeln!(f, "MISSED        {objective}")?;
        }
        Ok(())
    }
}

fn write_times(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    times: Option<LatencySummary>,
) -> fmt::Result {
    let Some(LatencySummary { p50_us, p95_us, p99_us, max_us, .. }) = times else { return Ok(()) };
    writeln!(
        f,
        "{name:<13} p50 {:.2} ms, p95 {:.2}, p99 {:.2}, max {:.2}",
        p50_us / 1e3,
        p95_us / 1e3,
        p99_us / 1e3,
        max_us / 1e3
    )
}

fn host_cores() -> u32 {
    cpu::usable_count().ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

fn name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Connect => "connect",
        Scenario::Idle => "idle",
        Scenario::Echo => "echo",
        Scenario::Fanout => "fanout",
        Scenario::Chat => "chat",
        Scenario::Storm => "storm",
    }
}

#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[allow(clippy::cast_precision_loss)] // Bytes of one host are below 2^53.
fn ratio_of(bytes: i64, count: u64) -> f64 {
    bytes as f64 / count as f64
}

#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn per_second(count: u64, period: Duration) -> f64 {
    if period.is_zero() { 0.0 } else { count as f64 / period.as_secs_f64() }
}

fn cores(time: Duration, period: Duration) -> f64 {
    if period.is_zero() { 0.0 } else { time.as_secs_f64() / period.as_secs_f64() }
}
