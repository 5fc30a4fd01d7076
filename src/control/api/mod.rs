//! The server API over HTTP, as Centrifugo's: `POST /api/<method>`, JSON in and out.
//!
//! ```text
//!   method ─▶ key ─▶ body ─▶ command ─▶ publications ─▶ Ask ─▶ {"result"} or {"error"}
//! ```
//!
//! Invariant: nothing of a request's body is looked at, and none of it is received, before its
//! key was found right.

mod batch;
mod channel;
mod description;
mod failure;
mod info;
mod key;
mod legacy;
mod listing;
mod object;
mod pace;
mod press;
mod publish;
mod questions;
mod repeats;
mod revocations;
mod rpc;
mod together;
mod users;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;

use super::body;
use super::crossing::{Passage, UnderWay};
use super::health::json;
use super::routes::Context;
use super::sending_on::send_on;
use super::settings::ErrorMode;
use failure::{ApiError, Code, Failure};

pub(super) use description::describe;
pub(super) use info::Identity;
pub(super) use pace::Pace;
pub(super) use press::Press;
pub use repeats::KnownKey;
pub(super) use repeats::Repeats;
pub(super) use revocations::Revocations;

/// What the reference can do and this version cannot: the difference between a typing error and
/// a missing feature is worth a word.
const ABSENT: [&str; 7] = [
    "map_publish",
    "map_remove",
    "map_read_state",
    "map_read_stream",
    "map_stats",
    "map_clear",
    "shared_poll_publish",
];

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Refresh,
    RevokeToken,
    InvalidateUserTokens,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    Channels,
    Info,
    Rpc,
    Batch,
}

/// All of them, by their names.
const COMMANDS: [(&str, Command); 16] = [
    ("publish", Command::Publish),
    ("broadcast", Command::Broadcast),
    ("subscribe", Command::Subscribe),
    ("unsubscribe", Command::Unsubscribe),
    ("disconnect", Command::Disconnect),
    ("refresh", Command::Refresh),
    ("revoke_token", Command::RevokeToken),
    ("invalidate_user_tokens", Command::InvalidateUserTokens),
    ("presence", Command::Presence),
    ("presence_stats", Command::PresenceStats),
    ("history", Command::History),
    ("history_remove", Command::HistoryRemove),
    ("channels", Command::Channels),
    ("info", Command::Info),
    ("rpc", Command::Rpc),
    ("batch", Command::Batch),
];

impl Command {
    /// The command of this name, and the name as one of ours.
    fn named(name: &str) -> Option<(&'static str, Self)> {
        COMMANDS.into_iter().find(|(known, _)| *known == name)
    }
}

/// Answers `/api/<name>`.
pub(super) async fn serve(
    State(context): State<Context>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let mode = match admitted(&context, &request) {
        Ok(mode) => mode,
        Err(refusal) => return *refusal,
    };
    let Some((known, command)) = Command::named(&name) else {
        return absent(&name);
    };
    let (head, body) = request.into_parts();
    let body = match body::receive(body, &context.bodies).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let _under_way = match begin(&context, &head, body.bytes(), mode).await {
        Ok(under_way) => under_way,
        Err(answer) => return *answer,
    };
    let since = Instant::now();
    let done = carry_out(&context, command, body.bytes()).await;
    let error = done.as_ref().err().map(Failure::code);
    context.traffic.command(known, error, since.elapsed());
    match done {
        // Its replies stand in no result.
        Ok(replies) if command == Command::Batch => json(StatusCode::OK, replies),
        Ok(result) => json(StatusCode::OK, format!(r#"{{"result":{result}}}"#)),
        Err(failure) => failure.answer(mode),
    }
}

/// Answers `/api`, where commands say what they are themselves.
pub(super) async fn serve_legacy(
    State(context): State<Context>,
    request: Request<Body>,
) -> Response {
    let mode = match admitted(&context, &request) {
        Ok(mode) => mode,
        Err(refusal) => return *refusal,
    };
    let (head, body) = request.into_parts();
    let body = match body::receive(body, &context.bodies).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let _under_way = match begin(&context, &head, body.bytes(), mode).await {
        Ok(under_way) => under_way,
        Err(answer) => return *answer,
    };
    let since = Instant::now();
    let done = legacy::replies(&context, body.bytes()).await;
    let error = done.as_ref().err().map(Failure::code);
    context.traffic.command("legacy", error, since.elapsed());
    match done {
        Ok(replies) => json(StatusCode::OK, replies),
        Err(failure) => failure.answer(mode),
    }
}

/// Where this request wants its errors, if it may make any.
fn admitted(context: &Context, request: &Request<Body>) -> Result<ErrorMode, Box<Response>> {
    if request.method() != Method::POST {
        let allow = [(header::ALLOW, "POST")];
        let refusal = (StatusCode::METHOD_NOT_ALLOWED, allow, "use POST\n").into_response();
        return Err(Box::new(refusal));
    }
    let api = context.api.borrow();
    key::admit(&api, request).map_err(|denied| Box::new(denied.into_response()))?;
    Ok(failure::mode(&api, request.headers()))
}

/// Begins what a request that has come whole asks for, unless another process takes over: then it
/// has the answer.
async fn begin(
    context: &Context,
    head: &Parts,
    body: &[u8],
    mode: ErrorMode,
) -> Result<UnderWay, Box<Response>> {
    let crossing = &context.crossing;
    let about = match crossing.enter().await {
        Passage::Here(under_way) => return Ok(under_way),
        Passage::There(address) => match send_on(&address, head, body).await {
            Ok(answer) => {
                crossing.sent_on();
                return Err(Box::new(answer));
            }
            Err(error) => {
                tracing::warn!(%error, "the process that has taken over has not answered");
                crossing.lose(1);
                "another process has taken over, and does not answer"
            }
        },
        Passage::Nowhere => "another process takes over, try again",
    };
    let failure = Failure::from(ApiError::new(Code::Internal, about));
    Err(Box::new(failure.answer(mode)))
}

/// Carries out one command; returns its result in JSON.
async fn carry_out(context: &Context, command: Command, body: &[u8]) -> Result<String, Failure> {
    match command {
        Command::Publish => publish::publish(context, body).await.map(words),
        Command::Broadcast => publish::broadcast(context, body).await.map(words),
        Command::Subscribe => users::subscribe(context, body).await.map(words),
        Command::Unsubscribe => users::unsubscribe(context, body).await.map(words),
        Command::Disconnect => users::disconnect(context, body).await.map(words),
        Command::Refresh => users::refresh(context, body).await.map(words),
        Command::RevokeToken => revocations::revoke_token(context, body).await.map(words),
        Command::InvalidateUserTokens => {
            revocations::invalidate_user_tokens(context, body).await.map(words)
        }
        Command::Presence => questions::presence(context, body).await.map(words),
        Command::PresenceStats => questions::presence_stats(context, body).await.map(words),
        Command::History => questions::history(context, body).await.map(words),
        Command::HistoryRemove => questions::history_remove(context, body).await.map(words),
        Command::Channels => listing::channels(context, body).await.map(words),
        Command::Info => info::info(context).await.map(words),
        Command::Rpc => Err(rpc::rpc(body)),
        // A batch has no batches, but to the compiler.
        Command::Batch => Box::pin(batch::batch(context, body)).await,
    }
}

fn words(result: impl Serialize) -> String {
    serde_json::to_string(&result).expect("plain data")
}

/// A method that is not there, and whether it ever will be.
fn absent(name: &str) -> Response {
    let error = if ABSENT.contains(&name) {
        let about = format!("{name} is not in this version of longwire yet");
        ApiError::new(Code::NotAvailable, &about)
    } else {
        ApiError::new(Code::NotFound, "no such method")
    };
    let mut response = Failure::from(error).answer(ErrorMode::Body);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
