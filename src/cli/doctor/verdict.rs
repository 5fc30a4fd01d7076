//! How many connections a host holds, and what ends it: facts in, one line for each bound out.
//!
//! Pure arithmetic over the facts, so that each verdict is tested without a host that deserves it.

use longwire::server::checks::KERNEL_MIN;
use longwire::sys::kernel::Version;

use super::facts::{Facts, GroupMemory};
use super::layout::{Layout, Wanted, memlock_limit};

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
    let layout = Layout::of(facts, wanted);
    let mut bounds = vec![
        kernel(facts),
        ring(facts),
        memlock(facts, layout),
        descriptors(facts, wanted, layout),
        files(facts, wanted),
        memory(facts, wanted, layout),
        buffers(facts),
    ];
    bounds.extend(facts.cgroup_memory.map(|memory| cgroup_memory(memory, layout)));
    bounds.extend(facts.cgroup_tasks_left.map(|left| tasks(left, layout)));
    bounds.extend(facts.conntrack_max.map(|max| conntrack(max, wanted)));
    bounds.sort_by_key(|bound| bound.holds);
    bounds
}

/// Things that end no connection, and make many of them slow or lossy.
pub(super) fn warnings(facts: &Facts, wanted: Wanted) -> Vec<String> {
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
    let ends = if wanted.has_clients { 2 } else { 1 };
    let looked_up = wanted.connections.unwrap_or(0).saturating_mul(ends);
    if let Some(places) = facts.connection_places.filter(|&places| places < looked_up) {
        warnings.push(format!(
            "the kernel looks {looked_up} connections up in a table of {places} places: packets \
             take longer\n  mend: thash_entries={looked_up} on the kernel's command line",
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
    let mend = match (facts.io_uring_disabled, facts.io_uring_group) {
        (Some(1), Some(group)) => format!("run longwire in the group {group}, which may use it"),
        (Some(1 | 2), _) => "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        _ => "allow io_uring in the seccomp profile, as tuning/docker/seccomp.json does".to_owned(),
    };
    let switch =
        facts.io_uring_disabled.map_or(String::new(), |value| format!(" (switch {value})"));
    gate("io_uring", format!("{error}{switch}"), false, mend)
}

fn memlock(facts: &Facts, layout: Layout) -> Bound {
    let (limit, needed) = (memlock_limit(facts), layout.locked_bytes(facts));
    let has = if limit == u64::MAX { "unlimited".to_owned() } else { format!("{limit} bytes") };
    let mend = format!("ulimit -l {}, or LimitMEMLOCK=256M in the unit", needed.div_ceil(1024));
    gate("locked memory", has, limit >= needed, mend)
}

fn descriptors(facts: &Facts, wanted: Wanted, layout: Layout) -> Bound {
    let limit = facts.nofile.hard.unwrap_or(u64::MAX);
    let per_core = wanted.connections.unwrap_or(1_000_000).div_ceil(facts.cores) * 11 / 10 + 1024;
    Bound {
        name: "descriptors",
        has: format!("{limit} in a table, {} shards", layout.0),
        holds: layout.table_connections(facts),
        mend: format!("ulimit -Hn {per_core} as root, or LimitNOFILE={per_core} in the unit"),
    }
}

fn files(facts: &Facts, wanted: Wanted) -> Bound {
    let left = facts.file_max.saturating_sub(facts.files_open + FILES_OF_OTHERS);
    let ends = wanted.ends();
    let needed = wanted.connections.unwrap_or(1_000_000) * ends * 11 / 10 + facts.files_open;
    Bound {
        name: "files",
        has: format!("{left} left of fs.file-max"),
        holds: left / ends,
        mend: format!("sysctl -w fs.file-max={needed}"),
    }
}

fn memory(facts: &Facts, wanted: Wanted, layout: Layout) -> Bound {
    Bound {
        name: "memory",
        has: format!("{} MiB available", facts.memory_available >> 20),
        holds: layout.memory_connections(facts.memory_available, wanted),
        mend: "add memory, or ask for fewer".to_owned(),
    }
}

fn cgroup_memory(memory: GroupMemory, layout: Layout) -> Bound {
    Bound {
        name: "memory of the control group",
        has: format!("{} MiB left", memory.left >> 20),
        holds: layout.group_connections(memory),
        mend: "raise MemoryMax= in the unit, or --memory of the container".to_owned(),
    }
}

fn tasks(left: u64, layout: Layout) -> Bound {
    let needed = layout.tasks();
    let has = format!("{left} left, {} shards take {needed}", layout.0);
    let mend = format!("raise TasksMax= in the unit to {}", needed.max(512));
    gate("tasks of the control group", has, left >= needed, mend)
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
    use longwire::limits::CONNECTION_KERNEL_BYTES;
    use longwire::sys::rlimit::Limit;

    use super::super::layout::{CLIENT_BYTES, USER_BYTES};
    use super::*;

    const MILLION: Wanted = Wanted { connections: Some(1_000_000), has_clients: false };

    pub(crate) fn limit(value: u64) -> Limit {
        Limit { soft: Some(value), hard: Some(value) }
    }

    /// A host that holds a million.
    pub(crate) fn good() -> Facts {
        Facts {
            kernel_release: "6.18.44".to_owned(),
            io_uring_disabled: Some(0),
            io_uring_group: None,
            ring_error: None,
            cores: 2,
            card_queues: 2,
            nofile: limit(1_048_576),
            memlock: limit(256 << 20),
            memlock_exempt: false,
            file_max: 2_400_000,
            files_open: 1000,
            somaxconn: 4096,
            connection_places: Some(1 << 20),
            tcp_mem_pages_max: 575_802,
            memory_available: 23 << 30,
            cgroup_memory: None,
            cgroup_tasks_left: None,
            conntrack_max: None,
        }
    }

    #[test]
    fn a_good_host_holds_what_is_asked_for() {
        let bounds = bounds(&good(), MILLION);
        assert!(bounds[0].holds >= 1_000_000, "{:?}", bounds[0]);
        assert_eq!(warnings(&good(), MILLION), [] as [String; 0]);
    }

    #[test]
    fn each_limit_that_is_lowered_is_what_ends_it() {
        type Lower = fn(&mut Facts);
        let cases: [(Lower, &str, u64, &str); 12] = [
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
            (|f| f.memory_available = 1 << 30, "memory", 222_051, "add memory"),
            (|f| f.tcp_mem_pages_max = 1000, "socket buffers", 16_000, "apply.sh"),
            (
                |f| f.cgroup_memory = Some(GroupMemory { left: 512 << 20, has_sockets: true }),
                "memory of the control group",
                125_323,
                "MemoryMax=",
            ),
            (
                |f| f.cgroup_memory = Some(GroupMemory { left: 512 << 20, has_sockets: false }),
                "memory of the control group",
                293_838,
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
    fn what_many_shards_need_ends_it_when_it_is_short() {
        // 56 shards, as above: 112 threads and a dozen, and half a megabyte locked for each.
        let enough = Facts {
            nofile: limit(20_000),
            cgroup_tasks_left: Some(124),
            memlock: limit(28 << 20),
            ..good()
        };
        assert!(bounds(&enough, MILLION)[0].holds >= 1_000_000);
        let tasks = Facts { cgroup_tasks_left: Some(123), ..enough.clone() };
        let locked = Facts { memlock: limit((28 << 20) - 1), ..enough };
        for (facts, name) in [(tasks, "tasks of the control group"), (locked, "locked memory")] {
            let first = bounds(&facts, MILLION).remove(0);
            assert_eq!((first.name, first.holds), (name, 0), "{first:?}");
        }
    }

    #[test]
    fn clients_on_the_same_host_take_as_much_again() {
        let both = Wanted { has_clients: true, ..MILLION };
        let memory = |wanted| {
            let bounds = bounds(&good(), wanted);
            bounds.into_iter().find(|bound| bound.name == "memory").expect("a bound").holds
        };
        assert!(memory(both) > 1_000_000 && memory(MILLION) > 19 * memory(both) / 10);
        let expected = 2 * CONNECTION_KERNEL_BYTES + USER_BYTES + CLIENT_BYTES;
        assert_eq!(both.connection_bytes(), expected);
    }

    #[test]
    fn one_group_that_may_use_io_uring_is_left_as_it_is() {
        let denied = Facts {
            ring_error: Some("EPERM".into()),
            io_uring_disabled: Some(1),
            io_uring_group: Some(77),
            ..good()
        };
        let first = bounds(&denied, MILLION).remove(0);
        assert_eq!(first.mend, "run longwire in the group 77, which may use it");
        let first = bounds(&Facts { io_uring_group: None, ..denied }, MILLION).remove(0);
        assert_eq!(first.mend, "sysctl -w kernel.io_uring_disabled=0");
    }

    #[test]
    fn what_makes_a_host_slow_is_a_warning() {
        let facts = Facts { somaxconn: 128, card_queues: 1, ..good() };
        let told = warnings(&facts, MILLION).join("\n");
        assert!(told.contains("net.core.somaxconn=4096") && told.contains("combined 2"), "{told}");
        assert!(!told.contains("thash_entries"), "a place for each: {told}");
        let facts = Facts { connection_places: Some(262_144), ..good() };
        let told = warnings(&facts, MILLION).join("\n");
        assert!(told.contains("thash_entries=1000000"), "{told}");
        assert!(warnings(&facts, Wanted { connections: Some(1000), ..MILLION }).is_empty());
    }
}
