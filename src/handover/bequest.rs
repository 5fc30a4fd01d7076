//! What the control thread of one process leaves to that of the next: keys of publications, and
//! what was counted.
//!
//! It is larger than a word, and leaves in parts of as many words, before any shard sends what it
//! has; an empty part is the end.

use super::FormatError;
use super::field::{self, Record, first, record};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bequest {
    /// In the order in which they are forgotten.
    pub keys: Vec<KnownKey>,
    /// What was counted, by its name.
    pub counts: Vec<(String, u64)>,
}

/// A key under which something was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKey {
    /// The channel.
    pub channel: String,
    /// The key.
    pub key: String,
    /// What was answered: the offset, if the channel keeps what is published.
    pub offset: u64,
    /// And the life that it counts in.
    pub epoch: String,
    /// Until it is forgotten, in milliseconds.
    pub left_ms: u64,
}

const KEY: u8 = 1;
const COUNT: u8 = 2;

impl Bequest {
    /// Its serial form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for one in &self.keys {
            record(&mut out, KEY, |put| {
                put.bytes(1, one.channel.as_bytes())
                    .bytes(2, one.key.as_bytes())
                    .number(3, one.offset)
                    .bytes(4, one.epoch.as_bytes())
                    .number(5, one.left_ms)
            });
        }
        for (name, value) in &self.counts {
            record(&mut out, COUNT, |put| put.bytes(1, name.as_bytes()).number(2, *value));
        }
        out
    }

    /// Reads the serial form.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, FormatError> {
        let mut all = Self::default();
        while !bytes.is_empty() {
            let (record, length) = first(bytes)?.ok_or(FormatError::Cut)?;
            match record.number {
                KEY => all.keys.push(KnownKey::read(&record)?),
                COUNT => all.counts.push(read_count(&record)?),
                number => return Err(FormatError::Record { number }),
            }
            bytes = &bytes[length..];
        }
        Ok(all)
    }
}

impl KnownKey {
    fn read(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        record.read(|field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.key = field::text(value)?,
                3 => one.offset = field::number(value)?,
                4 => one.epoch = field::text(value)?,
                5 => one.left_ms = field::number(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(one)
    }
}

fn read_count(record: &Record<'_>) -> Result<(String, u64), FormatError> {
    let (mut name, mut count) = (String::new(), 0);
    record.read(|field, value| {
        match field {
            1 => name = field::text(value)?,
            2 => count = field::number(value)?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    Ok((name, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Bequest {
        let key = KnownKey {
            channel: "news".into(),
            key: "größe".into(),
            offset: 7,
            epoch: "abcdefgh".into(),
            left_ms: 299_999,
        };
        Bequest {
            keys: vec![key, KnownKey { channel: "a".into(), ..KnownKey::default() }],
            counts: vec![("opened".into(), u64::MAX), ("closed".into(), 0)],
        }
    }

    #[test]
    fn all_of_it_comes_back_and_a_part_of_it_does_not() {
        for all in [full(), Bequest::default()] {
            let bytes = all.encode();
            assert_eq!(Bequest::decode(&bytes), Ok(all.clone()));
            for cut in 0..bytes.len() {
                assert_ne!(Bequest::decode(&bytes[..cut]), Ok(all.clone()), "{cut}");
            }
        }
        assert_eq!(Bequest::decode(&[9, 0, 0, 0, 0]), Err(FormatError::Record { number: 9 }));
    }

    #[test]
    fn the_golden_bytes_of_version_1_are_read_and_written() {
        let golden: Vec<u8> = include_str!("golden/bequest_1.hex")
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let written = full().encode();
        let hex: Vec<String> = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, golden, "the format has changed: {}", hex.join(" "));
        assert_eq!(Bequest::decode(&golden), Ok(full()));
    }
}
