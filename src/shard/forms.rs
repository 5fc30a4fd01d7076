//! A publication in the forms that its members read: as a text message, a binary one, or both.
//!
//! ```text
//!   published │ text ─────────────────────────────────────────▶ members who read text
//!             └─ its home knows of members who read the other ─▶ │ text │ binary │ ─▶ either
//! ```
//!
//! It travels in the form it was published in. A shard that finds a member who reads the other
//! one translates it, and tells the channel's home, which from then on puts both forms, one whole
//! message behind the other, into the one frame that all shards share. So each form is encoded
//! once, and where everybody reads the same form nobody pays for another.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::sections::{Section, part};
use crate::filter::Tags;
use crate::handler::{Form, Message, MessageKind, Position};
use crate::hub::Chain;
use crate::limits::RUN_FRAMES_MAX;
use crate::ring::{Batch, Frame, Piece};
use crate::ws::{OpCode, encode_header, encode_message};

/// How an application puts publications into words. By default it does not.
#[derive(Clone, Copy)]
pub(super) struct Words {
    /// Puts a publication into the other kind of message, if that can be done.
    pub(super) translate: fn(Message<'_>) -> Option<Vec<u8>>,
    /// Puts its place in the stream into a publication, if that can be done.
    pub(super) number: fn(Message<'_>, Position) -> Option<Vec<u8>>,
    /// Says it whole to those who take deltas, if that is said in another way.
    pub(super) whole: fn(Message<'_>) -> Option<Vec<u8>>,
    /// Says what it differs by from the one before, if that is worth it.
    pub(super) delta: fn(Message<'_>, Message<'_>) -> Option<Vec<u8>>,
    /// Says it with one tag more.
    pub(super) tag: fn(Message<'_>, &str, &str) -> Option<Vec<u8>>,
    /// Its tags.
    pub(super) tags: fn(Message<'_>) -> Tags,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            translate: |_| None,
            number: |_, _| None,
            whole: |_| None,
            delta: |_, _| None,
            tag: |_, _, _| None,
            tags: |_| Tags::new(),
        }
    }
}

/// The only message of a frame with its place in the stream; `None` if it cannot be put into it.
pub(super) fn numbered(frame: &Frame, position: Position, words: Words) -> Option<Frame> {
    let form = Form::at(frame, 0)?;
    let payload = (words.number)(Message::validated(form.kind, &frame[form.payload]), position)?;
    let header = encode_header(true, form.kind.into(), payload.len(), None);
    Some([&header, &payload[..]].concat().into())
}

/// The first message of a frame with one tag more; `None` if it takes none.
pub(super) fn tagged(frame: &Frame, key: &str, value: &str, words: Words) -> Option<Frame> {
    let form = Form::at(frame, 0)?;
    let message = Message::validated(form.kind, &frame[form.payload]);
    let payload = (words.tag)(message, key, value)?;
    let header = encode_header(true, form.kind.into(), payload.len(), None);
    Some([&header, &payload[..]].concat().into())
}

/// The only message of a frame in the other kind, with its header.
pub(super) fn translated(frame: &[u8], words: Words) -> Option<Vec<u8>> {
    let form = Form::at(frame, 0)?;
    let payload = (words.translate)(Message::validated(form.kind, &frame[form.payload]))?;
    let opcode = match form.kind {
        MessageKind::Text => OpCode::Binary,
        MessageKind::Binary => OpCode::Text,
    };
    let mut other = Vec::with_capacity(payload.len() + HEADER_BYTES);
    encode_message(&mut other, opcode, &payload);
    Some(other)
}

/// A message with its header as those read it who take deltas; `None` if they read it as it is.
fn said_whole(message: &[u8], words: Words) -> Option<Vec<u8>> {
    let form = Form::at(message, 0)?;
    let payload = (words.whole)(Message::validated(form.kind, &message[form.payload]))?;
    let mut whole = Vec::with_capacity(payload.len() + HEADER_BYTES);
    encode_message(&mut whole, form.kind.into(), &payload);
    Some(whole)
}

/// Bytes that a header of ours takes at most.
const HEADER_BYTES: usize = 10;

/// A frame of one message and, behind it, the same in the other kind; `None` if it holds both
/// already, or there is no translation.
pub(super) fn with_both(frame: &Frame, words: Words) -> Option<Frame> {
    if Form::all(frame).nth(1).is_some() {
        return None;
    }
    let other = translated(frame, words)?;
    Some([frame, &other[..]].concat().into())
}

/// What members who read one kind are sent of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// This, which was there.
    Here(Piece),
    /// This, of which at least a part was translated.
    Translated(Piece),
    /// Nothing: a publication of the run cannot be said in that kind.
    No,
}

/// In which sections a member reads the first frame of a run, and those behind it.
pub(super) type Sections = [Section; 2];

/// The runs at hand, one for each way to read them, as pieces of the present batch.
#[derive(Default)]
pub(super) struct Joined([Option<(Chain, Readable)>; 9]);

impl Joined {
    /// What a member who reads `kind`, or everything as it was published, is sent of a run.
    /// Returns also whether it was made now.
    pub(super) fn of(
        &mut self,
        (chain, frames): (Chain, &[Frame]),
        kind: Option<MessageKind>,
        sections: Sections,
        words: Words,
        batch: &mut Batch,
    ) -> (Readable, bool) {
        let of_kind = match kind {
            None => 0,
            Some(MessageKind::Text) => 1,
            Some(MessageKind::Binary) => 2,
        };
        let of_first = match sections[0] {
            Section::Plain => 0,
            Section::Whole => 3,
            Section::Deltas => 6,
        };
        let known = &mut self.0[of_kind + of_first];
        match *known {
            Some((known, readable)) if known == chain => (readable, false),
            _ => {
                let readable = of_frames(frames, kind, sections, words, batch);
                *known = Some((chain, readable));
                (readable, true)
            }
        }
    }
}

/// What is said of one frame.
enum Said {
    /// What stands there.
    There(Range<usize>),
    /// What was made now.
    Made { bytes: Vec<u8>, is_translated: bool },
}

/// A frame as it is read in a section; `None` if it cannot be said in this kind.
fn said(frame: &Frame, kind: Option<MessageKind>, section: Section, words: Words) -> Option<Said> {
    // Where there is no delta it is said whole, and where that is not made yet it is made here.
    let sections: &[Section] = match section {
        Section::Plain => &[Section::Plain],
        Section::Whole => &[Section::Whole],
        Section::Deltas => &[Section::Deltas, Section::Whole],
    };
    if let Some(range) = sections.iter().find_map(|&section| part(frame, section, kind)) {
        return Some(Said::There(range));
    }
    let plain = part(frame, Section::Plain, kind);
    let translated = match plain {
        Some(_) => None,
        None => Some(translated(frame, words)?),
    };
    let message = match (&plain, &translated) {
        (Some(range), _) => &frame[range.clone()],
        (None, made) => made.as_deref().expect("made above"),
    };
    let whole = (section != Section::Plain).then(|| said_whole(message, words)).flatten();
    let is_translated = translated.is_some();
    match (whole.or(translated), plain) {
        (Some(bytes), _) => Some(Said::Made { bytes, is_translated }),
        (None, plain) => plain.map(Said::There),
    }
}

/// The frames of a run as one piece.
pub(super) fn of_frames(
    frames: &[Frame],
    kind: Option<MessageKind>,
    [first, rest]: Sections,
    words: Words,
    batch: &mut Batch,
) -> Readable {
    let mut all = [const { None }; RUN_FRAMES_MAX];
    for (place, frame) in frames.iter().enumerate() {
        let section = if place == 0 { first } else { rest };
        match said(frame, kind, section, words) {
            Some(Said::There(range)) if frames.len() == 1 => {
                return Readable::Here(batch.share(Frame::clone(frame)).part(range));
            }
            Some(said) => all[place] = Some(said),
            None => return Readable::No,
        }
    }
    let mut parts: [&[u8]; RUN_FRAMES_MAX] = [&[]; RUN_FRAMES_MAX];
    let mut is_translated = false;
    for ((part, frame), said) in parts.iter_mut().zip(frames).zip(&all) {
        *part = match said.as_ref().expect("each was said above") {
            Said::There(range) => &frame[range.clone()],
            Said::Made { bytes, is_translated: now } => {
                is_translated |= *now;
                bytes
            }
        };
    }
    let parts = &parts[..frames.len()];
    let piece = batch.copy(parts).unwrap_or_else(|| batch.share(parts.concat().into()));
    if is_translated { Readable::Translated(piece) } else { Readable::Here(piece) }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::hub::{Fanout, FanoutBounds, Homes, MemberId};

    const PLAIN: Sections = [Section::Plain; 2];

    fn words() -> Words {
        Words { translate: swap, ..Words::default() }
    }

    /// Upper case is text, lower case is binary; what holds a digit cannot be translated.
    fn swap(message: Message<'_>) -> Option<Vec<u8>> {
        let payload = message.payload();
        if payload.iter().any(u8::is_ascii_digit) {
            return None;
        }
        Some(match message.kind() {
            MessageKind::Text => payload.to_ascii_lowercase(),
            MessageKind::Binary => payload.to_ascii_uppercase(),
        })
    }

    fn encoded(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_message(&mut out, opcode, payload);
        out
    }

    fn text(payload: &str) -> Vec<u8> {
        encoded(OpCode::Text, payload.as_bytes())
    }

    fn binary(payload: &str) -> Vec<u8> {
        encoded(OpCode::Binary, payload.as_bytes())
    }

    /// What readers of a kind are sent of these frames, and whether something was translated.
    fn read(frames: &[Vec<u8>], kind: Option<MessageKind>) -> Option<(Vec<u8>, bool)> {
        let frames: Vec<Frame> = frames.iter().map(|frame| frame.clone().into()).collect();
        for arena_bytes in [1, 1 << 20] {
            let mut batch = Batch::new(arena_bytes);
            let of = |readable, batch: &Batch| match readable {
                Readable::Here(piece) => Some((batch.bytes(piece).to_vec(), false)),
                Readable::Translated(piece) => Some((batch.bytes(piece).to_vec(), true)),
                Readable::No => None,
            };
            let readable = of_frames(&frames, kind, PLAIN, words(), &mut batch);
            if arena_bytes > 1 {
                return of(readable, &batch);
            }
        }
        unreachable!("the last arena returns")
    }

    #[test]
    fn each_reader_gets_its_own_form_of_every_length() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let (upper, lower) = ("A".repeat(length), "a".repeat(length));
            for published in [text(&upper), binary(&lower)] {
                let one: Frame = published.clone().into();
                let both = with_both(&one, words()).expect("it can be translated");
                assert_eq!(with_both(&both, words()), None, "it holds both");
                assert!(both.starts_with(&published), "first as it was published");
                let cases =
                    [(MessageKind::Text, text(&upper)), (MessageKind::Binary, binary(&lower))];
                for (kind, expected) in cases {
                    let is_made = expected != published;
                    let was = read(from_ref(&published), Some(kind)).expect("readable");
                    assert_eq!(was, (expected.clone(), is_made), "{kind:?} of {length}");
                    let was = read(&[both.to_vec()], Some(kind)).expect("readable");
                    assert_eq!(was, (expected, false), "{kind:?} of {length}, both are there");
                }
                assert_eq!(read(from_ref(&published), None), Some((published.clone(), false)));
            }
        }
    }

    #[test]
    fn a_run_of_mixed_forms_stays_in_order() {
        let both: Frame = text("B").into();
        let both = with_both(&both, words()).unwrap().to_vec();
        let run = [text("A"), both, binary("c"), text("D")];
        let all = |parts: [Vec<u8>; 4]| Some((parts.concat(), true));
        let texts = ["A", "B", "C", "D"].map(text);
        assert_eq!(read(&run, Some(MessageKind::Text)), all(texts));
        let binaries = ["a", "b", "c", "d"].map(binary);
        assert_eq!(read(&run, Some(MessageKind::Binary)), all(binaries));
    }

    #[test]
    fn what_cannot_be_translated_is_for_those_who_read_it_as_it_is() {
        let run = [text("A"), text("1")];
        assert_eq!(read(&run, Some(MessageKind::Binary)), None);
        assert_eq!(read(&run, Some(MessageKind::Text)), Some((run.concat(), false)));
        assert_eq!(with_both(&text("1").into(), words()), None);
    }

    #[test]
    fn a_run_is_made_once_for_each_way_to_read_it() {
        let hasher = std::hash::RandomState::new();
        let bounds = FanoutBounds::default();
        let mut fanout: Fanout<Frame> = Fanout::new(Homes::dealt(1), 10, bounds, hasher);
        let channel = fanout.join("a", MemberId(1)).expect("there is room");
        fanout.deliver(channel, text("A").into(), 3).expect("there is room");
        let delivery = fanout.next().expect("one");
        let (mut runs, mut batch) = (Joined::default(), Batch::new(1024));
        for is_new in [true, false] {
            for kind in [None, Some(MessageKind::Text), Some(MessageKind::Binary)] {
                let run = (delivery.chain, delivery.frames);
                let (readable, was_made) = runs.of(run, kind, PLAIN, words(), &mut batch);
                assert_eq!(was_made, is_new, "{kind:?}");
                assert_eq!(
                    matches!(readable, Readable::Translated(_)),
                    kind == Some(MessageKind::Binary)
                );
            }
        }
    }
}
