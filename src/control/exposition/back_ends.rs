//! Calls of back ends, by endpoint.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::metrics::Metrics;
use crate::backend::BreakerState;
use crate::control::consult::Counts;

/// One number of an endpoint.
type Count = fn(&Counts) -> u64;

/// What is known of the endpoints that were called.
#[derive(Debug)]
pub(super) struct BackEnds(pub(super) Vec<(String, BreakerState, Counts)>);

impl Collector for BackEnds {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut metrics = Metrics::new(encoder);
        let states: Vec<_> = self
            .0
            .iter()
            .map(|(url, state, _)| {
                let number = match state {
                    BreakerState::Closed => 0,
                    BreakerState::HalfOpen => 1,
                    BreakerState::Open { .. } => 2,
                };
                (url.as_str(), number)
            })
            .collect();
        let about = "Breakers of endpoints: 0 closed, 1 half open, 2 open";
        metrics.gauges("proxy_breaker_state", about, "endpoint", &states)?;
        let families: [(&str, &str, Count); 5] = [
            ("proxy_calls", "Calls of back ends that were answered", |one| one.succeeded),
            ("proxy_errors", "Calls that came to nothing", |one| one.failed),
            ("proxy_cancelled", "Calls that nobody waited for any more", |one| one.cancelled),
            ("proxy_kept_away", "Calls that an open breaker kept away", |one| one.kept_away),
            ("proxy_breaker_opened", "Times that a breaker opened", |one| one.opened),
        ];
        for (name, help, count) in families {
            let all = self.0.iter().map(|(url, _, counts)| (url.as_str(), count(counts)));
            metrics.counters(name, help, "endpoint", &all.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
