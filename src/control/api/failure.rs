//! How the server API says that something failed: in the body, or by the status.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::control::health::json;
use crate::control::settings::{ErrorMode, HttpApi};

/// The error codes of the API that this version has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The shards could not do it now; they may later.
    Internal,
    /// The channel's namespace is not configured.
    UnknownChannel,
    /// There is no such thing.
    NotFound,
    /// The command makes no sense.
    BadRequest,
    /// A feature that is not there.
    NotAvailable,
    /// What was missed cannot be told from this position.
    Unrecoverable,
}

impl Code {
    fn number(self) -> u16 {
        match self {
            Self::Internal => 100,
            Self::UnknownChannel => 102,
            Self::NotFound => 104,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::Unrecoverable => 112,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::UnknownChannel => "unknown channel",
            Self::NotFound => "not found",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::Unrecoverable => "unrecoverable position",
        }
    }

    /// The status that says the same.
    fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownChannel | Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest | Self::NotAvailable => StatusCode::BAD_REQUEST,
            Self::Unrecoverable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The body is not the command's JSON; the reference tells this by status and plain text.
    NoCommand(String),
    /// An error of the API.
    Error(ApiError),
}

/// The error object of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ApiError {
    code: u16,
    message: String,
    #[serde(skip)]
    status: StatusCode,
}

impl ApiError {
    /// An error and what it is about.
    pub(super) fn new(code: Code, about: &str) -> Self {
        let message = format!("{}: {about}", code.text());
        Self { code: code.number(), message, status: code.status() }
    }

    /// It as the whole reply to one of several commands.
    pub(super) fn reply(self) -> String {
        serde_json::to_string(&Reply { error: self }).expect("plain data")
    }
}

/// An error in the body of an answer.
#[derive(Serialize)]
struct Reply {
    error: ApiError,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::NoCommand(error.to_string())
    }
}

impl Failure {
    /// The API's own code, for the metrics.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::NoCommand(_) => Code::BadRequest.number(),
            Self::Error(error) => error.code,
        }
    }

    /// It as an error of the API, where a command stands among others.
    pub(super) fn into_error(self) -> ApiError {
        match self {
            Self::NoCommand(why) => ApiError::new(Code::BadRequest, &why),
            Self::Error(error) => error,
        }
    }

    pub(super) fn answer(self, mode: ErrorMode) -> Response {
        match (self, mode) {
            (Self::NoCommand(why), _) => {
                (StatusCode::BAD_REQUEST, format!("the body is no command: {why}\n"))
                    .into_response()
            }
            (Self::Error(error), ErrorMode::Body) => json(StatusCode::OK, error.reply()),
            (Self::Error(error), ErrorMode::Transport) => {
                let body = serde_json::to_string(&error);
                json(error.status, body.expect("plain data"))
            }
        }
    }
}

/// Where this request wants its errors.
pub(super) fn mode(api: &HttpApi, headers: &HeaderMap) -> ErrorMode {
    match headers.get("x-centrifugo-error-mode").map(axum::http::HeaderValue::as_bytes) {
        Some(b"transport") => ErrorMode::Transport,
        _ => api.error_mode,
    }
}
