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
    match context.asks.snapshot().await {
        None => reasons.push("a shard does not answer"),
        Some(snapshot) => {
            if snapshot.is_handing_over {
                reasons.push("handing over");
            }
            let most = context.connections_max;
            if most > 0 && snapshot.connections() >= most {
                reasons.push("every connection is taken");
            }
        }
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&Readiness { ready, reasons });
    json(status, body.expect("plain data"))
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
