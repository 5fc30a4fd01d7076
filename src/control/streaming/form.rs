//! How the messages of a session stand in a stream (23).
//!
//! ```text
//!   lines    reply LF reply │ reply     ─▶  reply LF reply LF reply LF
//!   lengths  length reply length reply  ─▶  as it stands
//!   events   reply LF reply │ reply     ─▶  data: reply LF LF data: reply LF LF …
//! ```

use crate::protocol::{Farewell, Format, Push, Transport};

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON, a reply on each line.
    Lines,
    /// Protobuf, a reply behind each length.
    Lengths,
    /// JSON, a reply in each event.
    Events,
}

impl Form {
    pub(super) fn format(self) -> Format {
        match self {
            Self::Lines | Self::Events => Format::Json,
            Self::Lengths => Format::Protobuf,
        }
    }

    pub(super) fn transport(self) -> Transport {
        match self {
            Self::Lines | Self::Lengths => Transport::HttpStream,
            Self::Events => Transport::Sse,
        }
    }

    /// What an answer of this form is called.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/json",
            Self::Lengths => "application/octet-stream",
            Self::Events => "text/event-stream; charset=utf-8",
        }
    }

    /// What a stream begins with. An event stream begins with a blank line, so that proxies and
    /// browsers have something to pass on. With a line feed alone: there is a reader in the wild
    /// that loses the event behind a carriage return.
    pub(super) fn preamble(self) -> &'static [u8] {
        match self {
            Self::Lines | Self::Lengths => b"",
            Self::Events => b"\n",
        }
    }
}

/// Puts messages into a form, part by part.
#[derive(Debug)]
pub(super) struct Shaper {
    form: Form,
    /// The next byte is the first of a reply.
    is_at_start: bool,
}

impl Shaper {
    pub(super) fn new(form: Form) -> Self {
        Self { form, is_at_start: true }
    }

    /// Appends the next part of a message.
    pub(super) fn part(&mut self, out: &mut Vec<u8>, part: &[u8]) {
        if self.form != Form::Events {
            return out.extend_from_slice(part);
        }
        for line in part.split_inclusive(|&byte| byte == b'\n') {
            if std::mem::take(&mut self.is_at_start) {
                out.extend_from_slice(b"data: ");
            }
            out.extend_from_slice(line);
            if line.ends_with(b"\n") {
                out.push(b'\n');
                self.is_at_start = true;
            }
        }
    }

    /// Appends the end of a message.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        match self.form {
            Form::Lines => out.push(b'\n'),
            Form::Lengths => {}
            Form::Events => {
                out.extend_from_slice(b"\n\n");
                self.is_at_start = true;
            }
        }
    }

    /// Appends a whole message that says why the session has ended.
    pub(super) fn farewell(&mut self, out: &mut Vec<u8>, farewell: Farewell<'_>) {
        let mut message = Vec::new();
        self.form.format().write_push(&mut message, "", &Push::Disconnect(farewell));
        self.part(out, &message);
        self.end(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These messages, cut into parts of so many bytes.
    fn shaped(form: Form, messages: &[&[u8]], part_bytes: usize) -> Vec<u8> {
        let (mut shaper, mut out) = (Shaper::new(form), Vec::new());
        for message in messages {
            message.chunks(part_bytes).for_each(|part| shaper.part(&mut out, part));
            shaper.end(&mut out);
        }
        out
    }

    #[test]
    fn every_cut_of_a_message_gives_the_same_stream() {
        let json: [&[u8]; 3] = [b"{\"id\":1}\n{\"id\":2}", b"{}", b"{\"push\":7}"];
        for (form, messages, expected) in [
            (Form::Lines, json, &b"{\"id\":1}\n{\"id\":2}\n{}\n{\"push\":7}\n"[..]),
            (
                Form::Events,
                json,
                b"data: {\"id\":1}\n\ndata: {\"id\":2}\n\ndata: {}\n\ndata: {\"push\":7}\n\n",
            ),
            (Form::Lengths, [b"\x01\n\x02ab", b"\0", b"\x01x"], b"\x01\n\x02ab\0\x01x"),
        ] {
            for part_bytes in 1..20 {
                let stream = shaped(form, &messages, part_bytes);
                assert_eq!(stream, expected, "{form:?} in parts of {part_bytes}");
            }
        }
    }

    #[test]
    fn a_farewell_is_a_reply_of_its_own() {
        let farewell = Farewell { code: 3501, reason: "bad request" };
        let text = r#"{"push":{"disconnect":{"code":3501,"reason":"bad request"}}}"#;
        for (form, expected) in
            [(Form::Lines, format!("{text}\n")), (Form::Events, format!("data: {text}\n\n"))]
        {
            let mut out = Vec::new();
            Shaper::new(form).farewell(&mut out, farewell);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        Shaper::new(Form::Lengths).farewell(&mut out, farewell);
        assert_eq!(usize::from(out[0]), out.len() - 1, "behind its length");
    }
}
