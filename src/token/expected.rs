//! What `aud` or `iss` must be.

use regex::{Regex, RegexBuilder};

use crate::limits::TOKEN_REGEX_BYTES_MAX;

/// What a claim must be for a token to be taken.
#[derive(Clone, Debug, Default)]
pub enum Expected {
    /// Anything, and nothing.
    #[default]
    Anything,
    /// This.
    Name(String),
    /// What a part of it matches: the expression itself says where it is anchored.
    Pattern(Regex),
}

impl Expected {
    /// This name; anything, if it is empty.
    pub fn name(name: &str) -> Self {
        if name.is_empty() { Self::Anything } else { Self::Name(name.to_owned()) }
    }

    /// What matches this expression. It takes time in proportion to the claim, and bounded memory.
    pub fn pattern(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).size_limit(TOKEN_REGEX_BYTES_MAX).build().map(Self::Pattern)
    }

    /// Whether one of these will do.
    pub(super) fn is_met<'a>(&self, mut claimed: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Self::Anything => true,
            Self::Name(name) => claimed.any(|claimed| claimed == name),
            Self::Pattern(pattern) => claimed.any(|claimed| pattern.is_match(claimed)),
        }
    }
}

/// Two patterns are the same if they are written the same.
impl PartialEq for Expected {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anything, Self::Anything) => true,
            (Self::Name(one), Self::Name(other)) => one == other,
            (Self::Pattern(one), Self::Pattern(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for Expected {}
