//! YAML: the events of `saphyr-parser`, which carry their places, folded into entries.
//!
//! Anchors, aliases and tags are refused: a configuration has no use for them, and they are how
//! nine lines become a billion. The fold keeps its own stack, so depth is a number here.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::config::value::{Entry, Items, Malformed, Value, join};
use crate::limits::CONFIG_DEPTH_MAX;

pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Malformed> {
    let mut fold = Fold::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => fold.take(&event, line_of(span.start.line()))?,
            Err(error) => {
                let line = line_of(error.marker().line());
                return Err(Malformed { line, says: error.info().to_owned() });
            }
        }
    }
    Ok(fold.found)
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).expect("a file has at most as many lines as bytes")
}

/// What the next event is a part of.
enum Open {
    /// A mapping that waits for a name.
    Table { path: String, names: BTreeSet<String> },
    /// A name of the mapping below that waits for its value; the entry is there already.
    Name { at: usize },
    /// A sequence behind a name.
    List { items: Items },
    /// An item of a sequence that is a mapping, and the entries found before it.
    Item { before: Vec<Entry> },
    /// Anything inside an item of a sequence, which is not kept.
    Inside,
}

#[derive(Default)]
struct Fold {
    found: Vec<Entry>,
    open: Vec<Open>,
    has_document: bool,
}

impl Fold {
    fn take(&mut self, event: &Event<'_>, line: u32) -> Result<(), Malformed> {
        let refuse = |says: &str| Err(Malformed { line, says: says.to_owned() });
        match event {
            Event::Alias(_) => refuse("aliases are not taken: write the value out"),
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag)
                if *anchor != 0 || tag.is_some() =>
            {
                refuse("anchors and tags are not taken: write the value out")
            }
            Event::SequenceStart(..) | Event::MappingStart(..)
                if self.open.len() >= 2 * CONFIG_DEPTH_MAX =>
            {
                refuse("nested too deeply")
            }
            Event::DocumentStart(_) if self.has_document => {
                refuse("a second document begins: one file is one configuration")
            }
            Event::Scalar(text, style, ..) => self.scalar(text, *style, line),
            Event::MappingStart(..) => self.mapping(line),
            Event::SequenceStart(..) => self.sequence(line),
            Event::MappingEnd | Event::SequenceEnd => {
                self.close();
                Ok(())
            }
            Event::DocumentStart(_) => {
                self.has_document = true;
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: u32) -> Result<(), Malformed> {
        let is_plain = style == ScalarStyle::Plain;
        match self.open.last_mut() {
            // An empty document is one empty scalar.
            None if is_plain && text.is_empty() => {}
            None => return Err(no_mapping(line)),
            Some(Open::Table { path, names }) => {
                let path = join(path, text);
                if !names.insert(text.to_owned()) {
                    return Err(Malformed { line, says: format!("{path} is there twice") });
                }
                self.open.push(Open::Name { at: self.found.len() });
                self.found.push(Entry { path, value: Value::Nothing, line });
            }
            Some(Open::Name { at }) => {
                // YAML's ways to write nothing (core schema, §10.3.2).
                let is_nothing = is_plain && ["", "~", "null", "Null", "NULL"].contains(&text);
                if !is_nothing {
                    self.found[*at].value = Value::Text(text.to_owned());
                }
                self.open.pop();
            }
            Some(Open::List { items }) => {
                items.push(Value::Text(text.to_owned()), Vec::new());
            }
            Some(Open::Item { .. } | Open::Inside) => {}
        }
        Ok(())
    }

    fn mapping(&mut self, line: u32) -> Result<(), Malformed> {
        let table = |path| Open::Table { path, names: BTreeSet::new() };
        match self.open.last_mut() {
            None => self.open.push(table(String::new())),
            Some(Open::Name { at }) => {
                let entry = &mut self.found[*at];
                entry.value = Value::Table;
                let path = entry.path.clone();
                self.open.push(table(path));
            }
            Some(Open::Table { .. }) => return Err(no_name(line)),
            Some(Open::List { .. }) => {
                self.open.push(Open::Item { before: std::mem::take(&mut self.found) });
                self.open.push(table(String::new()));
            }
            Some(Open::Item { .. } | Open::Inside) => self.open.push(Open::Inside),
        }
        Ok(())
    }

    fn sequence(&mut self, line: u32) -> Result<(), Malformed> {
        match self.open.last_mut() {
            None => return Err(no_mapping(line)),
            Some(Open::Name { .. }) => self.open.push(Open::List { items: Items::default() }),
            Some(Open::Table { .. }) => return Err(no_name(line)),
            Some(Open::List { items }) => {
                items.push(Value::Nested, Vec::new());
                self.open.push(Open::Inside);
            }
            Some(Open::Item { .. } | Open::Inside) => self.open.push(Open::Inside),
        }
        Ok(())
    }

    /// Ends the innermost mapping or sequence, and with it the name in front of it.
    fn close(&mut self) {
        let closed = self.open.pop();
        if matches!(closed, Some(Open::Inside)) {
            return;
        }
        match (self.open.pop(), closed) {
            (Some(Open::Name { at }), Some(Open::List { items })) => {
                self.found[at].value = items.into_value();
            }
            (Some(Open::Item { before }), _) => {
                let entries = std::mem::replace(&mut self.found, before);
                if let Some(Open::List { items }) = self.open.last_mut() {
                    items.push(Value::Table, entries);
                }
            }
            _ => {}
        }
    }
}

fn no_mapping(line: u32) -> Malformed {
    Malformed { line, says: "a configuration is a mapping: name: value".to_owned() }
}

fn no_name(line: u32) -> Malformed {
    Malformed { line, says: "a name is a word, not a mapping or a list".to_owned() }
}
