//! One request in, one answer out: gives it a name, a route, a line in the log and a place in the
//! metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;

use super::crowd::Guest;
use super::request_id::{RequestIds, X_REQUEST_ID};
use super::routes::label;
use super::traffic::{Port, Traffic};
use crate::address::{Introduction, OtherEnd, Shown};
use crate::protocol::Transport;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who has sent a request, for those who speak for it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    client: Option<SocketAddr>,
    is_proxy: bool,
    pub(super) guest: Guest,
}

impl Caller {
    /// What a shard is told of it.
    pub(super) fn introduction(&self, transport: Transport) -> Introduction {
        Introduction { client: self.client, is_proxy: self.is_proxy, transport }
    }
}

/// What answers the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Service {
    router: TowerToHyperService<Router>,
    ids: Arc<RequestIds>,
    traffic: Traffic,
    port: Port,
    other_end: OtherEnd,
    head_timeout: Duration,
    guest: Guest,
}

impl Service {
    pub(super) fn new(
        router: Router,
        ids: Arc<RequestIds>,
        traffic: Traffic,
        port: Port,
        other_end: OtherEnd,
        head_timeout: Duration,
        guest: Guest,
    ) -> Self {
        let router = TowerToHyperService::new(router);
        Self { router, ids, traffic, port, other_end, head_timeout, guest }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// How long each head may take.
    pub(super) fn head_timeout(&self) -> Duration {
        self.head_timeout
    }

    pub(super) fn guest(&self) -> Guest {
        self.guest.clone()
    }

    pub(super) fn port(&self) -> Port {
        self.port
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let asked = Asked {
            id: self.ids.of(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            peer: client(&self.other_end, request.headers()),
            since: Instant::now(),
        };
        let (traffic, guest) = (self.traffic.clone(), self.guest.clone());
        let is_proxy = self.other_end.is_proxy();
        request.extensions_mut().insert(Caller {
            client: asked.peer,
            is_proxy,
            guest: guest.clone(),
        });
        let answering = self.router.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            asked.log(response.status());
            traffic.answered(label(&asked.path), response.status(), asked.since.elapsed());
            response.headers_mut().insert(X_REQUEST_ID, asked.id);
            if guest.is_pressed() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// The client of one request.
fn client(other_end: &OtherEnd, headers: &HeaderMap) -> Option<SocketAddr> {
    let forwarded = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    other_end.client(forwarded, headers.get(X_REAL_IP).map(HeaderValue::as_bytes))
}

/// What is said of a request once it has been answered.
struct Asked {
    id: HeaderValue,
    method: Method,
    /// Without the query, which may hold a key.
    path: String,
    peer: Option<SocketAddr>,
    since: Instant,
}

impl Asked {
    fn log(&self, status: StatusCode) {
        let (method, path) = (&self.method, self.path.as_str());
        let peer = self.peer.map(Shown).map(tracing::field::display);
        let request_id = self.id.to_str().unwrap_or_default();
        let (took, status) = (self.since.elapsed(), status.as_u16());
        if status >= 500 {
            tracing::warn!(request_id, %method, path, peer, status, ?took, "HTTP");
        } else {
            tracing::debug!(request_id, %method, path, peer, status, ?took, "HTTP");
        }
    }
}
