//! Descriptors on their way between tables and processes: Unix sockets and `SCM_RIGHTS`.
//!
//! A message is a small payload with the descriptors it names, whole or not at all
//! (`SOCK_SEQPACKET`), so a receiver never pairs a descriptor with another one's description.
//! Nothing waits: a full or empty socket is a value.
//!
//! Invariant: every received descriptor is handed out once, as an owner; a message that arrives
//! cut is refused, and what the kernel had installed of it is closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

use crate::limits::PASSED_FDS_MAX;

/// Why a message was not sent. Nothing of it has left.
#[derive(Debug)]
pub enum SendError {
    /// The socket is full: try again when the peer has read.
    Full,
    /// The kernel holds as many passed descriptors of this user as it allows (`ETOOMANYREFS`):
    /// try again when a peer has taken some.
    TooManyInFlight,
    /// The peer is gone.
    Closed,
    /// Anything else: a broken socket.
    Io(io::Error),
}

/// Why a message was not received.
#[derive(Debug)]
pub enum ReceiveError {
    /// No message waits.
    Empty,
    /// The peer is gone, and every message has been read.
    Closed,
    /// A message was longer, or carried more descriptors, than there is room for, or the
    /// descriptor table is full. The message is lost; what was installed of it is closed.
    Truncated,
    /// Anything else: a broken socket.
    Io(io::Error),
}

/// What a received message held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the front of the payload buffer.
    pub payload_bytes: usize,
    /// Descriptors appended to the list.
    pub fd_count: usize,
}

/// Two connected ends, non-blocking, closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one message. The payload may not be empty: an empty message reads like the end. The
/// sender keeps its own descriptors; it closes them when it no longer needs them.
pub fn send(socket: impl AsFd, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
    assert!(!payload.is_empty(), "an empty message reads like the end of the stream");
    assert!(fds.len() <= PASSED_FDS_MAX, "the kernel takes no more in one message");
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let pushed = control.push(SendAncillaryMessage::ScmRights(fds));
        assert!(pushed, "the space is made for the most descriptors a message may carry");
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket, &[IoSlice::new(payload)], &mut control, flags) {
        Ok(sent) => {
            assert_eq!(sent, payload.len(), "SOCK_SEQPACKET sends a message whole or not at all");
            Ok(())
        }
        Err(errno) => Err(SendError::from(errno)),
    }
}

/// Whether something that was sent has not been received yet; no where the kernel does not say.
pub fn is_unread(socket: impl AsFd) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has this number (unix(7)), writes one integer.
    let failed = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    failed == 0 && bytes > 0
}

/// Receives one message: its bytes to the front of `payload`, its descriptors, at most
/// `fds_max`, to the end of `fds`, all closed on exec.
pub fn receive(
    socket: impl AsFd,
    payload: &mut [u8],
    fds_max: usize,
    fds: &mut Vec<OwnedFd>,
) -> Result<Received, ReceiveError> {
    assert!(!payload.is_empty(), "a message has at least one byte");
    assert!(fds_max <= PASSED_FDS_MAX, "the kernel sends no more in one message");
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    // No more room than asked for, so that the kernel installs nothing that is then closed again.
    let room_bytes = if fds_max == 0 { 0 } else { rustix::cmsg_space!(ScmRights(fds_max)) };
    let mut control = RecvAncillaryBuffer::new(&mut space[..room_bytes]);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(socket, &mut [IoSliceMut::new(payload)], &mut control, flags)?;

    let count_before = fds.len();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            fds.extend(passed);
        }
    }
    let fd_count = fds.len() - count_before;
    if message.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) || fd_count > fds_max {
        fds.truncate(count_before);
        return Err(ReceiveError::Truncated);
    }
    if message.bytes == 0 {
        return Err(ReceiveError::Closed);
    }
    Ok(Received { payload_bytes: message.bytes, fd_count })
}

/// Waits until one of these has a message or its peer is gone.
pub fn wait(sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled: Vec<_> =
        sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(()),
            // A thread may have a timer that interrupts it.
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(PASSED_FDS_MAX));

impl From<Errno> for SendError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Full,
            Errno::TOOMANYREFS => Self::TooManyInFlight,
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

impl From<Errno> for ReceiveError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Empty,
            Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    /// The write end of a pipe goes on the way; the read end tells who still holds it.
    fn pipe() -> (File, OwnedFd) {
        let (reader, writer) = std::io::pipe().unwrap();
        (File::from(OwnedFd::from(reader)), OwnedFd::from(writer))
    }

    #[test]
    fn a_message_is_unread_until_it_is_received() {
        let (left, right) = pair().unwrap();
        assert!(!is_unread(&left));
        send(&left, b"one", &[]).unwrap();
        send(&left, b"two", &[]).unwrap();
        let mut payload = [0; 8];
        for was in [true, true, false] {
            assert_eq!(is_unread(&left), was);
            let _last_is_empty = receive(&right, &mut payload, 0, &mut Vec::new());
        }
        assert!(!is_unread(&right), "the other way is another");
    }

    #[test]
    fn a_descriptor_arrives_with_its_payload_and_works() {
        let (near, far) = pair().unwrap();
        let (mut reader, writer) = pipe();
        send(&near, b"hello", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut payload = [0; 16];
        let mut fds = Vec::new();
        let received = receive(&far, &mut payload, 1, &mut fds).unwrap();
        assert_eq!(received, Received { payload_bytes: 5, fd_count: 1 });
        assert_eq!(&payload[..5], b"hello");
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        File::from(fds.pop().unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn as_many_as_the_kernel_takes_arrive_in_order() {
        let (near, far) = pair().unwrap();
        let pipes: Vec<_> = (0..PASSED_FDS_MAX).map(|_| pipe()).collect();
        let borrowed: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
        send(&near, b"x", &borrowed).unwrap();
        let mut fds = Vec::new();
        let received = receive(&far, &mut [0], PASSED_FDS_MAX, &mut fds).unwrap();
        assert_eq!(received.fd_count, PASSED_FDS_MAX);
        for (index, fd) in fds.into_iter().enumerate() {
            File::from(fd).write_all(&index.to_le_bytes()).unwrap();
        }
        for (index, (mut reader, writer)) in pipes.into_iter().enumerate() {
            drop(writer);
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, index.to_le_bytes());
        }
    }

    #[test]
    fn a_message_with_too_many_descriptors_is_refused_and_leaks_none() {
        for fds_max in 0..3 {
            let (near, far) = pair().unwrap();
            let pipes: Vec<_> = (0..3).map(|_| pipe()).collect();
            let borrowed: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
            send(&near, b"x", &borrowed).unwrap();
            let mut fds = Vec::new();
            let error = receive(&far, &mut [0], fds_max, &mut fds).unwrap_err();
            assert!(matches!(error, ReceiveError::Truncated), "{error:?}");
            assert!(fds.is_empty());
            for (mut reader, writer) in pipes {
                drop(writer);
                // A copy that was left open would make this read wait for ever.
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            }
        }
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_refused_with_its_descriptors() {
        let (near, far) = pair().unwrap();
        let (mut reader, writer) = pipe();
        send(&near, b"long", &[writer.as_fd()]).unwrap();
        send(&near, b"ok", &[]).unwrap();
        drop(writer);
        let mut fds = Vec::new();
        let error = receive(&far, &mut [0; 3], 1, &mut fds).unwrap_err();
        assert!(matches!(error, ReceiveError::Truncated), "{error:?}");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let next = receive(&far, &mut [0; 3], 1, &mut fds).unwrap();
        assert_eq!(next, Received { payload_bytes: 2, fd_count: 0 });
    }

    #[test]
    fn a_full_socket_an_empty_one_and_a_closed_one_are_values() {
        let (near, far) = pair().unwrap();
        let error = receive(&far, &mut [0], 0, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ReceiveError::Empty), "{error:?}");
        let mut sent_count = 0;
        let error = loop {
            match send(&near, b"x", &[]) {
                Ok(()) => sent_count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SendError::Full), "{error:?}");
        drop(near);
        for _ in 0..sent_count {
            receive(&far, &mut [0], 0, &mut Vec::new()).unwrap();
        }
        let error = receive(&far, &mut [0], 0, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ReceiveError::Closed), "{error:?}");
        assert!(matches!(send(&far, b"x", &[]).unwrap_err(), SendError::Closed));
    }

    #[test]
    fn too_many_descriptors_in_flight_is_told_apart_from_a_broken_socket() {
        // Privileged processes are exempt from the bound, so the kernel's word stands in for it.
        assert!(matches!(SendError::from(Errno::TOOMANYREFS), SendError::TooManyInFlight));
        assert!(matches!(SendError::from(Errno::BADF), SendError::Io(_)));
    }
}
