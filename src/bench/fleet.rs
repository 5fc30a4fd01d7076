//! The threads of a run: one for each share, with a descriptor table of its own.
//!
//! ```text
//!   Share::split ─▶ thread 0 ─ table, ring, clients ─┐
//!                   thread 1 ─ table, ring, clients ─┼─▶ what each has found
//!                   …                               ─┘
//!                   the caller watches the memory of the host
//! ```
//!
//! What fits one table runs on the calling thread; another one watches the memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle, park_timeout, scope};

use super::BenchError;
use super::gate::{Gate, Pass};
use super::process;
use super::share::Share;
use crate::limits;
use crate::sys::fdtable;

/// Does `work` for each share, as long as the host has so much memory; the results are in the order
/// of the shares.
pub(super) fn run<T: Send>(
    shares: &[Share],
    memory_bytes_min: u64,
    work: impl Fn(Share, &mut Pass<'_>) -> Result<T, BenchError> + Sync,
) -> Result<Vec<T>, BenchError> {
    let gate = Gate::new(u32::try_from(shares.len()).expect("bounded by the connections"));
    let pass_with = |share: Share| {
        let mut pass = gate.pass();
        let found = work(share, &mut pass)?;
        pass.finish();
        Ok(found)
    };
    if let [share] = shares {
        return alone(&gate, memory_bytes_min, || pass_with(*share)).map(|found| vec![found]);
    }
    let pass_with = &pass_with;
    scope(|scope| {
        let mut threads = Vec::new();
        for &share in shares {
            let apart = move || {
                fdtable::unshare()?;
                pass_with(share)
            };
            let thread = Builder::new()
                .name(format!("bench-{}", share.number))
                .stack_size(limits::BENCH_STACK_BYTES)
                .spawn_scoped(scope, apart)
                .inspect_err(|_| gate.halt())?;
            threads.push(thread);
        }
        let is_over = || threads.iter().all(ScopedJoinHandle::is_finished);
        let starved = watch(&gate, memory_bytes_min, is_over);
        let ends: Vec<_> = threads.into_iter().map(joined).collect();
        starved?;
        first_cause(ends)
    })
}

/// Does the work on this thread while another one watches.
fn alone<T: Send>(
    gate: &Gate,
    memory_bytes_min: u64,
    work: impl FnOnce() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let is_over = AtomicBool::new(false);
    scope(|scope| {
        let look = || {
            watch(gate, memory_bytes_min, || is_over.load(Ordering::Acquire) || gate.is_halted())
        };
        let watcher = Builder::new()
            .name("bench-watch".to_owned())
            .stack_size(limits::BENCH_STACK_BYTES)
            .spawn_scoped(scope, look)?;
        let found = work();
        is_over.store(true, Ordering::Release);
        watcher.thread().unpark();
        joined(watcher)?;
        found
    })
}

/// Waits until all is over, and ends it early when the host runs out of memory: what stands is
/// kernel memory, which no limit of this process bounds.
fn watch(gate: &Gate, memory_bytes_min: u64, is_over: impl Fn() -> bool) -> Result<(), BenchError> {
    let mut starved = Ok(());
    while !is_over() {
        let available = process::available_bytes().unwrap_or(u64::MAX);
        if available < memory_bytes_min && starved.is_ok() {
            starved = Err(BenchError::Memory { available });
            gate.halt();
        }
        park_timeout(limits::BENCH_WATCH_INTERVAL);
    }
    starved
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// All results; or, of the errors, one that is a cause and not its echo.
fn first_cause<T>(ends: Vec<Result<T, BenchError>>) -> Result<Vec<T>, BenchError> {
    let mut found = Vec::with_capacity(ends.len());
    let mut halted = None;
    for end in ends {
        match end {
            Ok(one) => found.push(one),
            Err(echo @ BenchError::Halted) => halted = Some(echo),
            Err(cause) => return Err(cause),
        }
    }
    halted.map_or(Ok(found), Err)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn each_thread_has_its_own_descriptors() {
        let shares = Share::split(3, 1);
        let numbers = run(&shares, 0, |_share, pass| {
            let open = |_| File::open("/proc/self/status");
            let files: Vec<File> = (0..16).map(open).collect::<Result<_, _>>()?;
            pass.arrive();
            while !pass.is_open()? {
                std::thread::yield_now();
            }
            // All hold theirs open at this moment.
            Ok(files.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>())
        });
        let mut numbers = numbers.unwrap().concat();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() < 48, "in one table no number is given twice: {numbers:?}");
    }

    #[test]
    fn the_cause_is_told_and_not_that_others_were_stopped() {
        let shares = Share::split(3, 1);
        let end = run(&shares, 0, |share, pass| {
            if share.number == 1 {
                return Err(BenchError::Core(7));
            }
            pass.arrive();
            while !pass.is_open()? {
                std::thread::yield_now();
            }
            Ok(())
        });
        assert!(matches!(end, Err(BenchError::Core(7))));
    }

    #[test]
    fn a_host_without_memory_ends_the_run_on_one_thread_and_on_several() {
        for shares in [Share::split(1, 1), Share::split(3, 1)] {
            let end: Result<Vec<()>, _> = run(&shares, u64::MAX, |_share, pass| {
                loop {
                    pass.check()?;
                    std::thread::yield_now();
                }
            });
            assert!(matches!(end, Err(BenchError::Memory { .. })));
        }
    }
}
