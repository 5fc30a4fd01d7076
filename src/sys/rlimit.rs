//! Resource limits: how many descriptors, how much locked memory.
//!
//! A limit is read as it stands; only descriptors are ever raised. `None` means unlimited.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// One limit; `None` is "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the kernel enforces.
    pub soft: Option<u64>,
    /// What an unprivileged process may raise `soft` to.
    pub hard: Option<u64>,
}

impl From<Rlimit> for Limit {
    fn from(raw: Rlimit) -> Self {
        Self { soft: raw.current, hard: raw.maximum }
    }
}

/// Descriptors per table (`RLIMIT_NOFILE`).
pub fn nofile() -> Limit {
    getrlimit(Resource::Nofile).into()
}

/// Bytes of locked memory (`RLIMIT_MEMLOCK`).
pub fn memlock() -> Limit {
    getrlimit(Resource::Memlock).into()
}

/// Raises the soft limit of descriptors to the hard one, and the hard one to `wanted` where this
/// process may (`CAP_SYS_RESOURCE`, up to `fs.nr_open`). Returns what holds afterwards; a limit
/// that could not be raised is not an error, because the caller compares the result anyway.
pub fn raise_nofile(wanted: u64) -> io::Result<Limit> {
    let Limit { soft, hard } = nofile();
    let Some(hard) = hard else {
        return Ok(Limit { soft, hard });
    };
    if wanted > hard {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return Ok(nofile());
        }
    }
    if soft != Some(hard) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) })?;
    }
    Ok(nofile())
}

/// Whether locked memory is not counted for this process (`CAP_IPC_LOCK`).
pub fn memlock_exempt() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_descriptors_reaches_the_hard_one() {
        let before = nofile();
        // The limit belongs to the process, and other tests open descriptors meanwhile: half of
        // it is far above what they need.
        let half = before.hard.expect("the kernel bounds descriptors by fs.nr_open") / 2;
        setrlimit(Resource::Nofile, Rlimit { current: Some(half), maximum: before.hard }).unwrap();
        assert_eq!(nofile().soft, Some(half));
        let after = raise_nofile(half).unwrap();
        assert_eq!(after, Limit { soft: before.hard, hard: before.hard });
    }

    #[test]
    fn a_wish_beyond_every_limit_is_answered_with_what_holds() {
        let after = raise_nofile(u64::MAX - 1).unwrap();
        assert_eq!(after.soft, after.hard);
        assert_eq!(after, nofile());
    }
}
