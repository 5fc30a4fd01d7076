//! A client's session on its way: the state of a connection whose application is the client
//! protocol.

use super::FormatError;
use super::field::{self, Record, Writer, first, record};

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionStage {
    /// It waits for the connect command.
    #[default]
    Waiting,
    /// Its client has connected.
    Connected,
    /// It was told why it cannot connect, and is to leave.
    Refused,
}

/// In the order of their numbers, from 1 on.
const STAGES: [SessionStage; 3] =
    [SessionStage::Waiting, SessionStage::Connected, SessionStage::Refused];

/// One client's session. Times are in seconds since the Unix epoch, 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Where it stands.
    pub stage: SessionStage,
    /// Its part of the client's id.
    pub random: u64,
    /// It speaks Protobuf, and not JSON.
    pub is_binary: bool,
    /// Its pings are messages of the protocol.
    pub has_message_pings: bool,
    /// It is counted among its user's connections.
    pub is_signed_in: bool,
    /// Its user; empty for nobody.
    pub user: String,
    /// What others are shown of it.
    pub info: Vec<u8>,
    /// When it expires.
    pub expires_s: u32,
    /// When its token was issued.
    pub issued_s: u32,
    /// Which channels its token has put it into, as a fingerprint.
    pub channels: u32,
    /// The name of its token.
    pub token_id: String,
    /// What back ends are told of it.
    pub meta: Vec<u8>,
    /// Headers of its upgrade request that back ends are told of.
    pub http_headers: Vec<(String, Vec<u8>)>,
    /// The same of its connect command.
    pub emulated_headers: Vec<(String, Vec<u8>)>,
    /// The names of its subscriptions' tokens, by channel.
    pub token_names: Vec<(String, Vec<u8>)>,
    /// What others are shown of it in some channels.
    pub channel_infos: Vec<(String, Vec<u8>)>,
    /// Its subscriptions that end unless they are prolonged.
    pub expiring: Vec<Expiring>,
    /// Channels that it is in.
    pub channel_count: u16,
}

/// A subscription that ends unless it is prolonged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiring {
    /// The channel.
    pub channel: String,
    /// When.
    pub expires_s: u32,
    /// The client has not asked for it.
    pub is_server_side: bool,
}

/// The number of the record.
const SESSION: u8 = 1;

impl Session {
    /// Its serial form.
    pub fn encode(&self) -> Vec<u8> {
        let stage = STAGES.iter().position(|one| *one == self.stage).expect("all are listed");
        let flags = [self.is_binary, self.has_message_pings, self.is_signed_in];
        let mut out = Vec::new();
        record(&mut out, SESSION, |put| {
            put.number(1, stage as u64 + 1)
                .number(2, self.random)
                .number(3, field::flags_of(flags))
                .bytes(4, self.user.as_bytes())
                .bytes(5, &self.info)
                .number(6, self.expires_s.into())
                .number(7, self.issued_s.into())
                .number(8, self.channels.into())
                .bytes(9, self.token_id.as_bytes())
                .bytes(10, &self.meta)
                .each(11, &self.http_headers, pair)
                .each(12, &self.emulated_headers, pair)
                .each(13, &self.token_names, pair)
                .each(14, &self.channel_infos, pair)
                .each(15, &self.expiring, |put, one| one.write(put))
                .number(16, self.channel_count.into())
        });
        out
    }

    /// Reads the serial form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let record = match first(bytes)? {
            Some((record, length)) if length == bytes.len() => record,
            _ => return Err(FormatError::Cut),
        };
        if record.number != SESSION {
            return Err(FormatError::Record { number: record.number });
        }
        let mut one = Self::default();
        let mut stage = None;
        record.read(|field, value| {
            if field == 1 {
                let number: usize = field::narrow(value)?;
                stage = Some(*STAGES.get(number.checked_sub(1)?)?);
                return Some(true);
            }
            one.take(field, value)
        })?;
        one.stage = stage.ok_or(record.missing(1))?;
        Ok(one)
    }

    fn take(&mut self, field: u16, value: &[u8]) -> Option<bool> {
        match field {
            2 => self.random = field::number(value)?,
            3 => {
                let flags =
                    [&mut self.is_binary, &mut self.has_message_pings, &mut self.is_signed_in];
                field::set_flags(field::number(value)?, flags)?;
            }
            4 => self.user = field::text(value)?,
            5 => self.info = value.to_vec(),
            6 => self.expires_s = field::narrow(value)?,
            7 => self.issued_s = field::narrow(value)?,
            8 => self.channels = field::narrow(value)?,
            9 => self.token_id = field::text(value)?,
            10 => self.meta = value.to_vec(),
            11 => self.http_headers.push(read_pair(value)?),
            12 => self.emulated_headers.push(read_pair(value)?),
            13 => self.token_names.push(read_pair(value)?),
            14 => self.channel_infos.push(read_pair(value)?),
            15 => self.expiring.push(Expiring::read(value)?),
            16 => self.channel_count = field::narrow(value)?,
            _ => return Some(false),
        }
        Some(true)
    }
}

impl Expiring {
    fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.bytes(1, self.channel.as_bytes())
            .number(2, self.expires_s.into())
            .number(3, self.is_server_side.into())
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.expires_s = field::narrow(value)?,
                3 => one.is_server_side = field::number(value)? != 0,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(one)
    }
}

/// A name, and what belongs to it.
fn pair<'w, 'o>(put: &'w mut Writer<'o>, (name, value): &(String, Vec<u8>)) -> &'w mut Writer<'o> {
    put.bytes(1, name.as_bytes()).bytes(2, value)
}

fn read_pair(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut name, mut of_it) = (String::new(), Vec::new());
    Record::inner(value, |field, value| {
        match field {
            1 => name = field::text(value)?,
            2 => of_it = value.to_vec(),
            _ => return Some(false),
        }
        Some(true)
    })?;
    Some((name, of_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a value of its own in every field.
    fn full() -> Session {
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        Session {
            stage: SessionStage::Connected,
            random: u64::MAX - 1,
            is_binary: true,
            has_message_pings: false,
            is_signed_in: true,
            user: "größe".into(),
            info: b"{}".to_vec(),
            expires_s: 1,
            issued_s: 2,
            channels: u32::MAX,
            token_id: "t".into(),
            meta: vec![0xff],
            http_headers: vec![pair("host", "a"), pair("via", "")],
            emulated_headers: vec![pair("x", "y")],
            token_names: vec![pair("news", "n")],
            channel_infos: vec![pair("news", "[]")],
            expiring: vec![Expiring { channel: "a".into(), expires_s: 3, is_server_side: true }],
            channel_count: 4,
        }
    }

    #[test]
    fn every_session_comes_back_as_it_was_and_a_part_of_it_does_not() {
        for one in [full(), Session::default()] {
            let bytes = one.encode();
            assert_eq!(Session::decode(&bytes), Ok(one));
            for cut in 0..bytes.len() {
                assert_eq!(Session::decode(&bytes[..cut]), Err(FormatError::Cut), "{cut}");
            }
        }
    }

    #[test]
    fn the_golden_bytes_of_version_1_are_read_and_written() {
        let golden: Vec<u8> = include_str!("golden/session_1.hex")
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let written = full().encode();
        let hex: Vec<String> = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, golden, "the format has changed: {}", hex.join(" "));
        assert_eq!(Session::decode(&golden), Ok(full()));
    }
}
