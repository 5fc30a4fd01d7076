//! What figures of a run mean together.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

/// From this share of its cores on a side counts as full.
const FULL: f64 = 0.95;

/// Cores that were taken while measuring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// By the server; 0 where it is not known.
    pub server: f64,
    /// By that of its threads that took most.
    pub busiest: f64,
    /// By the generator.
    pub generator: f64,
    /// Its threads.
    pub threads: u32,
}

/// Which side kept a run from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// One thread of the server had no more time, whatever the others had left.
    Server,
    /// Every core of the host was taken, by both sides together.
    Host,
    /// The generator's threads had no more time: the server may be faster than this.
    Generator,
    /// Neither took all it could have: a schedule, the network or waiting set the pace.
    Neither,
}

impl Bottleneck {
    /// From what each side took of the host's cores.
    pub fn of(taken: Taken, host: u32) -> Self {
        let Taken { server, busiest, generator, threads } = taken;
        if generator >= FULL * f64::from(threads.min(host)) {
            return Self::Generator;
        }
        if busiest >= FULL {
            return Self::Server;
        }
        if server + generator >= FULL * f64::from(host) { Self::Host } else { Self::Neither }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "the server: one of its threads took all the time that a core has",
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
        let of = |server, busiest, generator, threads| {
            Bottleneck::of(Taken { server, busiest, generator, threads }, 2)
        };
        assert_eq!(of(0.3, 0.2, 0.97, 1), Bottleneck::Generator);
        assert_eq!(of(1.2, 0.6, 0.75, 4), Bottleneck::Host);
        assert_eq!(of(1.2, 0.6, 1.95, 4), Bottleneck::Generator);
        assert_eq!(of(0.5, 0.5, 0.5, 1), Bottleneck::Neither);
        assert_eq!(of(0.0, 0.0, 0.5, 1), Bottleneck::Neither);
        // Its one thread is full, and there are cores left for others that it has not.
        assert_eq!(of(0.98, 0.97, 0.3, 1), Bottleneck::Server);
        assert_eq!(of(0.98, 0.97, 0.3, 4), Bottleneck::Server);
    }

    #[test]
    fn a_quiet_host_adjusts_nothing_and_a_busy_one_by_e() {
        assert!((load_adjusted(0.9, 1.0, 0.0) - 0.9).abs() < 1e-12);
        assert!((load_adjusted(1.0, 1.0, 1.0) - 0.367_879).abs() < 1e-6);
        assert!((load_adjusted(1.0, 0.0, 1.0) - 1.0).abs() < 1e-12);
    }
}
