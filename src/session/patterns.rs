//! What the names of channels have to match (`channel_regex`).

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::limits::CHANNEL_REGEX_BYTES_MAX;

/// A regular expression for names. It takes time in proportion to the name, and bounded memory.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// The patterns of all namespaces that have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// That of channels without a namespace.
    pub without_namespace: Option<Pattern>,
    /// Those of the namespaces.
    pub namespaces: BTreeMap<String, Pattern>,
}

impl Patterns {
    pub(super) fn of(&self, namespace: Option<&str>) -> Option<&Pattern> {
        match namespace {
            None => self.without_namespace.as_ref(),
            Some(namespace) => self.namespaces.get(namespace),
        }
    }
}

impl Pattern {
    /// Compiles an expression.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).size_limit(CHANNEL_REGEX_BYTES_MAX).build().map(Self)
    }

    /// Whether a part of the name matches: the expression itself says where it is anchored.
    pub(super) fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// Two patterns are the same if they are written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}
