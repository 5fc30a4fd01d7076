//! The sections of a frame: a publication as everybody reads it, and behind that as those do who
//! take deltas.
//!
//! ```text
//!   text, binary │ divider │ the same, said whole │ divider │ the same, as deltas
//!   ── 0 ───────             ── 1: where they differ ──       ── 2: where there are some ──
//! ```
//!
//! All of it is made once, by the channel's home, and shared by all shards; a member is sent one
//! message of it. What is kept for later is section 0 alone.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::forms::{Words, translated};
use crate::handler::{Form, Message, MessageKind};
use crate::ring::Frame;
use crate::ws::encode_message;

/// An empty Pong: it never leaves, and ends whatever walks over the messages of a section.
const DIVIDER: [u8; 2] = [0x8a, 0];

/// One of the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// As everybody reads it.
    Plain,
    /// As those who take deltas read it where it is said whole.
    Whole,
    /// As they read it who have the one before.
    Deltas,
}

/// Where the messages of a section stand; `None` if the frame does not have it.
fn range(frame: &[u8], section: Section) -> Option<Range<usize>> {
    let (mut at, mut start) = (Section::Plain, 0);
    loop {
        let end = forms(frame, start).last().map_or(start, |form| form.whole.end);
        if at == section {
            return Some(start..end);
        }
        at = if at == Section::Plain { Section::Whole } else { Section::Deltas };
        start = frame[end..].starts_with(&DIVIDER).then_some(end + DIVIDER.len())?;
    }
}

fn forms(frame: &[u8], start: usize) -> impl Iterator<Item = Form> {
    std::iter::successors(Form::at(frame, start), |form| Form::at(frame, form.whole.end))
}

/// Where the message of a kind stands in a section; without a kind, all that is in it.
pub(super) fn part(
    frame: &[u8],
    section: Section,
    kind: Option<MessageKind>,
) -> Option<Range<usize>> {
    let range = range(frame, section)?;
    match kind {
        None => Some(range),
        Some(kind) => forms(&frame[..range.end], range.start)
            .find(|form| form.kind == kind)
            .map(|form| form.whole),
    }
}

/// A frame of section 0 with the others. `base`: the publication before it, if it is to be
/// compared with that.
pub(super) fn with_deltas(frame: &Frame, base: Option<&Frame>, words: Words) -> Frame {
    let mut out = frame.to_vec();
    out.extend(DIVIDER);
    for form in Form::all(frame) {
        let message = Message::validated(form.kind, &frame[form.payload]);
        if let Some(whole) = (words.whole)(message) {
            encode_message(&mut out, form.kind.into(), &whole);
        }
    }
    let Some(base) = base else { return out.into() };
    let mut deltas = Vec::new();
    for form in Form::all(frame) {
        let kind = form.kind;
        let made;
        let before = match part(base, Section::Plain, Some(kind)) {
            Some(range) => &base[range],
            // It was sent before its home knew that this kind is read, too.
            None => match translated(base, words) {
                Some(other) => {
                    made = other;
                    &made[..]
                }
                None => continue,
            },
        };
        let Some(of_before) = Form::at(before, 0) else { continue };
        let message = Message::validated(kind, &frame[form.payload]);
        let before = Message::validated(kind, &before[of_before.payload]);
        if let Some(delta) = (words.delta)(message, before) {
            encode_message(&mut deltas, kind.into(), &delta);
        }
    }
    if !deltas.is_empty() {
        out.extend(DIVIDER);
        out.extend(deltas);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::OpCode;

    fn frame(parts: &[(OpCode, &str)]) -> Frame {
        let mut frame = Vec::new();
        for (opcode, payload) in parts {
            encode_message(&mut frame, *opcode, payload.as_bytes());
        }
        frame.into()
    }

    /// Whole texts are quoted; a delta is what is behind the base.
    fn words() -> Words {
        Words {
            whole: |message| {
                let is_text = message.kind() == MessageKind::Text;
                is_text.then(|| [b"'", message.payload(), b"'"].concat())
            },
            delta: |message, base| {
                message.payload().strip_prefix(base.payload()).map(<[u8]>::to_vec)
            },
            ..Words::default()
        }
    }

    fn said(frame: &Frame, section: Section, kind: MessageKind) -> Option<&str> {
        let whole = &frame[part(frame, section, Some(kind))?];
        let form = Form::at(whole, 0).expect("a message");
        Some(std::str::from_utf8(&whole[form.payload]).expect("text"))
    }

    #[test]
    fn each_section_is_found_and_what_is_not_there_is_not() {
        let base = frame(&[(OpCode::Text, "ab"), (OpCode::Binary, "cd")]);
        let plain = frame(&[(OpCode::Text, "abX"), (OpCode::Binary, "cY")]);
        let all = with_deltas(&plain, Some(&base), words());
        let found: Vec<_> = [Section::Plain, Section::Whole, Section::Deltas]
            .into_iter()
            .flat_map(|section| {
                [MessageKind::Text, MessageKind::Binary].map(|kind| (section, kind))
            })
            .map(|(section, kind)| said(&all, section, kind))
            .collect();
        assert_eq!(found, [Some("abX"), Some("cY"), Some("'abX'"), None, Some("X"), None]);
        assert_eq!(part(&all, Section::Plain, None), Some(0..plain.len()));
        assert_eq!(Form::all(&all).count(), 2, "others see section 0 alone");

        let first = with_deltas(&plain, None, words());
        assert_eq!(said(&first, Section::Whole, MessageKind::Text), Some("'abX'"));
        assert_eq!(said(&first, Section::Deltas, MessageKind::Text), None);
        assert_eq!(part(&plain, Section::Whole, None), None);
        assert_eq!(part(&plain, Section::Plain, None), Some(0..plain.len()));
    }

    #[test]
    fn messages_of_every_length_are_passed_over() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let plain = frame(&[(OpCode::Text, &"a".repeat(length))]);
            let all = with_deltas(&plain, Some(&frame(&[(OpCode::Text, "")])), words());
            let quoted = format!("'{}'", "a".repeat(length));
            assert_eq!(said(&all, Section::Whole, MessageKind::Text), Some(&*quoted));
            assert_eq!(said(&all, Section::Deltas, MessageKind::Text), Some(&*"a".repeat(length)));
        }
    }
}
