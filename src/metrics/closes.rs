//! Close frames by their code: one count for each code that is worth a label, one for the rest.

use std::ops::AddAssign;

/// The codes that have a count of their own: those of RFC 6455 that a server sends, 1005 for a
/// frame without one, and those of the client protocol. Applications may send any other, so that
/// labels for all of them would have no bound.
const CODES: [u16; 20] = [
    1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1011, 1013, 3001, 3008, 3012, 3013, 3500, 3501,
    3502, 3504, 3506, 3508,
];

/// How many Close frames were sent with each code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closes {
    counts: [u64; CODES.len()],
    others: u64,
}

impl Closes {
    /// How many numbers make one.
    pub(super) const COUNT: usize = CODES.len() + 1;

    /// Counts one Close frame.
    pub fn sent(&mut self, code: u16) {
        match CODES.binary_search(&code) {
            Ok(place) => self.counts[place] += 1,
            Err(_) => self.others += 1,
        }
    }

    /// Codes, `None` for all that have no count of their own, and how many there were.
    pub fn iter(&self) -> impl Iterator<Item = (Option<u16>, u64)> {
        CODES.map(Some).into_iter().chain([None]).zip(self.values())
    }

    /// What the numbers are called, in their order.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let codes = CODES.iter().map(u16::to_string);
        codes.chain(["other".to_owned()])
    }

    pub(super) fn values(&self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().chain([self.others])
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counts.iter_mut().chain([&mut self.others])
    }
}

impl AddAssign<&Self> for Closes {
    fn add_assign(&mut self, other: &Self) {
        for (value, more) in self.values_mut().zip(other.values()) {
            *value += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_has_a_count_is_found() {
        assert!(CODES.is_sorted(), "they are looked for by halves");
    }

    #[test]
    fn a_code_without_a_count_of_its_own_is_among_the_others() {
        let mut closes = Closes::default();
        for code in [1000, 3508, 1000, 4000, 999, u16::MAX] {
            closes.sent(code);
        }
        let mut sum = closes.clone();
        sum += &closes;
        let counted: Vec<_> = sum.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Some(1000), 4), (Some(3508), 2), (None, 6)]);
    }
}
