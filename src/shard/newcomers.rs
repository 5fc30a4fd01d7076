//! Who a new connection is: the header of a proxy in front of its request, and the line in the log.

use std::net::SocketAddr;

use super::connection::{Flags, PartialHead};
use super::core::{Core, Turn};
use super::slab::Index;
use crate::address::ProxyHeader;
use crate::handler::Handler;
use crate::limits::{PROXY_HEADER_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::ws::handshake::RequestHead;

impl<H: Handler> Turn<'_, H> {
    /// Takes the PROXY header that a request stands behind; how many of `bytes` belonged to it,
    /// once it is whole. Without one, or with a wrong one, the connection ends.
    pub(super) fn take_proxy_header(
        &mut self,
        index: Index,
        partial: &mut Box<PartialHead>,
        bytes: &[u8],
    ) -> Option<usize> {
        let core = &mut *self.core;
        let before = partial.bytes.len();
        core.partial_bytes -= before;
        let room = PROXY_HEADER_BYTES_MAX - before;
        partial.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match ProxyHeader::parse(&partial.bytes) {
            Ok(Some(header)) => {
                let connection = core.connections.get_mut(index).expect("being read");
                connection.flags.clear(Flags::PROXIED);
                partial.proxied = header.client;
                partial.bytes.clear();
                Some(header.length - before)
            }
            Ok(None) => {
                let partial = std::mem::take(partial);
                self.keep_head(index, partial, &[]);
                None
            }
            Err(error) => {
                tracing::debug!(connection = %core.id(index), %error, "closed");
                core.counters.proxy_headers_refused += 1;
                self.retire(index);
                None
            }
        }
    }
}

impl<H: Handler> Core<H> {
    /// One line for each connection that is opened, if such lines are wanted.
    pub(super) fn log_opened(
        &self,
        index: Index,
        head: &RequestHead<'_>,
        peer: Option<SocketAddr>,
    ) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let given = head.header("x-request-id").and_then(request_id);
        let connection = self.id(index);
        let request_id = match given {
            Some(given) => given.to_owned(),
            None => format!("{:08x}-{}-{connection}", self.settings.lineage, self.number),
        };
        let peer = peer.map(tracing::field::display);
        tracing::info!(%connection, peer, path = head.path(), request_id, "opened");
    }
}

/// A request id that somebody in front has made, if it is fit for a log: visible and short.
fn request_id(value: &[u8]) -> Option<&str> {
    let is_fit =
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(value).ok().filter(|_| is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_if_it_is_fit_for_a_log() {
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for fit in ["1", "6f2b-1", "a/b+c=", &longest] {
            assert_eq!(request_id(fit.as_bytes()), Some(fit));
        }
        let longer = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for unfit in ["", "a b", "a\tb", "\u{e9}", &longer] {
            assert_eq!(request_id(unfit.as_bytes()), None, "{unfit:?}");
        }
    }
}
