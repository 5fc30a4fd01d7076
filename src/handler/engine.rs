//! The seam between an application's view of a shard and the shard itself.

use std::fmt;
use std::time::{Duration, Instant};

use super::{
    Answer, AskError, Asked, Done, Entered, Entry, Handler, Job, Keep, MessageKind, Present,
    Question,
};
use crate::metrics::Counters;

/// One connection of one shard, for as long as it lives and never another after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    index: u32,
    serial: u32,
}

const _: () = assert!(size_of::<ConnectionId>() == 8); // applications keep a million of them

impl ConnectionId {
    #[doc(hidden)]
    pub fn new(index: u32, serial: u32) -> Self {
        Self { index, serial }
    }

    #[doc(hidden)]
    pub fn index(self) -> u32 {
        self.index
    }

    #[doc(hidden)]
    pub fn serial(self) -> u32 {
        self.serial
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.index, self.serial)
    }
}

/// A message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing or gone.
    Gone,
    /// The peer does not read: its unsent output is at the bound, and it is being cut.
    Overflow,
}

/// A connection did not join a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The connection is closing or gone.
    Gone,
    /// It is in as many channels as a connection may be.
    ConnectionChannels,
    /// The shard has as many channels, or members, as its limit says.
    ShardFull,
    /// The channel's home has as many channels as its limit says.
    HomeFull,
    /// The channel's name is empty or longer than 255 bytes.
    Name,
    /// It is in the channel, or on its way in.
    Member,
    /// The queue to the channel's home is full, or the home has not caught up with this shard yet:
    /// try again later.
    Busy,
}

/// A publication was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The queue to the channel's home is full: publish again later, or tell the publisher.
    Full,
    /// The channel's name is empty or longer than 255 bytes.
    Name,
    /// The payload is longer than any publication may be.
    TooLong,
}

/// A report was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportError {
    /// As many wait as may. It is counted.
    Full,
}

/// A question to the control thread has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsultError {
    /// The connection is closing or gone.
    Gone,
    /// Too many questions are open, or wait, or the queue to the control thread is full.
    Busy,
    /// Nobody there could answer it, or not in time.
    Unanswered,
}

/// How a sign-in went that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// The user's home is this shard: the connection is counted.
    Done,
    /// The home was asked; [`Handler::signed_in`] says what it answers.
    Asked,
}

/// A user's connection is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInError {
    /// The connection is closing or gone.
    Gone,
    /// The user has as many connections as the limit says.
    Limit,
    /// The queue to the user's home is full: try again later.
    Busy,
    /// The user's home counts as many users as its limit says.
    HomeFull,
    /// The user's id is longer than 255 bytes.
    User,
}

/// A job was not taken by the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffloadError {
    /// The connection is closing or gone.
    Gone,
    /// As many jobs wait as the pool's bound says.
    Full,
}

macro_rules! error_texts {
    ($($error:ident { $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
        impl std::error::Error for $error {}
    )+};
}

error_texts! {
    SendError {
        Gone => "the connection is closing or gone",
        Overflow => "the peer does not read and is being cut",
    }
    JoinError {
        Gone => "the connection is closing or gone",
        ConnectionChannels => "the connection is in as many channels as it may be",
        ShardFull => "the shard has as many channels or members as it may have",
        HomeFull => "the channel's home has as many channels as it may have",
        Name => "a channel's name has 1 to 255 bytes",
        Member => "the connection is in the channel, or on its way in",
        Busy => "the channel's home cannot be asked now",
    }
    AskError {
        Gone => "the connection is closing or gone",
        Busy => "the queue to the channel's home is full",
        HomeFull => "the channel's home keeps as many streams as it may",
        Name => "a channel's name has 1 to 255 bytes",
    }
    ConsultError {
        Gone => "the connection is closing or gone",
        Busy => "too many questions to the control thread are open",
        Unanswered => "the control thread has no answer",
    }
    PublishError {
        Full => "the queue to the channel's home is full",
        Name => "a channel's name has 1 to 255 bytes",
        TooLong => "the payload is longer than a publication may be",
    }
    SignInError {
        Gone => "the connection is closing or gone",
        Limit => "the user has as many connections as it may have",
        Busy => "the queue to the user's home is full",
        HomeFull => "the user's home counts as many users as it may",
        User => "a user's id has at most 255 bytes",
    }
    ReportError {
        Full => "too many reports wait for the control thread",
    }
    OffloadError {
        Gone => "the connection is closing or gone",
        Full => "the off-load pool is full",
    }
}

/// Limits that a shard takes over while it serves, for all its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// Bytes of one assembled message, on every route
    /// ([`Limits::message_bytes_max`](super::Limits::message_bytes_max)).
    pub message_bytes_max: usize,
    /// Unsent bytes of one connection
    /// ([`Config::output_bytes_max`](crate::Config::output_bytes_max)).
    pub output_bytes_max: usize,
    /// Channels of one connection
    /// ([`Config::connection_channels_max`](crate::Config::connection_channels_max)).
    pub connection_channels_max: u16,
}

/// What a shard does for its application. [`Shard`](super::Shard) is the view to program against.
pub trait Engine<H: Handler> {
    /// Queues a message for one connection of this shard.
    fn send(
        &mut self,
        to: ConnectionId,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<(), SendError>;
    /// Starts the close handshake; output queued before it still goes out.
    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str);
    /// Begins its heartbeat, or begins it anew.
    fn begin_heartbeat(&mut self, connection: ConnectionId);
    /// The answer to its heartbeat by message came; false if none was awaited.
    fn answer_heartbeat(&mut self, connection: ConnectionId) -> bool;
    /// Makes a connection a member of a channel; to be one already is no error.
    fn join(&mut self, connection: ConnectionId, channel: &str) -> Result<(), JoinError>;
    /// Has a connection enter a channel as the entry says.
    fn enter(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        entry: Entry,
    ) -> Result<Asked<Entered>, JoinError>;
    /// Asks a channel's home.
    fn ask(
        &mut self,
        connection: ConnectionId,
        id: u32,
        channel: &str,
        question: Question,
    ) -> Result<Asked<Answer>, AskError>;
    /// Asks the control thread, in line with others if it may wait.
    fn consult(
        &mut self,
        connection: ConnectionId,
        id: u32,
        question: Box<[u8]>,
        may_wait: bool,
    ) -> Result<(), ConsultError>;
    /// Reports to the control thread; what is lesser leaves room for the rest.
    fn report(&mut self, report: Box<[u8]>, is_lesser: bool) -> Result<(), ReportError>;
    /// The tag that a connection entered a channel with; `None` if it is not in it.
    fn tag(&self, connection: ConnectionId, channel: &str) -> Option<u8>;
    /// Keeps back what fan-out has for a connection.
    fn hold_deliveries(&mut self, connection: ConnectionId);
    /// Lets it go.
    fn release_deliveries(&mut self, connection: ConnectionId);
    /// Shows a connection otherwise, wherever it is present.
    fn show_anew(&mut self, connection: ConnectionId, present: &Present);
    /// The same in one channel.
    fn show_anew_in(&mut self, connection: ConnectionId, channel: &str, present: &Present);
    /// Ends a membership, or an entry that is under way, for good or until it comes back; false if
    /// there was none.
    fn leave(&mut self, connection: ConnectionId, channel: &str, is_for_good: bool) -> bool;
    /// Whether a connection is a member of a channel.
    fn is_member(&self, connection: ConnectionId, channel: &str) -> bool;
    /// Has a connection counted for a user, by the user's home.
    fn sign_in(
        &mut self,
        connection: ConnectionId,
        user: &str,
        limit: u32,
    ) -> Result<SignIn, SignInError>;
    /// A connection that was counted for a user is gone.
    fn sign_out(&mut self, user: &str);
    /// A connection that another process has counted for a user is here now.
    fn count_again(&mut self, user: &str);
    /// Notes whose connection it is.
    fn belong_to(&mut self, connection: ConnectionId, user: &str);
    /// Notes a name under which it can be told something.
    fn mark(&mut self, connection: ConnectionId, mark: &str);
    /// Forgets such a name.
    fn unmark(&mut self, connection: ConnectionId, mark: &str);
    /// Sets the alarm of a connection, or takes it back.
    fn set_alarm(&mut self, connection: ConnectionId, after: Option<Duration>);
    /// What this shard has counted.
    fn counters(&mut self) -> &mut Counters;
    /// Publishes to all members of a channel on all shards, by way of the channel's home, which
    /// keeps the publication if it is to be retained.
    fn publish(
        &mut self,
        channel: &str,
        kind: MessageKind,
        payload: &[u8],
        keep: Option<Keep>,
    ) -> Result<(), PublishError>;
    /// Whether a message of so many bytes would find room in its output.
    fn has_room(&mut self, connection: ConnectionId, payload_bytes: usize) -> bool;
    /// The application's state of an open connection.
    fn state(&mut self, connection: ConnectionId) -> Option<&mut H::Connection>;
    /// Hands a job to the pool.
    fn offload(
        &mut self,
        connection: ConnectionId,
        job: Job,
        done: Done<H>,
    ) -> Result<(), OffloadError>;
    /// Notes how many bytes of the peer's the application keeps; false if there is no room for
    /// more.
    fn hold(&mut self, connection: ConnectionId, bytes: usize) -> bool;
    /// Sets the limits of the shard anew.
    fn set_limits(&mut self, limits: ShardLimits);
    /// The time of this turn.
    fn now(&self) -> Instant;
    /// Which shard this is, from 0.
    fn number(&self) -> usize;
    /// How many shards there are.
    fn shard_count(&self) -> usize;
    /// Open connections of this shard.
    fn open_count(&self) -> usize;
}
