//! What the control thread asks the shards for, and how long it waits for an answer.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::channels::Kept;
use crate::limits::ASK_TIMEOUT;
use crate::metrics::Snapshot;

/// One question to the shards. Whoever drops the answer's sender has answered "no".
#[derive(Debug)]
pub enum Ask {
    /// Give this publication its place in the channel's order.
    Publish {
        /// The channel's name, valid by [`CHANNEL_NAME_BYTES_MAX`](crate::limits).
        channel: String,
        /// What its members are sent.
        frame: Publication,
        /// Its place, if it is kept, when it has one; `None` as soon as it is queued elsewhere.
        answer: oneshot::Sender<Result<Option<Placed>, Busy>>,
    },
    /// Ask a channel's home.
    Question {
        /// The channel's name.
        channel: String,
        /// What is asked.
        question: Question,
        /// What the home says.
        answer: oneshot::Sender<Result<Told, Busy>>,
    },
    /// Which channels have members?
    Channels {
        /// A pattern of names, of those that have a meaning.
        pattern: String,
        /// Channels, and their members on all shards.
        answer: oneshot::Sender<Result<BTreeMap<String, u32>, ListError>>,
    },
    /// Tell this to some connections, on all shards.
    Tell {
        /// Whose.
        whom: Audience,
        /// What only the shards' application understands.
        word: Vec<u8>,
        /// `Ok` when all have been told.
        answer: oneshot::Sender<Result<(), TellError>>,
    },
    /// Say what was counted; `None` if a shard did not answer in time.
    Snapshot {
        /// Where to.
        answer: oneshot::Sender<Option<Snapshot>>,
    },
}

/// One message of the client protocol, whole; it is put into a WebSocket frame once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// UTF-8 and one line, or binary.
    pub message: Vec<u8>,
    /// It is Protobuf, since its data cannot be said in JSON.
    pub is_binary: bool,
    /// How it is kept, if it is.
    pub kept: Option<Kept>,
    /// Deltas are made of it, for those who take them.
    pub makes_delta: bool,
    /// Which state of something it is: a number in an epoch. It is not made if it is no newer than
    /// what the channel keeps.
    pub version: Option<(u64, String)>,
}

/// A place in the stream of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The publication's, or the last one's.
    pub offset: u64,
    /// The epoch that the offset counts in.
    pub epoch: String,
}

/// What may be asked of a channel's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The publications that are kept.
    History {
        /// Only those after this offset in this epoch, or before it in reverse.
        since: Option<(u64, String)>,
        /// So many at most; 0 asks for the end of the stream alone.
        publications_max: u32,
        /// From the latest to the oldest.
        is_reverse: bool,
        /// How the channel keeps them.
        kept: Kept,
    },
    /// To drop them.
    RemoveHistory,
    /// Who is in the channel.
    Presence,
    /// How many are.
    PresenceStats,
}

/// What a home says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To [`Question::History`].
    History {
        /// A list in JSON.
        publications: String,
        /// The end of the stream.
        end: Placed,
    },
    /// To the same: the epoch that was asked for is over.
    Unrecoverable,
    /// To the same: a publication cannot be said in JSON.
    Unreadable,
    /// To [`Question::RemoveHistory`].
    HistoryRemoved,
    /// To [`Question::Presence`]: clients by their names, in JSON.
    Presence(String),
    /// To [`Question::PresenceStats`].
    PresenceStats {
        /// Clients in the channel.
        clients: u32,
        /// Users that they belong to.
        users: u32,
    },
}

/// The queue to a channel's home is full, or nobody answered in time: ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Who is told something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All connections of a user; empty for those of nobody.
    User(String),
    /// All that came, or are in a channel, by the token of this name.
    Bearers(String),
}

/// Something was not told to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TellError {
    /// Too much is told at once, or a shard did not answer in time.
    Busy,
    /// A shard has failed to take it in.
    Unheard,
}

/// There is no list of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListError {
    /// Too many are made at once, or nobody answered in time.
    Busy,
    /// They are more than a list may name.
    TooMany,
}

/// The asking side: never waits for longer than it is told, or [`ASK_TIMEOUT`].
#[derive(Clone, Debug)]
pub(super) struct Asks(mpsc::Sender<Ask>);

impl Asks {
    pub(super) fn new(asks: mpsc::Sender<Ask>) -> Self {
        Self(asks)
    }

    /// What all shards counted; `None` if one of them does not answer.
    pub(super) async fn snapshot(&self) -> Option<Snapshot> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Snapshot { answer }, answered).await.flatten()
    }

    /// Tells a word to those whom it is for; `Ok` when all have been told.
    pub(super) async fn tell(&self, whom: Audience, word: Vec<u8>) -> Result<(), TellError> {
        let (answer, answered) = oneshot::channel();
        let told = self.ask(Ask::Tell { whom, word, answer }, answered).await;
        told.unwrap_or(Err(TellError::Busy))
    }

    /// Publishes, and says where it is kept, if it is.
    pub(super) async fn publish(
        &self,
        channel: String,
        frame: Publication,
        deadline: Instant,
    ) -> Result<Option<Placed>, Busy> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.0.send(Ask::Publish { channel, frame, answer }).await.ok()?;
            answered.await.ok()
        };
        timeout_at(deadline, asking).await.ok().flatten().unwrap_or(Err(Busy))
    }

    /// The channels with members whose names are of this pattern.
    pub(super) async fn channels(
        &self,
        pattern: String,
    ) -> Result<BTreeMap<String, u32>, ListError> {
        let (answer, answered) = oneshot::channel();
        let ask = self.ask(Ask::Channels { pattern, answer }, answered).await;
        ask.unwrap_or(Err(ListError::Busy))
    }

    /// Asks a channel's home.
    pub(super) async fn question(&self, channel: String, question: Question) -> Result<Told, Busy> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Question { channel, question, answer };
        self.ask(ask, answered).await.unwrap_or(Err(Busy))
    }

    async fn ask<A>(&self, ask: Ask, answered: oneshot::Receiver<A>) -> Option<A> {
        let asking = async {
            self.0.send(ask).await.ok()?;
            answered.await.ok()
        };
        timeout(ASK_TIMEOUT, asking).await.ok().flatten()
    }
}
