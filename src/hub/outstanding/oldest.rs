//! In which channel what has been retained for longest is: what makes room for what is new.
//!
//! Ids are given in the order of publication over all channels, so the smallest first one is the
//! oldest of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::ACK_EVICTION_LOOKS_MAX;

/// Channels by the oldest publication that each retains.
#[derive(Default)]
pub(super) struct Oldest(BTreeMap<u64, Arc<str>>);

impl Oldest {
    /// The oldest publication of the channel is another one, or there is none.
    pub(super) fn renew(&mut self, channel: &str, before: Option<u64>, now: Option<u64>) {
        if before == now {
            return;
        }
        let name = before.and_then(|id| self.0.remove(&id));
        if let Some(id) = now {
            self.0.insert(id, name.unwrap_or_else(|| channel.into()));
        }
    }

    /// The channel with this oldest publication is gone.
    pub(super) fn forget(&mut self, first_id: Option<u64>) {
        first_id.map(|id| self.0.remove(&id));
    }

    /// The channel that is to give way: of those whose oldest is the oldest, the first that can.
    /// Those that cannot, since some of their mailboxes have yet to be looked at, soon can.
    pub(super) fn first(&self, can_give_way: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let mut some = self.0.values().take(ACK_EVICTION_LOOKS_MAX);
        some.find(|channel| can_give_way(channel)).cloned()
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }
}
