//! What a client is answered (2, 3).
//!
//! Lists stand in a result as they were encoded before, in the client's format: see
//! [`Format::write_publications`](super::Format::write_publications) and
//! [`Format::write_clients`](super::Format::write_clients). Many clients that ask for the same are
//! answered from one encoding.

use super::{ClientId, ReplyError};

/// The answer to one command.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// It failed.
    Error(ReplyError),
    /// It failed, in the words of the application's back end.
    Failure(Failure<'a>),
    /// The session has begun.
    Connect(ConnectResult<'a>),
    /// The client is in the channel.
    Subscribe(SubscribeResult<'a>),
    /// The client is not in the channel (any more).
    Unsubscribe,
    /// It was published.
    Publish,
    /// Who is in the channel: a list of clients.
    Presence(&'a [u8]),
    /// How many are in the channel.
    PresenceStats(PresenceStats),
    /// What was published into the channel.
    History(HistoryResult<'a>),
    /// What a procedure of the back end returned: JSON, or nothing.
    Rpc(&'a [u8]),
    /// The connection goes on with the new token.
    Refresh(RefreshResult),
    /// The subscription goes on with the new token.
    SubRefresh(RefreshResult),
}

/// An error of the application's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure<'a> {
    /// What the client goes by: from 400 on the application's own (7).
    pub code: u32,
    /// What a person goes by.
    pub message: &'a str,
    /// Whether the same may succeed later.
    pub is_temporary: bool,
}

/// The session as it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// What the back end says of the connection: JSON, or nothing.
    pub data: &'a [u8],
    /// The channels that the server has put the client into.
    pub subs: &'a [(&'a str, SubscribeResult<'a>)],
    /// How the client names its session in requests beside its stream, if that is how it speaks.
    pub stream: Option<StreamNames<'a>>,
}

/// What a client over HTTP says its session is: a secret, since it lets whoever knows it speak in
/// the client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamNames<'a> {
    /// The session.
    pub session: &'a str,
    /// The node that it is on.
    pub node: &'a str,
}

/// A subscription as it begins. The default says nothing but that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SubscribeResult<'a> {
    /// Seconds until the client is to bring a new token for it; `None` if it need not.
    pub ttl_s: Option<u32>,
    /// The client may recover what it misses.
    pub recoverable: bool,
    /// The epoch of the position below.
    pub epoch: &'a str,
    /// What the client missed: a list of publications for a subscription.
    pub publications: &'a [u8],
    /// Whether that is all it missed.
    pub recovered: bool,
    /// The position that the subscription begins at.
    pub offset: u64,
    /// Whether the server tracks the client's position.
    pub positioned: bool,
    /// What the back end says of it: JSON, or nothing.
    pub data: &'a [u8],
    /// Whether the client had asked to recover.
    pub was_recovering: bool,
    /// Whether publications come as deltas, where they can.
    pub delta: bool,
}

/// What was published into a channel. All of it is always said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryResult<'a> {
    /// Those asked for: a list of publications for a history.
    pub publications: &'a [u8],
    /// The history that they are of.
    pub epoch: &'a str,
    /// The last place in it.
    pub offset: u64,
}

/// A connection or a subscription as it goes on.
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
