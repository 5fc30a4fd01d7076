//! Values of the command line: text in, sizes and durations out.
//!
//! A unit is part of the value (`64KiB`, `25s`), so that nobody has to remember which one a flag
//! is in; a bare number is bytes. A bare number is not a duration: `--ping-interval 25` has meant
//! milliseconds to some and seconds to others.

use std::time::Duration;

/// Reads a size: `512`, `64KiB`, `16MiB`, `1GiB`. Only powers of 1,024, and spelled as such.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("unknown unit {unit:?}: use B, KiB, MiB or GiB")),
    };
    let count: usize = number.parse().map_err(|_| "not a size: try 64KiB".to_owned())?;
    count.checked_mul(factor).ok_or_else(|| "more than this machine can address".to_owned())
}

/// Reads a duration: `500ms`, `25s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err("the unit is missing: try 25s".to_owned()),
        _ => return Err(format!("unknown unit {unit:?}: use ms, s, m or h")),
    };
    let count: u64 = number.parse().map_err(|_| "not a duration: try 25s".to_owned())?;
    let ms = count.checked_mul(factor_ms).filter(|&ms| ms <= DURATION_MS_MAX);
    Ok(Duration::from_millis(ms.ok_or_else(|| "longer than a year".to_owned())?))
}

/// Reads a duration, or `off`.
pub(crate) fn duration_or_off(text: &str) -> Result<Switch, String> {
    match text {
        "off" => Ok(Switch::Off),
        _ => match duration(text)? {
            Duration::ZERO => Err("zero is not a period: to have none, say off".to_owned()),
            period => Ok(Switch::Every(period)),
        },
    }
}

/// A period, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Never.
    Off,
    /// Once per period.
    Every(Duration),
}

impl Switch {
    pub(crate) fn period(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Every(period) => Some(period),
        }
    }
}

/// A year: no timer of ours is meant to be longer, and sums of two never overflow.
const DURATION_MS_MAX: u64 = 365 * 24 * 3_600_000;

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn durations_have_a_unit() {
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        for text in ["", "25", "s", "25sec", "1d", "9000h", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn off_is_a_word_and_not_a_zero() {
        assert_eq!(duration_or_off("off"), Ok(Switch::Off));
        assert_eq!(duration_or_off("25s"), Ok(Switch::Every(Duration::from_secs(25))));
        assert!(duration_or_off("0s").is_err());
    }
}
