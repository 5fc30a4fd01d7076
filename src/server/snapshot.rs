//! What a server has counted and holds, summed over its shards.

use crate::metrics::{self, Counters, Details, Memory};
use crate::ring::Operation;
use crate::shard::Counted;

/// Counters of all shards, and their gauges.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Sums over all shards.
    pub counters: Counters,
    /// The same by size or by code.
    pub details: Details,
    /// Connections in any phase, by shard.
    pub shard_connections: Vec<u64>,
    /// Connections in any phase.
    pub connections: u64,
    /// Open connections.
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
    /// Shards that ended by a panic. Not zero only in a process that is about to end.
    pub shards_lost: u64,
    /// Tasks of the control thread that panicked, or ended before the server was to stop: the site,
    /// its door, those who accept on Unix sockets. Not zero only in a process that is about to end.
    pub tasks_lost: u64,
    /// A second signal, or the drain timeout, cut the stop short.
    pub forced: bool,
    submitted: Vec<(Operation, u64)>,
}

impl Snapshot {
    /// Submissions of one operation to the rings of all shards.
    pub fn submitted(&self, operation: Operation) -> u64 {
        let counts = self.submitted.iter();
        counts.filter(|(one, _)| *one == operation).map(|(_, count)| count).sum()
    }

    /// The numbers alone, for those who report them and know no ring.
    pub fn totals(&self) -> metrics::Snapshot {
        metrics::Snapshot {
            counters: self.counters.clone(),
            details: self.details.clone(),
            shard_connections: self.shard_connections.clone(),
            open: self.open,
            channels: self.channels,
            subscriptions: self.subscriptions,
            users: self.users,
            streams: self.streams,
            stream_bytes: self.stream_bytes,
            present: self.present,
            mailboxes: self.mailboxes,
            mailbox_bytes: self.mailbox_bytes,
            backlog_bytes: self.backlog_bytes,
            partial_bytes: self.partial_bytes,
            memory: self.memory.clone(),
            timers: self.timers,
            ready: self.ready,
        }
    }

    /// Logs what was counted, without the zeros.
    pub(super) fn log(&self) {
        for (name, value) in self.counters.iter().filter(|(_, value)| *value > 0) {
            tracing::info!(name, value, "counted");
        }
        let Self { forced, shards_lost, tasks_lost, .. } = self;
        tracing::info!(forced, shards_lost, tasks_lost, "stopped");
    }

    pub(super) fn add(&mut self, shard: &Counted) {
        self.counters += &shard.counters;
        self.details += &shard.details;
        // Shards answer in any order.
        let index = usize::try_from(shard.shard).expect("a number of a shard");
        if self.shard_connections.len() <= index {
            self.shard_connections.resize(index + 1, 0);
        }
        self.shard_connections[index] = shard.connections;
        self.connections += shard.connections;
        self.open += shard.open;
        self.channels += shard.channels;
        self.subscriptions += shard.subscriptions;
        self.users += shard.users;
        self.streams += shard.streams;
        self.stream_bytes += shard.stream_bytes;
        self.present += shard.present;
        self.mailboxes += shard.mailboxes;
        self.mailbox_bytes += shard.mailbox_bytes;
        self.backlog_bytes += shard.backlog_bytes;
        self.partial_bytes += shard.partial_bytes;
        self.memory += &shard.memory;
        self.timers += shard.timers;
        self.ready += shard.ready;
        self.submitted.extend_from_slice(&shard.submitted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_those_of_their_shard_in_whatever_order_they_answer() {
        let mut snapshot = Snapshot::default();
        for shard in [2, 0, 1] {
            let connections = 10 + shard;
            snapshot.add(&Counted { shard, connections, ..Counted::default() });
        }
        assert_eq!(snapshot.shard_connections, [10, 11, 12]);
        assert_eq!(snapshot.connections, 33);
    }
}
