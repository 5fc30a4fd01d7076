//! Fossil deltas: what a publication is when the one before it is known (11).
//!
//! ```text
//!   <length>\n   <count>@<offset>,   <count>:<literal>   …   <checksum>;
//!                copy from the base  these bytes
//! ```
//!
//! Numbers are in base 64. The encoder looks the target up in an index of the base's blocks. A
//! block that is found is long enough to be worth its command, so whatever is looked at closely is
//! also passed over, and a hostile pair of texts costs no more than `CANDIDATES_MAX` looks for
//! each byte.
//!
//! Invariants: a delta applied to its base gives the target; where base and target are UTF-8, so
//! is the delta, because a client that reads JSON gets it as a string.

use crate::limits::DELTA_BYTES_MAX;

/// Bytes that are looked up at a time. A copy of as many is longer than its command: two numbers
/// of six digits, for what is below 2^36 bytes, and two marks.
const BLOCK_BYTES: usize = 16;

/// Blocks of the base with equal bytes that are compared at one place of the target.
const CANDIDATES_MAX: usize = 8;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

const _: () = assert!(DELTA_BYTES_MAX < 1 << 31); // places in a base are 32 bits

/// A delta from `base` to `target`, if there is one that is shorter than the target.
pub fn encode(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if base.len() > DELTA_BYTES_MAX || target.len() > DELTA_BYTES_MAX {
        return None;
    }
    let index = Index::new(base);
    let mut out = Vec::with_capacity(target.len());
    put_number(&mut out, target.len());
    out.push(b'\n');
    let (mut told, mut at) = (0, 0);
    while at + BLOCK_BYTES <= target.len() && out.len() < target.len() {
        let Some(copy) = index.longest(target, told, at) else {
            at += 1;
            continue;
        };
        put_literal(&mut out, &target[told..copy.target]);
        put_number(&mut out, copy.count);
        out.push(b'@');
        put_number(&mut out, copy.base);
        out.push(b',');
        told = copy.target + copy.count;
        at = told;
    }
    put_literal(&mut out, &target[told..]);
    put_number(&mut out, checksum(target) as usize);
    out.push(b';');
    (out.len() < target.len()).then_some(out)
}

fn put_literal(out: &mut Vec<u8>, literal: &[u8]) {
    if !literal.is_empty() {
        put_number(out, literal.len());
        out.push(b':');
        out.extend_from_slice(literal);
    }
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    let digit_count = (usize::BITS - number.leading_zeros()).div_ceil(6).max(1);
    for place in (0..digit_count).rev() {
        out.push(DIGITS[number >> (6 * place) & 63]);
    }
}

/// The sum of the bytes as big-endian words; the last one is filled with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    let word = |part: &[u8]| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u32::from_be_bytes(word)
    };
    bytes.chunks(4).map(word).fold(0, u32::wrapping_add)
}

/// Bytes of the base that stand in the target, too.
#[derive(Clone, Copy)]
struct Copied {
    base: usize,
    target: usize,
    count: usize,
}

/// The whole blocks of a base, by their bytes.
struct Index<'a> {
    base: &'a [u8],
    /// By a hash, the first block that has it, or [`NONE`].
    first: Vec<u32>,
    /// By a block, the next one that has the same hash.
    next: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl<'a> Index<'a> {
    fn new(base: &'a [u8]) -> Self {
        let count = base.len() / BLOCK_BYTES;
        let mut first = vec![NONE; count.next_power_of_two()];
        let mut next = vec![NONE; count];
        for (place, block) in base.chunks_exact(BLOCK_BYTES).enumerate().rev() {
            let hash = hash(block, first.len());
            next[place] = first[hash];
            first[hash] = u32::try_from(place).expect("a base is below 2^31 bytes");
        }
        Self { base, first, next }
    }

    /// The longest copy around a place of the target that begins with a whole block there, and
    /// reaches back no further than to `told`.
    fn longest(&self, target: &[u8], told: usize, at: usize) -> Option<Copied> {
        let block = &target[at..at + BLOCK_BYTES];
        let mut place = self.first[hash(block, self.first.len())];
        let mut longest: Option<Copied> = None;
        for _ in 0..CANDIDATES_MAX {
            if place == NONE {
                break;
            }
            let start = place as usize * BLOCK_BYTES;
            place = self.next[place as usize];
            if self.base[start..start + BLOCK_BYTES] != *block {
                continue;
            }
            let copied = self.around(target, told, Copied { base: start, target: at, count: 0 });
            if longest.is_none_or(|longest| longest.count < copied.count) {
                longest = Some(copied);
            }
        }
        longest
    }

    /// The whole of what is equal around two places, but for characters that it would cut.
    fn around(&self, target: &[u8], told: usize, at: Copied) -> Copied {
        let Copied { base, target: place, .. } = at;
        let forth = equal_count(self.base[base..].iter(), target[place..].iter());
        let back = equal_count(self.base[..base].iter().rev(), target[told..place].iter().rev());
        let start = ceil_char(target, place - back);
        let end = floor_char(target, place + forth);
        Copied { base: base + start - place, target: start, count: end - start }
    }
}

fn equal_count<'a>(
    one: impl Iterator<Item = &'a u8>,
    other: impl Iterator<Item = &'a u8>,
) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

/// The last boundary of a character that is not behind a place. In text there is one within three
/// bytes; in anything else the place stays.
fn floor_char(text: &[u8], place: usize) -> usize {
    let is_boundary = |&place: &usize| is_char_start(text, place);
    (place.saturating_sub(3)..=place).rev().find(is_boundary).unwrap_or(place)
}

/// The first that is not before it.
fn ceil_char(text: &[u8], place: usize) -> usize {
    let is_boundary = |&place: &usize| is_char_start(text, place);
    (place..=place + 3).find(is_boundary).unwrap_or(place)
}

fn is_char_start(text: &[u8], place: usize) -> bool {
    text.get(place).is_none_or(|byte| byte & 0xc0 != 0x80)
}

/// A hash below a power of two.
fn hash(block: &[u8], count: usize) -> usize {
    let half = |from: usize| {
        let half = block[from..from + 8].try_into().expect("half of a block");
        u64::from_le_bytes(half)
    };
    let mixed = half(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ half(8).rotate_left(32);
    let mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    usize::try_from(mixed >> 40).expect("24 bits") & (count - 1)
}

/// Why bytes are no delta of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeltaError {
    /// It ends before its checksum.
    Short,
    /// No command of a delta has this mark.
    Mark(u8),
    /// A number has no digits, or more than 32 bits.
    Number,
    /// A copy of bytes that the base does not have.
    Copy,
    /// The target has another length than the delta says.
    Length,
    /// The target is not what the delta was made of.
    Checksum,
    /// Something follows the checksum.
    Long,
}

/// The target of a delta.
pub fn decode(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, DeltaError> {
    let mut rest = delta;
    let (length, mark) = take_number(&mut rest)?;
    if mark != b'\n' {
        return Err(DeltaError::Mark(mark));
    }
    let mut target = Vec::new();
    loop {
        let (number, mark) = take_number(&mut rest)?;
        let part = match mark {
            b'@' => take_copy(base, number, &mut rest)?,
            b':' => take_literal(number, &mut rest)?,
            b';' if !rest.is_empty() => return Err(DeltaError::Long),
            b';' if target.len() != length as usize => return Err(DeltaError::Length),
            b';' if checksum(&target) != number => return Err(DeltaError::Checksum),
            b';' => return Ok(target),
            other => return Err(DeltaError::Mark(other)),
        };
        if target.len() + part.len() > length as usize {
            return Err(DeltaError::Length);
        }
        target.extend_from_slice(part);
    }
}

fn take_copy<'a>(base: &'a [u8], count: u32, rest: &mut &[u8]) -> Result<&'a [u8], DeltaError> {
    let (from, mark) = take_number(rest)?;
    if mark != b',' {
        return Err(DeltaError::Mark(mark));
    }
    let from = from as usize;
    let end = from.checked_add(count as usize);
    end.and_then(|end| base.get(from..end)).ok_or(DeltaError::Copy)
}

fn take_literal<'a>(count: u32, rest: &mut &'a [u8]) -> Result<&'a [u8], DeltaError> {
    let (literal, after) = rest.split_at_checked(count as usize).ok_or(DeltaError::Short)?;
    *rest = after;
    Ok(literal)
}

/// A number and the mark behind it.
fn take_number(rest: &mut &[u8]) -> Result<(u32, u8), DeltaError> {
    let mut number: u32 = 0;
    for (place, &byte) in rest.iter().enumerate() {
        let Some(digit) = DIGITS.iter().position(|&digit| digit == byte) else {
            *rest = &rest[place + 1..];
            return if place == 0 { Err(DeltaError::Number) } else { Ok((number, byte)) };
        };
        let digit = u32::try_from(digit).expect("below 64");
        number = number.checked_mul(64).ok_or(DeltaError::Number)? + digit;
    }
    Err(DeltaError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_delta_is_what_the_format_says() {
        let base = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let target = b"abcdefghijklmnopqrstuvwxyz!0123456789 and a new end";
        let delta = encode(base, target).unwrap();
        let text = String::from_utf8(delta.clone()).unwrap();
        let (length, commands) = text.split_once('\n').unwrap();
        assert_eq!(length, "o", "51");
        assert!(commands.starts_with("Q@0,"), "26 bytes from the start: {commands}");
        assert_eq!(decode(base, &delta).as_deref(), Ok(&target[..]));
    }

    #[test]
    fn numbers_are_written_as_others_read_them() {
        let written = |number| {
            let mut out = Vec::new();
            put_number(&mut out, number);
            String::from_utf8(out).unwrap()
        };
        let cases = [(0, "0"), (9, "9"), (10, "A"), (35, "Z"), (36, "_"), (37, "a"), (63, "~")];
        for (number, text) in cases {
            assert_eq!(written(number), text);
        }
        assert_eq!(
            (written(64), written(4095), written(4096)),
            ("10".into(), "~~".into(), "100".into())
        );
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"\x00\x00\x00\x01\x02"), 0x0200_0001);
    }

    #[test]
    fn what_is_as_long_as_the_target_is_no_delta() {
        assert_eq!(encode(b"", b""), None);
        assert_eq!(encode(b"0123456789abcdef", b"fedcba9876543210"), None);
        let same = [b'x'; 64];
        assert!(encode(&same, &same).unwrap().len() <= 16);
        let long = vec![0; DELTA_BYTES_MAX + 1];
        assert_eq!((encode(&long, &same), encode(&same, &long)), (None, None));
    }

    #[test]
    fn a_hostile_pair_is_looked_at_a_bounded_number_of_times() {
        // Every block of the base is the same, and the target has it everywhere but for one byte.
        let base = vec![b'a'; DELTA_BYTES_MAX];
        let mut target = base.clone();
        for byte in target.iter_mut().skip(15).step_by(17) {
            *byte = b'b';
        }
        let delta = encode(&base, &target).unwrap();
        assert_eq!(decode(&base, &delta), Ok(target));
    }

    #[test]
    fn what_is_wrong_with_a_delta_is_named() {
        let base = b"0123456789";
        for (delta, expected) in [
            (&b""[..], DeltaError::Short),
            (b"3\n3:abc", DeltaError::Short),
            (b"3\n4:abc", DeltaError::Short),
            (b"\n", DeltaError::Number),
            (b"3!", DeltaError::Mark(b'!')),
            (b"3\n3!abc", DeltaError::Mark(b'!')),
            (b"3\n3@0;", DeltaError::Mark(b';')),
            (b"3\n3@8,0;", DeltaError::Copy),
            (b"3\n~~~~~@~~~~~,0;", DeltaError::Copy),
            (b"3\n4@0,0;", DeltaError::Length),
            (b"3\n2@0,0;", DeltaError::Length),
            (b"3\n3@0,0;", DeltaError::Checksum),
            (b"~~~~~~\n0;", DeltaError::Number),
            (b"0\n0;0;", DeltaError::Long),
        ] {
            assert_eq!(decode(base, delta), Err(expected), "{}", delta.escape_ascii());
        }
        assert_eq!(decode(base, b"0\n0;"), Ok(Vec::new()));
    }

    /// A text, and what became of it by a few changes.
    fn pair() -> impl Strategy<Value = (String, String)> {
        let part = prop_oneof!["[a-c]{0,40}", "größe €{0,9}", "(日本|語){0,12}", ".{0,20}"];
        proptest::collection::vec((part, 0..4_u8), 0..20).prop_map(|parts| {
            let (mut base, mut target) = (String::new(), String::new());
            for (part, fate) in parts {
                if fate != 1 {
                    base.push_str(&part);
                }
                match fate {
                    2 => target.insert_str(0, &part),
                    3 => {}
                    _ => target.push_str(&part),
                }
            }
            (base, target)
        })
    }

    proptest! {
        #[test]
        fn a_delta_of_text_gives_the_target_and_is_text((base, target) in pair()) {
            if let Some(delta) = encode(base.as_bytes(), target.as_bytes()) {
                prop_assert!(delta.len() < target.len());
                prop_assert!(std::str::from_utf8(&delta).is_ok());
                prop_assert_eq!(decode(base.as_bytes(), &delta), Ok(target.into_bytes()));
            }
        }

        #[test]
        fn a_delta_of_any_bytes_gives_the_target(
            start in prop::collection::vec(prop_oneof![Just(0x80_u8), any::<u8>()], 0..300),
            cut in 0..300_usize, more in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let cut = cut.min(start.len());
            let target = [&start[cut..], &more[..], &start[..cut]].concat();
            if let Some(delta) = encode(&start, &target) {
                prop_assert_eq!(decode(&start, &delta), Ok(target));
            }
        }

        #[test]
        fn one_changed_byte_of_a_long_text_costs_a_short_delta(at in 100..3000_usize) {
            let base: Vec<u8> = (0..4000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
            let mut target = base.clone();
            target[at] = b'!';
            prop_assert!(encode(&base, &target).unwrap().len() < 64);
        }

        #[test]
        fn random_bytes_are_a_delta_or_an_error(
            base in prop::collection::vec(any::<u8>(), 0..50),
            delta in "[0-9A-Z:@,;\n]{0,30}",
        ) {
            let _no_panic = decode(&base, delta.as_bytes());
        }
    }
}
