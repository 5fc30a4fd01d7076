//! What clients say and hear in both formats of the protocol. Whoever speaks one of them says and
//! hears JSON values here, so that it need not know which.
//!
//! Its reader and writer of Protobuf are its own: a server that errs in the same way as its client
//! would be found by neither.

use serde_json::{Map, Value};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Protobuf,
}

/// One field of a message: its number, its name in JSON, and what it holds.
struct Field(u64, &'static str, Kind);

enum Kind {
    Number,
    Flag,
    Text,
    /// Bytes that are JSON.
    Data,
    One(&'static [Field]),
    Many(&'static [Field]),
    /// By names.
    Map(&'static [Field]),
}

use Kind::{Data, Flag, Many, Number, One, Text};

const NOTHING: &[Field] = &[];
const CHANNEL: &[Field] = &[Field(1, "channel", Text)];
const SUBSCRIBE: &[Field] = &[
    Field(1, "channel", Text),
    Field(3, "recover", Flag),
    Field(6, "epoch", Text),
    Field(7, "offset", Number),
];
const CONNECT: &[Field] = &[Field(1, "token", Text), Field(3, "subs", Kind::Map(SUBSCRIBE))];
const PUBLISH: &[Field] = &[Field(1, "channel", Text), Field(2, "data", Data)];
const HISTORY: &[Field] = &[Field(1, "channel", Text), Field(7, "limit", Number)];
const RPC: &[Field] = &[Field(1, "data", Data), Field(2, "method", Text)];
const COMMAND: &[Field] = &[
    Field(1, "id", Number),
    Field(4, "connect", One(CONNECT)),
    Field(5, "subscribe", One(SUBSCRIBE)),
    Field(6, "unsubscribe", One(CHANNEL)),
    Field(7, "publish", One(PUBLISH)),
    Field(8, "presence", One(CHANNEL)),
    Field(9, "presence_stats", One(CHANNEL)),
    Field(10, "history", One(HISTORY)),
    Field(13, "rpc", One(RPC)),
];

const INFO: &[Field] = &[Field(1, "user", Text), Field(2, "client", Text)];
const ERROR: &[Field] = &[Field(1, "code", Number), Field(2, "message", Text)];
const TAG: &[Field] = &[Field(1, "name", Text), Field(2, "value", Text)];
const PUBLICATION: &[Field] = &[
    Field(4, "data", Data),
    Field(5, "info", One(INFO)),
    Field(6, "offset", Number),
    Field(7, "tags", Many(TAG)),
];
const SUBSCRIBED: &[Field] = &[
    Field(3, "recoverable", Flag),
    Field(6, "epoch", Text),
    Field(7, "publications", Many(PUBLICATION)),
    Field(8, "recovered", Flag),
    Field(9, "offset", Number),
    Field(10, "positioned", Flag),
    Field(12, "was_recovering", Flag),
];
const CONNECTED: &[Field] = &[Field(1, "client", Text), Field(6, "subs", Kind::Map(SUBSCRIBED))];
const READ: &[Field] = &[
    Field(1, "publications", Many(PUBLICATION)),
    Field(2, "epoch", Text),
    Field(3, "offset", Number),
];
const JOINED: &[Field] = &[Field(1, "info", One(INFO))];
const ENDED: &[Field] = &[Field(2, "code", Number), Field(3, "reason", Text)];
const PUSH: &[Field] = &[
    Field(2, "channel", Text),
    Field(4, "pub", One(PUBLICATION)),
    Field(5, "join", One(JOINED)),
    Field(6, "leave", One(JOINED)),
    Field(7, "unsubscribe", One(ENDED)),
];
const REPLY: &[Field] = &[
    Field(1, "id", Number),
    Field(2, "error", One(ERROR)),
    Field(4, "push", One(PUSH)),
    Field(5, "connect", One(CONNECTED)),
    Field(6, "subscribe", One(SUBSCRIBED)),
    Field(7, "unsubscribe", One(NOTHING)),
    Field(8, "publish", One(NOTHING)),
    Field(9, "presence", One(&[Field(1, "presence", Kind::Map(INFO))])),
    Field(10, "presence_stats", One(&[Field(1, "num_clients", Number)])),
    Field(11, "history", One(READ)),
    Field(13, "rpc", One(&[Field(1, "data", Data)])),
];

/// A tag of a publication, in whichever format it came.
pub(super) fn tag<'a>(publication: &'a Value, name: &str) -> Option<&'a str> {
    let tags = publication.get("tags")?;
    let of_list = |list: &'a Vec<Value>| list.iter().find(|tag| tag["name"] == name)?.get("value");
    tags.as_array().map_or_else(|| tags.get(name), of_list)?.as_str()
}

/// Commands as one frame.
pub(super) fn frame(form: Form, commands: &[Value]) -> Vec<u8> {
    if form == Form::Json {
        let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
        return lines.join("\n").into_bytes();
    }
    commands.iter().flat_map(|command| delimited(&written(command, COMMAND))).collect()
}

/// The replies and pushes of a frame.
pub(super) fn replies(form: Form, mut bytes: &[u8]) -> Vec<Value> {
    let mut replies = Vec::new();
    if form == Form::Json {
        let text = std::str::from_utf8(bytes).expect("text");
        let read = |line| serde_json::from_str(line).expect("one value on each line");
        return text.lines().map(read).collect();
    }
    while !bytes.is_empty() {
        replies.push(read(take(&mut bytes), REPLY));
    }
    replies
}

fn written(value: &Value, fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().expect("a message is an object") {
        let field = fields.iter().find(|field| field.1 == name).expect("clients say what is known");
        let Field(number, _, kind) = field;
        let mut put =
            |bytes: &[u8]| out.extend([varint(number << 3 | 2), delimited(bytes)].concat());
        match kind {
            Text => put(value.as_str().expect("a text").as_bytes()),
            Data => put(value.to_string().as_bytes()),
            One(fields) => put(&written(value, fields)),
            Many(_) => unreachable!("clients say no lists"),
            Kind::Map(fields) => {
                for (name, value) in value.as_object().expect("a map is an object") {
                    let key = [vec![1 << 3 | 2], delimited(name.as_bytes())];
                    let value = [vec![2 << 3 | 2], delimited(&written(value, fields))];
                    put(&[key.concat(), value.concat()].concat());
                }
            }
            Number | Flag => {
                let value =
                    value.as_u64().unwrap_or_else(|| u64::from(value == &Value::Bool(true)));
                out.extend([varint(number << 3), varint(value)].concat());
            }
        }
    }
    out
}

/// A message as the object that it is in JSON. Fields that are not known are passed over, as by
/// the official clients.
fn read(mut bytes: &[u8], fields: &[Field]) -> Value {
    let mut object = Map::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let (amount, held) = match key & 7 {
            0 => (number(&mut bytes), &[][..]),
            2 => (0, take(&mut bytes)),
            other => panic!("wire type {other}"),
        };
        let Some(Field(_, name, kind)) = fields.iter().find(|field| field.0 == key >> 3) else {
            continue;
        };
        let entry = object.entry(*name);
        match kind {
            Number => *entry.or_insert(Value::Null) = amount.into(),
            Flag => *entry.or_insert(Value::Null) = (amount > 0).into(),
            Text => *entry.or_insert(Value::Null) = text(held).into(),
            Data => {
                let value = serde_json::from_slice(held).expect("what is published is JSON here");
                *entry.or_insert(Value::Null) = value;
            }
            One(fields) => *entry.or_insert(Value::Null) = read(held, fields),
            Many(fields) => {
                let list = entry.or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().expect("made so").push(read(held, fields));
            }
            Kind::Map(fields) => {
                let named = [Field(1, "name", Text), Field(2, "value", One(fields))];
                let mut named = read(held, &named);
                let value = named["value"].take();
                let map = entry.or_insert_with(|| Value::Object(Map::new()));
                map[named["name"].as_str().unwrap_or_default()] = value;
            }
        }
    }
    Value::Object(object)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("a string")
}

fn number(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

fn take<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(number(bytes)).expect("short");
    let (value, rest) = bytes.split_at(length);
    *bytes = rest;
    value
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn delimited(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// By the wire examples of the official clients.
    #[test]
    fn what_is_said_and_heard_is_what_the_official_clients_say_and_hear() {
        let subscribe = json!({
            "id": 2,
            "subscribe": {"channel": "ch", "recover": true, "epoch": "E", "offset": 5},
        });
        // Fields in the order of their names in JSON, which is none of the protocol's concern.
        let said = b"\x0f\x08\x02\x2a\x0b\x0a\x02ch\x32\x01E\x38\x05\x18\x01";
        assert_eq!(frame(Form::Protobuf, &[subscribe]), said);
        let heard = b"\x19\x08\x02\x32\x15\x18\x01\x32\x01E\x3a\x06\x22\x02{}\x30\x06\
                      \x40\x01\x48\x05\x50\x01\x60\x01\x04\x08\x02\x32\x00";
        let expected = json!({"id": 2, "subscribe": {
            "recoverable": true, "epoch": "E", "publications": [{"data": {}, "offset": 6}],
            "recovered": true, "offset": 5, "positioned": true, "was_recovering": true,
        }});
        assert_eq!(replies(Form::Protobuf, heard), [expected, json!({"id": 2, "subscribe": {}})]);
    }
}
