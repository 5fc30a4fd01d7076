//! TOML: the tables of the `toml` crate, which keep the place of every name.

use toml::de::{DeTable, DeValue, Error};

use crate::config::value::{Entry, Items, Malformed, Value, join};

pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Malformed> {
    let lines = Lines::of(text);
    let document = DeTable::parse(text).map_err(|error| malformed(&error, &lines))?;
    Ok(entries_of(document.get_ref(), &lines))
}

/// The entries of a table and of those in it, in the order of the text.
fn entries_of(table: &DeTable<'_>, lines: &Lines) -> Vec<Entry> {
    let mut found = Vec::new();
    walk(table, "", lines, &mut found);
    // The tables come sorted by name.
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, entry)| entry).collect()
}

fn malformed(error: &Error, lines: &Lines) -> Malformed {
    let line = error.span().map_or(1, |span| lines.line_of(span.start));
    Malformed { line, says: error.message().to_owned() }
}

/// As deep as the parser went, which has a bound of its own.
fn walk(table: &DeTable<'_>, path: &str, lines: &Lines, found: &mut Vec<(usize, Entry)>) {
    for (name, value) in table {
        let at = name.span().start;
        let path = join(path, name.get_ref());
        let (value_read, line) = (value_of(value.get_ref(), lines), lines.line_of(at));
        found.push((at, Entry { path: path.clone(), value: value_read, line }));
        if let DeValue::Table(inner) = value.get_ref() {
            walk(inner, &path, lines, found);
        }
    }
}

fn value_of(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::Table(_) => Value::Table,
        DeValue::Array(items) => {
            let mut list = Items::default();
            for item in items {
                let entries = match item.get_ref() {
                    DeValue::Table(table) => entries_of(table, lines),
                    _ => Vec::new(),
                };
                list.push(value_of(item.get_ref(), lines), entries);
            }
            list.into_value()
        }
        other => scalar(other).map_or(Value::Nested, Value::Text),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            // Out of 64 bits it stays as it is written; the key refuses it.
            let read = i64::from_str_radix(number.as_str(), number.radix());
            Some(read.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(is_set) => Some(is_set.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Where lines begin.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn line_of(&self, offset: usize) -> u32 {
        let line = self.starts.partition_point(|&start| start <= offset);
        u32::try_from(line).expect("a file has at most as many lines as bytes")
    }
}
