//! A message as the application sees and sends it.

pub use crate::ws::MessageKind;

/// One whole message, lent for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    kind: MessageKind,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// A text message.
    pub fn text(text: &'a str) -> Self {
        Self { kind: MessageKind::Text, payload: text.as_bytes() }
    }

    /// A binary message.
    pub fn binary(payload: &'a [u8]) -> Self {
        Self { kind: MessageKind::Binary, payload }
    }

    /// For the shard, which has validated the text while it arrived.
    #[doc(hidden)]
    pub fn validated(kind: MessageKind, payload: &'a [u8]) -> Self {
        Self { kind, payload }
    }

    /// Text or binary.
    pub fn kind(self) -> MessageKind {
        self.kind
    }

    /// The bytes, of either kind.
    pub fn payload(self) -> &'a [u8] {
        self.payload
    }

    /// The text, if it is a text message.
    pub fn as_text(self) -> Option<&'a str> {
        match self.kind {
            MessageKind::Text => simdutf8::basic::from_utf8(self.payload).ok(),
            MessageKind::Binary => None,
        }
    }
}
