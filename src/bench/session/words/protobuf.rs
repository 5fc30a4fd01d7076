//! The words of the protocol in Protobuf: messages behind their lengths.
//!
//! ```text
//!   length │ key, value │ key, value │ …        key = field × 8 + wire type: 0 number, 2 bytes
//! ```
//!
//! Only what the generator looks at is read; every other field is passed over.
#![forbid(unsafe_code)]

use super::{
    CONNECT_ID, Connected, PUBLISH_ID, Place, Publication, SUBSCRIBE_ID, Subscribed, Told,
};

pub(super) fn hello(
    out: &mut Vec<u8>,
    token: Option<&str>,
    channel: &str,
    from: Option<Place<'_>>,
) {
    let mut connect = Vec::new();
    if let Some(token) = token {
        bytes(&mut connect, 1, token.as_bytes());
    }
    command(out, CONNECT_ID, 4, &connect);
    let mut subscribe = Vec::new();
    bytes(&mut subscribe, 1, channel.as_bytes());
    if let Some(Place { epoch, offset }) = from {
        number(&mut subscribe, 3, 1);
        bytes(&mut subscribe, 6, epoch.as_bytes());
        number(&mut subscribe, 7, offset);
    }
    command(out, SUBSCRIBE_ID, 5, &subscribe);
}

pub(super) fn publish(out: &mut Vec<u8>, channel: &str, data: &str) {
    let mut request = Vec::new();
    bytes(&mut request, 1, channel.as_bytes());
    bytes(&mut request, 2, data.as_bytes());
    command(out, PUBLISH_ID, 7, &request);
}

fn command(out: &mut Vec<u8>, id: u32, kind: u32, request: &[u8]) {
    let mut message = Vec::new();
    number(&mut message, 1, id.into());
    bytes(&mut message, kind, request);
    varint(out, message.len() as u64);
    out.extend_from_slice(&message);
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field) << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads the first message, and returns what stands behind it.
pub(super) fn read(bytes: &[u8]) -> (Told<'_>, &[u8]) {
    let mut rest = Fields(bytes);
    match rest.delimited() {
        Some([]) => (Told::Ping, rest.0),
        Some(message) => (reply(message).unwrap_or(Told::Garbled), rest.0),
        // Where one ends is not known, so nothing behind it can be read.
        None => (Told::Garbled, &[]),
    }
}

fn reply(message: &[u8]) -> Option<Told<'_>> {
    let (mut id, mut told) = (0, Told::Other);
    let mut fields = Fields(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => id = u32::try_from(value.number()?).ok()?,
            2 => told = Told::Refused(0, value.fields()?.number_of(1)?),
            4 => told = push(value.fields()?)?,
            5 => told = Told::Connected(connected(value.fields()?)?),
            6 => told = Told::Subscribed(Box::new(subscribed(value.fields()?)?)),
            8 => told = Told::Published,
            _ => {}
        }
    }
    // The id may stand behind what it is of.
    Some(if let Told::Refused(_, code) = told { Told::Refused(id, code) } else { told })
}

fn push(mut fields: Fields<'_>) -> Option<Told<'_>> {
    let mut told = Told::Other;
    while let Some((field, value)) = fields.next()? {
        match field {
            4 => told = Told::Publication(publication(value.fields()?)?),
            7 => told = Told::Unsubscribed(value.fields()?.number_of(2)?),
            _ => {}
        }
    }
    Some(told)
}

fn connected(mut fields: Fields<'_>) -> Option<Connected> {
    let mut connected = Connected::default();
    while let Some((field, value)) = fields.next()? {
        match field {
            7 => connected.ping = u32::try_from(value.number()?).ok()?,
            8 => connected.pong = value.number()? != 0,
            _ => {}
        }
    }
    Some(connected)
}

fn subscribed(mut fields: Fields<'_>) -> Option<Subscribed<'_>> {
    let mut subscribed = Subscribed::default();
    while let Some((field, value)) = fields.next()? {
        match field {
            3 => subscribed.recoverable = value.number()? != 0,
            6 => subscribed.epoch = String::from_utf8(value.bytes()?.to_vec()).ok()?,
            7 => subscribed.publications.push(publication(value.fields()?)?),
            8 => subscribed.recovered = value.number()? != 0,
            9 => subscribed.offset = value.number()?,
            _ => {}
        }
    }
    Some(subscribed)
}

fn publication(mut fields: Fields<'_>) -> Option<Publication<'_>> {
    let mut publication = Publication::default();
    while let Some((field, value)) = fields.next()? {
        match field {
            4 => publication.data = value.bytes()?,
            6 => publication.offset = value.number()?,
            _ => {}
        }
    }
    Some(publication)
}

/// The fields of a message that have not been read.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// The next field and its value, or `None` behind the last; `None` around that: it is torn.
    #[allow(clippy::option_option)] // "No field" and "no message" are two things.
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            2 => Value::Bytes(self.delimited()?),
            // The protocol has no other.
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    /// The number in this field; 0 where it is not there.
    fn number_of(mut self, wanted: u64) -> Option<u32> {
        let mut found = 0;
        while let Some((field, value)) = self.next()? {
            if field == wanted {
                found = u32::try_from(value.number()?).ok()?;
            }
        }
        Some(found)
    }

    fn delimited(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Value<'a> {
    fn number(self) -> Option<u64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn fields(self) -> Option<Fields<'a>> {
        self.bytes().map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ClientId, ConnectResult, Format, Lineage, Reply, SubscribeResult};

    #[test]
    fn results_are_read_as_the_server_writes_them() {
        let client = ClientId { random: 1, lineage: Lineage::ZERO };
        let connect = ConnectResult {
            client,
            version: "1",
            ttl_s: None,
            ping_s: 25,
            pong: true,
            data: b"",
            subs: &[],
            stream: None,
        };
        let subscribe = SubscribeResult {
            recoverable: true,
            recovered: true,
            epoch: "E",
            offset: 1000,
            ..SubscribeResult::default()
        };
        let mut message = Vec::new();
        Format::Protobuf.write_reply(&mut message, CONNECT_ID, &Reply::Connect(connect));
        Format::Protobuf.write_reply(&mut message, SUBSCRIBE_ID, &Reply::Subscribe(subscribe));
        let (told, rest) = read(&message);
        let Told::Connected(told) = told else { panic!("{told:?}") };
        assert_eq!(told, Connected { ping: 25, pong: true });
        let (told, rest) = read(rest);
        let Told::Subscribed(told) = told else { panic!("{told:?}") };
        assert!(told.recoverable && told.recovered && rest.is_empty());
        assert_eq!((&*told.epoch, told.offset), ("E", 1000));
    }

    #[test]
    fn what_is_torn_is_garbled_wherever_it_is() {
        let mut message = Vec::new();
        bytes(&mut message, 4, b"\x12\x01c\x22\x04\x22\x02ok");
        let whole = [&[message.len().to_le_bytes()[0]], &message[..]].concat();
        let Told::Publication(told) = read(&whole).0 else { panic!("a publication") };
        assert_eq!(told.data, b"ok");
        for end in 0..whole.len() {
            let (told, rest) = read(&whole[..end]);
            assert!(matches!(told, Told::Garbled) && rest.is_empty(), "{end}: {told:?}");
        }
        // A message within that is longer than what it is in.
        let mut nested = whole;
        nested[2] = 0x7f;
        assert!(matches!(read(&nested).0, Told::Garbled));
    }
}
