//! What the two processes say to each other before and after the connections move: one message of
//! their socket each, the version in front.

use core::net::SocketAddr;

use super::field::{self, Record, Writer, first, record};
use super::{FormatError, VERSION};
use crate::limits::LISTENERS_MAX;

/// One message between the control threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The older process: this is what I have.
    Offer(Offer),
    /// The newer process: I am ready, and this is my room.
    Built(Built),
    /// The newer process: I cannot, for this reason.
    Refused(String),
    /// The older process, with a descriptor: the way from a shard of mine to one of yours.
    Channel {
        /// The number of the older process's shard.
        from: u16,
        /// The number of the newer process's shard.
        to: u16,
    },
    /// The older process, if copies were sent ahead: from now on my shards stand still.
    Still,
    /// The older process: the next part of its [`Bequest`](super::Bequest), which is empty behind
    /// the last.
    Bequest(Vec<u8>),
    /// The newer process: everything is here. From now on I serve, and you do not.
    Committed {
        /// Connections taken over.
        connections: u64,
    },
}

/// What the older process has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Its version, for the log.
    pub build: String,
    /// Its shards.
    pub shards: u16,
    /// What it listens on.
    pub places: Vec<Place>,
    /// Only a rehearsal: nothing will move.
    pub is_check: bool,
    /// What only the application understands.
    pub heritage: Vec<u8>,
    /// Its control thread has a bequest for one that takes it.
    pub has_bequest: bool,
    /// It sends copies of descriptors ahead, to one that takes them.
    pub sends_ahead: bool,
    /// Paths of the Unix sockets that it listens on, whose descriptors come with the offer, in
    /// front of others.
    pub unix: Vec<Vec<u8>>,
}

/// An address that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// With the port that was chosen where 0 was asked for.
    pub address: SocketAddr,
    /// Its connections begin with a PROXY header.
    pub is_proxied: bool,
}

/// The room of the newer process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Its version, for the log.
    pub build: String,
    /// Its shards.
    pub shards: u16,
    /// Connections of one shard.
    pub shard_connections_max: u32,
    /// Connections of all shards.
    pub connections_max: u32,
    /// It waits for a bequest.
    pub takes_bequest: bool,
    /// It takes copies of descriptors ahead, if they are sent.
    pub takes_ahead: bool,
}

const OFFER: u8 = 1;
const BUILT: u8 = 2;
const REFUSED: u8 = 3;
const CHANNEL: u8 = 4;
const COMMITTED: u8 = 5;
const BEQUEST: u8 = 6;
const STILL: u8 = 7;

/// Bytes of a place in an offer: an address, and whether it is proxied.
const PLACE_BYTES: usize = field::ADDRESS_BYTES + 1;

impl Word {
    /// Its serial form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        match self {
            Self::Offer(offer) => record(&mut out, OFFER, |put| offer.write(put)),
            Self::Built(built) => record(&mut out, BUILT, |put| {
                put.number(1, built.shards.into())
                    .number(2, built.shard_connections_max.into())
                    .number(3, built.connections_max.into())
                    .optional()
                    .bytes(4, built.build.as_bytes())
                    .number(5, built.takes_bequest.into())
                    .number(6, built.takes_ahead.into())
            }),
            Self::Refused(reason) => {
                record(&mut out, REFUSED, |put| put.optional().bytes(1, reason.as_bytes()));
            }
            Self::Channel { from, to } => record(&mut out, CHANNEL, |put| {
                put.number(1, (*from).into()).number(2, (*to).into())
            }),
            Self::Still => record(&mut out, STILL, |put| put),
            Self::Bequest(part) => record(&mut out, BEQUEST, |put| put.bytes(1, part)),
            Self::Committed { connections } => {
                record(&mut out, COMMITTED, |put| put.optional().number(1, *connections));
            }
        }
        out
    }

    /// Reads the serial form of one word.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some((version, bytes)) = bytes.split_first_chunk() else {
            return Err(FormatError::Cut);
        };
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        match first(bytes)? {
            Some((record, length)) if length == bytes.len() => Self::read(&record),
            _ => Err(FormatError::Cut),
        }
    }

    fn read(record: &Record<'_>) -> Result<Self, FormatError> {
        match record.number {
            OFFER => Offer::read(record).map(Self::Offer),
            BUILT => Built::read(record).map(Self::Built),
            REFUSED => {
                let mut reason = String::new();
                record.read(|field, value| {
                    Some(
                        field == 1 && {
                            reason = field::text(value)?;
                            true
                        },
                    )
                })?;
                Ok(Self::Refused(reason))
            }
            CHANNEL => {
                let mut ends = [0; 2];
                record.read(|field, value| {
                    Some(
                        matches!(field, 1 | 2) && {
                            ends[usize::from(field) - 1] = field::narrow(value)?;
                            true
                        },
                    )
                })?;
                Ok(Self::Channel { from: ends[0], to: ends[1] })
            }
            COMMITTED => {
                let mut connections = 0;
                record.read(|field, value| {
                    Some(
                        field == 1 && {
                            connections = field::number(value)?;
                            true
                        },
                    )
                })?;
                Ok(Self::Committed { connections })
            }
            STILL => {
                record.read(|_, _| Some(false))?;
                Ok(Self::Still)
            }
            BEQUEST => {
                let mut part = Vec::new();
                record.read(|field, value| {
                    if field == 1 {
                        part = value.to_vec();
                    }
                    Some(field == 1)
                })?;
                Ok(Self::Bequest(part))
            }
            number => Err(FormatError::Record { number }),
        }
    }
}

impl Offer {
    fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        let mut places = Vec::with_capacity(self.places.len() * PLACE_BYTES);
        for place in &self.places {
            places.extend_from_slice(&field::address_bytes(place.address));
            places.push(place.is_proxied.into());
        }
        put.number(1, self.shards.into())
            .bytes(2, &places)
            .number(3, self.is_check.into())
            .bytes(5, &self.heritage)
            .each(7, &self.unix, |put, path| put.bytes(1, path))
            .optional()
            .bytes(4, self.build.as_bytes())
            .number(6, self.has_bequest.into())
            .number(8, self.sends_ahead.into())
    }

    fn read(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut offer = Self::default();
        record.read(|field, value| {
            match field {
                1 => offer.shards = field::narrow(value)?,
                2 => offer.places = places(value)?,
                3 => offer.is_check = field::number(value)? != 0,
                4 => offer.build = field::text(value)?,
                5 => offer.heritage = value.to_vec(),
                6 => offer.has_bequest = field::number(value)? != 0,
                7 if offer.unix.len() < LISTENERS_MAX => offer.unix.push(path(value)?),
                7 => return None,
                8 => offer.sends_ahead = field::number(value)? != 0,
                _ => return Some(false),
            }
            Some(true)
        })?;
        if offer.shards == 0 { Err(record.missing(1)) } else { Ok(offer) }
    }
}

impl Built {
    fn read(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut built = Self::default();
        record.read(|field, value| {
            match field {
                1 => built.shards = field::narrow(value)?,
                2 => built.shard_connections_max = field::narrow(value)?,
                3 => built.connections_max = field::narrow(value)?,
                4 => built.build = field::text(value)?,
                5 => built.takes_bequest = field::number(value)? != 0,
                6 => built.takes_ahead = field::number(value)? != 0,
                _ => return Some(false),
            }
            Some(true)
        })?;
        if built.shards == 0 { Err(record.missing(1)) } else { Ok(built) }
    }
}

fn path(value: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    Record::inner(value, |field, value| {
        if field == 1 {
            path = value.to_vec();
        }
        Some(field == 1)
    })?;
    Some(path)
}

fn places(bytes: &[u8]) -> Option<Vec<Place>> {
    let parts = bytes.chunks_exact(PLACE_BYTES);
    if !parts.remainder().is_empty() || parts.len() > LISTENERS_MAX {
        return None;
    }
    let place = |part: &[u8]| {
        let (address, proxied) = part.split_at(field::ADDRESS_BYTES);
        Some(Place { address: field::address_of(address)?, is_proxied: proxied == [1] })
    };
    parts.map(place).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::handover) fn words() -> Vec<Word> {
        let place = |text: &str, is_proxied| Place { address: text.parse().unwrap(), is_proxied };
        vec![
            Word::Offer(Offer {
                build: "0.1.0 (abc)".into(),
                shards: 3,
                places: vec![place("127.0.0.1:8000", false), place("[::1]:81", true)],
                is_check: true,
                heritage: vec![7, 0],
                has_bequest: true,
                sends_ahead: true,
                unix: vec![b"/run/a.sock".to_vec(), b"/run/b.sock".to_vec()],
            }),
            Word::Built(Built {
                build: "0.2.0".into(),
                shards: 2,
                shard_connections_max: 70_000,
                connections_max: 100_001,
                takes_bequest: true,
                takes_ahead: true,
            }),
            Word::Refused("no room: größe".into()),
            Word::Channel { from: 0, to: 300 },
            Word::Still,
            Word::Bequest(vec![1, 0]),
            Word::Bequest(Vec::new()),
            Word::Committed { connections: 1 << 40 },
        ]
    }

    #[test]
    fn every_word_comes_back_and_a_part_of_it_does_not() {
        for word in words() {
            let bytes = word.encode();
            assert_eq!(Word::decode(&bytes), Ok(word));
            for cut in 0..bytes.len() {
                assert_eq!(Word::decode(&bytes[..cut]), Err(FormatError::Cut), "{cut}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Word::decode(&longer), Err(FormatError::Cut));
        }
    }

    /// Builds that knew of no copies wrote the fields up to there, and skip those behind.
    #[test]
    fn who_knows_of_no_copies_says_nothing_of_them_and_is_understood() {
        let mut offer = VERSION.to_le_bytes().to_vec();
        record(&mut offer, OFFER, |put| put.number(1, 2).optional().number(6, 1));
        let expected = Offer { shards: 2, has_bequest: true, ..Offer::default() };
        assert_eq!(Word::decode(&offer), Ok(Word::Offer(expected)));
        let mut built = VERSION.to_le_bytes().to_vec();
        record(&mut built, BUILT, |put| put.number(1, 2).optional().number(5, 1));
        let expected = Built { shards: 2, takes_bequest: true, ..Built::default() };
        assert_eq!(Word::decode(&built), Ok(Word::Built(expected)));
        for (number, field) in [(OFFER, 8), (BUILT, 6)] {
            let bytes = words().into_iter().map(|word| word.encode()).find(|one| one[2] == number);
            let bytes = bytes.unwrap();
            let (record, _) = first(&bytes[2..]).unwrap().unwrap();
            // Whoever does not know a field that must be understood refuses the record.
            let older = record.read(|known, _| Some(known != field));
            assert_eq!(older, Ok(()), "field {field} of {number} may be skipped");
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut bytes = Word::Refused(String::new()).encode();
        bytes[..2].copy_from_slice(&2_u16.to_le_bytes());
        assert_eq!(Word::decode(&bytes), Err(FormatError::Version { found: 2 }));
    }

    #[test]
    fn an_offer_without_shards_or_with_broken_places_is_none() {
        let none = Word::Offer(Offer::default()).encode();
        assert_eq!(Word::decode(&none), Err(FormatError::Missing { record: OFFER, field: 1 }));
        let mut cut = VERSION.to_le_bytes().to_vec();
        record(&mut cut, OFFER, |put| put.number(1, 1).bytes(2, &[0; PLACE_BYTES + 1]));
        assert_eq!(Word::decode(&cut), Err(FormatError::Value { record: OFFER, field: 2 }));
    }
}
