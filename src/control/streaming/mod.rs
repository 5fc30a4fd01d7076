//! Clients that cannot have a WebSocket: a stream down, and requests beside it up (23).
//!
//! ```text
//!   POST /connection/http_stream ─┐               ╭─ Link ═ WebSocket ═▶ shard
//!   GET  /connection/sse         ─┴▶ first frame ─┤
//!                    stream ◀── Stream ◀──────────╯◀─╮
//!   POST /emulation ─▶ session, frame ─▶ Sessions ───╯
//! ```
//!
//! A session lives on a shard as all others do, over a WebSocket that this thread speaks in the
//! client's place. So its limits, pings, codes and counters are those of every session, and what
//! is here only translates.
//!
//! Invariants: a stream has a place of its own, counted apart from requests; nothing between a
//! client and its shard grows beyond one read and a few frames; a session ends with its stream.

mod cors;
mod form;
mod frames;
mod introduced;
mod link;
mod query;
mod sessions;
mod settings;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::body::{self, BodyError, Budget};
use super::crossing::Crossing;
use super::routes::Context;
use super::service::Caller;
use super::traffic::Traffic;
use crate::limits::{EMULATION_ENVELOPE_BYTES_MAX, STREAM_PATIENCE};
use crate::protocol::{EmulationRequest, Format};
use form::Form;
use link::{Client, Link};
use sessions::Sessions;
use stream::Stream;

pub use introduced::Introduced;
pub use settings::{Endpoint, Pages, StreamTerms, Streaming};

/// The parameter of an event stream's query in which the first frame stands.
const FIRST_FRAME: &str = "cf_connect";

/// The media type of Protobuf.
const PROTOBUF: &str = "application/octet-stream";

/// What streams consist of.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    settings: Streaming,
    terms: watch::Receiver<StreamTerms>,
    websocket_path: Arc<str>,
    sessions: Sessions,
    shards: mpsc::Sender<Introduced>,
    crossing: Crossing,
    bodies: Budget,
    traffic: Traffic,
}

impl Streams {
    pub(super) fn new(
        settings: Streaming,
        terms: watch::Receiver<StreamTerms>,
        websocket_path: Arc<str>,
        (shards, crossing): (mpsc::Sender<Introduced>, Crossing),
        (bodies, traffic): (Budget, Traffic),
    ) -> Self {
        let sessions = Sessions::new(settings.streams_max);
        let parts =
            Parts { settings, terms, websocket_path, sessions, shards, crossing, bodies, traffic };
        Self(Arc::new(parts))
    }

    /// The paths that are served.
    pub(super) fn routes(&self) -> Router<Context> {
        let Streaming { http_stream, sse, emulation_path, .. } = &self.0.settings;
        let mut routes = Router::new();
        if let Some(endpoint) = http_stream {
            routes = routes.route(&endpoint.path, any(serve_http_stream));
        }
        if let Some(endpoint) = sse {
            routes = routes.route(&endpoint.path, any(serve_sse));
        }
        if http_stream.is_some() || sse.is_some() {
            routes = routes.route(emulation_path, any(serve_emulation));
        }
        routes
    }
}

async fn serve_http_stream(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    let streams = &*context.streams.0;
    let bytes_max = streams.settings.http_stream.as_ref().map_or(0, |one| one.body_bytes_max);
    streams
        .answer(request, &[Method::POST], async |headers, _, _, body| {
            let form = if is_protobuf(headers) { Form::Lengths } else { Form::Lines };
            let frame = body::receive_short(body, &streams.bodies, bytes_max).await?;
            streams.open(form, headers, frame.bytes(), &caller).await
        })
        .await
}

async fn serve_sse(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    let streams = &*context.streams.0;
    let bytes_max = streams.settings.sse.as_ref().map_or(0, |one| one.body_bytes_max);
    let methods = [Method::GET, Method::POST];
    streams
        .answer(request, &methods, async |headers, method, query, body| {
            if method == Method::GET {
                let frame = query::value(query, FIRST_FRAME).filter(|frame| !frame.is_empty());
                let frame = frame.ok_or(Refusal::Malformed)?;
                return streams.open(Form::Events, headers, &frame, &caller).await;
            }
            let frame = body::receive_short(body, &streams.bodies, bytes_max).await?;
            streams.open(Form::Events, headers, frame.bytes(), &caller).await
        })
        .await
}

async fn serve_emulation(State(context): State<Context>, request: Request<Body>) -> Response {
    let streams = &*context.streams.0;
    streams
        .answer(request, &[Method::POST], async |headers, _, _, body| {
            let format = if is_protobuf(headers) { Format::Protobuf } else { Format::Json };
            streams.say(format, body).await
        })
        .await
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|text| text.split(';').next());
    media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case(PROTOBUF))
}

impl Parts {
    /// Answers a request of one of these methods, if the page that it is from may have an answer.
    async fn answer(
        &self,
        request: Request<Body>,
        methods: &[Method],
        serve: impl AsyncFnOnce(&HeaderMap, Method, &str, Body) -> Result<Response, Refusal>,
    ) -> Response {
        let pages = self.terms.borrow().pages.clone();
        let (head, body) = request.into_parts();
        if head.method == Method::OPTIONS {
            return cors::preflight(&pages, &head.headers);
        }
        if !methods.contains(&head.method) {
            return Refusal::Method(methods.contains(&Method::GET)).into_response();
        }
        if !cors::admit(&pages, &head.headers) {
            return Refusal::Page.into_response();
        }
        let query = head.uri.query().unwrap_or_default();
        let served = serve(&head.headers, head.method, query, body).await;
        let mut response = served.unwrap_or_else(IntoResponse::into_response);
        cors::allow(&head.headers, &mut response);
        response
    }

    /// Opens a session with its first frame; the answer is its stream.
    async fn open(
        &self,
        form: Form,
        headers: &HeaderMap,
        frame: &[u8],
        caller: &Caller,
    ) -> Result<Response, Refusal> {
        if frame.len() > self.message_bytes_max() {
            return Err(Refusal::TooLong);
        }
        let place = self.sessions.place().ok_or(Refusal::Full)?;
        let client = Client {
            introduction: caller.introduction(form.transport()),
            headers,
            format: form.format(),
            path: &self.websocket_path,
            frame,
        };
        let opening = Link::open(&self.shards, client);
        let opened = timeout(STREAM_PATIENCE, opening).await.map_err(|_| Refusal::Full)?;
        let mut link = opened.map_err(Refusal::Shard)?;
        let known = self.sessions.enter(std::mem::take(&mut link.session), place);
        let counted = self.traffic.stream(form.transport().name());
        let known = (known, self.crossing.clone());
        let stream = Stream::new(link, form, known, (caller.guest.stream(), counted));
        Ok((stream_headers(form), Body::new(stream)).into_response())
    }

    fn message_bytes_max(&self) -> usize {
        self.terms.borrow().message_bytes_max
    }

    /// Takes what a client says beside its stream.
    async fn say(&self, format: Format, body: Body) -> Result<Response, Refusal> {
        let message_bytes_max = self.message_bytes_max();
        let bytes_max = 2 * message_bytes_max + EMULATION_ENVELOPE_BYTES_MAX;
        let body = body::receive_short(body, &self.bodies, bytes_max).await?;
        let request = EmulationRequest::decode(format, body.bytes());
        let request = request.map_err(|_| Refusal::Malformed)?;
        if *request.node != *self.settings.node {
            return Err(Refusal::Node);
        }
        if request.frame.len() > message_bytes_max {
            return Err(Refusal::TooLong);
        }
        // Its stream has ended, or is about to: that is what the client will hear.
        let taken = StatusCode::NO_CONTENT.into_response();
        let Some(frames) = self.sessions.find(&request.session) else {
            self.traffic.said_to_nobody();
            return Ok(taken);
        };
        let frame = request.frame.into_owned();
        match frames.send_timeout(frame, STREAM_PATIENCE).await {
            Ok(()) => Ok(taken),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Refusal::Full),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                self.traffic.said_to_nobody();
                Ok(taken)
            }
        }
    }
}

fn stream_headers(form: Form) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, form.content_type()),
        // Nor may a proxy keep it, or gather it to compress it.
        (header::CACHE_CONTROL, "private, no-cache, no-store, no-transform, max-age=0"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // It has given its seat among the requests back.
        (header::CONNECTION, "close"),
    ]
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// Another method; whether GET is one.
    Method(bool),
    /// A page of that origin may not connect.
    Page,
    /// It is not what it should be.
    Malformed,
    TooLong,
    /// There is no such node.
    Node,
    /// As many streams as there may be, or no shard has answered in time.
    Full,
    /// The shard does not let it in.
    Shard(StatusCode),
    Body(BodyError),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Method(has_get) => {
                let allow = if has_get { "GET, POST, OPTIONS" } else { "POST, OPTIONS" };
                let allow = [(header::ALLOW, allow)];
                return (StatusCode::METHOD_NOT_ALLOWED, allow, "not this method\n")
                    .into_response();
            }
            Self::Page => (StatusCode::FORBIDDEN, "the origin is not allowed\n"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "this is no request of a client\n"),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the message is too long\n"),
            Self::Node => (StatusCode::NOT_FOUND, "no such node\n"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "no room: try again\n"),
            Self::Shard(status) => (status, "refused\n"),
            Self::Body(error) => return error.into_response(),
        };
        (status, text).into_response()
    }
}
