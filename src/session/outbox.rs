//! Replies and pushes to one client, packed into as few messages as the protocol allows (1).

use crate::limits::MESSAGE_REPLIES_MAX;
use crate::protocol::{Format, Push, Reply, ReplyError};

/// The messages of one step. Its buffers are kept from step to step.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    format: Format,
    bytes: Vec<u8>,
    /// Where each message ends but the last.
    ends: Vec<usize>,
    /// Objects in the last message.
    count: usize,
    /// Errors among the replies, for the counters.
    errors: Vec<ReplyError>,
    /// Errors in the words of back ends.
    failures: u64,
    /// Replies, errors included.
    replies: u64,
}

/// A reply or a push that others have to leave before, as its client will read it.
#[derive(Debug)]
pub(super) struct Written {
    bytes: Box<[u8]>,
    kind: WrittenKind,
}

#[derive(Debug)]
enum WrittenKind {
    Reply(Outcome),
    Push,
}

/// What a reply is, for the counters.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Result,
    Error(ReplyError),
    Failure,
}

impl Outcome {
    fn of(reply: &Reply<'_>) -> Self {
        match reply {
            Reply::Error(error) => Self::Error(*error),
            Reply::Failure(_) => Self::Failure,
            _ => Self::Result,
        }
    }
}

impl Written {
    /// No word at all.
    pub(super) fn nothing() -> Self {
        Self { bytes: Box::default(), kind: WrittenKind::Push }
    }

    /// It, and behind it what was written elsewhere in the same format, or nothing.
    pub(super) fn followed_by(self, format: Format, more: &[u8]) -> Self {
        if more.is_empty() {
            return self;
        }
        let bytes = [&self.bytes, format.separator(), more].concat().into();
        Self { bytes, ..self }
    }

    /// Its bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Bytes of room that are kept between steps; larger ones are given back.
const BYTES_KEPT: usize = 64 * 1024;

impl Outbox {
    /// The format of the client that the messages are for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Begins anew for a client of this format.
    pub(super) fn begin(&mut self, format: Format) {
        self.clear();
        self.format = format;
    }

    /// Appends the reply to command `id`.
    pub fn reply(&mut self, id: u32, reply: &Reply<'_>) {
        self.note(Outcome::of(reply));
        self.separate();
        self.format.write_reply(&mut self.bytes, id, reply);
    }

    /// Appends news of a channel.
    pub fn push(&mut self, channel: &str, push: &Push<'_>) {
        self.separate();
        self.format.write_push(&mut self.bytes, channel, push);
    }

    /// Puts the reply to command `id` into words that are [appended](Self::append) later.
    pub(super) fn write(&self, id: u32, reply: &Reply<'_>) -> Written {
        let mut bytes = Vec::new();
        self.format.write_reply(&mut bytes, id, reply);
        Written { bytes: bytes.into(), kind: WrittenKind::Reply(Outcome::of(reply)) }
    }

    /// The same for news of a channel.
    pub(super) fn write_push(&self, channel: &str, push: &Push<'_>) -> Written {
        let mut bytes = Vec::new();
        self.format.write_push(&mut bytes, channel, push);
        Written { bytes: bytes.into(), kind: WrittenKind::Push }
    }

    /// What was written, and behind it a message to the client.
    pub(super) fn followed_by_message(&self, written: Written, message: &[u8]) -> Written {
        let mut bytes = Vec::new();
        self.format.write_push(&mut bytes, "", &Push::Message(message));
        written.followed_by(self.format, &bytes)
    }

    /// Appends what was written earlier.
    pub(super) fn append(&mut self, written: &Written) {
        if written.bytes.is_empty() {
            return;
        }
        if let WrittenKind::Reply(outcome) = written.kind {
            self.note(outcome);
        }
        self.separate();
        self.bytes.extend_from_slice(&written.bytes);
    }

    fn note(&mut self, outcome: Outcome) {
        self.replies += 1;
        match outcome {
            Outcome::Result => {}
            Outcome::Error(error) => self.errors.push(error),
            Outcome::Failure => self.failures += 1,
        }
    }

    fn separate(&mut self) {
        if self.count == MESSAGE_REPLIES_MAX {
            self.ends.push(self.bytes.len());
            self.count = 0;
        } else if self.count > 0 {
            self.bytes.extend_from_slice(self.format.separator());
        }
        self.count += 1;
    }

    /// The messages, in their order.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends.iter().copied().chain(std::iter::once(self.bytes.len()));
        starts.zip(ends).filter(|(start, end)| start < end).map(|(from, to)| &self.bytes[from..to])
    }

    /// The errors among the replies.
    pub fn errors(&self) -> &[ReplyError] {
        &self.errors
    }

    /// How many errors in the words of back ends are among them, beside the others.
    pub fn failure_count(&self) -> u64 {
        self.failures
    }

    /// How many replies there are.
    pub fn reply_count(&self) -> u64 {
        self.replies
    }

    /// Bytes that are to be sent.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything, after it was sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.ends.clear();
        self.errors.clear();
        (self.count, self.replies, self.failures) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorCode;

    #[test]
    fn a_message_holds_sixteen_replies_on_a_line_each() {
        let mut outbox = Outbox::default();
        for round in 0..2 {
            assert!(outbox.is_empty());
            assert_eq!(outbox.messages().count(), 0, "round {round}");
            for id in 1..=33 {
                outbox.reply(id, &Reply::Publish);
            }
            let messages: Vec<_> = outbox.messages().map(<[u8]>::to_vec).collect();
            let counts = messages.iter().map(|text| text.split(|byte| *byte == b'\n').count());
            assert_eq!(counts.collect::<Vec<_>>(), [16, 16, 1]);
            let lines = messages.join(&b'\n');
            let expected: Vec<String> =
                (1..=33).map(|id| format!(r#"{{"id":{id},"publish":{{}}}}"#)).collect();
            assert_eq!(String::from_utf8(lines).unwrap(), expected.join("\n"));
            outbox.clear();
        }
    }

    #[test]
    fn in_protobuf_replies_stand_side_by_side_and_the_next_client_has_its_own_format() {
        let mut outbox = Outbox::default();
        outbox.begin(Format::Protobuf);
        for id in 1..=17 {
            outbox.reply(id, &Reply::Publish);
        }
        let message = |ids: std::ops::RangeInclusive<u8>| -> Vec<u8> {
            ids.flat_map(|id| [4, 8, id, 0x42, 0]).collect()
        };
        let messages: Vec<_> = outbox.messages().map(<[u8]>::to_vec).collect();
        assert_eq!(messages, [message(1..=16), message(17..=17)]);
        outbox.begin(Format::Json);
        outbox.reply(1, &Reply::Publish);
        let messages: Vec<_> = outbox.messages().collect();
        assert_eq!(messages, [br#"{"id":1,"publish":{}}"#]);
    }

    #[test]
    fn errors_are_noted_for_the_counters() {
        let mut outbox = Outbox::default();
        outbox.reply(1, &Reply::Publish);
        outbox.reply(2, &Reply::Error(ErrorCode::BadRequest.into()));
        assert_eq!(outbox.errors(), [ErrorCode::BadRequest.into()]);
        assert_eq!(outbox.reply_count(), 2);
        outbox.clear();
        assert_eq!((outbox.errors().len(), outbox.reply_count()), (0, 0));
    }
}
