//! What a session says to its shard and hears from it, in the words of the other: entries and
//! questions on the way out, clients and places on the way back.

#![forbid(unsafe_code)]

use crate::handler::{self, AskedEpoch, JoinEvent, MessageKind, Present};
use crate::limits::MESSAGE_REPLIES_MAX;
use crate::protocol::{ClientId, ClientInfo, Format, Push};
use crate::session::{self, Effects};

/// The kind of message that a format travels in.
pub(super) fn kind_of(format: Format) -> MessageKind {
    match format {
        Format::Json => MessageKind::Text,
        Format::Protobuf => MessageKind::Binary,
    }
}

/// The format that travels in a kind of message.
pub(super) fn format_of(kind: MessageKind) -> Format {
    match kind {
        MessageKind::Text => Format::Json,
        MessageKind::Binary => Format::Protobuf,
    }
}

/// How publications are kept.
pub(super) fn retention(retention: session::Retention) -> handler::Retention {
    let session::Retention { publications_max, ttl_s, meta_ttl_s } = retention;
    handler::Retention { publications_max, ttl_s, meta_ttl_s }
}

/// How one publication is kept.
pub(super) fn keep(keep: session::Keep) -> handler::Keep {
    let session::Keep { retention: kept, makes_delta } = keep;
    handler::Keep { retention: retention(kept), makes_delta }
}

/// How a connection enters a channel, with what others are shown of it.
pub(super) fn entry(
    entry: &session::Entry,
    presence: Option<Present>,
    user: &str,
    effects: &Effects,
) -> handler::Entry {
    let recover = entry.recover.as_ref().map(|recover| match recover {
        session::Recover::Missed { since: from, publications_max } => handler::Recover::Missed {
            since: since(from, effects),
            publications_max: *publications_max,
        },
        session::Recover::Latest { since: from } => {
            handler::Recover::Latest { since: since(from, effects) }
        }
    });
    handler::Entry {
        stream: entry.stream.map(retention),
        recover,
        presence,
        is_announced: entry.is_announced,
        hears_joins: entry.hears_joins,
        replaces_others: entry.replaces_others,
        overflow: match entry.overflow {
            session::Overflow::Disconnect => handler::Overflow::Close,
            session::Overflow::DropOldest => handler::Overflow::DropOldest,
            session::Overflow::Latest => handler::Overflow::Latest,
        },
        reading: entry.reading.clone(),
        acknowledges: entry.acknowledged.map(|policy| {
            let session::AckPolicy { publications_max, bytes_max, ttl_s } = policy;
            handler::Acknowledges { user: user.into(), publications_max, bytes_max, ttl_s }
        }),
        tag: entry.membership.bits(),
    }
}

/// What a channel's home is asked.
pub(super) fn question(
    question: &session::Question,
    user: &str,
    effects: &Effects,
) -> handler::Question {
    match question {
        session::Question::History {
            since: from,
            publications_max,
            is_reverse,
            retention: kept,
        } => handler::Question::History {
            since: from.as_ref().map(|from| since(from, effects)),
            publications_max: *publications_max,
            is_reverse: *is_reverse,
            retention: retention(*kept),
        },
        session::Question::Presence => handler::Question::Presence,
        session::Question::PresenceStats => handler::Question::PresenceStats,
        session::Question::Acknowledge(ids) => {
            handler::Question::Acknowledge { user: user.into(), ids: ids.clone() }
        }
    }
}

fn since(since: &session::Since, effects: &Effects) -> handler::Since {
    let epoch = AskedEpoch::of(effects.name(&since.epoch));
    handler::Since { offset: since.offset, epoch }
}

/// A place in a stream.
pub(super) fn position(position: &handler::Position) -> session::Position<'_> {
    session::Position { offset: position.offset, epoch: position.epoch.as_str() }
}

/// A client as others are shown it.
pub(super) fn shown(present: &Present) -> ClientInfo<'_> {
    ClientInfo {
        user: present.user(),
        client: ClientId::of_bytes(present.id()),
        connection_info: present.info(),
        channel_info: present.channel_info(),
    }
}

/// Messages in JSON that tell of clients who have come or gone, as many in each as a client takes.
pub(super) fn joins(channel: &str, events: &[JoinEvent<'_>]) -> Vec<Vec<u8>> {
    let message = |events: &[JoinEvent<'_>]| {
        let mut text = Vec::new();
        for (place, event) in events.iter().enumerate() {
            if place > 0 {
                text.extend_from_slice(Format::Json.separator());
            }
            let info = shown(event.present);
            let push = if event.has_come { Push::Join(info) } else { Push::Leave(info) };
            Format::Json.write_push(&mut text, channel, &push);
        }
        text
    };
    events.chunks(MESSAGE_REPLIES_MAX).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comings_and_goings_are_told_in_order_and_not_too_many_at_once() {
        let present = Present::new([0; 16], "ann", b"{\"n\":1}", b"");
        let event =
            |place: usize| JoinEvent { present: &present, has_come: place.is_multiple_of(2) };
        let events: Vec<_> = (0..=MESSAGE_REPLIES_MAX).map(event).collect();
        let messages = joins("a", &events);
        let lines: Vec<Vec<&str>> = messages
            .iter()
            .map(|message| std::str::from_utf8(message).unwrap().split('\n').collect())
            .collect();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [MESSAGE_REPLIES_MAX, 1]);
        assert!(lines[0][0].starts_with(r#"{"push":{"channel":"a","join":{"info":{"user":"ann""#));
        assert!(lines[0][1].starts_with(r#"{"push":{"channel":"a","leave":"#), "{lines:?}");
        assert!(lines[0][0].ends_with(r#""conn_info":{"n":1}}}}}"#), "{lines:?}");
        assert_eq!(joins("a", &[]), Vec::<Vec<u8>>::new());
    }
}
