//! What figures of a run mean together.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

/// From this share of its cores on a side counts as full.
const FULL: f64 = 0.95;

/// Which side kept a run from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// Every core of the host was taken, by both sides together.
    Host,
    /// The generator's threads had no more time: the server may be faster than this.
    Generator,
    /// Neither took all it could have: a schedule, the network or waiting set the pace.
    Neither,
}

impl Bottleneck {
    /// From the cores that each side took of those of the host, and the generator's threads.
    pub fn of(server: Option<f64>, generator: f64, threads: u32, host: u32) -> Self {
        if generator >= FULL * f64::from(threads.min(host)) {
            return Self::Generator;
        }
        let both = server.unwrap_or(0.0) + generator;
        if both >= FULL * f64::from(host) { Self::Host } else { Self::Neither }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host: both sides together took all of its cores",
            Self::Generator => "the generator: it took all the time that its threads have",
            Self::Neither => "neither side: there was time left on the cores",
        })
    }
}

/// Success by the load it was had under: P·e^(-αL), where P is the share that came to stand and L
/// the share of the host's cores that was taken meanwhile.
pub fn load_adjusted(success: f64, alpha: f64, load: f64) -> f64 {
    success * (-alpha * load).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_without_time_is_named() {
        let of = Bottleneck::of;
        assert_eq!(of(Some(0.3), 0.97, 1, 2), Bottleneck::Generator);
        assert_eq!(of(Some(1.2), 0.75, 4, 2), Bottleneck::Host);
        assert_eq!(of(Some(1.2), 1.95, 4, 2), Bottleneck::Generator);
        assert_eq!(of(Some(0.5), 0.5, 1, 2), Bottleneck::Neither);
        assert_eq!(of(None, 0.5, 1, 2), Bottleneck::Neither);
    }

    #[test]
    fn a_quiet_host_adjusts_nothing_and_a_busy_one_by_e() {
        assert!((load_adjusted(0.9, 1.0, 0.0) - 0.9).abs() < 1e-12);
        assert!((load_adjusted(1.0, 1.0, 1.0) - 0.367_879).abs() < 1e-6);
        assert!((load_adjusted(1.0, 0.0, 1.0) - 1.0).abs() < 1e-12);
    }
}
