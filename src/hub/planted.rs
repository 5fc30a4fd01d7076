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
    /// A connection changes shards though something has come behind its pins.
    PinsAlwaysQuiet,
    /// A connection changes shards while what it has said is on its way to a home.
    SpokenUnheard,
    /// The same of what the application has said for it.
    SpokenForUnheard,
    /// Who comes from a shard that has heard less than this one is not told the rest.
    WordsMissed,
    /// A connection changes shards though it has left a channel and come back meanwhile.
    ReturnUnseen,
    /// A connection changes shards before it has got what came before its pins.
    BacklogForgotten,
    /// A connection that has come has a channel that nothing is known of here.
    MembershipUnfit,
    /// The same with all that the application has to know of it.
    StateUnfit,
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
