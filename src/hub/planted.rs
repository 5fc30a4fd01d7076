//! A fault for tests that are to find it: recovery that is off by one.

use std::cell::Cell;

thread_local! {
    static OFF_BY: Cell<u64> = const { Cell::new(0) };
}

/// How far recovery is off on this thread.
pub(super) fn off_by() -> u64 {
    OFF_BY.get()
}

/// Calls `run` on this thread with recovery off by one.
pub(crate) fn with_recovery_off_by_one<R>(run: impl FnOnce() -> R) -> R {
    OFF_BY.set(1);
    let result = run();
    OFF_BY.set(0);
    result
}
