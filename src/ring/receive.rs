//! The receive seam: how bytes leave a socket. Everything that reads a connection goes through it.
//!
//! A connection waits in an edge-triggered poll, and is then read with `recv(2)` into its shard's
//! one buffer: nothing is consumed before somebody asks, so a hand-over can take the socket with
//! its poll still armed.

use std::io;
use std::os::fd::RawFd;

/// What one `recv(2)` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes stand at the start of the buffer.
    Bytes(usize),
    /// Nothing is there now; the poll reports when that changes.
    Nothing,
    /// The peer has shut its side down (FIN), and everything before it was read.
    End,
    /// The connection is gone; the errno says how (`ECONNRESET`, `ETIMEDOUT`, …).
    Failed(i32),
}

/// Reads what is there, at most `buffer.len()` bytes, without waiting.
///
/// Fewer bytes than the buffer holds mean that the socket was empty for a moment, so the next
/// arrival raises a new edge.
pub fn receive(socket: RawFd, buffer: &mut [u8]) -> Received {
    loop {
        // Not libc's `recv`: that is a cancellation point, which costs as much as the lookup of the
        // socket (2 % of an echo).
        // SAFETY: the pointer and length are those of a live, exclusively borrowed slice, and no
        // address is asked for.
        let count = unsafe {
            libc::syscall(
                libc::SYS_recvfrom,
                socket,
                buffer.as_mut_ptr(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut::<libc::sockaddr>(),
                std::ptr::null_mut::<libc::socklen_t>(),
            )
        };
        if let Ok(count) = usize::try_from(count) {
            return if count == 0 { Received::End } else { Received::Bytes(count) };
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN) => return Received::Nothing,
            errno => return Received::Failed(errno.unwrap_or(libc::EIO)),
        }
    }
}
