//! Listeners on Unix sockets: accepted in one place, dealt to the shards in turn.
//!
//! A Unix socket has no group that the kernel spreads over, so the control thread accepts and
//! passes each socket on. An upgrade hands the listener over: the path leads to the same socket
//! before and after. Invariants: no socket waits here; while every shard is behind, or stands
//! still, none is accepted, and the kernel's backlog is the queue; the file goes with whoever
//! serves last.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::{UnixListener, UnixStream as Accepted};
use tokio::sync::watch;

use super::dealer::Dealer;
use crate::limits::{ACCEPT_BACKOFF, LISTEN_BACKLOG};
use crate::shard::Passing;

/// A listener and the file that it is found by.
#[derive(Debug)]
pub(super) struct UnixPlace {
    /// Goes before the socket closes: a path that refuses is taken over by who comes next, whose
    /// file would be the one that is removed then.
    file: SocketFile,
    socket: Socket,
    /// Who may connect, where another process has settled that before.
    mode: Option<u32>,
    dealing: Arc<Dealing>,
    is_held: watch::Receiver<bool>,
}

/// The same place, for who decides where it is served.
#[derive(Debug)]
pub(super) struct UnixShare {
    path: PathBuf,
    socket: OwnedFd,
    is_ours: Arc<AtomicBool>,
    dealing: Arc<Dealing>,
    hold: watch::Sender<bool>,
}

/// What was accepted, and given to shards.
#[derive(Debug, Default)]
struct Dealing {
    begun: AtomicU64,
    done: AtomicU64,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// It goes with this process.
    is_ours: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_ours.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays behind");
        }
    }
}

impl UnixPlace {
    /// Takes the path, also one that a server before us has left behind; who may connect is
    /// settled before anybody can.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(Self, UnixShare)> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile { path: path.to_owned(), is_ours: Arc::new(true.into()) };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(LISTEN_BACKLOG).unwrap_or(i32::MAX))?;
        Self::new(file, socket, None)
    }

    /// The socket of another process, which is its own until that has left.
    pub(super) fn adopt(path: &Path, mode: u32, socket: OwnedFd) -> io::Result<(Self, UnixShare)> {
        let file = SocketFile { path: path.to_owned(), is_ours: Arc::new(false.into()) };
        Self::new(file, socket.into(), Some(mode))
    }

    fn new(file: SocketFile, socket: Socket, mode: Option<u32>) -> io::Result<(Self, UnixShare)> {
        let (hold, is_held) = watch::channel(false);
        let dealing = Arc::default();
        let share = UnixShare {
            path: file.path.clone(),
            socket: socket.try_clone()?.into(),
            is_ours: Arc::clone(&file.is_ours),
            dealing: Arc::clone(&dealing),
            hold,
        };
        Ok((Self { file, socket, mode, dealing, is_held }, share))
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Accepts, and deals to the shards, until it is dropped.
    pub(super) async fn deal(self, mut dealer: Dealer) {
        let Self { file, socket, mode, dealing, mut is_held } = self;
        let permissions = mode.map(fs::Permissions::from_mode);
        if let Some(Err(error)) = permissions.map(|mode| fs::set_permissions(&file.path, mode)) {
            tracing::warn!(path = %file.path.display(), %error, "the mode stays as it was");
        }
        let listener = match UnixListener::from_std(socket.into()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a Unix socket cannot be watched"),
        };
        let _goes_before_the_listener = file;
        while let Some(accepted) = next(&listener, &mut is_held).await {
            match accepted.and_then(Accepted::into_std) {
                Ok(socket) => {
                    dealing.begun.fetch_add(1, Ordering::Relaxed);
                    dealer.deal(&OwnedFd::from(socket), &[Passing::Unseated as u8]).await;
                    dealing.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(%error, "a Unix socket cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// The next that is accepted while nobody holds that; `None` if the server has ended.
async fn next(
    listener: &UnixListener,
    is_held: &mut watch::Receiver<bool>,
) -> Option<io::Result<Accepted>> {
    loop {
        is_held.wait_for(|is_held| !is_held).await.ok()?;
        tokio::select! {
            biased;
            held = is_held.wait_for(|is_held| *is_held) => { held.ok()?; }
            accepted = listener.accept() => return Some(accepted.map(|(socket, _)| socket)),
        }
    }
}

impl UnixShare {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Nothing more is accepted, or is again.
    pub(super) fn hold(&self, is_held: bool) {
        self.hold.send_replace(is_held);
    }

    /// What was given to shards so far; `None` while something is on its way to one.
    pub(super) fn dealt(&self) -> Option<u64> {
        let [begun, done] =
            [&self.dealing.begun, &self.dealing.done].map(|count| count.load(Ordering::Relaxed));
        (begun == done).then_some(done)
    }

    /// Whether the file goes with this process.
    pub(super) fn set_ours(&self, is_ours: bool) {
        self.is_ours.store(is_ours, Ordering::Relaxed);
    }
}

/// Removes a socket that nobody listens on; one that somebody does is `AddrInUse`.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        // What is no socket is not ours to remove: binding says so.
        Ok(_) | Err(_) => return Ok(()),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fdpass;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("longwire-unix-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_socket_taken_over_is_the_same_and_its_file_goes_with_whoever_has_it_last() {
        let path = path("handed");
        let (before, share) = UnixPlace::bind(&path, 0o600).unwrap();
        let socket = || share.socket().try_clone_to_owned().unwrap();
        drop(UnixPlace::adopt(&path, 0o600, socket()).unwrap());
        assert!(path.exists(), "nothing came of it: the file is the other's");
        let (after, taken) = UnixPlace::adopt(&path, 0o600, socket()).unwrap();
        taken.set_ours(true);
        share.set_ours(false);
        drop((before, share));
        UnixStream::connect(&path).expect("it is listened on");
        drop(after);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn nothing_is_accepted_while_that_is_held() {
        let path = path("held");
        let (place, share) = UnixPlace::bind(&path, 0o600).unwrap();
        let (ours, theirs) = fdpass::pair().unwrap();
        let dealing = tokio::spawn(place.deal(Dealer::new(vec![Arc::new(ours)])));
        let dealt = || {
            let (mut payload, mut sockets) = ([0], Vec::new());
            while fdpass::receive(&theirs, &mut payload, 1, &mut sockets).is_ok() {}
            sockets.len()
        };
        let mut clients = Vec::new();
        for round in 1..=3 {
            share.hold(true);
            clients.push(UnixStream::connect(&path).expect("the kernel's queue has room"));
            // Whatever is ready has its turn, more than once.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!((dealt(), share.dealt()), (0, Some(round - 1)), "it was held");
            share.hold(false);
            while share.dealt() != Some(round) {
                tokio::task::yield_now().await;
            }
            assert_eq!(dealt(), 1);
        }
        dealing.abort();
        assert!(dealing.await.is_err_and(|error| error.is_cancelled()));
        assert!(!path.exists());
    }
}
