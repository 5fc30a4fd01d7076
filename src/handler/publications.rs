//! Publications as they are kept: the frames that were delivered, each with its message in the
//! kind it was published in, and behind it the same in the other kind where both were read.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Message, MessageKind};
use crate::ws::{OpCode, Role, decode_header};

/// One message within a frame.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Form {
    /// Text or binary.
    pub kind: MessageKind,
    /// With its header.
    pub whole: Range<usize>,
    /// Without it.
    pub payload: Range<usize>,
}

impl Form {
    /// The message that begins at `start`; `None` at the end.
    pub fn at(frame: &[u8], start: usize) -> Option<Self> {
        let header = decode_header(frame.get(start..)?, Role::Client).ok()??;
        let kind = match header.opcode {
            OpCode::Text => MessageKind::Text,
            OpCode::Binary => MessageKind::Binary,
            _ => return None,
        };
        let from = start + header.header_bytes;
        let end = from.checked_add(usize::try_from(header.payload_bytes).ok()?)?;
        (end <= frame.len()).then_some(Self { kind, whole: start..end, payload: from..end })
    }

    /// The messages of a frame, in order.
    pub fn all(frame: &[u8]) -> impl Iterator<Item = Self> {
        let next = |form: &Self| Self::at(frame, form.whole.end);
        std::iter::successors(Self::at(frame, 0), next)
    }
}

/// Publications of one channel, in order. A copy is a reference.
#[derive(Clone)]
pub struct Publications(Arc<[Arc<[u8]>]>);

impl Publications {
    #[doc(hidden)]
    pub fn of_frames(frames: Arc<[Arc<[u8]>]>) -> Self {
        Self(frames)
    }

    #[doc(hidden)]
    pub fn frames(&self) -> &Arc<[Arc<[u8]>]> {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the two are one object, and so have the same content. Those who ask the home for
    /// the same are given the same, so that what is made of it is made once.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The payload of each as a message of this kind, by `translate` where it is kept in the other
    /// kind only; `None` in the place of one that cannot be said in it.
    pub fn payloads<'a>(
        &'a self,
        kind: MessageKind,
        translate: impl Fn(Message<'_>) -> Option<Vec<u8>> + 'a,
    ) -> impl Iterator<Item = Option<Cow<'a, [u8]>>> + 'a {
        self.0.iter().map(move |frame| {
            if let Some(form) = Form::all(frame).find(|form| form.kind == kind) {
                return Some(Cow::Borrowed(&frame[form.payload]));
            }
            let form = Form::at(frame, 0)?;
            translate(Message::validated(form.kind, &frame[form.payload])).map(Cow::Owned)
        })
    }
}

impl Default for Publications {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl fmt::Debug for Publications {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter()).finish()
    }
}

/// Equal content; [`is_same`](Self::is_same) is the cheap question.
impl PartialEq for Publications {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl Eq for Publications {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::encode_message;

    fn frame(parts: &[(OpCode, &str)]) -> Arc<[u8]> {
        let mut frame = Vec::new();
        for (opcode, payload) in parts {
            encode_message(&mut frame, *opcode, payload.as_bytes());
        }
        frame.into()
    }

    #[test]
    fn each_is_read_in_the_kind_that_is_asked_for() {
        let all = Publications::of_frames(Arc::new([
            frame(&[(OpCode::Text, "A"), (OpCode::Binary, "b")]),
            frame(&[(OpCode::Text, "C")]),
            frame(&[(OpCode::Binary, "1")]),
        ]));
        let lower = |message: Message<'_>| {
            let is_letter = message.payload()[0].is_ascii_alphabetic();
            is_letter.then(|| message.payload().to_ascii_lowercase())
        };
        let read = |kind| -> Vec<Option<String>> {
            let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
            all.payloads(kind, lower).map(|payload| payload.map(text)).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(MessageKind::Text), [some("A"), some("C"), None]);
        assert_eq!(read(MessageKind::Binary), [some("b"), some("c"), some("1")]);
    }

    #[test]
    fn a_copy_is_the_same_and_equal_content_is_not() {
        let all = Publications::of_frames(Arc::new([frame(&[(OpCode::Text, "A")])]));
        let others = Publications::of_frames(Arc::new([frame(&[(OpCode::Text, "A")])]));
        assert!(all.is_same(&all.clone()) && !all.is_same(&others));
        assert_eq!(all, others);
        assert_ne!(all, Publications::default());
    }
}
