//! The server API over HTTP, as Centrifugo's: `POST /api/<method>`, JSON in and out.
//!
//! ```text
//!   method ─▶ key ─▶ body ─▶ command ─▶ publications ─▶ Ask ─▶ {"result"} or {"error"}
//! ```
//!
//! Invariant: nothing of a request's body is looked at, and none of it is received, before its
//! key was found right.

mod channel;
mod failure;
mod info;
mod key;
mod object;
mod publish;
mod users;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;

use super::body;
use super::health::json;
use super::routes::Context;
use super::settings::ErrorMode;
use failure::{ApiError, Code, Failure};

pub(super) use info::Identity;

/// What the reference can do and this version cannot: the difference between a typing error and
/// a missing feature is worth a word.
const ABSENT: [&str; 8] = [
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "rpc",
    "batch",
    "map_publish",
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
    Info,
}

/// All of them, by their names.
const COMMANDS: [(&str, Command); 7] = [
    ("publish", Command::Publish),
    ("broadcast", Command::Broadcast),
    ("subscribe", Command::Subscribe),
    ("unsubscribe", Command::Unsubscribe),
    ("disconnect", Command::Disconnect),
    ("refresh", Command::Refresh),
    ("info", Command::Info),
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
    if request.method() != Method::POST {
        let allow = [(header::ALLOW, "POST")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "use POST\n").into_response();
    }
    let (admitted, mode) = {
        let api = context.api.borrow();
        (key::admit(&api, &request), failure::mode(&api, request.headers()))
    };
    if let Err(denied) = admitted {
        return denied.into_response();
    }
    let Some((known, command)) = Command::named(&name) else {
        return absent(&name);
    };
    let body = match body::receive(request.into_body(), &context.bodies).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let since = Instant::now();
    let done = carry_out(&context, command, body.bytes()).await;
    let error = done.as_ref().err().map(Failure::code);
    context.traffic.command(known, error, since.elapsed());
    done.unwrap_or_else(|failure| failure.answer(mode))
}

async fn carry_out(context: &Context, command: Command, body: &[u8]) -> Result<Response, Failure> {
    match command {
        Command::Publish => publish::publish(context, body).await.map(|done| result(&done)),
        Command::Broadcast => publish::broadcast(context, body).await.map(|done| result(&done)),
        Command::Subscribe => users::subscribe(context, body).await.map(|done| result(&done)),
        Command::Unsubscribe => users::unsubscribe(context, body).await.map(|done| result(&done)),
        Command::Disconnect => users::disconnect(context, body).await.map(|done| result(&done)),
        Command::Refresh => users::refresh(context, body).await.map(|done| result(&done)),
        Command::Info => info::info(context).await.map(|done| result(&done)),
    }
}

fn result(done: &impl Serialize) -> Response {
    #[derive(Serialize)]
    struct Answer<'a, R> {
        result: &'a R,
    }
    let body = serde_json::to_string(&Answer { result: done });
    json(StatusCode::OK, body.expect("plain data"))
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
