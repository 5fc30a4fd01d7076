//! The off-load pool: a few threads that run what would hold a shard up.

use std::io;

use crossbeam_channel::{Sender, bounded};

use crate::shard::PoolJob;

/// Starts `thread_count` threads that share one queue of `queue_max` jobs. They end when every
/// shard has dropped its sender.
pub(super) fn start(thread_count: usize, queue_max: usize) -> io::Result<Sender<PoolJob>> {
    let (sender, jobs) = bounded::<PoolJob>(queue_max);
    for number in 0..thread_count {
        let jobs = jobs.clone();
        std::thread::Builder::new().name(format!("longwire-pool-{number}")).spawn(move || {
            for job in jobs {
                job.run();
            }
        })?;
    }
    Ok(sender)
}
