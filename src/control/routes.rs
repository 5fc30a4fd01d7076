//! Which path is answered by what, on the public port and on the internal one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{any, get};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ask::Asks;
use super::body::Budget;
use super::channels::Channels;
use super::consult::Calls;
use super::crossing::Crossing;
use super::crowd::Guest;
use super::events::Mailbox;
use super::request_id::RequestIds;
use super::service::Service;
use super::settings::{HttpApi, Settings};
use super::streaming::{Introduced, StreamTerms, Streams};
use super::traffic::{Port, Traffic};
use super::{api, debug, exposition, health, page};
use crate::address::OtherEnd;

/// What the handlers of all requests know.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) asks: Asks,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) crossing: Crossing,
    pub(super) api: watch::Receiver<HttpApi>,
    pub(super) bodies: Budget,
    pub(super) repeats: api::Repeats,
    pub(super) revocations: api::Revocations,
    pub(super) pace: api::Pace,
    pub(super) traffic: Traffic,
    pub(super) identity: Arc<api::Identity>,
    pub(super) streams: Streams,
    pub(super) calls: Arc<Calls>,
    pub(super) mailbox: Mailbox,
    pub(super) websocket_path: Arc<str>,
    /// Connections that the shards take; 0: unknown.
    pub(super) connections_max: u64,
}

impl Context {
    /// What back ends may publish to at present.
    pub(super) fn channels(&self) -> Arc<Channels> {
        Arc::clone(&self.api.borrow().channels)
    }
}

/// The routes of both ports, and what counts and names their requests.
#[derive(Debug)]
pub(super) struct Routes {
    public: Router,
    internal: Router,
    ids: Arc<RequestIds>,
    traffic: Traffic,
    stop: watch::Receiver<bool>,
    head_timeout: Duration,
}

/// What paths are called in the metrics. A path that is not here is `other`: a label's values
/// are ours to choose, or a scan for holes would fill the memory of whoever collects them.
const LABELS: &[&str] = &[
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/debug",
    "/debug/memory",
    "/swagger",
    "/api/publish",
    "/api/broadcast",
    "/api/info",
    "/connection/http_stream",
    "/connection/sse",
    "/emulation",
    "/api/disconnect",
    "/api/subscribe",
    "/api/unsubscribe",
    "/api/refresh",
    "/api/revoke_token",
    "/api/invalidate_user_tokens",
    "/api/presence",
    "/api/presence_stats",
    "/api/history",
    "/api/history_remove",
    "/api/channels",
    "/api/rpc",
    "/api/batch",
    "/api",
    "/dev/counters",
    "/dev/app.js",
    "/dev/app.css",
    "/dev/centrifuge.js",
];

/// The label of a path.
pub(super) fn label(path: &str) -> &'static str {
    LABELS.iter().find(|label| **label == path).copied().unwrap_or("other")
}

impl Routes {
    /// Random `seeds` make the node's id and those of its requests.
    pub(super) fn new(
        settings: Settings,
        (api, terms): (watch::Receiver<HttpApi>, watch::Receiver<StreamTerms>),
        (asks, shards): (Asks, mpsc::Sender<Introduced>),
        (calls, mailbox): (Arc<Calls>, Mailbox),
        (repeats, traffic): (api::Repeats, Traffic),
        (stop, crossing): (watch::Receiver<bool>, Crossing),
        seeds: [u64; 2],
    ) -> Self {
        let identity = api::Identity {
            uid: format!("{:016x}", seeds[0]),
            name: settings.node_name,
            version: settings.version,
            since: Instant::now(),
        };
        let bodies = Budget::default();
        let websocket_path: Arc<str> = settings.websocket_path.into();
        let streams = Streams::new(
            settings.streaming,
            terms,
            Arc::clone(&websocket_path),
            (shards, crossing.clone()),
            (bodies.clone(), traffic.clone()),
        );
        let streaming = streams.routes();
        let context = Context {
            asks,
            stop: stop.clone(),
            crossing,
            api,
            bodies,
            repeats,
            revocations: api::Revocations::default(),
            pace: api::Pace::new(),
            traffic: traffic.clone(),
            identity: Arc::new(identity),
            streams,
            calls,
            mailbox,
            websocket_path,
            connections_max: settings.connections_max,
        };
        let health = Router::new()
            .route("/health", get(health::health))
            .route("/health/live", get(health::live))
            .route("/health/ready", get(health::ready));
        let page = if settings.dev { page::routes() } else { Router::new().route("/", get(plain)) };
        let public = health.clone().merge(page).merge(streaming);
        let public =
            public.route("/api/{method}", any(api::serve)).route("/api", any(api::serve_legacy));
        let internal = health
            .route("/metrics", get(exposition::scrape))
            .route("/debug", get(debug::debug))
            .route("/debug/memory", get(debug::memory))
            .route("/swagger", get(api::describe))
            .route("/", get("longwire, internal: /metrics /debug /health /swagger\n"));
        let finish = |routes: Router<Context>| routes.fallback(absent).with_state(context.clone());
        Self {
            public: finish(public),
            internal: finish(internal),
            ids: Arc::new(RequestIds::new(seeds[1])),
            traffic,
            stop,
            head_timeout: settings.head_timeout,
        }
    }

    /// What serves one connection to the public port.
    pub(super) fn public(&self, other_end: OtherEnd, guest: Guest) -> Service {
        self.service(&self.public, Port::Public, other_end, guest)
    }

    /// What serves one connection to the internal port.
    pub(super) fn internal(&self, other_end: OtherEnd, guest: Guest) -> Service {
        self.service(&self.internal, Port::Internal, other_end, guest)
    }

    fn service(&self, router: &Router, port: Port, other_end: OtherEnd, guest: Guest) -> Service {
        let (ids, traffic) = (Arc::clone(&self.ids), self.traffic.clone());
        let head_timeout = self.head_timeout;
        Service::new(router.clone(), ids, traffic, port, other_end, head_timeout, guest)
    }

    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}

async fn plain(State(context): State<Context>) -> String {
    format!("longwire is running. WebSocket clients connect to {}.\n", context.websocket_path)
}

async fn absent() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "nothing here\n")
}
