//! Why a ring could not be made, with the command that mends it.

use std::{fmt, io};

/// A ring could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum RingError {
    /// The kernel has no io_uring, or not the flags we need (Linux 6.1).
    TooOld(io::Error),
    /// `kernel.io_uring_disabled`, or a seccomp filter such as a container's default.
    Forbidden(io::Error),
    /// The ring's memory does not fit into `RLIMIT_MEMLOCK` or the memory cgroup.
    NoMemory(io::Error),
    /// The process or the system has no descriptor left.
    NoDescriptor(io::Error),
    /// Anything else the kernel said.
    Other(io::Error),
}

impl RingError {
    pub(super) fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL) => Self::TooOld(error),
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden(error),
            Some(libc::ENOMEM) => Self::NoMemory(error),
            Some(libc::EMFILE | libc::ENFILE) => Self::NoDescriptor(error),
            _ => Self::Other(error),
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld(error) => write!(
                out,
                "io_uring is missing or too old here ({error}): longwire needs Linux 6.1 or newer"
            ),
            Self::Forbidden(error) => write!(
                out,
                "io_uring is forbidden here ({error}): run `sysctl -w kernel.io_uring_disabled=0`; \
                 in a container allow io_uring_setup, io_uring_enter and io_uring_register in its \
                 seccomp profile"
            ),
            Self::NoMemory(error) => write!(
                out,
                "no memory for a ring ({error}): raise the limit of locked memory, `ulimit -l \
                 unlimited` or LimitMEMLOCK=infinity in the unit, and look at the memory cgroup"
            ),
            Self::NoDescriptor(error) => write!(
                out,
                "no descriptor left for a ring ({error}): raise `ulimit -n`, or LimitNOFILE= in \
                 the unit, or `sysctl -w fs.file-max=…`"
            ),
            Self::Other(error) => write!(out, "io_uring could not be set up: {error}"),
        }
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooOld(error)
            | Self::Forbidden(error)
            | Self::NoMemory(error)
            | Self::NoDescriptor(error)
            | Self::Other(error) => Some(error),
        }
    }
}
