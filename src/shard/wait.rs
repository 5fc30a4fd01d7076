//! What a shard's thread runs on: the only file that names glommio, and its plain twin.
//!
//! The shard is the one task of its executor. It never awaits: it waits in its own ring, for a
//! moment as for an hour, so the executor makes the thread what it is and is not returned to
//! before the shard ends.
//!
//! A shard once slept in the executor's rings, on an eventfd that its own ring signalled, and
//! some shards slept for ever: an executor whose preemption timer has fired before its task is
//! polled runs no task, takes the timer's completion for nothing, and goes to sleep with the task
//! still in its queue (glommio 0.9, `run_task_queues` and `wait`). A thread that lost its core
//! for 10 ms between the arming and the look was enough, and of 56 shards on 2 cores one or two a
//! minute did.

use std::io;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

use crate::config::Executor;

/// glommio's own rings: the least it starts with; nothing but its preemption timer is in them.
const EXECUTOR_RING_DEPTH: usize = 32;
const EXECUTOR_IO_MEMORY: usize = 64 * 1024;

/// There is one task, and nobody to make way for. The timer is armed before the task is polled
/// for the first time, and if it fired by then, that would be put off for ever: see above.
const EXECUTOR_PREEMPT: Duration = Duration::from_hours(24);

/// Runs `life` to its end on the calling thread, pinned to `cpu`.
pub(crate) fn with_executor<T>(
    executor: Executor,
    cpu: Option<usize>,
    life: impl FnOnce() -> T,
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
            Ok(executor.run(async { life() }))
        }
        Executor::Thread => {
            if let Some(cpu) = cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
            }
            Ok(life())
        }
    }
}
