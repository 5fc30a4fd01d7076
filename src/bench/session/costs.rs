//! What a run has cost both sides, and which of them kept it from being faster.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::found::Found;
use super::plan::{Scenario, SessionPlan};
use crate::bench::classes::ClassBytes;
use crate::bench::verdict::{Bottleneck, Taken};
use crate::sys::cpu;

/// The costs, in the form of their JSON. What is the server's is there with `--server-pid` only.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// Cores that the server took while measuring.
    pub server_cores: Option<f64>,
    /// The thread of the server that took most of it, and how much.
    pub server_thread: Option<String>,
    /// See `server_thread`.
    pub server_thread_cores: Option<f64>,
    /// CPU microseconds of the server for each ping of an idle run, all else included.
    pub server_us_per_heartbeat: Option<f64>,
    /// Private memory of the server for each session.
    pub server_bytes_per_session: Option<f64>,
    /// What the server's memory is for, by its own account.
    pub memory_by_class: Vec<ClassBytes>,
    /// The kernel's slabs for each session, both ends.
    pub kernel_bytes_per_session: Option<f64>,
    /// Cores that the generator took while measuring.
    pub generator_cores: f64,
    /// CPU seconds of the generator in all.
    pub generator_cpu_s: f64,
    /// What kept it from being faster; not known where nothing was measured.
    pub bottleneck: Option<Bottleneck>,
}

impl Costs {
    /// Those of what was found.
    pub(super) fn of(plan: &SessionPlan, found: &Found) -> Self {
        let per_session = |bytes: i64| (found.ready > 0).then(|| ratio_of(bytes, found.ready));
        let generator_cores = cores(found.generator_time, found.measured);
        let server_time = match found.server {
            _ if plan.bare => Some(found.floor_time),
            cost => cost.map(|cost| cost.cpu_time),
        };
        let server_cores = server_time.map(|time| cores(time, found.measured));
        let busiest = found.busiest.as_ref().map(|one| cores(one.time, found.measured));
        let taken = Taken {
            server: server_cores.unwrap_or(0.0),
            busiest: busiest.unwrap_or(0.0),
            generator: generator_cores,
            threads: found.threads,
        };
        let bottleneck = || Bottleneck::of(taken, host_cores());
        let is_idle = plan.scenario == Scenario::Idle && found.ready > 0;
        Self {
            server_cores,
            server_thread: found.busiest.as_ref().map(|one| one.name.clone()),
            server_thread_cores: busiest,
            server_us_per_heartbeat: heartbeat_us(server_time, found).filter(|_| is_idle),
            server_bytes_per_session: found.server.and_then(|cost| per_session(cost.bytes)),
            memory_by_class: found.classes.clone(),
            kernel_bytes_per_session: found.server.and_then(|cost| per_session(cost.kernel_bytes)),
            generator_cores,
            generator_cpu_s: found.generator_run_time.as_secs_f64(),
            bottleneck: (!found.measured.is_zero()).then(bottleneck),
        }
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        if let (Some(name), Some(taken)) = (&self.server_thread, self.server_thread_cores) {
            writeln!(f, "busiest       {name} of the server, {taken:.3} cores")?;
        }
        if let Some(us) = self.server_us_per_heartbeat {
            writeln!(f, "heartbeat     {us:.2} us of the server each")?;
        }
        let (now, all) = (self.generator_cores, self.generator_cpu_s);
        writeln!(f, "generator     {now:.3} cores; {all:.1} s of CPU in all")?;
        match self.bottleneck {
            Some(side) => writeln!(f, "bottleneck    {side}"),
            None => Ok(()),
        }
    }
}

/// Cores that this process may use.
pub(super) fn host_cores() -> u32 {
    cpu::usable_count().ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// CPU microseconds for each ping that one of the sessions was due.
#[allow(clippy::cast_precision_loss)] // Counts of one run are below 2^53.
fn heartbeat_us(server: Option<Duration>, found: &Found) -> Option<f64> {
    let each_s = f64::from(found.ping_s);
    let due = found.ready as f64 * found.measured.as_secs_f64() / each_s;
    server.filter(|_| each_s > 0.0 && due > 0.0).map(|time| time.as_secs_f64() * 1e6 / due)
}

#[allow(clippy::cast_precision_loss)] // Bytes of one host are below 2^53.
fn ratio_of(bytes: i64, count: u64) -> f64 {
    bytes as f64 / count as f64
}

fn cores(time: Duration, period: Duration) -> f64 {
    if period.is_zero() { 0.0 } else { time.as_secs_f64() / period.as_secs_f64() }
}
