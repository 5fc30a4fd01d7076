//! `/metrics`: what the shards and the control thread have counted, as Prometheus reads it.
//!
//! Every counter of a shard stands here under its own name, so that none can be forgotten; beside
//! them stand names of Centrifugo's for the same facts.

mod back_ends;
mod centrifugo;
mod metrics;

use std::fmt;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use self::back_ends::BackEnds;
use super::debug::resident_bytes;
use super::routes::Context;
use crate::metrics::Snapshot;
use metrics::Metrics;

/// The text that a scraper asks for.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a scrape.
pub(super) async fn scrape(State(context): State<Context>) -> Response {
    let Some(snapshot) = context.asks.snapshot().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response();
    };
    let shards = Shards {
        snapshot,
        version: context.identity.version.clone(),
        connections_max: context.connections_max,
    };
    let waiting = context.mailbox.counts().waiting;
    let back_ends = BackEnds { endpoints: context.calls.states(), events_waiting: waiting };
    let text = exposition(shards, back_ends, context.traffic.registry())
        .expect("a String takes everything");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn exposition(
    shards: Shards,
    back_ends: BackEnds,
    traffic: Registry,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let mut longwire = Registry::with_prefix("longwire");
    longwire.register_collector(Box::new(shards));
    longwire.register_collector(Box::new(back_ends));
    let mut process = Registry::with_prefix("process");
    process.register_collector(Box::new(Process));
    for registry in [longwire, traffic, process] {
        encode_registry(&mut text, &registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// What the kernel says of this process, under the names that all exporters use.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics::new(encoder);
        metrics.gauge("resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes())
    }
}

/// Which users are counted.
const USERS_HELP: &str =
    "Users with a name whose connections are counted, for client.user_connection_limit is set";

/// What a mailbox is.
const MAILBOXES_HELP: &str = "Users × channels for whom publications are kept until acknowledged";

/// What the shards have counted.
#[derive(Debug)]
struct Shards {
    snapshot: Snapshot,
    version: String,
    connections_max: u64,
}

impl Collector for Shards {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics::new(encoder);
        self.held(&mut metrics)?;
        self.counted(&mut metrics)?;
        let version = [(self.version.as_str(), 1)];
        metrics.gauges("node_build", "Version", "version", &version)?;
        centrifugo::encode(&mut metrics, &self.snapshot, self.connections_max)
    }
}

impl Shards {
    /// What is held now.
    fn held(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        metrics.gauges(
            "shard_connections",
            "Connections in any phase, by shard",
            "shard",
            &snapshot.shard_connections.iter().copied().enumerate().collect::<Vec<_>>(),
        )?;
        let classes = snapshot.memory.iter().map(|(class, bytes)| {
            let labels = [("class", class.name().to_owned())];
            (labels, bytes)
        });
        let about =
            ("memory_bytes", "Memory by what it is for, in bytes; the kernel's by its name");
        metrics.labelled(about, MetricType::Gauge, classes)?;
        for (name, help, unit, value) in [
            ("connections_open", "Open WebSocket connections", None, snapshot.open),
            ("channels", "Channels with members", None, snapshot.channels),
            ("subscriptions", "Memberships in channels", None, snapshot.subscriptions),
            ("users", USERS_HELP, None, snapshot.users),
            ("streams", "Channels whose publications have offsets", None, snapshot.streams),
            ("stream", "Kept publications", Some(&Unit::Bytes), snapshot.stream_bytes),
            ("present", "Clients present in channels", None, snapshot.present),
            ("mailboxes", MAILBOXES_HELP, None, snapshot.mailboxes),
            ("mailbox", MAILBOXES_HELP, Some(&Unit::Bytes), snapshot.mailbox_bytes),
            ("backlog", "Unsent output", Some(&Unit::Bytes), snapshot.backlog_bytes),
            ("partial", "Unfinished input", Some(&Unit::Bytes), snapshot.partial_bytes),
            ("timers", "Connections that wait for a deadline", None, snapshot.timers),
            ("ready", "Connections that wait for their turn", None, snapshot.ready),
        ] {
            metrics.gauge(name, help, unit, value)?;
        }
        Ok(())
    }

    /// What has happened since the start: every counter of a shard, in base units.
    fn counted(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        for (name, help, value) in self.snapshot.counters.described() {
            if let Some(name) = name.strip_suffix("_us") {
                metrics.seconds(name, help, value)?;
            } else if let Some(name) = name.strip_suffix("_bytes") {
                metrics.counter(name, help, Some(&Unit::Bytes), value)?;
            } else {
                metrics.counter(name, help, None, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::traffic::Traffic;
    use super::*;

    /// Streams of clients and streams of channels had one name once, and no scraper took it.
    #[test]
    fn no_two_families_have_one_name() {
        let traffic = Traffic::new();
        let _open = traffic.stream("sse");
        let (snapshot, version) = (Snapshot::default(), String::new());
        let shards = Shards { snapshot, version, connections_max: 0 };
        let text = exposition(shards, BackEnds::default(), traffic.registry()).unwrap();
        let mut names = BTreeSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(names.insert(name), "{name} twice");
        }
        assert!(names.contains("longwire_http_streams") && names.contains("longwire_streams"));
    }
}
