//! What /proc tells about one process: CPU time to the nanosecond and private memory; and what
//! the kernel holds in slabs.
//!
//! `stat` counts in ticks of 10 ms, so the run time of every thread is read from `schedstat`.
//! Never /proc/PID/fd: looking at it costs the kernel some 900 bytes per descriptor for good.
//!
//! Invariant: CPU time never goes backwards, also when threads come and go between two looks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::limits;

/// One process under observation.
pub struct Process {
    tasks: PathBuf,
    memory: PathBuf,
    status: PathBuf,
    /// The last run time seen of each thread, those that have ended included.
    run_times: BTreeMap<u32, Duration>,
}

impl Process {
    /// The process `pid`, if there is one that we may look at.
    pub fn open(pid: u32) -> io::Result<Self> {
        let mut process = Self::at(&Path::new("/proc").join(pid.to_string()));
        process.cpu_time()?;
        process.private_bytes()?;
        Ok(process)
    }

    fn at(root: &Path) -> Self {
        Self {
            tasks: root.join("task"),
            memory: root.join("smaps_rollup"),
            status: root.join("status"),
            run_times: BTreeMap::new(),
        }
    }

    /// The thread that ran for longest since these run times were taken, by its name.
    pub fn busiest_since(&self, before: &BTreeMap<u32, Duration>) -> Option<BusyThread> {
        let since = |(id, time): (&u32, &Duration)| {
            let known = before.get(id).copied().unwrap_or_default();
            (time.saturating_sub(known), *id)
        };
        let (time, id) = self.run_times.iter().map(since).max()?;
        // A thread that has ended has no name any more.
        let name = fs::read_to_string(self.tasks.join(id.to_string()).join("comm"));
        let name = name.map_or_else(|_| id.to_string(), |name| name.trim_end().to_owned());
        Some(BusyThread { name, time })
    }

    /// The run time of each thread at the last look.
    pub fn run_times(&self) -> &BTreeMap<u32, Duration> {
        &self.run_times
    }

    /// CPU time of all threads so far. What a thread ran between the last look and its end is
    /// not seen; a server under load has the same threads all the time.
    pub fn cpu_time(&mut self) -> io::Result<Duration> {
        for (place, task) in fs::read_dir(&self.tasks)?.enumerate() {
            if place >= limits::BENCH_TASKS_MAX {
                return Err(io::Error::other("it has more threads than are looked at"));
            }
            let task = task?;
            let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match fs::read_to_string(task.path().join("schedstat")) {
                Ok(text) => {
                    self.run_times.insert(id, parse_schedstat(&text).ok_or_else(unreadable)?);
                }
                // It ended between the two calls; its last known time stands.
                Err(error) if ended(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.run_times.values().sum())
    }

    /// Memory of this process that no file stands behind, nearly all of what is its alone. Unlike
    /// [`private_bytes`](Self::private_bytes) this walks no page table, and may be asked often.
    pub fn anonymous_bytes(&self) -> io::Result<u64> {
        kibibytes(&fs::read_to_string(&self.status)?, "RssAnon:").ok_or_else(unreadable)
    }

    /// Bytes that are this process's alone: what would be free if it ended, kernel aside.
    pub fn private_bytes(&self) -> io::Result<u64> {
        parse_private(&fs::read_to_string(&self.memory)?).ok_or_else(unreadable)
    }
}

/// One thread of a process, and how long it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusyThread {
    /// As the kernel knows it.
    pub name: String,
    /// On a CPU.
    pub time: Duration,
}

/// Bytes in the kernel's slabs, of the whole host: sockets of both ends, polls, inodes.
pub fn slab_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    kibibytes(&text, "Slab:").ok_or_else(unreadable)
}

/// Bytes that this host can still give out without swapping, by the kernel's estimate.
pub fn available_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    kibibytes(&text, "MemAvailable:").ok_or_else(unreadable)
}

/// Bytes that lie in buffers of TCP sockets, of the whole host.
pub fn socket_buffer_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    parse_sockstat(&text).ok_or_else(unreadable)
}

/// CPU time of this host since its start: what was taken, and all there was.
pub fn host_time() -> io::Result<(Duration, Duration)> {
    let text = fs::read_to_string("/proc/stat")?;
    parse_stat(&text).ok_or_else(unreadable)
}

fn ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a /proc file has another form than expected")
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3`, the last in pages.
fn parse_sockstat(text: &str) -> Option<u64> {
    const PAGE_BYTES: u64 = 4096;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, pages) = line.split_once(" mem ")?;
    pages.trim().parse::<u64>().ok()?.checked_mul(PAGE_BYTES)
}

/// `cpu  user nice system idle iowait irq softirq steal …`, in hundredths of a second.
fn parse_stat(text: &str) -> Option<(Duration, Duration)> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    // What guests took is in the first two already.
    let ticks: Vec<u64> = numbers.take(8).map_while(|word| word.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let time = |ticks: u64| Duration::from_millis(ticks * 10);
    Some((time(all - idle), time(all)))
}

/// `run_ns wait_ns slices`, the first being nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parse_private(text: &str) -> Option<u64> {
    Some(kibibytes(text, "Private_Clean:")? + kibibytes(text, "Private_Dirty:")?)
}

/// The value of the line that starts with `name`, which /proc gives as `name   123 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str = "55cd2d5c8000-7ffdd6f0d000 ---p 00000000 00:00 0    [rollup]\n\
        Rss:                1624 kB\n\
        Shared_Clean:       1472 kB\n\
        Private_Clean:        40 kB\n\
        Private_Dirty:       112 kB\n\
        Private_Hugetlb:       7 kB\n";

    #[test]
    fn private_memory_is_clean_and_dirty_and_nothing_else() {
        assert_eq!(parse_private(ROLLUP), Some(152 * 1024));
        assert_eq!(parse_private("Private_Clean: 40 kB\n"), None);
        assert_eq!(parse_private("Private_Clean: 40 MB\nPrivate_Dirty: 1 kB\n"), None);
    }

    #[test]
    fn buffers_and_times_of_the_host_are_where_the_kernel_puts_them() {
        let sockets = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 1 alloc 7 mem 3\nUDP: mem 8\n";
        assert_eq!(parse_sockstat(sockets), Some(3 * 4096));
        assert_eq!(parse_sockstat("UDP: inuse 1 mem 2\n"), None);
        let times = parse_stat("cpu  10 1 20 60 5 1 2 1 7 7\ncpu0 1 1\n");
        let expected = (Duration::from_millis(350), Duration::from_secs(1));
        assert_eq!((times, parse_stat("cpu  1 2\n")), (Some(expected), None));
        let (busy, all) = host_time().unwrap();
        assert!(busy <= all && socket_buffer_bytes().is_ok());
        let own = Process::open(std::process::id()).unwrap();
        assert!(own.anonymous_bytes().unwrap() > 0);
    }

    #[test]
    fn run_time_is_the_first_field_in_nanoseconds() {
        assert_eq!(parse_schedstat("28731 2558745 2\n"), Some(Duration::from_nanos(28731)));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_schedstat("x 1 2"), None);
    }

    #[test]
    fn threads_that_ended_keep_their_time() {
        let root = std::env::temp_dir().join(format!("longwire-process-{}", std::process::id()));
        for (task, text) in [("7", "100 0 1"), ("8", "50 0 1")] {
            fs::create_dir_all(root.join("task").join(task)).unwrap();
            fs::write(root.join("task").join(task).join("schedstat"), text).unwrap();
        }
        fs::write(root.join("task/7/comm"), "shard-0\n").unwrap();
        let mut process = Process::at(&root);
        assert_eq!(process.cpu_time().unwrap(), Duration::from_nanos(150));
        let before = process.run_times().clone();
        fs::remove_dir_all(root.join("task/8")).unwrap();
        fs::write(root.join("task/7/schedstat"), "130 0 1").unwrap();
        assert_eq!(process.cpu_time().unwrap(), Duration::from_nanos(180));
        let busy = BusyThread { name: "shard-0".into(), time: Duration::from_nanos(30) };
        assert_eq!(process.busiest_since(&before), Some(busy));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_an_error() {
        let mut own = Process::open(std::process::id()).unwrap();
        assert!(own.private_bytes().unwrap() > 0);
        assert!(own.cpu_time().is_ok());
        assert!(slab_bytes().unwrap() > 0);
        assert!(available_bytes().unwrap() > 0);
        assert!(Process::open(u32::MAX).is_err());
    }
}
