//! How long a thread has waited for a core, ready to run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The kernel's account of the thread that opened it.
#[derive(Debug)]
pub struct RunDelay {
    account: Option<File>,
}

/// Three numbers of 64 bits, two spaces and a line feed.
const ACCOUNT_BYTES: usize = 64;

impl RunDelay {
    /// The account of the calling thread. Without one (`CONFIG_SCHED_INFO`, or no `/proc`) nothing
    /// was ever waited.
    pub fn of_this_thread() -> Self {
        Self { account: File::open("/proc/thread-self/schedstat").ok() }
    }

    /// All waits together, up to the last one that ended.
    pub fn total(&self) -> Duration {
        let mut bytes = [0; ACCOUNT_BYTES];
        let read = self.account.as_ref().and_then(|account| account.read_at(&mut bytes, 0).ok());
        waited(&bytes[..read.unwrap_or(0)]).unwrap_or_default()
    }
}

/// The second number: nanoseconds on the run queue, after those on a core.
fn waited(account: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(account).ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_taken_and_nothing_from_what_is_no_account() {
        assert_eq!(waited(b"1500 2700 3\n"), Some(Duration::from_nanos(2700)));
        assert_eq!(waited(b""), None);
        assert_eq!(waited(b"1500"), None);
        assert_eq!(waited(b"1500 soon 3\n"), None);
        assert_eq!(waited(&[0xff; 64]), None);
    }

    #[test]
    fn two_threads_on_one_core_wait_for_each_other() {
        let core = core_affinity::get_core_ids().expect("Linux").swap_remove(0);
        let turns = || {
            core_affinity::set_for_current(core);
            let delay = RunDelay::of_this_thread();
            // What there is from its first wake on does not count.
            let begin = delay.total();
            // Each yields to the other until it has waited, which takes no given time.
            for _ in 0..10_000_000 {
                if delay.total() > begin {
                    return true;
                }
                std::hint::black_box((0..1000u64).sum::<u64>());
            }
            false
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(turns);
            assert!(turns() | other.join().expect("no panic"));
        });
    }
}
