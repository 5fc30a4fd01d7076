//! Replies and pushes as JSON: one object each, on one line (1).
//!
//! Fields with a zero value are left out, but for those that the protocol always writes; the
//! result of a command is always there, if only as `{}`. Embedded values stand as they came, raw
//! line feeds removed: a JSON string cannot hold one, so they are only white space.
//!
//! Invariant: what is appended to the output holds no line feed.

use super::client_id::TEXT_BYTES;
use super::{ClientId, ClientInfo, Publication, Push, Reply, SubscribeResult};

/// A ping, and its answer: an empty object.
pub const PING: &str = "{}";

/// Appends the reply to command `id`.
pub fn write_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut object = Object::begin(out);
    object.number("id", id.into());
    match reply {
        Reply::Error(error) => {
            let mut object = object.object("error");
            object.number("code", error.code.code().into());
            object.text("message", error.message);
            object.flag("temporary", error.code.is_temporary());
            object.end();
        }
        Reply::Connect(result) => {
            let mut object = object.object("connect");
            object.client("client", result.client);
            object.text("version", result.version);
            write_expiry(&mut object, result.ttl_s);
            object.number("ping", result.ping_s.into());
            object.flag("pong", result.pong);
            object.end();
        }
        Reply::Subscribe(result) => write_subscribe_result(object.object("subscribe"), result),
        Reply::Unsubscribe => object.object("unsubscribe").end(),
        Reply::Publish => object.object("publish").end(),
        Reply::PresenceStats(result) => {
            let mut object = object.object("presence_stats");
            object.number_always("num_clients", result.clients.into());
            object.number_always("num_users", result.users.into());
            object.end();
        }
        Reply::Refresh(result) => {
            let mut object = object.object("refresh");
            write_expiry(&mut object, result.ttl_s);
            object.end();
        }
    }
    object.end();
}

/// Appends news of `channel`: a whole message, for one client or for all in the channel.
pub fn write_push(out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
    let mut envelope = Object::begin(out);
    let mut object = envelope.object("push");
    object.text("channel", channel);
    match push {
        Push::Publication(publication) => write_publication(object.object("pub"), publication),
        Push::Join(info) => write_member(object.object("join"), info),
        Push::Leave(info) => write_member(object.object("leave"), info),
        Push::Unsubscribe(code) => {
            let mut object = object.object("unsubscribe");
            object.number("code", code.code().into());
            object.text("reason", code.text());
            object.end();
        }
    }
    object.end();
    envelope.end();
}

fn write_expiry(object: &mut Object<'_>, ttl_s: Option<u32>) {
    object.flag("expires", ttl_s.is_some());
    object.number("ttl", ttl_s.unwrap_or(0).into());
}

fn write_subscribe_result(mut object: Object<'_>, result: &SubscribeResult<'_>) {
    object.flag("recoverable", result.recoverable);
    object.text("epoch", result.epoch);
    if !result.publications.is_empty() {
        object.list("publications", result.publications, write_publication);
    }
    object.flag("recovered", result.recovered);
    object.number("offset", result.offset);
    object.flag("positioned", result.positioned);
    object.flag("was_recovering", result.was_recovering);
    object.end();
}

fn write_publication(mut object: Object<'_>, publication: &Publication<'_>) {
    object.raw("data", publication.data);
    if let Some(info) = &publication.info {
        write_info(object.object("info"), info);
    }
    object.number("offset", publication.offset);
    if !publication.tags.is_empty() {
        let mut tags = object.object("tags");
        for (key, value) in publication.tags {
            tags.text_always(key, value);
        }
        tags.end();
    }
    object.end();
}

fn write_member(mut object: Object<'_>, info: &ClientInfo<'_>) {
    write_info(object.object("info"), info);
    object.end();
}

fn write_info(mut object: Object<'_>, info: &ClientInfo<'_>) {
    object.text_always("user", info.user);
    object.client("client", info.client);
    object.raw("conn_info", info.connection_info);
    object.raw("chan_info", info.channel_info);
    object.end();
}

/// An object that is being written. Its methods leave out what is zero, unless they say `always`.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        write_string(self.out, key);
        self.out.push(b':');
    }

    fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::begin(self.out)
    }

    fn list<T>(&mut self, key: &str, items: &[T], write: impl Fn(Object<'_>, &T)) {
        self.key(key);
        self.out.push(b'[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write(Object::begin(self.out), item);
        }
        self.out.push(b']');
    }

    fn number(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number_always(key, value);
        }
    }

    fn number_always(&mut self, key: &str, value: u64) {
        self.key(key);
        write_number(self.out, value);
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.key(key);
            self.out.extend_from_slice(b"true");
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text_always(key, value);
        }
    }

    fn text_always(&mut self, key: &str, value: &str) {
        self.key(key);
        write_string(self.out, value);
    }

    fn client(&mut self, key: &str, client: ClientId) {
        self.key(key);
        self.out.reserve(TEXT_BYTES + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(&client.text());
        self.out.push(b'"');
    }

    fn raw(&mut self, key: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.key(key);
        self.out.reserve(value.len());
        for part in value.split(|byte| *byte == b'\n') {
            self.out.extend_from_slice(part);
        }
    }
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(value % 10) as usize];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A JSON string (RFC 8259 §7): what must be escaped is, and nothing else.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)) {
        out.extend_from_slice(&rest[..place]);
        match rest[place] {
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digits = b"0123456789abcdef";
                let (high, low) = (usize::from(control >> 4), usize::from(control & 0xf));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[high], digits[low]]);
            }
        }
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        ConnectResult, ErrorCode, Lineage, PresenceStats, RefreshResult, UnsubscribeCode,
    };
    use super::*;

    const CLIENT: ClientId = ClientId { random: 0, lineage: Lineage::ZERO };
    const NAME: &str = "00000000-0000-4000-8000-000000000000";

    fn reply(id: u32, reply: &Reply<'_>) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, id, reply);
        String::from_utf8(out).unwrap()
    }

    fn push(channel: &str, push: &Push<'_>) -> String {
        let mut out = Vec::new();
        write_push(&mut out, channel, push);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_are_written_as_in_the_examples_of_the_reference() {
        let result =
            ConnectResult { client: CLIENT, version: "1", ttl_s: None, ping_s: 25, pong: true };
        let expected = format!(
            r#"{{"id":1,"connect":{{"client":"{NAME}","version":"1","ping":25,"pong":true}}}}"#
        );
        assert_eq!(reply(1, &Reply::Connect(result)), expected);
        let result = ConnectResult { ttl_s: Some(60), ping_s: 0, pong: false, ..result };
        let expected = format!(
            r#"{{"id":1,"connect":{{"client":"{NAME}","version":"1","expires":true,"ttl":60}}}}"#
        );
        assert_eq!(reply(1, &Reply::Connect(result)), expected);

        let missed = [Publication { data: b"{}", offset: 6, ..Publication::default() }];
        let result = SubscribeResult {
            recoverable: true,
            epoch: "E",
            publications: &missed,
            recovered: true,
            offset: 5,
            positioned: true,
            was_recovering: true,
        };
        let expected = concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":{},"#,
            r#""offset":6}],"recovered":true,"offset":5,"positioned":true,"was_recovering":true}}"#
        );
        assert_eq!(reply(2, &Reply::Subscribe(result)), expected);

        let cases = [
            (2, Reply::Subscribe(SubscribeResult::default()), r#"{"id":2,"subscribe":{}}"#),
            (
                3,
                Reply::Error(ErrorCode::PermissionDenied.into()),
                r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#,
            ),
            (4, Reply::Publish, r#"{"id":4,"publish":{}}"#),
            (7, Reply::Unsubscribe, r#"{"id":7,"unsubscribe":{}}"#),
            (8, Reply::Refresh(RefreshResult { ttl_s: None }), r#"{"id":8,"refresh":{}}"#),
            (
                9,
                Reply::Refresh(RefreshResult { ttl_s: Some(9) }),
                r#"{"id":9,"refresh":{"expires":true,"ttl":9}}"#,
            ),
            (
                5,
                Reply::PresenceStats(PresenceStats { clients: 2, users: 1 }),
                r#"{"id":5,"presence_stats":{"num_clients":2,"num_users":1}}"#,
            ),
            (
                5,
                Reply::PresenceStats(PresenceStats::default()),
                r#"{"id":5,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            ),
            (
                u32::MAX,
                Reply::Error(ErrorCode::TooManyRequests.into()),
                concat!(
                    r#"{"id":4294967295,"error":{"code":111,"#,
                    r#""message":"too many requests","temporary":true}}"#
                ),
            ),
        ];
        for (id, value, expected) in cases {
            assert_eq!(reply(id, &value), expected);
        }
    }

    #[test]
    fn pushes_are_written_as_in_the_examples_of_the_reference() {
        let publication = Publication { data: br#"{"a":1}"#, offset: 7, ..Publication::default() };
        let expected = r#"{"push":{"channel":"ch","pub":{"data":{"a":1},"offset":7}}}"#;
        assert_eq!(push("ch", &Push::Publication(publication)), expected);

        let info = ClientInfo::of("42", CLIENT);
        let expected = format!(
            r#"{{"push":{{"channel":"ch","join":{{"info":{{"user":"42","client":"{NAME}"}}}}}}}}"#
        );
        assert_eq!(push("ch", &Push::Join(info)), expected);
        assert_eq!(push("ch", &Push::Leave(info)), expected.replace("join", "leave"));

        let expected = concat!(
            r#"{"push":{"channel":"ch","unsubscribe":"#,
            r#"{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(push("ch", &Push::Unsubscribe(UnsubscribeCode::InsufficientState)), expected);
    }

    #[test]
    fn a_publication_says_who_and_with_which_words() {
        let publication = Publication {
            data: b"1",
            info: Some(ClientInfo {
                connection_info: b"{\"n\":\n1}",
                channel_info: b"2",
                ..ClientInfo::of("", CLIENT)
            }),
            offset: 0,
            tags: &[("a", ""), ("b", "\"")],
        };
        let expected = format!(
            concat!(
                r#"{{"push":{{"channel":"ch","pub":{{"data":1,"info":{{"user":"","client":"{}","#,
                r#""conn_info":{{"n":1}},"chan_info":2}},"tags":{{"a":"","b":"\""}}}}}}}}"#
            ),
            NAME
        );
        assert_eq!(push("ch", &Push::Publication(publication)), expected);
    }

    proptest! {
        #[test]
        fn any_string_is_read_back_by_another_parser(text in ".*") {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(out.iter().all(|byte| *byte >= 0x20), "nothing raw, and so one line");
        }

        #[test]
        fn any_number_is_written_as_others_do(value: u64) {
            let mut out = Vec::new();
            write_number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn any_value_is_embedded_whole_on_one_line(text in "\\PC*", channel in ".+") {
            let data = serde_json::json!({ "text": text, "list": [1, null, channel] });
            let pretty = serde_json::to_vec_pretty(&data).unwrap();
            let publication = Publication { data: &pretty, ..Publication::default() };
            let line = push(&channel, &Push::Publication(publication));
            prop_assert!(!line.contains('\n'));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read["push"]["pub"]["data"], &data);
            prop_assert_eq!(read["push"]["channel"].as_str(), Some(&*channel));
        }
    }
}
