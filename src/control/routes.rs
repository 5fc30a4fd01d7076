//! Which path is answered by what, on the public port and on the internal one.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::ask::Asks;

/// What the handlers of all requests know.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) asks: Asks,
    pub(super) stop: watch::Receiver<bool>,
}

/// The routes of both ports.
#[derive(Debug)]
pub(super) struct Routes {
    public: Router,
    stop: watch::Receiver<bool>,
}

impl Routes {
    pub(super) fn new(dev: bool, asks: Asks, stop: watch::Receiver<bool>) -> Self {
        let context = Context { asks, stop: stop.clone() };
        let mut public =
            Router::new().route("/health", get(health)).route("/health/ready", get(ready));
        if !dev {
            public = public.route("/", get("longwire is running.\n"));
        }
        let public = public.with_state(context);
        Self { public, stop }
    }

    pub(super) fn public(&self) -> Router {
        self.public.clone()
    }

    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}

async fn health() -> Response {
    json(StatusCode::OK, "{}".to_owned())
}

async fn ready(State(context): State<Context>) -> Response {
    let mut reasons = Vec::new();
    if *context.stop.borrow() {
        reasons.push("the server is stopping");
    }
    if context.asks.snapshot().await.is_none() {
        reasons.push("a shard does not answer");
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    json(status, body.to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
