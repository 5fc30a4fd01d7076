//! Mailboxes without a connection of their users: so many of each user, those left last.
//!
//! Names of channels are cheap, and whoever may subscribe to many could fill a home with mailboxes
//! that nobody comes back for.

use std::collections::BTreeMap;
use std::sync::Arc;

/// By user and the order in which they were left: their channels.
#[derive(Default)]
pub(super) struct Away {
    users: BTreeMap<Arc<str>, BTreeMap<u64, Arc<str>>>,
    next: u64,
}

impl Away {
    /// The user's last connection in the channel is gone. Returns its place in the order, and the
    /// channel whose mailbox is to make room for it, if there are more than `channels_max`.
    pub(super) fn add(
        &mut self,
        user: &Arc<str>,
        channel: &Arc<str>,
        channels_max: usize,
    ) -> (u64, Option<Arc<str>>) {
        self.next += 1;
        let channels = self.users.entry(Arc::clone(user)).or_default();
        channels.insert(self.next, Arc::clone(channel));
        let is_over = channels.len() > channels_max;
        let longest = is_over.then(|| channels.values().next().expect("one was added")).cloned();
        (self.next, longest)
    }

    /// Somebody is there again, or the mailbox is not.
    pub(super) fn remove(&mut self, user: &str, order: u64) {
        let Some(channels) = self.users.get_mut(user) else { return };
        channels.remove(&order);
        if channels.is_empty() {
            self.users.remove(user);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.users.values().map(BTreeMap::len).sum()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}
