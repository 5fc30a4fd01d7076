//! What takes more than one number to count.

use std::ops::AddAssign;

use super::{Closes, Histogram};

/// Events by size or by code. Sum those of all shards with `+=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// Close frames queued to peers.
    pub closes: Closes,
    /// Time that the shards spent on commands of clients. The time of one read is shared equally
    /// among the commands in it; the wait for the home of a channel or user is not in it.
    pub command_seconds: Histogram,
}

impl Details {
    /// How many numbers there are.
    pub const COUNT: usize = Closes::COUNT + Histogram::COUNT;

    /// What the numbers are called, in the order of this page.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let closes = Closes::names().map(|name| format!("closes_{name}"));
        closes.chain(Histogram::names().map(|name| format!("command_seconds_{name}")))
    }

    /// All numbers, in the order of this page.
    pub fn values(&self) -> impl Iterator<Item = u64> {
        self.closes.values().chain(self.command_seconds.values())
    }

    /// The same, to be set.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.closes.values_mut().chain(self.command_seconds.values_mut())
    }
}

impl AddAssign<&Self> for Details {
    fn add_assign(&mut self, other: &Self) {
        self.closes += &other.closes;
        self.command_seconds += &other.command_seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_make_it_whole() {
        let mut details = Details::default();
        for (value, number) in details.values_mut().zip(1..) {
            *value = number;
        }
        let numbers: Vec<u64> = details.values().collect();
        assert_eq!(numbers, (1..=Details::COUNT as u64).collect::<Vec<_>>());
    }
}
