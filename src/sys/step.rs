//! Named steps of an upgrade at which a test can hold a process, to end it there or let it go on.
//!
//! `STEPS_OF_LONGWIRE` names a folder. If that holds a file with the name of a step, the process
//! which comes to the step renames it to `STEP.PID`, and stops itself in the middle of what it
//! does, with all of its threads. Only builds with debug assertions do so: of others this is no
//! part.

/// A step of an upgrade, in the order in which each process comes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The newer process was started.
    OlderStarted,
    /// The older one has heard that the newer is ready.
    OlderHeardBuilt,
    /// A shard has its ways, and has copied nothing ahead.
    OlderCopying,
    /// All shards have copied what they had.
    OlderCopied,
    /// The shards will be told to stand still.
    OlderFroze,
    /// A shard stands still, and has sent nothing.
    OlderSettled,
    /// A shard has put its last connection on its way.
    OlderEnding,
    /// The older process has read that the newer one serves.
    OlderHeardCommitted,
    /// A shard is about to close its copies.
    OlderLeaving,
    /// The newer process has read the offer.
    NewerHeardOffer,
    /// Its shards are there, and it has not said so.
    NewerReady,
    /// It has said so.
    NewerSaidBuilt,
    /// Its shards will take over.
    NewerHasWays,
    /// One of them is about to read the first message.
    NewerTaking,
    /// One of them has all copies of another one, and has not said so.
    NewerCopied,
    /// It has heard that the older one's shards stand still.
    NewerHeardStill,
    /// They have everything, and it was not said.
    NewerTook,
    /// It has said so.
    NewerCommitted,
    /// It serves.
    NewerServing,
}

impl Step {
    /// The process has come so far.
    #[inline]
    pub fn reached(self) {
        #[cfg(debug_assertions)]
        hold_at(self);
    }
}

#[cfg(debug_assertions)]
fn hold_at(step: Step) {
    let Some(folder) = std::env::var_os("STEPS_OF_LONGWIRE") else { return };
    let wanted = std::path::Path::new(&folder).join(format!("{step:?}"));
    let held = wanted.with_extension(std::process::id().to_string());
    if std::fs::rename(wanted, held).is_ok() {
        // SAFETY: touches no memory. The signal is this thread's, which runs nothing more before
        // all threads have stopped.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}
