//! What users have lost in mailboxes that are gone, until they come back and are told.

use std::collections::BTreeMap;
use std::sync::Arc;

/// By channel and user: how many publications, and when that was noted.
pub(super) struct Losses {
    counts: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
    order: BTreeMap<u64, (Arc<str>, Arc<str>)>,
    next: u64,
    places_max: usize,
}

impl Losses {
    pub(super) fn new(places_max: usize) -> Self {
        Self { counts: BTreeMap::new(), order: BTreeMap::new(), next: 0, places_max }
    }

    /// A mailbox has ended, and its user is to be told of so many. The longest noted makes room;
    /// returns how many publications nobody will be told of for that.
    pub(super) fn note(&mut self, channel: Arc<str>, user: Arc<str>, lost: u64) -> u64 {
        let key = (channel, user);
        self.next += 1;
        self.counts.insert(key.clone(), (lost, self.next));
        self.order.insert(self.next, key);
        if self.counts.len() <= self.places_max {
            return 0;
        }
        let (_, longest) = self.order.pop_first().expect("there are more than may be");
        self.counts.remove(&longest).map_or(0, |(lost, _)| lost)
    }

    /// The next after the one with this number, in the order in which they were noted.
    pub(super) fn next_after(&self, number: u64) -> Option<(u64, &str, &str, u64)> {
        let (&number, key) = self.order.range(number + 1..).next()?;
        let (lost, _) = self.counts[key];
        Some((number, &key.0, &key.1, lost))
    }

    /// What the user has lost in the channel. It is told now.
    pub(super) fn take(&mut self, channel: &str, user: &Arc<str>) -> u64 {
        if self.counts.is_empty() {
            return 0;
        }
        let Some((lost, order)) = self.counts.remove(&(channel.into(), Arc::clone(user))) else {
            return 0;
        };
        self.order.remove(&order);
        lost
    }
}
