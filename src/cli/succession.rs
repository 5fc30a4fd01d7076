//! What comes after a server, and what it takes over from: for every subcommand that serves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use longwire::{Hooks, Predecessor, Succession};

use super::value::duration;

/// How a server is upgraded.
#[derive(Args, Clone, Debug)]
pub(crate) struct SuccessionArgs {
    /// Unix socket on which `longwire upgrade` asks this server to hand over to a new process; only
    /// its user may connect. SIGUSR2 asks for the same
    #[arg(long, value_name = "PATH")]
    upgrade_socket: Option<PathBuf>,

    /// Binary of the new process; by default the one this process was started from
    #[arg(long, value_name = "PATH")]
    upgrade_binary: Option<PathBuf>,

    /// Time for the new process to start, check itself and be ready, and to take the copies of
    /// descriptors that are sent ahead; 1m by default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    upgrade_ready_timeout: Option<Duration>,

    /// Time for everything to be handed over, while nothing is served, before this process goes on
    /// instead; 20s by default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    upgrade_freeze_timeout: Option<Duration>,

    /// File for the number of the process that serves
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
}

impl SuccessionArgs {
    /// Whom this process takes over from, and what comes after it: the same command line, and what
    /// of the application it inherits.
    pub(crate) fn hooks(&self, predecessor: Option<Predecessor>, heritage: Vec<u8>) -> Hooks {
        let binary = self.upgrade_binary.clone().map_or_else(own_binary, Ok);
        let succession = binary.map(|binary| {
            let mut next = Succession::new(binary, std::env::args_os().skip(1).collect());
            next.socket.clone_from(&self.upgrade_socket);
            next.pid_file.clone_from(&self.pid_file);
            next.ready_timeout = self.upgrade_ready_timeout.unwrap_or(next.ready_timeout);
            next.freeze_timeout = self.upgrade_freeze_timeout.unwrap_or(next.freeze_timeout);
            next.heritage = heritage;
            next
        });
        if let Err(error) = &succession {
            tracing::warn!(%error, "this process does not know its binary: it cannot be upgraded");
        }
        Hooks { succession: succession.ok(), predecessor, ..Hooks::default() }
    }
}

/// The path this process was started by: what is at it now is the next process, also where it is a
/// link that points elsewhere by now. A name that was looked up in `PATH` is no path.
fn own_binary() -> std::io::Result<PathBuf> {
    match std::env::args_os().next().map(PathBuf::from) {
        Some(path) if path.components().count() > 1 => std::path::absolute(path),
        _ => std::env::current_exe(),
    }
}
