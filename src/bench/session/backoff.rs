//! When a session that was dropped comes back: as centrifuge-js does (9).
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::bench::payload::split_mix;

const MIN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(20);

/// The pause before attempt `tries + 1`: half a second, and a part that chance takes from what
/// doubles with each attempt. The same seed gives the same pause.
pub(super) fn delay(tries: u32, seed: u64) -> Duration {
    let most = MIN.saturating_mul(1 << tries.min(10)).min(MAX);
    let most_us = u64::try_from(most.as_micros()).expect("20 seconds");
    MIN + Duration::from_micros(split_mix(seed) % (most_us + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_differ() {
        for (tries, most_ms) in [(0, 500), (1, 1000), (5, 16_000), (6, 20_000), (200, 20_000)] {
            let pauses: Vec<u128> = (0..1000).map(|seed| delay(tries, seed).as_millis()).collect();
            let least = pauses.iter().min().copied().unwrap_or_default();
            let most = pauses.iter().max().copied().unwrap_or_default();
            assert!(least >= 500 && most <= 500 + most_ms, "{tries}: {least}..{most}");
            // They fill the range: of a thousand, some lie in its first and some in its last tenth.
            assert!(least < 500 + most_ms / 10 && most > 500 + most_ms - most_ms / 10);
        }
    }
}
