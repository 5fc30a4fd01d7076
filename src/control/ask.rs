//! What the control thread asks the shards for, and how long it waits for an answer.

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
        /// `Ok` as soon as it is queued to the channel's home.
        answer: oneshot::Sender<Result<(), Busy>>,
    },
    /// Tell this to all connections of a user, on all shards.
    Tell {
        /// The user; empty for connections of nobody.
        user: String,
        /// What only the shards' application understands.
        word: Vec<u8>,
        /// `Ok` when all have been told.
        answer: oneshot::Sender<Result<(), Busy>>,
    },
    /// Say what was counted; `None` if a shard did not answer in time.
    Snapshot {
        /// Where to.
        answer: oneshot::Sender<Option<Snapshot>>,
    },
}

/// One text message of the client protocol, whole; the shard puts it into a WebSocket frame once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// UTF-8, and one line.
    pub text: Vec<u8>,
    /// How it is kept, if it is.
    pub kept: Option<Kept>,
    /// Deltas are made of it, for those who take them.
    pub makes_delta: bool,
}

/// The queue to a channel's home is full, or nobody answered in time: ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

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

    /// Tells a word to all connections of a user; `Ok` when all have been told.
    pub(super) async fn tell(&self, user: String, word: Vec<u8>) -> Result<(), Busy> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Tell { user, word, answer }, answered).await.unwrap_or(Err(Busy))
    }

    /// Publishes in this order, and says of each in this order whether it was queued in time.
    pub(super) async fn publish(
        &self,
        publications: Vec<(String, Publication)>,
        deadline: Instant,
    ) -> Vec<Result<(), Busy>> {
        let mut answers = Vec::with_capacity(publications.len());
        for (channel, frame) in publications {
            let (answer, answered) = oneshot::channel();
            let asking = self.0.send(Ask::Publish { channel, frame, answer });
            // What could not be asked drops its sender, and so is answered "no".
            if Instant::now() < deadline {
                let _unasked = timeout_at(deadline, asking).await;
            }
            answers.push(answered);
        }
        let mut published = Vec::with_capacity(answers.len());
        for answered in answers {
            published.push(match timeout_at(deadline, answered).await {
                Ok(Ok(answer)) => answer,
                _ => Err(Busy),
            });
        }
        published
    }

    async fn ask<A>(&self, ask: Ask, answered: oneshot::Receiver<A>) -> Option<A> {
        let asking = async {
            self.0.send(ask).await.ok()?;
            answered.await.ok()
        };
        timeout(ASK_TIMEOUT, asking).await.ok().flatten()
    }
}
