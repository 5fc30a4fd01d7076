//! What shards and the control thread say to each other over the mesh.

use std::sync::Arc;

use crate::handler::{ConnectionId, SignInError};
use crate::hub::Answer;
use crate::metrics::{Counters, Details};
use crate::ring::{Frame, Operation};

/// One message of the mesh. Small: the queues between all shards share one budget.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// To a channel's home: give this publication its place in the order.
    Publish { channel: Arc<str>, frame: Frame },
    /// From a channel's home: deliver this to the members you have.
    Deliver { channel: Arc<str>, frame: Frame },
    /// From a channel's home: you missed this many, for want of room.
    Gap { channel: Arc<str>, missed: u64 },
    /// To a channel's home: this shard has members in it now. A request.
    Interested { channel: Arc<str>, ask: u32 },
    /// The home's answer to [`Message::Interested`].
    InterestAnswered { channel: Arc<str>, ask: u32, answer: Answer },
    /// To a channel's home: this shard has none any more.
    Uninterested { channel: Arc<str> },
    /// To a channel's home: there are members here who read the other form of what is published.
    BothForms { channel: Arc<str> },
    /// To a user's home: may this connection be counted for it? A request.
    SignIn { user: Arc<str>, limit: u32, connection: ConnectionId },
    /// The home's answer to [`Message::SignIn`].
    SignedIn { user: Arc<str>, connection: ConnectionId, result: Result<(), SignInError> },
    /// To a user's home: a connection that was counted is gone.
    SignOut { user: Arc<str> },
    /// From the control thread: close everything, and end.
    Stop,
    /// From the control thread: say what you have counted, in this round of asking.
    Count { round: u64 },
    /// The answer to [`Message::Count`].
    Counted(Box<Counted>),
}

const _: () = assert!(size_of::<Message>() <= 40);

/// What one shard has counted, and what it holds now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// The round that was asked for.
    pub(crate) round: u64,
    /// The number of the shard.
    pub(crate) shard: u64,
    pub(crate) counters: Counters,
    pub(crate) details: Details,
    pub(crate) connections: u64,
    pub(crate) open: u64,
    /// Channels whose home it is, and in which some shard has members.
    pub(crate) channels: u64,
    /// Memberships of its own connections.
    pub(crate) subscriptions: u64,
    /// Users whose home it is, and of whom it counts connections.
    pub(crate) users: u64,
    pub(crate) backlog_bytes: u64,
    pub(crate) partial_bytes: u64,
    pub(crate) timers: u64,
    pub(crate) ready: u64,
    /// Submissions to the ring, by operation.
    pub(crate) submitted: Vec<(Operation, u64)>,
}
