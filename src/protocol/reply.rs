//! What a client is answered (2, 3).

use super::{ClientId, Publication, ReplyError};

/// The answer to one command.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// It failed.
    Error(ReplyError),
    /// The session has begun.
    Connect(ConnectResult<'a>),
    /// The client is in the channel.
    Subscribe(SubscribeResult<'a>),
    /// The client is not in the channel (any more).
    Unsubscribe,
    /// It was published.
    Publish,
    /// How many are in the channel.
    PresenceStats(PresenceStats),
    /// The connection goes on with the new token.
    Refresh(RefreshResult),
}

/// The session as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResult<'a> {
    /// The client's name.
    pub client: ClientId,
    /// The server's version.
    pub version: &'a str,
    /// Seconds until the client is to bring a new token; `None` if it need not.
    pub ttl_s: Option<u32>,
    /// Seconds between two pings of the server; 0 for none.
    pub ping_s: u32,
    /// Whether the client is to answer them.
    pub pong: bool,
}

/// A subscription as it begins. The default says nothing but that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SubscribeResult<'a> {
    /// The client may recover what it misses.
    pub recoverable: bool,
    /// The epoch of the position below.
    pub epoch: &'a str,
    /// What the client missed.
    pub publications: &'a [Publication<'a>],
    /// Whether that is all it missed.
    pub recovered: bool,
    /// The position that the subscription begins at.
    pub offset: u64,
    /// Whether the server tracks the client's position.
    pub positioned: bool,
    /// Whether the client had asked to recover.
    pub was_recovering: bool,
}

/// A connection as it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefreshResult {
    /// Seconds until the client is to bring another token; `None` if it need not.
    pub ttl_s: Option<u32>,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Clients.
    pub clients: u32,
    /// Users among them.
    pub users: u32,
}
