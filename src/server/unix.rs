//! Listeners on Unix sockets: accepted in one place, dealt to the shards in turn.
//!
//! A Unix socket has no group that the kernel spreads over, so the control thread accepts and
//! passes each socket on. Invariant: no socket waits here; while every shard is behind, none is
//! accepted, and the kernel's backlog is the queue.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

use super::dealer::Dealer;
use crate::limits::{ACCEPT_BACKOFF, LISTEN_BACKLOG};
use crate::shard::Passing;

/// A listener and the file that it is found by, which goes with it.
#[derive(Debug)]
pub(super) struct UnixPlace {
    /// Goes before the socket closes: a path that refuses is taken over by who comes next, whose
    /// file would be the one that is removed then.
    file: SocketFile,
    socket: Socket,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the socket's file stays behind");
        }
    }
}

impl UnixPlace {
    /// Takes the path, also one that a server before us has left behind; who may connect is
    /// settled before anybody can.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile(path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(LISTEN_BACKLOG).unwrap_or(i32::MAX))?;
        Ok(Self { file, socket })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    /// Accepts, and deals to the shards, until it is dropped.
    pub(super) async fn deal(self, mut dealer: Dealer) {
        let Self { file, socket } = self;
        let listener = match UnixListener::from_std(socket.into()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a Unix socket cannot be watched"),
        };
        let _goes_before_the_listener = file;
        loop {
            let accepted = listener.accept().await.and_then(|(socket, _)| socket.into_std());
            match accepted {
                Ok(socket) => {
                    dealer.deal(&OwnedFd::from(socket), &[Passing::Unseated as u8]).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a Unix socket cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
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
