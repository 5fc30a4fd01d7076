//! One data message: what it may cost, and what is kept of it while it arrives.
//!
//! Invariants: a frame is admitted by its header alone, against what was assembled so far; room
//! is made for bytes that have arrived, at most twice over, and never beyond the limit.

use super::error::WsError;
use super::frame::{FrameHeader, OpCode};
use super::utf8::Utf8Progress;
use crate::limits::{FRAGMENT_BYTES_TYPICAL_MIN, FRAGMENTS_MAX};

/// What one message may cost us. Both are checked from the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of one message, all fragments together.
    pub message_bytes_max: usize,
    /// Frames of one message, empty ones included; at least 1.
    pub fragments_max: u32,
}

impl MessageLimits {
    /// Limits for messages of up to `message_bytes_max`: [`FRAGMENTS_MAX`] fragments, or as many
    /// as a message of that size has in fragments of [`FRAGMENT_BYTES_TYPICAL_MIN`].
    pub fn for_message_bytes(message_bytes_max: usize) -> Self {
        let fragments = message_bytes_max / FRAGMENT_BYTES_TYPICAL_MIN;
        let fragments_max = u32::try_from(fragments).unwrap_or(u32::MAX).max(FRAGMENTS_MAX);
        Self { message_bytes_max, fragments_max }
    }

    /// The rules that a frame can break by where it stands and by its length (§5.4, our limits).
    pub(super) fn admit(
        &self,
        header: &FrameHeader,
        message: Option<&PartialMessage>,
    ) -> Result<(), WsError> {
        match (header.opcode, message) {
            (OpCode::Close | OpCode::Ping | OpCode::Pong, _) => return Ok(()),
            (OpCode::Continuation, None) => return Err(WsError::UnexpectedContinuation),
            (opcode @ (OpCode::Text | OpCode::Binary), Some(_)) => {
                return Err(WsError::MessageInterrupted { opcode });
            }
            (OpCode::Continuation, Some(_)) | (OpCode::Text | OpCode::Binary, None) => {}
        }
        let (held_bytes, fragments) =
            message.map_or((0, 0), |message| (message.bytes.len(), message.fragments));
        // No overflow: the header's length is below 2^63, and what is held fits memory.
        let message_bytes = held_bytes as u64 + header.payload_bytes;
        let message_bytes_max = self.message_bytes_max;
        if message_bytes > message_bytes_max as u64 {
            return Err(WsError::MessageTooBig { message_bytes, message_bytes_max });
        }
        if fragments >= self.fragments_max {
            return Err(WsError::TooManyFragments { fragments_max: self.fragments_max });
        }
        Ok(())
    }
}

/// What a data message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8, validated.
    Text,
    /// Any bytes.
    Binary,
}

impl From<MessageKind> for OpCode {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// A message whose first frame has begun and whose last has not ended. Plain data.
#[derive(Clone, Debug)]
pub(super) struct PartialMessage {
    pub(super) kind: MessageKind,
    pub(super) bytes: Vec<u8>,
    /// Frames begun, this one included.
    pub(super) fragments: u32,
    /// Follows `bytes` when the kind is text.
    utf8: Utf8Progress,
}

impl PartialMessage {
    pub(super) fn new(kind: MessageKind) -> Self {
        Self { kind, bytes: Vec::new(), fragments: 0, utf8: Utf8Progress::default() }
    }

    /// Takes unmasked bytes. The message may get no longer than `end_max` bytes.
    ///
    /// Room is doubled as it fills, so what is reserved is at most twice what arrived.
    pub(super) fn append(&mut self, piece: &[u8], end_max: usize) -> Result<(), WsError> {
        if self.kind == MessageKind::Text {
            self.utf8.push(piece)?;
        }
        let end = self.bytes.len() + piece.len();
        if end > self.bytes.capacity() {
            let room = self.bytes.capacity().saturating_mul(2).min(end_max).max(end);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Says that the last frame has ended.
    pub(super) fn finish(&self) -> Result<(), WsError> {
        Ok(self.utf8.finish()?)
    }
}
