//! The other end of one connection that brings many requests.

use core::net::SocketAddr;
use std::sync::Arc;

use super::{SocketPeer, TrustedProxies};

/// What is known of a connection's other end before a request says who stands behind it. A proxy
/// sends the requests of many clients over one connection, so each is asked for its own.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    trusted: Arc<TrustedProxies>,
    peer: SocketPeer,
    proxied: Option<SocketAddr>,
}

impl OtherEnd {
    /// Of a socket with this peer, and with this client by the PROXY header in front.
    pub fn new(
        trusted: Arc<TrustedProxies>,
        peer: SocketPeer,
        proxied: Option<SocketAddr>,
    ) -> Self {
        Self { trusted, peer, proxied }
    }

    /// Of a socket's peer, who speaks for nobody else.
    pub fn itself(peer: SocketPeer) -> Self {
        Self::new(Arc::default(), peer, None)
    }

    /// Whether a trusted proxy wrote its requests.
    pub fn is_proxy(&self) -> bool {
        self.trusted.wrote_request(self.peer, self.proxied)
    }

    /// The client of one request, as [`TrustedProxies::client`] finds it.
    pub fn client<'a>(
        &self,
        forwarded: impl Iterator<Item = &'a [u8]>,
        real_ip: Option<&[u8]>,
    ) -> Option<SocketAddr> {
        self.trusted.client(self.peer, self.proxied, forwarded, real_ip)
    }
}
