//! `log`: what is logged, and how a line looks.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::key::Kind;
use crate::config::section::section;
use crate::config::setting::{Setting, words};
use crate::config::value::Value;

section! {
    /// What is logged, and how.
    pub struct Log in "log." {
        /// What is logged, for all or by module: `info,longwire::shard=debug`.
        level: Filter = Filter("info".to_owned());
        /// How a line looks: text for people, json for machines.
        format: Format = Format::Text;
    }
}

/// A level, or levels by module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Reads a filter.
    pub fn new(text: &str) -> Result<Self, String> {
        // Centrifugo knows it, and means the same.
        let text = if text == "none" { "off" } else { text };
        // A filter takes any word for the name of a target; a single word is meant to be a level.
        let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if text.is_empty() || is_word && text.parse::<LevelFilter>().is_err() {
            return Err("not a level: use error, warn, info, debug, trace or off".to_owned());
        }
        let read = EnvFilter::try_new(text).map(|_| Self(text.to_owned()));
        read.map_err(|error| error.to_string())
    }

    /// The text, which makes an [`EnvFilter`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Filter {
    const KIND: Kind = Kind::Text(
        "error, warn, info, debug, trace or off; or by module, such as info,longwire::shard=debug",
    );

    fn read(value: &Value) -> Result<Self, String> {
        Self::new(value.text()?)
    }

    fn write(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

words!(Format { "text" => Text, "json" => Json });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for text in ["info", "off", "none", "warn,longwire::shard=debug"] {
            assert!(Filter::new(text).is_ok(), "{text}");
        }
        for text in ["inof", "longwire::shard=loud", "", "2x"] {
            assert!(Filter::new(text).is_err(), "{text}");
        }
    }
}
