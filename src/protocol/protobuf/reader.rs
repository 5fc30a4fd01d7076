//! The fields of one message, read in place.
//!
//! Invariant: every step consumes at least one byte, and nothing is looked at behind the end.

use std::fmt;

/// Bytes that are no message, or not the one that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// It ends in the middle of a number.
    Short,
    /// It says that more bytes follow than there are.
    Length {
        /// How many it says.
        declared: u64,
        /// How many there are.
        left: usize,
    },
    /// A number has more bits than its field holds.
    Number,
    /// A field's number is 0, or its wire type is one that the format has given up.
    Key {
        /// The key.
        key: u64,
    },
    /// A known field is of another wire type than it has to be.
    WireType {
        /// The field.
        field: u32,
    },
    /// A string is not UTF-8.
    Text {
        /// The field.
        field: u32,
    },
    /// Messages within messages beyond the bound.
    TooDeep,
}

impl fmt::Display for WireError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => out.write_str("it ends in the middle of a number"),
            Self::Length { declared, left } => {
                write!(out, "{declared} bytes are said to follow, {left} do")
            }
            Self::Number => out.write_str("a number is too large for its field"),
            Self::Key { key } => write!(out, "no field has the key {key}"),
            Self::WireType { field } => write!(out, "field {field} has the wrong wire type"),
            Self::Text { field } => write!(out, "field {field} is not UTF-8"),
            Self::TooDeep => out.write_str("too many messages within each other"),
        }
    }
}

impl std::error::Error for WireError {}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes: no field of the protocol is of that kind.
    Fixed,
}

impl<'a> Field<'a> {
    pub(super) fn u64(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::WireType { field: self.number }),
        }
    }

    pub(super) fn u32(self) -> Result<u32, WireError> {
        u32::try_from(self.u64()?).map_err(|_| WireError::Number)
    }

    /// A signed number; a negative one is sent as the 64 bits of its two's complement.
    pub(super) fn i64(self) -> Result<i64, WireError> {
        self.u64().map(u64::cast_signed)
    }

    pub(super) fn i32(self) -> Result<i32, WireError> {
        i32::try_from(self.i64()?).map_err(|_| WireError::Number)
    }

    pub(super) fn flag(self) -> Result<bool, WireError> {
        self.u64().map(|value| value != 0)
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::WireType { field: self.number }),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        simdutf8::basic::from_utf8(self.bytes()?)
            .map_err(|_| WireError::Text { field: self.number })
    }

    /// The fields of the message that this field is.
    pub(super) fn fields(self) -> Result<Fields<'a>, WireError> {
        self.bytes().map(Fields)
    }
}

/// The fields of a message that have not been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::Key { key })?;
        let value = match key & 7 {
            _ if number == 0 => return Err(WireError::Key { key }),
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => Value::Bytes(self.delimited()?),
            5 => self.skip(4)?,
            _ => return Err(WireError::Key { key }),
        };
        Ok(Some(Field { number, value }))
    }

    /// The bytes behind a length.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        self.take(length)
    }

    fn skip(&mut self, bytes: u64) -> Result<Value<'a>, WireError> {
        self.take(bytes).map(|_| Value::Fixed)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let error = WireError::Length { declared: length, left: self.0.len() };
        let length = usize::try_from(length).map_err(|_| error)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(error)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Seven bits a byte, the lowest first; the top bit says that another byte follows.
    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(WireError::Short)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(WireError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<(u64, usize), WireError> {
        let mut fields = Fields(bytes);
        fields.varint().map(|value| (value, fields.0.len()))
    }

    #[test]
    fn numbers_have_ten_bytes_at_most_and_sixty_four_bits() {
        assert_eq!(varint(&[0]), Ok((0, 0)));
        assert_eq!(varint(&[0x7f, 1]), Ok((127, 1)));
        assert_eq!(varint(&[0x80, 1]), Ok((128, 0)));
        assert_eq!(varint(&[0xac, 2]), Ok((300, 0)));
        let longest = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(varint(&longest), Ok((u64::MAX, 0)));
        for end in 0..longest.len() {
            assert_eq!(varint(&longest[..end]), Err(WireError::Short), "cut at {end}");
        }
        assert_eq!(varint(&[&[0xff; 9][..], &[2]].concat()), Err(WireError::Number));
        assert_eq!(varint(&[0x80; 11]), Err(WireError::Number));
        assert_eq!(varint(&[0x80, 0x80, 0]), Ok((0, 0)), "longer than it has to be");
    }

    #[test]
    fn fields_are_read_by_wire_type_and_no_further_than_the_end() {
        let bytes =
            [8, 150, 1, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut fields = Fields(&bytes);
        let number = fields.next().unwrap().unwrap();
        assert_eq!((number.number, number.u64()), (1, Ok(150)));
        assert_eq!(number.bytes(), Err(WireError::WireType { field: 1 }));
        let text = fields.next().unwrap().unwrap();
        assert_eq!((text.number, text.text()), (2, Ok("hi")));
        assert_eq!(text.u64(), Err(WireError::WireType { field: 2 }));
        for number in [3, 4] {
            let fixed = fields.next().unwrap().unwrap();
            assert_eq!(fixed.number, number);
            assert!(fixed.u64().is_err() && fixed.bytes().is_err());
        }
        assert_eq!(fields.next(), Ok(None));
        let declared = u64::from(u32::MAX);
        let mut huge = Fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
        assert_eq!(huge.next(), Err(WireError::Length { declared, left: 1 }));
    }

    #[test]
    fn keys_that_no_field_has_are_refused() {
        for key in [0, 2, 8 + 3, 8 + 4, 8 + 6, 8 + 7] {
            let bytes = [key, 0, 0];
            assert_eq!(Fields(&bytes).next(), Err(WireError::Key { key: key.into() }), "{key}");
        }
    }

    #[test]
    fn numbers_fit_their_fields_and_strings_are_utf8() {
        let field = |value| Field { number: 1, value };
        assert_eq!(field(Value::Varint(1 << 32)).u32(), Err(WireError::Number));
        assert_eq!(field(Value::Varint(u64::MAX)).i32(), Ok(-1));
        assert_eq!(field(Value::Varint(1 << 31)).i32(), Err(WireError::Number));
        assert_eq!(field(Value::Varint(2)).flag(), Ok(true));
        assert_eq!(field(Value::Bytes(b"\xff")).text(), Err(WireError::Text { field: 1 }));
    }
}
