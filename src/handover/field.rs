//! Records of numbered fields.
//!
//! ```text
//!  record:  number u8 │ length u32 │ field … field
//!  field:   number u16, its top bit set if it must be understood │ length u32 │ value
//! ```
//!
//! Numbers are little-endian. A field that stands for nothing (0, no text, false) is left out.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::FormatError;
use crate::limits::HANDED_RECORD_BYTES_MAX;

/// Bytes in front of a record's fields.
pub(super) const RECORD_HEAD_BYTES: usize = 5;
const FIELD_HEAD_BYTES: usize = 6;
/// Set in the number of a field that must be understood.
const MUST: u16 = 1 << 15;

/// Appends one record.
pub(super) fn record(
    out: &mut Vec<u8>,
    number: u8,
    fill: impl for<'w, 'o> FnOnce(&'w mut Writer<'o>) -> &'w mut Writer<'o>,
) {
    let start = out.len();
    out.push(number);
    out.extend_from_slice(&[0; 4]);
    fill(&mut Writer { out, is_must: true });
    let length = length(out.len() - start - RECORD_HEAD_BYTES);
    out[start + 1..start + RECORD_HEAD_BYTES].copy_from_slice(&length);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("bounded by the output of a connection").to_le_bytes()
}

/// Writes the fields of one record.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    is_must: bool,
}

impl Writer<'_> {
    /// The fields from here on may be skipped by who does not know them.
    pub(super) fn optional(&mut self) -> &mut Self {
        self.is_must = false;
        self
    }

    pub(super) fn bytes(&mut self, number: u16, value: &[u8]) -> &mut Self {
        if !value.is_empty() {
            let number = if self.is_must { number | MUST } else { number };
            self.out.extend_from_slice(&number.to_le_bytes());
            self.out.extend_from_slice(&length(value.len()));
            self.out.extend_from_slice(value);
        }
        self
    }

    pub(super) fn number(&mut self, number: u16, value: u64) -> &mut Self {
        let bytes = value.to_le_bytes();
        let zeros = value.leading_zeros() as usize / 8;
        self.bytes(number, &bytes[..bytes.len() - zeros])
    }

    /// A number of which 0 is a value: one more is written, and none is left out.
    pub(super) fn maybe(&mut self, number: u16, value: Option<u64>) -> &mut Self {
        self.number(number, value.map_or(0, |value| value.saturating_add(1)))
    }

    /// One field of this number for each item, which has fields of its own.
    pub(super) fn each<T>(
        &mut self,
        number: u16,
        items: impl IntoIterator<Item = T>,
        fill: impl for<'w, 'o> Fn(&'w mut Writer<'o>, T) -> &'w mut Writer<'o>,
    ) -> &mut Self {
        for item in items {
            let mut value = Vec::new();
            fill(&mut Writer { out: &mut value, is_must: self.is_must }, item);
            self.bytes(number, &value);
        }
        self
    }

    pub(super) fn address(&mut self, number: u16, value: Option<SocketAddr>) -> &mut Self {
        let Some(address) = value else { return self };
        self.bytes(number, &address_bytes(address))
    }
}

pub(super) const ADDRESS_BYTES: usize = 18;

pub(super) fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_BYTES] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; ADDRESS_BYTES];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

pub(super) fn address_of(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_first_chunk::<16>()?;
    let ip = IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical();
    Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?)))
}

/// The first whole record of `bytes`, and its length; `None` if it has not arrived whole.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, FormatError> {
    let Some((head, behind)) = bytes.split_first_chunk::<RECORD_HEAD_BYTES>() else {
        return Ok(None);
    };
    let [number, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    if length > HANDED_RECORD_BYTES_MAX {
        return Err(FormatError::TooLong { bytes: length as u64 });
    }
    let fields = behind.get(..length);
    Ok(fields.map(|fields| (Record { number, fields }, RECORD_HEAD_BYTES + length)))
}

/// One record that has arrived whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) number: u8,
    fields: &'a [u8],
}

impl<'a> Record<'a> {
    /// Gives `take` each field; it says whether it knows it, or `None` if its value means nothing.
    pub(super) fn read(
        &self,
        mut take: impl FnMut(u16, &'a [u8]) -> Option<bool>,
    ) -> Result<(), FormatError> {
        let record = self.number;
        let mut rest = self.fields;
        while let Some((head, behind)) = rest.split_first_chunk::<FIELD_HEAD_BYTES>() {
            let [low, high, length @ ..] = *head;
            let marked = u16::from_le_bytes([low, high]);
            let length = u32::from_le_bytes(length) as usize;
            let Some((value, behind)) = behind.split_at_checked(length) else {
                return Err(FormatError::Cut);
            };
            rest = behind;
            let field = marked & !MUST;
            match take(field, value) {
                None => return Err(FormatError::Value { record, field }),
                Some(false) if marked & MUST != 0 => {
                    return Err(FormatError::UnknownField { record, field });
                }
                Some(_) => {}
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(FormatError::Cut) }
    }

    /// A field's value that has fields of its own, of which `take` takes each as in [`read`].
    /// `None` if one of them means nothing, or must be understood and is not.
    ///
    /// [`read`]: Self::read
    pub(super) fn inner(
        value: &'a [u8],
        take: impl FnMut(u16, &'a [u8]) -> Option<bool>,
    ) -> Option<()> {
        Record { number: 0, fields: value }.read(take).ok()
    }

    pub(super) fn missing(&self, field: u16) -> FormatError {
        FormatError::Missing { record: self.number, field }
    }
}

/// Flags as a number, the first as its lowest bit.
pub(super) fn flags_of<const N: usize>(flags: [bool; N]) -> u64 {
    flags.into_iter().enumerate().map(|(bit, flag)| u64::from(flag) << bit).sum()
}

/// The reverse; `None` if there are flags that nobody here knows.
pub(super) fn set_flags<const N: usize>(number: u64, flags: [&mut bool; N]) -> Option<()> {
    let known = (1 << N) - 1;
    for (bit, flag) in flags.into_iter().enumerate() {
        *flag = number >> bit & 1 == 1;
    }
    (number & !known == 0).then_some(())
}

/// The number that these bytes are.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let mut all = [0; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}

/// The same for a narrower type.
pub(super) fn narrow<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    T::try_from(number(bytes)?).ok()
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl for<'w, 'o> FnOnce(&'w mut Writer<'o>) -> &'w mut Writer<'o>) -> Vec<u8> {
        let mut out = Vec::new();
        record(&mut out, 9, fill);
        out
    }

    #[test]
    fn an_unknown_field_is_skipped_unless_it_must_be_understood() {
        let know_none = |bytes: &[u8]| {
            let (record, length) = first(bytes).unwrap().unwrap();
            assert_eq!((record.number, length), (9, bytes.len()));
            record.read(|_, _| Some(false))
        };
        let optional = written(|put| put.optional().number(700, 5));
        assert_eq!(know_none(&optional), Ok(()));
        let must = written(|put| put.number(700, 5).optional().number(3, 1));
        let error = FormatError::UnknownField { record: 9, field: 700 };
        assert_eq!(know_none(&must), Err(error));
    }

    #[test]
    fn numbers_and_addresses_come_back() {
        for value in [0, 1, 255, 256, u64::from(u32::MAX), u64::MAX - 1] {
            let bytes = written(|put| put.number(1, value).maybe(2, Some(value)));
            let (record, _) = first(&bytes).unwrap().unwrap();
            let (mut plain, mut optional) = (0, None);
            let read = record.read(|field, value| {
                match field {
                    1 => plain = number(value)?,
                    _ => optional = number(value)?.checked_sub(1),
                }
                Some(true)
            });
            assert_eq!((read, plain, optional), (Ok(()), value, Some(value)));
        }
        for text in ["192.0.2.7:80", "[2001:db8::1]:65535"] {
            let address = text.parse().unwrap();
            assert_eq!(address_of(&address_bytes(address)), Some(address));
        }
        assert_eq!(address_of(&[0; 17]), None);
    }

    #[test]
    fn a_record_is_whole_or_not_there_yet_or_too_long() {
        let bytes = written(|put| put.bytes(1, b"value"));
        for cut in 0..bytes.len() {
            assert!(matches!(first(&bytes[..cut]), Ok(None)), "{cut}");
        }
        let too_long = [9, 255, 255, 255, 255];
        assert!(matches!(first(&too_long), Err(FormatError::TooLong { .. })));
        let inner_cut = [9, 6, 0, 0, 0, 1, 0, 9, 0, 0, 0];
        let (record, _) = first(&inner_cut).unwrap().unwrap();
        assert_eq!(record.read(|_, _| Some(true)), Err(FormatError::Cut));
    }
}
