//! How long to rest before a batch is posted again.

use std::time::Duration;

use crate::limits::{EVENTS_RETRY_MAX, EVENTS_RETRY_MIN};

/// The failures behind each other.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: the rest behind it, from half of twice the last one to the whole.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let whole =
            EVENTS_RETRY_MIN.saturating_mul(1 << self.failures.min(16)).min(EVENTS_RETRY_MAX);
        self.failures += 1;
        let part = u32::try_from(random % 1024).expect("it is below 1024");
        whole / 2 + whole / 2 * part / 1024
    }

    /// The next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rest_is_twice_as_long_up_to_a_bound_and_never_the_same_for_all() {
        let mut backoff = Backoff::default();
        let mut whole = EVENTS_RETRY_MIN;
        for failure in 0..100 {
            let random = failure * 31;
            let rest = backoff.next(random);
            assert!(whole / 2 <= rest && rest < whole, "{failure}: {rest:?} of {whole:?}");
            whole = (whole * 2).min(EVENTS_RETRY_MAX);
        }
        assert_ne!(backoff.next(0), backoff.next(1000));
        backoff.reset();
        assert!(backoff.next(1023) < EVENTS_RETRY_MIN);
    }
}
