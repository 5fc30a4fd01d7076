//! The balance of messages: expected, arrived, and all that can go wrong in between.
#![forbid(unsafe_code)]

use serde::Serialize;

/// What became of the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Copies that should have arrived, over the whole run.
    pub expected: u64,
    /// Copies that arrived intact, each counted once.
    pub arrived: u64,
    /// Intact copies that had arrived before.
    pub repeated: u64,
    /// Those among `arrived` that a later one had overtaken.
    pub out_of_order: u64,
    /// Messages that are not, byte for byte, what some connection has sent to this one.
    pub corrupt: u64,
    /// Standing connections that ended by themselves.
    pub broken: u64,
}

impl Tally {
    /// Copies that never arrived.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.arrived)
    }

    /// Adds that of another thread.
    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.arrived += other.arrived;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.broken += other.broken;
    }
}
