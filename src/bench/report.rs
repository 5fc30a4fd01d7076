//! What a run has found: counts, times and costs in; a block for people or one JSON object, and
//! a verdict, out.
//!
//! Invariant: a report whose `faults()` is empty may be quoted. Anything that makes its numbers
//! worthless (lost messages, a generator that was the bottleneck) is a fault, is printed, and
//! ends the process with 1.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::failures::Failures;
use super::latency::LatencySummary;
use super::plan::Kind;
use super::tally::Tally;

/// The generator's core is taken as full above this share of it.
const GENERATOR_SHARE_MAX: f64 = 0.95;

/// Below this share of its core the server was not what limited the run.
const SERVER_SHARE_MIN: f64 = 0.90;

/// What the run cost the server; read from /proc, so only with `--server-pid`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerCost {
    /// CPU time while messages were counted.
    pub cpu_time: Duration,
    /// Private memory with all connections standing minus that before.
    pub bytes: i64,
    /// The kernel's slabs, host-wide, likewise: both ends of every connection.
    pub kernel_bytes: i64,
}

/// All that a run has found.
pub struct Findings {
    /// What was run.
    pub kind: Kind,
    /// Against a bare server.
    pub bare: bool,
    /// How long was measured.
    pub measured: Duration,
    /// Connections (or handshakes, for `Kind::Connect`) that came to stand.
    pub connected: u64,
    /// Those that did not.
    pub failures: Failures,
    /// Copies that arrived while measuring: echoes, deliveries or handshakes.
    pub messages: u64,
    /// The whole run's balance.
    pub tally: Tally,
    /// Times of `messages`.
    pub latency: Option<LatencySummary>,
    /// Times of the probes that echo beside a fan-out.
    pub probe_latency: Option<LatencySummary>,
    /// CPU time of the generator while measuring.
    pub generator_time: Duration,
    /// What it cost the server.
    pub server: Option<ServerCost>,
}

/// What makes a run worthless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Not one connection stands.
    NothingConnected,
    /// Some connections do not stand.
    Failed(u64),
    /// Standing connections ended by themselves.
    Broken(u64),
    /// Messages that never came.
    Lost(u64),
    /// Messages that came twice.
    Repeated(u64),
    /// Messages that came late.
    OutOfOrder(u64),
    /// Messages that are not what was sent.
    Corrupt(u64),
    /// Nothing arrived while measuring, though something should have.
    NoMessages,
    /// The generator's core was full while the server's was not.
    Saturated {
        /// Share of its core that the generator took.
        generator: f64,
        /// Share of one core that the server took.
        server: f64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingConnected => write!(f, "no connection stands"),
            Self::Failed(count) => write!(f, "{count} connections failed"),
            Self::Broken(count) => write!(f, "{count} standing connections ended by themselves"),
            Self::Lost(count) => write!(f, "{count} messages lost"),
            Self::Repeated(count) => write!(f, "{count} messages came twice"),
            Self::OutOfOrder(count) => write!(f, "{count} messages out of order"),
            Self::Corrupt(count) => write!(f, "{count} messages corrupt"),
            Self::NoMessages => write!(f, "no message arrived while measuring"),
            Self::Saturated { generator, server } => write!(
                f,
                "the generator was the bottleneck: it took {:.0} % of its core, the server {:.0} %",
                generator * 100.0,
                server * 100.0
            ),
        }
    }
}

impl Findings {
    /// Share of its core that the generator took while measuring.
    pub fn generator_share(&self) -> f64 {
        share(self.generator_time, self.measured)
    }

    /// Share of one core that the server took while measuring.
    pub fn server_share(&self) -> Option<f64> {
        Some(share(self.server?.cpu_time, self.measured))
    }

    /// CPU microseconds of the server per echo, delivery or handshake.
    pub fn server_us_per_message(&self) -> Option<f64> {
        (self.messages > 0).then_some(())?;
        Some(self.server?.cpu_time.as_secs_f64() * 1e6 / count(self.messages))
    }

    fn per_connection(&self, bytes: impl Fn(ServerCost) -> i64) -> Option<f64> {
        (self.connected > 0 && !matches!(self.kind, Kind::Connect | Kind::Churn)).then_some(())?;
        #[allow(clippy::cast_precision_loss)] // Bytes of one host are below 2^53.
        Some(bytes(self.server?) as f64 / count(self.connected))
    }

    /// What makes the run worthless; empty for a good one.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let tally = &self.tally;
        if self.connected == 0 {
            faults.push(Fault::NothingConnected);
        }
        let counted = [
            (self.failures.total(), Fault::Failed as fn(u64) -> Fault),
            (tally.broken, Fault::Broken),
            (tally.lost(), Fault::Lost),
            (tally.repeated, Fault::Repeated),
            (tally.out_of_order, Fault::OutOfOrder),
            (tally.corrupt, Fault::Corrupt),
        ];
        faults.extend(counted.iter().filter(|(n, _)| *n > 0).map(|&(n, fault)| fault(n)));
        if self.messages == 0 && self.kind != Kind::Idle {
            faults.push(Fault::NoMessages);
        }
        let generator = self.generator_share();
        if let Some(server) = self.server_share()
            && generator > GENERATOR_SHARE_MAX
            && server < SERVER_SHARE_MIN
        {
            faults.push(Fault::Saturated { generator, server });
        }
        faults
    }

    /// What the process ends with: 0 for a run that may be quoted.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.faults().is_empty())
    }

    /// One JSON object on one line.
    pub fn to_json(&self) -> String {
        let faults = self.faults();
        let summary = Summary {
            kind: self.noun(),
            bare: self.bare,
            seconds: self.measured.as_secs_f64(),
            connected: self.connected,
            failed: self.failures.total(),
            failed_by: &self.failures,
            messages: self.messages,
            messages_per_second: self.messages_per_second(),
            lost: self.tally.lost(),
            tally: &self.tally,
            latency: self.latency,
            probe: self.probe_latency,
            server_us_per_message: self.server_us_per_message(),
            server_cpu: self.server_share(),
            server_bytes_per_connection: self.per_connection(|cost| cost.bytes),
            kernel_bytes_per_connection: self.per_connection(|cost| cost.kernel_bytes),
            generator_cpu: self.generator_share(),
            saturated: faults.iter().any(|fault| matches!(fault, Fault::Saturated { .. })),
            faults: faults.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_string(&summary).expect("numbers and strings are always JSON")
    }

    fn messages_per_second(&self) -> f64 {
        if self.measured.is_zero() {
            return 0.0;
        }
        count(self.messages) / self.measured.as_secs_f64()
    }

    /// What one message of this run is.
    fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Connect | Kind::Churn => "handshake",
            Kind::Idle => "idle",
            Kind::Echo => "echo",
            Kind::Fanout => "delivery",
        }
    }
}

/// The JSON form. `latency` and `tally` lie flat in it.
#[derive(Serialize)]
struct Summary<'a> {
    kind: &'static str,
    bare: bool,
    seconds: f64,
    connected: u64,
    failed: u64,
    failed_by: &'a Failures,
    messages: u64,
    messages_per_second: f64,
    lost: u64,
    #[serde(flatten)]
    tally: &'a Tally,
    #[serde(flatten)]
    latency: Option<LatencySummary>,
    probe: Option<LatencySummary>,
    server_us_per_message: Option<f64>,
    server_cpu: Option<f64>,
    server_bytes_per_connection: Option<f64>,
    kernel_bytes_per_connection: Option<f64>,
    generator_cpu: f64,
    saturated: bool,
    faults: Vec<String>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connected     {}", self.connected)?;
        if self.failures.total() > 0 {
            write!(f, "   failed {}: {}", self.failures.total(), self.failures)?;
        }
        writeln!(f)?;
        if self.kind != Kind::Idle {
            writeln!(
                f,
                "messages      {} {} in {:.2} s, {:.0}/s",
                self.messages,
                self.noun(),
                self.measured.as_secs_f64(),
                self.messages_per_second()
            )?;
            let Tally { repeated, out_of_order, corrupt, broken, .. } = &self.tally;
            writeln!(
                f,
                "faults        lost {}, repeated {repeated}, out of order {out_of_order}, \
                 corrupt {corrupt}, broken {broken}",
                self.tally.lost()
            )?;
        }
        for (name, latency) in [("latency", self.latency), ("probes", self.probe_latency)] {
            if let Some(LatencySummary { p50_us, p99_us, p99_9_us, max_us, .. }) = latency {
                writeln!(
                    f,
                    "{name:<13} p50 {p50_us:.0} us, p99 {p99_us:.0}, p99.9 {p99_9_us:.0}, \
                     max {max_us:.0}"
                )?;
            }
        }
        self.write_costs(f)?;
        for fault in self.faults() {
            writeln!(f, "WORTHLESS     {fault}")?;
        }
        Ok(())
    }
}

impl Findings {
    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = self.server_share() {
            write!(f, "server        {:.2} % of a core", server * 100.0)?;
            if let Some(each) = self.server_us_per_message() {
                write!(f, ", {each:.3} us per {}", self.noun())?;
            }
            if let Some(each) = self.per_connection(|cost| cost.bytes) {
                write!(f, ", {each:.0} B per connection")?;
            }
            if let Some(each) = self.per_connection(|cost| cost.kernel_bytes) {
                write!(f, " (kernel {each:.0} B, both ends)")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "generator     {:.1} % of its core", self.generator_share() * 100.0)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / whole.as_secs_f64()
}

#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latency;
    use super::*;

    fn good() -> Findings {
        let mut latency = Latency::default();
        for time in 1..=1000 {
            latency.record(Duration::from_micros(time));
        }
        Findings {
            kind: Kind::Echo,
            bare: false,
            measured: Duration::from_secs(2),
            connected: 10,
            failures: Failures::default(),
            messages: 1000,
            tally: Tally { expected: 1200, arrived: 1200, ..Tally::default() },
            latency: latency.summary(),
            probe_latency: None,
            generator_time: Duration::from_secs(1),
            server: Some(ServerCost {
                cpu_time: Duration::from_millis(5),
                bytes: 960,
                kernel_bytes: 38_000,
            }),
        }
    }

    fn faults(change: impl Fn(&mut Findings)) -> Vec<Fault> {
        let mut findings = good();
        change(&mut findings);
        findings.faults()
    }

    #[test]
    fn a_good_run_has_no_fault() {
        assert_eq!(faults(|_| ()), []);
    }

    #[test]
    fn each_fault_is_of_its_own_class() {
        assert_eq!(faults(|r| r.tally.arrived -= 3), [Fault::Lost(3)]);
        assert_eq!(faults(|r| r.tally.repeated = 1), [Fault::Repeated(1)]);
        assert_eq!(faults(|r| r.tally.out_of_order = 2), [Fault::OutOfOrder(2)]);
        assert_eq!(faults(|r| r.tally.corrupt = 4), [Fault::Corrupt(4)]);
        assert_eq!(faults(|r| r.tally.broken = 5), [Fault::Broken(5)]);
        assert_eq!(faults(|r| r.failures.timeout = 1), [Fault::Failed(1)]);
        assert_eq!(faults(|r| r.failures.http = [(503, 2)].into()), [Fault::Failed(2)]);
        assert_eq!(faults(|r| r.connected = 0), [Fault::NothingConnected]);
        assert_eq!(faults(|r| r.messages = 0), [Fault::NoMessages]);
        assert_eq!(faults(|r| (r.messages, r.kind) = (0, Kind::Idle)), []);
    }

    #[test]
    fn a_full_generator_beside_a_server_with_room_is_a_fault() {
        let busy = |generator: u64, server: u64| {
            faults(|r| {
                r.generator_time = Duration::from_millis(generator);
                r.server = Some(ServerCost {
                    cpu_time: Duration::from_millis(server),
                    ..ServerCost::default()
                });
            })
        };
        assert_eq!(busy(1920, 1000), [Fault::Saturated { generator: 0.96, server: 0.5 }]);
        assert_eq!(busy(1920, 1820), []);
        assert_eq!(busy(1880, 1000), []);
    }

    #[test]
    fn costs_are_divided_by_what_they_paid_for() {
        let findings = good();
        assert_eq!(findings.server_us_per_message(), Some(5.0));
        let json: serde_json::Value = serde_json::from_str(&findings.to_json()).unwrap();
        assert_eq!(json["server_us_per_message"], 5.0);
        assert_eq!(json["server_bytes_per_connection"], 96.0);
        assert_eq!(json["kernel_bytes_per_connection"], 3800.0);
        assert_eq!(json["server_cpu"], 0.0025);
        assert_eq!(json["generator_cpu"], 0.5);
        assert_eq!(json["messages_per_second"], 500.0);
        assert_eq!(json["lost"], 0);
        assert_eq!(json["repeated"], 0);
        assert_eq!(json["failed_by"]["timeout"], 0);
        assert!((json["p50_us"].as_f64().unwrap() - 500.0).abs() < 1.0);
        assert!((json["p99_us"].as_f64().unwrap() - 990.0).abs() < 1.0);
        assert!((json["p99_9_us"].as_f64().unwrap() - 999.0).abs() < 1.0);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let mut findings = good();
        (findings.messages, findings.connected) = (0, 0);
        findings.measured = Duration::ZERO;
        assert_eq!((findings.messages_per_second(), findings.generator_share()), (0.0, 0.0));
        let json: serde_json::Value = serde_json::from_str(&findings.to_json()).unwrap();
        assert!(json["server_us_per_message"].is_null());
        assert!(json["server_bytes_per_connection"].is_null());
    }

    #[test]
    fn people_are_told_every_fault() {
        let mut findings = good();
        findings.tally.arrived -= 3;
        findings.tally.corrupt = 1;
        findings.failures.http = [(503, 2)].into();
        let text = findings.to_string();
        for line in ["3 messages lost", "1 messages corrupt", "2 connections failed", "http 503: 2"]
        {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
