//! Lists of tables: each with a name, and with the keys of a section that stands elsewhere.

use crate::config::fault::{Fault, Source};
use crate::config::format::Format;
use crate::config::key::Key;
use crate::config::names::{is_foreign, nearest};
use crate::config::raw::{Raw, Reader};
use crate::config::value::{Entry, Value};

/// The tables of a list by their names, each read as the section of these keys, whose paths begin
/// with `section`.
pub(super) fn named<T>(
    value: &Value,
    section: &str,
    keys: &'static [Key],
    read: fn(&mut Reader<'_>) -> T,
) -> Result<Vec<(String, T)>, String> {
    let mut all: Vec<(String, T)> = Vec::new();
    for table in tables(value)? {
        let line = table.first().map_or(1, |entry| entry.line);
        let (name, raw) = split(&table, section, keys)?;
        if all.iter().any(|(known, _)| *known == name) {
            return Err(format!("line {line}: {name:?} is there twice"));
        }
        let read = raw.read(read).map_err(|faults| says(&faults[0], section))?;
        all.push((name, read));
    }
    Ok(all)
}

/// The name of a table, and its keys.
fn split(table: &[Entry], section: &str, keys: &'static [Key]) -> Result<(String, Raw), String> {
    let mut name = None;
    let mut raw = Raw::new();
    for Entry { path, value, line } in table {
        if path == "name" {
            let text = value.text().map_err(|says| format!("line {line}: name: {says}"))?;
            name = Some(text.to_owned());
            continue;
        }
        let full_path = format!("{section}{path}");
        let Some(key) = keys.iter().find(|key| key.path == full_path) else {
            return Err(format!("line {line}: {}", unknown(path, section, keys)));
        };
        raw.give(key, value.clone(), Source::File { name: String::new(), line: *line });
    }
    let name = name.ok_or("one of them has no name")?;
    if !is_name(&name) {
        let rule = "two characters at least, of letters, digits and -_.";
        return Err(format!("{name:?} is no name: {rule}"));
    }
    Ok((name, raw))
}

/// As Centrifugo has them: `^[-a-zA-Z0-9_.]{2,}$`.
fn is_name(name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() >= 2 && name.bytes().all(in_name)
}

fn unknown(path: &str, section: &str, keys: &'static [Key]) -> String {
    if is_foreign(&format!("{section}{path}")) {
        return format!("{path} is a setting of Centrifugo that longwire does not have");
    }
    let known = keys.iter().filter_map(|key| key.path.strip_prefix(section));
    match nearest(path, known.chain(["name"])) {
        Some(meant) => format!("there is no {path}: did you mean {meant}?"),
        None => format!("there is no {path}"),
    }
}

/// A fault of one key, by its name in the table.
fn says(fault: &Fault, section: &str) -> String {
    match fault {
        Fault::Invalid { source: Source::File { line, .. }, key, value, says } => {
            let name = key.path.strip_prefix(section).unwrap_or(key.path);
            format!("line {line}: {name} is {value}: {says}")
        }
        other => other.to_string(),
    }
}

/// The tables of a list. One text is such a list as JSON, as the environment writes it.
pub(in crate::config) fn tables(value: &Value) -> Result<Vec<Vec<Entry>>, String> {
    match value {
        Value::Tables(tables) => Ok(tables.clone()),
        Value::List(items) if items.is_empty() => Ok(Vec::new()),
        Value::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::Text(text) => {
            let wrapped = format!("{{\"list\":{text}}}");
            let entries = Format::Json.entries(&wrapped).map_err(|error| error.says)?;
            match entries.into_iter().next().map(|entry| entry.value) {
                Some(Value::Text(_)) | None => Err("this is no list of objects".to_owned()),
                Some(value) => tables(&value),
            }
        }
        other => Err(other.is_not("a list of tables")),
    }
}
