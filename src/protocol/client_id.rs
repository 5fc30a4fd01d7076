//! The name of a client: a UUID of version 4, from random bits of the session and of the process.

use std::fmt;

/// Random bits of this process and the one whose connections it took over: 58 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage(u64);

impl Lineage {
    /// No random bits, for tests of what is written.
    #[doc(hidden)]
    pub const ZERO: Self = Self(0);

    /// The lower 58 bits of `random`.
    pub fn new(random: u64) -> Self {
        Self(random & ((1 << 58) - 1))
    }

    /// The bits, for the process that takes over.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lineage {
    /// As the name of a node: no secret, since every client id holds it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:015x}", self.0)
    }
}

/// The name of one client, told in its connect reply and shown to others in its publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId {
    /// Random bits of the session.
    pub random: u64,
    /// Those of the process.
    pub lineage: Lineage,
}

/// Bytes of a client id in text.
pub(super) const TEXT_BYTES: usize = 36;

impl ClientId {
    /// The name as the 16 bytes of its UUID.
    pub fn bytes(self) -> [u8; 16] {
        self.uuid().to_be_bytes()
    }

    /// The client of which these are the [`bytes`](Self::bytes).
    pub fn of_bytes(bytes: [u8; 16]) -> Self {
        Self::of_uuid(u128::from_be_bytes(bytes))
    }

    fn uuid(self) -> u128 {
        // RFC 9562 §5.4: 48 random bits, version 4, 12 random bits, variant 2, 62 random bits.
        let bits = (u128::from(self.random) << 58) | u128::from(self.lineage.0);
        let (high, middle, low) = (bits >> 74, (bits >> 62) & 0xfff, bits & ((1 << 62) - 1));
        (high << 80) | (4 << 76) | (middle << 64) | (0b10 << 62) | low
    }

    fn of_uuid(uuid: u128) -> Self {
        let (high, middle, low) = (uuid >> 80, uuid >> 64 & 0xfff, uuid & ((1 << 62) - 1));
        let bits = high << 74 | middle << 62 | low;
        let low_bits = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
        Self { random: low_bits(bits >> 58), lineage: Lineage::new(low_bits(bits)) }
    }

    /// The name in text, 36 ASCII characters.
    pub(super) fn text(self) -> [u8; TEXT_BYTES] {
        let uuid = self.uuid();
        let mut text = [b'-'; TEXT_BYTES];
        let mut digits = (0..32).rev().map(|place| (uuid >> (4 * place)) & 0xf);
        for (place, byte) in text.iter_mut().enumerate() {
            if ![8, 13, 18, 23].contains(&place) {
                let digit = digits.next().expect("36 places, 4 of them dashes") as usize;
                *byte = b"0123456789abcdef"[digit];
            }
        }
        text
    }

    /// The client of this name; `None` if it is not one that [`text`](Self::text) gives.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.chars().filter(|character| *character != '-');
        let uuid = digits.take(32).try_fold(0_u128, |uuid, digit| {
            let digit = digit.to_digit(16)?;
            Some(uuid << 4 | u128::from(digit))
        })?;
        let client = Self::of_uuid(uuid);
        (client.text() == *text.as_bytes()).then_some(client)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        out.write_str(std::str::from_utf8(&text).expect("ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(random: u64, lineage: u64) -> String {
        ClientId { random, lineage: Lineage::new(lineage) }.to_string()
    }

    #[test]
    fn it_is_a_uuid_of_version_4_whatever_the_bits() {
        assert_eq!(id(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(id(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn it_is_known_by_its_text_and_nothing_else_is() {
        for bit in 0..64 {
            let client = ClientId { random: 1 << bit, lineage: Lineage::new(!(1 << bit)) };
            assert_eq!(ClientId::parse(&client.to_string()), Some(client));
            assert_eq!(ClientId::of_bytes(client.bytes()), client);
            let hex = format!("{:032x}", u128::from_be_bytes(client.bytes()));
            assert_eq!(client.to_string().replace('-', ""), hex);
        }
        let near = [
            "",
            "00000000-0000-4000-8000-00000000000",
            "00000000-0000-4000-8000-0000000000000",
            "00000000-0000-4000-8000-00000000000g",
            "00000000-0000-4000-8000-00000000000A",
            "00000000-0000-5000-8000-000000000000",
            "00000000-0000-4000-c000-000000000000",
            "0000000000004000-8000-000000000000--",
            "ffffffffffffffffffffffffffffffffffff",
        ];
        for text in near {
            assert_eq!(ClientId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_bit_of_session_and_process_shows() {
        let mut seen: Vec<String> = (0..64).map(|bit| id(1 << bit, 0)).collect();
        seen.extend((0..58).map(|bit| id(0, 1 << bit)));
        seen.push(id(0, 0));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert_eq!(id(0, 1 << 58), id(0, 0), "58 bits and no more");
    }
}
