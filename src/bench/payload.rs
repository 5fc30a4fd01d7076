//! Test payloads: `(origin, sequence)` ⇄ bytes, such that every byte is checked.
//!
//! ```text
//!  A A A B   A A A A B c   k7Rz0_…
//!  origin    sequence      filler: a slice of one table, its place chosen by origin and sequence
//! ```
//!
//! All bytes are of one alphabet of 64 ASCII characters, so a payload is valid UTF-8 and fits a
//! text message. Invariant: two different stamps never give the same bytes, and a payload that
//! is accepted is byte for byte the one that its stamp stands for.
#![forbid(unsafe_code)]

/// Six bits a character. URL-safe base64's, because it survives every log and shell.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of the origin: 2^24 connections.
const ORIGIN_BYTES: usize = 4;

/// Characters of the sequence: 2^36 messages of one origin.
const SEQUENCE_BYTES: usize = 6;

/// The shortest payload: the stamp alone.
pub const PAYLOAD_BYTES_MIN: usize = ORIGIN_BYTES + SEQUENCE_BYTES;

/// Places in the table at which a filler may start; a power of two.
const FILLER_PLACES: usize = 4096;

/// Which message this is: the connection that sent it, and its number there, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the connection that sends.
    pub origin: u32,
    /// Number of the message among those of its origin.
    pub sequence: u64,
}

impl Stamp {
    /// Where the filler of this message starts. Neighbours in either number lie far apart, so
    /// that bytes of one message never pass for those of another.
    fn filler_place(self) -> usize {
        let mixed = split_mix(u64::from(self.origin) << 40 ^ self.sequence);
        usize::try_from(mixed >> 52).expect("12 bits") & (FILLER_PLACES - 1)
    }
}

/// Writes and checks the payloads of one run, all of one size.
pub struct Payloads {
    /// Random characters, `FILLER_PLACES` more than one filler is long.
    table: Vec<u8>,
    size: usize,
}

impl Payloads {
    /// `size` is at least `PAYLOAD_BYTES_MIN`; the plan has checked that.
    pub fn new(size: usize) -> Self {
        assert!(size >= PAYLOAD_BYTES_MIN, "the plan admits no payload without room for its stamp");
        let table = (0..FILLER_PLACES + size - PAYLOAD_BYTES_MIN)
            .map(|index| character(split_mix(index as u64) >> 32))
            .collect();
        Self { table, size }
    }

    /// Bytes of each payload.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends the payload of `stamp`.
    pub fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        for index in (0..ORIGIN_BYTES).rev() {
            out.push(character(u64::from(stamp.origin) >> (6 * index)));
        }
        for index in (0..SEQUENCE_BYTES).rev() {
            out.push(character(stamp.sequence >> (6 * index)));
        }
        out.extend_from_slice(self.filler(stamp));
    }

    /// The stamp of a payload that is intact to its last byte; `None` is a corrupt one.
    pub fn read(&self, bytes: &[u8]) -> Option<Stamp> {
        if bytes.len() != self.size {
            return None;
        }
        let (origin, rest) = bytes.split_at(ORIGIN_BYTES);
        let (sequence, filler) = rest.split_at(SEQUENCE_BYTES);
        let stamp = Stamp {
            origin: u32::try_from(number(origin)?).expect("24 bits"),
            sequence: number(sequence)?,
        };
        (filler == self.filler(stamp)).then_some(stamp)
    }

    fn filler(&self, stamp: Stamp) -> &[u8] {
        let place = stamp.filler_place();
        &self.table[place..place + self.size - PAYLOAD_BYTES_MIN]
    }
}

fn character(bits: u64) -> u8 {
    ALPHABET[usize::try_from(bits & 63).expect("6 bits")]
}

fn number(characters: &[u8]) -> Option<u64> {
    characters.iter().try_fold(0, |number, &byte| Some(number << 6 | u64::from(VALUES.of(byte)?)))
}

/// The value of each character: one look instead of a search, on the path of every message.
struct Values([u8; 256]);

const VALUES: Values = Values::new();

impl Values {
    const NONE: u8 = 64;

    const fn new() -> Self {
        let mut values = [Self::NONE; 256];
        let mut value = 0;
        while value < 64 {
            values[ALPHABET[value as usize] as usize] = value;
            value += 1;
        }
        Self(values)
    }

    fn of(&self, byte: u8) -> Option<u8> {
        Some(self.0[usize::from(byte)]).filter(|&value| value != Self::NONE)
    }
}

/// One step of the `SplitMix64` generator: well mixed bits of a counter.
pub(super) fn split_mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(payloads: &Payloads, stamp: Stamp) -> Vec<u8> {
        let mut bytes = Vec::new();
        payloads.write(stamp, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            size in PAYLOAD_BYTES_MIN..2000usize,
            origin in 0..1u32 << 24,
            sequence in 0..1u64 << 36,
        ) {
            let payloads = Payloads::new(size);
            let stamp = Stamp { origin, sequence };
            let bytes = written(&payloads, stamp);
            prop_assert_eq!(bytes.len(), size);
            prop_assert!(bytes.is_ascii());
            prop_assert_eq!(payloads.read(&bytes), Some(stamp));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Payloads::new(20).read(&bytes);
        }
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let payloads = Payloads::new(64);
        let stamp = Stamp { origin: 77, sequence: 1_000_000 };
        for place in 0..64 {
            let mut bytes = written(&payloads, stamp);
            bytes[place] ^= 1;
            assert_eq!(payloads.read(&bytes), None, "byte {place}");
        }
    }

    #[test]
    fn a_payload_cut_or_grown_is_corrupt() {
        let payloads = Payloads::new(20);
        let mut bytes = written(&payloads, Stamp { origin: 1, sequence: 2 });
        assert_eq!(payloads.read(&bytes[..19]), None);
        bytes.push(b'A');
        assert_eq!(payloads.read(&bytes), None);
        assert_eq!(payloads.read(b""), None);
    }

    #[test]
    fn bytes_of_two_messages_joined_are_corrupt() {
        let payloads = Payloads::new(40);
        let mut bytes = written(&payloads, Stamp { origin: 1, sequence: 2 });
        let other = written(&payloads, Stamp { origin: 1, sequence: 3 });
        bytes[20..].copy_from_slice(&other[20..]);
        assert_eq!(payloads.read(&bytes), None);
    }
}
