//! What the control thread is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::channels::Channels;
use super::consult::TokenKeys;
use super::streaming::Streaming;
use crate::backend::Proxies;
use crate::limits::HTTP_HEAD_TIMEOUT;

/// Settings of a [`Site`](super::Site). [`Default`] is what `longwire serve` starts from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The page with the chat at `/`, and with it a server that is open to everybody.
    pub dev: bool,
    /// What this node calls itself in `/api/info`.
    pub node_name: String,
    /// What `longwire_node_build` says: version and commit.
    pub version: String,
    /// Where `/metrics`, `/debug` and `/health` are served to the operator; `None`: nowhere.
    pub internal_listen: Option<SocketAddr>,
    /// Where WebSocket clients connect, for those who ask at `/`, and for the page.
    pub websocket_path: String,
    /// How long the head of a request may take, from its first byte on.
    pub head_timeout: Duration,
    /// Connections that the shards take, for the metrics; 0: unknown.
    pub connections_max: u64,
    /// The HTTP API of the public port.
    pub http_api: HttpApi,
    /// Clients that cannot have a WebSocket.
    pub streaming: Streaming,
    /// Which tokens with signatures by public keys are taken.
    pub tokens: TokenKeys,
    /// The back ends that sessions ask.
    pub proxies: Proxies,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dev: false,
            node_name: "longwire".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            internal_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
            websocket_path: "/connection/websocket".to_owned(),
            head_timeout: HTTP_HEAD_TIMEOUT,
            connections_max: 0,
            http_api: HttpApi::default(),
            streaming: Streaming::default(),
            tokens: TokenKeys::default(),
            proxies: Proxies::default(),
        }
    }
}

/// The HTTP API. It can be exchanged while the site serves: see [`Live`](super::Live).
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpApi {
    /// What back ends authenticate with; without one, no request is let in.
    pub key: Option<String>,
    /// No authentication at all, but pages of other hosts are kept out.
    pub insecure: bool,
    /// What may be published to.
    pub channels: Arc<Channels>,
    /// How errors are told to those who do not say how in `X-Centrifugo-Error-Mode`.
    pub error_mode: ErrorMode,
}

impl std::fmt::Debug for HttpApi {
    /// Without the key, which is a secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpApi")
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("insecure", &self.insecure)
            .field("channels", &self.channels)
            .field("error_mode", &self.error_mode)
            .finish()
    }
}

/// Where an error of the API stands in its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorMode {
    /// Status 200, and the error in the body.
    #[default]
    Body,
    /// A status that fits the error, whose object is the body.
    Transport,
}
