//! Calls of back ends, by the name of their proxy and the place of the endpoint in it. The URLs
//! are told to nobody: their queries may hold keys.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::metrics::Metrics;
use crate::backend::BreakerState;
use crate::control::consult::{Counts, EndpointState};

/// One number of an endpoint.
type Count = fn(&Counts) -> u64;

/// What is known of the endpoints that were called.
#[derive(Debug, Default)]
pub(super) struct BackEnds {
    pub(super) endpoints: Vec<EndpointState>,
    /// Events that wait for the one that is told of them.
    pub(super) events_waiting: u64,
}

impl BackEnds {
    fn samples(
        &self,
        value: impl Fn(&EndpointState) -> u64,
    ) -> impl Iterator<Item = ([(&str, String); 2], u64)> {
        self.endpoints.iter().map(move |one| {
            let labels = [("proxy", one.proxy.clone()), ("endpoint", one.place.to_string())];
            (labels, value(one))
        })
    }
}

impl Collector for BackEnds {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics::new(encoder);
        let about = "Events that wait for the back end that is told of them";
        metrics.gauge("events_waiting", about, None, self.events_waiting)?;
        if self.endpoints.is_empty() {
            return Ok(());
        }
        let about = ("proxy_breaker_state", "Breakers of endpoints: 0 closed, 1 half open, 2 open");
        let states = self.samples(|one| match one.breaker {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open { .. } => 2,
        });
        metrics.labelled(about, MetricType::Gauge, states)?;
        let about = ("proxy_calls_inflight", "Calls of back ends that are under way");
        metrics.labelled(about, MetricType::Gauge, self.samples(|one| one.open as u64))?;
        let families: [(&str, &str, Count); 6] = [
            ("proxy_calls", "Calls of back ends that were answered", |one| one.succeeded),
            ("proxy_errors", "Calls that came to nothing", |one| one.failed),
            ("proxy_cancelled", "Calls that nobody waited for any more", |one| one.cancelled),
            ("proxy_kept_away", "Calls that an open breaker kept away", |one| one.kept_away),
            ("proxy_crowded_out", "Calls that found no room in time", |one| one.crowded_out),
            ("proxy_breaker_opened", "Times that a breaker opened", |one| one.opened),
        ];
        for (name, help, count) in families {
            let samples = self.samples(|one| count(&one.counts));
            metrics.labelled((name, help), MetricType::Counter, samples)?;
        }
        Ok(())
    }
}
