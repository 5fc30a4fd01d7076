//! Calls of back ends over HTTP: a body in, a verdict out, in the time that there is.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::endpoints::{EndpointState, Endpoints, Unavailable};
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::backend::{AnswerError, Call, Caller, EVENTS, Fault, Outcome, Proxies, Proxy, Verdict};
use crate::limits::{
    BACKEND_ANSWER_BYTES_MAX, BACKEND_CALLS_MAX, BACKEND_IDLE_TIMEOUT, BACKEND_ROOM_SHARE,
};
use crate::protocol::ErrorCode;

/// Calls back ends.
pub(in crate::control) struct Calls {
    /// Made for the first call: the certificates of the machine are read for it.
    client: OnceLock<Option<Client>>,
    proxies: watch::Receiver<Arc<Proxies>>,
    endpoints: Arc<Endpoints>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Calls").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// What is posted to one of a proxy's endpoints.
struct Post<'a> {
    /// The proxy's name.
    name: &'a str,
    proxy: &'a Proxy,
    headers: HeaderMap,
    body: Vec<u8>,
    /// It is to be answered, with status 200; else any success is one.
    is_question: bool,
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
pub(in crate::control) enum CallError {
    /// No back end of this name is configured (any more).
    Unknown,
    /// Nothing can be called: the log says why.
    NoClient,
    /// All its endpoints have failed so often that they are left alone.
    Broken,
    /// Too many calls were under way.
    Full,
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
    /// Without the URL, which may hold a secret.
    fn http(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }

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
            Self::Full => out.write_str("too many calls are under way"),
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
        Self { client: OnceLock::new(), proxies, endpoints: Arc::default() }
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
        let headers = headers(&call.caller, proxy);
        let post = Post { name: &call.proxy, proxy, headers, body, is_question: true };
        let read = |said| match said {
            Said::Body(answer) => Verdict::read(&call.event, &answer).map_err(CallError::Answer),
            Said::Verdict(verdict) => Ok(verdict),
        };
        self.post_in_time(&post, read).await
    }

    /// Whether anybody is told of events.
    pub(in crate::control) fn has_events(&self) -> bool {
        self.proxies.borrow().0.contains_key(EVENTS)
    }

    /// Tells the back end of events; an error if it has not taken them.
    pub(in crate::control) async fn post_events(&self, body: Vec<u8>) -> Result<(), CallError> {
        let proxies = Arc::clone(&self.proxies.borrow());
        let proxy = proxies.0.get(EVENTS).ok_or(CallError::Unknown)?;
        let headers = headers(&Caller::default(), proxy);
        let post = Post { name: EVENTS, proxy, headers, body, is_question: false };
        self.post_in_time(&post, |_said| Ok(())).await
    }

    async fn post_in_time<T>(
        &self,
        post: &Post<'_>,
        read: impl Fn(Said) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let deadline = Instant::now() + post.proxy.timeout;
        let posted = self.post_to_one(post, deadline, read);
        timeout_at(deadline, posted).await.map_err(|_| CallError::Late)?
    }

    /// Calls one endpoint after the other until one answers. Each has its share of the time that
    /// is left, so that one that hangs leaves some for the next.
    async fn post_to_one<T>(
        &self,
        post: &Post<'_>,
        deadline: Instant,
        read: impl Fn(Said) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let endpoints = &post.proxy.endpoints;
        let mut last = CallError::Broken;
        for (place, url) in endpoints.iter().enumerate() {
            let left = u32::try_from(endpoints.len() - place).unwrap_or(u32::MAX);
            let now = Instant::now();
            let period = deadline.saturating_duration_since(now) / left;
            let room_until = now + period / BACKEND_ROOM_SHARE;
            let attempt = match self.endpoints.begin((post.name, url), room_until).await {
                Ok(attempt) => attempt,
                Err(Unavailable::Broken) => continue,
                Err(Unavailable::Full) => {
                    last = CallError::Full;
                    continue;
                }
            };
            let tried = timeout_at(now + period, self.post(url, post)).await;
            match tried.unwrap_or(Err(CallError::Late)).and_then(&read) {
                Ok(answer) => {
                    attempt.end(Outcome::Success);
                    return Ok(answer);
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

    /// What is known of the endpoints that were called.
    pub(in crate::control) fn states(&self) -> Vec<EndpointState> {
        self.endpoints.states(&self.proxies.borrow())
    }

    async fn post(&self, url: &str, post: &Post<'_>) -> Result<Said, CallError> {
        let request = self.client()?.post(url).headers(post.headers.clone());
        let request = request.body(post.body.clone());
        let mut response = request.send().await.map_err(CallError::http)?;
        let status = response.status();
        let is_taken = status == StatusCode::OK || !post.is_question && status.is_success();
        if !is_taken {
            return match post.proxy.statuses.get(&status.as_u16()) {
                Some(verdict) => Ok(Said::Verdict(verdict.clone())),
                None => Err(CallError::Status(status)),
            };
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(CallError::http)? {
            if answer.len() + chunk.len() > BACKEND_ANSWER_BYTES_MAX {
                return Err(CallError::TooLong);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(Said::Body(answer))
    }
}

/// Those of the client that the proxy is told of, and over them its own.
fn headers(caller: &Caller, proxy: &Proxy) -> HeaderMap {
    let told = |all: &'_ [(String, String)], names: &'_ [String]| {
        let told = all.iter().filter(|(name, _)| names.contains(name));
        told.cloned().collect::<Vec<_>>()
    };
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
