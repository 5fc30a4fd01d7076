//! Tokens that are not to be believed any more, on their way to every shard of another process.

use super::FormatError;
use super::field::{self, Record, Writer, first, record};

/// The list. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Tokens by their names, and until when.
    pub tokens: Vec<(String, u64)>,
    /// Tokens of users that were issued too early.
    pub users: Vec<IssuedBefore>,
}

/// Tokens of one user that were issued too early.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuedBefore {
    /// The user.
    pub user: String,
    /// Those for this channel; all of the user if it is empty.
    pub channel: String,
    /// Before then.
    pub issued_s: u64,
    /// Until when.
    pub until_s: u64,
}

/// The number of the record.
const REVOCATIONS: u8 = 1;

impl Revocations {
    /// The serial form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        record(&mut out, REVOCATIONS, |put| {
            put.each(1, &self.tokens, |put, (name, until_s)| {
                put.bytes(1, name.as_bytes()).number(2, *until_s)
            })
            .each(2, &self.users, |put, one| one.write(put))
        });
        out
    }

    /// Reads the serial form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let record = match first(bytes)? {
            Some((record, length)) if length == bytes.len() => record,
            _ => return Err(FormatError::Cut),
        };
        if record.number != REVOCATIONS {
            return Err(FormatError::Record { number: record.number });
        }
        let mut all = Self::default();
        record.read(|field, value| {
            match field {
                1 => all.tokens.push(read_token(value)?),
                2 => all.users.push(IssuedBefore::read(value)?),
                _ => return Some(false),
            }
            Some(true)
        })?;
        Ok(all)
    }
}

impl IssuedBefore {
    fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.bytes(1, self.user.as_bytes())
            .bytes(2, self.channel.as_bytes())
            .number(3, self.issued_s)
            .number(4, self.until_s)
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.user = field::text(value)?,
                2 => one.channel = field::text(value)?,
                3 => one.issued_s = field::number(value)?,
                4 => one.until_s = field::number(value)?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(one)
    }
}

fn read_token(value: &[u8]) -> Option<(String, u64)> {
    let (mut name, mut until_s) = (String::new(), 0);
    Record::inner(value, |field, value| {
        match field {
            1 => name = field::text(value)?,
            2 => until_s = field::number(value)?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    Some((name, until_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_comes_back_and_a_part_of_it_does_not() {
        let before = IssuedBefore {
            user: "ann".into(),
            channel: "größe".into(),
            issued_s: 1,
            until_s: u64::MAX,
        };
        let all = Revocations {
            tokens: vec![("t".into(), 7), ("u".into(), u64::MAX)],
            users: vec![before, IssuedBefore { user: "bo".into(), ..IssuedBefore::default() }],
        };
        for all in [all, Revocations::default()] {
            let bytes = all.encode();
            assert_eq!(Revocations::decode(&bytes), Ok(all));
            for cut in 0..bytes.len() {
                assert_eq!(Revocations::decode(&bytes[..cut]), Err(FormatError::Cut));
            }
        }
    }
}
