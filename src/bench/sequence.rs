//! One stream of numbered messages, as its receiver sees it: in order, late, twice or never sent.
//!
//! Invariant: each number is accepted at most once, so `sent - accepted` is what was lost. A
//! number that comes late is told from one that comes twice as long as it is at most `MEMORY`
//! behind the newest; behind that it counts as repeated, and the message as lost.
#![forbid(unsafe_code)]

/// How far back single numbers are remembered: the bits of `missing`.
const MEMORY: u64 = 64;

/// The state of one stream at its receiver. Sixteen bytes: there is one per connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    /// One more than the newest number that arrived.
    next: u64,
    /// Bit `i` is set while number `next - 1 - i` has not arrived.
    missing: u64,
}

const _: () = assert!(size_of::<Sequence>() == 16);

/// What one arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next number, or one ahead of it; those between may still come late.
    Newest,
    /// One that a newer number had overtaken.
    OutOfOrder,
    /// One that had arrived before.
    Repeated,
    /// A number that the sender has not used yet.
    NeverSent,
}

impl Sequence {
    /// Takes the arrival of `number` while `sent` messages of the stream have been sent.
    pub fn arrive(&mut self, number: u64, sent: u64) -> Arrival {
        if number >= sent {
            return Arrival::NeverSent;
        }
        if number >= self.next {
            self.advance(number - self.next + 1);
            return Arrival::Newest;
        }
        let age = self.next - 1 - number;
        if age < MEMORY && self.missing >> age & 1 == 1 {
            self.missing &= !(1 << age);
            return Arrival::OutOfOrder;
        }
        Arrival::Repeated
    }

    /// Moves on by `step` numbers, of which only the last has arrived.
    fn advance(&mut self, step: u64) {
        self.next += step;
        self.missing =
            if step < MEMORY { self.missing << step | ((1 << step) - 1) & !1 } else { !1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn arrivals(numbers: &[u64]) -> Vec<Arrival> {
        let mut sequence = Sequence::default();
        numbers.iter().map(|&number| sequence.arrive(number, 1000)).collect()
    }

    #[test]
    fn a_gap_that_fills_is_reordering_and_not_repetition() {
        use Arrival::{Newest, OutOfOrder, Repeated};
        assert_eq!(arrivals(&[0, 1, 2]), [Newest, Newest, Newest]);
        assert_eq!(arrivals(&[0, 2, 1]), [Newest, Newest, OutOfOrder]);
        assert_eq!(arrivals(&[0, 2, 1, 1]), [Newest, Newest, OutOfOrder, Repeated]);
        assert_eq!(arrivals(&[0, 0]), [Newest, Repeated]);
        assert_eq!(arrivals(&[63, 0, 64, 64]), [Newest, OutOfOrder, Newest, Repeated]);
    }

    #[test]
    fn a_number_not_sent_yet_is_refused_and_changes_nothing() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(5, 5), Arrival::NeverSent);
        assert_eq!(sequence.arrive(u64::MAX, 5), Arrival::NeverSent);
        assert_eq!(sequence.arrive(0, 5), Arrival::Newest);
    }

    proptest! {
        /// Against a set of all numbers seen: exact within the memory, never accepted twice.
        #[test]
        fn no_number_is_accepted_twice(numbers in prop::collection::vec(0..200u64, 0..300)) {
            let mut sequence = Sequence::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let newest = seen.last().copied();
                let expected = match newest {
                    Some(newest) if number <= newest => {
                        if seen.contains(&number) || newest - number >= MEMORY {
                            Arrival::Repeated
                        } else {
                            Arrival::OutOfOrder
                        }
                    }
                    _ => Arrival::Newest,
                };
                prop_assert_eq!(sequence.arrive(number, 200), expected);
                if expected != Arrival::Repeated {
                    prop_assert!(seen.insert(number));
                }
            }
        }
    }
}
