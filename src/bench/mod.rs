//! The load generator: many clients on one ring and one thread, every byte checked.
//!
//! ```text
//!  BenchArgs ─▶ Plan ─▶ standing | churn ─▶ Findings ─▶ text or JSON, exit code
//!                          │      ▲
//!                      clients ─ wire ─ ring
//! ```
//!
//! `plan`, `payload`, `sequence`, `traffic` and `report` are pure; the clients use the same `ring`
//! and `ws` as the server, `ws` in the client role. One thread does a run, or a `fleet` of them
//! where it takes more descriptors than one table holds; what it says about the server is read from
//! /proc.

mod chart;
pub mod classes;
pub mod failures;
pub mod latency;
pub mod payload;
pub mod plan;
pub mod process;
pub mod report;
pub mod sequence;
pub mod session;
pub mod share;
pub mod sources;
pub mod spread;
pub mod tally;
pub mod terms;
pub mod timeline;
pub mod traffic;
pub mod verdict;

mod churn;
mod clients;
mod fleet;
mod gate;
mod meter;
mod sampler;
mod standing;
mod wire;

use std::process::ExitCode;
use std::{fmt, io};

pub use plan::{BenchArgs, Kind, Plan, PlanError};
pub use report::{Fault, Findings};
pub use session::{SessionArgs, run_sessions};

use self::session::SessionPlanError;
use self::share::Share;
use crate::limits;
use crate::ring::RingError;
use crate::sys::rlimit;

/// Why there was no run.
#[derive(Debug)]
#[non_exhaustive]
pub enum BenchError {
    /// The arguments make no run.
    Plan(PlanError),
    /// Those of a run over the client protocol make none.
    SessionPlan(SessionPlanError),
    /// The ring could not be made.
    Ring(RingError),
    /// The connections do not fit into the descriptor limit.
    Descriptors {
        /// Descriptors that the run needs.
        needed: u64,
        /// Descriptors that this process may have.
        limit: u64,
    },
    /// The server's process cannot be read.
    Server {
        /// As given by `--server-pid`.
        pid: u32,
        /// What the kernel said.
        error: io::Error,
    },
    /// The core is not one that this process may run on.
    Core(usize),
    /// The host runs out of memory.
    Memory {
        /// Bytes that were available at the last look.
        available: u64,
    },
    /// The server does not tell its memory by class.
    Classes {
        /// As given by `--server-metrics`.
        url: String,
        /// What came instead.
        error: io::Error,
    },
    /// The report could not be written.
    Report {
        /// Where to.
        path: std::path::PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another thread of the run has failed, and says why.
    Halted,
    /// A system call that cannot fail here, did.
    System(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::SessionPlan(error) => error.fmt(f),
            Self::Ring(error) => error.fmt(f),
            Self::Descriptors { needed, limit } => write!(
                f,
                "{needed} descriptors are needed and {limit} are allowed: run `ulimit -n {needed}` \
                 as root in this shell, or ask for fewer --connections"
            ),
            Self::Server { pid, error } => write!(
                f,
                "process {pid} cannot be read ({error}): give --server-pid the pid of the running \
                 server, and run as its user or as root"
            ),
            Self::Core(core) => write!(
                f,
                "core {core} cannot be used: give --cpu one of the cores that \
                 `taskset -cp $$` lists"
            ),
            Self::Memory { available } => write!(
                f,
                "stopped: only {} MB of memory were available on this host; ask for fewer \
                 --connections",
                available / 1_000_000
            ),
            Self::Classes { url, error } => write!(
                f,
                "{url} does not tell the server's memory ({error}): give --server-metrics the \
                 address of its operator's port, as http://127.0.0.1:9000"
            ),
            Self::Report { path, error } => {
                write!(f, "the report cannot be written to {}: {error}", path.display())
            }
            Self::Halted => write!(f, "another thread of the generator has failed"),
            Self::System(error) => write!(f, "the system refused: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<PlanError> for BenchError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<SessionPlanError> for BenchError {
    fn from(error: SessionPlanError) -> Self {
        Self::SessionPlan(error)
    }
}

impl From<RingError> for BenchError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

/// Runs the generator and prints what it found.
///
/// The process ends with 0 for a run that may be quoted, with 1 for one that is worthless, and
/// with 2 if there was none.
pub fn run(args: &BenchArgs) -> ExitCode {
    match Plan::new(args).map_err(BenchError::from).and_then(|plan| measure(&plan)) {
        Ok(findings) => {
            if args.json {
                println!("{}", findings.to_json());
            } else {
                print!("{findings}");
            }
            ExitCode::from(findings.exit_code())
        }
        Err(error) => {
            eprintln!("longwire bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the generator: on the calling thread, or on one for each descriptor table that it takes.
pub fn measure(plan: &Plan) -> Result<Findings, BenchError> {
    let table_sockets = table_sockets(plan.descriptors())?;
    let shares = if plan.can_be_split() {
        Share::split(plan.sockets(), table_sockets)
    } else if plan.sockets() > table_sockets {
        let limit = u64::from(table_sockets) + limits::BENCH_DESCRIPTORS_SPARE;
        return Err(BenchError::Descriptors { needed: plan.descriptors(), limit });
    } else {
        vec![Share::whole(plan.sockets())]
    };
    pin(plan.cpu)?;
    match plan.kind {
        Kind::Connect | Kind::Churn => churn::measure(plan),
        Kind::Idle | Kind::Echo | Kind::Fanout => standing::measure(plan, &shares),
    }
}

/// Pins the run to a core, if one is named.
fn pin(cpu: Option<usize>) -> Result<(), BenchError> {
    match cpu {
        Some(core) if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) => {
            Err(BenchError::Core(core))
        }
        _ => Ok(()),
    }
}

/// Sockets that one descriptor table holds, after the limit was raised as far as it can be, or as
/// far as `needed`.
fn table_sockets(needed: u64) -> Result<u32, BenchError> {
    let limit = rlimit::raise_nofile(needed)?.soft.unwrap_or(u64::MAX);
    let room = limit.saturating_sub(limits::BENCH_DESCRIPTORS_SPARE);
    if room == 0 {
        return Err(BenchError::Descriptors { needed, limit });
    }
    Ok(u32::try_from(room).unwrap_or(u32::MAX))
}
