//! `longwire doctor`: how many connections this host holds, and what ends it.

mod facts;
mod layout;
mod verdict;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use longwire::limits::CONNECTION_KERNEL_BYTES;

use self::facts::Facts;
use self::layout::{Layout, USER_BYTES, Wanted};
use self::verdict::{Bound, bounds, warnings};
use super::{failure, print};

/// What the host is to hold.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Connections that it shall hold: prints the memory that they take, and ends with 1 if it
    /// does not hold them
    #[arg(long, value_name = "N")]
    plan: Option<u64>,

    /// The clients are on this host, too, as those of `longwire bench`
    #[arg(long)]
    with_clients: bool,
}

/// Says how many connections this host holds.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let facts = match Facts::gather() {
        Ok(facts) => facts,
        Err(error) => return failure(&format_args!("this host cannot be read: {error}")),
    };
    let wanted = Wanted { connections: args.plan, has_clients: args.with_clients };
    let bounds = bounds(&facts, wanted);
    let holds = bounds.iter().map(|bound| bound.holds).min().unwrap_or(0);
    let mut text = report(&facts, wanted, &bounds);
    if let Some(connections) = wanted.connections {
        text.push_str(&plan(connections, &facts, wanted));
    }
    let code = print(&text);
    if holds < wanted.connections.unwrap_or(1) { ExitCode::FAILURE } else { code }
}

/// The bounds, the tightest first, and what to do about those that are too tight.
fn report(facts: &Facts, wanted: Wanted, bounds: &[Bound]) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect("a string takes everything");
        text.push('\n');
    };
    let first = bounds.first().expect("there are always some");
    let (cores, release) = (facts.cores, &facts.kernel_release);
    line(format_args!(
        "this host ({cores} cores, Linux {release}) holds {} connections; what ends it is {}",
        first.holds, first.name
    ));
    line(format_args!(""));
    for bound in bounds {
        let holds = match bound.holds {
            u64::MAX => "any number".to_owned(),
            holds => holds.to_string(),
        };
        line(format_args!("{:<28} {holds:>12}   {}", bound.name, bound.has));
    }
    let tight = |bound: &&Bound| match wanted.connections {
        Some(connections) => bound.holds < connections,
        None => bound.holds == first.holds,
    };
    line(format_args!(""));
    for bound in bounds.iter().filter(tight) {
        line(format_args!("for more, {}: {}", bound.name, bound.mend));
    }
    for warning in warnings(facts, wanted) {
        line(format_args!("warning: {warning}"));
    }
    text
}

/// What so many connections take.
fn plan(connections: u64, facts: &Facts, wanted: Wanted) -> String {
    let layout = Layout::of(facts, wanted);
    let kernel_bytes = CONNECTION_KERNEL_BYTES;
    let clients = wanted.connection_bytes() - kernel_bytes - USER_BYTES;
    let mib = |bytes: u64| (connections * bytes) >> 20;
    let mut text = format!(
        "\n{connections} connections take, before the first message:\n\
         {:>9} MiB of the kernel: sockets, files, polls ({kernel_bytes} B each)\n\
         {:>9} MiB of longwire: a session with a user and a channel ({USER_BYTES} B each)\n\
         {:>9} MiB of its {} shards, at most\n",
        mib(kernel_bytes),
        mib(USER_BYTES),
        layout.bytes() >> 20,
        layout.0,
    );
    if wanted.has_clients {
        let of_clients = format!("{:>9} MiB of the clients on this host\n", mib(clients));
        text.push_str(&of_clients);
    }
    let total = format!(
        "{:>9} MiB in all; beside it what is kept of channels (history, bounded by its own \
         budget) and what is under way\n\
         settings: tuning/host/apply.sh --connections {connections}\n",
        (connections * wanted.connection_bytes() + layout.bytes()) >> 20
    );
    text.push_str(&total);
    text
}

#[cfg(test)]
mod tests {
    use super::verdict::tests::good;
    use super::*;

    #[test]
    fn the_report_names_what_ends_it_and_how_to_mend_it() {
        let facts = Facts { file_max: 102_024, ..good() };
        let wanted = Wanted { connections: None, has_clients: false };
        let text = report(&facts, wanted, &bounds(&facts, wanted));
        assert!(text.contains("holds 100000 connections; what ends it is files"), "{text}");
        assert!(text.contains("for more, files: sysctl -w fs.file-max="), "{text}");
        assert!(!text.contains("for more, memory"), "{text}");
    }

    #[test]
    fn a_plan_names_every_bound_that_is_too_tight() {
        let facts = Facts { file_max: 102_024, memory_available: 1 << 30, ..good() };
        let wanted = Wanted { connections: Some(1_000_000), has_clients: true };
        let text = report(&facts, wanted, &bounds(&facts, wanted));
        assert!(text.contains("for more, files") && text.contains("for more, memory"), "{text}");
        let text = plan(1_000_000, &facts, wanted);
        assert!(text.contains("4301 MiB of the kernel"), "{text}");
        assert!(text.contains("16 MiB of its 2 shards"), "{text}");
        assert!(text.contains("8999 MiB in all"), "{text}");
    }
}
