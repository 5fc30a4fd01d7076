//! The keys as a file: each with its default, and in formats with comments with its meaning.
//!
//! Invariant: what is written here reads back to the defaults, in every format.

use std::fmt::Write;

use super::format::Format;
use super::key::Key;
use super::keys;
use super::value::Value;

/// A file with every key at its default.
pub fn template(format: Format) -> String {
    let mut out = String::new();
    let written = match format {
        Format::Toml => toml(&mut out),
        Format::Yaml => yaml(&mut out),
        Format::Json => json(&mut out),
    };
    written.expect("a string takes all that is written to it");
    out
}

const HEADER: &str = "Every key with its default. A variable of the environment is stronger than \
                      this file, a flag than both.";

fn toml(out: &mut String) -> std::fmt::Result {
    comment(out, "", HEADER)?;
    let mut section = "";
    for key in keys() {
        let (of, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if of != section {
            write!(out, "\n[{of}]\n")?;
            section = of;
        }
        explain(out, "", key)?;
        writeln!(out, "{name} = {}", literal(key, &(key.default)()))?;
    }
    Ok(())
}

fn yaml(out: &mut String) -> std::fmt::Result {
    comment(out, "", HEADER)?;
    let mut open: Vec<&str> = Vec::new();
    for key in keys() {
        let names: Vec<&str> = key.path.split('.').collect();
        let (name, sections) = names.split_last().expect("a path has a name");
        let same = open.iter().zip(sections).take_while(|(a, b)| a == b).count();
        for (depth, section) in sections.iter().enumerate().skip(same) {
            writeln!(out, "{}{section}:", "  ".repeat(depth))?;
        }
        open.truncate(same);
        open.extend(&sections[same..]);
        let indent = "  ".repeat(sections.len());
        explain(out, &indent, key)?;
        writeln!(out, "{indent}{name}: {}", literal(key, &(key.default)()))?;
    }
    Ok(())
}

/// The flow form of one object per section, and of sections within.
fn json(out: &mut String) -> std::fmt::Result {
    let mut open: Vec<&str> = Vec::new();
    let mut separator = "{\n";
    for key in keys() {
        let names: Vec<&str> = key.path.split('.').collect();
        let (name, sections) = names.split_last().expect("a path has a name");
        let same = open.iter().zip(sections).take_while(|(a, b)| a == b).count();
        for depth in (same..open.len()).rev() {
            write!(out, "\n{}}}", "  ".repeat(depth + 1))?;
        }
        open.truncate(same);
        for section in &sections[same..] {
            write!(out, "{separator}{}\"{section}\": ", "  ".repeat(open.len() + 1))?;
            separator = "{\n";
            open.push(section);
        }
        let indent = "  ".repeat(open.len() + 1);
        write!(out, "{separator}{indent}\"{name}\": {}", literal(key, &(key.default)()))?;
        separator = ",\n";
    }
    for depth in (0..=open.len()).rev() {
        write!(out, "\n{}}}", "  ".repeat(depth))?;
    }
    out.push('\n');
    Ok(())
}

/// Meaning, range and the other names of a key, above it.
fn explain(out: &mut String, indent: &str, key: &Key) -> std::fmt::Result {
    out.push('\n');
    comment(out, indent, &key.meaning())?;
    let live = if key.is_live() { " Read again on SIGHUP." } else { "" };
    comment(out, indent, &format!("Takes {}.{live}", key.allowed()))?;
    comment(out, indent, &format!("{}, --{}", key.variable(), key.flag()))
}

/// Lines of at most 100 columns, each behind a number sign.
fn comment(out: &mut String, indent: &str, text: &str) -> std::fmt::Result {
    const COLUMNS_MAX: usize = 100;
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = 1 + word.chars().count();
        if column == 0 || column + length > COLUMNS_MAX {
            write!(out, "{}{indent}#", if column == 0 { "" } else { "\n" })?;
            column = indent.len() + 1;
        }
        write!(out, " {word}")?;
        column += length;
    }
    out.push('\n');
    Ok(())
}

/// A value as all three formats take it: JSON's strings, numbers, switches and lists.
pub(super) fn literal(key: &Key, value: &Value) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    match value {
        Value::Text(text) if key.kind.is_bare(text) => text.clone(),
        Value::Text(text) => quoted(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Nothing | Value::Table | Value::Tables(_) | Value::Nested => {
            unreachable!("no default is one")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Raw, Serve};
    use super::*;

    fn read(format: Format, text: &str) -> Result<Serve, Vec<super::super::Fault>> {
        let mut raw = Raw::new();
        raw.lay_file("template", format, text);
        Serve::new(raw)
    }

    #[test]
    fn every_format_reads_back_to_the_defaults() {
        for format in [Format::Toml, Format::Json, Format::Yaml] {
            let text = template(format);
            let read = read(format, &text).unwrap_or_else(|faults| panic!("{}\n{text}", faults[0]));
            assert_eq!(read, Serve::default(), "{format:?}");
        }
    }

    #[test]
    fn every_key_is_in_every_format() {
        for format in [Format::Toml, Format::Json, Format::Yaml] {
            let entries = format.entries(&template(format)).unwrap();
            for key in keys() {
                let count = entries.iter().filter(|entry| entry.path == key.path).count();
                assert_eq!(count, 1, "{} in {format:?}", key.path);
            }
        }
    }

    #[test]
    fn comments_are_no_wider_than_a_screen_and_say_all_of_a_key() {
        let text = template(Format::Toml);
        for line in text.lines().filter(|line| line.starts_with('#')) {
            assert!(line.chars().count() <= 100 || !line.contains(", "), "{line}");
        }
        for key in keys() {
            assert!(text.contains(&key.variable()) && text.contains(&format!("--{}", key.flag())));
        }
    }
}
