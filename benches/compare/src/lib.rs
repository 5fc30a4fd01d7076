//! What the servers of the comparison have in common: how they are started, and what they do.
//!
//! Each serves on one thread, which `run` pins to one core, in one of two modes: `echo` sends every
//! message back, `broadcast` sends it to all connections. Sockets have `TCP_NODELAY`, and no server
//! pings. Beyond that each is written as its own documentation has it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast;

/// Messages that a member may be behind by.
const MESSAGES_MAX: usize = 1024;

/// What a server does with a message.
pub enum Mode<T> {
    /// Back to whom it came from.
    Echo,
    /// To everybody.
    Broadcast(broadcast::Sender<T>),
}

impl<T> Clone for Mode<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Echo => Self::Echo,
            Self::Broadcast(sender) => Self::Broadcast(sender.clone()),
        }
    }
}

/// Runs a server as the command line says: `NAME echo|broadcast --listen ADDRESS:PORT`.
pub fn run<T: Clone, F>(serve: impl FnOnce(TcpListener, Mode<T>) -> F)
where
    F: Future<Output = io::Result<()>>,
{
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mode, address) = match words[..] {
        ["echo", "--listen", address] => (Mode::Echo, address),
        ["broadcast", "--listen", address] => {
            (Mode::Broadcast(broadcast::channel(MESSAGES_MAX).0), address)
        }
        _ => {
            eprintln!("usage: echo|broadcast --listen ADDRESS:PORT");
            std::process::exit(2);
        }
    };
    let address = address.parse().expect("an address and a port");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let served = runtime.block_on(async { serve(listen(address)?, mode).await });
    served.expect("it serves until it is killed");
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    let listener = socket.listen(4096)?;
    println!("listening on {address} pid {}", std::process::id());
    Ok(listener)
}
