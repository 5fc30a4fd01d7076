//! Reads the server's and the generator's costs at the marks of a run.
//!
//! Invariant: all that is read at one mark is read at once, next to the clock, so a share of a
//! core is a quotient of two numbers from the same moment.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::BenchError;
use super::process::{self, BusyThread, Process};
use super::report::ServerCost;
use crate::sys::clock;

/// What was read so far.
pub(super) struct Meter {
    server: Option<Server>,
    started: Duration,
    measured: Duration,
    generator_time: Duration,
}

struct Server {
    pid: u32,
    process: Process,
    cost: ServerCost,
    /// Run times of its threads when measuring started, and who ran for longest since.
    run_times: BTreeMap<u32, Duration>,
    busiest: Option<BusyThread>,
}

impl Server {
    fn cpu_time(&mut self) -> Result<Duration, BenchError> {
        let pid = self.pid;
        self.process.cpu_time().map_err(|error| BenchError::Server { pid, error })
    }

    /// Private memory and the kernel's slabs.
    fn memory(&self) -> Result<(i64, i64), BenchError> {
        let own = self.process.private_bytes();
        let own = own.map_err(|error| BenchError::Server { pid: self.pid, error })?;
        Ok((own.cast_signed(), process::slab_bytes()?.cast_signed()))
    }
}

impl Meter {
    /// Opens the process to be observed.
    pub(super) fn new(server_pid: Option<u32>) -> Result<Self, BenchError> {
        let open = |pid| match Process::open(pid) {
            Ok(process) => Ok(Server {
                pid,
                process,
                cost: ServerCost::default(),
                run_times: BTreeMap::new(),
                busiest: None,
            }),
            Err(error) => Err(BenchError::Server { pid, error }),
        };
        Ok(Self {
            server: server_pid.map(open).transpose()?,
            started: Duration::ZERO,
            measured: Duration::ZERO,
            generator_time: Duration::ZERO,
        })
    }

    /// No connection stands.
    pub(super) fn before_connections(&mut self) -> Result<(), BenchError> {
        self.memory(-1)
    }

    /// All connections stand, and have settled.
    pub(super) fn after_connections(&mut self) -> Result<(), BenchError> {
        self.memory(1)
    }

    fn memory(&mut self, sign: i64) -> Result<(), BenchError> {
        if let Some(server) = &mut self.server {
            let (own, slabs) = server.memory()?;
            server.cost.bytes += sign * own;
            server.cost.kernel_bytes += sign * slabs;
        }
        Ok(())
    }

    /// Measuring starts.
    pub(super) fn start(&mut self, now: Duration) -> Result<(), BenchError> {
        self.started = now;
        self.generator_time = clock::thread_cpu_time();
        if let Some(server) = &mut self.server {
            server.cost.cpu_time = server.cpu_time()?;
            server.run_times.clone_from(server.process.run_times());
        }
        Ok(())
    }

    /// Measuring ends.
    pub(super) fn stop(&mut self, now: Duration) -> Result<(), BenchError> {
        self.measured = now.saturating_sub(self.started);
        self.generator_time = clock::thread_cpu_time().saturating_sub(self.generator_time);
        if let Some(server) = &mut self.server {
            server.cost.cpu_time = server.cpu_time()?.saturating_sub(server.cost.cpu_time);
            server.busiest = server.process.busiest_since(&server.run_times);
        }
        Ok(())
    }

    /// Between `start` and `stop`.
    pub(super) fn measured(&self) -> Duration {
        self.measured
    }

    /// CPU time of this thread between `start` and `stop`.
    pub(super) fn generator_time(&self) -> Duration {
        self.generator_time
    }

    /// The thread of the server that ran for longest between `start` and `stop`.
    pub(super) fn busiest(&self) -> Option<BusyThread> {
        self.server.as_ref().and_then(|server| server.busiest.clone())
    }

    /// What the run cost the server.
    pub(super) fn server_cost(&self) -> Option<ServerCost> {
        self.server.as_ref().map(|server| server.cost)
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
