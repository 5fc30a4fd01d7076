//! What all shards together have counted and hold now, as plain numbers for whoever reports them.

use super::{Counters, Details, Memory};

/// Sums over all shards at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What happened since the start.
    pub counters: Counters,
    /// The same by size or by code.
    pub details: Details,
    /// Connections in any phase, by shard.
    pub shard_connections: Vec<u64>,
    /// Open WebSocket connections.
    pub open: u64,
    /// Channels with members on any shard, each counted once, at its home.
    pub channels: u64,
    /// Memberships in channels, those included whose home has not answered yet.
    pub subscriptions: u64,
    /// Users whose connections are counted: those with a name, while there is a limit for them.
    pub users: u64,
    /// Streams of channels that are kept.
    pub streams: u64,
    /// Bytes that their publications are charged for.
    pub stream_bytes: u64,
    /// Clients present in channels, once for each channel.
    pub present: u64,
    /// Users × channels for whom what is published is retained until it is acknowledged.
    pub mailboxes: u64,
    /// Bytes that those are charged for.
    pub mailbox_bytes: u64,
    /// Unsent bytes.
    pub backlog_bytes: u64,
    /// Bytes of what has not arrived whole.
    pub partial_bytes: u64,
    /// Bytes by what they are for.
    pub memory: Memory,
    /// Connections that stand in a wheel for a deadline.
    pub timers: u64,
    /// Entries of the ready lists.
    pub ready: u64,
}

impl Snapshot {
    /// Connections in any phase, on all shards.
    pub fn connections(&self) -> u64 {
        self.shard_connections.iter().sum()
    }

    /// Clients of the protocol that have connected and are still here. Fewer than open
    /// connections: some have not said so yet, and some speak no protocol.
    pub fn clients(&self) -> u64 {
        // Those that were taken over from a process that does not hand its counts over have not
        // connected here.
        self.counters.client_connects.saturating_sub(self.counters.client_ends)
    }
}
