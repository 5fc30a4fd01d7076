//! `channel`: the names of channels, and what holds for all of them.

use super::namespace::Namespaces;
use super::options::{DataFormat, HISTORY_META_TTL};
use crate::config::key::Kind;
use crate::config::section::{YEAR_MS, section};
use crate::config::setting::{Bytes, Seconds, Setting};
use crate::config::value::Value;
use crate::limits::CHANNEL_NAME_BYTES_MAX;

section! {
    /// Names of channels, and what holds for all of them.
    pub struct Channel in "channel." {
        /// Bytes of the name of a channel that a client subscribes to.
        max_length: Bytes = Bytes(CHANNEL_NAME_BYTES_MAX), in 1..=CHANNEL_NAME_BYTES_MAX as u64;
        /// What the name of a channel begins with that takes a subscription token.
        private_prefix: Mark = Mark('$');
        /// What stands between the name of a namespace and the rest of a channel's name.
        namespace_boundary: Mark = Mark(':');
        /// What stands before the users whom a channel is for.
        user_boundary: Mark = Mark('#');
        /// What stands between these users.
        user_separator: Mark = Mark(',');
        /// Time for which the position of a channel that nobody uses is known, where its options
        /// do not say it, in whole seconds.
        history_meta_ttl: Seconds = HISTORY_META_TTL, in 1_000..=YEAR_MS;
        /// What may be published where the options of a channel do not say it: any value, an
        /// object of JSON, or any bytes, none as well. Nothing is anything but nothing.
        publication_data_format: DataFormat = DataFormat::NotEmpty;
        /// What clients may do in the channels of a namespace, whose names begin with its name and
        /// a colon. There are no channels in a namespace that is not here.
        namespaces: Namespaces = Namespaces::default();
    }
}

/// A character with a meaning in the names of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub char);

impl Setting for Mark {
    const KIND: Kind = Kind::Text("one character such as $ or #, and no letter, digit, -, _ or .");

    fn read(value: &Value) -> Result<Self, String> {
        let mut text = value.text()?.chars();
        match (text.next(), text.next()) {
            (Some(mark), None) if mark.is_ascii_punctuation() && !"-_.".contains(mark) => {
                Ok(Self(mark))
            }
            (Some(_), None) => Err("names of namespaces and users are made of it".to_owned()),
            _ => Err("this is not one character".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Text(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_character_that_no_name_is_made_of() {
        let read = |text: &str| Mark::read(&Value::Text(text.to_owned()));
        for mark in ['$', ':', '#', ',', '@', '/'] {
            assert_eq!(read(&mark.to_string()), Ok(Mark(mark)));
        }
        for text in ["", "::", "a", "4", "-", "_", ".", " ", "é"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
