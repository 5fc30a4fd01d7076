//! What a client asks for (2, 3), borrowed from its frame.
//!
//! Fields that nothing here uses yet are ignored like unknown ones, as the protocol asks of both
//! sides.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::text::{Entries, Raw, Text, absent_if_null, nullable, object, objects};

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command<'a> {
    /// The client's number for it, which the reply carries; 0 where there is no reply.
    pub id: u32,
    /// What it asks for.
    pub request: Request<'a>,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// The answer to a ping.
    Pong,
    /// Begins the session; the first command.
    Connect(Connect<'a>),
    /// Enters a channel.
    Subscribe(Subscribe<'a>),
    /// Leaves a channel.
    Unsubscribe(Channel<'a>),
    /// Publishes into a channel.
    Publish(Publish<'a>),
    /// Who is in a channel.
    Presence(Channel<'a>),
    /// How many are in a channel.
    PresenceStats(Channel<'a>),
    /// What was published into a channel.
    History(History<'a>),
    /// Calls a procedure of the back end.
    Rpc(Rpc<'a>),
    /// A message to the back end, without a reply.
    Send,
    /// Brings a new connection token.
    Refresh(Refresh<'a>),
    /// Brings a new subscription token.
    SubRefresh(SubRefresh<'a>),
}

impl Request<'_> {
    /// Whether what it comes to depends on the time: it may bring a token.
    pub fn is_dated(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Refresh(_) | Self::SubRefresh(_) => true,
            Self::Subscribe(request) => !request.token.is_empty(),
            _ => false,
        }
    }

    /// The channel that the command is about; empty if the client left it out.
    pub fn channel(&self) -> Option<&str> {
        match self {
            Self::Pong | Self::Connect(_) | Self::Rpc(_) | Self::Send | Self::Refresh(_) => None,
            Self::Subscribe(request) => Some(&request.channel),
            Self::Unsubscribe(request) | Self::Presence(request) | Self::PresenceStats(request) => {
                Some(&request.channel)
            }
            Self::Publish(request) => Some(&request.channel),
            Self::History(request) => Some(&request.channel),
            Self::SubRefresh(request) => Some(&request.channel),
        }
    }
}

/// A request that names a channel and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Channel<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
}

/// The first command of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// The connection token, a JWT.
    #[serde(borrow)]
    pub token: Text<'a>,
    /// What the application has to say about it.
    #[serde(borrow, deserialize_with = "absent_if_null")]
    pub data: Raw<'a>,
    /// What the client holds of the channels that the server had put it in.
    #[serde(borrow, deserialize_with = "objects")]
    pub subs: Entries<'a, Held<'a>>,
    /// The kind of client, for logs.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// The version of the client, for logs.
    #[serde(borrow)]
    pub version: Text<'a>,
    /// Headers that it could not put into its upgrade request.
    #[serde(borrow)]
    pub headers: Entries<'a, Text<'a>>,
}

/// What a client holds of a channel that it did not ask to be in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Held<'a> {
    /// Whether to send what was published since the position below.
    #[serde(deserialize_with = "nullable")]
    pub recover: bool,
    /// The epoch of that position.
    #[serde(borrow)]
    pub epoch: Text<'a>,
    /// The offset of that position.
    #[serde(deserialize_with = "nullable")]
    pub offset: u64,
}

/// Enters a channel.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Subscribe<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// The subscription token, a JWT.
    #[serde(borrow)]
    pub token: Text<'a>,
    /// Whether to send what was published since the position below.
    #[serde(deserialize_with = "nullable")]
    pub recover: bool,
    /// The epoch of that position.
    #[serde(borrow)]
    pub epoch: Text<'a>,
    /// The offset of that position.
    #[serde(deserialize_with = "nullable")]
    pub offset: u64,
    /// What the application has to say about it.
    #[serde(borrow, deserialize_with = "absent_if_null")]
    pub data: Raw<'a>,
    /// The client wants its position to be tracked.
    #[serde(deserialize_with = "nullable")]
    pub positioned: bool,
    /// The client wants to recover later.
    #[serde(deserialize_with = "nullable")]
    pub recoverable: bool,
    /// The client wants to hear who comes and goes.
    #[serde(deserialize_with = "nullable")]
    pub join_leave: bool,
    /// The delta format that the client offers; empty for none.
    #[serde(borrow)]
    pub delta: Text<'a>,
    /// A filter by tags.
    #[serde(borrow, rename = "tf", deserialize_with = "absent_if_null")]
    pub tags_filter: Raw<'a>,
    /// Features of the client, one bit each: see [`must_recover`](Self::must_recover).
    #[serde(deserialize_with = "nullable")]
    pub flag: i64,
    /// What kind of subscription it is: 0 is a stream, the others are kinds of maps.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: i32,
}

impl Subscribe<'_> {
    /// Whether the client would rather be refused than go on with a gap: bit 2 of its features.
    pub fn must_recover(&self) -> bool {
        self.flag & 2 != 0
    }
}

/// Publishes into a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Publish<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// What to publish.
    #[serde(borrow)]
    pub data: Raw<'a>,
    /// What kind of publication it is: 0 is an ordinary one, 1 changes a map.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: i32,
}

/// Asks for what was published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// Publications to answer with: none for 0, and all there are for a negative number.
    #[serde(deserialize_with = "nullable")]
    pub limit: i32,
    /// Only those beyond this position.
    #[serde(borrow, deserialize_with = "object")]
    pub since: Option<StreamPosition<'a>>,
    /// From the newest to the oldest.
    #[serde(deserialize_with = "nullable")]
    pub reverse: bool,
}

/// A place in a channel's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StreamPosition<'a> {
    /// The publication that stands there.
    #[serde(deserialize_with = "nullable")]
    pub offset: u64,
    /// The history that it is of; empty for whichever there is.
    #[serde(borrow)]
    pub epoch: Text<'a>,
}

/// Calls a procedure of the back end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rpc<'a> {
    /// What it is given.
    #[serde(borrow)]
    pub data: Raw<'a>,
    /// Its name.
    #[serde(borrow)]
    pub method: Text<'a>,
}

/// Brings a new connection token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refresh<'a> {
    /// The token.
    #[serde(borrow)]
    pub token: Text<'a>,
}

/// Brings a new subscription token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubRefresh<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// The token.
    #[serde(borrow)]
    pub token: Text<'a>,
}

/// A command as both formats have it: one field of several.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(deserialize_with = "nullable")]
    pub(super) id: u32,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) connect: Option<Connect<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) subscribe: Option<Subscribe<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) unsubscribe: Option<Channel<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) publish: Option<Publish<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) presence: Option<Channel<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) presence_stats: Option<Channel<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) history: Option<History<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) rpc: Option<Rpc<'a>>,
    #[serde(deserialize_with = "object")]
    pub(super) send: Option<IgnoredAny>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) refresh: Option<Refresh<'a>>,
    #[serde(borrow, deserialize_with = "object")]
    pub(super) sub_refresh: Option<SubRefresh<'a>>,
}

impl<'a> Envelope<'a> {
    /// The command in it; `None` if it has a number but nothing that it asks for.
    ///
    /// Where several fields are set, the order is the reference's. Without a number everything
    /// but `send` is a pong.
    pub(super) fn open(self) -> Option<Command<'a>> {
        let id = self.id;
        let request = match self {
            Self { send: Some(_), .. } if id == 0 => Request::Send,
            _ if id == 0 => Request::Pong,
            Self { connect: Some(request), .. } => Request::Connect(request),
            Self { subscribe: Some(request), .. } => Request::Subscribe(request),
            Self { unsubscribe: Some(request), .. } => Request::Unsubscribe(request),
            Self { publish: Some(request), .. } => Request::Publish(request),
            Self { presence: Some(request), .. } => Request::Presence(request),
            Self { presence_stats: Some(request), .. } => Request::PresenceStats(request),
            Self { history: Some(request), .. } => Request::History(request),
            Self { rpc: Some(request), .. } => Request::Rpc(request),
            Self { send: Some(_), .. } => Request::Send,
            Self { refresh: Some(request), .. } => Request::Refresh(request),
            Self { sub_refresh: Some(request), .. } => Request::SubRefresh(request),
            _ => return None,
        };
        Some(Command { id, request })
    }
}
