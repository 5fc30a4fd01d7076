//! How a shard's thread runs and sleeps: the only file that names glommio, and its plain twin.
//!
//! The shard is the one task of its executor. It waits in its own ring for as long as there is
//! something to wait for soon; after a silence it parks: glommio reads the eventfd that the ring
//! signals, and the thread sleeps in glommio's ring.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::{LocalExecutorBuilder, Placement};

use super::event_loop::{Loop, Turned};
use crate::config::Executor;
use crate::handler::Handler;
use crate::sys;

/// glommio's own rings: the least it starts with; nothing but the parking read is in them.
const EXECUTOR_RING_DEPTH: usize = 32;
const EXECUTOR_IO_MEMORY: usize = 64 * 1024;
const EXECUTOR_PREEMPT: Duration = Duration::from_millis(10);

/// Runs `task` to its end on the calling thread, pinned to `cpu`.
pub(crate) fn with_executor<T>(
    executor: Executor,
    cpu: Option<usize>,
    task: impl Future<Output = T>,
) -> io::Result<T> {
    match executor {
        Executor::Glommio => {
            let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
            let executor = LocalExecutorBuilder::new(placement)
                .io_memory(EXECUTOR_IO_MEMORY)
                .ring_depth(EXECUTOR_RING_DEPTH)
                .preempt_timer(EXECUTOR_PREEMPT)
                .make()
                .map_err(|error| io::Error::other(error.to_string()))?;
            Ok(executor.run(task))
        }
        Executor::Thread => {
            if let Some(cpu) = cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            }
            let mut task = pin!(task);
            match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => Ok(value),
                Poll::Pending => unreachable!("on a plain thread the shard never awaits"),
            }
        }
    }
}

/// What a shard parks on.
pub(crate) enum Parked {
    /// Reads the eventfd through glommio's ring.
    Glommio(BufferedFile),
    /// Sleeps in the shard's own ring; the eventfd only stays open.
    Thread { _signals: OwnedFd },
}

impl Parked {
    /// Takes the eventfd that the shard's ring signals.
    pub(crate) fn new(executor: Executor, signals: OwnedFd) -> Self {
        match executor {
            Executor::Glommio => Self::Glommio(sys::adopt(signals)),
            Executor::Thread => Self::Thread { _signals: signals },
        }
    }
}

/// Serves until the shard is stopped and its connections are closed.
pub(crate) async fn run<H: Handler>(shard: &mut Loop<H>, parked: &Parked) {
    loop {
        match shard.turn() {
            Turned::Busy => {}
            Turned::Stopped => return,
            Turned::Silent => match parked {
                Parked::Thread { .. } => shard.sleep(),
                Parked::Glommio(eventfd) => {
                    if shard.prepare_park() {
                        if let Err(error) = eventfd.read_at(0, size_of::<u64>()).await {
                            panic!("a shard cannot park: {error}");
                        }
                        shard.unpark();
                    }
                }
            },
        }
    }
}
