//! TCP sockets: listeners that share a port with each other but with no other server, and the
//! options and questions about a connection that the ring has no operation for.
//!
//! `SO_REUSEPORT` would let a second server join the group in silence and take half of the
//! connections. So the first listener [`claim`]s the port alone, with bind and listen, which the
//! kernel refuses while anybody else listens there, and opens the group only then; the other
//! shards [`join`] it.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::limits::{BIND_ATTEMPTS_MAX, BIND_PAUSE_MS, LISTEN_BACKLOG};

/// How a listener is made. Its connections inherit all but the first two.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that may wait for `accept`.
    pub backlog: u32,
    /// Whether an IPv6 listener leaves IPv4 alone; otherwise `[::]` serves both.
    pub v6only: bool,
    /// Send small segments at once: a WebSocket message waits for nothing.
    pub nodelay: bool,
    /// `SO_RCVBUF`; the kernel tunes it by itself when it is not set.
    pub receive_buffer_bytes: Option<usize>,
    /// `SO_SNDBUF`; the kernel tunes it by itself when it is not set.
    pub send_buffer_bytes: Option<usize>,
    /// `TCP_USER_TIMEOUT`: after so long without an acknowledgement, or with a closed window, the
    /// kernel gives a connection up, also one that is ours no more.
    pub user_timeout: Option<Duration>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: LISTEN_BACKLOG,
            v6only: false,
            nodelay: true,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            user_timeout: None,
        }
    }
}

/// The first listener of an address: fails with `AddrInUse` when anybody else listens there,
/// another longwire included, after trying for a quarter of a second. Port 0 takes a free port;
/// [`local_addr`] tells which, for the others to [`join`].
///
/// Call it in the thread that serves it, after its descriptor table is its own: a copy left in
/// another table keeps the listener in the group after its close.
pub fn claim(address: SocketAddr, options: &ListenOptions) -> io::Result<OwnedFd> {
    retry_busy(|| {
        let socket = listen(address, options, false)?;
        // From here on listeners of the same user may join; nobody could before.
        socket.set_reuse_port(true)?;
        Ok(socket)
    })
}

/// One more listener of an address that this process has [`claim`]ed.
pub fn join(address: SocketAddr, options: &ListenOptions) -> io::Result<OwnedFd> {
    retry_busy(|| listen(address, options, true))
}

/// Whether the address could be claimed now; nothing stays open. For the start-up checks, which
/// speak before a ring is built; only [`claim`] settles it.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    retry_busy(|| bind(address, &ListenOptions::default(), false)).map(drop)
}

/// The address that a socket is bound to.
pub fn local_addr(socket: impl AsFd) -> io::Result<SocketAddr> {
    ip_address(&SockRef::from(&socket).local_addr()?)
}

/// The address of the other side. A client that came by IPv4 to an IPv6 listener has its IPv4
/// address.
pub fn peer_addr(socket: impl AsFd) -> io::Result<SocketAddr> {
    ip_address(&SockRef::from(&socket).peer_addr()?)
}

/// Ends one or both directions. Works on every copy of the descriptor, in any process.
pub fn shutdown(socket: impl AsFd, how: Shutdown) -> io::Result<()> {
    SockRef::from(&socket).shutdown(how)
}

/// Makes the coming `close` a reset that drops what is unsent, instead of a FIN behind it.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}

/// Sends small segments at once (`TCP_NODELAY`).
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_nodelay(true)
}

/// Sets `SO_SNDBUF`; the kernel doubles the number and stops tuning it.
pub fn set_send_buffer(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    SockRef::from(&socket).set_send_buffer_size(bytes)
}

/// Sets `SO_RCVBUF`; the kernel doubles the number and stops tuning it.
pub fn set_receive_buffer(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    SockRef::from(&socket).set_recv_buffer_size(bytes)
}

fn listen(address: SocketAddr, options: &ListenOptions, share: bool) -> io::Result<Socket> {
    let socket = bind(address, options, share)?;
    // `listen` looks for a conflict again: two servers that have bound at the same time, which
    // SO_REUSEADDR permits, cannot both pass.
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

fn bind(address: SocketAddr, options: &ListenOptions, share: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    // CLOEXEC from birth; the ring takes care of waiting, so blocking or not is the same to it,
    // and `accept` with flags decides for connections.
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(options.v6only)?;
    }
    // Connections of a server before us may be in TIME_WAIT on this port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    // The window scale is agreed in the SYN: buffers are set before `listen` or not at all.
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn retry_busy(mut attempt: impl FnMut() -> io::Result<Socket>) -> io::Result<OwnedFd> {
    for _ in 1..BIND_ATTEMPTS_MAX {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                thread::sleep(Duration::from_millis(BIND_PAUSE_MS));
            }
            done => return done.map(OwnedFd::from),
        }
    }
    attempt().map(OwnedFd::from)
}

fn ip_address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    let Some(address) = address.as_socket() else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not an internet address"));
    };
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;

    const ANY_PORT: &str = "127.0.0.1:0";

    fn claimed(address: &str) -> (TcpListener, SocketAddr) {
        let fd = claim(address.parse().unwrap(), &ListenOptions::default()).unwrap();
        let address = local_addr(&fd).unwrap();
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(false).unwrap();
        (listener, address)
    }

    fn accepted_count(listener: &TcpListener) -> usize {
        listener.set_nonblocking(true).unwrap();
        listener.incoming().take_while(Result::is_ok).count()
    }

    #[test]
    fn a_second_server_cannot_claim_or_probe_a_port_that_is_served() {
        let (_first, address) = claimed(ANY_PORT);
        let error = claim(address, &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(probe(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_cannot_be_joined_before_its_group_is_open() {
        let alone = TcpListener::bind(ANY_PORT).unwrap();
        let error = join(alone.local_addr().unwrap(), &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_claimed_listener_and_those_that_joined_share_the_connections() {
        let (first, address) = claimed(ANY_PORT);
        let join = || TcpListener::from(join(address, &ListenOptions::default()).unwrap());
        let group = [first, join(), join()];
        let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
        let counts = group.each_ref().map(accepted_count);
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn a_port_that_becomes_free_is_bound_within_the_retries() {
        let (first, address) = claimed(ANY_PORT);
        let (started, start) = mpsc::channel();
        let waiting = thread::spawn(move || {
            started.send(()).unwrap();
            claim(address, &ListenOptions::default()).map(drop)
        });
        start.recv().unwrap();
        thread::sleep(Duration::from_millis(3 * BIND_PAUSE_MS));
        drop(first);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_probe_leaves_the_port_free() {
        let (first, address) = claimed(ANY_PORT);
        drop(first);
        probe(address).unwrap();
        drop(claim(address, &ListenOptions::default()).unwrap());
    }

    #[test]
    fn connections_inherit_what_their_listener_has() {
        let options = ListenOptions {
            receive_buffer_bytes: Some(8 * 1024),
            send_buffer_bytes: Some(8 * 1024),
            user_timeout: Some(Duration::from_secs(35)),
            ..ListenOptions::default()
        };
        let fd = claim(ANY_PORT.parse().unwrap(), &options).unwrap();
        let address = local_addr(&fd).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (connection, _) = TcpListener::from(fd).accept().unwrap();
        let options = SockRef::from(&connection);
        assert!(options.tcp_nodelay().unwrap());
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(Duration::from_secs(35)));
        // The kernel doubles what it is asked for, for its own bookkeeping.
        assert_eq!(options.recv_buffer_size().unwrap(), 16 * 1024);
        assert_eq!(options.send_buffer_size().unwrap(), 16 * 1024);
    }

    #[test]
    fn a_client_of_a_dual_listener_has_its_own_address() {
        let (listener, address) = claimed("[::]:0");
        let client = TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        let (connection, _) = listener.accept().unwrap();
        assert_eq!(peer_addr(&connection).unwrap(), client.local_addr().unwrap());
    }

    #[test]
    fn an_ipv6_only_listener_leaves_ipv4_alone() {
        let options = ListenOptions { v6only: true, ..ListenOptions::default() };
        let fd = claim("[::]:0".parse().unwrap(), &options).unwrap();
        let port = local_addr(&fd).unwrap().port();
        drop(claim(([127, 0, 0, 1], port).into(), &ListenOptions::default()).unwrap());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn reset_on_close_is_a_reset_and_shutdown_is_an_end() {
        let (listener, address) = claimed(ANY_PORT);
        let mut client = TcpStream::connect(address).unwrap();
        let (connection, _) = listener.accept().unwrap();
        reset_on_close(&connection).unwrap();
        drop(connection);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let mut client = TcpStream::connect(address).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(b"x").unwrap();
        shutdown(&connection, Shutdown::Both).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"x");
    }

    #[test]
    fn descriptors_do_not_survive_an_exec() {
        let (listener, _) = claimed(ANY_PORT);
        let flags = rustix::io::fcntl_getfd(&listener).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
