//! What a client is told without having asked (4, 5).

use super::{ClientId, UnsubscribeCode};

/// News of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Push<'a> {
    /// Something was published.
    Publication(Publication<'a>),
    /// Somebody came.
    Join(ClientInfo<'a>),
    /// Somebody left.
    Leave(ClientInfo<'a>),
    /// The server has put the client into the channel.
    Subscribe(Subscription<'a>),
    /// The server has ended the subscription.
    Unsubscribe(UnsubscribeCode),
    /// The server's word for this client: JSON. Of no channel.
    Message(&'a [u8]),
    /// The connection ends. Of no channel, and only said where no Close frame says it.
    Disconnect(Farewell<'a>),
}

/// Why a connection ends, as a Close frame would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell<'a> {
    /// What the client goes by.
    pub code: u16,
    /// What a person goes by.
    pub reason: &'a str,
}

/// One publication.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Publication<'a> {
    /// What was published: one JSON value, embedded as it stands but for raw line feeds.
    pub data: &'a [u8],
    /// Who published it, if a client did.
    pub info: Option<ClientInfo<'a>>,
    /// Its place in the channel's history; 0 without one.
    pub offset: u64,
    /// The publisher's words on it.
    pub tags: &'a [(&'a str, &'a str)],
    /// The history that the place is in; only said with the first place of one.
    pub epoch: &'a str,
    /// The data is a delta to that of the publication before it (11).
    pub delta: bool,
}

/// A subscription that the client did not ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The client may recover what it misses.
    pub recoverable: bool,
    /// The epoch of the position below.
    pub epoch: &'a str,
    /// The position that the subscription begins at.
    pub offset: u64,
    /// Whether the server tracks the client's position.
    pub positioned: bool,
    /// What the back end says of it: JSON, or nothing.
    pub data: &'a [u8],
}

/// A client, as others are shown it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientInfo<'a> {
    /// Its user; empty for an anonymous one.
    pub user: &'a str,
    /// Its name.
    pub client: ClientId,
    /// What the back end says of its connection: JSON, or nothing.
    pub connection_info: &'a [u8],
    /// What the back end says of its subscription: JSON, or nothing.
    pub channel_info: &'a [u8],
}

impl<'a> ClientInfo<'a> {
    /// A client of a user, without a word from the back end.
    pub fn of(user: &'a str, client: ClientId) -> Self {
        Self { user, client, connection_info: b"", channel_info: b"" }
    }
}
