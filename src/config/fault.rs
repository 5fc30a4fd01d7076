//! What can be wrong with a configuration, each with its place and what mends it.

use std::fmt;

use super::key::Key;

/// Where a value was written. The order is that of strength.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file.
    File {
        /// As it was named.
        name: String,
        /// From 1.
        line: u32,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl Source {
    /// Files are weaker than the environment, which is weaker than flags.
    pub(super) fn strength(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Variable(_) => 1,
            Self::Flag(_) => 2,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(out, "{name}:{line}"),
            Self::Variable(name) | Self::Flag(name) => out.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The file is not in its format.
    Malformed {
        /// Where it stops making sense.
        source: Source,
        /// What the parser says.
        says: String,
    },
    /// A name that is not a key.
    Unknown {
        /// Where it stands.
        source: Source,
        /// As it was written.
        name: String,
        /// The key or section that was meant, perhaps, as it is written there.
        nearest: Option<String>,
    },
    /// A name that means something to Centrifugo, and nothing here.
    Foreign {
        /// Where it stands.
        source: Source,
        /// As it was written.
        name: String,
    },
    /// A section that is given one value.
    Section {
        /// Where it stands.
        source: Source,
        /// Its path.
        name: String,
        /// One of its keys.
        key: &'static str,
    },
    /// A key that is given twice by one source.
    Twice {
        /// The second place.
        source: Source,
        /// The first.
        first: Source,
        /// Its path.
        name: String,
    },
    /// A value that the key does not take.
    Invalid {
        /// Where it stands.
        source: Source,
        /// The key.
        key: &'static Key,
        /// The value, as it may be shown.
        value: String,
        /// What is wrong with it.
        says: String,
    },
    /// A file of a secret that cannot be used.
    SecretFile {
        /// Where its path was written.
        source: Source,
        /// The path.
        path: String,
        /// Why.
        says: String,
    },
    /// Values that are valid, and contradict each other.
    Contradiction {
        /// The keys and their values.
        says: String,
        /// What to change.
        mend: String,
    },
}

impl Fault {
    /// Where it stands; what is wrong between several keys stands nowhere.
    pub(super) fn source(&self) -> Option<&Source> {
        match self {
            Self::Malformed { source, .. }
            | Self::Unknown { source, .. }
            | Self::Foreign { source, .. }
            | Self::Section { source, .. }
            | Self::Twice { source, .. }
            | Self::Invalid { source, .. }
            | Self::SecretFile { source, .. } => Some(source),
            Self::Contradiction { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { source, says } => {
                write!(out, "{source}: {says}\nmend: correct the file from this line on")
            }
            Self::Unknown { source, name, nearest } => {
                match source {
                    Source::File { .. } => write!(out, "{source}: there is no {name}\nmend: ")?,
                    _ => write!(out, "{name}: there is no such setting\nmend: ")?,
                }
                match nearest {
                    Some(nearest) => write!(out, "did you mean {nearest}?"),
                    None => write!(out, "remove it; longwire default-config lists what there is"),
                }
            }
            Self::Foreign { source, name } => write!(
                out,
                "{source}: {name} is a setting of Centrifugo that longwire does not have\n\
                 mend: remove it, and look in the README for what is not there yet"
            ),
            Self::Section { source, name, key } => {
                write!(out, "{source}: {name} is a section, not a key\nmend: set {key} or another")
            }
            Self::Twice { source, first, name } => {
                write!(out, "{source}: {name} is there already, at {first}\nmend: remove one")
            }
            Self::Invalid { source, key, value, says } => {
                let path = key.path;
                write!(out, "{source}: {path} is {value}: {says}\nmend: {}", key.allowed())
            }
            Self::SecretFile { source, path, says } => {
                write!(out, "{source}: {path}: {says}\nmend: a file with one line, the secret")
            }
            Self::Contradiction { says, mend } => write!(out, "{says}\nmend: {mend}"),
        }
    }
}

impl std::error::Error for Fault {}
