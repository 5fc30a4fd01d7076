//! That clients are gone, and out of channels, as the back end that wants to know is told of it.

#![forbid(unsafe_code)]

use super::sessions::Sessions;
use crate::backend::{Departure, DepartureKind};
use crate::handler::{Cause, Closed, Peer, Shard};
use crate::session::{Session, Span, Terms, Unsubscribed};
use crate::sys::clock;
use crate::ws::close::code;

/// What the reference calls the end of a connection that nobody has closed for a reason (9). It is
/// never on the wire.
const CONNECTION_CLOSED: (u16, &str) = (3000, "connection closed");

impl Sessions {
    /// A client is out of a channel, and stays connected.
    pub(super) fn tell_unsubscribed(
        &mut self,
        peer: &mut Peer<'_, Self>,
        channel: &Span,
        why: Unsubscribed,
    ) {
        if !self.terms.rules.hooks.events.unsubscribe {
            return;
        }
        self.terms.now = clock::since_epoch();
        let Some(session) = peer.state() else { return };
        let (kind, channel) = (DepartureKind::Unsubscribe, self.effects.name(channel));
        let event = event(session, (kind, channel), (why.code(), why.reason()), &self.terms);
        // One that is refused is counted.
        let _counted = peer.shard().report_lesser(event);
    }

    /// A client is gone that had connected.
    pub(super) fn tell_disconnected(
        &mut self,
        shard: &mut Shard<'_, Self>,
        session: &Session,
        closed: &Closed,
    ) {
        if !self.terms.rules.hooks.events.disconnect {
            return;
        }
        self.terms.now = clock::since_epoch();
        let event = event(session, (DepartureKind::Disconnect, ""), words_of(closed), &self.terms);
        let _counted = shard.report(event);
    }
}

fn event(
    session: &Session,
    (kind, channel): (DepartureKind, &str),
    (code, reason): (u16, &str),
    terms: &Terms,
) -> Box<[u8]> {
    let shown = session.shown(terms);
    let time_ms = u64::try_from(terms.now.as_millis()).unwrap_or(u64::MAX);
    let client = shown.client.to_string();
    Departure { kind, client: &client, user: shown.user, channel, code, reason, time_ms }.encode()
}

/// Code and reason of an end.
fn words_of(closed: &Closed) -> (u16, &str) {
    match closed.cause {
        Cause::Peer | Cause::Vanished => CONNECTION_CLOSED,
        _ if closed.code == code::ABNORMAL => CONNECTION_CLOSED,
        _ => (closed.code, &closed.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_the_words_of_the_server_or_of_the_reference() {
        for (cause, code, reason, told) in [
            (Cause::Application, 3503, "force disconnect", (3503, "force disconnect")),
            (Cause::Application, 4500, "away", (4500, "away")),
            (Cause::Unresponsive, 3012, "no pong", (3012, "no pong")),
            (Cause::Shutdown, 3001, "shutdown", (3001, "shutdown")),
            (Cause::Violation, 1009, "too long", (1009, "too long")),
            (Cause::Overflow, 1006, "", CONNECTION_CLOSED),
            (Cause::Vanished, 1006, "", CONNECTION_CLOSED),
            (Cause::Peer, 1000, "bye", CONNECTION_CLOSED),
        ] {
            let closed = Closed { cause, code, reason: reason.into() };
            assert_eq!(words_of(&closed), told, "{closed:?}");
        }
    }
}
