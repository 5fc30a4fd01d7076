//! Calls of back ends over HTTP: a body in, a verdict out, in the time that there is.

use std::fmt;
use std::sync::{Arc, OnceLock};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::backend::{AnswerError, Call, Fault, Proxies, Proxy, Verdict};
use crate::limits::{BACKEND_ANSWER_BYTES_MAX, BACKEND_CALLS_MAX, BACKEND_IDLE_TIMEOUT};
use crate::protocol::ErrorCode;

/// Calls back ends.
pub(in crate::control) struct Calls {
    /// Made for the first call: the certificates of the machine are read for it.
    client: OnceLock<Option<Client>>,
    proxies: watch::Receiver<Arc<Proxies>>,
    /// One permit for each call that may be under way.
    room: Semaphore,
}

/// What a back end said.
enum Said {
    /// A body, with status 200.
    Body(Vec<u8>),
    /// What its status means.
    Verdict(Verdict),
}

/// A call that came to nothing.
#[derive(Debug)]
enum CallError {
    /// No back end of this name is configured (any more).
    Unknown,
    /// Nothing can be called: the log says why.
    NoClient,
    /// It took too long.
    Late,
    /// There was no talking to it.
    Http(reqwest::Error),
    /// It answered with this status.
    Status(StatusCode),
    /// It said more than is read.
    TooLong,
    /// It said nothing that can be understood.
    Answer(AnswerError),
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("it is not configured"),
            Self::NoClient => out.write_str("nothing can be called"),
            Self::Late => out.write_str("it took too long"),
            Self::Http(error) => error.fmt(out),
            Self::Status(status) => write!(out, "it answered {status}"),
            Self::TooLong => {
                write!(out, "it answered with more than {BACKEND_ANSWER_BYTES_MAX} bytes")
            }
            Self::Answer(error) => error.fmt(out),
        }
    }
}

impl Calls {
    pub(in crate::control) fn new(proxies: watch::Receiver<Arc<Proxies>>) -> Self {
        Self { client: OnceLock::new(), proxies, room: Semaphore::new(BACKEND_CALLS_MAX) }
    }

    fn client(&self) -> Result<&Client, CallError> {
        let client = self.client.get_or_init(|| {
            let client = Client::builder()
                .pool_idle_timeout(BACKEND_IDLE_TIMEOUT)
                .pool_max_idle_per_host(BACKEND_CALLS_MAX)
                .redirect(redirect::Policy::none())
                .no_proxy()
                .build();
            client.inspect_err(|error| tracing::error!(%error, "back ends cannot be called")).ok()
        });
        client.as_ref().ok_or(CallError::NoClient)
    }

    /// What a back end says; `None` if it says nothing that is of use.
    pub(in crate::control) async fn call(&self, call: &Call) -> Option<Verdict> {
        let proxies = Arc::clone(&self.proxies.borrow());
        let called = match proxies.0.get(&call.proxy) {
            Some(proxy) => self.call_proxy(call, proxy).await,
            None => Err(CallError::Unknown),
        };
        called
            .inspect_err(|error| {
                let (proxy, event) = (&call.proxy, call.event.name());
                tracing::warn!(proxy, event, %error, "a back end has not answered");
            })
            .ok()
    }

    async fn call_proxy(&self, call: &Call, proxy: &Proxy) -> Result<Verdict, CallError> {
        let Ok(body) = call.body(proxy.is_binary) else {
            return Ok(Verdict::Fault(bad_request()));
        };
        let deadline = Instant::now() + proxy.timeout;
        let called = async {
            let _room = self.room.acquire().await.expect("it is never closed");
            let endpoint = proxy.endpoints.first().ok_or(CallError::Unknown)?;
            match self.post(endpoint, proxy, body).await? {
                Said::Body(answer) => {
                    Verdict::read(&call.event, &answer).map_err(CallError::Answer)
                }
                Said::Verdict(verdict) => Ok(verdict),
            }
        };
        timeout_at(deadline, called).await.map_err(|_| CallError::Late)?
    }

    async fn post(&self, endpoint: &str, proxy: &Proxy, body: Vec<u8>) -> Result<Said, CallError> {
        let request = self.client()?.post(endpoint).headers(headers(proxy)).body(body);
        let mut response = request.send().await.map_err(CallError::Http)?;
        let status = response.status();
        if status != StatusCode::OK {
            return match proxy.statuses.get(&status.as_u16()) {
                Some(verdict) => Ok(Said::Verdict(verdict.clone())),
                None => Err(CallError::Status(status)),
            };
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(CallError::Http)? {
            if answer.len() + chunk.len() > BACKEND_ANSWER_BYTES_MAX {
                return Err(CallError::TooLong);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(Said::Body(answer))
    }
}

fn headers(proxy: &Proxy) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in &proxy.static_headers {
        // What can be no header is refused where it is configured.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The client has sent what cannot be passed on.
fn bad_request() -> Fault {
    let code = ErrorCode::BadRequest;
    Fault { code: code.code().into(), message: code.text().to_owned(), temporary: false }
}
