//! The baseline: a TCP server with nothing in it that a WebSocket server could leave out.
//!
//! One thread, level-triggered epoll, 1,024 events per wait, one `recv` into 64 KiB and one `send`
//! per event, no allocation once it listens, `TCP_NODELAY`. It knows no frames: `echo` sends back
//! the bytes it got, `fanout` sends every chunk to all connections by a plain loop of `send(2)`,
//! `handshake` answers one fixed 101 to the first bytes of a connection. So its CPU time per
//! message is what the kernel alone costs by the classic way, and the load generator's `--bare`
//! moves the same bytes through it.
//!
//! `cargo run --release --example bare -- echo --listen 127.0.0.1:9100 --cpu 0`

#![allow(unsafe_code)]
// The C interface speaks of descriptors and counts as `int`; each is seen to be >= 0 before a cast.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

/// Events taken by one `epoll_wait`.
const EVENTS_MAX: usize = 1024;

/// Bytes taken by one `recv`.
const CHUNK_BYTES: usize = 64 * 1024;

/// Connections waiting to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long a full socket may stay full before its connection is cut, so that no peer that stops
/// reading stops the server.
const STALL_MS: i32 = 5_000;

/// What `handshake` answers to everybody; the generator does not check this accept key.
const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const USAGE: &str = "usage: bare echo|fanout|handshake --listen ADDRESS:PORT [--cpu N]";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Echo,
    Fanout,
    Handshake,
}

/// The open connections in no order, and where each descriptor stands among them.
///
/// Both are sized by the descriptor limit at the start, so nothing grows later.
struct Connections {
    open: Vec<RawFd>,
    /// Place in `open` by descriptor; `None` is a descriptor that is no connection.
    places: Vec<Option<u32>>,
}

impl Connections {
    fn new(descriptors_max: usize) -> Self {
        Self { open: Vec::with_capacity(descriptors_max), places: vec![None; descriptors_max] }
    }

    fn insert(&mut self, fd: RawFd) {
        let place = u32::try_from(self.open.len()).expect("descriptors are fewer than 2^32");
        self.places[fd as usize] = Some(place);
        self.open.push(fd);
    }

    /// Forgets and closes `fd`; twice is harmless, because a fan-out may cut a connection whose
    /// own event is still to come in the same wait.
    fn remove(&mut self, fd: RawFd) {
        let Some(place) = self.places[fd as usize].take() else {
            return;
        };
        self.open.swap_remove(place as usize);
        if let Some(&moved) = self.open.get(place as usize) {
            self.places[moved as usize] = Some(place);
        }
        // SAFETY: `fd` was open and ours until this call: it stood in the table.
        unsafe { libc::close(fd) };
    }

    fn holds(&self, fd: RawFd) -> bool {
        self.places[fd as usize].is_some()
    }
}

fn main() -> ExitCode {
    let (mode, listen, cpu) = match arguments() {
        Ok(arguments) => arguments,
        Err(cause) => {
            eprintln!("bare: {cause}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(mode, listen, cpu) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(Mode, SocketAddr, Option<usize>), String> {
    let mut words = std::env::args().skip(1);
    let mode = match words.next().as_deref() {
        Some("echo") => Mode::Echo,
        Some("fanout") => Mode::Fanout,
        Some("handshake") => Mode::Handshake,
        _ => return Err("the first word is the mode".into()),
    };
    let (mut listen, mut cpu) = (None, None);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--listen" => listen = Some(value.parse().map_err(|e| format!("{value}: {e}"))?),
            "--cpu" => cpu = Some(value.parse().map_err(|e| format!("{value}: {e}"))?),
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok((mode, listen.ok_or("--listen is missing")?, cpu))
}

fn serve(
    mode: Mode,
    listen: SocketAddr,
    cpu: Option<usize>,
) -> io::Result<std::convert::Infallible> {
    if let Some(id) = cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return Err(io::Error::other(format!("core {id} is not ours to run on")));
    }
    let mut connections = Connections::new(raise_descriptor_limit()?);
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    // SAFETY: the listener is open; a second listen(2) only changes the backlog.
    checked(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
    set_nodelay(listener.as_raw_fd())?;
    // SAFETY: no pointers.
    let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    watch(epoll, listener.as_raw_fd())?;
    println!("listening on {} pid {}", listener.local_addr()?, std::process::id());

    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // SAFETY: `events` has room for EVENTS_MAX entries and outlives the call.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS_MAX as i32, -1) };
        if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events[..count as usize] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                accept_waiting(epoll, fd, &mut connections);
            } else if connections.holds(fd) {
                on_readable(mode, fd, &mut chunk, &mut connections);
            }
        }
    }
}

/// Soft limit to hard limit; descriptors are numbers below it.
fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours and outlives the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur as usize)
}

fn set_nodelay(fd: RawFd) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: the option's value is one int, which outlives the call.
    checked(unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn watch(epoll: RawFd, fd: RawFd) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
    // SAFETY: `event` outlives the call; both descriptors are open.
    checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    Ok(())
}

/// Takes all that wait. At a full descriptor table the rest waits in the backlog.
fn accept_waiting(epoll: RawFd, listener: RawFd, connections: &mut Connections) {
    loop {
        // SAFETY: null address and length mean that the peer's address is not wanted.
        let fd = unsafe {
            libc::accept4(
                listener,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        if fd < 0 {
            return;
        }
        connections.insert(fd);
        // TCP_NODELAY is inherited from the listener.
        if let Err(error) = watch(epoll, fd) {
            eprintln!("bare: epoll: {error}");
            connections.remove(fd);
        }
    }
}

fn on_readable(mode: Mode, fd: RawFd, chunk: &mut [u8], connections: &mut Connections) {
    // SAFETY: `chunk` is CHUNK_BYTES long and outlives the call.
    let received = unsafe { libc::recv(fd, chunk.as_mut_ptr().cast(), chunk.len(), 0) };
    if received < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        return;
    }
    if received <= 0 {
        connections.remove(fd);
        return;
    }
    let chunk = &chunk[..received as usize];
    match mode {
        Mode::Echo => send_or_cut(fd, chunk, connections),
        Mode::Handshake => send_or_cut(fd, SWITCHING_PROTOCOLS, connections),
        Mode::Fanout => {
            let mut place = 0;
            while let Some(&target) = connections.open.get(place) {
                send_or_cut(target, chunk, connections);
                // A cut connection's place was taken by the last one, which is still to be served.
                place += usize::from(connections.open.get(place) == Some(&target));
            }
        }
    }
}

fn send_or_cut(fd: RawFd, bytes: &[u8], connections: &mut Connections) {
    if !send_all(fd, bytes) {
        connections.remove(fd);
    }
}

/// One `send(2)`, as long as the peer reads: only a full socket makes it wait and go on.
fn send_all(fd: RawFd, bytes: &[u8]) -> bool {
    let mut sent = 0;
    loop {
        let rest = &bytes[sent..];
        // SAFETY: `rest` outlives the call.
        let count = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if count >= 0 {
            sent += count as usize;
            if sent == bytes.len() {
                return true;
            }
        } else if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            return false;
        }
        let mut room = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        if unsafe { libc::poll(&raw mut room, 1, STALL_MS) } != 1 {
            eprintln!("bare: a connection that does not read is cut");
            return false;
        }
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
