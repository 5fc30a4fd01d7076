//! The header lines of a head: bytes to names and values, without allocation (RFC 9112 §5).
//!
//! Invariant: every name is a token and every value is free of control characters, so both can be
//! compared and handed on without a second look.

use std::fmt;

use super::scan::HeadError;
use crate::limits::{HEAD_BYTES_MAX, HEAD_LINES_MAX};

/// The headers of one head, in the order they came in.
#[derive(Clone)]
pub struct Fields<'a> {
    head: &'a [u8],
    table: [Field; HEAD_LINES_MAX],
    /// `0..=HEAD_LINES_MAX`
    count: usize,
}

/// Where one header lies in the head. Offsets keep the table at 8 bytes a header.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    name_start: u16,
    name_end: u16,
    value_start: u16,
    value_end: u16,
}

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(size_of::<Fields<'_>>() <= 8 * HEAD_LINES_MAX + 24);

/// A header that may stand once stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl<'a> Fields<'a> {
    /// Splits `head` into its first line, without the line break, and its headers.
    pub(super) fn parse(head: &'a [u8]) -> Result<(&'a [u8], Self), HeadError> {
        let head = &head[..head.len().min(HEAD_BYTES_MAX)];
        let (first_line, mut line_start) = next_line(head, 0)?;
        let mut fields = Self { head, table: [Field::default(); HEAD_LINES_MAX], count: 0 };
        loop {
            let (line, line_end) = next_line(head, line_start)?;
            if line.is_empty() {
                return Ok((first_line, fields));
            }
            let index = fields.count;
            let field = fields.table.get_mut(index).ok_or(HeadError::TooManyHeaders)?;
            *field = Field::parse(line, line_start, index)?;
            fields.count += 1;
            line_start = line_end;
        }
    }

    /// All headers. Values are bytes: HTTP lets them hold more than ASCII.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, '_> {
        self.table[..self.count].iter().map(|field| {
            let name = &self.head[field.name_start.into()..field.name_end.into()];
            let value = &self.head[field.value_start.into()..field.value_end.into()];
            (std::str::from_utf8(name).expect("a token is ASCII"), value)
        })
    }

    /// The values of every header called `name`, in any case of letters.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + use<'a, 's> {
        self.table[..self.count].iter().filter_map(move |field| {
            // Most names differ in length already.
            if usize::from(field.name_end - field.name_start) != name.len() {
                return None;
            }
            let own = &self.head[field.name_start.into()..field.name_end.into()];
            own.eq_ignore_ascii_case(name.as_bytes())
                .then(|| &self.head[field.value_start.into()..field.value_end.into()])
        })
    }

    /// The value of the header called `name`, if there is one and no second.
    pub fn sole(&self, name: &str) -> Result<Option<&'a [u8]>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// The elements of a comma-separated list, over all its lines; empty ones are skipped
    /// (RFC 9110 §5.6.1). One pass, whatever the list holds.
    pub fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + use<'a, 's> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(trim)
            .filter(|element| !element.is_empty())
    }

    /// Whether the list called `name` has the element `token`, in any case of letters.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Fields<'_> {
    /// Names only: values are cookies and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Field {
    fn parse(line: &[u8], line_start: usize, index: usize) -> Result<Self, HeadError> {
        if is_blank(line[0]) {
            return Err(HeadError::FoldedLine { index });
        }
        let colon = line.iter().position(|&byte| !TOKEN_BYTES[usize::from(byte)]);
        let Some(colon) = colon.filter(|&colon| colon > 0 && line[colon] == b':') else {
            return Err(HeadError::BadHeaderName { index });
        };
        let after = &line[colon + 1..];
        let value = trim(after);
        if !is_field_value(value) {
            return Err(HeadError::BadHeaderValue { index });
        }
        let leading = after.iter().take_while(|&&byte| is_blank(byte)).count();
        let value_start = line_start + colon + 1 + leading;
        Ok(Self {
            name_start: offset(line_start),
            name_end: offset(line_start + colon),
            value_start: offset(value_start),
            value_end: offset(value_start + value.len()),
        })
    }
}

/// The line that begins at `start`, without its line break, and where the next one begins.
fn next_line(head: &[u8], start: usize) -> Result<(&[u8], usize), HeadError> {
    let rest = &head[start..];
    let Some(feed) = memchr::memchr(b'\n', rest) else {
        let cut = head.len() == HEAD_BYTES_MAX;
        return Err(if cut { HeadError::HeadTooLong } else { HeadError::Unfinished });
    };
    let line = rest[..=feed].strip_suffix(b"\r\n").ok_or(HeadError::BareLineFeed)?;
    Ok((line, start + feed + 1))
}

fn offset(within_head: usize) -> u16 {
    u16::try_from(within_head).expect("within HEAD_BYTES_MAX")
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Which bytes a token is made of (RFC 9110 §5.6.2).
const TOKEN_BYTES: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

/// The letters, the digits and `others`.
pub(super) const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = u8::MIN;
    while byte < u8::MAX {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

/// Whether `bytes` may be a header name, a method, a sub-protocol (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN_BYTES[usize::from(byte)])
}

/// Whether `bytes` may be a header value: tabs are the only control characters (RFC 9110 §5.5).
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    // Without an early way out, so that the compiler judges a vector of bytes at once.
    bytes.iter().fold(true, |valid, &byte| valid & is_value_byte(byte))
}

const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}
