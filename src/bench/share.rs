//! Which part of a run one thread does, where a run takes more descriptors than one table holds.
//!
//! Invariant: shares cover the sockets of a run without a gap, in order, and differ by one at most.
#![forbid(unsafe_code)]

/// One thread's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which of the threads, from 0.
    pub number: u32,
    /// How many threads there are.
    pub of: u32,
    /// Its first socket.
    pub first: u32,
    /// How many sockets it has.
    pub count: u32,
}

impl Share {
    /// All of a run: one thread, and the descriptor table of the process.
    pub fn whole(sockets: u32) -> Self {
        Self { number: 0, of: 1, first: 0, count: sockets }
    }

    /// As few shares as tables with room for `table_sockets` each can hold, at least one.
    pub fn split(sockets: u32, table_sockets: u32) -> Vec<Self> {
        let of = sockets.div_ceil(table_sockets.max(1)).max(1);
        let start = |number: u32| {
            let start = u64::from(sockets) * u64::from(number) / u64::from(of);
            u32::try_from(start).expect("at most all sockets")
        };
        let share = |number| {
            let first = start(number);
            Self { number, of, first, count: start(number + 1) - first }
        };
        (0..of).map(share).collect()
    }

    /// This share's part of what all threads have together; the parts add up to it.
    pub fn part(self, of_all: u64) -> u64 {
        let before = |number: u32| of_all * u64::from(number) / u64::from(self.of);
        before(self.number + 1) - before(self.number)
    }

    /// Whether this thread speaks for all: there is one such.
    pub fn leads(self) -> bool {
        self.number == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_cover_all_sockets_and_fit_their_tables(
            sockets in 0..5_000_000u32,
            table in 1..30_000u32,
            amount in 0..1_000_000u64,
        ) {
            let shares = Share::split(sockets, table);
            let mut next = 0;
            for share in &shares {
                prop_assert_eq!(share.first, next);
                prop_assert!(share.count <= table);
                next += share.count;
            }
            prop_assert_eq!(next, sockets);
            let least = shares.iter().map(|share| share.count).min();
            let most = shares.iter().map(|share| share.count).max();
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
            prop_assert_eq!(shares.iter().map(|share| share.part(amount)).sum::<u64>(), amount);
        }
    }

    #[test]
    fn what_fits_one_table_is_not_split() {
        assert_eq!(Share::split(100, 100), [Share::whole(100)]);
        assert_eq!(Share::split(101, 100).len(), 2);
        assert!(Share::whole(1).leads());
    }
}
