//! How many connections a host holds, and what ends it: facts in, one line for each bound out.
//!
//! Pure arithmetic over the facts, so that each verdict is tested without a host that deserves it.

use longwire::limits::{
    FDS_RESERVED_BASE, FDS_RESERVED_PER_SHARD, MEMLOCK_BYTES_MIN, SHARD_BYTES,
    SHARD_CONNECTIONS_MAX, SHARD_HEADROOM_PERCENT, SHARDS_MAX,
};
use longwire::server::checks::KERNEL_MIN;
use longwire::sys::kernel::Version;

use super::facts::Facts;

/// What is asked of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Connections; without a number, as many as it holds.
    pub(super) connections: Option<u64>,
    /// The clients are on this host, too: a load generator.
    pub(super) has_clients: bool,
}

/// Kernel memory of one end of a connection: socket, inode, file, dentry and an armed poll. As
/// measured on Linux 6.18: 995,159 connections with both ends on one host took 9.02 kB of slabs
/// each.
pub(super) const KERNEL_BYTES: u64 = 4_510;

/// User memory of one session with a user and one channel, with room.
pub(super) const USER_BYTES: u64 = 400;

/// User memory of one client of `longwire bench`, with room.
const CLIENT_BYTES: u64 = 150;

/// Connections that share one page of socket buffers: so few of those that wait for the next
/// heartbeat have bytes under way at any moment.
const CONNECTIONS_PER_PAGE: u64 = 16;

/// Files of everything else that runs.
const FILES_OF_OTHERS: u64 = 1024;

/// One bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// What it is.
    pub(super) name: &'static str,
    /// What there is of it.
    pub(super) has: String,
    /// How many connections it lets through.
    pub(super) holds: u64,
    /// What to do for more.
    pub(super) mend: String,
}

/// All bounds, the tightest first.
pub(super) fn bounds(facts: &Facts, wanted: Wanted) -> Vec<Bound> {
    let mut bounds = vec![
        kernel(facts),
        ring(facts),
        memlock(facts),
        descriptors(facts, wanted),
        files(facts, wanted),
        memory(facts, wanted),
        buffers(facts),
    ];
    bounds.extend(facts.cgroup_memory_left.map(|left| cgroup_memory(left, wanted)));
    bounds.extend(facts.cgroup_tasks_left.map(|left| tasks(facts, left)));
    bounds.extend(facts.conntrack_max.map(|max| conntrack(max, wanted)));
    bounds.sort_by_key(|bound| bound.holds);
    bounds
}

/// Things that end no connection, and make many of them slow or lossy.
pub(super) fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.somaxconn < 4096 {
        warnings.push(format!(
            "net.core.somaxconn is {}: a storm of reconnects overflows the listeners\n  \
             mend: sysctl -w net.core.somaxconn=4096",
            facts.somaxconn
        ));
    }
    if facts.card_queues > 0 && facts.card_queues < facts.cores {
        warnings.push(format!(
            "{} receive queues of network cards for {} cores: the others wait for them\n  \
             mend: ethtool -L IFACE combined {}, or RPS",
            facts.card_queues, facts.cores, facts.cores
        ));
    }
    warnings
}

/// Nothing, or everything.
fn gate(name: &'static str, has: String, is_open: bool, mend: String) -> Bound {
    Bound { name, has, holds: if is_open { u64::MAX } else { 0 }, mend }
}

fn kernel(facts: &Facts) -> Bound {
    let version = Version::parse(&facts.kernel_release);
    let mend = format!("install a kernel of {}.{} or newer", KERNEL_MIN.major, KERNEL_MIN.minor);
    let is_new = version.is_some_and(|version| version >= KERNEL_MIN);
    gate("kernel", facts.kernel_release.clone(), is_new, mend)
}

fn ring(facts: &Facts) -> Bound {
    let Some(error) = &facts.ring_error else {
        return gate("io_uring", "works".to_owned(), true, String::new());
    };
    let mend = match facts.io_uring_disabled {
        Some(1 | 2) => "sysctl -w kernel.io_uring_disabled=0",
        _ => "allow io_uring in the seccomp profile, as tuning/docker/seccomp.json does",
    };
    let switch =
        facts.io_uring_disabled.map_or(String::new(), |value| format!(" (switch {value})"));
    gate("io_uring", format!("{error}{switch}"), false, mend.to_owned())
}

fn memlock(facts: &Facts) -> Bound {
    let limit = facts.memlock.hard.unwrap_or(u64::MAX);
    let needed = MEMLOCK_BYTES_MIN * if facts.memlock_exempt { 1 } else { facts.cores };
    let has = if limit == u64::MAX { "unlimited".to_owned() } else { format!("{limit} bytes") };
    let mend = format!("ulimit -l {}, or LimitMEMLOCK=256M in the unit", needed.div_ceil(1024));
    gate("locked memory", has, limit >= needed, mend)
}

fn descriptors(facts: &Facts, wanted: Wanted) -> Bound {
    let limit = facts.nofile.hard.unwrap_or(u64::MAX);
    let of_shards = |shards: u64| {
        let reserved = FDS_RESERVED_BASE + FDS_RESERVED_PER_SHARD * shards;
        let room = limit.saturating_sub(reserved).min(u64::from(SHARD_CONNECTIONS_MAX));
        room * shards * 100 / (100 + SHARD_HEADROOM_PERCENT)
    };
    let shards = facts.cores..=u64::from(SHARDS_MAX).max(facts.cores);
    let enough = wanted.connections.and_then(|n| shards.clone().find(|one| of_shards(*one) >= n));
    let best = enough.or_else(|| shards.max_by_key(|one| of_shards(*one))).unwrap_or(facts.cores);
    let per_core = wanted.connections.unwrap_or(1_000_000).div_ceil(facts.cores) * 11 / 10 + 1024;
    Bound {
        name: "descriptors",
        has: format!("{limit} in a table, {best} shards"),
        holds: of_shards(best),
        mend: format!("ulimit -Hn {per_core} as root, or LimitNOFILE={per_core} in the unit"),
    }
}

fn files(facts: &Facts, wanted: Wanted) -> Bound {
    let left = facts.file_max.saturating_sub(facts.files_open + FILES_OF_OTHERS);
    let ends = ends(wanted);
    let needed = wanted.connections.unwrap_or(1_000_000) * ends * 11 / 10 + facts.files_open;
    Bound {
        name: "files",
        has: format!("{left} left of fs.file-max"),
        holds: left / ends,
        mend: format!("sysctl -w fs.file-max={needed}"),
    }
}

fn ends(wanted: Wanted) -> u64 {
    1 + u64::from(wanted.has_clients)
}

/// Bytes of all that one connection takes on this host.
pub(super) fn connection_bytes(wanted: Wanted) -> u64 {
    let clients = if wanted.has_clients { CLIENT_BYTES } else { 0 };
    KERNEL_BYTES * ends(wanted) + USER_BYTES + clients
}

fn memory(facts: &Facts, wanted: Wanted) -> Bound {
    let shards = facts.cores * SHARD_BYTES;
    Bound {
        name: "memory",
        has: format!("{} MiB available", facts.memory_available >> 20),
        holds: facts.memory_available.saturating_sub(shards) / connection_bytes(wanted),
        mend: "add memory, or ask for fewer".to_owned(),
    }
}

fn cgroup_memory(left: u64, wanted: Wanted) -> Bound {
    Bound {
        name: "memory of the control group",
        has: format!("{} MiB left", left >> 20),
        holds: left / connection_bytes(wanted),
        mend: "raise MemoryMax= in the unit, or --memory of the container".to_owned(),
    }
}

fn tasks(facts: &Facts, left: u64) -> Bound {
    // A thread of each shard, one of its executor, and a dozen of the process.
    let needed = 2 * facts.cores + 12;
    let mend = format!("raise TasksMax= in the unit to {}", needed.max(512));
    gate("tasks of the control group", format!("{left} left"), left >= needed, mend)
}

fn buffers(facts: &Facts) -> Bound {
    let pages = facts.tcp_mem_pages_max;
    Bound {
        name: "socket buffers",
        has: format!("{pages} pages (net.ipv4.tcp_mem)"),
        holds: pages.saturating_mul(CONNECTIONS_PER_PAGE),
        mend: "tuning/host/apply.sh, which sizes net.ipv4.tcp_mem".to_owned(),
    }
}

fn conntrack(max: u64, wanted: Wanted) -> Bound {
    let needed = wanted.connections.unwrap_or(1_000_000) * 11 / 10;
    Bound {
        name: "connection tracking",
        has: format!("{max} entries"),
        holds: max,
        mend: format!(
            "do not track the port (tuning/host/README.md), or \
             sysctl -w net.netfilter.nf_conntrack_max={needed}"
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use longwire::sys::rlimit::Limit;

    use super::*;

    const MILLION: Wanted = Wanted { connections: Some(1_000_000), has_clients: false };

    fn limit(value: u64) -> Limit {
        Limit { soft: Some(value), hard: Some(value) }
    }

    /// A host that holds a million.
    pub(crate) fn good() -> Facts {
        Facts {
            kernel_release: "6.18.44".to_owned(),
            io_uring_disabled: Some(0),
            ring_error: None,
            cores: 2,
            card_queues: 2,
            nofile: limit(1_048_576),
            memlock: limit(256 << 20),
            memlock_exempt: false,
            file_max: 2_400_000,
            files_open: 1000,
            somaxconn: 4096,
            tcp_mem_pages_max: 575_802,
            memory_available: 23 << 30,
            cgroup_memory_left: None,
            cgroup_tasks_left: None,
            conntrack_max: None,
        }
    }

    #[test]
    fn a_good_host_holds_what_is_asked_for() {
        let bounds = bounds(&good(), MILLION);
        assert!(bounds[0].holds >= 1_000_000, "{:?}", bounds[0]);
        assert_eq!(warnings(&good()), [] as [String; 0]);
    }

    #[test]
    fn each_limit_that_is_lowered_is_what_ends_it() {
        type Lower = fn(&mut Facts);
        let cases: [(Lower, &str, u64, &str); 11] = [
            (|f| f.kernel_release = "5.15.0".into(), "kernel", 0, "6.1 or newer"),
            (
                |f| (f.ring_error, f.io_uring_disabled) = (Some("EPERM".into()), Some(2)),
                "io_uring",
                0,
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (|f| f.ring_error = Some("EPERM".into()), "io_uring", 0, "seccomp.json"),
            (|f| f.memlock = limit(1000), "locked memory", 0, "ulimit -l"),
            // Each of s shards has 1,000 descriptors less 64 and 16 s: 29 hold the most.
            (|f| f.nofile = limit(1000), "descriptors", 13_036, "ulimit -Hn 551024"),
            (|f| f.file_max = 102_024, "files", 100_000, "sysctl -w fs.file-max=1101000"),
            (|f| f.memory_available = 1 << 30, "memory", 215_267, "add memory"),
            (|f| f.tcp_mem_pages_max = 1000, "socket buffers", 16_000, "apply.sh"),
            (
                |f| f.cgroup_memory_left = Some(512 << 20),
                "memory of the control group",
                109_342,
                "MemoryMax=",
            ),
            (|f| f.cgroup_tasks_left = Some(3), "tasks of the control group", 0, "TasksMax="),
            (|f| f.conntrack_max = Some(65_536), "connection tracking", 65_536, "notrack"),
        ];
        for (lower, name, holds, mend) in cases {
            let mut facts = good();
            lower(&mut facts);
            let first = bounds(&facts, MILLION).remove(0);
            assert_eq!((first.name, first.holds), (name, holds), "{first:?}");
            let told = first.mend.replace("do not track", "notrack");
            assert!(told.contains(mend), "{first:?}");
        }
    }

    #[test]
    fn a_low_limit_of_descriptors_takes_more_shards() {
        let facts = Facts { nofile: limit(20_000), ..good() };
        let bounds = bounds(&facts, MILLION);
        let tables = bounds.iter().find(|bound| bound.name == "descriptors").expect("a bound");
        // As the server lays itself out: 56 shards, and not one more.
        assert_eq!(tables.has, "20000 in a table, 56 shards");
        assert!(tables.holds >= 1_000_000);
    }

    #[test]
    fn clients_on_the_same_host_take_as_much_again() {
        let both = Wanted { has_clients: true, ..MILLION };
        let memory = |wanted| {
            let bounds = bounds(&good(), wanted);
            bounds.into_iter().find(|bound| bound.name == "memory").expect("a bound").holds
        };
        assert!(memory(both) > 1_000_000 && memory(MILLION) > 19 * memory(both) / 10);
        assert_eq!(connection_bytes(both), 2 * KERNEL_BYTES + USER_BYTES + CLIENT_BYTES);
    }

    #[test]
    fn what_makes_a_host_slow_is_a_warning() {
        let facts = Facts { somaxconn: 128, card_queues: 1, ..good() };
        let told = warnings(&facts).join("\n");
        assert!(told.contains("net.core.somaxconn=4096") && told.contains("combined 2"), "{told}");
    }
}
