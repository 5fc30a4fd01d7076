//! Takes events to the back end that is told of them, until the server has stopped.

use std::hash::{BuildHasher, RandomState};
#[expect(
    clippy::disallowed_types,
    reason = "one thread has it, but what scrapes must be Sync"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::queue::{Batch, EventCounts, Queue};
use crate::control::consult::Calls;
use crate::limits::EVENTS_RETRY_LAST_MAX;

/// Where events come in.
#[derive(Clone, Debug)]
pub struct Mailbox(Arc<Shared>);

#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "see above")]
struct Shared {
    queue: Mutex<Queue>,
    news: Notify,
    stage: watch::Sender<Stage>,
}

/// How long there will be events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Until then they can be delivered.
    Stopping {
        deadline: Instant,
    },
    /// The same, and no more will come.
    Last {
        deadline: Instant,
    },
}

impl Mailbox {
    /// An empty one. `seed` is what the ids of its events begin with, and nobody else's do.
    pub(in crate::control) fn new(seed: u64) -> Self {
        let (queue, news) = (Queue::new(seed).into(), Notify::new());
        Self(Arc::new(Shared { queue, news, stage: watch::Sender::new(Stage::Open) }))
    }

    /// Takes events in, each as it was [encoded](crate::backend::Departure::encode). What there is
    /// no room for is lost, and counted.
    pub fn put(&self, events: impl IntoIterator<Item = Box<[u8]>>) {
        let now = Instant::now().into_std();
        self.with(|queue| events.into_iter().for_each(|event| queue.push(event, now)));
        self.0.news.notify_one();
    }

    /// The server stops: what has come, and what comes yet, can be delivered until then.
    pub fn stop(&self, deadline: std::time::Instant) {
        self.0.stage.send_replace(Stage::Stopping { deadline: deadline.into() });
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        self.0.stage.send_if_modified(|stage| {
            let Stage::Stopping { deadline } = *stage else { return false };
            *stage = Stage::Last { deadline };
            true
        });
    }

    /// What became of those that came.
    pub fn counts(&self) -> EventCounts {
        self.with(|queue| queue.counts())
    }

    /// Nothing more is delivered: what waits is lost.
    pub fn give_up(&self) {
        let lost = self.with(Queue::give_up_all);
        if lost > 0 {
            tracing::warn!(lost, "events that the back end has not taken before the end");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> T {
        act(&mut self.0.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stage(&self) -> Stage {
        *self.0.stage.borrow()
    }
}

/// Delivers what comes into a mailbox.
pub(in crate::control) struct Courier {
    mailbox: Mailbox,
    calls: Arc<Calls>,
    backoff: Backoff,
    hasher: RandomState,
    posts: u64,
}

impl Courier {
    pub(in crate::control) fn new(mailbox: Mailbox, calls: Arc<Calls>) -> Self {
        let (backoff, hasher) = (Backoff::default(), RandomState::new());
        Self { mailbox, calls, backoff, hasher, posts: 0 }
    }

    /// Delivers until all is delivered after the server has stopped, or there is no time left.
    pub(in crate::control) async fn run(mut self) {
        let mailbox = self.mailbox.clone();
        tokio::select! {
            () = self.deliver() => {}
            () = out_of_time(mailbox.0.stage.subscribe()) => {}
        }
        mailbox.give_up();
    }

    async fn deliver(&mut self) {
        while let Some(Batch { body, count }) = self.next().await {
            self.posts += 1;
            match self.calls.post_events(body).await {
                Ok(()) => {
                    self.mailbox.with(|queue| queue.deliver(count));
                    self.backoff.reset();
                }
                Err(error) => {
                    self.mailbox.with(Queue::note_failure);
                    let rest = self.backoff.next(self.hasher.hash_one(self.posts));
                    tracing::warn!(count, %error, ?rest, "events were not taken");
                    self.rest(rest).await;
                }
            }
        }
    }

    /// The next batch, as soon as there is one; `None` when there will be none.
    async fn next(&self) -> Option<Batch> {
        let mut stage = self.mailbox.0.stage.subscribe();
        loop {
            let is_told = self.calls.has_events();
            let now = Instant::now().into_std();
            let (given_up, batch) = self.mailbox.with(|queue| {
                // A reload may have taken away whom they are for.
                let all = if is_told { 0 } else { queue.give_up_all() };
                (all + queue.give_up_old(now), queue.batch())
            });
            if given_up > 0 {
                tracing::warn!(lost = given_up, "events that nobody has taken are given up");
            }
            if batch.is_some() || matches!(self.mailbox.stage(), Stage::Last { .. }) {
                return batch;
            }
            tokio::select! {
                () = self.mailbox.0.news.notified() => {}
                _ = stage.changed() => {}
            }
        }
    }

    /// A rest; a stop cuts it short.
    async fn rest(&self, rest: Duration) {
        let mut stage = self.mailbox.0.stage.subscribe();
        if self.mailbox.stage() != Stage::Open {
            return sleep(rest.min(EVENTS_RETRY_LAST_MAX)).await;
        }
        tokio::select! {
            () = sleep(rest) => {}
            _ = stage.changed() => {}
        }
    }
}

/// Ends at the deadline of a stop.
async fn out_of_time(mut stage: watch::Receiver<Stage>) {
    loop {
        let deadline = match *stage.borrow_and_update() {
            Stage::Open => None,
            Stage::Stopping { deadline } | Stage::Last { deadline } => Some(deadline),
        };
        let Some(deadline) = deadline else {
            if stage.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        return sleep_until(deadline).await;
    }
}
