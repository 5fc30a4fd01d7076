//! Values of the command line: text in, sizes and times out, as a configuration file has them.

use std::time::Duration;

use longwire::config::{Period, Setting, Value, measure};

/// Reads a size: `512`, `64KiB`, `16MiB`, `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    measure::bytes(text)
}

/// Reads a time: `500ms`, `25s`, `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    measure::time(text)
}

/// Reads a time, or `off`.
pub(crate) fn duration_or_off(text: &str) -> Result<Period, String> {
    Period::read(&Value::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_is_a_word_and_not_a_zero() {
        assert_eq!(duration_or_off("off"), Ok(Period::Off));
        assert_eq!(duration_or_off("25s"), Ok(Period::Every(Duration::from_secs(25))));
        for text in ["0s", "0", "25", "Off"] {
            assert!(duration_or_off(text).is_err(), "{text}");
        }
    }
}
