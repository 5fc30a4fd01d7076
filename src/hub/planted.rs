//! Faults for tests that are to find them, each on the thread that plants it.

use std::cell::Cell;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Who comes back is taken to have one publication more than it has.
    RecoveryOffByOne,
    /// A stream that had to go comes back with the epoch that it had.
    EpochKept,
    /// Others are told twice that somebody left.
    LeaveToldTwice,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether this is wrong on this thread.
pub(crate) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Calls `run` on this thread with something wrong.
pub(crate) fn with<R>(fault: Fault, run: impl FnOnce() -> R) -> R {
    PLANTED.set(Some(fault));
    let result = run();
    PLANTED.set(None);
    result
}
