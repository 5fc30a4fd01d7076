//! What is known of one session. Small, because there may be millions.
#![forbid(unsafe_code)]

use std::time::Duration;

/// One session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// When it should have begun, in microseconds of the run: they last for more than an hour.
    due_us: u32,
    /// The last place in its channel's stream that it has seen.
    pub(super) offset: u32,
    /// The number of the last publication that it has seen.
    pub(super) number: u32,
    /// Pings while measuring.
    pub(super) pings: u16,
    pub(super) stage: Stage,
    /// Attempts to come back that have failed since it was in its channel.
    pub(super) tries: u8,
}

const _: () = assert!(size_of::<Member>() <= 16);

/// How far a session is.
///
/// ```text
///   away ─▶ opening ─▶ greeting ─▶ in its channel ─▶ away
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection, or one that is being closed.
    #[default]
    Away,
    /// The connection and its opening handshake.
    Opening,
    /// Connect and subscribe are said, and not answered yet.
    Greeting,
    /// In its channel.
    Ready,
}

impl Member {
    /// It is due to begin at this time.
    pub(super) fn begin(&mut self, due: Duration) {
        self.due_us = u32::try_from(due.as_micros()).unwrap_or(u32::MAX);
    }

    /// How long ago that was.
    pub(super) fn since_due(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_micros(u64::from(self.due_us)))
    }
}
