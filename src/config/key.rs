//! One key of the configuration: all that is known of it, in one place.
//!
//! The sections are written once, as structs whose fields are keys (`section`). From the same
//! lines come the file's keys, the environment's variables, the flags, the hints, the texts of
//! errors and `longwire default-config`.

use std::time::Duration;

use super::measure::{show_bytes, show_time};
use super::value::Value;

/// A key: where it stands, what it takes, and what it means.
#[derive(Debug)]
pub struct Key {
    /// Its names from the root: `client.ping_interval`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The least and the most, in the base unit of its kind.
    pub range: Option<(u64, u64)>,
    /// What it is for, in sentences.
    pub(super) doc: &'static str,
    /// What holds when nobody says anything.
    pub default: fn() -> Value,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A time; the base unit is the millisecond.
    Time,
    /// A time, or `off`.
    Period,
    /// A size in bytes.
    Bytes,
    /// A number.
    Count,
    /// A number, or `auto`.
    Auto,
    /// A number, or `off`.
    Port,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A text; what it is, in words.
    Text(&'static str),
    /// A text that is never shown. A second key with `_file` behind its name takes a path.
    Secret,
    /// A list; what its items are, in words.
    List(&'static str),
    /// A list of tables; what is in them, in words.
    Tables(&'static str),
}

impl Key {
    /// What it is for, in one paragraph.
    pub fn meaning(&self) -> String {
        let words: Vec<_> = self.doc.split_whitespace().collect();
        words.join(" ").replace('`', "")
    }

    /// Its variable in the environment: `LONGWIRE_CLIENT_PING_INTERVAL`.
    pub fn variable(&self) -> String {
        variable(self.path)
    }

    /// Its flag, without the dashes in front: `client-ping-interval`.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// What may be written, in words: `a time from 64ms to 24h (such as 25s), or off`.
    pub fn allowed(&self) -> String {
        let range = self.range.map(|(low, high)| {
            format!(" from {} to {}", self.kind.amount(low), self.kind.amount(high))
        });
        let range = range.unwrap_or_default();
        match self.kind {
            Kind::Switch => "true or false".to_owned(),
            Kind::Time => format!("a time{range}, such as 25s or 1m30s"),
            Kind::Period => format!("a time{range}, such as 25s or 1m30s, or off"),
            Kind::Bytes => format!("a size{range}, such as 65536 or 64KiB"),
            Kind::Count => format!("a number{range}"),
            Kind::Auto => format!("a number{range}, or auto"),
            Kind::Port => format!("a port{range}, or off"),
            Kind::Word(["", words @ ..]) => format!("{}, or nothing", words.join(" or ")),
            Kind::Word(words) => words.join(" or "),
            Kind::Text(what) | Kind::Tables(what) => what.to_owned(),
            Kind::Secret => "a text without white space at its ends".to_owned(),
            Kind::List(what) => format!("a list of {what}"),
        }
    }

    /// Whether its value may be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

impl Kind {
    /// Whether a value of this kind is written without quotes.
    pub(super) fn is_bare(self, text: &str) -> bool {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Switch => true,
            Self::Count | Self::Auto | Self::Port => is_number,
            _ => false,
        }
    }

    /// A number in the base unit of this kind, as its values are written.
    pub(super) fn amount(self, number: u64) -> String {
        match self {
            Self::Time | Self::Period => show_time(Duration::from_millis(number)),
            Self::Bytes => show_bytes(number),
            _ => number.to_string(),
        }
    }
}

/// What all variables begin with.
pub const VARIABLE_PREFIX: &str = "LONGWIRE_";

/// The variable of a path.
pub(super) fn variable(path: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}
