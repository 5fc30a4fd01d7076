//! A name for each request, by which a line of the log and an answer are found to be the same.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::REQUEST_ID_BYTES_MAX;

/// The header that brings a request's id, and takes it back.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that differ from one another and, by their seed, from those of other processes. They
/// name and protect nothing: from one of them the others can be worked out.
#[derive(Debug)]
pub(super) struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }

    /// The client's own id if it can stand in a log, else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        headers.get(X_REQUEST_ID).filter(|id| is_plain(id.as_bytes())).cloned().unwrap_or_else(
            || {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let mut id = String::with_capacity(32);
                for half in [number, !number] {
                    let _infallible = write!(id, "{:016x}", mix(self.seed ^ half));
                }
                HeaderValue::try_from(id).expect("hexadecimal digits")
            },
        )
    }
}

fn is_plain(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// The finaliser of `SplitMix64`: neighbouring numbers become unlike ones.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn given(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(id).unwrap())])
    }

    #[test]
    fn a_plain_id_is_taken_over_and_any_other_replaced() {
        let ids = RequestIds::new(1);
        let longest = "a".repeat(REQUEST_ID_BYTES_MAX);
        for plain in ["7", "0af7651916cd43dd-8448eb211c80319c", &longest] {
            assert_eq!(ids.of(&given(plain)), plain);
        }
        for odd in ["", "a b", "a\tb", &"a".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            assert_eq!(ids.of(&given(odd)).len(), 32, "{odd:?}");
        }
    }

    #[test]
    fn made_ids_do_not_repeat() {
        let ids = RequestIds::new(1);
        let made: HashSet<_> = (0..10_000).map(|_| ids.of(&HeaderMap::new())).collect();
        assert_eq!(made.len(), 10_000);
    }
}
