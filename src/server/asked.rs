//! How a server is asked for an upgrade from outside, and how those who ask hear of it.
//!
//! ```text
//!   longwire upgrade ─▶ Unix socket: "upgrade" or "check" ─▶ control thread
//!                    ◀─ a line for each step, "done: …" or "failed: …" at last
//! ```

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::limits::{ACCEPT_BACKOFF, FREEZE_TIMEOUT, READY_TIMEOUT};

/// What comes after this process, and how that is asked for.
#[derive(Clone, Debug)]
pub struct Succession {
    /// The binary of the next process.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// A Unix socket on which an upgrade can be asked for; SIGUSR2 always can.
    pub socket: Option<PathBuf>,
    /// A file for the number of the process that serves.
    pub pid_file: Option<PathBuf>,
    /// What the next process inherits of the application beside its connections; see
    /// [`Predecessor::heritage`](super::Predecessor::heritage).
    pub heritage: Vec<u8>,
    /// Time for the next process to be ready.
    pub ready_timeout: Duration,
    /// Time for everything to be handed over, while nothing is served.
    pub freeze_timeout: Duration,
}

impl Succession {
    /// That binary with these arguments, asked for by a signal only.
    pub fn new(binary: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            binary,
            arguments,
            socket: None,
            pid_file: None,
            ready_timeout: READY_TIMEOUT,
            freeze_timeout: FREEZE_TIMEOUT,
            heritage: Vec::new(),
        }
    }
}

/// Somebody who waits to hear how an upgrade goes.
#[derive(Debug)]
pub(super) struct Asker(UnixStream);

impl Asker {
    /// Who does not read, or has left, does not want to know: the log has it all.
    pub(super) fn tell(&mut self, words: &str) {
        let _gone = self.0.write_all(format!("{words}\n").as_bytes());
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) is_check: bool,
    pub(super) asker: Option<Asker>,
}

impl Wish {
    /// Whoever sends a signal waits for nothing, and reads the log.
    pub(super) fn of_a_signal() -> Self {
        Self { is_check: false, asker: None }
    }
}

/// Listens at `path`, in the place of whoever has listened there before: one that has ended, or,
/// for a successor, the process that it has taken over from. Another server that answers there
/// keeps it.
pub(super) fn listen(path: &Path, is_successor: bool) -> io::Result<StdListener> {
    if !is_successor && UnixStream::connect(path).is_ok() {
        let why = "another server is asked for upgrades there: give this one a path of its own";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Takes wishes, one after the other, until it is dropped.
pub(super) async fn serve(listener: StdListener, wishes: mpsc::Sender<Wish>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "upgrades cannot be asked for"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(PATIENCE, read(stream)).await {
                Ok(Ok(wish)) => {
                    if wishes.send(wish).await.is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "an upgrade was asked for wrongly"),
                Err(_) => tracing::warn!("whoever wants an upgrade does not say so"),
            },
            Err(error) => {
                tracing::warn!(%error, "upgrades cannot be asked for");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Time for the one word of a wish.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the longest wish, with its line break.
const WISH_BYTES_MAX: u64 = 16;

async fn read(stream: tokio::net::UnixStream) -> io::Result<Wish> {
    let mut stream = stream;
    let mut line = String::new();
    BufReader::new((&mut stream).take(WISH_BYTES_MAX)).read_line(&mut line).await?;
    let is_check = match line.trim_end() {
        "upgrade" => false,
        "check" => true,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Wish { is_check, asker: Some(Asker(stream.into_std()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_keeps_its_path_from_all_but_its_successor() {
        let path = std::env::temp_dir().join(format!("longwire-asked-{}", std::process::id()));
        let _stale = std::fs::remove_file(&path);
        let first = listen(&path, false).unwrap();
        assert_eq!(listen(&path, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let successor = listen(&path, true).unwrap();
        drop((first, successor));
        // What the dead have left is in nobody's way.
        drop(listen(&path, false).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
