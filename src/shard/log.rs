//! What the log says of a connection: that it opened, and how it ended where nobody meant it to.
//!
//! Nothing is built for a line that is not wanted. What a client has chosen is escaped by the log
//! and short, so that no client writes lines of its own, or fills the queue of lines with a few.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::core::Core;
use super::slab::Index;
use crate::address::Shown;
use crate::handler::{Cause, Closed, ConnectionId, Handler};
use crate::limits::{LOGGED_PATH_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::ws::handshake::RequestHead;

impl<H: Handler> Core<H> {
    /// One line for each connection that is opened.
    pub(super) fn log_opened(
        &self,
        index: Index,
        head: &RequestHead<'_>,
        peer: Option<SocketAddr>,
    ) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let connection = self.id(index);
        let given = head.header("x-request-id").and_then(fit_request_id);
        let request_id = given.map_or_else(|| self.request_id(connection).into(), Cow::Borrowed);
        let path = start(head.path());
        let peer = peer.map(Shown).map(tracing::field::display);
        tracing::info!(%connection, peer, path, request_id = &*request_id, "opened");
    }

    /// One that is the server's own: no other connection has it, of this start or of another one.
    fn request_id(&self, connection: ConnectionId) -> String {
        format!("{:08x}-{}-{connection}", self.settings.lineage, self.number)
    }
}

/// Ends that nobody meant are news; the others are for whoever looks for them.
pub(super) fn log_closed(connection: ConnectionId, closed: &Closed) {
    let Closed { cause, code, reason } = closed;
    match cause {
        Cause::Application | Cause::Peer | Cause::Shutdown => {
            tracing::debug!(%connection, ?cause, code, reason = &**reason, "closed");
        }
        _ => tracing::info!(%connection, ?cause, code, reason = &**reason, "closed"),
    }
}

/// As much of a path as a line has room for.
fn start(path: &str) -> &str {
    &path[..path.floor_char_boundary(LOGGED_PATH_BYTES_MAX)]
}

/// A request id that somebody in front has made, if it is fit for a log: visible and short.
fn fit_request_id(value: &[u8]) -> Option<&str> {
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
            assert_eq!(fit_request_id(fit.as_bytes()), Some(fit));
        }
        let longer = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for unfit in ["", "a b", "a\tb", "\u{e9}", &longer] {
            assert_eq!(fit_request_id(unfit.as_bytes()), None, "{unfit:?}");
        }
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let long = "\u{e9}".repeat(LOGGED_PATH_BYTES_MAX);
        for (path, bytes) in
            [("/ws", 3), (&*long, LOGGED_PATH_BYTES_MAX), (&*format!("/{long}"), 255)]
        {
            assert_eq!(start(path).len(), bytes);
            assert!(path.starts_with(start(path)));
        }
    }
}
