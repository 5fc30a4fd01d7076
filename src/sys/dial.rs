//! Sockets about to connect: a source address without a port, so that ports are shared.
//!
//! `bind` to port 0 takes a port of the source address for all targets at once, and none that
//! rests in TIME-WAIT. With `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2) the port is chosen by
//! `connect`, which only asks that source and target together are free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// A TCP socket that will connect to `target`, from `source` where one is named.
///
/// It is blocking: the ring then waits for the end of a connect by itself.
pub fn socket(target: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        leave_port_to_connect(&socket)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    Ok(socket.into())
}

fn leave_port_to_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("4");
    // SAFETY: the option's value is one int that outlives the call; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_source_address_is_kept_and_its_port_is_chosen_by_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 7);
        let bound = Socket::from(socket(target, Some(source)).unwrap());
        let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        assert_eq!(port(&bound), 0);
        bound.connect(&target.into()).unwrap();
        assert_ne!(port(&bound), 0);
        assert_eq!(TcpStream::from(bound).local_addr().unwrap().ip(), source);
    }
}
