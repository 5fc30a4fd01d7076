//! What shards and the control thread say to each other over the mesh.

use std::sync::Arc;

use super::moves::Move;
use crate::handler::{
    self, AskError, ConnectionId, Entered, Entry, JoinError, Keep, Position, Present, Question,
    SignInError, Whom,
};
use crate::hub::Answer;
use crate::metrics::{Counters, Details, Memory};
use crate::ring::{Frame, Operation};

/// One message of the mesh. Small: the queues between all shards share one budget.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// To a channel's home: give this publication its place in the order.
    Publish { channel: Arc<str>, frame: Frame },
    /// To a channel's home: the same, and keep it.
    PublishKept(Box<PublishKept>),
    /// To a channel's home: keep this publication, and say where. A request.
    Place(Box<Place>),
    /// The home's answer to [`Message::Place`]; nowhere, if there is no room for the stream.
    Placed { ask: u32, place: Option<Position> },
    /// From a channel's home: deliver this to the members you have.
    Deliver { channel: Arc<str>, frame: Frame },
    /// From a channel's home: deliver this to those of your members who hear of others' coming and
    /// going.
    Tell { channel: Arc<str>, frame: Frame },
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
    /// To a channel's home: a connection enters. A request.
    Enter(Box<Enter>),
    /// The home's answer to [`Message::Enter`].
    Entered(Box<EnteredBy>),
    /// To a channel's home: a question. A request.
    Ask(Box<Ask>),
    /// The home's answer to [`Message::Ask`].
    Answered(Box<Answered>),
    /// From a channel's home: send a connection of yours this again. It is not in the order.
    Redeliver(Box<Redeliver>),
    /// To a channel's home: a connection that it has noted is not in the channel any more.
    Absent { channel: Arc<str>, connection: ConnectionId, gone: Gone },
    /// To a channel's home: a connection that is present is shown otherwise from now on.
    ShowAnew(Box<ShowAnew>),
    /// From a channel's home: whoever of yours is in it gives way to somebody who enters.
    Replaced { channel: Arc<str> },
    /// To a channel's home: a member that was taken over from another process is here now.
    Returned(Box<Returned>),
    /// To a user's home: a connection that was counted in another process is here now.
    CountAgain { user: Arc<str> },
    /// To a user's home: may this connection be counted for it? A request.
    SignIn { user: Arc<str>, limit: u32, connection: ConnectionId },
    /// The home's answer to [`Message::SignIn`].
    SignedIn { user: Arc<str>, connection: ConnectionId, result: Result<(), SignInError> },
    /// To a user's home: a connection that was counted is gone.
    SignOut { user: Arc<str> },
    /// To the control thread: a question of a connection.
    Consult(Box<Consult>),
    /// To the control thread: nobody waits for the answer to this one any more.
    Unconsult { connection: ConnectionId, id: u32 },
    /// The control thread's answer to [`Message::Consult`].
    Consulted(Box<Consulted>),
    /// To the control thread: reports of the application.
    Reported(Box<[Box<[u8]>]>),
    /// From the control thread: which channels have members here? A request.
    ListChannels(Box<ListChannels>),
    /// The answer to [`Message::ListChannels`]: channels with members here, unless they are too
    /// many.
    ChannelsListed { ask: u64, found: Option<Arc<Vec<Listed>>> },
    /// From the control thread: tell this to all connections of a user. A request.
    TellUser(Box<TellUser>),
    /// The answer to [`Message::TellUser`]: all that are here have been told. False if the
    /// application has failed to take it in.
    UserTold { ask: u64, was_heard: bool },
    /// From the control thread: close everything, and end.
    Stop,
    /// Between shards: a step on a connection's way from one to another.
    Move(Box<Move>),
    /// Between the control thread and a shard: a step on the way to another process.
    HandOver(HandOver),
    /// From the control thread: say what you have counted, in this round of asking.
    Count { round: u64 },
    /// The answer to [`Message::Count`].
    Counted(Box<Counted>),
}

const _: () = assert!(size_of::<Message>() <= 40);

/// A step on the way to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// From the control thread: serve on, and send copies of the descriptors of connections to the
    /// shards of another process, of which there are this many.
    Ahead { shards: u16, attempt: u8 },
    /// To the control thread: the other process has these; or it cannot have them.
    Copied { attempt: u8, copies: Option<u64> },
    /// From the control thread: stand still, and send all connections to the shards of another
    /// process, of which there are this many.
    Freeze { shards: u16, attempt: u8 },
    /// From the control thread: how much have you said and heard? Asked until nothing is on its way
    /// between any two.
    Survey { round: u32 },
    /// The answer to [`HandOver::Survey`]: messages sent and received so far, and whether this
    /// shard has nothing to do that would lead to another.
    Surveyed { round: u32, sent: u64, received: u64, is_idle: bool },
    /// From the control thread: nothing is on its way any more; send what you have.
    Send,
    /// To the control thread: all is sent, these connections, so many of them by copies that were
    /// sent ahead; or it cannot be, and nothing counts.
    Moved { connections: Option<u64>, copied: u64 },
    /// From the control thread: nothing has become of it; go on.
    Thaw,
    /// From the control thread: everything is the other process's; end, and touch nothing.
    Leave,
    /// Between shards that have taken over: you know of all that I have for you.
    Settled,
}

impl Message {
    /// To a channel's home: give this publication its place, and keep it if it is to be retained.
    pub(crate) fn publication(channel: Arc<str>, frame: Frame, keep: Option<Keep>) -> Self {
        match keep {
            None => Self::Publish { channel, frame },
            Some(keep) => Self::PublishKept(Box::new(PublishKept { channel, frame, keep })),
        }
    }
}

/// A connection that is shown otherwise from now on, in one of its channels.
#[derive(Clone, Debug)]
pub(crate) struct ShowAnew {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    pub(crate) present: Present,
}

/// A member of a channel that was taken over from another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    /// The name by which the channel's home knew it there.
    pub(crate) former: u64,
    pub(crate) is_present: bool,
    pub(crate) acknowledges: bool,
    pub(crate) hears_joins: bool,
    pub(crate) takes_deltas: bool,
}

/// A publication that its home is to keep.
#[derive(Clone, Debug)]
pub(crate) struct PublishKept {
    pub(crate) channel: Arc<str>,
    pub(crate) frame: Frame,
    pub(crate) keep: Keep,
}

/// A question for the names of channels.
#[derive(Clone, Debug)]
pub(crate) struct ListChannels {
    /// The asking thread's own.
    pub(crate) ask: u64,
    /// A pattern of names, of those that have a meaning.
    pub(crate) pattern: Arc<str>,
}

/// A channel, and its members on one shard.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) channel: Arc<str>,
    pub(crate) members: u32,
}

/// A word for all connections of a user, or with a mark.
#[derive(Clone, Debug)]
pub(crate) struct TellUser {
    /// The asking thread's own.
    pub(crate) ask: u64,
    pub(crate) whom: Whom<Arc<str>>,
    /// What only the application understands.
    pub(crate) word: Arc<[u8]>,
}

/// A publication that a user has not acknowledged, for one of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Redeliver {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    pub(crate) frame: Frame,
}

/// What a membership that has ended was to its channel's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// It was counted among those present.
    pub(crate) is_present: bool,
    /// Others are told of that.
    pub(crate) is_announced: bool,
    /// What is published was retained for its user.
    pub(crate) acknowledges: bool,
    /// It has left by itself, or was put out, and was not cut off.
    pub(crate) is_for_good: bool,
}

/// A publication whose place is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The asking thread's own.
    pub(crate) ask: u32,
    /// Of what it is a state, if it is one.
    pub(crate) version: Option<Version>,
    pub(crate) publication: PublishKept,
}

/// Which state of something a publication is, by the publisher's own count.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    /// Numbers of different epochs do not compare.
    pub(crate) epoch: Box<str>,
}

/// A connection that enters a channel.
#[derive(Clone, Debug)]
pub(crate) struct Enter {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    pub(crate) entry: Entry,
}

/// What the home says to a connection that enters.
#[derive(Clone, Debug)]
pub(crate) struct EnteredBy {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    pub(crate) result: Result<Entered, JoinError>,
}

/// A question of a connection to a channel's home.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) channel: Arc<str>,
    pub(crate) connection: ConnectionId,
    /// The asking application's own.
    pub(crate) id: u32,
    pub(crate) question: Question,
}

/// The home's answer to a question.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) connection: ConnectionId,
    pub(crate) id: u32,
    pub(crate) result: Result<handler::Answer, AskError>,
}

/// A question of a connection to the control thread.
#[derive(Clone, Debug)]
pub(crate) struct Consult {
    pub(crate) connection: ConnectionId,
    /// The asking application's own.
    pub(crate) id: u32,
    /// What only the application understands, and what stands at the control thread.
    pub(crate) question: Box<[u8]>,
}

/// The control thread's answer.
#[derive(Clone, Debug)]
pub(crate) struct Consulted {
    pub(crate) connection: ConnectionId,
    pub(crate) id: u32,
    /// `None` if there is none.
    pub(crate) answer: Option<Box<[u8]>>,
}

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
    /// Streams of channels that are kept.
    pub(crate) streams: u64,
    /// Bytes that their publications are charged for.
    pub(crate) stream_bytes: u64,
    /// Clients present in channels, once for each channel.
    pub(crate) present: u64,
    /// Users × channels for whom what is published is retained until it is acknowledged.
    pub(crate) mailboxes: u64,
    /// Bytes that those are charged for.
    pub(crate) mailbox_bytes: u64,
    pub(crate) backlog_bytes: u64,
    pub(crate) partial_bytes: u64,
    pub(crate) memory: Memory,
    pub(crate) timers: u64,
    pub(crate) ready: u64,
    /// Submissions to the ring, by operation.
    pub(crate) submitted: Vec<(Operation, u64)>,
}
