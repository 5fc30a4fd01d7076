//! The command line: one file per subcommand, each from arguments to an exit code.
//!
//! Standard output carries results, standard error logs and errors. An error names its cause and
//! what mends it; exit code 1 means that, and 2 a command line that is not understood.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longwire::Snapshot;

mod back_ends;
mod bench;
mod centrifugo;
mod check;
mod doctor;
mod flags;
mod load;
mod log;
mod manual;
mod parts;
mod raw;
mod screen;
mod serve;
mod succession;
mod token;
mod upgrade;
mod value;

/// A WebSocket server that holds a million long connections on one Linux host
#[derive(Debug, Parser)]
#[command(version = VERSION, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: log::LogArgs,

    #[command(subcommand)]
    command: Command,
}

/// Version and commit.
pub(crate) const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the client protocol, the HTTP API and the pages
    Serve(serve::ServeArgs),
    /// Check a configuration, and say what is wrong with it
    Check(check::CheckArgs),
    /// Write a configuration file with every key, its default and its meaning
    DefaultConfig(check::DefaultConfigArgs),
    /// Make a token as a back end would, or say whether the server would take one
    Token(token::TokenArgs),
    /// A plain WebSocket server, for conformance suites and load tools
    Raw(raw::RawArgs),
    /// Replace a running server's binary, without closing its connections
    Upgrade(upgrade::UpgradeArgs),
    /// Generate load and measure what comes back
    Bench(bench::BenchArgs),
    /// Say how many connections this host holds, and what ends it
    Doctor(doctor::DoctorArgs),
    /// Write completions for a shell
    Completions(manual::CompletionsArgs),
    /// Write a manual page
    Man(manual::ManArgs),
}

/// Runs one command line to its exit code.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => serve::run(args, cli.log),
        Command::Check(args) => check::check(&args, &cli.log),
        Command::DefaultConfig(args) => check::default_config(&args),
        Command::Token(args) => token::run(&args, &cli.log),
        Command::Raw(args) => logged(&cli.log, || raw::run(args)),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Bench(args) => logged(&cli.log, || bench::run(args)),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// Runs a command with a log around it.
fn logged(args: &log::LogArgs, command: impl FnOnce() -> ExitCode) -> ExitCode {
    let (log, _refilter) = match log::Log::start(&args.settings()) {
        Ok(started) => started,
        Err(error) => return failure(&error),
    };
    let code = command();
    log.finish();
    code
}

/// Says why there is no result.
fn failure(error: &impl Display) -> ExitCode {
    eprintln!("longwire: {error}");
    ExitCode::FAILURE
}

/// The exit code of a server that has stopped: 0 only if all of it stopped as it should.
fn stopped(counted: &Snapshot) -> ExitCode {
    let Snapshot { shards_lost, tasks_lost, forced, .. } = *counted;
    if shards_lost > 0 {
        failure(&format_args!("{shards_lost} shards were lost by a panic"))
    } else if tasks_lost > 0 {
        failure(&format_args!("{tasks_lost} tasks of the control thread were lost; see the log"))
    } else if forced {
        failure(&"ended before all connections were closed")
    } else {
        ExitCode::SUCCESS
    }
}

/// Writes a result to standard output. Whoever closes it has read enough.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            failure(&format_args!("standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_log_is_set_before_or_after_the_subcommand() {
        for line in [
            "longwire --log-format json raw echo --listen 127.0.0.1:0",
            "longwire raw echo --listen 127.0.0.1:0 --log-format json",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap();
        }
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_its_flag() {
        for (arguments, flag) in [
            ("--listen nowhere", "--listen"),
            ("--max-message 64K", "--max-message"),
            ("--shards 0", "--shards"),
            ("--ping-interval 25", "--ping-interval"),
            ("--log-level loud", "--log-level"),
        ] {
            let line = format!("longwire raw echo {arguments}");
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
    }
}
