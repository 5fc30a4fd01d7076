//! `longwire completions` and `longwire man`: what shells and `man` read of the command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, failure, print};

/// Whose completions.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Writes the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "longwire", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Which page.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// The command, such as serve; without one, the page of longwire itself
    command: Option<String>,
}

/// Writes a manual page.
pub(crate) fn man(args: &ManArgs) -> ExitCode {
    let mut all = Cli::command();
    all.build();
    let page = match &args.command {
        None => all,
        Some(name) => {
            let Some(command) = all.find_subcommand(name) else {
                let mend = "longwire help lists them";
                return failure(&format_args!("there is no command {name}\nmend: {mend}"));
            };
            command.clone()
        }
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff).expect("a vector takes all that is written");
    print(&String::from_utf8_lossy(&roff))
}
