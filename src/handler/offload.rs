//! Slow work, away from the loop: what a job is, and how it learns that nobody waits any more.
//!
//! Invariant: a job's second half runs on the shard that started it, and only while the
//! connection it was started for is open.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Handler, Peer};

/// Tells a running job that its connection is gone. One that has not started is never run.
#[derive(Clone, Debug, Default)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Whether nobody waits for the job any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[doc(hidden)]
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The job panicked; the pool's thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobPanicked;

impl fmt::Display for JobPanicked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the off-loaded job panicked")
    }
}

impl std::error::Error for JobPanicked {}

/// What a job came to, with its type put aside on the way between the threads.
pub type Outcome = Result<Box<dyn Any + Send>, JobPanicked>;

/// The half of a job that runs on the pool.
pub type Job = Box<dyn FnOnce(&Cancelled) -> Box<dyn Any + Send> + Send>;

/// The half of a job that runs on the shard afterwards.
pub type Done<H> = Box<dyn FnOnce(&mut H, &mut Peer<'_, H>, Outcome)>;

/// Splits a typed job into its two halves.
pub(super) fn halves<H, R>(
    job: impl FnOnce(&Cancelled) -> R + Send + 'static,
    done: impl FnOnce(&mut H, &mut Peer<'_, H>, Result<R, JobPanicked>) + 'static,
) -> (Job, Done<H>)
where
    H: Handler,
    R: Send + 'static,
{
    let first: Job = Box::new(move |cancelled| Box::new(job(cancelled)));
    let second: Done<H> = Box::new(move |handler, peer, outcome| {
        let result = outcome.map(|value| {
            *value.downcast::<R>().expect("the two halves were made for the same type")
        });
        done(handler, peer, result);
    });
    (first, second)
}
