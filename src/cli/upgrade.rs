//! `longwire upgrade`: asks a running server to hand over to a new process, and says how it goes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{failure, print};

/// Which server, and whether it is meant.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// The server's `--upgrade-socket`
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Only rehearse: the new process starts, builds its shards, checks itself, and ends
    #[arg(long)]
    check: bool,
}

/// Prints each step; succeeds if the new process serves, or would.
pub(crate) fn run(args: &UpgradeArgs) -> ExitCode {
    let path = args.socket.display();
    let mut server = match UnixStream::connect(&args.socket) {
        Ok(server) => server,
        Err(error) => {
            return failure(&format_args!(
                "{path}: {error}; a server listens there that was started with --upgrade-socket"
            ));
        }
    };
    let wish = if args.check { "check\n" } else { "upgrade\n" };
    if let Err(error) = server.write_all(wish.as_bytes()) {
        return failure(&format_args!("{path}: {error}"));
    }
    let mut last = String::new();
    for line in BufReader::new(server).lines() {
        match line {
            Ok(line) => last = line,
            Err(error) => return failure(&format_args!("{path}: {error}")),
        }
        let code = print(&format!("{last}\n"));
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    if last.starts_with("done") {
        ExitCode::SUCCESS
    } else if last.starts_with("failed") {
        ExitCode::FAILURE
    } else {
        failure(&"the server did not say how it ended: see its log")
    }
}
