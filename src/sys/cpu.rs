//! Cores: which ones this process may run on, and how many it may keep busy.

use std::io;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity};

/// The cores in the affinity mask of the calling thread, ascending.
pub fn allowed() -> io::Result<Vec<usize>> {
    let mask = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| mask.is_set(core)).collect())
}

/// Cores that can be kept busy: the affinity mask, cut by the CPU quota of the control group
/// (`cpu.max`, or `cpu.cfs_quota_us` under v1) and of its parents, rounded down, at least one.
///
/// More shards than that would be stopped by the scheduler in the middle of their turns.
pub fn usable_count() -> io::Result<usize> {
    Ok(thread::available_parallelism()?.get())
}

/// Lets threads of other priority have the core before the calling one: `nice` more than a thread
/// has by default (setpriority(2): Linux counts it per thread).
pub fn give_way(nice: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, nice)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_gives_way_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let its_own = thread::spawn(move || {
            give_way(before + 3).unwrap();
            nice()
        });
        assert_eq!((its_own.join().unwrap(), nice()), (before + 3, before));
    }

    #[test]
    fn a_narrower_mask_leaves_fewer_cores() {
        let seen = thread::spawn(|| {
            let all = allowed().unwrap();
            let last = *all.last().expect("a thread runs somewhere");
            let mut mask = CpuSet::new();
            mask.set(last);
            rustix::thread::sched_setaffinity(None, &mask).unwrap();
            (last, allowed().unwrap(), usable_count().unwrap())
        });
        let (last, cores, usable) = seen.join().unwrap();
        assert_eq!(cores, [last]);
        assert_eq!(usable, 1);
    }
}
