//! The page of `--dev`: a chat between browser tabs, and what the shards are doing meanwhile.
//!
//! Everything on it is in the binary, so it works without a network; its policy allows nothing
//! from elsewhere, and no script in the page itself.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::health::json;
use super::routes::Context;

/// Own scripts and styles, and connections to where the page came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The page and what it consists of.
pub(super) fn routes() -> Router<Context> {
    let asset = |kind, bytes: &'static [u8]| get(move || async move { asset(kind, bytes) });
    Router::new()
        .route("/", asset(HTML, include_bytes!("assets/index.html")))
        .route("/dev/app.css", asset(STYLE, include_bytes!("assets/app.css")))
        .route("/dev/app.js", asset(SCRIPT, include_bytes!("assets/app.js")))
        .route("/dev/centrifuge.js", asset(SCRIPT, include_bytes!("assets/centrifuge.js")))
        .route("/dev/centrifuge.LICENSE", asset(TEXT, include_bytes!("assets/centrifuge.LICENSE")))
        .route("/dev/settings.js", get(settings))
        .route("/dev/counters", get(counters))
}

/// What the page's script has to know of the server.
async fn settings(State(context): State<Context>) -> Response {
    let path = serde_json::to_string(&*context.websocket_path).expect("text");
    asset(SCRIPT, format!("\"use strict\";\n\nconst WEBSOCKET_PATH = {path};\n"))
}

fn asset(kind: &'static str, bytes: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the binary has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, bytes).into_response()
}

/// What the page draws. Totals: the page makes rates of them.
#[derive(Serialize)]
struct Counters {
    version: String,
    shards: Vec<u64>,
    open: u64,
    received: u64,
    published: u64,
    sent: u64,
    resident_bytes: u64,
}

async fn counters(State(context): State<Context>) -> Response {
    let Some(snapshot) = context.asks.snapshot().await else {
        let reason = r#"{"error":"a shard does not answer"}"#;
        return json(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    };
    let counted = &snapshot.counters;
    let counters = Counters {
        version: context.identity.version.clone(),
        shards: snapshot.shard_connections.clone(),
        open: snapshot.open,
        received: counted.messages_received,
        published: counted.published,
        sent: counted.messages_sent + counted.deliveries,
        resident_bytes: super::debug::resident_bytes(),
    };
    let mut response = json(StatusCode::OK, serde_json::to_string(&counters).expect("plain data"));
    let fresh = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    response
}
