//! JSON: `serde_json`, which does not tell places, over a reader that counts lines.
//!
//! The parser takes the text byte by byte and is at most one byte ahead of what it has told us,
//! and no byte behind a name's quote: the line counted when a name arrives is the name's.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};

use serde_json::Deserializer;
use serde_json::de::IoRead;

use serde::de::{DeserializeSeed, Deserializer as _, Error, MapAccess, Visitor};

use crate::config::value::{Entry, Items, Malformed, Value, join};

pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Malformed> {
    let line = Cell::new(1);
    let mut found = Vec::new();
    let reader = Counted { bytes: text.as_bytes(), line: &line };
    let mut parser = Deserializer::new(IoRead::new(reader));
    let table = Table { path: "", line: &line, found: &mut found };
    let read = (&mut parser).deserialize_map(table).and_then(|()| parser.end());
    match read {
        Ok(()) => Ok(found),
        Err(error) => {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX).max(1);
            Err(Malformed { line, says: without_place(&error) })
        }
    }
}

/// The message without ` at line 1 column 2`, which is said in front of it.
fn without_place(error: &serde_json::Error) -> String {
    let says = error.to_string();
    says.rsplit_once(" at line ").map_or(says.clone(), |(cause, _)| cause.to_owned())
}

struct Counted<'a> {
    bytes: &'a [u8],
    line: &'a Cell<u32>,
}

impl Read for Counted<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        // One byte a call, whatever the room: the count must not run ahead.
        let (Some((&first, rest)), Some(place)) = (self.bytes.split_first(), target.first_mut())
        else {
            return Ok(0);
        };
        *place = first;
        self.bytes = rest;
        if first == b'\n' {
            self.line.set(self.line.get() + 1);
        }
        Ok(1)
    }
}

/// An object, whose members are entries.
struct Table<'a> {
    path: &'a str,
    line: &'a Cell<u32>,
    found: &'a mut Vec<Entry>,
}

impl<'de> Visitor<'de> for Table<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let path = join(self.path, &name);
            let (line, at) = (self.line.get(), self.found.len());
            if !names.insert(name) {
                return Err(A::Error::custom(format!("{path} is there twice")));
            }
            self.found.push(Entry { path: path.clone(), value: Value::Table, line });
            let member = Member { path: &path, line: self.line, found: self.found };
            self.found[at].value = members.next_value_seed(member)?;
        }
        Ok(())
    }
}

/// What stands behind a name.
struct Member<'a> {
    path: &'a str,
    line: &'a Cell<u32>,
    found: &'a mut Vec<Entry>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        Table { path: self.path, line: self.line, found: self.found }.visit_map(members)?;
        Ok(Value::Table)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Items::default();
        loop {
            let mut found = Vec::new();
            let item = Member { path: "", line: self.line, found: &mut found };
            let Some(value) = items.next_element_seed(item)? else { break };
            list.push(value, found);
        }
        Ok(list.into_value())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, is_set: bool) -> Result<Value, E> {
        Ok(Value::Text(is_set.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
}
