//! The publication within a push: where it stands, and how it is given its place in a history.

use std::ops::Range;

use super::decode::split_first;
use super::encode::write_place;
use super::reader::Fields;
use super::writer::Message;

/// Where the publication stands in the push of one, if `message` is that as it is written here:
/// the last field of the one field of a reply.
pub fn publication_part(message: &[u8]) -> Option<Range<usize>> {
    let (_, publication) = split(message)?;
    Some(message.len() - publication.len()..message.len())
}

/// The same push, its publication with a place in a history; `None` if it is none.
pub fn numbered(message: &[u8], offset: u64, epoch: &str) -> Option<Vec<u8>> {
    let (before, publication) = split(message)?;
    let mut out = Vec::with_capacity(message.len() + PLACE_BYTES + epoch.len());
    let mut reply = Message::begin(&mut out);
    let mut push = reply.message(PUSH);
    push.encoded(before);
    let mut numbered = push.message(PUBLICATION);
    numbered.encoded(publication);
    write_place(&mut numbered, offset, epoch);
    numbered.end();
    push.end();
    reply.end();
    Some(out)
}

const PUSH: u32 = 4;
const CHANNEL: u32 = 2;
const PUBLICATION: u32 = 4;
/// What a place takes: two keys, a number of ten bytes and a length, and that lengths grow by.
const PLACE_BYTES: usize = 16;

/// The fields of a push before its publication, and those of the publication.
fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (reply, []) = split_first(message).ok()? else { return None };
    let mut reply = Fields(reply);
    let push = reply.next().ok()?.filter(|field| field.number == PUSH)?.bytes().ok()?;
    let mut fields = Fields(push);
    while reply.0.is_empty() {
        let before = &push[..push.len() - fields.0.len()];
        let field = fields.next().ok()??;
        match field.number {
            CHANNEL => {}
            PUBLICATION if fields.0.is_empty() => return Some((before, field.bytes().ok()?)),
            _ => return None,
        }
    }
    None
}
