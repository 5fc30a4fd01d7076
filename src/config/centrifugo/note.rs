//! What is said of a key that was not taken over as it stands.

use std::fmt;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its path; in a namespace with the namespace's name.
    pub path: String,
    /// Where it stands in the file, from 1.
    pub line: u32,
    /// Why it was not.
    pub reason: Reason,
}

/// Why a key was not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is lost: its value says nothing here.
    Idle(&'static str),
    /// It stands there now.
    Moved(String),
    /// What it means is not there, and this is what that means.
    Missing(&'static str),
    /// The key is there, and does not take its value.
    Refused(String),
    /// Nobody knows it; perhaps this was meant.
    Unknown(Option<&'static str>),
}

impl Note {
    /// Whether clients or operators would notice.
    pub fn matters(&self) -> bool {
        !matches!(self.reason, Reason::Idle(_) | Reason::Moved(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, reason } = self;
        if *line < u32::MAX {
            write!(out, "{line}: ")?;
        }
        match reason {
            Reason::Idle(says) => write!(out, "{path}: left out, nothing is lost: {says}"),
            Reason::Moved(to) => write!(out, "{path}: taken over as {to}"),
            Reason::Missing(says) => write!(out, "{path}: NOT SUPPORTED: {says}"),
            Reason::Refused(says) => write!(out, "{path}: NOT TAKEN: {says}"),
            Reason::Unknown(nearest) => {
                write!(out, "{path}: UNKNOWN: neither Centrifugo 6 nor longwire has it")?;
                match nearest {
                    Some(meant) => write!(out, "; perhaps {meant} is meant"),
                    None => Ok(()),
                }
            }
        }
    }
}
