//! Whether this process lives, and whether it should be sent clients.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::routes::Context;

/// The answer of Centrifugo: the process answers.
pub(super) async fn health() -> Response {
    json(StatusCode::OK, "{}".to_owned())
}

/// Whether the process should be left alone. One that cannot say so should not be.
pub(super) async fn live() -> Response {
    json(StatusCode::OK, r#"{"live":true}"#.to_owned())
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<&'static str>,
}

/// Whether clients should be sent here, and if not, why.
pub(super) async fn ready(State(context): State<Context>) -> Response {
    let mut reasons = Vec::new();
    if *context.stop.borrow() {
        reasons.push("the server is stopping");
    }
    if context.crossing.is_still() {
        // The shards are not asked: they are busy with it.
        reasons.push("handing over");
    } else {
        reasons.extend(fault_of_the_shards(&context).await);
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&Readiness { ready, reasons });
    json(status, body.expect("plain data"))
}

async fn fault_of_the_shards(context: &Context) -> Option<&'static str> {
    let Some(snapshot) = context.asks.snapshot().await else {
        return Some("a shard does not answer");
    };
    let most = context.connections_max;
    let is_full = most > 0 && snapshot.connections() >= most;
    is_full.then_some("every connection is taken")
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
