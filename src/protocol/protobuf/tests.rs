//! Commands as in the examples of the reference (29) and of an SDK, and what holds for all of
//! them: both formats say the same, a part says nothing, and what is unknown is passed over.

use proptest::prelude::*;
use serde_json::json;

use super::super::{Channel, Command, Commands, Connect, Format, Malformed, Request, Subscribe};
use super::writer::Message;
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| digit.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn read(frame: &[u8]) -> Vec<Result<Command<'_>, Malformed>> {
    Commands::new(Format::Protobuf, frame).collect()
}

/// Frames with the same in JSON.
const EXAMPLES: [(&str, &str); 11] = [
    ("0b080122070a01742202676f", r#"{"id":1,"connect":{"token":"t","name":"go"}}"#),
    (
        "1108022a0d0a026368180132014538057001",
        r#"{"id":2,"subscribe":{"channel":"ch","recover":true,"epoch":"E","offset":5,"flag":1}}"#,
    ),
    ("0b08043a070a026368120131", r#"{"id":4,"publish":{"channel":"ch","data":1}}"#),
    ("080801220422026a73", r#"{"id":1,"connect":{"name":"js"}}"#),
    ("00", "{}"),
    (
        "1f0801221b0a017412027b7d1a0e0a037372761207180132014538042202676f",
        concat!(
            r#"{"id":1,"connect":{"token":"t","data":{},"#,
            r#""subs":{"srv":{"recover":true,"epoch":"E","offset":4}},"name":"go"}}"#
        ),
    ),
    (
        "2008022a1c0a026368180132014538054201314801500158016206666f7373696c",
        concat!(
            r#"{"id":2,"subscribe":{"channel":"ch","recover":true,"epoch":"E","offset":5,"#,
            r#""data":1,"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil"}}"#
        ),
    ),
    (
        "1c080752180a02636838ffffffffffffffffff01420508031201454801",
        concat!(
            r#"{"id":7,"history":{"channel":"ch","limit":-1,"since":{"offset":3,"epoch":"E"},"#,
            r#""reverse":true}}"#
        ),
    ),
    ("08080642040a026368", r#"{"id":6,"presence":{"channel":"ch"}}"#),
    ("0808064a040a026368", r#"{"id":6,"presence_stats":{"channel":"ch"}}"#),
    ("08080632040a026368", r#"{"id":6,"unsubscribe":{"channel":"ch"}}"#),
];

#[test]
fn the_examples_of_the_reference_are_read() {
    for (frame, json) in EXAMPLES {
        let frame = bytes(frame);
        let expected: Vec<_> = Commands::new(Format::Json, json.as_bytes()).collect();
        assert!(expected[0].is_ok(), "{json}");
        assert_eq!(read(&frame), expected, "{json}");
    }
}

#[test]
fn several_commands_of_one_frame_are_read_in_order() {
    let frame = bytes(&EXAMPLES.map(|(frame, _)| frame).concat());
    let ids: Vec<_> = read(&frame).iter().map(|command| command.as_ref().unwrap().id).collect();
    assert_eq!(ids, [1, 2, 4, 1, 0, 1, 2, 7, 6, 6, 6]);
}

#[test]
fn a_frame_that_is_cut_anywhere_holds_no_command_of_what_was_cut() {
    for (frame, _) in EXAMPLES {
        let frame = bytes(frame);
        for end in 0..frame.len() {
            let commands = read(&frame[..end]);
            assert!(matches!(commands[..], [Err(_)]), "{end} of {frame:?}: {commands:?}");
        }
    }
    let two = bytes(&[EXAMPLES[0].0, EXAMPLES[2].0].concat());
    let first = bytes(EXAMPLES[0].0).len();
    for end in first + 1..two.len() {
        assert!(matches!(read(&two[..end])[..], [Ok(_), Err(_)]), "cut at {end}");
    }
    assert_eq!(read(b""), [Err(Malformed::BlankLine)]);
}

#[test]
fn a_length_within_a_message_does_not_reach_beyond_it() {
    // The connect request says 8 bytes and has 7; the eighth is the next command's.
    let frame = bytes("0b080122080a01742202676f00");
    let error = WireError::Length { declared: 8, left: 7 };
    assert_eq!(read(&frame), [Err(Malformed::Protobuf(error))]);
}

#[test]
fn unknown_fields_are_passed_over_wherever_they_stand() {
    let subscribe = [("0a026368", "channel"), ("1801", "recover"), ("3805", "offset")];
    // Of each wire type, with numbers that nothing has, and with one that only others have.
    let unknown = ["a00605", "a2060161", "a50601020304", "a1060102030405060708", "8a01020a00"];
    for unknown in unknown {
        for place in 0..=subscribe.len() {
            let mut fields: Vec<&str> = subscribe.iter().map(|(field, _)| *field).collect();
            fields.insert(place, unknown);
            let inner = bytes(&fields.concat());
            let mut frame = Vec::new();
            let mut message = Message::begin(&mut frame);
            message.number(100, 1);
            message.bytes(5, &inner);
            message.number(1, 9);
            message.end();
            let request = Subscribe {
                channel: "ch".into(),
                recover: true,
                offset: 5,
                ..Subscribe::default()
            };
            let command = Command { id: 9, request: Request::Subscribe(request) };
            assert_eq!(read(&frame), [Ok(command)], "{unknown} at {place}");
        }
    }
}

#[test]
fn a_known_field_of_another_wire_type_is_malformed() {
    let cases = [
        ("0a0161", 1),           // the number as a string
        ("2001", 4),             // a connect that is a number
        ("080122020801", 1),     // its token as a number
        ("080125ffffffff", 4),   // a connect of four bytes
        ("08012a0318010a00", 0), // a channel whose bytes are not there
        ("08012a031a0161", 3),   // whether to recover, as a string
        ("08013a0412001005", 2), // data as a number, after it came as bytes
        ("08012a026801", 13),    // a tags filter that is a number
        ("08016801", 13),        // an rpc that is a number
        ("08016000", 12),        // a send that is a number
    ];
    for (message, field) in cases {
        let mut frame = Vec::new();
        let message = bytes(message);
        frame.push(message.len().try_into().unwrap());
        frame.extend(message);
        match read(&frame)[..] {
            [Err(Malformed::Protobuf(WireError::WireType { field: found }))] if field > 0 => {
                assert_eq!(found, field, "{frame:?}");
            }
            [Err(Malformed::Protobuf(_))] if field == 0 => {}
            ref other => panic!("{frame:?}: {other:?}"),
        }
    }
}

#[test]
fn numbers_out_of_range_and_strings_that_are_none_are_malformed() {
    let malformed = |message: &str| {
        let mut frame = Vec::new();
        let mut outer = Message::begin(&mut frame);
        let inner = bytes(message);
        outer.number(1, 1);
        outer.bytes(5, &inner);
        outer.end();
        match read(&frame)[..] {
            [Err(Malformed::Protobuf(error))] => error,
            ref other => panic!("{message}: {other:?}"),
        }
    };
    assert_eq!(malformed("0a01ff"), WireError::Text { field: 1 });
    assert_eq!(malformed("788080808010"), WireError::Number, "a type beyond 32 bits");
    assert_eq!(malformed("38ffffffffffffffffff02"), WireError::Number, "an offset beyond 64");
    let id = bytes("06088080808010");
    assert_eq!(read(&id), [Err(Malformed::Protobuf(WireError::Number))], "an id beyond 32 bits");
}

#[test]
fn what_asks_for_nothing_is_malformed_and_what_has_no_number_is_a_pong() {
    assert_eq!(read(&bytes("020807")), [Err(Malformed::NoRequest { id: 7 })]);
    assert_eq!(read(&bytes("0408075a00")), [Err(Malformed::NoRequest { id: 7 })], "ping");
    assert_eq!(read(&bytes("022200")), [Ok(Command { id: 0, request: Request::Pong })]);
    assert_eq!(read(&bytes("026200")), [Ok(Command { id: 0, request: Request::Send })]);
    let last = Command { id: 1, request: Request::Connect(Connect::default()) };
    assert_eq!(read(&bytes("0608016a002200")), [Ok(last)], "of several, the first of the list");
}

#[test]
fn names_and_data_are_borrowed_from_the_frame() {
    let frame = bytes(EXAMPLES[2].0);
    let command = read(&frame).remove(0).unwrap();
    let Request::Publish(publish) = &command.request else { panic!("{command:?}") };
    for borrowed in [publish.channel.as_bytes(), publish.data.bytes()] {
        assert!(frame.as_ptr_range().contains(&borrowed.as_ptr()));
    }
}

/// A request as JSON has it, and the same fields with their numbers.
type Said = (&'static str, u32, serde_json::Value, Vec<(u32, Value)>);

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Number(u64),
    Signed(i64),
    Message(Vec<(u32, Value)>),
    Flag(bool),
}

impl Value {
    fn write(&self, message: &mut Message<'_>, field: u32) {
        match self {
            Self::Text(text) => message.text(field, text),
            Self::Number(number) => message.number(field, *number),
            Self::Signed(number) => message.number(field, number.cast_unsigned()),
            Self::Message(fields) => {
                let mut message = message.message(field);
                for (field, value) in fields {
                    value.write(&mut message, *field);
                }
                message.end();
            }
            Self::Flag(flag) => message.flag(field, *flag),
        }
    }
}

prop_compose! {
    fn subscribe()(
        channel in ".{0,9}", token in ".{0,200}", epoch in ".{0,4}", delta in ".{0,8}",
        offset in any::<u64>(), kind in any::<i32>(), flags in any::<[bool; 4]>(),
        flag in any::<i64>(),
    ) -> Said {
        let [recover, positioned, recoverable, join_leave] = flags;
        let json = json!({
            "channel": channel, "token": token, "recover": recover, "epoch": epoch,
            "offset": offset, "positioned": positioned, "recoverable": recoverable,
            "join_leave": join_leave, "delta": delta, "type": kind, "flag": flag,
        });
        let fields = vec![
            (1, Value::Text(channel)), (2, Value::Text(token)), (3, Value::Flag(recover)),
            (6, Value::Text(epoch)), (7, Value::Number(offset)), (9, Value::Flag(positioned)),
            (10, Value::Flag(recoverable)), (11, Value::Flag(join_leave)),
            (12, Value::Text(delta)), (14, Value::Signed(flag)), (15, Value::Signed(kind.into())),
        ];
        ("subscribe", 5, json, fields)
    }
}

fn texts(
    name: &'static str,
    number: u32,
    keys: &'static [(&str, u32)],
) -> impl Strategy<Value = Said> {
    proptest::collection::vec(".{0,150}", keys.len()).prop_map(move |values| {
        let pairs = keys.iter().zip(&values);
        let json = pairs.clone().map(|((key, _), value)| ((*key).to_owned(), json!(value)));
        let fields = pairs.map(|((_, field), value)| (*field, Value::Text(value.clone())));
        (name, number, serde_json::Value::Object(json.collect()), fields.collect())
    })
}

fn publish() -> impl Strategy<Value = Said> {
    (".{0,9}", any::<i32>(), any::<Option<i64>>()).prop_map(|(channel, kind, data)| {
        let data = json!({ "n": data });
        let text = data.to_string();
        let json = json!({ "channel": channel, "type": kind, "data": data });
        let fields = vec![
            (1, Value::Text(channel)),
            (2, Value::Text(text)),
            (3, Value::Signed(kind.into())),
        ];
        ("publish", 7, json, fields)
    })
}

prop_compose! {
    fn history()(
        channel in ".{0,9}", limit in any::<i32>(), reverse in any::<bool>(),
        since in any::<Option<(u64, u8)>>(),
    ) -> Said {
        let epoch = |number: u8| "E".repeat(number.into());
        let position = since.map(|(offset, of)| json!({ "offset": offset, "epoch": epoch(of) }));
        let json = json!({
            "channel": channel, "limit": limit, "reverse": reverse, "since": position,
        });
        let mut fields = vec![
            (1, Value::Text(channel)), (7, Value::Signed(limit.into())), (9, Value::Flag(reverse)),
        ];
        let position = since.map(|(offset, of)| {
            Value::Message(vec![(1, Value::Number(offset)), (2, Value::Text(epoch(of)))])
        });
        fields.extend(position.map(|value| (8, value)));
        ("history", 10, json, fields)
    }
}

prop_compose! {
    /// A connect of a client that comes back.
    fn recovering()(
        subs in proptest::collection::btree_map(".{0,9}", any::<(bool, u64)>(), 0..4),
    ) -> Said {
        let objects = subs.iter().map(|(channel, (recover, offset))| {
            (channel.clone(), json!({ "recover": recover, "offset": offset }))
        });
        let json = json!({ "subs": serde_json::Value::Object(objects.collect()) });
        let entries = subs.iter().map(|(channel, (recover, offset))| {
            let held = vec![(3, Value::Flag(*recover)), (7, Value::Number(*offset))];
            let channel = Value::Text(channel.clone());
            (3, Value::Message(vec![(1, channel), (2, Value::Message(held))]))
        });
        ("connect", 4, json, entries.collect())
    }
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        subscribe(),
        publish(),
        texts("connect", 4, &[("token", 1), ("name", 4), ("version", 5)]),
        texts("unsubscribe", 6, &[("channel", 1)]),
        texts("presence", 8, &[("channel", 1)]),
        texts("presence_stats", 9, &[("channel", 1)]),
        history(),
        recovering(),
        texts("send", 12, &[]),
        texts("rpc", 13, &[("method", 2)]),
        texts("refresh", 14, &[("token", 1)]),
        texts("sub_refresh", 15, &[("channel", 1), ("token", 2)]),
    ]
}

proptest! {
    #[test]
    fn a_command_is_the_same_in_both_formats(id in any::<u32>(), said in said()) {
        let (name, number, value, fields) = said;
        let line = json!({ "id": id, name: value }).to_string();
        let mut frame = Vec::new();
        let mut message = Message::begin(&mut frame);
        message.number(1, id.into());
        let mut request = message.message(number);
        for (field, value) in &fields {
            value.write(&mut request, *field);
        }
        request.end();
        message.end();
        let in_json: Vec<_> = Commands::new(Format::Json, line.as_bytes()).collect();
        prop_assert!(in_json[0].is_ok(), "{line}");
        prop_assert_eq!(read(&frame), in_json);
    }

    #[test]
    fn a_command_of_many_bytes_has_lengths_of_many(channel in "[a-z]{0,40000}") {
        let mut frame = Vec::new();
        let mut message = Message::begin(&mut frame);
        message.number(1, 1);
        let mut request = message.message(6);
        request.text(1, &channel);
        request.end();
        message.end();
        let request = Request::Unsubscribe(Channel { channel: channel.as_str().into() });
        prop_assert_eq!(read(&frame), [Ok(Command { id: 1, request })]);
    }
}
