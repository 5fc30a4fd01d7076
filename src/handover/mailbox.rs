//! What users have not acknowledged, on its way to the next home of its channel.

use super::FormatError;
use super::field::{self, Record, Writer, record};
use super::stream::{LOST, MAILBOX, OWED};

/// A publication that somebody has not acknowledged. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// The channel's name.
    pub channel: String,
    /// The number that it is acknowledged by.
    pub id: u64,
    /// Since it was published.
    pub age_ms: u64,
    /// The publication.
    pub frame: Vec<u8>,
}

/// What one user has not acknowledged in one channel, of the publications before it. Times are in
/// milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// The channel's name.
    pub channel: String,
    /// The user.
    pub user: String,
    /// Publications at most.
    pub publications_max: u32,
    /// Bytes of them at most.
    pub bytes_max: u32,
    /// How long each is retained, in seconds.
    pub ttl_s: u32,
    /// The names of the user's connections, in the order in which they came.
    pub connections: Vec<u64>,
    /// What it has.
    pub places: Vec<OwedPlace>,
    /// Publications that are lost, of which the user is to be told.
    pub lost: u64,
    /// Those of them that it was told of, and has not said that it has heard.
    pub told: u64,
    /// How long it takes what is published while no connection is there.
    pub away_left_ms: u64,
    /// The last number that its home has given: others may have been acknowledged since.
    pub given_id: u64,
}

/// A publication in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwedPlace {
    /// The publication's number.
    pub id: u64,
    /// How often it was sent again.
    pub tries: u32,
    /// Until it is sent again.
    pub due_in_ms: u64,
}

/// What a user has lost in a mailbox that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The channel's name.
    pub channel: String,
    /// The user.
    pub user: String,
    /// How many publications.
    pub count: u64,
}

impl Owed {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        record(out, OWED, |put| {
            put.bytes(1, self.channel.as_bytes())
                .number(2, self.id)
                .number(3, self.age_ms)
                .bytes(4, &self.frame)
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.id = field::number(value)?,
                3 => one.age_ms = field::number(value)?,
                4 => one.frame = value.to_vec(),
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(one)
    }
}

impl Mailbox {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // A name may be 0, and such a number would be left out.
        let names: Vec<u8> = self.connections.iter().flat_map(|name| name.to_le_bytes()).collect();
        record(out, MAILBOX, |put| {
            put.bytes(1, self.channel.as_bytes())
                .bytes(2, self.user.as_bytes())
                .number(3, self.publications_max.into())
                .number(4, self.bytes_max.into())
                .number(5, self.ttl_s.into())
                .bytes(6, &names)
                .each(7, &self.places, |put, place| place.write(put))
                .number(8, self.lost)
                .number(9, self.told)
                .number(10, self.away_left_ms)
                .optional()
                .number(11, self.given_id)
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.user = field::text(value)?,
                3 => one.publications_max = field::narrow(value)?,
                4 => one.bytes_max = field::narrow(value)?,
                5 => one.ttl_s = field::narrow(value)?,
                6 => one.connections = names(value)?,
                7 => one.places.push(OwedPlace::read(value)?),
                8 => one.lost = field::number(value)?,
                9 => one.told = field::number(value)?,
                10 => one.away_left_ms = field::number(value)?,
                11 => one.given_id = field::number(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(one)
    }
}

impl OwedPlace {
    fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.number(1, self.id).number(2, self.tries.into()).number(3, self.due_in_ms)
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.id = field::number(value)?,
                2 => one.tries = field::narrow(value)?,
                3 => one.due_in_ms = field::number(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(one)
    }
}

fn names(bytes: &[u8]) -> Option<Vec<u64>> {
    let (names, rest) = bytes.as_chunks();
    rest.is_empty().then(|| names.iter().map(|name| u64::from_le_bytes(*name)).collect())
}

impl Lost {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        record(out, LOST, |put| {
            put.bytes(1, self.channel.as_bytes())
                .bytes(2, self.user.as_bytes())
                .number(3, self.count)
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.user = field::text(value)?,
                3 => one.count = field::number(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(one)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::handover::field::first;

    /// With a value of its own in every field.
    pub(in crate::handover) fn full() -> (Owed, Mailbox, Lost) {
        let owed =
            Owed { channel: "news".into(), id: 1 << 40, age_ms: 5, frame: b"frame".to_vec() };
        let mailbox = Mailbox {
            channel: "news".into(),
            user: "ann".into(),
            publications_max: 100,
            bytes_max: u32::MAX,
            ttl_s: 600,
            connections: vec![7, 0, u64::MAX],
            places: vec![
                OwedPlace { id: 1, tries: 0, due_in_ms: 0 },
                OwedPlace { id: 1 << 40, tries: 3, due_in_ms: 900 },
            ],
            lost: 4,
            told: 2,
            away_left_ms: 60_000,
            given_id: 1 << 41,
        };
        let lost = Lost { channel: "größe".into(), user: "bob".into(), count: u64::MAX };
        (owed, mailbox, lost)
    }

    #[test]
    fn what_is_owed_comes_back_with_whom_it_is_owed_to() {
        let (owed, mailbox, lost) = full();
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            write(&mut bytes);
            bytes
        };
        for owed in [owed, Owed::default()] {
            let bytes = written(&|out| owed.encode(out));
            assert_eq!(Owed::decode(&first(&bytes).unwrap().unwrap().0), Ok(owed));
        }
        for mailbox in [mailbox, Mailbox::default()] {
            let bytes = written(&|out| mailbox.encode(out));
            assert_eq!(Mailbox::decode(&first(&bytes).unwrap().unwrap().0), Ok(mailbox));
        }
        for lost in [lost, Lost::default()] {
            let bytes = written(&|out| lost.encode(out));
            assert_eq!(Lost::decode(&first(&bytes).unwrap().unwrap().0), Ok(lost));
        }
    }
}
