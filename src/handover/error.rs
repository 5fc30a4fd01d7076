//! What can be wrong with the bytes of a hand-over.

use std::fmt;

/// Why a record was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The other side speaks a version that is not known here.
    Version {
        /// What it speaks.
        found: u16,
    },
    /// No record has this number.
    Record {
        /// As it was sent.
        number: u8,
    },
    /// A record is longer than any may be.
    TooLong {
        /// Its length, as declared.
        bytes: u64,
    },
    /// A field that must be understood is not known here.
    UnknownField {
        /// The record's number.
        record: u8,
        /// The field's number.
        field: u16,
    },
    /// A field that must be there is not.
    Missing {
        /// The record's number.
        record: u8,
        /// The field's number.
        field: u16,
    },
    /// A field has a value that means nothing.
    Value {
        /// The record's number.
        record: u8,
        /// The field's number.
        field: u16,
    },
    /// A record ends in the middle of a field, or the records in the middle of one.
    Cut,
    /// There are fewer or more descriptors than records that have one.
    Descriptors,
    /// A copy of a descriptor that was sent ahead is named and not there, or was there before.
    Copy {
        /// Its number.
        number: u64,
    },
    /// The records are not those that were sent: by their number, or by their checksum.
    Changed,
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(
                out,
                "the other process hands over by version {found} of the format, and this one \
                 knows version {} only",
                super::VERSION
            ),
            Self::Record { number } => write!(out, "no record has the number {number}"),
            Self::TooLong { bytes } => write!(out, "a record of {bytes} bytes is too long"),
            Self::UnknownField { record, field } => {
                write!(out, "field {field} of record {record} must be understood, and is not")
            }
            Self::Missing { record, field } => {
                write!(out, "field {field} of record {record} is missing")
            }
            Self::Value { record, field } => {
                write!(out, "field {field} of record {record} has a value that means nothing")
            }
            Self::Cut => write!(out, "a record is cut"),
            Self::Descriptors => write!(out, "descriptors were lost on the way"),
            Self::Copy { number } => {
                write!(out, "copy {number} of a descriptor is not there, or more than once")
            }
            Self::Changed => write!(out, "what has arrived is not what was sent"),
        }
    }
}

impl std::error::Error for FormatError {}
