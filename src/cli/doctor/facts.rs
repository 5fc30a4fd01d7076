//! What this host is like, as far as it bounds connections: read from /proc and /sys.

use std::fs;
use std::io;
use std::path::Path;

use longwire::sys::rlimit::{self, Limit};
use longwire::sys::{cpu, kernel};

/// The numbers; `None` is "no such bound here".
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) kernel_release: String,
    pub(super) io_uring_disabled: Option<u8>,
    /// Who may use it where it is disabled for others.
    pub(super) io_uring_group: Option<u64>,
    /// What making the smallest ring failed with.
    pub(super) ring_error: Option<String>,
    pub(super) cores: u64,
    /// Receive queues of the network cards, loopback aside.
    pub(super) card_queues: u64,
    /// Descriptors per table, soft and hard.
    pub(super) nofile: Limit,
    pub(super) memlock: Limit,
    /// Locked memory is not counted for this process.
    pub(super) memlock_exempt: bool,
    /// Files of the whole host, and those that are open.
    pub(super) file_max: u64,
    pub(super) files_open: u64,
    pub(super) somaxconn: u64,
    /// Places of the table of connections, where the kernel says (6.1).
    pub(super) connection_places: Option<u64>,
    /// Pages of socket buffers beyond which connections are cut.
    pub(super) tcp_mem_pages_max: u64,
    pub(super) memory_available: u64,
    /// What the control group's memory limit leaves, where there is one.
    pub(super) cgroup_memory: Option<GroupMemory>,
    pub(super) cgroup_tasks_left: Option<u64>,
    /// Entries of connection tracking, where it tracks anything.
    pub(super) conntrack_max: Option<u64>,
}

impl Facts {
    /// Asks this host.
    pub(super) fn gather() -> io::Result<Self> {
        Self::read(Path::new("/"))
    }

    fn read(root: &Path) -> io::Result<Self> {
        let sys = |name: &str| number(&root.join("proc/sys").join(name));
        let meminfo = fs::read_to_string(root.join("proc/meminfo"))?;
        let files = numbers(&root.join("proc/sys/fs/file-nr"));
        let tracked = sys("net/netfilter/nf_conntrack_count").unwrap_or(0);
        Ok(Self {
            kernel_release: kernel::release(),
            io_uring_disabled: kernel::io_uring_disabled(),
            // Without a group there is a -1, which is no number here.
            io_uring_group: sys("kernel/io_uring_group"),
            ring_error: kernel::probe_io_uring().err().map(|error| error.to_string()),
            cores: cpu::usable_count()? as u64,
            card_queues: card_queues(&root.join("sys/class/net")),
            nofile: rlimit::nofile(),
            memlock: rlimit::memlock(),
            memlock_exempt: rlimit::memlock_exempt(),
            file_max: sys("fs/file-max").unwrap_or(u64::MAX),
            files_open: files.first().copied().unwrap_or(0),
            somaxconn: sys("net/core/somaxconn").unwrap_or(u64::MAX),
            // Negative where the table is another namespace's.
            connection_places: fs::read_to_string(root.join("proc/sys/net/ipv4/tcp_ehash_entries"))
                .ok()
                .and_then(|text| text.trim().trim_start_matches('-').parse().ok()),
            tcp_mem_pages_max: numbers(&root.join("proc/sys/net/ipv4/tcp_mem"))
                .get(2)
                .copied()
                .unwrap_or(u64::MAX),
            memory_available: available_bytes(&meminfo).unwrap_or(0),
            cgroup_memory: group_memory(root),
            cgroup_tasks_left: left(root, "pids", ["pids.max", "pids.current"]),
            conntrack_max: sys("net/netfilter/nf_conntrack_max").filter(|_| tracked > 0),
        })
    }
}

/// What a control group leaves, and what it is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupMemory {
    /// Bytes.
    pub(super) left: u64,
    /// Sockets count: always under version 2, and under version 1 where some group has a limit
    /// for the buffers of TCP.
    pub(super) has_sockets: bool,
}

fn group_memory(root: &Path) -> Option<GroupMemory> {
    if let Some(left) = left(root, "memory", ["memory.max", "memory.current"]) {
        return Some(GroupMemory { left, has_sockets: true });
    }
    let left_v1 = left(root, "memory", MEMORY_V1)?;
    let has_sockets = left(root, "memory", TCP_V1).is_some();
    Some(GroupMemory { left: left_v1, has_sockets })
}

const TCP_V1: [&str; 2] = ["memory.kmem.tcp.limit_in_bytes", "memory.kmem.tcp.usage_in_bytes"];
const MEMORY_V1: [&str; 2] = ["memory.limit_in_bytes", "memory.usage_in_bytes"];

/// Larger than any memory: 2^63 less a page stands for "no limit".
const UNLIMITED_V1: u64 = 1 << 60;

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect()
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Receive queues of all cards that have some.
fn card_queues(cards: &Path) -> u64 {
    let of_card = |card: fs::DirEntry| {
        let is_card = card.path().join("device").exists();
        let queues = fs::read_dir(card.path().join("queues")).into_iter().flatten().flatten();
        let receives = |queue: &fs::DirEntry| queue.file_name().to_string_lossy().starts_with("rx");
        if is_card { queues.filter(receives).count() as u64 } else { 0 }
    };
    fs::read_dir(cards).into_iter().flatten().flatten().map(of_card).sum()
}

/// The least that the control groups of this process and their parents leave of one resource:
/// under version 2 all in one tree, under version 1 in a tree of `controller`'s own.
fn left(root: &Path, controller: &str, [max, current]: [&str; 2]) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = controllers.is_empty() || controllers.split(',').any(|one| one == controller);
        is_it.then_some((controllers, path))
    });
    let (controllers, path) = own?;
    let tree = root.join("sys/fs/cgroup").join(controllers);
    let group = tree.join(path.trim_start_matches('/'));
    let of_group = |group: &Path| {
        // The first version writes "no limit" as a number of its own.
        let limit = number(&group.join(max)).filter(|limit| *limit < UNLIMITED_V1)?;
        Some(limit.saturating_sub(number(&group.join(current))?))
    };
    group.ancestors().take_while(|group| group.starts_with(&tree)).filter_map(of_group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these files.
    struct Host(std::path::PathBuf);

    impl Host {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = format!("longwire-facts-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(folder);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let host = Host::new(
            "v2",
            &[
                ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n"),
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "5000\n"),
                ("sys/fs/cgroup/a/memory.current", "1000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/b/memory.current", "1\n"),
                ("sys/fs/cgroup/a/b/pids.max", "30\n"),
                ("sys/fs/cgroup/a/b/pids.current", "10\n"),
                ("proc/sys/fs/file-nr", "77\t0\t99\n"),
                ("proc/sys/fs/file-max", "99\n"),
                ("proc/sys/net/ipv4/tcp_mem", "1\t2\t3\n"),
                ("proc/sys/net/netfilter/nf_conntrack_max", "5\n"),
                ("proc/sys/net/netfilter/nf_conntrack_count", "0\n"),
                ("sys/class/net/eth0/device/vendor", ""),
                ("sys/class/net/eth0/queues/rx-0/x", ""),
                ("sys/class/net/eth0/queues/rx-1/x", ""),
                ("sys/class/net/eth0/queues/tx-0/x", ""),
                ("sys/class/net/lo/queues/rx-0/x", ""),
            ],
        );
        let facts = Facts::read(&host.0).unwrap();
        assert_eq!(facts.cgroup_memory, Some(GroupMemory { left: 4000, has_sockets: true }));
        assert_eq!(facts.cgroup_tasks_left, Some(20));
        assert_eq!(facts.memory_available, 2 << 20);
        assert_eq!((facts.files_open, facts.file_max), (77, 99));
        assert_eq!((facts.tcp_mem_pages_max, facts.card_queues), (3, 2));
        assert_eq!(facts.conntrack_max, None, "it tracks nothing");
    }

    #[test]
    fn the_first_version_of_groups_has_a_tree_for_each_resource() {
        let host = Host::new(
            "v1",
            &[
                ("proc/meminfo", ""),
                ("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/m\n"),
                ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "700\n"),
                ("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "200\n"),
                ("proc/sys/net/netfilter/nf_conntrack_max", "5\n"),
                ("proc/sys/net/netfilter/nf_conntrack_count", "1\n"),
            ],
        );
        let facts = Facts::read(&host.0).unwrap();
        assert_eq!(facts.cgroup_memory, Some(GroupMemory { left: 500, has_sockets: false }));
        assert_eq!(facts.cgroup_tasks_left, None);
        let limit = host.0.join("sys/fs/cgroup/memory/m/memory.limit_in_bytes");
        fs::write(&limit, "9223372036854771712\n").unwrap();
        assert_eq!(Facts::read(&host.0).unwrap().cgroup_memory, None);
        fs::write(limit, "700\n").unwrap();
        let tcp = host.0.join("sys/fs/cgroup/memory/m/memory.kmem.tcp.limit_in_bytes");
        fs::write(tcp, "1000000\n").unwrap();
        let usage = host.0.join("sys/fs/cgroup/memory/m/memory.kmem.tcp.usage_in_bytes");
        fs::write(usage, "0\n").unwrap();
        let memory = Facts::read(&host.0).unwrap().cgroup_memory;
        assert_eq!(memory, Some(GroupMemory { left: 500, has_sockets: true }));
        assert_eq!(facts.conntrack_max, Some(5));
    }

    #[test]
    fn this_host_is_asked_without_an_error() {
        let facts = Facts::gather().unwrap();
        assert!(facts.memory_available > 0 && facts.cores > 0 && facts.file_max > 0);
    }
}
