//! What the home of a channel leaves to its next home, in another process.

use super::FormatError;
use super::field::{self, Record, record};
use super::stream::{PRESENT, PUBLICATION, STREAM};

/// A channel's stream without its publications, which follow. Times are in seconds from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The channel's name.
    pub channel: String,
    /// The life of the stream that its offsets count in.
    pub epoch: [u8; 8],
    /// The offset of its last publication.
    pub top: u64,
    /// Until its publications end.
    pub publications_left_s: u32,
    /// Until it ends; while the channel has members, its time after them.
    pub left_s: u32,
    /// The channel has members.
    pub has_members: bool,
    /// The last version of what is published in it, by its publisher's count.
    pub version: Option<u64>,
    /// What that count is of.
    pub version_epoch: String,
}

/// Somebody who is present in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The channel's name.
    pub channel: String,
    /// The name by which the home knows the connection.
    pub name: u64,
    /// The client's id.
    pub client: [u8; 16],
    /// Its user; empty for nobody.
    pub user: String,
    /// What others are shown of it.
    pub info: Vec<u8>,
    /// The same in this channel.
    pub channel_info: Vec<u8>,
    /// Whoever asks who is there does not hear of it.
    pub is_hidden: bool,
}

impl Stream {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        record(out, STREAM, |put| {
            put.bytes(1, self.channel.as_bytes())
                .bytes(2, &self.epoch)
                .number(3, self.top)
                .number(4, self.publications_left_s.into())
                .number(5, self.left_s.into())
                .number(6, self.has_members.into())
                .maybe(7, self.version)
                .bytes(8, self.version_epoch.as_bytes())
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let (mut one, mut has_epoch) = (Self::default(), false);
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => {
                    one.epoch = value.try_into().ok()?;
                    has_epoch = true;
                }
                3 => one.top = field::number(value)?,
                4 => one.publications_left_s = field::narrow(value)?,
                5 => one.left_s = field::narrow(value)?,
                6 => one.has_members = field::number(value)? != 0,
                7 => one.version = field::number(value)?.checked_sub(1),
                8 => one.version_epoch = field::text(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        if has_epoch { Ok(one) } else { Err(record.missing(2)) }
    }
}

impl Present {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        record(out, PRESENT, |put| {
            put.bytes(1, self.channel.as_bytes())
                .number(2, self.name)
                .bytes(3, &self.client)
                .bytes(4, self.user.as_bytes())
                .bytes(5, &self.info)
                .bytes(6, &self.channel_info)
                .number(7, self.is_hidden.into())
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.name = field::number(value)?,
                3 => one.client = value.try_into().ok()?,
                4 => one.user = field::text(value)?,
                5 => one.info = value.to_vec(),
                6 => one.channel_info = value.to_vec(),
                7 => one.is_hidden = field::number(value)? != 0,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(one)
    }
}

/// A publication of the stream before it, in the order of their offsets.
pub(super) fn encode_publication(frame: &[u8], out: &mut Vec<u8>) {
    record(out, PUBLICATION, |put| put.bytes(1, frame));
}

pub(super) fn decode_publication(record: &Record<'_>) -> Result<Vec<u8>, FormatError> {
    let mut frame = Vec::new();
    record.read(|field, value| {
        if field == 1 {
            frame = value.to_vec();
        }
        Some(field == 1)
    })?;
    Ok(frame)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::handover::field::first;

    /// With a value of its own in every field.
    pub(in crate::handover) fn full() -> (Stream, Present) {
        let stream = Stream {
            channel: "news".into(),
            epoch: *b"abcdefgh",
            top: u64::MAX,
            publications_left_s: 1,
            left_s: u32::MAX,
            has_members: true,
            version: Some(0),
            version_epoch: "v".into(),
        };
        let present = Present {
            channel: "größe".into(),
            name: 3,
            client: [7; 16],
            user: "ann".into(),
            info: b"{}".to_vec(),
            channel_info: b"[]".to_vec(),
            is_hidden: true,
        };
        (stream, present)
    }

    #[test]
    fn streams_and_those_present_come_back() {
        let (stream, present) = full();
        for stream in [stream, Stream::default()] {
            let mut bytes = Vec::new();
            stream.encode(&mut bytes);
            let (record, _) = first(&bytes).unwrap().unwrap();
            assert_eq!(Stream::decode(&record), Ok(stream));
        }
        for present in [present, Present::default()] {
            let mut bytes = Vec::new();
            present.encode(&mut bytes);
            let (record, _) = first(&bytes).unwrap().unwrap();
            assert_eq!(Present::decode(&record), Ok(present));
        }
    }
}
