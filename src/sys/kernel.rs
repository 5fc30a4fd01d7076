//! The kernel: its version, and whether it lets this process have a ring.

use std::fs;
use std::io;

use io_uring::IoUring;

/// A kernel release, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 6 of 6.1.
    pub major: u32,
    /// 1 of 6.1.
    pub minor: u32,
}

impl Version {
    /// Reads a release such as `6.1.0-13-amd64` or `6.18-rc2`; `None` if it is not one.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.splitn(3, '.');
        let major = numbers.next()?.parse().ok()?;
        let rest = numbers.next()?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { major, minor: rest[..digits].parse().ok()? })
    }
}

/// The release of the running kernel, as `uname -r` prints it.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// `kernel.io_uring_disabled`: 0 everybody may, 1 only `kernel.io_uring_group`, 2 nobody. `None`
/// where the kernel has no such switch (before 6.6).
pub fn io_uring_disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Whether a seccomp filter decides about the system calls of this process.
pub fn seccomp_filtered() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| filter_mode(&status))
}

/// Asks the kernel for the smallest ring and gives it back: the error is what a shard would see.
pub fn probe_io_uring() -> io::Result<()> {
    IoUring::new(1).map(drop)
}

fn filter_mode(status: &str) -> bool {
    // 2 is SECCOMP_MODE_FILTER.
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_kinds_are_read() {
        let cases = [
            ("6.1.0-13-amd64", Some((6, 1))),
            ("5.15.0", Some((5, 15))),
            ("6.18-rc2", Some((6, 18))),
            ("7.0", Some((7, 0))),
            ("6.6+", Some((6, 6))),
            ("6", None),
            ("6.", None),
            ("6.x", None),
            ("", None),
            ("99999999999.1", None),
        ];
        for (release, expected) in cases {
            let expected = expected.map(|(major, minor)| Version { major, minor });
            assert_eq!(Version::parse(release), expected, "{release}");
        }
    }

    #[test]
    fn the_running_kernel_has_a_version() {
        assert!(Version::parse(&release()).is_some(), "{}", release());
    }

    #[test]
    fn later_versions_are_greater_by_number_and_not_by_digit() {
        assert!(Version::parse("6.18") > Version::parse("6.2"));
        assert!(Version::parse("7.0") > Version::parse("6.18"));
    }

    #[test]
    fn a_seccomp_filter_is_told_apart_from_none() {
        assert!(filter_mode("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!filter_mode("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t2\n"));
    }
}
