//! How a client is told of publications that were given up before its user had acknowledged them.
//!
//! In the `data` of the reply to its subscribe, as the member `lw_lost`. What a token or a back end
//! has said there stays as it is: the member is added to an object that has none of that name, and
//! beside any other data it comes as a message of its own, right behind the reply.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// The member's name.
const NAME: &str = "lw_lost";

/// The two ways; of a message there is none where the data says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) data: Cow<'a, [u8]>,
    pub(super) message: Option<Vec<u8>>,
}

/// What a client that enters the channel is told of so many, beside this data.
pub(super) fn told<'a>(lost: u64, channel: &str, data: &'a [u8]) -> Told<'a> {
    if lost == 0 {
        return Told { data: data.into(), message: None };
    }
    match with_member(data, lost) {
        Some(data) => Told { data: data.into(), message: None },
        None => Told { data: data.into(), message: Some(message(lost, channel)) },
    }
}

/// The same where there is no reply with data.
pub(super) fn message(lost: u64, channel: &str) -> Vec<u8> {
    json!({ "channel": channel, NAME: lost }).to_string().into()
}

/// The data with the member, if that can be.
fn with_member(data: &[u8], lost: u64) -> Option<Vec<u8>> {
    let data = data.trim_ascii_end();
    let data = if data.is_empty() { b"{}" } else { data };
    let members: Map<String, Value> = serde_json::from_slice(data).ok()?;
    if members.contains_key(NAME) {
        return None;
    }
    let (_end, inside) = data.split_last().expect("an object has an end");
    let comma = if members.is_empty() { "" } else { "," };
    Some([inside, format!(r#"{comma}"{NAME}":{lost}}}"#).as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_others_is_never_changed_but_by_the_member() {
        for (data, expected) in [
            ("", r#"{"lw_lost":3}"#),
            ("{}", r#"{"lw_lost":3}"#),
            (r#"{"a":{"lw_lost":1}} "#, r#"{"a":{"lw_lost":1},"lw_lost":3}"#),
            (r#" { "a" : [1,"}"] }"#, r#" { "a" : [1,"}"] ,"lw_lost":3}"#),
        ] {
            let told = told(3, "news", data.as_bytes());
            assert_eq!(std::str::from_utf8(&told.data), Ok(expected));
            assert_eq!(told.message, None);
        }
        let others = [
            "[]",
            "7",
            "null",
            r#""{}""#,
            r#"{"lw_lost":"mine"}"#,
            r#"{"lw\u005flost":1}"#,
            "{",
            "\u{1}",
        ];
        for data in others {
            let told = told(3, "news", data.as_bytes());
            let message = br#"{"channel":"news","lw_lost":3}"#.to_vec();
            assert_eq!((&*told.data, told.message), (data.as_bytes(), Some(message)), "{data}");
        }
    }

    #[test]
    fn who_has_lost_nothing_is_told_nothing() {
        for data in ["", "{}", "7"] {
            let nothing = Told { data: data.as_bytes().into(), message: None };
            assert_eq!(told(0, "news", data.as_bytes()), nothing);
        }
    }
}
