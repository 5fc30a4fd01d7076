//! A configuration of Centrifugo 6 as one of longwire: what is taken over, and what is not.
//!
//! ```text
//!   file ─▶ entries ─▶ a key of longwire? ─yes─▶ its value is valid? ─yes─▶ Translation::config
//!                              └─no─▶ known ─▶ Note        └─no─▶ Note
//! ```
//!
//! Invariant: every key of the file is either in the configuration that is written, or named by a
//! note. Which keys are taken over is asked of longwire's own keys alone.

mod known;
mod moved;
mod note;
mod written;

pub use note::{Note, Reason};

use std::collections::BTreeMap;

use super::fault::{Fault, Source};
use super::format::Format;
use super::key::{Key, Kind};
use super::names::Name;
use super::raw::Raw;
use super::serve::Serve;
use super::serve::table::tables;
use super::value::{Entry, Malformed, Value};
use known::Known;

/// What has become of a file.
#[derive(Debug)]
pub struct Translation {
    /// In the order of longwire's keys, as they will be written.
    taken: BTreeMap<usize, (&'static Key, Value)>,
    /// In the order of the file.
    notes: Vec<Note>,
}

/// Reads a file of Centrifugo.
pub fn translate(format: Format, text: &str) -> Result<Translation, Malformed> {
    let (entries, notes) = moved::moved(format.entries(text)?);
    let file = File(entries.iter().map(|entry| (&*entry.path, &entry.value)).collect());
    let mut translation = Translation { taken: BTreeMap::new(), notes };
    let mut lines = BTreeMap::new();
    for entry in &entries {
        match Name::of(&entry.path) {
            // A table says nothing by itself; what is in it follows.
            _ if matches!(entry.value, Value::Table | Value::Nothing) => {}
            Name::Key(key) => {
                lines.insert(key.path, entry.line);
                translation.take(key, entry);
            }
            Name::Section(_) | Name::Unknown => translation.leave(&file, entry),
        }
    }
    translation.drop_invalid(&lines);
    translation.notes.sort_by_key(|note| note.line);
    Ok(translation)
}

/// The values of a file, by their paths.
struct File<'a>(BTreeMap<&'a str, &'a Value>);

impl File<'_> {
    fn is_on(&self, path: &str) -> bool {
        self.is(path, "true")
    }

    fn is(&self, path: &str, expected: &str) -> bool {
        matches!(self.0.get(path), Some(Value::Text(text)) if text == expected)
    }
}

/// The lists of tables, each with the section whose keys its tables have.
const LISTS: [(&str, &str); 3] = [
    ("channel.namespaces", "channel.without_namespace."),
    ("rpc.namespaces", "rpc.without_namespace."),
    ("proxies", "rpc.proxy."),
];

impl Translation {
    /// Whether nothing was left out that matters.
    pub fn is_whole(&self) -> bool {
        !self.notes.iter().any(Note::matters)
    }

    /// What was not taken over, and what was taken over in another form.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The configuration of longwire, in TOML.
    pub fn config(&self) -> String {
        written::toml(self.taken.values().map(|(key, value)| (*key, value)))
    }

    fn note(&mut self, entry: &Entry, reason: Reason) {
        self.notes.push(Note { path: entry.path.clone(), line: entry.line, reason });
    }

    fn take(&mut self, key: &'static Key, entry: &Entry) {
        let value = match &entry.value {
            Value::Text(text) if text.is_empty() => {
                if let Some(says) = known::empty(key) {
                    return self.note(entry, Reason::Idle(says));
                }
                entry.value.clone()
            }
            // The same words for never.
            Value::Text(text) if key.kind == Kind::Period && matches!(&**text, "0" | "0s") => {
                Value::Text("off".to_owned())
            }
            value => match LISTS.iter().find(|(list, _)| *list == key.path) {
                None => value.clone(),
                Some((_, section)) => match tables(value) {
                    Ok(tables) if tables.is_empty() => Value::List(Vec::new()),
                    Ok(tables) => self.options(entry, section, tables),
                    Err(says) => return self.note(entry, Reason::Refused(says)),
                },
            },
        };
        let place = super::keys().position(|known| known.path == key.path);
        self.taken.insert(place.expect("it is one of them"), (key, value));
    }

    /// The tables of a list with those of their options that longwire has.
    fn options(&mut self, entry: &Entry, section: &str, tables: Vec<Vec<Entry>>) -> Value {
        let mut taken = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let name = table.iter().find(|option| option.path == "name");
            let name = match name.map(|option| &option.value) {
                Some(Value::Text(name)) => name.clone(),
                _ => index.to_string(),
            };
            let mut options = table;
            options.retain(|option| {
                let path = format!("{}.{name}.{}", entry.path, option.path);
                option.path == "name" || self.takes_option(path, section, option)
            });
            taken.push(options);
        }
        Value::Tables(taken)
    }

    fn takes_option(&mut self, path: String, section: &str, option: &Entry) -> bool {
        let full = format!("{section}{}", option.path);
        let reason = match super::keys().find(|key| key.path == full) {
            Some(key) => refusal(key, &option.value).map(Reason::Refused),
            None if matches!(option.value, Value::Table | Value::Nothing) => return false,
            // The file's sections do not reach into a list: what an option says stands beside it.
            None => Some(known::reason(&File(BTreeMap::new()), &full, &option.value)),
        };
        let is_taken = reason.is_none();
        self.notes.extend(reason.map(|reason| Note { path, line: option.line, reason }));
        is_taken
    }

    fn leave(&mut self, file: &File<'_>, entry: &Entry) {
        self.note(entry, known::reason(file, &entry.path, &entry.value));
    }

    /// Takes back what longwire's keys do not take, and says why.
    fn drop_invalid(&mut self, lines: &BTreeMap<&'static str, u32>) {
        // Each round drops at least one key, or is the last.
        for _ in 0..=self.taken.len() {
            let mut raw = Raw::new();
            for (key, value) in self.taken.values() {
                let source = Source::File { name: String::new(), line: lines[key.path] };
                raw.give(key, value.clone(), source);
            }
            let Err(faults) = Serve::new(raw) else { return };
            let count = self.taken.len();
            for fault in faults {
                self.refuse(&fault, lines);
            }
            if self.taken.len() == count {
                return;
            }
        }
    }

    fn refuse(&mut self, fault: &Fault, lines: &BTreeMap<&'static str, u32>) {
        match fault {
            Fault::Invalid { key, .. } => {
                self.taken.retain(|_, (taken, _)| taken.path != key.path);
                let says = said(fault).expect("it is such a fault");
                let (path, line) = (key.path.to_owned(), lines[key.path]);
                self.notes.push(Note { path, line, reason: Reason::Refused(says) });
            }
            Fault::Contradiction { says, mend } => {
                let (path, line) = ("(together)".to_owned(), u32::MAX);
                let reason = Reason::Refused(format!("{says}: {mend}"));
                let note = Note { path, line, reason };
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            other => unreachable!("the keys are longwire's own, once each: {other}"),
        }
    }
}

/// What is wrong with the value of a key, if the key stood alone.
fn refusal(key: &'static Key, value: &Value) -> Option<String> {
    let mut raw = Raw::new();
    raw.give(key, value.clone(), Source::File { name: String::new(), line: 1 });
    Serve::new(raw).err()?.iter().find_map(said)
}

/// What is wrong with a value, and what would be right.
fn said(fault: &Fault) -> Option<String> {
    let Fault::Invalid { key, value, says, .. } = fault else { return None };
    Some(format!("{value}: {says}; it takes {}", key.allowed()))
}

/// All that the table knows, for tests and for hints.
fn known_paths() -> impl Iterator<Item = &'static str> {
    known::KNOWN.iter().map(|Known { path, .. }| *path)
}
