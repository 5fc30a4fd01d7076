//! The ring itself: what can be submitted, one enter, and draining what came back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{Batch, Operation, Piece, RingError, Token};
use crate::limits::ENTER_ATTEMPTS_MAX;

/// What one submission came to. Not a copy: an accept's completion owns a socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// What completed.
    pub token: Token,
    /// The operation's own result, or a negative errno.
    pub result: i32,
    /// More will come from the same submission. Its absence is the only end of a multishot.
    pub more: bool,
}

impl Completion {
    /// The connection that an accept brought, or the errno of its failure.
    pub fn into_socket(self) -> Result<OwnedFd, i32> {
        assert_eq!(self.token.operation(), Operation::Accept);
        if self.result < 0 {
            return Err(-self.result);
        }
        // SAFETY: the kernel opened this descriptor for us and named it in this one completion,
        // which is consumed here.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// Entries of the two queues.
#[derive(Clone, Copy, Debug)]
pub struct RingSize {
    /// Submissions that leave in one enter; more are submitted in between.
    pub submissions: u32,
    /// Completions the kernel keeps without spilling into its overflow list.
    pub completions: u32,
}

/// How often each operation was submitted, and how often the kernel was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCounts {
    submitted: [u64; Operation::COUNT],
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Completions drained.
    pub completions: u64,
    /// Times the completion queue was found spilled into the kernel's overflow list.
    pub overflows: u64,
}

impl OperationCounts {
    /// Submissions of one operation so far.
    pub fn submitted(&self, operation: Operation) -> u64 {
        self.submitted[operation as usize]
    }
}

/// One io_uring with its batch of outgoing bytes. It belongs to the thread that made it.
pub struct Ring {
    uring: IoUring,
    batch: Batch,
    /// Addresses of connects not yet consumed by the kernel, each at a place that stays.
    #[allow(clippy::vec_box)]
    addresses: Vec<Box<SocketAddress>>,
    /// Completions taken out early because the queues were in the way of a submission.
    stash: Vec<Completion>,
    /// Entries that point into the batch or the addresses are queued and not yet submitted.
    holds_batch: bool,
    /// A wait ends with so many completions, or after so long with any.
    gathers: Option<(usize, u32)>,
    counts: OperationCounts,
}

const PAGE_BYTES: u64 = 4096;

/// Pages that the kernel takes for queues of so many entries: the submissions, and beside them the
/// completions, the index array and the heads (`struct io_rings`, 5 cache lines).
pub fn queue_bytes(submissions: u32, completions: u32) -> u64 {
    let entries = u64::from(submissions) * 64;
    let rings = 320 + u64::from(completions) * 16 + u64::from(submissions) * 4;
    entries.next_multiple_of(PAGE_BYTES) + rings.next_multiple_of(PAGE_BYTES)
}

const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;

impl Ring {
    /// A ring with queues of `size` and an arena of `arena_bytes` for its batches.
    pub fn new(size: RingSize, arena_bytes: usize) -> Result<Self, RingError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(size.completions)
            .build(size.submissions)
            .map_err(RingError::from_setup)?;
        Ok(Self {
            uring,
            batch: Batch::new(arena_bytes),
            addresses: Vec::new(),
            stash: Vec::new(),
            holds_batch: false,
            gathers: None,
            counts: OperationCounts::default(),
        })
    }

    /// From now on a wait goes on until there are `count` completions, or for `period`, whichever
    /// is first, before it ends with fewer: fewer switches of threads, for who is in no hurry.
    /// False where the kernel cannot do it (before 6.12), and then nothing changes.
    pub fn gather(&mut self, count: usize, period: Duration) -> bool {
        let can = self.uring.params().is_feature_min_timeout();
        self.gathers = can.then(|| (count, u32::try_from(period.as_micros()).unwrap_or(u32::MAX)));
        can
    }

    /// What was submitted so far.
    pub fn counts(&self) -> &OperationCounts {
        &self.counts
    }

    /// Pages that the kernel holds for the queues.
    pub fn kernel_bytes(&self) -> u64 {
        let parameters = self.uring.params();
        let (submissions, completions) = (parameters.sq_entries(), parameters.cq_entries());
        queue_bytes(submissions, completions)
    }

    /// The batch that sends point into.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Accepts on `listener` until told otherwise, one completion per connection.
    pub fn accept(&mut self, listener: RawFd, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, token);
    }

    /// Reports input, half-close and errors of `socket`, edge-triggered, until cancelled.
    pub fn poll_readable(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::PollAdd::new(Fd(socket), poll_mask(libc::POLLIN | libc::POLLRDHUP))
            .multi(true)
            .build();
        self.push(entry, token);
    }

    /// Reports once that `socket` takes bytes again, or that the peer has ended its half.
    ///
    /// The kernel reports `POLLRDHUP` to every poll. Where that is the state of things, not news,
    /// this would complete at once and for ever: see [`poll_room`](Self::poll_room).
    pub fn poll_writable(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::PollAdd::new(Fd(socket), poll_mask(libc::POLLOUT)).build();
        self.push(entry, token);
    }

    /// Reports whenever `socket` takes bytes again, edge-triggered, until cancelled: the way to
    /// wait for room after the peer has ended its half, which is reported once, at the start.
    pub fn poll_room(&mut self, socket: RawFd, token: Token) {
        let poll = opcode::PollAdd::new(Fd(socket), poll_mask(libc::POLLOUT)).multi(true);
        self.push(poll.build(), token);
    }

    /// Connects `socket`. It may be reported as `-EINPROGRESS` only by a non-blocking socket.
    pub fn connect(&mut self, socket: RawFd, to: SocketAddr, token: Token) {
        let address = Box::new(SocketAddress::from(to));
        let entry = opcode::Connect::new(Fd(socket), address.pointer(), address.length()).build();
        self.addresses.push(address);
        self.push(entry, token);
        self.holds_batch = true;
    }

    /// Sends `piece` of the present batch. Only a failure or a short write is reported.
    ///
    /// One send per socket and batch: a short one followed by another would tear the stream.
    pub fn send(&mut self, socket: RawFd, piece: Piece, token: Token) {
        let bytes = self.batch.bytes(piece);
        let length = u32::try_from(bytes.len()).expect("pieces are below 4 GiB");
        let entry = opcode::Send::new(Fd(socket), bytes.as_ptr(), length)
            .flags(SEND_FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry, token);
        self.holds_batch = true;
    }

    /// Ends the operation that was submitted under `target`; it reports its own end.
    pub fn cancel(&mut self, target: Token) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.bits())).build();
        self.push(entry, Token::of(Operation::Cancel));
    }

    /// Posts a wake into another ring, known by its descriptor in this thread's table.
    pub fn wake(&mut self, ring: RawFd) {
        let wake = Token::of(Operation::Wake);
        let entry = opcode::MsgRingData::new(Fd(ring), 0, wake.bits(), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry, Token::of(Operation::Wake));
    }

    /// Hands everything queued to the kernel; with `wait`, sleeps until something completes or the
    /// time is over.
    ///
    /// An error is one that another try does not mend, or did not mend in
    /// [`ENTER_ATTEMPTS_MAX`] of them.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let mut wait = wait;
        let mut attempts = 0;
        loop {
            match self.enter_once(wait) {
                Ok(()) => {}
                Err(error) => match error.raw_os_error() {
                    // The time is over, or a signal came: both say "look again".
                    Some(libc::ETIME | libc::EINTR) => {}
                    // The kernel wants completions taken, or memory freed, first.
                    Some(libc::EBUSY | libc::EAGAIN) if attempts < ENTER_ATTEMPTS_MAX => {
                        attempts += 1;
                        self.take_completions();
                    }
                    _ => return Err(error),
                },
            }
            if self.uring.submission().is_empty() {
                self.holds_batch = false;
                return Ok(());
            }
            wait = None;
        }
    }

    fn enter_once(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match wait {
            Some(period) if !self.has_completions() => {
                let period = Timespec::from(period);
                let (count, min_us) = self.gathers.unwrap_or((1, 0));
                let args = SubmitArgs::new().timespec(&period).min_wait_usec(min_us);
                self.counts.enters += 1;
                self.uring.submitter().submit_with_args(count, &args)?;
            }
            _ => {
                let queue = self.uring.submission();
                let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
                drop(queue);
                if !idle {
                    self.counts.enters += 1;
                    self.uring.submit()?;
                }
            }
        }
        Ok(())
    }

    fn has_completions(&mut self) -> bool {
        !self.stash.is_empty() || !self.uring.completion().is_empty()
    }

    /// Appends everything that completed to `into`, the kernel's overflow list included.
    pub fn drain(&mut self, into: &mut Vec<Completion>) -> io::Result<()> {
        loop {
            self.take_completions();
            into.append(&mut self.stash);
            if !self.uring.submission().cq_overflow() {
                return Ok(());
            }
            self.counts.overflows += 1;
            self.counts.enters += 1;
            self.uring.submit()?;
        }
    }

    /// Frees the room that a storm of completions has left.
    pub fn shrink(&mut self) {
        self.stash.shrink_to_fit();
        self.addresses.shrink_to_fit();
        self.batch.shrink();
    }

    fn take_completions(&mut self) {
        for entry in self.uring.completion() {
            self.counts.completions += 1;
            self.stash.push(Completion {
                token: Token::from_bits(entry.user_data()),
                result: entry.result(),
                more: cqueue::more(entry.flags()),
            });
        }
    }

    /// Lets the bytes of the present batch go. Everything that was sent from it must have been
    /// submitted, and its failures drained.
    pub fn recycle(&mut self) {
        assert!(!self.holds_batch, "the batch outlives its sends");
        self.batch.recycle();
        self.addresses.clear();
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        self.counts.submitted[token.operation() as usize] += 1;
        let entry = entry.user_data(token.bits());
        loop {
            // SAFETY: every pointer in `entry` stays good until the kernel has consumed it: send
            // bytes belong to the batch, addresses to `self`; `recycle` asserts that no
            // send or connect is queued before any of them goes.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: let the kernel take what is there. Without that nothing moves any more, and
            // what stands in the queue cannot be taken back.
            if let Err(error) = self.enter(None) {
                panic!("a full submission queue cannot be submitted: {error}");
            }
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }
}

fn poll_mask(events: i16) -> u32 {
    u32::from(events.cast_unsigned())
}

/// A socket address in the form the kernel reads.
enum SocketAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl SocketAddress {
    fn pointer(&self) -> *const libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_ref(address).cast(),
            Self::V6(address) => std::ptr::from_ref(address).cast(),
        }
    }

    fn length(&self) -> libc::socklen_t {
        let length = match self {
            Self::V4(address) => size_of_val(address),
            Self::V6(address) => size_of_val(address),
        };
        libc::socklen_t::try_from(length).expect("tens of bytes")
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(address) => Self::V6(libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            }),
        }
    }
}

fn family(family: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("a small constant")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::{Received, receive};
    use super::*;

    const SIZE: RingSize = RingSize { submissions: 8, completions: 64 };
    const SECOND: Duration = Duration::from_secs(1);

    fn ring() -> Ring {
        Ring::new(SIZE, 64 * 1024).expect("this machine has io_uring")
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        (listener.accept().expect("connected").0, client)
    }

    fn wait_for(ring: &mut Ring, operation: Operation) -> Completion {
        let mut seen = Vec::new();
        for _ in 0..100 {
            ring.enter(Some(SECOND)).expect("enter");
            ring.drain(&mut seen).expect("drain");
            if let Some(found) = seen.iter().position(|one| one.token.operation() == operation) {
                return seen.swap_remove(found);
            }
        }
        panic!("no {operation:?} among {seen:?}");
    }

    #[test]
    fn a_poll_reports_each_arrival_once_and_ends_only_when_cancelled() {
        let (server, mut client) = pair();
        let mut ring = ring();
        let token = Token::new(Operation::Readable, 3, 5);
        ring.poll_readable(server.as_raw_fd(), token);
        let mut buffer = [0; 16];
        for round in 0..3 {
            client.write_all(b"ping").expect("loopback");
            let readable = wait_for(&mut ring, Operation::Readable);
            assert_eq!((readable.token, readable.more), (token, true), "round {round}");
            assert_eq!(receive(server.as_raw_fd(), &mut buffer), Received::Bytes(4));
            assert_eq!(receive(server.as_raw_fd(), &mut buffer), Received::Nothing);
        }
        ring.cancel(token);
        let end = wait_for(&mut ring, Operation::Readable);
        assert_eq!((end.token, end.more, end.result), (token, false, -libc::ECANCELED));
    }

    /// Two arrivals, the second after the thread has begun to wait: one wait has both, if they are
    /// gathered. Where they are not, or the kernel cannot, the first ends it.
    #[test]
    fn a_wait_that_gathers_goes_on_until_there_are_as_many() {
        for gathers in [false, true] {
            let (sockets, mut clients): (Vec<_>, Vec<_>) = [pair(), pair()].into_iter().unzip();
            let mut ring = ring();
            let gathers = gathers && ring.gather(2, 60 * SECOND);
            for (number, socket) in (0..).zip(&sockets) {
                let token = Token::new(Operation::Readable, 1, number);
                ring.poll_readable(socket.as_raw_fd(), token);
            }
            ring.enter(None).expect("enter");
            clients[0].write_all(b"first").expect("loopback");
            let mut late = clients.pop().expect("two");
            let (waits, is_waiting) = std::sync::mpsc::channel();
            let second = std::thread::spawn(move || {
                is_waiting.recv().expect("told");
                late.write_all(b"second").expect("loopback");
                late
            });
            if gathers {
                waits.send(()).expect("it listens");
            }
            let mut seen = Vec::new();
            while seen.is_empty() {
                // A signal ends a wait, too.
                ring.enter(Some(60 * SECOND)).expect("enter");
                ring.drain(&mut seen).expect("drain");
            }
            assert_eq!(seen.len(), if gathers { 2 } else { 1 });
            if !gathers {
                waits.send(()).expect("it listens");
            }
            second.join().expect("written");
        }
    }

    #[test]
    fn a_send_is_silent_when_it_succeeds_and_reports_when_it_comes_back_short() {
        let (server, mut client) = pair();
        let mut ring = ring();
        let token = Token::new(Operation::Send, 1, 1);
        let hello = ring.batch().copy(&[b"hello"]).expect("fits");
        ring.send(server.as_raw_fd(), hello, token);
        ring.enter(None).expect("enter");
        let mut seen = Vec::new();
        ring.drain(&mut seen).expect("drain");
        assert_eq!(seen, []);
        let mut got = [0; 5];
        client.read_exact(&mut got).expect("sent");
        assert_eq!(&got, b"hello");
        ring.recycle();

        let huge = ring.batch().share(vec![7; 64 << 20].into());
        ring.send(server.as_raw_fd(), huge, token);
        let short = wait_for(&mut ring, Operation::Send);
        assert!(short.result > 0 && short.result < 64 << 20, "{short:?}");
    }

    #[test]
    fn a_send_to_a_full_socket_says_so_and_takes_nothing() {
        let (server, _client) = pair();
        let mut ring = ring();
        let token = Token::new(Operation::Send, 1, 1);
        for _ in 0..2 {
            let huge = ring.batch().share(vec![7; 64 << 20].into());
            ring.send(server.as_raw_fd(), huge, token);
            let _short = wait_for(&mut ring, Operation::Send);
            ring.recycle();
        }
        let more = ring.batch().copy(&[b"more"]).expect("fits");
        ring.send(server.as_raw_fd(), more, token);
        assert_eq!(wait_for(&mut ring, Operation::Send).result, -libc::EAGAIN);
    }

    #[test]
    #[should_panic(expected = "the batch outlives its sends")]
    fn a_batch_with_unsubmitted_sends_is_not_recycled() {
        let (server, _client) = pair();
        let mut ring = ring();
        let piece = ring.batch().copy(&[b"x"]).expect("fits");
        ring.send(server.as_raw_fd(), piece, Token::of(Operation::Send));
        ring.recycle();
    }

    #[test]
    fn more_submissions_than_the_queue_holds_all_arrive() {
        let (server, mut client) = pair();
        let mut ring = ring();
        for number in 0..100u8 {
            let piece = ring.batch().copy(&[&[number]]).expect("fits");
            ring.send(server.as_raw_fd(), piece, Token::of(Operation::Send));
        }
        ring.enter(None).expect("enter");
        ring.recycle();
        let mut got = [0; 100];
        client.read_exact(&mut got).expect("sent");
        assert!(got.iter().copied().eq(0..100));
        assert_eq!(ring.counts().submitted(Operation::Send), 100);
    }

    /// It was tried again for ever, by a shard that looked alive.
    #[test]
    #[should_panic(expected = "a full submission queue cannot be submitted")]
    fn a_full_queue_that_cannot_be_submitted_is_the_end() {
        let mut ring = ring();
        let other = std::fs::File::open("/dev/null").expect("Linux");
        // SAFETY: both descriptors are open, and the ring's number stays the ring's to close.
        let replaced = unsafe { libc::dup3(other.as_raw_fd(), ring.as_raw_fd(), libc::O_CLOEXEC) };
        assert_eq!(replaced, ring.as_raw_fd());
        for index in 0..=SIZE.submissions {
            ring.cancel(Token::new(Operation::Readable, 0, index));
        }
    }

    #[test]
    fn a_completion_queue_that_overflows_loses_nothing() {
        let mut ring = Ring::new(RingSize { submissions: 4, completions: 8 }, 4096).expect("ring");
        let pairs: Vec<_> = (0..64).map(|_| pair()).collect();
        for (index, (server, _)) in (0..).zip(&pairs) {
            let token = Token::new(Operation::Readable, 0, index);
            ring.poll_readable(server.as_raw_fd(), token);
        }
        for (_, client) in &pairs {
            (&*client).write_all(b"x").expect("loopback");
        }
        let mut heard = std::collections::BTreeSet::new();
        let mut seen = Vec::new();
        for _ in 0..100 {
            ring.enter(Some(Duration::from_millis(100))).expect("enter");
            seen.clear();
            ring.drain(&mut seen).expect("drain");
            for completion in &seen {
                heard.insert(completion.token.index());
                if !completion.more {
                    let (server, _) = &pairs[completion.token.index() as usize];
                    ring.poll_readable(server.as_raw_fd(), completion.token);
                }
            }
            if heard.len() == 64 {
                return;
            }
        }
        panic!("heard of {} of 64", heard.len());
    }

    #[test]
    fn a_wake_lands_in_the_other_ring() {
        let mut sleeper = ring();
        let target = sleeper.as_raw_fd();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut waker = ring();
                waker.wake(target);
                waker.enter(None).expect("enter");
            });
            let woken = wait_for(&mut sleeper, Operation::Wake);
            assert_eq!(woken.token, Token::of(Operation::Wake));
        });
    }

    #[test]
    fn a_connect_and_an_accept_meet() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut ring = ring();
        ring.accept(listener.as_raw_fd(), Token::of(Operation::Accept));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        ring.connect(socket.as_raw_fd(), address, Token::of(Operation::Connect));
        let accepted = wait_for(&mut ring, Operation::Accept);
        assert!(accepted.more, "{accepted:?}");
        accepted.into_socket().expect("accepted");
    }
}
