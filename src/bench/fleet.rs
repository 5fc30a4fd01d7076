//! The threads of a run: one for each share, with a descriptor table of its own.
//!
//! ```text
//!   Share::split ─▶ thread 0 ─ table, ring, clients ─┐
//!                   thread 1 ─ table, ring, clients ─┼─▶ what each has found
//!                   …                               ─┘
//!                   the caller watches the memory of the host
//! ```
//!
//! What fits one table runs on the calling thread, with nothing beside it.

use std::thread::{Builder, ScopedJoinHandle, scope, sleep};

use super::BenchError;
use super::gate::{Gate, Pass};
use super::process;
use super::share::Share;
use crate::limits;
use crate::sys::fdtable;

/// Does `work` for each share; the results are in the order of the shares.
pub(super) fn run<T: Send>(
    shares: &[Share],
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
        return Ok(vec![pass_with(*share)?]);
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
        let starved = watch(&gate, &threads);
        let ends: Vec<_> = threads.into_iter().map(joined).collect();
        starved?;
        first_cause(ends)
    })
}

/// Waits for all threads, and ends them early when the host runs out of memory: what stands is
/// kernel memory, which no limit of this process bounds.
fn watch<T>(gate: &Gate, threads: &[ScopedJoinHandle<'_, T>]) -> Result<(), BenchError> {
    let mut starved = Ok(());
    while !threads.iter().all(ScopedJoinHandle::is_finished) {
        let available = process::available_bytes().unwrap_or(u64::MAX);
        if available < limits::BENCH_MEMORY_BYTES_MIN && starved.is_ok() {
            starved = Err(BenchError::Memory { available });
            gate.halt();
        }
        sleep(limits::BENCH_WATCH_INTERVAL);
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
        let numbers = run(&shares, |_share, pass| {
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
        let end = run(&shares, |share, pass| {
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
}
