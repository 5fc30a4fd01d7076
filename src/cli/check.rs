//! `longwire check` and `longwire default-config`: the configuration without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use longwire::config::{Format, template};

use super::load::Sources;
use super::log::LogArgs;
use super::{centrifugo, failure, print};

/// What is to be checked.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    sources: Sources,

    /// Read a configuration of Centrifugo 6 instead, write the same for longwire to standard
    /// output, secrets included, and name on standard error what is left out; exit code 3 if any
    /// of it matters
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "dev"])]
    centrifugo: Option<PathBuf>,
}

/// Reads the configuration as `serve` would, and says what is wrong with it.
pub(crate) fn check(args: &CheckArgs, log: &LogArgs) -> ExitCode {
    if let Some(path) = &args.centrifugo {
        return centrifugo::check(path);
    }
    match args.sources.load(log) {
        Ok(serve) => {
            let listens: Vec<String> = serve.listens().iter().map(ToString::to_string).collect();
            let open = if args.sources.is_dev() { ", open to everybody" } else { "" };
            let listens = listens.join(", ");
            print(&format!("the configuration is valid; it serves {listens}{open}\n"))
        }
        Err(error) => failure(&error),
    }
}

/// How the file is written.
#[derive(Args, Debug)]
pub(crate) struct DefaultConfigArgs {
    /// The format; JSON has no comments
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FormatName {
    #[default]
    Toml,
    Json,
    Yaml,
}

/// Writes a file with every key.
pub(crate) fn default_config(args: &DefaultConfigArgs) -> ExitCode {
    print(&template(match args.format {
        FormatName::Toml => Format::Toml,
        FormatName::Json => Format::Json,
        FormatName::Yaml => Format::Yaml,
    }))
}
