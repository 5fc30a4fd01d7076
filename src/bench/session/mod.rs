//! The load generator over the client protocol: sessions with a user and a channel each.
//!
//! ```text
//!   SessionArgs ─▶ SessionPlan ─▶ run ─┬─ thread 0: clients ◀─▶ crowd ─┬─▶ Summary ─▶ text, JSON
//!                                      └─ thread 1: …                 ─┘
//! ```
//!
//! What a session says and is told is in `words`, which publication is which in `parcel`; both are
//! pure, as are `plan`, `summary` and what is counted.

mod backoff;
mod churn;
pub mod costs;
mod crowd;
mod floor;
mod found;
mod member;
mod page;
pub mod parcel;
pub mod plan;
mod plan_error;
mod publish;
mod run;
pub mod slo;
mod storm;
pub mod summary;
pub mod tokens;
pub mod words;

use std::path::Path;
use std::process::ExitCode;

pub use self::plan::{Scenario, SessionArgs, SessionPlan};
pub use self::plan_error::SessionPlanError;
pub use self::slo::Slo;
pub use self::summary::Summary;
use super::{BenchError, pin, table_sockets};

/// Runs the generator and prints what it found; `json` asks for one JSON object, `report` for a
/// page with plots beside it.
///
/// The process ends with 0 for a run that may be quoted, with 1 for one that is worthless, and
/// with 2 if there was none. Where there are objectives, these decide between 0 and 1.
pub fn run_sessions(
    args: &SessionArgs,
    slo: Option<Slo>,
    json: bool,
    report: Option<&Path>,
) -> ExitCode {
    let measured = SessionPlan::new(args).map_err(BenchError::from).and_then(|plan| {
        let mut summary = measure(&plan)?;
        summary.missed = slo.map_or_else(Vec::new, |slo| slo.missed(&summary));
        report.map_or(Ok(()), |path| write_report(path, &summary))?;
        Ok(summary)
    });
    match measured {
        Ok(summary) => {
            if json {
                println!("{}", summary.to_json());
            } else {
                print!("{summary}");
            }
            let is_bad = match slo {
                Some(_) => !summary.missed.is_empty(),
                None => !summary.faults().is_empty(),
            };
            ExitCode::from(u8::from(is_bad))
        }
        Err(error) => {
            eprintln!("longwire bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn write_report(path: &Path, summary: &Summary) -> Result<(), BenchError> {
    let written = std::fs::write(path, summary.to_html());
    written.map_err(|error| BenchError::Report { path: path.to_owned(), error })
}

/// Runs the generator.
pub fn measure(plan: &SessionPlan) -> Result<Summary, BenchError> {
    measure_in_tables(plan, table_sockets(plan.descriptors())?)
}

/// Runs the generator on as many threads as it takes with so many sockets each at most.
pub fn measure_in_tables(plan: &SessionPlan, table_sockets: u32) -> Result<Summary, BenchError> {
    pin(plan.cpu)?;
    Ok(Summary::new(plan, run::measure(plan, &plan.shares(table_sockets))?))
}
