//! What the clients of one thread go by: where to, how many, and how a connection begins.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ws::Role;

/// The terms of all clients of one thread.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where the server listens.
    pub target: SocketAddr,
    /// Path of the opening handshake.
    pub path: String,
    /// Clients, open or not.
    pub sockets: u32,
    /// Clients from this number on are probes: they have a path of their own, and are read first.
    pub probes_from: u32,
    /// Their path.
    pub probe_path: String,
    /// How a connection begins.
    pub opening: Opening,
    /// Whose frames arrive: a bare server sends our own back.
    pub role: Role,
    /// How long one opening handshake may take.
    pub handshake_deadline: Duration,
    /// Whether they wait for others to be read with them: threads are more than cores, and what is
    /// measured takes far longer.
    pub gathers: bool,
    /// When the run began: times of different threads can be compared.
    pub started: Instant,
}

/// How a connection begins, after TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// With a WebSocket handshake, all of the answer checked.
    WebSocket,
    /// With the same request, but only the status of the answer is looked at.
    FixedAnswer,
    /// With nothing.
    None,
}
