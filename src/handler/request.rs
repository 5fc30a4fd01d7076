//! An opening handshake that is valid by RFC 6455, and the answers an application may give.

use std::net::SocketAddr;

use super::Heartbeat;
use crate::address::Introduction;
use crate::limits::ROUTE_PARAMS_MAX;
use crate::ws::handshake::{RequestHead, Upgrade as Handshake};

/// Values of a route's parameters, in the order of the path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    pairs: [(&'a str, &'a str); ROUTE_PARAMS_MAX],
    count: usize,
    rest: Option<&'a str>,
}

impl<'a> Params<'a> {
    /// The value of `:name`.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What `*` stands for, without the slash before it.
    pub fn rest(&self) -> Option<&'a str> {
        self.rest
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.pairs.into_iter().take(self.count)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, name: &'a str, value: &'a str) {
        self.pairs[self.count] = (name, value);
        self.count += 1;
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.count = count;
    }

    pub(super) fn set_rest(&mut self, rest: &'a str) {
        self.rest = Some(rest);
    }
}

/// An opening handshake, before its answer.
pub struct Request<'a> {
    head: &'a RequestHead<'a>,
    handshake: &'a Handshake<'a>,
    params: Params<'a>,
    route: &'a str,
    sender: Sender,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Sender {
    /// The client.
    pub client: Option<SocketAddr>,
    /// The peer of the socket.
    pub socket_peer: Option<SocketAddr>,
    /// Whether a trusted proxy wrote the request.
    pub is_proxy: bool,
    /// What is said of the client by the thread that speaks for it.
    pub introduction: Option<Introduction>,
}

impl<'a> Request<'a> {
    #[doc(hidden)]
    pub fn new(
        head: &'a RequestHead<'a>,
        handshake: &'a Handshake<'a>,
        params: Params<'a>,
        route: &'a str,
        sender: Sender,
    ) -> Self {
        Self { head, handshake, params, route, sender }
    }

    /// The path, as it came: not percent-decoded.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What stands behind `?`, as it came.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The pattern of the matched route.
    pub fn route(&self) -> &str {
        self.route
    }

    /// The value of a parameter of the route.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.value(name)
    }

    /// All parameters of the route.
    pub fn params(&self) -> &Params<'a> {
        &self.params
    }

    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// The page that connects, as its browser names it; others name none.
    pub fn origin(&self) -> Option<&[u8]> {
        self.handshake.origin()
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers()
    }

    /// The sub-protocols the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.handshake.protocols()
    }

    /// The client's address, as far as `Config::trusted_proxies` say it: by a header of the PROXY
    /// protocol, `X-Forwarded-For` or `X-Real-IP`. Otherwise, the socket's peer.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.sender.client
    }

    /// The address of the socket's peer; unknown on a Unix socket, or if it was gone at once.
    pub fn socket_peer(&self) -> Option<SocketAddr> {
        self.sender.socket_peer
    }

    /// Whether one of `Config::trusted_proxies` wrote the request, so that its headers are not the
    /// client's own, as far as that proxy sets or removes them.
    pub fn is_from_proxy(&self) -> bool {
        self.sender.is_proxy
    }

    /// What is said of the client if it speaks HTTP, and this process a WebSocket in its place.
    pub fn introduction(&self) -> Option<&Introduction> {
        self.sender.introduction.as_ref()
    }
}

/// The answer to an opening handshake.
pub enum Upgrade<C> {
    /// 101, and the connection is open.
    Accept(Accept<C>),
    /// Another status, and the connection is closed.
    Refuse(Refuse),
}

impl<C> Upgrade<C> {
    /// Accepts, with the application's state of the connection.
    pub fn accept(state: C) -> Self {
        Self::Accept(Accept::new(state))
    }

    /// Refuses with a status, 400 to 599.
    pub fn refuse(status: u16) -> Self {
        Self::Refuse(Refuse::status(status))
    }
}

/// An accepted handshake.
pub struct Accept<C> {
    pub(crate) state: C,
    pub(crate) protocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) heartbeat_waits: bool,
}

impl<C> Accept<C> {
    /// With the application's state of the connection.
    pub fn new(state: C) -> Self {
        Self {
            state,
            protocol: None,
            headers: Vec::new(),
            heartbeat: Heartbeat::Ping,
            heartbeat_waits: false,
        }
    }

    /// Chooses one of the offered sub-protocols.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    /// Asks the peer with this whether it is still there. An application may use up to
    /// [`HEARTBEAT_MESSAGES_MAX`](crate::limits::HEARTBEAT_MESSAGES_MAX) different messages.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Leaves the heartbeat to begin when [`Peer::begin_heartbeat`](super::Peer::begin_heartbeat)
    /// says so, not with the opening of the connection.
    #[must_use]
    pub fn heartbeat_later(mut self) -> Self {
        self.heartbeat_waits = true;
        self
    }

    /// Adds a header to the 101.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl<C> From<Accept<C>> for Upgrade<C> {
    fn from(accept: Accept<C>) -> Self {
        Self::Accept(accept)
    }
}

impl<C> From<Refuse> for Upgrade<C> {
    fn from(refuse: Refuse) -> Self {
        Self::Refuse(refuse)
    }
}

/// A refused handshake: the status and headers of the answer, after which the connection closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Refuse {
    /// With this status, 400 to 599; another becomes 403.
    pub fn status(status: u16) -> Self {
        let status = if (400..600).contains(&status) { status } else { 403 };
        Self { status, headers: Vec::new() }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
