//! The publication within a push: where it stands, and how it is given its place in a history.

use std::ops::Range;

use super::encode::write_place;
use super::object::Object;

/// Where the publication stands in the push of one, if `message` is that as it is written here.
pub fn publication_part(message: &[u8]) -> Option<Range<usize>> {
    let push = message.strip_prefix(br#"{"push":{"#)?;
    let push = match push.strip_prefix(br#""channel":""#) {
        Some(name) => behind_string(name)?.strip_prefix(b",")?,
        None => push,
    };
    let publication = push.strip_prefix(br#""pub":"#)?;
    let start = message.len() - publication.len();
    let publication = publication.strip_suffix(b"}}")?;
    let is_one = publication.starts_with(b"{") && publication.ends_with(b"}");
    let is_alone = memchr::memchr(b'\n', publication).is_none();
    (is_one && publication.len() >= 2 && is_alone).then(|| start..start + publication.len())
}

/// What follows a string whose opening quote has been read.
fn behind_string(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let place = memchr::memchr2(b'"', b'\\', text)?;
        if text[place] == b'"' {
            return Some(&text[place + 1..]);
        }
        text = text.get(place + 2..)?; // and what was escaped
    }
}

/// The same push, its publication with a place in a history; `None` if it is none.
pub fn numbered(message: &[u8], offset: u64, epoch: &str) -> Option<Vec<u8>> {
    let part = publication_part(message)?;
    let (publication, rest) = message.split_at(part.end);
    let mut out = Vec::with_capacity(message.len() + PLACE_BYTES + epoch.len());
    out.extend_from_slice(publication);
    let mut object = Object::again(&mut out);
    write_place(&mut object, offset, epoch);
    object.end();
    out.extend_from_slice(rest);
    Some(out)
}

/// What a place takes: two names, a number and an epoch's quotes.
const PLACE_BYTES: usize = 48;
