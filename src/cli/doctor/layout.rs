//! How many shards longwire would start on a host, for what depends on their number.
//!
//! A shard is a descriptor table, and two threads, locked memory and a few megabytes as well: more
//! of them hold more connections until one of those ends it. Pure arithmetic over the facts.

use longwire::limits::{
    CONNECTION_KERNEL_BYTES, FDS_RESERVED_BASE, FDS_RESERVED_PER_SHARD, MEMLOCK_BYTES_MIN,
    SHARD_BYTES, SHARD_CONNECTIONS_MAX, SHARD_HEADROOM_PERCENT, SHARDS_MAX,
};

use super::facts::{Facts, GroupMemory};

/// User memory of one session with a user and one channel: a million with ids of 24 bytes took 206
/// each.
pub(super) const USER_BYTES: u64 = 250;

/// What a control group is charged for the kernel's side of a connection: objects as they are, not
/// the slabs that they lie in. 60,000 connections took 3.89 KB each (Linux 6.18).
const GROUP_BYTES: u64 = 3_900;

/// The same where it is not charged for sockets, which come to be while packets are received: for
/// file, inode, dentry and poll. 60,000 connections took 1.51 KB each (Linux 6.18, version 1).
const GROUP_BYTES_WITHOUT_SOCKETS: u64 = 1_520;

/// User memory of one client of `longwire bench`, with room.
pub(super) const CLIENT_BYTES: u64 = 150;

/// What is asked of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Connections; without a number, as many as it holds.
    pub(super) connections: Option<u64>,
    /// The clients are on this host, too: a load generator.
    pub(super) has_clients: bool,
}

impl Wanted {
    /// Ends of one connection on this host.
    pub(super) fn ends(self) -> u64 {
        1 + u64::from(self.has_clients)
    }

    /// Bytes of all that one connection takes on this host.
    pub(super) fn connection_bytes(self) -> u64 {
        let clients = if self.has_clients { CLIENT_BYTES } else { 0 };
        CONNECTION_KERNEL_BYTES * self.ends() + USER_BYTES + clients
    }
}

/// So many shards, and what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout(pub(super) u64);

impl Layout {
    /// The fewest shards, from one for each core on, that hold what is wanted; without a number
    /// those that hold the most on this host.
    pub(super) fn of(facts: &Facts, wanted: Wanted) -> Self {
        let all = || (facts.cores..=u64::from(SHARDS_MAX).max(facts.cores)).map(Self);
        let fits = |connections| all().find(|one| one.table_connections(facts) >= connections);
        let enough = wanted.connections.and_then(fits);
        // Of equals the last is the largest, so the fewest shards come last.
        let most = || all().rev().max_by_key(|one| one.holds(facts, wanted));
        enough.or_else(most).unwrap_or(Self(facts.cores))
    }

    /// The least that any bound lets through which depends on the number of shards.
    fn holds(self, facts: &Facts, wanted: Wanted) -> u64 {
        if !self.fits_tasks(facts) || self.locked_bytes(facts) > memlock_limit(facts) {
            return 0;
        }
        let of_group =
            facts.cgroup_memory.map_or(u64::MAX, |memory| self.group_connections(memory));
        let of_host = self.memory_connections(facts.memory_available, wanted);
        self.table_connections(facts).min(of_host).min(of_group)
    }

    /// Connections for which the descriptor tables have room.
    pub(super) fn table_connections(self, facts: &Facts) -> u64 {
        let limit = facts.nofile.hard.unwrap_or(u64::MAX);
        let reserved = FDS_RESERVED_BASE + FDS_RESERVED_PER_SHARD * self.0;
        let room = limit.saturating_sub(reserved).min(u64::from(SHARD_CONNECTIONS_MAX));
        room * self.0 * 100 / (100 + SHARD_HEADROOM_PERCENT)
    }

    /// Connections that so much memory holds beside the shards.
    pub(super) fn memory_connections(self, bytes: u64, wanted: Wanted) -> u64 {
        bytes.saturating_sub(self.bytes()) / wanted.connection_bytes()
    }

    /// Connections that a control group's memory holds beside the shards; clients are not in it.
    pub(super) fn group_connections(self, memory: GroupMemory) -> u64 {
        let kernel = if memory.has_sockets { GROUP_BYTES } else { GROUP_BYTES_WITHOUT_SOCKETS };
        memory.left.saturating_sub(self.bytes()) / (kernel + USER_BYTES)
    }

    /// What the shards take before the first connection, at most.
    pub(super) fn bytes(self) -> u64 {
        self.0 * SHARD_BYTES
    }

    /// Memory that the executors lock.
    pub(super) fn locked_bytes(self, facts: &Facts) -> u64 {
        MEMLOCK_BYTES_MIN * if facts.memlock_exempt { 1 } else { self.0 }
    }

    /// A thread of each shard, one of its executor, and a dozen of the process.
    pub(super) fn tasks(self) -> u64 {
        2 * self.0 + 12
    }

    fn fits_tasks(self, facts: &Facts) -> bool {
        facts.cgroup_tasks_left.is_none_or(|left| left >= self.tasks())
    }
}

/// Bytes that this process may lock.
pub(super) fn memlock_limit(facts: &Facts) -> u64 {
    facts.memlock.hard.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::{good, limit};
    use super::*;

    const MILLION: Wanted = Wanted { connections: Some(1_000_000), has_clients: false };
    const MOST: Wanted = Wanted { connections: None, has_clients: false };

    /// A host whose tables hold 20,000 each.
    fn small_tables() -> Facts {
        Facts { nofile: limit(20_000), ..good() }
    }

    #[test]
    fn as_many_shards_as_the_tables_demand_and_not_one_more() {
        assert_eq!(Layout::of(&good(), MILLION), Layout(2));
        // As the server lays itself out.
        assert_eq!(Layout::of(&small_tables(), MILLION), Layout(56));
    }

    #[test]
    fn without_a_number_shards_are_added_until_something_else_ends_it() {
        assert_eq!(Layout::of(&good(), MOST), Layout(6), "five million in memory");
        let tasks = Facts { cgroup_tasks_left: Some(2 * 7 + 12), ..small_tables() };
        assert_eq!(Layout::of(&tasks, MOST), Layout(7));
        let locked = Facts { memlock: limit(9 * MEMLOCK_BYTES_MIN), ..small_tables() };
        assert_eq!(Layout::of(&locked, MOST), Layout(9));
    }

    #[test]
    fn what_shards_need_grows_with_them() {
        let (two, many) = (Layout(2), Layout(56));
        assert_eq!((two.tasks(), many.tasks()), (16, 124));
        assert_eq!(many.locked_bytes(&good()), 56 * MEMLOCK_BYTES_MIN);
        let exempt = Facts { memlock_exempt: true, ..good() };
        assert_eq!(many.locked_bytes(&exempt), MEMLOCK_BYTES_MIN);
        let lost = two.memory_connections(1 << 30, MOST) - many.memory_connections(1 << 30, MOST);
        // Both are rounded down.
        assert!(lost.abs_diff(54 * SHARD_BYTES / MOST.connection_bytes()) <= 1, "{lost}");
    }
}
