//! A line of a frame in JSON: one command.

use super::command::{Command, Envelope};
use super::commands::Malformed;
use super::text::object;

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
        let id = envelope.id;
        envelope.open().ok_or(Malformed::NoRequest { id })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Commands, Connect, Format, Held, Publish, Request, Subscribe};
    use super::*;

    fn read(frame: &str) -> Vec<Result<(u32, Request<'_>), Malformed>> {
        let commands = Commands::new(Format::Json, frame.as_bytes());
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
            flag: 1,
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
        let subscribe = Subscribe { channel: "ch".into(), flag: 1, ..Subscribe::default() };
        assert!(!subscribe.must_recover());
        let subscribe = Request::Subscribe(subscribe);
        let expected = [Ok((1, Request::Connect(connect))), Ok((2, subscribe))];
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
            r#""offset":null,"recover":null,"tf":null,"type":null}}"#
        );
        assert_eq!(read(text), [Ok((1, subscribe("a")))]);
    }

    #[test]
    fn what_a_client_comes_back_to_is_read_in_its_order() {
        let text = concat!(
            r#"{"id":1,"connect":{"data":null,"#,
            r#""subs":{"b":{"recover":true,"offset":4,"epoch":"E"},"a":null,"b":{}}}}"#
        );
        let [Ok((1, Request::Connect(connect)))] = &read(text)[..] else { panic!("a connect") };
        assert!(connect.data.is_empty());
        let subs: Vec<_> = connect.subs.iter().map(|(name, held)| (name, held.clone())).collect();
        let first = Held { recover: true, epoch: "E".into(), offset: 4 };
        let expected = [("b", first), ("a", Held::default()), ("b", Held::default())];
        assert_eq!(subs, expected);
        let nothing = read(r#"{"id":1,"connect":{"subs":null}}"#);
        assert_eq!(nothing, [Ok((1, Request::Connect(Connect::default())))]);
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
            r#"{"id":1,"connect":{"subs":[]}}"#,
            r#"{"id":1,"connect":{"subs":{"a":[true]}}}"#,
            r#"{"id":1,"connect":{"subs":{"a":{"recover":1}}}}"#,
            r#"{"id":1,"history":{"since":[1,"E"]}}"#,
            r#"{"id":1,"history":{"limit":2147483648}}"#,
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
            let mut commands = Commands::new(Format::Json, frame);
            assert!(matches!(commands.next(), Some(Err(Malformed::Syntax { .. }))));
            assert_eq!(commands.next(), None);
        }
        let frame = b"{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\xc3\"}}";
        assert!(matches!(
            Commands::new(Format::Json, frame).next(),
            Some(Err(Malformed::Syntax { .. }))
        ));
    }

    #[test]
    fn a_name_without_escapes_is_borrowed_from_the_frame() {
        let frame = r#"{"id":1,"unsubscribe":{"channel":"news"}}"#.as_bytes();
        let command = Command::from_json(frame).unwrap();
        let Request::Unsubscribe(Channel { channel }) = command.request else { panic!("one") };
        assert!(frame.as_ptr_range().contains(&channel.as_ptr()));
    }
}
