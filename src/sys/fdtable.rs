//! Descriptor tables: the process's own, or one of a thread's own.
//!
//! Threads share a table, so `accept` and `close` on one core wait for the lock of another, and
//! `RLIMIT_NOFILE` bounds all of them together. After [`unshare`] the calling thread has a copy:
//! no contention, and the limit counts for it alone.
//!
//! Invariant: a descriptor opened after the unshare means something only to the thread that
//! opened it. To hand it over, send it through [`super::fdpass`], never as a number.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread its own copy of the descriptor table.
///
/// Whatever must be reachable from several threads (rings that wake each other, bells, socket
/// pairs) is made before, listeners and connections after: every descriptor of the copy keeps
/// its file open until both tables have closed it.
pub fn unshare() -> io::Result<()> {
    // SAFETY: no memory is touched; the contract is about descriptors, and the copy holds each
    // one the thread owns under the same number. That those opened later stay with their thread
    // is this module's invariant.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    Ok(())
}

/// Gives the calling thread its own table and takes out of it every socket and pipe but the
/// standard streams and those in `keep`.
///
/// A copy of somebody else's socket would keep it open after its owner has closed it, and its
/// peer would never hear of the close. Rings and files stay: they have no peer.
pub fn unshare_keeping(keep: &[RawFd]) -> io::Result<()> {
    unshare()?;
    // Nobody else can open or close anything in this table any more.
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/thread-self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in listed.into_iter().filter(|fd| *fd > libc::STDERR_FILENO && !keep.contains(fd)) {
        // SAFETY: the number is only looked at; one that is closed by now is an error.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let Ok(stat) = rustix::fs::fstat(borrowed) else { continue };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind.is_socket() || kind.is_fifo() {
            // SAFETY: the number is open in this thread's own table, which was copied just now,
            // so no owner in the process refers to this copy.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::thread;

    #[test]
    fn a_close_in_one_table_leaves_the_other_table_alone() {
        let (mut here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let there = &there;
            scope.spawn(move || {
                unshare().unwrap();
                // SAFETY: the number is open in this thread's own table, whose copy nobody else
                // can name; the owner's descriptor in the common table is another reference.
                assert_eq!(unsafe { libc::close(there.as_raw_fd()) }, 0);
            });
        });
        // Without the unshare the descriptor would be gone, and this write would fail.
        (&there).write_all(b"still open").unwrap();
        let mut bytes = [0; 10];
        here.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"still open");
    }

    #[test]
    fn a_descriptor_opened_after_the_unshare_is_unknown_elsewhere() {
        let link = thread::spawn(|| {
            unshare().unwrap();
            let file = std::fs::File::open("/proc/self/status").unwrap();
            let number = file.as_raw_fd();
            // The table of this thread knows the number while it is open...
            let mine = std::fs::read_link(format!("/proc/thread-self/fd/{number}")).unwrap();
            // ...and whatever the common table has under the number, it is not this file.
            (mine, std::fs::read_link(format!("/proc/self/fd/{number}")).ok())
        });
        let (mine, common) = link.join().unwrap();
        assert!(mine.to_string_lossy().ends_with("/status"));
        assert_ne!(common, Some(mine));
    }

    #[test]
    fn a_stranger_s_socket_is_not_kept_open_by_the_copy() {
        let (mut here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let (kept, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (parted, wait) = std::sync::mpsc::sync_channel::<()>(0);
        thread::scope(|scope| {
            let kept = &kept;
            scope.spawn(move || {
                unshare_keeping(&[kept.as_raw_fd()]).unwrap();
                assert!(rustix::fs::fstat(kept).is_ok());
                parted.send(()).unwrap();
                parted.send(()).unwrap();
            });
            wait.recv().unwrap();
            drop(there);
            // Without the closing in the copy this read would wait for ever.
            here.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            assert_eq!(here.read(&mut [0; 1]).unwrap(), 0);
            wait.recv().unwrap();
        });
    }
}
