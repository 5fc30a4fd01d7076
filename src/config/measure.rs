//! Times and sizes as text, both ways: `25s`, `1m30s`; `64KiB`.
//!
//! A unit is part of the value, so that nobody has to remember which one a key is in; a bare
//! number is bytes. A bare number is not a time: `ping_interval = 25` has meant milliseconds to
//! some and seconds to others. Times are written as Go does, because Centrifugo's files are.

use std::time::Duration;

/// Reads a size: `512`, `64KiB`, `16MiB`, `1GiB`. Only powers of 1,024, and spelled as such.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(digits(text));
    let unit = if unit.is_empty() { "B" } else { unit };
    let known = SIZES.iter().find(|(name, _)| *name == unit);
    let factor = known.ok_or_else(|| format!("unknown unit {unit:?}: use B, KiB, MiB or GiB"))?.1;
    let count: usize = number.parse().map_err(|_| "not a size: try 64KiB".to_owned())?;
    count.checked_mul(factor).ok_or_else(|| "more than this machine can address".to_owned())
}

/// Reads a time: `500ms`, `25s`, `1m30s`, `1.5h`; `0` has no unit and needs none.
pub fn time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut sum_ns) = (text, 0_u64);
    loop {
        let (part_ns, behind) = first_part(rest)?;
        sum_ns = sum_ns.checked_add(part_ns).ok_or_else(too_long)?;
        if behind.is_empty() {
            break;
        }
        rest = behind;
    }
    let sum = Duration::from_nanos(sum_ns);
    if sum > TIME_MAX { Err(too_long()) } else { Ok(sum) }
}

/// Writes a size so that [`bytes`] reads it: in the largest unit without a remainder.
pub fn show_bytes(bytes: u64) -> String {
    let fits = |factor: usize| bytes > 0 && bytes.is_multiple_of(factor as u64);
    match SIZES.iter().find(|(_, factor)| *factor > 1 && fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / *factor as u64),
        None => bytes.to_string(),
    }
}

/// Writes a time so that [`time`] reads it, to the nanosecond.
pub fn show_time(time: Duration) -> String {
    let mut left = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in TIMES.iter().filter(|(unit, _)| *unit != "µs") {
        if left >= *factor {
            text.push_str(&(left / factor).to_string());
            text.push_str(unit);
            left %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

const SIZES: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Nanoseconds of each unit, the longest first.
const TIMES: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// A year: no timer of ours is meant to be longer, and sums of two never overflow.
const TIME_MAX: Duration = Duration::from_hours(365 * 24);

/// Digits behind a decimal point that can matter: an hour in nanoseconds has twelve more.
const FRACTION_DIGITS_MAX: usize = 6;

fn too_long() -> String {
    "longer than a year".to_owned()
}

/// The first number and unit in nanoseconds, and what stands behind them.
fn first_part(text: &str) -> Result<(u64, &str), String> {
    let not_a_time = || "not a time: try 25s".to_owned();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(behind) => behind.split_at(digits(behind)),
        None => ("", rest),
    };
    if whole.is_empty() || fraction.len() > FRACTION_DIGITS_MAX {
        return Err(not_a_time());
    }
    let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, behind) = rest.split_at(unit_end);
    if unit.is_empty() {
        return Err("the unit is missing: try 25s".to_owned());
    }
    let known = TIMES.iter().find(|(name, _)| *name == unit);
    let known = known.ok_or_else(|| format!("unknown unit {unit:?}: use ms, s, m or h"));
    let factor = known?.1;
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let mut sum_ns = whole.checked_mul(factor).ok_or_else(too_long)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| not_a_time())?;
        let scale = 10_u64.pow(u32::try_from(fraction.len()).expect("six at most"));
        sum_ns = sum_ns.checked_add(digits * factor / scale).ok_or_else(too_long)?;
    }
    Ok((sum_ns, behind))
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("125B"), Ok(125));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("16MiB"), Ok(16_777_216));
        assert_eq!(bytes("1GiB"), Ok(1_073_741_824));
    }

    #[test]
    fn a_size_that_could_be_misread_is_refused() {
        for text in ["", "KiB", "64K", "64kb", "1.5MiB", "-1", "64 KiB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(time("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(time("1h"), Ok(Duration::from_hours(1)));
        for text in ["", "25", "s", "25sec", "1d", "-1s", " 1s", "1s ", "1 s", ".5s", "1.s1"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_add_up_as_in_go() {
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!(time("1h0m0.25s"), Ok(Duration::from_millis(3_600_250)));
        assert_eq!(time("3µs"), time("3us"));
    }

    #[test]
    fn no_time_is_longer_than_a_year() {
        assert!(time("8760h").is_ok());
        for text in ["8761h", "18446744073709551615h", "99999999999999999999s", "8760h1ns"] {
            assert_eq!(time(text), Err(too_long()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_time_reads_back(ns in 0..31_536_000_000_000_000_u64) {
            let written = Duration::from_nanos(ns);
            prop_assert_eq!(time(&show_time(written)), Ok(written));
        }

        #[test]
        fn a_written_size_reads_back(size in 0..(u64::MAX >> 11)) {
            prop_assert_eq!(bytes(&show_bytes(size)).map(|read| read as u64), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _either = (time(&text), bytes(&text));
        }
    }
}
