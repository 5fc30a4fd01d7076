//! What clients of the protocol say and are told, in either of its formats.
//!
//! ```text
//!   hello, publish ─▶ bytes of a message        bytes of a message ─▶ Told, Told, …
//! ```
//!
//! Both formats are read and written by code of the generator's own: a server that errs in the same
//! way as its client would be found by neither. Invariant: what is none of the protocol is
//! [`Told::Garbled`], whatever it is.
#![forbid(unsafe_code)]

mod json;
mod protobuf;

use serde::Deserialize;

use crate::protocol::Format;

/// The ids of the commands of one session: it has one of each kind under way.
pub const CONNECT_ID: u32 = 1;
/// See [`CONNECT_ID`].
pub const SUBSCRIBE_ID: u32 = 2;
/// See [`CONNECT_ID`].
pub const PUBLISH_ID: u32 = 3;

/// Where in a channel's stream a client was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The stream.
    pub epoch: &'a str,
    /// The last publication it has seen.
    pub offset: u64,
}

/// Appends the first message of a session: connect and subscribe in one, as the SDKs send them.
pub fn hello(
    format: Format,
    out: &mut Vec<u8>,
    token: Option<&str>,
    channel: &str,
    from: Option<Place<'_>>,
) {
    match format {
        Format::Json => json::hello(out, token, channel, from),
        Format::Protobuf => protobuf::hello(out, token, channel, from),
    }
}

/// Appends a publication; `data` is JSON.
pub fn publish(format: Format, out: &mut Vec<u8>, channel: &str, data: &str) {
    match format {
        Format::Json => json::publish(out, channel, data),
        Format::Protobuf => protobuf::publish(out, channel, data),
    }
}

/// What the server has said in one message, one after the other.
#[derive(Debug)]
pub struct Words<'a> {
    format: Format,
    rest: Option<&'a [u8]>,
}

impl<'a> Words<'a> {
    /// Those of a whole message.
    pub fn new(format: Format, message: &'a [u8]) -> Self {
        Self { format, rest: Some(message) }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Told<'a>;

    fn next(&mut self) -> Option<Told<'a>> {
        let bytes = self.rest?;
        match self.format {
            Format::Json => {
                let end = memchr::memchr(b'\n', bytes);
                self.rest = end.map(|end| &bytes[end + 1..]);
                Some(json::read(&bytes[..end.unwrap_or(bytes.len())]))
            }
            Format::Protobuf => {
                let (told, rest) = protobuf::read(bytes);
                self.rest = Some(rest).filter(|rest| !rest.is_empty());
                Some(told)
            }
        }
    }
}

/// One thing that a client is told.
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
    /// Nothing of the protocol.
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
#[derive(Debug, Default)]
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
    pub publications: Vec<Publication<'a>>,
}

/// One publication.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication<'a> {
    /// What was published.
    pub data: &'a [u8],
    /// Its place in the stream; 0 where nothing is kept.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Commands, Failure, Push, Reply, Request, UnsubscribeCode};

    const FORMATS: [Format; 2] = [Format::Json, Format::Protobuf];

    #[test]
    fn the_server_s_decoder_reads_what_is_said() {
        for format in FORMATS {
            let mut frame = Vec::new();
            let place = Place { epoch: "E", offset: 700 };
            hello(format, &mut frame, Some("a.b.c"), "news", Some(place));
            frame.extend_from_slice(format.separator());
            publish(format, &mut frame, "news", r#"{"n":1}"#);
            let commands: Vec<_> = Commands::new(format, &frame).collect();
            let requests: Vec<_> =
                commands.iter().map(|command| command.as_ref().expect("a command")).collect();
            assert_eq!(requests.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(matches!(requests[0].request, Request::Connect(_)));
            assert!(matches!(requests[1].request, Request::Subscribe(_)));
            assert!(matches!(requests[2].request, Request::Publish(_)));
            let words = format!("{requests:?}");
            for word in ["a.b.c", "news", "700", "\"E\""] {
                assert!(words.contains(word), "{word} is not in {words}");
            }
        }
    }

    #[test]
    fn what_the_server_writes_is_told_apart() {
        for format in FORMATS {
            let mut message = Vec::new();
            let data = br#"{"n":1}"#;
            let publication =
                crate::protocol::Publication { data, offset: 300, ..Default::default() };
            let end = UnsubscribeCode::Server;
            for push in [Push::Publication(publication), Push::Unsubscribe(end)] {
                format.write_push(&mut message, "news", &push);
                message.extend_from_slice(format.separator());
            }
            format.write_reply(&mut message, PUBLISH_ID, &Reply::Publish);
            let told = Words::new(format, &message).map(|told| format!("{told:?}"));
            let said: Vec<_> = told.collect();
            let expected = Publication { data, offset: 300 };
            let unsubscribed = format!("Unsubscribed({})", end.code());
            assert_eq!(
                said,
                [format!("Publication({expected:?})"), unsubscribed, "Published".to_owned()]
            );
            let mut message = Vec::new();
            let failure = Failure { code: 103, message: "x", is_temporary: false };
            format.write_reply(&mut message, SUBSCRIBE_ID, &Reply::Failure(failure));
            let told: Vec<_> = Words::new(format, &message).collect();
            assert!(matches!(told[..], [Told::Refused(SUBSCRIBE_ID, 103)]), "{told:?}");
            let told: Vec<_> = Words::new(format, format.ping()).collect();
            assert!(matches!(told[..], [Told::Ping]), "{told:?}");
        }
    }
}
