//! The words of the protocol in JSON: one line each.
//!
//! ```text
//!   Words ─▶ {"id":1,"connect":{…}}        {"id":1,"connect":{…}} ─▶ Told
//! ```
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CONNECT_ID, Connected, PUBLISH_ID, Place, Publication, SUBSCRIBE_ID, Subscribed, Told,
};

const PING: &[u8] = b"{}";

/// Names of channels and epochs are our own or the server's, and need no escapes.
pub(super) fn hello(
    out: &mut Vec<u8>,
    token: Option<&str>,
    channel: &str,
    from: Option<Place<'_>>,
) {
    let token = token.map_or(String::new(), |token| format!(r#""token":"{token}""#));
    let from = from.map_or(String::new(), |Place { epoch, offset }| {
        format!(r#","recover":true,"epoch":"{epoch}","offset":{offset}"#)
    });
    let lines = format!(
        "{{\"id\":{CONNECT_ID},\"connect\":{{{token}}}}}\n\
         {{\"id\":{SUBSCRIBE_ID},\"subscribe\":{{\"channel\":\"{channel}\"{from}}}}}"
    );
    out.extend_from_slice(lines.as_bytes());
}

pub(super) fn publish(out: &mut Vec<u8>, channel: &str, data: &str) {
    let line =
        format!(r#"{{"id":{PUBLISH_ID},"publish":{{"channel":"{channel}","data":{data}}}}}"#);
    out.extend_from_slice(line.as_bytes());
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    id: u32,
    error: Option<Code>,
    connect: Option<Connected>,
    #[serde(borrow)]
    subscribe: Option<Box<Joined<'a>>>,
    publish: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
}

#[derive(Deserialize)]
struct Code {
    code: u32,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Option<Published<'a>>,
    unsubscribe: Option<Code>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Joined<'a> {
    recoverable: bool,
    recovered: bool,
    epoch: String,
    offset: u64,
    #[serde(borrow)]
    publications: Vec<Published<'a>>,
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    offset: u64,
}

/// Reads one line.
pub(super) fn read(line: &[u8]) -> Told<'_> {
    if line == PING {
        return Told::Ping;
    }
    let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { return Told::Garbled };
    match line {
        Line { error: Some(Code { code }), id, .. } => Told::Refused(id, code),
        Line { push: Some(push), .. } => push.into(),
        Line { connect: Some(connected), .. } => Told::Connected(connected),
        Line { subscribe: Some(joined), .. } => Told::Subscribed(Box::new((*joined).into())),
        Line { publish: Some(_), .. } => Told::Published,
        _ => Told::Other,
    }
}

impl<'a> From<Push<'a>> for Told<'a> {
    fn from(push: Push<'a>) -> Self {
        match push {
            Push { publication: Some(publication), .. } => Told::Publication(publication.into()),
            Push { unsubscribe: Some(Code { code }), .. } => Told::Unsubscribed(code),
            Push { publication: None, unsubscribe: None } => Told::Other,
        }
    }
}

impl<'a> From<Joined<'a>> for Subscribed<'a> {
    fn from(joined: Joined<'a>) -> Self {
        let Joined { recoverable, recovered, epoch, offset, publications } = joined;
        let publications = publications.into_iter().map(Into::into).collect();
        Self { recoverable, recovered, epoch, offset, publications }
    }
}

impl<'a> From<Published<'a>> for Publication<'a> {
    fn from(Published { data, offset }: Published<'a>) -> Self {
        Self { data: data.get().as_bytes(), offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_told_apart() {
        let told = |line: &'static str| format!("{:?}", read(line.as_bytes()));
        assert_eq!(told("{}"), "Ping");
        let connected = r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#;
        assert_eq!(told(connected), "Connected(Connected { ping: 25, pong: true })");
        assert_eq!(told(r#"{"id":3,"publish":{}}"#), "Published");
        assert_eq!(told(r#"{"id":2,"error":{"code":103,"message":"x"}}"#), "Refused(2, 103)");
        let push = r#"{"push":{"channel":"c","unsubscribe":{"code":2500,"reason":"x"}}}"#;
        assert_eq!(told(push), "Unsubscribed(2500)");
        assert_eq!(told(r#"{"push":{"channel":"c","join":{"info":{}}}}"#), "Other");
        assert_eq!(told("[]"), "Garbled");
        assert_eq!(told(r#"{"id":1"#), "Garbled");
    }

    #[test]
    fn publications_keep_their_data_and_place() {
        let line = br#"{"push":{"channel":"c","pub":{"data":{"n":5},"offset":9}}}"#;
        let Told::Publication(publication) = read(line) else { panic!("a publication") };
        assert_eq!((publication.data, publication.offset), (&br#"{"n":5}"#[..], 9));
        let line = br#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":
            [{"data":1,"offset":6}],"recovered":true,"offset":5,"positioned":true}}"#;
        let Told::Subscribed(subscribed) = read(line) else { panic!("a subscription") };
        assert!(subscribed.recovered && subscribed.recoverable);
        assert_eq!((&*subscribed.epoch, subscribed.offset), ("E", 5));
        assert_eq!(subscribed.publications[0].offset, 6);
    }
}
