//! `http_stream`, `sse` and `emulation`: clients that cannot have a WebSocket.

use crate::config::section::section;
use crate::config::setting::Bytes;
use crate::limits::{EMULATION_BODY_BYTES_DEFAULT, STREAMS_DEFAULT};

use super::UrlPath;

section! {
    /// Streams of lines over HTTP, for clients that cannot have a WebSocket.
    pub struct HttpStream in "http_stream." {
        /// Whether there are any.
        enabled: bool = false;
        /// Path of the endpoint.
        handler_prefix: UrlPath = UrlPath::of("/connection/http_stream");
        /// Bytes of the request that begins a stream; a longer one is answered with 413.
        max_request_body_size: Bytes = Bytes(EMULATION_BODY_BYTES_DEFAULT), in 1024..=4 << 20;
    }
}

section! {
    /// Event streams over HTTP, for clients that cannot have a WebSocket.
    pub struct Sse in "sse." {
        /// Whether there are any.
        enabled: bool = false;
        /// Path of the endpoint.
        handler_prefix: UrlPath = UrlPath::of("/connection/sse");
        /// Bytes of the request that begins a stream by POST; a longer one is answered with 413.
        max_request_body_size: Bytes = Bytes(EMULATION_BODY_BYTES_DEFAULT), in 1024..=4 << 20;
    }
}

section! {
    /// What clients say beside their streams.
    pub struct Emulation in "emulation." {
        /// Path of the endpoint.
        handler_prefix: UrlPath = UrlPath::of("/emulation");
        /// Streams at the same time; more are answered with 503.
        stream_limit: u32 = STREAMS_DEFAULT, in 1..=1_000_000;
    }
}
