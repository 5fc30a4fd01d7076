//! The commands of one frame, in either format (1): JSON on a line each, with or without a line
//! feed behind the last; Protobuf behind a length each.

use std::fmt;

use super::protobuf::{self, WireError};
use super::{Command, Format};

/// Why a frame, or the rest of it, cannot be read. The client is told 3501, whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// An empty frame, or an empty line between two commands.
    BlankLine,
    /// Not a command in JSON, from this column of its line on.
    Syntax {
        /// Counted from 1.
        column: usize,
    },
    /// Not a command in Protobuf.
    Protobuf(WireError),
    /// It has a number, but asks for nothing that the protocol knows.
    NoRequest {
        /// The number.
        id: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlankLine => out.write_str("nothing where a command was expected"),
            Self::Syntax { column } => write!(out, "not a command in JSON, at column {column}"),
            Self::Protobuf(error) => write!(out, "not a command in Protobuf: {error}"),
            Self::NoRequest { id } => write!(out, "command {id} asks for nothing known"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The commands of one frame; ends at the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    format: Format,
    rest: Option<&'a [u8]>,
}

impl<'a> Commands<'a> {
    /// The commands of a frame.
    pub fn new(format: Format, frame: &'a [u8]) -> Self {
        let commands = match format {
            Format::Json => frame.strip_suffix(b"\n").unwrap_or(frame),
            Format::Protobuf => frame,
        };
        Self::resume(format, commands)
    }

    /// Those of which [`rest`](Self::rest) said that they have not been read.
    pub fn resume(format: Format, rest: &'a [u8]) -> Self {
        Self { format, rest: Some(rest) }
    }

    /// The bytes of the commands that have not been read; `None` at the end.
    pub fn rest(&self) -> Option<&'a [u8]> {
        self.rest
    }

    /// One command of what is left, which is not read yet, and what follows it.
    fn split(&self, rest: &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), Malformed> {
        match self.format {
            _ if rest.is_empty() => Err(Malformed::BlankLine),
            Format::Json => Ok(match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], Some(&rest[end + 1..])),
                None => (rest, None),
            }),
            Format::Protobuf => {
                let (message, rest) = protobuf::split_first(rest).map_err(Malformed::Protobuf)?;
                Ok((message, Some(rest).filter(|rest| !rest.is_empty())))
            }
        }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let (command, rest) = match self.split(rest) {
            Ok(parts) => parts,
            Err(malformed) => return Some(Err(malformed)),
        };
        let command = match self.format {
            Format::Json => Command::from_json(command),
            Format::Protobuf => Command::from_protobuf(command),
        };
        if command.is_ok() {
            self.rest = rest;
        }
        Some(command)
    }
}
