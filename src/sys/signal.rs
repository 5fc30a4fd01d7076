//! Signals that end or reload the server, as events read from a descriptor.
//!
//! A handler would run in the middle of a shard's turn. Instead the signals are blocked before
//! any other thread starts, so that every thread inherits the mask, and one thread reads them.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the supervisor wants the process to end.
    Terminate,
    /// SIGINT: the person at the terminal does.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
    /// SIGUSR2: hand everything over to a new process.
    Upgrade,
}

impl Signal {
    /// Whether it asks the server to end.
    pub fn stops(self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt)
    }
}

const NUMBERS: [(libc::c_int, Signal); 4] = [
    (libc::SIGTERM, Signal::Terminate),
    (libc::SIGINT, Signal::Interrupt),
    (libc::SIGHUP, Signal::Hangup),
    (libc::SIGUSR2, Signal::Upgrade),
];

/// The queue of blocked signals (`signalfd(2)`).
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks these signals in the calling thread, and in all threads it starts from now on,
    /// and opens their queue. A child process inherits the mask too: reset it when spawning.
    pub fn block() -> io::Result<Self> {
        let mask = mask();
        // SAFETY: `mask` is initialised and lives through the call; the old mask is not asked for.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, ptr::null_mut()) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `mask` is initialised and lives through the call; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const mask, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned it, so it is open and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next signal that has arrived, if any; never waits.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        Ok(self.next_from()?.map(|(signal, _)| signal))
    }

    /// The same with the number of the process that has sent it.
    pub fn next_from(&self) -> io::Result<Option<(Signal, u32)>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = mem::size_of_val(&info);
        // SAFETY: `info` has room for `size` bytes, and the kernel only writes.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        assert_eq!(read.cast_unsigned(), size, "signalfd returns whole records");
        // SAFETY: the kernel has filled all `size` bytes, and every bit pattern is valid.
        let info = unsafe { info.assume_init() };
        let known = NUMBERS.iter().find(|(known, _)| known.cast_unsigned() == info.ssi_signo);
        let (_, signal) = *known.expect("only signals of the mask are queued");
        Ok(Some((signal, info.ssi_pid)))
    }

    /// Waits for a signal, at most `timeout`; without one as long as it takes.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<Signal>> {
        let timeout_ms = timeout.map_or(-1, |timeout| {
            // Rounded up, so that a wait of less than a millisecond is not a spin.
            let ms = timeout.as_nanos().div_ceil(1_000_000);
            libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX)
        });
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one initialised record and lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.next()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `start` with these signals blocked, so that threads which it starts never take them,
/// and restores the mask of the caller.
///
/// For threads that exist before [`Signals::block`]: one thread with a signal unblocked is enough
/// for the kernel to end the process there.
pub fn shielded<T>(start: impl FnOnce() -> T) -> T {
    let mask = mask();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `mask` is initialised, `before` has room for a set, and both live through the call.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, before.as_mut_ptr()) };
    assert_eq!(failed, 0, "pthread_sigmask fails only on a wrong operation");
    let started = start();
    // SAFETY: `before` was filled by the call above.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    assert_eq!(failed, 0, "pthread_sigmask fails only on a wrong operation");
    started
}

fn mask() -> libc::sigset_t {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the whole set it is given.
    let emptied = unsafe { libc::sigemptyset(mask.as_mut_ptr()) };
    assert_eq!(emptied, 0, "sigemptyset fails only on a null pointer");
    for (number, _) in NUMBERS {
        // SAFETY: the set has been initialised above.
        let added = unsafe { libc::sigaddset(mask.as_mut_ptr(), number) };
        assert_eq!(added, 0, "the numbers are valid");
    }
    // SAFETY: initialised by `sigemptyset`.
    unsafe { mask.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Directed at the calling thread, so that the test runner keeps its own signals.
    fn raise(number: libc::c_int) {
        // SAFETY: the thread is alive: it is the caller.
        let failed = unsafe { libc::pthread_kill(libc::pthread_self(), number) };
        assert_eq!(failed, 0);
    }

    fn in_own_thread(test: impl FnOnce() + Send + 'static) {
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn a_blocked_signal_is_an_event_and_not_the_end_of_the_process() {
        in_own_thread(|| {
            let signals = Signals::block().unwrap();
            assert_eq!(signals.next().unwrap(), None);
            for (number, signal) in NUMBERS {
                raise(number);
                assert_eq!(signals.wait(None).unwrap(), Some(signal));
                assert_eq!(signals.next().unwrap(), None);
            }
        });
    }

    #[test]
    fn a_second_signal_is_told_apart_from_the_first() {
        in_own_thread(|| {
            let signals = Signals::block().unwrap();
            raise(libc::SIGTERM);
            assert_eq!(signals.next().unwrap(), Some(Signal::Terminate));
            raise(libc::SIGTERM);
            assert_eq!(signals.next().unwrap(), Some(Signal::Terminate));
        });
    }

    #[test]
    fn threads_started_later_inherit_the_mask() {
        in_own_thread(|| {
            let _signals = Signals::block().unwrap();
            // Unblocked, SIGHUP would end the test process.
            thread::spawn(|| raise(libc::SIGHUP)).join().unwrap();
        });
    }

    #[test]
    fn a_thread_started_in_the_shield_has_the_signals_blocked_and_its_starter_has_not() {
        in_own_thread(|| {
            let blocked = || {
                let mut now = MaybeUninit::<libc::sigset_t>::uninit();
                // SAFETY: a null set only asks; `now` has room for one.
                let failed = unsafe {
                    libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr())
                };
                assert_eq!(failed, 0);
                // SAFETY: filled by the call above.
                NUMBERS.map(|(number, _)| unsafe { libc::sigismember(now.as_ptr(), number) })
            };
            let inside = shielded(|| thread::spawn(blocked)).join().unwrap();
            assert_eq!(inside, [1; 4]);
            assert_eq!(blocked(), [0; 4]);
        });
    }

    #[test]
    fn a_wait_with_a_timeout_returns_without_a_signal() {
        in_own_thread(|| {
            let signals = Signals::block().unwrap();
            assert_eq!(signals.wait(Some(Duration::from_micros(1))).unwrap(), None);
        });
    }
}
