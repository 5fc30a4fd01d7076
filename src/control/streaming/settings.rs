//! What the streams are told at the start.

use std::fmt;
use std::sync::Arc;

use crate::limits::{EMULATION_BODY_BYTES_DEFAULT, MESSAGE_BYTES_DEFAULT, STREAMS_DEFAULT};
use crate::ws::handshake::origin::is_of_host;

/// How clients are served over HTTP that cannot have a WebSocket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Streaming {
    /// Streams of lines, or of length-prefixed messages.
    pub http_stream: Option<Endpoint>,
    /// Streams of events.
    pub sse: Option<Endpoint>,
    /// Where what clients say comes in.
    pub emulation_path: String,
    /// Streams at the same time; more are answered with 503.
    pub streams_max: usize,
    /// What this node is called, as its shards tell their clients.
    pub node: String,
    /// What can be exchanged while streams are served: see [`Live`](crate::control::Live).
    pub terms: StreamTerms,
}

/// What streams are served by, as each WebSocket is served by its shard.
#[derive(Clone, Debug)]
pub struct StreamTerms {
    /// The pages that may connect.
    pub pages: Pages,
    /// Bytes of what a client says at a time.
    pub message_bytes_max: usize,
}

impl Default for StreamTerms {
    fn default() -> Self {
        Self { pages: Pages::default(), message_bytes_max: MESSAGE_BYTES_DEFAULT }
    }
}

impl Default for Streaming {
    fn default() -> Self {
        Self {
            http_stream: None,
            sse: None,
            emulation_path: "/emulation".to_owned(),
            streams_max: STREAMS_DEFAULT as usize,
            node: String::new(),
            terms: StreamTerms::default(),
        }
    }
}

/// Where one kind of stream is asked for.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its path.
    pub path: String,
    /// Bytes of a request's body: the first frame of a session.
    pub body_bytes_max: usize,
}

impl Endpoint {
    /// An endpoint with the default bound.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), body_bytes_max: EMULATION_BODY_BYTES_DEFAULT }
    }
}

type Admits = dyn Fn(Option<&[u8]>, Option<&[u8]>) -> bool + Send + Sync;

/// Which pages may connect: says so of an `Origin` and the `Host` of its request.
#[derive(Clone)]
pub struct Pages(Arc<Admits>);

impl Pages {
    /// Those of which this says so.
    pub fn new(
        admits: impl Fn(Option<&[u8]>, Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(admits))
    }

    pub(super) fn admit(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        (self.0)(origin, host)
    }
}

impl Default for Pages {
    /// Those of the server's own host, and who is no page.
    fn default() -> Self {
        Self::new(|origin, host| origin.is_none_or(|origin| is_of_host(origin, host)))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pages(…)")
    }
}
