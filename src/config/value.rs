//! What one key is given: text, or a list of texts.
//!
//! The formats differ in types, and the environment knows none, so a scalar is its text and the
//! key decides what it means: `port = 8000` and `port = "8000"` are the same.

/// A value as it was written, before its key has looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One scalar.
    Text(String),
    /// A list of scalars.
    List(Vec<String>),
    /// A key with nothing behind it (YAML), or `null`.
    Nothing,
    /// A table: keys of its own.
    Table,
    /// A list of tables: the entries of each, by their names in it.
    Tables(Vec<Vec<Entry>>),
    /// A list with lists in it, or with tables beside scalars.
    Nested,
}

impl Value {
    /// The items of a list. One text is a list by its white space, as the environment writes it.
    pub(super) fn items(&self) -> Result<Vec<&str>, String> {
        match self {
            Self::Text(text) => Ok(text.split_whitespace().collect()),
            Self::List(items) => Ok(items.iter().map(String::as_str).collect()),
            other => Err(other.is_not("a list")),
        }
    }

    /// The one scalar.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.is_not("one value")),
        }
    }

    pub(super) fn is_not(&self, wanted: &str) -> String {
        let found = match self {
            Self::Text(_) => "one value",
            Self::List(_) => "a list",
            Self::Nothing => {
                return "there is no value: write one, or leave the key out".to_owned();
            }
            Self::Table => "a table",
            Self::Tables(_) => "a list of tables",
            Self::Nested => "a list of lists or tables",
        };
        format!("this is {found}, and the key takes {wanted}")
    }

    /// As an error shows it, at most so long that the line can still be read.
    pub(super) fn show(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 80;
        let text = match self {
            Self::Text(text) => format!("{text:?}"),
            Self::List(items) => format!("{items:?}"),
            Self::Nothing => "empty".to_owned(),
            Self::Table => "a table".to_owned(),
            Self::Tables(_) => "a list of tables".to_owned(),
            Self::Nested => "a nested list".to_owned(),
        };
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// A list that is being read: what it is shows at its end.
#[derive(Debug, Default)]
pub(super) struct Items {
    texts: Vec<String>,
    tables: Vec<Vec<Entry>>,
    is_nested: bool,
}

impl Items {
    /// Appends an item; `entries` are those of a table.
    pub(super) fn push(&mut self, item: Value, entries: Vec<Entry>) {
        match item {
            Value::Text(text) => self.texts.push(text),
            Value::Table => self.tables.push(entries),
            _ => self.is_nested = true,
        }
    }

    /// The whole list.
    pub(super) fn into_value(self) -> Value {
        match (self.is_nested, self.texts.is_empty(), self.tables.is_empty()) {
            (false, _, true) => Value::List(self.texts),
            (false, true, false) => Value::Tables(self.tables),
            _ => Value::Nested,
        }
    }
}

/// One key or table of a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The names from the root, with dots between them.
    pub path: String,
    /// What it is given.
    pub value: Value,
    /// The line of the name, from 1.
    pub line: u32,
}

/// Text that is not in its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it stops making sense, from 1.
    pub line: u32,
    /// What the parser says.
    pub says: String,
}

/// Puts a name behind the path of its table.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
