//! The bounds of each part of the hub as one value, so that a test can make them small enough to
//! meet. What they mean, and why they are what they are, stands at the constants they come from.

use crate::limits;

/// The bounds of one shard's fan-out; those of [`limits`] unless a test needs smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct FanoutBounds {
    /// `CHANNELS_PER_SHARD_MAX`
    pub channels_max: u32,
    /// `MEMBERSHIPS_PER_SHARD_MAX`
    pub memberships_max: u32,
    /// `RUN_FRAMES_MAX`
    pub run_frames_max: usize,
    /// `RUN_BYTES_MAX`
    pub run_bytes_max: usize,
    /// `CHANNEL_QUEUE_FRAMES_MAX`
    pub channel_queue_frames_max: usize,
    /// `CHANNEL_QUEUE_BYTES_MAX`
    pub channel_queue_bytes_max: usize,
    /// `FANOUT_QUEUE_BYTES_MAX`
    pub shard_queue_bytes_max: usize,
    /// `FILTERS_BYTES_MAX`
    pub filters_bytes_max: usize,
    /// `FANOUT_SHARE`
    pub share: u32,
}

impl Default for FanoutBounds {
    fn default() -> Self {
        Self {
            channels_max: limits::CHANNELS_PER_SHARD_MAX,
            memberships_max: limits::MEMBERSHIPS_PER_SHARD_MAX,
            run_frames_max: limits::RUN_FRAMES_MAX,
            run_bytes_max: limits::RUN_BYTES_MAX,
            channel_queue_frames_max: limits::CHANNEL_QUEUE_FRAMES_MAX,
            channel_queue_bytes_max: limits::CHANNEL_QUEUE_BYTES_MAX,
            shard_queue_bytes_max: limits::FANOUT_QUEUE_BYTES_MAX,
            filters_bytes_max: limits::FILTERS_BYTES_MAX,
            share: limits::FANOUT_SHARE,
        }
    }
}

/// The bounds of the streams of one home; those of [`limits`] unless a test needs smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    /// `STREAMS_PER_HOME_MAX`
    pub streams_max: u32,
    /// `STREAM_BYTES_PER_HOME_MAX`
    pub bytes_max: usize,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self {
            streams_max: limits::STREAMS_PER_HOME_MAX,
            bytes_max: limits::STREAM_BYTES_PER_HOME_MAX,
        }
    }
}

/// The bounds of what waits to be told of a home's channels; those of [`limits`] unless a test
/// needs smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct JoinBounds {
    /// `JOINS_PER_TICK_MAX`
    pub per_channel_max: usize,
    /// `JOINS_WAITING_MAX`
    pub events_max: usize,
}

impl Default for JoinBounds {
    fn default() -> Self {
        Self { per_channel_max: limits::JOINS_PER_TICK_MAX, events_max: limits::JOINS_WAITING_MAX }
    }
}

/// The bounds of what a home retains for acknowledgements; those of [`limits`] unless a test needs
/// smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct AckBounds {
    /// `MAILBOXES_PER_HOME_MAX`
    pub mailboxes_max: usize,
    /// `ACK_BYTES_PER_HOME_MAX`
    pub bytes_max: usize,
    /// `ACK_AWAY_PER_USER_MAX`
    pub away_max: usize,
    /// `ACK_BEHIND_MAX`
    pub behind_max: usize,
    /// `ACK_LOSSES_MAX`
    pub losses_max: usize,
}

impl Default for AckBounds {
    fn default() -> Self {
        Self {
            mailboxes_max: limits::MAILBOXES_PER_HOME_MAX,
            bytes_max: limits::ACK_BYTES_PER_HOME_MAX,
            away_max: limits::ACK_AWAY_PER_USER_MAX,
            behind_max: limits::ACK_BEHIND_MAX,
            losses_max: limits::ACK_LOSSES_MAX,
        }
    }
}
