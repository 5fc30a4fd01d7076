//! A JSON frame: one command on each line, with or without a line feed behind the last (1).

use std::fmt;

use super::command::{Command, Envelope};
use super::text::object;

/// Why a frame, or the rest of it, cannot be read. The client is told 3501, whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// An empty frame, or an empty line between two commands.
    BlankLine,
    /// Not a command in JSON, from this column of its line on.
    Syntax {
        /// Counted from 1.
        column: usize,
    },
    /// It has a number, but asks for nothing that the protocol knows.
    NoRequest {
        /// The number.
        id: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlankLine => out.write_str("an empty line where a command was expected"),
            Self::Syntax { column } => write!(out, "not a command in JSON, at column {column}"),
            Self::NoRequest { id } => write!(out, "command {id} asks for nothing known"),
        }
    }
}

impl std::error::Error for Malformed {}

impl<'a> Command<'a> {
    /// Reads one line.
    pub fn from_json(line: &'a [u8]) -> Result<Self, Malformed> {
        if line.is_empty() {
            return Err(Malformed::BlankLine);
        }
        let syntax = |error: serde_json::Error| Malformed::Syntax { column: error.column() };
        let mut json = serde_json::Deserializer::from_slice(line);
        let envelope: Option<Envelope<'a>> = object(&mut json).map_err(syntax)?;
        json.end().map_err(syntax)?;
        let envelope = envelope.ok_or(Malformed::Syntax { column: 1 })?; // `null`
        let id = envelope.id();
        envelope.open().ok_or(Malformed::NoRequest { id })
    }
}

/// The lines of one frame, each with its command; ends at the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Commands<'a> {
    /// The commands of a frame in JSON.
    pub fn json(frame: &'a [u8]) -> Self {
        Self::lines(frame.strip_suffix(b"\n").unwrap_or(frame))
    }

    /// The same without the line feed that may stand behind a frame.
    pub fn lines(lines: &'a [u8]) -> Self {
        Self { rest: Some(lines) }
    }

    /// The lines that have not been read; `None` at the end.
    pub fn rest(&self) -> Option<&'a [u8]> {
        self.rest
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let end = memchr::memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        match Command::from_json(line) {
            Ok(command) => {
                self.rest = end.map(|end| &rest[end + 1..]);
                Some(Ok(command))
            }
            Err(malformed) => Some(Err(malformed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Connect, Publish, Request, Subscribe};
    use super::*;

    fn read(frame: &str) -> Vec<Result<(u32, Request<'_>), Malformed>> {
        let commands = Commands::json(frame.as_bytes());
        commands.map(|one| one.map(|command| (command.id, command.request))).collect()
    }

    fn subscribe(channel: &str) -> Request<'_> {
        Request::Subscribe(Subscribe { channel: channel.into(), ..Subscribe::default() })
    }

    #[test]
    fn the_examples_of_the_reference_are_read() {
        let connect = r#"{"id":1,"connect":{"token":"t","name":"go"}}"#;
        let request = Connect { token: "t".into(), name: "go".into(), ..Connect::default() };
        assert_eq!(read(connect), [Ok((1, Request::Connect(request)))]);

        let text = concat!(
            r#"{"id":2,"subscribe":{"channel":"ch","recover":true,"#,
            r#""epoch":"E","offset":5,"flag":1}}"#
        );
        let request = Subscribe {
            channel: "ch".into(),
            recover: true,
            epoch: "E".into(),
            offset: 5,
            ..Subscribe::default()
        };
        assert_eq!(read(text), [Ok((2, Request::Subscribe(request)))]);

        let [Ok((4, Request::Publish(Publish { channel, data, kind: 0 })))] =
            &read(r#"{"id":4,"publish":{"channel":"ch","data":1}}"#)[..]
        else {
            panic!("a publish");
        };
        assert_eq!((&**channel, data.bytes()), ("ch", &b"1"[..]));
        assert_eq!(read("{}"), [Ok((0, Request::Pong))]);
    }

    #[test]
    fn the_first_frame_of_the_javascript_client_is_two_commands() {
        let frame = "{\"connect\":{\"name\":\"js\"},\"id\":1}\n\
                     {\"subscribe\":{\"channel\":\"ch\",\"flag\":1},\"id\":2}";
        let connect = Connect { name: "js".into(), ..Connect::default() };
        let expected = [Ok((1, Request::Connect(connect))), Ok((2, subscribe("ch")))];
        assert_eq!(read(frame), expected);
        assert_eq!(read(&format!("{frame}\n")), expected, "with a line feed behind");
    }

    #[test]
    fn nothing_behind_a_blank_line_is_read() {
        let blank = || Err(Malformed::BlankLine);
        assert_eq!(read(""), [blank()]);
        assert_eq!(read("\n"), [blank()]);
        assert_eq!(read("{}\n\n"), [Ok((0, Request::Pong)), blank()]);
        assert_eq!(read("{}\n\n{}"), [Ok((0, Request::Pong)), blank()]);
        assert_eq!(read("\n{}"), [blank()]);
    }

    #[test]
    fn what_asks_for_nothing_is_malformed_and_what_has_no_number_is_a_pong() {
        assert_eq!(read(r#"{"id":7}"#), [Err(Malformed::NoRequest { id: 7 })]);
        assert_eq!(read(r#"{"id":7,"ping":{}}"#), [Err(Malformed::NoRequest { id: 7 })]);
        assert_eq!(read(r#"{"id":7,"connect":null}"#), [Err(Malformed::NoRequest { id: 7 })]);
        assert_eq!(read(r#"{"connect":{}}"#), [Ok((0, Request::Pong))]);
        assert_eq!(read(r#"{"id":0,"rpc":{}}"#), [Ok((0, Request::Pong))]);
        assert_eq!(read(r#"{"send":{"data":{}}}"#), [Ok((0, Request::Send))]);
        assert_eq!(read(r#"{"id":3,"send":{}}"#), [Ok((3, Request::Send))]);
    }

    #[test]
    fn of_several_requests_in_one_command_the_first_of_the_reference_counts() {
        let text = r#"{"id":1,"rpc":{},"unsubscribe":{"channel":"b"},"subscribe":{"channel":"a"}}"#;
        assert_eq!(read(text), [Ok((1, subscribe("a")))]);
    }

    #[test]
    fn unknown_fields_and_nulls_are_ignored() {
        let text = concat!(
            r#"{"later":[1,{}],"id":1,"subscribe":{"x":null,"channel":"a","token":null,"#,
            r#""offset":null,"recover":null,"type":null}}"#
        );
        assert_eq!(read(text), [Ok((1, subscribe("a")))]);
    }

    #[test]
    fn escapes_are_resolved_and_data_stays_as_it_was() {
        let text =
            r#"{"id":1,"publish":{"channel":"\u00e9\n","data": {"a" : [1.0e5, "\u0041"]} }}"#;
        let [Ok((1, Request::Publish(publish)))] = &read(text)[..] else { panic!("a publish") };
        assert_eq!(&*publish.channel, "é\n");
        assert_eq!(publish.data.bytes(), br#"{"a" : [1.0e5, "\u0041"]}"#);
    }

    #[test]
    fn what_is_no_command_is_malformed() {
        let cases = [
            "x",
            "[]",
            "null",
            r#"{"id":1,"subscribe":["a"]}"#,
            r#"{"id":1,"rpc":[]}"#,
            "1",
            "{",
            "{}x",
            "{} {}",
            r#"{"id":-1,"rpc":{}}"#,
            r#"{"id":4294967296,"rpc":{}}"#,
            r#"{"id":1.5,"rpc":{}}"#,
            r#"{"id":"1","rpc":{}}"#,
            r#"{"id":1,"subscribe":"a"}"#,
            r#"{"id":1,"subscribe":{"channel":5}}"#,
            r#"{"id":1,"publish":{"channel":"a","data":}}"#,
            r#"{"id":1,"id":2,"rpc":{}}"#,
        ];
        for case in cases {
            let is_syntax = matches!(read(case)[..], [Err(Malformed::Syntax { .. })]);
            assert!(is_syntax, "{case}: {:?}", read(case));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_malformed() {
        for frame in [&b"\xff"[..], b"{\"id\":1,\"subscribe\":{\"channel\":\"\xff\"}}"] {
            let mut commands = Commands::json(frame);
            assert!(matches!(commands.next(), Some(Err(Malformed::Syntax { .. }))));
            assert_eq!(commands.next(), None);
        }
        let frame = b"{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\xc3\"}}";
        assert!(matches!(Commands::json(frame).next(), Some(Err(Malformed::Syntax { .. }))));
    }

    #[test]
    fn a_name_without_escapes_is_borrowed_from_the_frame() {
        let frame = r#"{"id":1,"unsubscribe":{"channel":"news"}}"#.as_bytes();
        let command = Command::from_json(frame).unwrap();
        let Request::Unsubscribe(Channel { channel }) = command.request else { panic!("one") };
        assert!(frame.as_ptr_range().contains(&channel.as_ptr()));
    }
}
