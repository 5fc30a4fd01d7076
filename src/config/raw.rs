//! What was written, before it is known to be valid: file, environment and flags in layers.
//!
//! Invariant: the strongest source of a key is kept, whatever the order in which the layers are
//! laid: flag over environment over file. Everything is optional here; what is wrong is kept too,
//! so that all of it is told at once.

use std::collections::BTreeMap;

use super::fault::{Fault, Source};
use super::format::Format;
use super::key::{Key, VARIABLE_PREFIX};
use super::names::{Name, is_foreign, is_of_others, nearest_path, nearest_variable};
use super::setting::Setting;
use super::value::{Entry, Value};

/// The layers so far.
#[derive(Debug, Default)]
pub struct Raw {
    given: BTreeMap<&'static str, Given>,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Given {
    value: Value,
    source: Source,
}

impl Raw {
    /// Nothing is given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays the text of a file; `file` is its name in errors.
    pub fn lay_file(&mut self, file: &str, format: Format, text: &str) {
        let source = |line| Source::File { name: file.to_owned(), line };
        match format.entries(text) {
            Ok(entries) => self.lay_entries(entries, source),
            Err(malformed) => {
                let (source, says) = (source(malformed.line), malformed.says);
                self.faults.push(Fault::Malformed { source, says });
            }
        }
    }

    fn lay_entries(&mut self, entries: Vec<Entry>, source: impl Fn(u32) -> Source) {
        // A table that is not known is one fault, not one for each of its keys.
        let mut unknown: Option<String> = None;
        for Entry { path, value, line } in entries {
            if unknown.as_ref().is_some_and(|table| is_in(&path, table)) {
                continue;
            }
            let source = source(line);
            match Name::of(&path) {
                Name::Key(key) => self.give(key, value, source),
                Name::Section(_) if matches!(value, Value::Table | Value::Nothing) => {}
                Name::Section(key) => {
                    self.faults.push(Fault::Section { source, name: path, key: key.path });
                }
                Name::Unknown => {
                    if is_foreign(&path) {
                        self.faults.push(Fault::Foreign { source, name: path.clone() });
                    } else {
                        let nearest = nearest_path(&path).map(str::to_owned);
                        let name = path.clone();
                        self.faults.push(Fault::Unknown { source, name, nearest });
                    }
                    unknown = Some(path);
                }
            }
        }
    }

    /// Lays the variables of the environment that begin with `LONGWIRE_`; others are not ours.
    pub fn lay_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (variable, text) in variables {
            if !variable.starts_with(VARIABLE_PREFIX) || is_of_others(&variable) {
                continue;
            }
            let source = Source::Variable(variable.clone());
            if let Some(key) = super::keys().find(|key| key.variable() == variable) {
                self.give(key, Value::Text(text), source);
            } else {
                let nearest = nearest_variable(&variable);
                self.faults.push(Fault::Unknown { source, name: variable, nearest });
            }
        }
    }

    /// Lays the values of one flag: several make a list.
    pub fn lay_flag(&mut self, key: &'static Key, mut values: Vec<String>) {
        let value = match values.len() {
            1 => Value::Text(values.remove(0)),
            _ => Value::List(values),
        };
        self.give(key, value, Source::Flag(format!("--{}", key.flag())));
    }

    pub(super) fn give(&mut self, key: &'static Key, value: Value, source: Source) {
        match self.given.get(key.path) {
            Some(first) if first.source.strength() > source.strength() => return,
            Some(first) if first.source.strength() == source.strength() => {
                let (first, name) = (first.source.clone(), key.path.to_owned());
                self.faults.push(Fault::Twice { source, first, name });
                return;
            }
            _ => {}
        }
        self.given.insert(key.path, Given { value, source });
    }

    /// Where a key's value was written; `None` where its default holds.
    pub fn source_of(&self, path: &str) -> Option<&Source> {
        self.given.get(path).map(|given| &given.source)
    }

    /// Reads the secrets whose files are given, with `open` from a path to its text.
    pub fn open_secrets(&mut self, mut open: impl FnMut(&str) -> std::io::Result<String>) {
        for key in super::keys().filter(|key| key.is_secret()) {
            let path_key = format!("{}_file", key.path);
            let Some(Given { value: Value::Text(path), source }) = self.given.get(&*path_key)
            else {
                continue;
            };
            if path.is_empty() {
                continue;
            }
            let (path, source) = (path.clone(), source.clone());
            match open(&path) {
                // The line break at the end is the editor's.
                Ok(text) if text.trim_end().contains('\n') || text.trim_end().is_empty() => {
                    let says = "this is not one line of text".to_owned();
                    self.faults.push(Fault::SecretFile { source, path, says });
                }
                Ok(text) => self.give(key, Value::Text(text.trim_end().to_owned()), source),
                Err(error) => {
                    let says = error.to_string();
                    self.faults.push(Fault::SecretFile { source, path, says });
                }
            }
        }
    }

    /// What is read from the layers, or all that is wrong.
    pub(super) fn read<T>(
        mut self,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Result<T, Vec<Fault>> {
        let mut faults = std::mem::take(&mut self.faults);
        let read = read(&mut Reader { raw: &self, faults: &mut faults });
        // As they stand in the file; contradictions behind all that has a place.
        faults.sort_by(|a, b| {
            let (a, b) = (a.source(), b.source());
            a.is_none().cmp(&b.is_none()).then_with(|| a.cmp(&b))
        });
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }
}

/// Whether `path` stands in the table `table`, or is it.
fn is_in(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Reads keys into their types, and collects what does not fit.
pub(super) struct Reader<'a> {
    raw: &'a Raw,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    /// The value of a key; the default where there is none, and where it is not valid.
    pub(super) fn read<T: Setting>(&mut self, key: &'static Key, default: T) -> T {
        let Some(given) = self.raw.given.get(key.path) else { return default };
        let read = T::read(&given.value).and_then(|read| match in_range(key, &read) {
            Ok(()) => Ok(read),
            Err(says) => Err(says),
        });
        read.unwrap_or_else(|says| {
            let value = if key.is_secret() { "(hidden)".to_owned() } else { given.value.show() };
            let source = given.source.clone();
            self.faults.push(Fault::Invalid { source, key, value, says });
            default
        })
    }

    /// Notes that two values contradict each other.
    pub(super) fn contradiction(&mut self, says: String, mend: String) {
        self.faults.push(Fault::Contradiction { says, mend });
    }
}

fn in_range(key: &Key, read: &impl Setting) -> Result<(), String> {
    let (Some((low, high)), Some(amount)) = (key.range, read.amount()) else { return Ok(()) };
    if amount < low {
        return Err(format!("the least is {}", key.kind.amount(low)));
    }
    if amount > high {
        return Err(format!("the most is {}", key.kind.amount(high)));
    }
    Ok(())
}
