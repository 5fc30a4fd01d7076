//! What clients of the protocol say and are told, in JSON: one line each way.
//!
//! ```text
//!   Words ─▶ {"id":1,"connect":{…}}        {"id":1,"connect":{…}} ─▶ Told
//! ```
//!
//! Invariant: a line that is none of the protocol is [`Told::Garbled`], whatever it is.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;

/// The ids of the commands of one session: it has one of each kind under way.
pub const CONNECT_ID: u32 = 1;
/// See [`CONNECT_ID`].
pub const SUBSCRIBE_ID: u32 = 2;
/// See [`CONNECT_ID`].
pub const PUBLISH_ID: u32 = 3;

/// A ping, and its answer.
pub const PING: &[u8] = b"{}";

/// Where in a channel's stream a client was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The stream.
    pub epoch: &'a str,
    /// The last publication it has seen.
    pub offset: u64,
}

/// Appends the first message of a session: connect and subscribe in one, as the SDKs send them.
/// Names of channels and epochs are our own or the server's, and need no escapes.
pub fn hello(out: &mut Vec<u8>, token: Option<&str>, channel: &str, from: Option<Place<'_>>) {
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

/// Appends a publication; `data` is JSON.
pub fn publish(out: &mut Vec<u8>, channel: &str, data: &str) {
    let line =
        format!(r#"{{"id":{PUBLISH_ID},"publish":{{"channel":"{channel}","data":{data}}}}}"#);
    out.extend_from_slice(line.as_bytes());
}

/// What one line says.
#[derive(Debug)]
pub enum Told<'a> {
    /// The server asks whether we are there.
    Ping,
    /// The session has begun.
    Connected(Connected),
    /// We are in the channel.
    Subscribed(Box<Subscribed<'a>>),
    /// It was published.
    Published,
    /// The command of this id has failed, with this code.
    Refused(u32, u32),
    /// Somebody has published.
    Publication(Publication<'a>),
    /// The server has taken us out of the channel, with this code.
    Unsubscribed(u32),
    /// Something that we have not asked for, and that does no harm.
    Other,
    /// No line of the protocol.
    Garbled,
}

/// How a session begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Connected {
    /// Seconds between two pings; 0 for none.
    pub ping: u32,
    /// Whether they are to be answered.
    pub pong: bool,
}

/// How a subscription begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subscribed<'a> {
    /// Whether what is missed can be asked for later.
    pub recoverable: bool,
    /// Whether `publications` are all that was missed.
    pub recovered: bool,
    /// The stream.
    pub epoch: String,
    /// The place in it.
    pub offset: u64,
    /// What was missed.
    #[serde(borrow)]
    pub publications: Vec<Publication<'a>>,
}

/// One publication.
#[derive(Debug, Deserialize)]
pub struct Publication<'a> {
    /// What was published.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// Its place in the stream; 0 where nothing is kept.
    #[serde(default)]
    pub offset: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    id: u32,
    error: Option<Code>,
    connect: Option<Connected>,
    #[serde(borrow)]
    subscribe: Option<Box<Subscribed<'a>>>,
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
    publication: Option<Publication<'a>>,
    unsubscribe: Option<Code>,
}

impl<'a> Told<'a> {
    /// Reads one line.
    pub fn read(line: &'a [u8]) -> Self {
        if line == PING {
            return Self::Ping;
        }
        let Ok(line) = serde_json::from_slice::<Line<'a>>(line) else { return Self::Garbled };
        match line {
            Line { error: Some(Code { code }), id, .. } => Self::Refused(id, code),
            Line { push: Some(push), .. } => push.told(),
            Line { connect: Some(connected), .. } => Self::Connected(connected),
            Line { subscribe: Some(subscribed), .. } => Self::Subscribed(subscribed),
            Line { publish: Some(_), .. } => Self::Published,
            _ => Self::Other,
        }
    }
}

impl<'a> Push<'a> {
    fn told(self) -> Told<'a> {
        match self {
            Self { publication: Some(publication), .. } => Told::Publication(publication),
            Self { unsubscribe: Some(Code { code }), .. } => Told::Unsubscribed(code),
            Self { publication: None, unsubscribe: None } => Told::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::{Commands, Format, Request};

    use super::*;

    #[test]
    fn the_server_s_decoder_reads_what_is_said() {
        let mut frame = Vec::new();
        hello(&mut frame, Some("a.b.c"), "news", Some(Place { epoch: "E", offset: 7 }));
        frame.push(b'\n');
        publish(&mut frame, "news", r#"{"n":1}"#);
        let commands: Vec<_> = Commands::new(Format::Json, &frame).collect();
        let requests: Vec<_> =
            commands.iter().map(|command| command.as_ref().expect("a command")).collect();
        assert_eq!(requests.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(requests[0].request, Request::Connect(_)));
        assert!(matches!(requests[1].request, Request::Subscribe(_)));
        assert!(matches!(requests[2].request, Request::Publish(_)));
    }

    #[test]
    fn every_kind_of_line_is_told_apart() {
        let told = |line: &'static str| format!("{:?}", Told::read(line.as_bytes()));
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
        let Told::Publication(publication) = Told::read(line) else { panic!("a publication") };
        assert_eq!((publication.data.get(), publication.offset), (r#"{"n":5}"#, 9));
        let line = br#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":
            [{"data":1,"offset":6}],"recovered":true,"offset":5,"positioned":true}}"#;
        let Told::Subscribed(subscribed) = Told::read(line) else { panic!("a subscription") };
        assert!(subscribed.recovered && subscribed.recoverable);
        assert_eq!((&*subscribed.epoch, subscribed.offset), ("E", 5));
        assert_eq!(subscribed.publications[0].offset, 6);
    }
}
