//! What a run over the client protocol has found: a block for people or one JSON object, and what
//! makes it worthless.
//!
//! Invariant: a summary without faults may be quoted.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::costs::{Costs, host_cores};
use super::found::Found;
use super::page::page;
use super::plan::{Scenario, SessionPlan};
use crate::bench::failures::Failures;
use crate::bench::latency::LatencySummary;
use crate::bench::spread::SpreadSummary;
use crate::bench::tally::Tally;
use crate::bench::timeline::Sample;
use crate::bench::verdict::load_adjusted;
use crate::sys::kernel;

/// Publications that a person is told of one by one.
const PUBLICATIONS_WRITTEN_MAX: usize = 10;

/// The findings of a run, in the form of their JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was run.
    pub scenario: &'static str,
    /// Sessions that should have come to stand.
    pub sessions: u32,
    /// Those that did.
    pub ready: u64,
    /// The share of all attempts that stand, those of a churn included: S/R.
    pub success: f64,
    /// The share of the host's cores that was taken while they began.
    pub ramp_load: f64,
    /// How much load excuses (`--alpha`).
    pub alpha: f64,
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
    /// Each publication of the first channel whose copies were timed.
    pub publications: Vec<SpreadSummary>,
    /// A plain loop in place of a server.
    pub bare: bool,
    /// Echoes of those beside the run, a second, and their times.
    pub echoes_per_second: Option<f64>,
    /// See `echoes_per_second`.
    pub echo_latency: Option<LatencySummary>,
    /// Pings that came, and those that were due.
    pub pings: u64,
    /// See `pings`.
    pub pings_due: u64,
    /// Their share.
    pub heartbeat: Option<f64>,
    /// Sessions that left in a churn.
    pub left: u64,
    /// Attempts to come back, of a churn or a storm.
    pub attempts: u64,
    /// Sessions that came back with all they had missed.
    pub recovered: u64,
    /// Those that came back without.
    pub unrecovered: u64,
    /// From when a session was due to come back to its subscribe reply.
    pub come_back: Option<LatencySummary>,
    /// Seconds until all were back.
    pub storm_s: Option<f64>,
    /// What both sides took.
    #[serde(flatten)]
    pub costs: Costs,
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
        let spread = found.spreads.median().filter(|_| plan.scenario == Scenario::Fanout);
        let costs = Costs::of(plan, &found);
        let is_churn = plan.scenario == Scenario::Churn;
        let (again, attempts) = (found.recovered + found.unrecovered, found.attempts);
        let (again, attempts) = if is_churn { (again, attempts) } else { (0, 0) };
        let success = ratio(found.ready + again, u64::from(plan.sessions()) + attempts);
        let is_storm = plan.scenario == Scenario::Storm;
        let mut summary = Self {
            scenario: name(plan.scenario),
            sessions: plan.sessions(),
            ready: found.ready,
            success,
            ramp_load: found.ramp_load,
            alpha: plan.alpha,
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
            publications: match plan.publications {
                Some(_) => found.spreads.summaries(),
                None => Vec::new(),
            },
            bare: plan.bare,
            echoes_per_second: plan.echo.map(|_| per_second(found.echoes, found.echoed)),
            echo_latency: found.echo_latency.summary(),
            pings: found.pings,
            pings_due: found.pings_due,
            heartbeat: (found.pings_due > 0).then(|| ratio(found.pings, found.pings_due)),
            recovered: found.recovered,
            unrecovered: found.unrecovered,
            come_back: found.come_back.summary(),
            left: found.left,
            attempts: found.attempts,
            storm_s: is_storm.then_some(found.storm.as_secs_f64()),
            costs,
            failed_by: found.failures,
            refused_by: found.refusals,
            closed_by: found.closes,
            unsubscribed: found.unsubscribed,
            tally: found.tally,
            host: format!("{} cores, Linux {}", host_cores(), kernel::release()),
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
            Scenario::Churn => self.attempts.saturating_sub(self.recovered + self.unrecovered),
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
            (away, "sessions, or attempts of a churn, did not come back"),
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
        if plan.echo.is_some() && self.echo_latency.is_none() {
            faults.push("nothing was echoed beside the run".to_owned());
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

    /// Each of the first few by itself.
    fn write_publications(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in self.publications.iter().take(PUBLICATIONS_WRITTEN_MAX) {
            let SpreadSummary { first_to_last_ms, copies, per_second, .. } = one;
            writeln!(
                f,
                "  publication {first_to_last_ms:.1} ms for {copies} copies, {per_second:.0}/s"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ready, sessions, ramp_s, ramp_per_second, .. } = self;
        writeln!(
            f,
            "sessions      {ready} of {sessions} ({:.3} %) in {ramp_s:.1} s, \
             {ramp_per_second:.0}/s",
            ratio(*ready, u64::from(*sessions)) * 100.0
        )?;
        let Self { success, alpha, ramp_load, load_adjusted, .. } = self;
        writeln!(
            f,
            "by load       {load_adjusted:.4} = {success:.4}*e^(-{alpha}*{ramp_load:.3}): of the \
             host's cores {:.1} % were taken meanwhile, by both sides",
            ramp_load * 100.0
        )?;
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
        self.write_publications(f)?;
        if let Some(rate) = self.echoes_per_second {
            writeln!(f, "beside it     {rate:.0} echoes/s")?;
        }
        write_times(f, "their latency", self.echo_latency)?;
        if let Some(share) = self.heartbeat {
            let Self { pings, pings_due, .. } = self;
            writeln!(f, "heartbeats    {:.3} % ({pings} of {pings_due})", share * 100.0)?;
        }
        if self.scenario == "churn" {
            let Self { left, attempts, recovered, unrecovered, .. } = self;
            let (again, measured_s) = (recovered + unrecovered, self.measured_s);
            writeln!(
                f,
                "churn         {left} left in {measured_s:.1} s; {again} of {attempts} attempts to \
                 come back stand ({:.3} %)",
                ratio(again, *attempts) * 100.0
            )?;
        }
        if let Some(storm_s) = self.storm_s {
            let Self { recovered, unrecovered, .. } = self;
            writeln!(
                f,
                "storm         {recovered} recovered, {unrecovered} came back without, \
                 in {storm_s:.1} s"
            )?;
        }
        write_times(f, "to come back", self.come_back)?;
        self.costs.fmt(f)?;
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

fn name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Connect => "connect",
        Scenario::Idle => "idle",
        Scenario::Echo => "echo",
        Scenario::Fanout => "fanout",
        Scenario::Chat => "chat",
        Scenario::Churn => "churn",
        Scenario::Storm => "storm",
    }
}

#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn per_second(count: u64, period: Duration) -> f64 {
    if period.is_zero() { 0.0 } else { count as f64 / period.as_secs_f64() }
}
