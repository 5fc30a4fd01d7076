//! Values as a file in TOML.

use std::fmt::Write;

use crate::config::key::Key;
use crate::config::template::literal;
use crate::config::value::{Entry, Value};

/// What everybody who comes from Centrifugo must know beside the keys.
const HEADER: &str = "\
# Made by `longwire check --centrifugo`. Keys that are not here have longwire's defaults, which
# `longwire default-config` lists.
#
# Times are written as before (25s, 1m30s), and always with a unit. A variable of the environment
# CENTRIFUGO_CLIENT_PING_INTERVAL is LONGWIRE_CLIENT_PING_INTERVAL here; variables were not looked
# at. Namespaces in the environment are one list of objects in JSON, LONGWIRE_CHANNEL_NAMESPACES:
# there is no variable for an option of one namespace.
";

/// A file with these keys, in the order in which keys are known.
pub(super) fn toml<'a>(taken: impl Iterator<Item = (&'static Key, &'a Value)> + Clone) -> String {
    let mut out = HEADER.to_owned();
    let written = keys(&mut out, taken.clone()).and_then(|()| lists(&mut out, taken));
    written.expect("a string takes all that is written to it");
    out
}

/// Section by section, each once: a key may be known behind those of a section within its own.
fn keys<'a>(
    out: &mut String,
    taken: impl Iterator<Item = (&'static Key, &'a Value)> + Clone,
) -> std::fmt::Result {
    let section = |key: &Key| key.path.rsplit_once('.').map_or("", |(section, _)| section);
    let mut sections: Vec<&str> = Vec::new();
    let plain = taken.filter(|(_, value)| !matches!(value, Value::Tables(_)));
    for (key, _) in plain.clone() {
        if !sections.contains(&section(key)) {
            sections.push(section(key));
        }
    }
    // What stands in no section would belong to the one above it.
    sections.sort_by_key(|section| !section.is_empty());
    for name in sections {
        if name.is_empty() {
            writeln!(out)?;
        } else {
            write!(out, "\n[{name}]\n")?;
        }
        for (key, value) in plain.clone().filter(|(key, _)| section(key) == name) {
            let name = key.path.rsplit('.').next().unwrap_or(key.path);
            writeln!(out, "{name} = {}", literal(key, value))?;
        }
    }
    Ok(())
}

fn lists<'a>(
    out: &mut String,
    taken: impl Iterator<Item = (&'static Key, &'a Value)>,
) -> std::fmt::Result {
    for (key, value) in taken {
        let Value::Tables(tables) = value else { continue };
        for table in tables {
            write!(out, "\n[[{}]]\n", key.path)?;
            for Entry { path, value, .. } in table {
                match value {
                    Value::Text(text) => writeln!(out, "{path} = {}", quoted(text))?,
                    Value::List(items) => {
                        let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                        writeln!(out, "{path} = [{}]", items.join(", "))?;
                    }
                    Value::Tables(tables) => writeln!(out, "{path} = {}", inline(tables))?,
                    // What is in a table within follows, with its whole path.
                    Value::Table | Value::Nothing | Value::Nested => {}
                }
            }
        }
    }
    Ok(())
}

/// Tables in one line.
fn inline(tables: &[Vec<Entry>]) -> String {
    let field = |Entry { path, value, .. }: &Entry| match value {
        Value::Text(text) => Some(format!("{path} = {}", quoted(text))),
        _ => None,
    };
    let table = |table: &Vec<Entry>| {
        format!("{{{}}}", table.iter().filter_map(field).collect::<Vec<_>>().join(", "))
    };
    format!("[{}]", tables.iter().map(table).collect::<Vec<_>>().join(", "))
}

/// Numbers and switches as they are; else as JSON's strings, which TOML reads too.
fn quoted(text: &str) -> String {
    let is_bare = matches!(text, "true" | "false")
        || (text == "0" || !text.starts_with('0'))
            && !text.is_empty()
            && text.len() < 10
            && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { text.to_owned() } else { serde_json::to_string(text).expect("a string is JSON") }
}
