//! What carries a client's session (1, 23).

/// What carries a session's frames, as metrics and back ends call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket of the client's own.
    #[default]
    WebSocket,
    /// An HTTP answer that does not end, and requests beside it.
    HttpStream,
    /// The same as an event stream, which browsers read by themselves.
    Sse,
}

impl Transport {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::HttpStream, Self::Sse];

    /// The header in which a shard tells the control thread the name of a session that it carries
    /// for a client over HTTP. It never leaves the process.
    pub const SESSION_HEADER: &str = "longwire-session";

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::HttpStream => "http_stream",
            Self::Sse => "sse",
        }
    }

    /// Whether what its client says comes in requests of their own, which name the session.
    pub fn is_emulated(self) -> bool {
        self != Self::WebSocket
    }
}
