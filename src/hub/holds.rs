//! Channels that are held for members to come, who wait for an answer of the channel's home.
//!
//! Few at a time: each hold belongs to a request under way, and those are bounded by the mesh.

use super::arena::Key;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Holds {
    by_channel: BTreeMap<Key, u32>,
    count: u32,
}

impl Holds {
    /// Holds of all channels.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_held(&self, channel: Key) -> bool {
        self.by_channel.contains_key(&channel)
    }

    pub(super) fn add(&mut self, channel: Key) {
        *self.by_channel.entry(channel).or_default() += 1;
        self.count += 1;
    }

    /// Ends one hold of the channel.
    pub(super) fn end(&mut self, channel: Key) {
        let count = self.by_channel.get_mut(&channel).expect("who ends a hold has one");
        *count -= 1;
        if *count == 0 {
            self.by_channel.remove(&channel);
        }
        self.count -= 1;
    }
}
