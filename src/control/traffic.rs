//! What the control thread counts about itself: connections, requests, commands of the API.
//!
//! Invariant: a label's values are named in this crate, so no client can make a new one.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The two doors of the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// Where clients and back ends come in.
    Public,
    /// Where the operator looks.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    protocol: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandErrorLabels {
    protocol: &'static str,
    method: &'static str,
    error: u16,
}

/// From a publish that finds everything ready to what [`ASK_TIMEOUT`](crate::limits) allows.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5];

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

type HistogramOf<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counters that live as long as the site. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    connections: Family<PortLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: HistogramOf<RouteLabel>,
    refusals: Family<StatusLabel, Counter>,
    evictions: Counter,
    repeats: Counter,
    keys_forgotten: Counter,
    revocations: Gauge,
    revocations_refused: Counter,
    streams: Family<TransportLabel, Gauge>,
    streams_opened: Family<TransportLabel, Counter>,
    said_to_nobody: Counter,
    command_seconds: HistogramOf<CommandLabels>,
    command_errors: Family<CommandErrorLabels, Counter>,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            connections: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            evictions: Counter::default(),
            repeats: Counter::default(),
            keys_forgotten: Counter::default(),
            revocations: Gauge::default(),
            revocations_refused: Counter::default(),
            streams: Family::default(),
            streams_opened: Family::default(),
            said_to_nobody: Counter::default(),
            command_seconds: Family::new_with_constructor(histogram),
            command_errors: Family::default(),
        }
    }

    /// The registry that shows these counters.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("longwire");
        registry.register(
            "http_connections",
            "HTTP connections that the control thread serves",
            self.connections.clone(),
        );
        registry.register("http_requests", "HTTP requests answered", self.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a whole head to the answer's head",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register(
            "http_refusals",
            "HTTP connections ended over a head that is malformed, ambiguous, late or too long",
            self.refusals.clone(),
        );
        registry.register(
            "http_evictions",
            "HTTP connections ended between requests, because their seats were needed",
            self.evictions.clone(),
        );
        registry.register(
            "http_streams",
            "Clients over HTTP that have a stream",
            self.streams.clone(),
        );
        registry.register("http_streams_opened", "Streams begun", self.streams_opened.clone());
        registry.register(
            "emulation_unknown_sessions",
            "Requests beside a stream that had ended",
            self.said_to_nobody.clone(),
        );
        registry.register(
            "api_publications_repeated",
            "Publications of back ends that were not made again, because their key was known",
            self.repeats.clone(),
        );
        registry.register(
            "api_idempotency_keys_forgotten",
            "Keys of publications that were forgotten before their time, for want of room",
            self.keys_forgotten.clone(),
        );
        registry.register(
            "api_revocations",
            "Tokens, and users' tokens, that are revoked",
            self.revocations.clone(),
        );
        registry.register(
            "api_revocations_refused",
            "Revocations that were refused, because there are as many as may be",
            self.revocations_refused.clone(),
        );
        registry.register_with_unit(
            "api_command_duration",
            "Time that commands of the server API took",
            Unit::Seconds,
            self.command_seconds.clone(),
        );
        registry.register(
            "api_command_errors",
            "Commands of the server API that were answered with an error",
            self.command_errors.clone(),
        );
        registry
    }

    /// Counts one connection for as long as what is returned lives.
    pub(super) fn connection(&self, port: Port) -> OpenConnection {
        let port = match port {
            Port::Public => "public",
            Port::Internal => "internal",
        };
        let gauge = self.connections.get_or_create_owned(&PortLabel { port });
        gauge.inc();
        OpenConnection(gauge)
    }

    /// One request was answered.
    pub(super) fn answered(&self, route: &'static str, status: StatusCode, took: Duration) {
        let labels = RequestLabels { route, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    /// A connection was ended over its head.
    pub(super) fn refused(&self, status: u16) {
        self.refusals.get_or_create(&StatusLabel { status }).inc();
    }

    /// A connection was ended for another.
    pub(super) fn evicted(&self) {
        self.evictions.inc();
    }

    /// Counts one stream for as long as what is returned lives.
    pub(super) fn stream(&self, transport: &'static str) -> OpenStream {
        let label = TransportLabel { transport };
        self.streams_opened.get_or_create(&label).inc();
        let gauge = self.streams.get_or_create_owned(&label);
        gauge.inc();
        OpenStream(gauge)
    }

    /// A client has said something beside a stream that had ended.
    pub(super) fn said_to_nobody(&self) {
        self.said_to_nobody.inc();
    }

    /// A publication was not made again.
    pub(super) fn repeated(&self) {
        self.repeats.inc();
    }

    /// A key of one was forgotten for want of room.
    pub(super) fn key_forgotten(&self) {
        self.keys_forgotten.inc();
    }

    /// So many revocations hold.
    pub(super) fn revoked(&self, count: usize) {
        self.revocations.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// One was refused for want of room.
    pub(super) fn revocation_refused(&self) {
        self.revocations_refused.inc();
    }

    /// A command of the API was carried out, or not.
    pub(super) fn command(&self, method: &'static str, error: Option<u16>, took: Duration) {
        let labels = CommandLabels { protocol: "http", method };
        self.command_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(error) = error {
            let labels = CommandErrorLabels { protocol: "http", method, error };
            self.command_errors.get_or_create(&labels).inc();
        }
    }
}

/// One connection in the gauge.
#[derive(Debug)]
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One stream in the gauge.
#[derive(Debug)]
pub(super) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
