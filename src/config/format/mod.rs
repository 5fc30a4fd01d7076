//! Files: text in, entries with their lines out; TOML, JSON or YAML by the extension.
//!
//! Each format has its reader, and none of them knows a key. Invariant: whatever the text, a
//! reader ends with entries or one error, and its recursion is bounded.

mod json;
mod toml;
mod yaml;

use super::value::{Entry, Malformed};
use crate::limits::CONFIG_BYTES_MAX;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// JSON (RFC 8259).
    Json,
    /// YAML 1.2, without anchors and tags.
    Yaml,
}

impl Format {
    /// By the extension of a file's name.
    pub fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// The entries of a text, in its order.
    pub fn entries(self, text: &str) -> Result<Vec<Entry>, Malformed> {
        if text.len() > CONFIG_BYTES_MAX {
            let says = format!("the file is longer than {CONFIG_BYTES_MAX} bytes");
            return Err(Malformed { line: 1, says });
        }
        // Editors on Windows put it there, and none of the formats has a use for it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Toml => toml::entries(text),
            Self::Json => json::entries(text),
            Self::Yaml => yaml::entries(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    fn entry(path: &str, value: Value, line: u32) -> Entry {
        Entry { path: path.to_owned(), value, line }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// The same settings in each format; the lines differ.
    const TOML: &str = "shards = 2\n[client]\nallowed_origins = [\"a\",\n\"b\"]\n\
                        ping_interval = \"25s\"\ninsecure = true\n[x.y]\nz = 1.5\n";
    const JSON: &str = "{\"shards\": 2,\n\"client\": {\n\t\"allowed_origins\": [\"a\", \"b\"],\n\
                        \t\"ping_interval\": \"25s\", \"insecure\": true},\n\
                        \"x\": {\"y\": {\"z\": 1.5}}}";
    const YAML: &str = "# comment\nshards: 2\nclient:\n  allowed_origins:\n    - a\n    - \"b\"\n  \
                        ping_interval: 25s\n  insecure: true\nx: {y: {z: 1.5}}\n";

    fn expected(lines: [u32; 8]) -> Vec<Entry> {
        let list = Value::List(vec!["a".to_owned(), "b".to_owned()]);
        vec![
            entry("shards", text("2"), lines[0]),
            entry("client", Value::Table, lines[1]),
            entry("client.allowed_origins", list, lines[2]),
            entry("client.ping_interval", text("25s"), lines[3]),
            entry("client.insecure", text("true"), lines[4]),
            entry("x", Value::Table, lines[5]),
            entry("x.y", Value::Table, lines[6]),
            entry("x.y.z", text("1.5"), lines[7]),
        ]
    }

    #[test]
    fn the_three_formats_say_the_same() {
        let toml = Format::Toml.entries(TOML).unwrap();
        assert_eq!(toml, expected([1, 2, 3, 5, 6, 7, 7, 8]));
        let json = Format::Json.entries(JSON).unwrap();
        assert_eq!(json, expected([1, 2, 3, 4, 4, 5, 5, 5]));
        let yaml = Format::Yaml.entries(YAML).unwrap();
        assert_eq!(yaml, expected([2, 3, 4, 7, 8, 9, 9, 9]));
    }

    #[test]
    fn an_empty_file_has_no_entries() {
        for (format, text) in [(Format::Toml, ""), (Format::Yaml, "# none\n"), (Format::Json, "{}")]
        {
            assert_eq!(format.entries(text), Ok(Vec::new()), "{format:?}");
        }
    }

    #[test]
    fn an_error_has_its_line() {
        for (format, text, line) in [
            (Format::Toml, "a = 1\nb =\n", 2),
            (Format::Toml, "a = 1\n\n[a]\n", 3),
            (Format::Json, "{\n\"a\": }", 2),
            (Format::Json, "{}\n{}", 2),
            (Format::Json, "{\"a\": 1,\n\"a\": 2}", 2),
            (Format::Json, "[]", 1),
            (Format::Yaml, "a:\n\tb: 1\n", 2),
            (Format::Yaml, "a: 1\nb: 2\na: 3\n", 3),
            (Format::Yaml, "- a\n", 1),
            (Format::Yaml, "a: 1\nb: &x 2\nc: *x\n", 2),
            (Format::Yaml, "a: !!str 1\n", 1),
            (Format::Yaml, "a: 1\n---\nb: 2\n", 2),
            (Format::Yaml, "? [a]\n: 1\n", 1),
        ] {
            let error = format.entries(text).unwrap_err();
            assert_eq!(error.line, line, "{format:?} {text:?}: {}", error.says);
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_an_overflow() {
        let deep = |open: &str| open.repeat(200_000);
        for (format, text) in [
            (Format::Toml, format!("a={}", deep("["))),
            (Format::Json, format!("{{\"a\":{}", deep("["))),
            (Format::Json, deep("{\"a\":")),
            (Format::Yaml, deep("[")),
            (Format::Yaml, deep("{a: ")),
            (Format::Yaml, deep("- ")),
        ] {
            assert!(format.entries(&text).is_err(), "{format:?}");
        }
    }

    #[test]
    fn a_file_beyond_the_bound_is_refused_unread() {
        let text = " ".repeat(CONFIG_BYTES_MAX + 1);
        for format in [Format::Toml, Format::Json, Format::Yaml] {
            assert!(format.entries(&text).unwrap_err().says.contains("longer"), "{format:?}");
        }
    }

    #[test]
    fn what_is_not_a_scalar_is_told_apart() {
        for (format, text) in [
            (Format::Toml, "a = [[1]]\nb = []\n"),
            (Format::Json, "{\"a\": [[1]],\n\"b\": []}"),
            (Format::Yaml, "a: [[1]]\nb: []\n"),
        ] {
            let entries = format.entries(text).unwrap();
            let expected = [entry("a", Value::Nested, 1), entry("b", Value::List(vec![]), 2)];
            assert_eq!(entries, expected, "{format:?}");
        }
        let entries = Format::Yaml.entries("a:\nb: ~\nc: null\nd: \"\"\n").unwrap();
        let values: Vec<_> = entries.into_iter().map(|entry| entry.value).collect();
        assert_eq!(values, [Value::Nothing, Value::Nothing, Value::Nothing, text("")]);
        assert_eq!(Format::Json.entries("{\"a\":null}").unwrap()[0].value, Value::Nothing);
    }
}
