//! How a connection ended.

/// Who or what ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The application closed it.
    Application,
    /// The peer sent a Close frame (RFC 6455 §5.5.1).
    Peer,
    /// The peer ended the TCP connection without a Close frame.
    Vanished,
    /// The peer broke RFC 6455 or a limit; the code says which.
    Violation,
    /// Nothing was heard from the peer for the route's idle time.
    Idle,
    /// The peer did not answer pings.
    Unresponsive,
    /// The peer did not read: its output reached the bound.
    Overflow,
    /// The handler panicked on it.
    Panic,
    /// The server is stopping.
    Shutdown,
}

/// How a connection ended: who did it, and the code and reason of the close handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who or what ended it.
    pub cause: Cause,
    /// The code of RFC 6455 §7.4; 1005 where the peer gave none, 1006 where it vanished.
    pub code: u16,
    /// The reason that was given with the code, at most 123 bytes.
    pub reason: Box<str>,
}
