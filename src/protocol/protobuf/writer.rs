//! A message that is being written, behind its length.
//!
//! The length stands first and is known last: room for one byte is left, and what was written
//! moves on if it takes more. Most messages are short, and none is longer than a publication.
//!
//! Zero values are left out, as the format has it.

/// A message that is being written. [`end`](Self::end) fills in its length.
pub(super) struct Message<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Message<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(0);
        let start = out.len();
        Self { out, start }
    }

    pub(super) fn end(self) {
        let Self { out, start } = self;
        let length = out.len() - start;
        let (bytes, count) = varint(length as u64);
        let more = count - 1;
        if more > 0 {
            out.extend_from_slice(&bytes[..more]); // any bytes: they make the room
            out.copy_within(start..start + length, start + more);
        }
        out[start - 1..][..count].copy_from_slice(&bytes[..count]);
    }

    /// A message that is a field of one that is put together elsewhere.
    pub(super) fn field(out: &'a mut Vec<u8>, field: u32) -> Self {
        write_key(out, field, DELIMITED);
        Self::begin(out)
    }

    /// A message within this one; written even if nothing is in it.
    pub(super) fn message(&mut self, field: u32) -> Message<'_> {
        Message::field(self.out, field)
    }

    /// Fields that have been encoded before.
    pub(super) fn encoded(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            write_key(self.out, field, VARINT);
            write_varint(self.out, value);
        }
    }

    pub(super) fn flag(&mut self, field: u32, value: bool) {
        self.number(field, value.into());
    }

    pub(super) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            write_bytes(self.out, field, value);
        }
    }
}

/// The wire type of a number.
const VARINT: u64 = 0;
/// The wire type of bytes, and so of texts and messages.
const DELIMITED: u64 = 2;

/// Appends a field of bytes, be it of none.
pub(super) fn write_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    write_key(out, field, DELIMITED);
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn write_key(out: &mut Vec<u8>, field: u32, wire_type: u64) {
    write_varint(out, u64::from(field) << 3 | wire_type);
}

fn write_varint(out: &mut Vec<u8>, value: u64) {
    let (bytes, count) = varint(value);
    out.extend_from_slice(&bytes[..count]);
}

/// Bytes of the longest number.
const VARINT_BYTES_MAX: usize = 10;

/// A number as bytes, and how many they are.
fn varint(mut value: u64) -> ([u8; VARINT_BYTES_MAX], usize) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut count = 0;
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        bytes[count] = if value == 0 { low } else { low | 0x80 };
        count += 1;
        if value == 0 {
            return (bytes, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Fields;
    use super::*;

    #[test]
    fn lengths_of_every_width_are_read_back() {
        for bytes in [0, 1, 124, 125, 126, 127, 128, 16_377, 16_378, 16_379, 16_380, 3_000_000] {
            let data: Vec<u8> = (0..bytes).map(|place: usize| place.to_le_bytes()[0]).collect();
            let mut out = b"before".to_vec();
            let mut outer = Message::begin(&mut out);
            let mut inner = outer.message(3);
            inner.bytes(4, &data);
            inner.end();
            outer.number(16, 9);
            outer.end();
            let mut frame = Fields(out.strip_prefix(b"before").unwrap());
            let mut outer = Fields(frame.delimited().unwrap());
            assert!(frame.0.is_empty(), "{bytes}");
            let inner = outer.next().unwrap().unwrap();
            assert_eq!(inner.number, 3);
            let field = inner.fields().unwrap().next().unwrap();
            assert_eq!(field.map_or(&b""[..], |field| field.bytes().unwrap()), data);
            let last = outer.next().unwrap().unwrap();
            assert_eq!((last.number, last.u64(), outer.0), (16, Ok(9), &b""[..]));
        }
    }

    #[test]
    fn zero_values_are_left_out_and_messages_are_not() {
        let mut out = Vec::new();
        let mut message = Message::begin(&mut out);
        message.number(1, 0);
        message.flag(2, false);
        message.text(3, "");
        message.bytes(4, b"");
        message.message(5).end();
        message.end();
        assert_eq!(out, [2, 0x2a, 0]);
    }
}
