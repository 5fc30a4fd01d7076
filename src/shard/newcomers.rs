//! The header of a proxy in front of a new connection's request.

use super::connection::{Flags, PartialHead};
use super::core::Turn;
use super::slab::Index;
use crate::address::ProxyHeader;
use crate::handler::Handler;
use crate::limits::PROXY_HEADER_BYTES_MAX;

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
