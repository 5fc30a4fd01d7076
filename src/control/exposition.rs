//! `/metrics`: what the shards and the control thread have counted, as Prometheus reads it.
//!
//! Every counter of a shard stands here under its own name, so that none can be forgotten; beside
//! them stand the names by which dashboards of Centrifugo look for the same facts.

use std::fmt;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::debug::resident_bytes;
use super::routes::Context;
use crate::metrics::Snapshot;

/// The text that a scraper asks for.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a scrape.
pub(super) async fn metrics(State(context): State<Context>) -> Response {
    let Some(snapshot) = context.asks.snapshot().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response();
    };
    let shards = Shards {
        snapshot,
        version: context.identity.version.clone(),
        connections_max: context.connections_max,
    };
    let text = exposition(shards, context.traffic.registry()).expect("a String takes everything");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn exposition(shards: Shards, traffic: Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let mut longwire = Registry::with_prefix("longwire");
    longwire.register_collector(Box::new(shards));
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
        let mut metrics = Metrics(encoder);
        metrics.gauge("resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes())
    }
}

/// What the shards have counted.
#[derive(Debug)]
struct Shards {
    snapshot: Snapshot,
    version: String,
    connections_max: u64,
}

impl Collector for Shards {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics(encoder);
        self.held(&mut metrics)?;
        self.counted(&mut metrics)?;
        self.as_centrifugo(&mut metrics)
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
            snapshot.shard_connections.iter().enumerate(),
        )?;
        for (name, help, unit, value) in [
            ("connections_open", "Open WebSocket connections", None, snapshot.open),
            ("channels", "Channels with members, by shard and summed", None, snapshot.channels),
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

    /// The same facts where dashboards of Centrifugo look for them.
    fn as_centrifugo(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let (snapshot, counters) = (&self.snapshot, &self.snapshot.counters);
        for (name, help, value) in [
            ("node_num_clients", "Clients connected to this node", snapshot.open),
            ("node_num_channels", "Channels on this node", snapshot.channels),
            ("node_num_nodes", "Nodes of this system", 1),
            (
                "node_client_connection_limit",
                "Connections that this node takes",
                self.connections_max,
            ),
        ] {
            metrics.gauge(name, help, None, value)?;
        }
        metrics.gauges("node_build", "Version", "version", [(self.version.as_str(), &1)])?;
        let websocket = |value| [("websocket", value)];
        metrics.counters(
            "client_connections_accepted",
            "Client connections opened",
            "transport",
            &websocket(counters.opened),
        )?;
        metrics.gauges(
            "client_connections_inflight",
            "Client connections open",
            "transport",
            [("websocket", &snapshot.open)],
        )?;
        metrics.counters(
            "transport_messages_received",
            "Messages from clients",
            "transport",
            &websocket(counters.messages_received),
        )?;
        metrics.counters(
            "transport_messages_sent",
            "Messages to clients, publications included",
            "transport",
            &websocket(counters.messages_sent + counters.deliveries),
        )?;
        metrics.counters(
            "node_messages_received_count",
            "Publications from clients and back ends",
            "type",
            &[("publication", counters.published)],
        )?;
        metrics.counters(
            "node_messages_sent_count",
            "Publications to members of channels",
            "type",
            &[("publication", counters.deliveries)],
        )
    }
}

/// Writes metrics of one value, or of one label.
struct Metrics<'a>(DescriptorEncoder<'a>);

impl Metrics<'_> {
    fn begin<'e>(
        &'e mut self,
        name: &'e str,
        help: &'e str,
        unit: Option<&'e Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'e>, fmt::Error> {
        // The encoder ends the sentence.
        let help = help.trim().trim_end_matches('.');
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let encoder = self.begin(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn seconds(&mut self, name: &str, help: &str, microseconds: u64) -> fmt::Result {
        let encoder = self.begin(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        let seconds = std::time::Duration::from_micros(microseconds).as_secs_f64();
        ConstCounter::new(seconds).encode(encoder)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Counter)?;
        for (value_of_label, value) in values {
            let labels = [(label, *value_of_label)];
            ConstCounter::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let encoder = self.begin(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn gauges<'v, L: ToString>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, &'v u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Gauge)?;
        for (value_of_label, value) in values {
            let labels = [(label, value_of_label.to_string())];
            ConstGauge::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
