//! That a client is gone, or out of a channel: what a back end is told without being asked for
//! anything, in batches.
//!
//! ```text
//!   {"events":[{"id":"…","type":"unsubscribe","client":"…","user":"ann","channel":"news",
//!               "code":0,"reason":"client unsubscribed","time":1763777000123}, …]}
//! ```
//!
//! A departure is put into words where it happens, and gets its id where it is queued.

use serde::Serialize;

/// The name of the [`Proxy`](super::Proxy) that is told of departures.
pub const EVENTS: &str = "events";

/// Who is gone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Departure<'a> {
    /// From the server, or from a channel.
    #[serde(rename = "type")]
    pub kind: DepartureKind,
    /// The id of the client.
    pub client: &'a str,
    /// Its user, empty if it is nobody's.
    pub user: &'a str,
    /// The channel that it is out of; empty where it is gone from all.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub channel: &'a str,
    /// What programs go by.
    pub code: u16,
    /// What people go by.
    pub reason: &'a str,
    /// When, in milliseconds since the Unix epoch.
    #[serde(rename = "time")]
    pub time_ms: u64,
}

/// What a client is gone from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DepartureKind {
    /// The server, and with that all its channels.
    Disconnect,
    /// A channel, while it stays connected.
    Unsubscribe,
}

/// Of which departures a back end is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// Of those from the server.
    pub disconnect: bool,
    /// Of those from channels.
    pub unsubscribe: bool,
}

impl Departure<'_> {
    /// The event but for its id.
    pub fn encode(&self) -> Box<[u8]> {
        serde_json::to_vec(self).expect("plain data").into()
    }

    /// Whether an encoded event tells of a channel only. Clients make as many of these as they
    /// like, and so they are given less room than those that tell of clients.
    pub fn is_of_channel(event: &[u8]) -> bool {
        event.starts_with(br#"{"type":"unsubscribe""#)
    }

    /// What is posted: events, each with its id, which needs no escapes.
    pub fn batch<'e>(events: impl Iterator<Item = (String, &'e [u8])>) -> Vec<u8> {
        let mut body = b"{\"events\":[".to_vec();
        for (index, (id, event)) in events.enumerate() {
            let fields = event.strip_prefix(b"{").expect("an object, as it was encoded");
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(b"{\"id\":\"");
            body.extend_from_slice(id.as_bytes());
            body.extend_from_slice(b"\",");
            body.extend_from_slice(fields);
        }
        body.extend_from_slice(b"]}");
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_json_and_says_of_each_who_is_gone() {
        let unsubscribe = Departure {
            kind: DepartureKind::Unsubscribe,
            client: "c1",
            user: "a\"nn",
            channel: "news",
            code: 0,
            reason: "client unsubscribed",
            time_ms: 1_763_777_000_123,
        };
        let disconnect = Departure {
            kind: DepartureKind::Disconnect,
            channel: "",
            code: 3012,
            reason: "no pong",
            ..unsubscribe.clone()
        };
        let events = [unsubscribe.encode(), disconnect.encode()];
        let events = events.iter().zip(["i-0", "i-1"]);
        let body = Departure::batch(events.map(|(event, id)| (id.to_owned(), &**event)));
        let expected = concat!(
            r#"{"events":[{"id":"i-0","type":"unsubscribe","client":"c1","user":"a\"nn","#,
            r#""channel":"news","code":0,"reason":"client unsubscribed","time":1763777000123},"#,
            r#"{"id":"i-1","type":"disconnect","client":"c1","user":"a\"nn","#,
            r#""code":3012,"reason":"no pong","time":1763777000123}]}"#
        );
        assert_eq!(String::from_utf8(body).as_deref(), Ok(expected));
        let nothing = Departure::batch(std::iter::empty());
        assert_eq!(nothing, b"{\"events\":[]}");
    }
}
