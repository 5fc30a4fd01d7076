//! Calls of back ends over HTTP: a body in, a verdict out, in the time that there is.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::endpoints::{Counts, Endpoints};
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::backend::{AnswerError, BreakerState, Call, Fault, Outcome, Proxies, Proxy, Verdict};
use crate::limits::{BACKEND_ANSWER_BYTES_MAX, BACKEND_CALLS_MAX, BACKEND_IDLE_TIMEOUT};
use crate::protocol::ErrorCode;

/// Calls back ends.
pub(in crate::control) struct Calls {
    /// Made for the first call: the certificates of the machine are read for it.
    client: OnceLock<Option<Client>>,
    proxies: watch::Receiver<Arc<Proxies>>,
    /// One permit for each call that may be under way.
    room: Semaphore,
    endpoints: Arc<Endpoints>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Calls").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
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
    /// All its endpoints have failed so often that they are left alone.
    Broken,
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

impl CallError {
    /// Whether the endpoint answered that it does not want this call, and not that it cannot take
    /// any now: no client may have it left alone for all by asking for what is not there.
    fn is_a_refusal(&self) -> bool {
        let is_busy =
            |status| [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        matches!(self, Self::Status(status) if status.is_client_error() && !is_busy(*status))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("it is not configured"),
            Self::NoClient => out.write_str("nothing can be called"),
            Self::Broken => out.write_str("it fails, and is left alone for a while"),
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
        Self {
            client: OnceLock::new(),
            proxies,
            room: Semaphore::new(BACKEND_CALLS_MAX),
            endpoints: Arc::default(),
        }
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
        let Ok(body) = call.body(proxy.is_binary, proxy.has_meta) else {
            return Ok(Verdict::Fault(bad_request()));
        };
        let deadline = Instant::now() + proxy.timeout;
        let called = async {
            let _room = self.room.acquire().await.expect("it is never closed");
            self.call_endpoints(call, proxy, &body, deadline).await
        };
        timeout_at(deadline, called).await.map_err(|_| CallError::Late)?
    }

    /// Calls one endpoint after the other until one answers. Each has its share of the time that
    /// is left, so that one that hangs leaves some for the next.
    async fn call_endpoints(
        &self,
        call: &Call,
        proxy: &Proxy,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        let mut last = CallError::Broken;
        for (place, url) in proxy.endpoints.iter().enumerate() {
            let Some(attempt) = self.endpoints.begin(url) else { continue };
            let left = u32::try_from(proxy.endpoints.len() - place).unwrap_or(u32::MAX);
            let now = Instant::now();
            let share = now + deadline.saturating_duration_since(now) / left;
            let tried = timeout_at(share, self.try_endpoint(call, proxy, url, body)).await;
            match tried.unwrap_or(Err(CallError::Late)) {
                Ok(verdict) => {
                    attempt.end(Outcome::Success);
                    return Ok(verdict);
                }
                // It is there, and it does not want this: another would not either.
                Err(error) if error.is_a_refusal() => {
                    attempt.end(Outcome::Success);
                    return Err(error);
                }
                Err(error) => {
                    attempt.end(Outcome::Failure);
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn try_endpoint(
        &self,
        call: &Call,
        proxy: &Proxy,
        url: &str,
        body: &[u8],
    ) -> Result<Verdict, CallError> {
        match self.post(url, call, proxy, body.to_vec()).await? {
            Said::Body(answer) => Verdict::read(&call.event, &answer).map_err(CallError::Answer),
            Said::Verdict(verdict) => Ok(verdict),
        }
    }

    /// What is known of the endpoints that were called.
    pub(in crate::control) fn states(&self) -> Vec<(String, BreakerState, Counts)> {
        self.endpoints.states()
    }

    async fn post(
        &self,
        endpoint: &str,
        call: &Call,
        proxy: &Proxy,
        body: Vec<u8>,
    ) -> Result<Said, CallError> {
        let request = self.client()?.post(endpoint).headers(headers(call, proxy)).body(body);
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

/// Those of the client that the proxy is told of, and over them its own.
fn headers(call: &Call, proxy: &Proxy) -> HeaderMap {
    let told = |all: &'_ [(String, String)], names: &'_ [String]| {
        let told = all.iter().filter(|(name, _)| names.contains(name));
        told.cloned().collect::<Vec<_>>()
    };
    let caller = &call.caller;
    let all = told(&caller.headers, &proxy.http_headers).into_iter();
    let all = all.chain(told(&caller.emulated_headers, &proxy.emulated_headers));
    let mut headers = HeaderMap::new();
    for (name, value) in all.chain(proxy.static_headers.iter().cloned()) {
        // What can be no header is refused where it is configured, and dropped where a client
        // has sent it.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONNECTION);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// The client has sent what cannot be passed on.
fn bad_request() -> Fault {
    let code = ErrorCode::BadRequest;
    Fault { code: code.code().into(), message: code.text().to_owned(), temporary: false }
}
