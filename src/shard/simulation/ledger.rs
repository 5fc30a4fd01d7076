//! What all clients together have seen: one truth per channel, which nobody may contradict.

use std::collections::{BTreeMap, BTreeSet};

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
    /// What clients were told of others that contradicts what they were told before. It may, where
    /// something was dropped.
    pub(super) contradictions: Vec<String>,
    /// What users have heard and are to acknowledge.
    pub(super) owed: Owed,
    now: u64,
    pub(super) counts: Counts,
}

/// Publications that are to be acknowledged, by user and id.
#[derive(Default)]
pub(super) struct Owed {
    pub(super) heard: BTreeSet<(&'static str, String)>,
    /// They were acknowledged, if that has come through.
    pub(super) said: BTreeSet<(&'static str, String)>,
    /// It has, and nothing was on its way when it was found so.
    pub(super) settled: BTreeSet<(&'static str, String)>,
    pub(super) answered: BTreeSet<(&'static str, String)>,
}

/// Counts that are added up over all servers.
macro_rules! counts {
    ($($(#[$about:meta])* $name:ident),+ $(,)?) => {
        /// How much happened, so that a run in which nothing does is seen as such.
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct Counts {
            $($(#[$about])* pub(super) $name: u64,)+
        }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }

        impl Counts {
            /// Those of which nothing was seen.
            pub(super) fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),+];
                all.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

counts! {
    connects,
    subscribes,
    publications,
    recoveries,
    recovered,
    /// Recovered from another epoch or from more than is kept.
    unrecovered,
    lost_positions,
    closes,
    /// Ended, because publications of a channel were lost that the server has put it into.
    lost_by_server,
    /// Ended, because another connection of the user has come.
    replaced,
    /// Put into channels.
    entered_by_server,
    recovered_by_server,
    comings,
    goings,
    /// Publications that were missing where some may be.
    skipped,
    resent,
    gaps,
    overflows,
    temporary_errors,
    dropped_oldest,
    conflated,
    /// Publications that were dropped for want of the budget, and streams for want of places.
    evicted,
    streams_evicted,
    joins_dropped,
    presence_checked,
    /// Acknowledged, and sent again for want of that.
    acknowledged,
    redelivered,
    /// Processes that have handed over, that were told to go on, and for whose streams there was no
    /// room in the other.
    upgrades,
    upgrades_given_up,
    upgrades_refused,
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

    /// A time by which what clients do and hear is ordered.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}
