//! Decimal numbers as they are written, of any length: a filter compares them without rounding.

use std::cmp::Ordering;

/// A number without what does not change it: zeros in front, and behind the point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal {
    is_negative: bool,
    /// The digits before the point.
    whole: Box<str>,
    /// The digits behind it.
    part: Box<str>,
}

impl Decimal {
    /// The number that a text is: digits, a point with digits behind it or none, and a sign before
    /// them or none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, part) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, part)) => (whole, part),
            None => (digits, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) {
            return None;
        }
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        let is_zero = whole.is_empty() && part.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, whole: whole.into(), part: part.into() })
    }

    /// It in the shortest words that say it.
    pub(super) fn text(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        let point = if self.part.is_empty() { "" } else { "." };
        [sign, whole, point, &self.part].concat()
    }

    /// Which of two is the greater.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.compare_digits(other),
            (true, true) => other.compare_digits(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    fn compare_digits(&self, other: &Self) -> Ordering {
        let by_length = self.whole.len().cmp(&other.whole.len());
        by_length
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.part.cmp(&other.part))
    }

    /// Bytes of its digits.
    pub(super) fn bytes(&self) -> usize {
        self.whole.len() + self.part.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Decimal {
        Decimal::read(text).unwrap_or_else(|| panic!("{text:?} is a number"))
    }

    #[test]
    fn a_number_is_what_it_is_however_it_is_written() {
        for (one, other) in [("1", "+1.0"), ("0", "-0.00"), ("007.50", "7.5"), ("-1.10", "-1.1")] {
            assert_eq!(read(one).compare(&read(other)), Ordering::Equal, "{one} {other}");
        }
        let rising = ["-10.5", "-10", "-9.99", "0", "0.009", "0.01", "0.1", "9", "10", "10.05"];
        for pair in rising.windows(2) {
            assert_eq!(read(pair[0]).compare(&read(pair[1])), Ordering::Less, "{pair:?}");
        }
        let long = "9".repeat(200);
        assert!(read(&long).compare(&read(&format!("{long}.1"))).is_lt());
    }

    #[test]
    fn a_number_says_itself_again() {
        for text in ["0", "-0", "007.50", "-0.05", "12", "+3.0"] {
            assert_eq!(read(&read(text).text()), read(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", "+", ".", "1.", ".5", "1e3", "0x1", "1 ", " 1", "1.2.3", "--1", "٣"]
        {
            assert_eq!(Decimal::read(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_compare_as_machine_integers_do(one in any::<i64>(), other in any::<i64>()) {
            let (left, right) = (read(&one.to_string()), read(&other.to_string()));
            prop_assert_eq!(left.compare(&right), one.cmp(&other));
        }

        #[test]
        fn thousandths_compare_as_their_integers_do(
            one in -10_000_000..10_000_000_i64, other in -10_000_000..10_000_000_i64,
        ) {
            let written = |number: i64| {
                let sign = if number < 0 { "-" } else { "" };
                let (whole, part) = (number.abs() / 1000, number.abs() % 1000);
                read(&format!("{sign}{whole}.{part:03}"))
            };
            prop_assert_eq!(written(one).compare(&written(other)), one.cmp(&other));
        }
    }
}
