//! Off-loaded jobs of one shard: handed to the pool, remembered, and finished here.
//!
//! Invariant: a result comes back for every job that the pool took, run or not, so the entries
//! here are as many as the results still to come, and the queue of results never fills.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::handler::{Cancelled, ConnectionId, Done, Handler, Job, OffloadError, Outcome};
use crate::sys::bell::Bell;

/// A job on its way to a thread of the pool.
pub(crate) struct PoolJob {
    job: Job,
    cancelled: Cancelled,
    reply: Reply,
}

struct Reply {
    key: usize,
    results: Sender<JobResult>,
    bell: Arc<Bell>,
}

/// What a thread of the pool sends back; `None` for a job that was cancelled before it ran.
struct JobResult {
    key: usize,
    outcome: Option<Outcome>,
}

impl PoolJob {
    /// Runs the job, on the pool, and tells its shard.
    pub(crate) fn run(self) {
        let Self { job, cancelled, reply } = self;
        let outcome = (!cancelled.is_cancelled())
            .then(|| super::guard(move || job(&cancelled)).ok_or(crate::handler::JobPanicked));
        // The queue has room for every job in flight; it is gone only with its shard.
        if reply.results.try_send(JobResult { key: reply.key, outcome }).is_ok() {
            reply.bell.ring();
        }
    }
}

/// The jobs of one shard.
pub(crate) struct Jobs<H: Handler> {
    pool: Sender<PoolJob>,
    results: Receiver<JobResult>,
    results_in: Sender<JobResult>,
    bell: Arc<Bell>,
    waiting: slab::Slab<Waiting<H>>,
    in_flight_max: usize,
}

struct Waiting<H: Handler> {
    connection: ConnectionId,
    cancelled: Cancelled,
    /// Gone when the connection is.
    done: Option<Done<H>>,
}

impl<H: Handler> Jobs<H> {
    /// A shard may have `in_flight_max` jobs with the pool; the bell is rung for each result.
    pub(crate) fn new(pool: Sender<PoolJob>, in_flight_max: usize, bell: Arc<Bell>) -> Self {
        let (results_in, results) = bounded(in_flight_max);
        Self { pool, results, results_in, bell, waiting: slab::Slab::new(), in_flight_max }
    }

    pub(super) fn start(
        &mut self,
        connection: ConnectionId,
        job: Job,
        done: Done<H>,
    ) -> Result<(), OffloadError> {
        if self.waiting.len() >= self.in_flight_max {
            return Err(OffloadError::Full);
        }
        let cancelled = Cancelled::default();
        let key = self.waiting.vacant_key();
        let reply = Reply { key, results: self.results_in.clone(), bell: Arc::clone(&self.bell) };
        let pooled = PoolJob { job, cancelled: cancelled.clone(), reply };
        match self.pool.try_send(pooled) {
            Ok(()) => {
                self.waiting.insert(Waiting { connection, cancelled, done: Some(done) });
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(OffloadError::Full),
        }
    }

    /// Cancels the jobs of a connection that is gone; returns how many.
    pub(super) fn cancel_of(&mut self, connection: ConnectionId) -> u64 {
        let mut count = 0;
        for (_, waiting) in &mut self.waiting {
            if waiting.connection == connection && waiting.done.take().is_some() {
                waiting.cancelled.cancel();
                count += 1;
            }
        }
        count
    }

    /// The next job that is done and still wanted.
    pub(super) fn next_done(&mut self) -> Option<(ConnectionId, Done<H>, Outcome)> {
        loop {
            let JobResult { key, outcome } = self.results.try_recv().ok()?;
            let waiting = self.waiting.remove(key);
            if let (Some(done), Some(outcome)) = (waiting.done, outcome) {
                return Some((waiting.connection, done, outcome));
            }
        }
    }

    /// None is with the pool.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_results(&self) -> bool {
        !self.results.is_empty()
    }
}
