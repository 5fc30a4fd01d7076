//! What all clients together have seen: one truth per channel, which nobody may contradict.

use std::collections::BTreeMap;

/// A place in a channel's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// The streams as clients have seen them.
#[derive(Default)]
pub(super) struct Ledger {
    streams: BTreeMap<(String, String), BTreeMap<u64, u64>>,
    /// By channel and publication, the offset at which it stands.
    places: BTreeMap<(String, u64), u64>,
    pub(super) counts: Counts,
}

/// How much happened, so that a run in which nothing does is seen as such.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) connects: u64,
    pub(super) subscribes: u64,
    pub(super) publications: u64,
    pub(super) recoveries: u64,
    pub(super) recovered: u64,
    pub(super) lost_positions: u64,
    pub(super) closes: u64,
    pub(super) resent: u64,
    pub(super) gaps: u64,
    pub(super) overflows: u64,
    pub(super) temporary_errors: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.connects += other.connects;
        self.subscribes += other.subscribes;
        self.publications += other.publications;
        self.recoveries += other.recoveries;
        self.recovered += other.recovered;
        self.lost_positions += other.lost_positions;
        self.closes += other.closes;
        self.resent += other.resent;
        self.gaps += other.gaps;
        self.overflows += other.overflows;
        self.temporary_errors += other.temporary_errors;
    }
}

impl Ledger {
    /// A client saw this publication at this position.
    pub(super) fn agree(&mut self, channel: &str, position: &Position, number: u64) {
        let key = (channel.to_owned(), position.epoch.clone());
        let known = *self.streams.entry(key).or_default().entry(position.offset).or_insert(number);
        assert_eq!(known, number, "{channel}: two publications at {position:?}");
        let place = *self.places.entry((channel.to_owned(), number)).or_insert(position.offset);
        assert_eq!(place, position.offset, "{channel}: publication {number} stands twice");
    }
}
