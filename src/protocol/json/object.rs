//! An object that is being written, member by member.
//!
//! Invariant: what is appended to the output holds no line feed.

use super::super::ClientId;
use super::super::client_id::TEXT_BYTES;

/// An object that is being written. Its methods leave out what is zero, unless they say `always`.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// The members of an object whose braces stand elsewhere.
    pub(super) fn inside(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_empty: true }
    }

    /// More members of an object that was ended as the last of what was written.
    pub(super) fn again(out: &'a mut Vec<u8>) -> Self {
        assert_eq!(out.pop(), Some(b'}'), "it has ended");
        let is_empty = out.ends_with(b"{");
        Self { out, is_empty }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        write_string(self.out, key);
        self.out.push(b':');
    }

    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::begin(self.out)
    }

    /// A list whose items have been encoded before.
    pub(super) fn encoded_list(&mut self, key: &str, items: &[u8]) {
        self.encoded(key, [b'[', b']'], items);
    }

    /// An object whose members have been encoded before.
    pub(super) fn encoded_object(&mut self, key: &str, members: &[u8]) {
        self.encoded(key, [b'{', b'}'], members);
    }

    fn encoded(&mut self, key: &str, [open, close]: [u8; 2], inside: &[u8]) {
        self.key(key);
        self.out.reserve(inside.len() + 2);
        self.out.push(open);
        self.out.extend_from_slice(inside);
        self.out.push(close);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number_always(key, value);
        }
    }

    pub(super) fn number_always(&mut self, key: &str, value: u64) {
        self.key(key);
        write_number(self.out, value);
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.key(key);
            self.out.extend_from_slice(b"true");
        }
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text_always(key, value);
        }
    }

    pub(super) fn text_always(&mut self, key: &str, value: &str) {
        self.key(key);
        write_string(self.out, value);
    }

    pub(super) fn client(&mut self, key: &str, client: ClientId) {
        self.key(key);
        self.out.reserve(TEXT_BYTES + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(&client.text());
        self.out.push(b'"');
    }

    pub(super) fn raw(&mut self, key: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.key(key);
        self.out.reserve(value.len());
        // Ends of lines, which end a reply, and a line of an event stream: white space, in JSON.
        for part in value.split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.out.extend_from_slice(part);
        }
    }
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(value % 10) as usize];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A text as a JSON string.
pub(in super::super) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_string(&mut out, text);
    out
}

/// A JSON string (RFC 8259 §7): what must be escaped is, and nothing else.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)) {
        out.extend_from_slice(&rest[..place]);
        match rest[place] {
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digits = b"0123456789abcdef";
                let (high, low) = (usize::from(control >> 4), usize::from(control & 0xf));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[high], digits[low]]);
            }
        }
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_string_is_read_back_by_another_parser(text in ".*") {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(out.iter().all(|byte| *byte >= 0x20), "nothing raw, and so one line");
        }

        #[test]
        fn any_number_is_written_as_others_do(value: u64) {
            let mut out = Vec::new();
            write_number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
