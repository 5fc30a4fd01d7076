//! Start-up checks: facts about the machine and what is wanted of it in, a plan or one error out.
//!
//! The decision is a pure function of [`Facts`], so each verdict is tested without a machine that
//! deserves it. An error names the cause and the command that mends it. What is checked is what
//! would otherwise fail late or in silence: a ring that cannot be made, descriptors that end at
//! the ten-thousandth connection, a port that two servers share.

use std::fmt;
use std::net::SocketAddr;

use super::plan::{Plan, Wanted};
use crate::limits::{MEMLOCK_BYTES_MIN, SHARDS_MAX};
use crate::sys::kernel::Version;
use crate::sys::rlimit::Limit;
use crate::sys::{cpu, kernel, rlimit, socket};

/// The oldest kernel with every operation and flag the rings use (`IORING_SETUP_DEFER_TASKRUN`).
pub const KERNEL_MIN: Version = Version { major: 6, minor: 1 };

/// What the machine is and allows, as numbers.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -r` prints it.
    pub kernel_release: String,
    /// `kernel.io_uring_disabled`, where there is such a switch.
    pub io_uring_disabled: Option<u8>,
    /// Whether a seccomp filter is in force.
    pub seccomp_filtered: bool,
    /// What making the smallest ring failed with.
    pub ring_errno: Option<i32>,
    /// Descriptors, after the soft limit has been raised as far as it goes.
    pub nofile: Limit,
    /// Locked memory.
    pub memlock: Limit,
    /// Whether locked memory is not counted for this process.
    pub memlock_exempt: bool,
    /// Cores by affinity and quota.
    pub core_count: u32,
    /// The first public address that cannot be bound, and what that failed with.
    pub port_errno: Option<(SocketAddr, i32)>,
}

/// Why the server does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// The kernel is older than [`KERNEL_MIN`].
    KernelTooOld {
        /// As `uname -r` prints it.
        release: String,
    },
    /// The administrator has switched io_uring off.
    RingDisabled {
        /// `kernel.io_uring_disabled`.
        value: u8,
    },
    /// A seccomp filter refuses io_uring, as container runtimes do by default.
    RingFiltered,
    /// The kernel was built without io_uring.
    RingAbsent,
    /// The kernel refuses a ring for another reason.
    RingRefused {
        /// From `errno.h`.
        errno: i32,
    },
    /// The rings of all shards do not fit into the limit of locked memory.
    MemlockTooLow {
        /// Bytes allowed.
        limit: u64,
        /// Bytes that all rings take.
        needed: u64,
    },
    /// The descriptor tables do not hold the connections.
    NofileTooLow {
        /// Descriptors per table allowed.
        limit: u64,
        /// Descriptors per table needed with this number of shards.
        needed: u64,
        /// Connections wanted.
        connections_max: u32,
        /// Shards they were divided among.
        shard_count: u32,
        /// Shards that would do under the limit as it is, if any number would.
        shards_that_fit: Option<u32>,
    },
    /// More shards than one process can have.
    TooManyShards {
        /// Shards wanted.
        shard_count: u32,
    },
    /// Another process serves the address.
    PortTaken {
        /// The public address.
        address: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    AddressRefused {
        /// The public address.
        address: SocketAddr,
        /// From `errno.h`.
        errno: i32,
    },
}

impl Facts {
    /// Asks the machine, and raises the limit of descriptors as far as `wanted` needs and the
    /// kernel permits.
    pub fn gather(wanted: &Wanted) -> std::io::Result<Self> {
        let core_count = u32::try_from(cpu::usable_count()?).unwrap_or(u32::MAX);
        let nofile = rlimit::raise_nofile(wanted.nofile(core_count))?;
        let errno = |result: std::io::Result<()>| {
            // Every error here is the kernel's; one without a number would be a bug of a library.
            result.err().map(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
        };
        Ok(Self {
            kernel_release: kernel::release(),
            io_uring_disabled: kernel::io_uring_disabled(),
            seccomp_filtered: kernel::seccomp_filtered(),
            ring_errno: errno(kernel::probe_io_uring()),
            nofile,
            memlock: rlimit::memlock(),
            memlock_exempt: rlimit::memlock_exempt(),
            core_count,
            port_errno: wanted
                .listen
                .iter()
                .find_map(|&address| Some((address, errno(socket::probe(address))?))),
        })
    }
}

/// Checks everything, the most basic first, and lays the process out.
pub fn check(facts: &Facts, wanted: &Wanted) -> Result<Plan, CheckError> {
    check_ring(facts)?;
    let plan = wanted.lay_out(facts.core_count, facts.nofile.soft)?;
    check_memlock(facts, wanted, plan.shard_count)?;
    check_port(facts)?;
    Ok(plan)
}

fn check_ring(facts: &Facts) -> Result<(), CheckError> {
    // A release that is not a version is left to the ring itself.
    if Version::parse(&facts.kernel_release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(CheckError::KernelTooOld { release: facts.kernel_release.clone() });
    }
    match (facts.ring_errno, facts.io_uring_disabled) {
        (None, _) => Ok(()),
        (Some(libc::EPERM), Some(value @ 1..)) => Err(CheckError::RingDisabled { value }),
        // Filters answer with either; without one, EPERM has no other source than the switch.
        (Some(libc::EPERM | libc::ENOSYS | libc::EACCES), _) if facts.seccomp_filtered => {
            Err(CheckError::RingFiltered)
        }
        (Some(libc::ENOSYS), _) => Err(CheckError::RingAbsent),
        (Some(libc::ENOMEM), _) if !facts.memlock_exempt => {
            // Even the smallest ring does not fit.
            let limit = facts.memlock.soft.unwrap_or(u64::MAX);
            Err(CheckError::MemlockTooLow { limit, needed: MEMLOCK_BYTES_MIN })
        }
        (Some(errno), _) => Err(CheckError::RingRefused { errno }),
    }
}

fn check_memlock(facts: &Facts, wanted: &Wanted, shard_count: u32) -> Result<(), CheckError> {
    let all = wanted.locked_bytes(shard_count);
    let needed = if facts.memlock_exempt { MEMLOCK_BYTES_MIN } else { all.max(MEMLOCK_BYTES_MIN) };
    match facts.memlock.soft {
        Some(limit) if limit < needed => Err(CheckError::MemlockTooLow { limit, needed }),
        _ => Ok(()),
    }
}

fn check_port(facts: &Facts) -> Result<(), CheckError> {
    match facts.port_errno {
        None => Ok(()),
        Some((address, libc::EADDRINUSE)) => Err(CheckError::PortTaken { address }),
        Some((address, errno)) => Err(CheckError::AddressRefused { address, errno }),
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelTooOld { release } => {
                let Version { major, minor } = KERNEL_MIN;
                write!(
                    out,
                    "the kernel is too old: {release}, and longwire needs {major}.{minor}\n\
                     mend: install a newer kernel, for example on Debian 12: apt install \
                     linux-image-amd64"
                )
            }
            Self::RingDisabled { value } => write!(
                out,
                "io_uring is switched off: kernel.io_uring_disabled = {value}\n\
                 mend: sysctl -w kernel.io_uring_disabled=0"
            ),
            Self::RingFiltered => write!(
                out,
                "a seccomp filter refuses io_uring, as container runtimes do by default\n\
                 mend: docker run --security-opt seccomp=tuning/docker/seccomp.json, or allow \
                 io_uring_setup, io_uring_enter and io_uring_register in your own profile"
            ),
            Self::RingAbsent => write!(
                out,
                "this kernel was built without io_uring\n\
                 mend: use a kernel with CONFIG_IO_URING=y: zgrep IO_URING /proc/config.gz"
            ),
            Self::RingRefused { errno } => write!(
                out,
                "the kernel refuses a ring: {}\n\
                 mend: look for the reason with: strace -f -e trace=io_uring_setup longwire …",
                Errno(*errno)
            ),
            Self::MemlockTooLow { limit, needed } => write!(
                out,
                "the rings of all shards take {needed} bytes of locked memory, and the limit is \
                 {limit}\n\
                 mend: ulimit -l {}, or LimitMEMLOCK={needed} in the unit, or fewer --shards",
                needed.div_ceil(1024)
            ),
            Self::NofileTooLow { .. } => self.fmt_nofile(out),
            Self::TooManyShards { shard_count } => write!(
                out,
                "{shard_count} shards are more than one process can have\n\
                 mend: --shards {SHARDS_MAX} at most"
            ),
            Self::PortTaken { address } => write!(
                out,
                "another process serves {address}\n\
                 mend: find it with: ss -ltnp 'sport = :{}', or choose another --listen",
                address.port()
            ),
            Self::AddressRefused { address, errno: libc::EACCES } => write!(
                out,
                "{address} cannot be served: ports below 1024 need a capability\n\
                 mend: setcap cap_net_bind_service=+ep $(command -v longwire), or a higher port"
            ),
            Self::AddressRefused { address, errno } => write!(
                out,
                "{address} cannot be served: {}\n\
                 mend: choose one of the addresses of: ip -brief address",
                Errno(*errno)
            ),
        }
    }
}

impl CheckError {
    fn fmt_nofile(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NofileTooLow { limit, needed, connections_max, shard_count, shards_that_fit } =
            self
        else {
            unreachable!("called for this variant only");
        };
        if *connections_max > 0 {
            write!(out, "{connections_max} connections on ")?;
        }
        write!(
            out,
            "{shard_count} shards need {needed} descriptors per shard, and the limit is {limit}\n\
             mend: ulimit -Hn {needed} as root, or LimitNOFILE={needed} in the unit",
        )?;
        match shards_that_fit {
            Some(count) if count > shard_count => write!(out, ", or --shards {count}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for CheckError {}

struct Errno(i32);

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::RingShape;
    use super::*;

    fn limit(value: u64) -> Limit {
        Limit { soft: Some(value), hard: Some(value) }
    }

    fn good() -> Facts {
        Facts {
            kernel_release: "6.1.0-13-amd64".to_owned(),
            io_uring_disabled: Some(0),
            seccomp_filtered: false,
            ring_errno: None,
            nofile: limit(20_000),
            memlock: limit(8 << 20),
            memlock_exempt: false,
            core_count: 2,
            port_errno: None,
        }
    }

    fn wanted() -> Wanted {
        let small = RingShape { submissions: 32, completions: 64 };
        Wanted {
            listen: vec![([127, 0, 0, 1], 8000).into()],
            connections_max: Some(10_000),
            shard_count: None,
            rings: [RingShape { submissions: 1024, completions: 2048 }, small, small, small],
            registered_bytes: 3 * 64 * 1024,
        }
    }

    #[test]
    fn a_machine_that_has_everything_passes() {
        let plan = check(&good(), &wanted()).unwrap();
        let expected =
            Plan { shard_count: 2, connections_max: 10_000, shard_connections_max: 5_250 };
        assert_eq!(plan, expected);
    }

    type Lower = fn(&mut Facts);

    /// Each lack, what must be said of it, and the command that mends it.
    fn lacks() -> [(Lower, CheckError, &'static str); 12] {
        let address = wanted().listen[0];
        let nofile_too_low = CheckError::NofileTooLow {
            limit: 100,
            needed: 5_346,
            connections_max: 10_000,
            shard_count: 2,
            shards_that_fit: None,
        };
        [
            (
                |f| f.kernel_release = "5.15.0-91-generic".to_owned(),
                CheckError::KernelTooOld { release: "5.15.0-91-generic".to_owned() },
                "apt install",
            ),
            (
                |f| (f.io_uring_disabled, f.ring_errno) = (Some(2), Some(libc::EPERM)),
                CheckError::RingDisabled { value: 2 },
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (
                |f| (f.io_uring_disabled, f.ring_errno) = (Some(1), Some(libc::EPERM)),
                CheckError::RingDisabled { value: 1 },
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (
                |f| (f.seccomp_filtered, f.ring_errno) = (true, Some(libc::EPERM)),
                CheckError::RingFiltered,
                "--security-opt seccomp=",
            ),
            (
                |f| (f.seccomp_filtered, f.ring_errno) = (true, Some(libc::ENOSYS)),
                CheckError::RingFiltered,
                "--security-opt seccomp=",
            ),
            (|f| f.ring_errno = Some(libc::ENOSYS), CheckError::RingAbsent, "CONFIG_IO_URING"),
            (
                |f| f.ring_errno = Some(libc::EMFILE),
                CheckError::RingRefused { errno: libc::EMFILE },
                "strace",
            ),
            (
                |f| f.ring_errno = Some(libc::ENOMEM),
                CheckError::MemlockTooLow { limit: 8 << 20, needed: 512 << 10 },
                "ulimit -l 512",
            ),
            (
                |f| f.memlock = limit(600_000),
                CheckError::MemlockTooLow { limit: 600_000, needed: 2 * (104 + 24 + 192) * 1024 },
                "ulimit -l 640",
            ),
            (|f| f.nofile = limit(100), nofile_too_low, "ulimit -Hn 5346"),
            (
                |f| f.port_errno = Some((([127, 0, 0, 1], 8000).into(), libc::EADDRINUSE)),
                CheckError::PortTaken { address },
                "ss -ltnp 'sport = :8000'",
            ),
            (
                |f| f.port_errno = Some((([127, 0, 0, 1], 8000).into(), libc::EACCES)),
                CheckError::AddressRefused { address, errno: libc::EACCES },
                "setcap",
            ),
        ]
    }

    #[test]
    fn each_lack_has_its_own_verdict_and_command() {
        for (lower, expected, command) in lacks() {
            let mut facts = good();
            lower(&mut facts);
            let error = check(&facts, &wanted()).unwrap_err();
            assert_eq!(error, expected);
            let text = error.to_string();
            let (cause, mend) = text.split_once("\nmend: ").expect("cause, then what mends it");
            assert!(!cause.is_empty() && mend.contains(command), "{text}");
        }
    }

    #[test]
    fn a_disabled_ring_that_works_all_the_same_is_no_error() {
        // Value 1 leaves the members of kernel.io_uring_group, and root, their rings.
        let facts = Facts { io_uring_disabled: Some(1), ..good() };
        assert!(check(&facts, &wanted()).is_ok());
    }

    #[test]
    fn an_exempt_process_needs_only_what_the_executor_asks_for() {
        let exempt = Facts { memlock_exempt: true, memlock: limit(512 << 10), ..good() };
        assert!(check(&exempt, &wanted()).is_ok());
        let lower = Facts { memlock: limit((512 << 10) - 1), ..exempt };
        let error = check(&lower, &wanted()).unwrap_err();
        assert!(matches!(error, CheckError::MemlockTooLow { .. }), "{error}");
    }

    #[test]
    fn more_shards_than_a_process_can_have_are_refused() {
        let wanted = Wanted { shard_count: Some(SHARDS_MAX + 1), ..wanted() };
        let error = check(&good(), &wanted).unwrap_err();
        assert_eq!(error, CheckError::TooManyShards { shard_count: SHARDS_MAX + 1 });
    }

    #[test]
    fn this_machine_is_asked_without_an_error() {
        let wanted = Wanted { listen: vec![([127, 0, 0, 1], 0).into()], ..wanted() };
        let facts = Facts::gather(&wanted).unwrap();
        assert!(facts.core_count > 0);
        assert_eq!(facts.port_errno, None);
        let taken = socket::claim(wanted.listen[0], &socket::ListenOptions::default()).unwrap();
        let address = socket::local_addr(&taken).unwrap();
        let facts = Facts::gather(&Wanted { listen: vec![address], ..wanted }).unwrap();
        assert_eq!(facts.port_errno, Some((address, libc::EADDRINUSE)));
    }
}
