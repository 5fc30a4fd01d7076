//! In which channel what has been retained for longest is: what makes room for what is new.
//!
//! What was taken over from several homes has ids of as many beginnings: they tell those of one
//! time apart, and no more.

use super::log::Age;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::limits::ACK_EVICTION_LOOKS_MAX;

/// Channels by the oldest publication that each retains.
#[derive(Default)]
pub(super) struct Oldest(BTreeSet<(Age, Arc<str>)>);

impl Oldest {
    /// The oldest publication of the channel is another one, or there is none.
    pub(super) fn renew(&mut self, channel: &Arc<str>, before: Option<Age>, now: Option<Age>) {
        if before == now {
            return;
        }
        if let Some(age) = before {
            self.0.remove(&(age, Arc::clone(channel)));
        }
        if let Some(age) = now {
            self.0.insert((age, Arc::clone(channel)));
        }
    }

    /// The channel that is to give way: of those whose oldest is the oldest, the first that can.
    /// Those that cannot, since some of their mailboxes have yet to be looked at, soon can.
    pub(super) fn first(&self, can_give_way: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let mut some = self.0.iter().take(ACK_EVICTION_LOOKS_MAX);
        some.find(|(_, channel)| can_give_way(channel)).map(|(_, channel)| Arc::clone(channel))
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &BTreeSet<(Age, Arc<str>)> {
        &self.0
    }
}
