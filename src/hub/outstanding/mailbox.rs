//! What one user has not acknowledged in one channel.

use super::{AckPolicy, CarriedPlace, delay_ms};
use crate::limits::ACK_LINKS_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// What a publication in a mailbox is charged for beside itself, which is shared.
pub(super) const PLACE_BYTES: usize = size_of::<Place>() + 3 * size_of::<u64>();

pub(super) struct Mailbox<L> {
    pub(super) policy: AckPolicy,
    /// The user's connections, in the order in which they came.
    pub(super) links: BTreeMap<u64, L>,
    places: BTreeMap<u64, Place>,
    /// When each is sent again.
    dues: BTreeSet<(u64, u64)>,
    /// Bytes of those that are here.
    bytes: usize,
    /// Publications that went unacknowledged, of which the user is to be told.
    pub(super) lost: u64,
    /// How many of them the user was told of, and has said nothing since.
    pub(super) told: u64,
    /// The last publication that was there when it was looked at.
    pub(super) taken_id: u64,
    /// What its channel had not retained by then.
    pub(super) unretained: u64,
    /// Until when it takes what is published while no connection is there.
    pub(super) away_until_ms: u64,
    /// Its place among those of its user that no connection is there for.
    pub(super) away: Option<u64>,
    /// When it is looked at.
    pub(super) look_ms: u64,
}

struct Place {
    bytes: u32,
    try_count: u32,
    since_ms: u64,
    due_ms: u64,
}

impl<L: Copy> Mailbox<L> {
    pub(super) fn new(policy: AckPolicy) -> Self {
        Self {
            policy,
            links: BTreeMap::new(),
            places: BTreeMap::new(),
            dues: BTreeSet::new(),
            bytes: 0,
            lost: 0,
            told: 0,
            taken_id: 0,
            unretained: 0,
            away_until_ms: 0,
            away: None,
            look_ms: u64::MAX,
        }
    }

    /// Whether it takes what was published then. Whoever comes or goes has it brought up first, so
    /// the connections that are there now were there then.
    pub(super) fn takes_at(&self, since_ms: u64) -> bool {
        !self.links.is_empty() || since_ms < self.away_until_ms
    }

    pub(super) fn put(&mut self, id: u64, bytes: u32, since_ms: u64, due_ms: u64) {
        self.places.insert(id, Place { bytes, try_count: 0, since_ms, due_ms });
        self.dues.insert((due_ms, id));
        self.bytes += bytes as usize;
    }

    /// What it has, for another process.
    pub(super) fn carried(&self, now_ms: u64) -> Vec<CarriedPlace> {
        let places = self.places.iter().map(|(&id, place)| CarriedPlace {
            id,
            try_count: place.try_count,
            due_in_ms: place.due_ms.saturating_sub(now_ms),
        });
        places.collect()
    }

    /// Puts one that it had in another process.
    pub(super) fn put_again(
        &mut self,
        place: CarriedPlace,
        (bytes, since_ms): (u32, u64),
        now_ms: u64,
    ) {
        let CarriedPlace { id, try_count, due_in_ms } = place;
        self.put(id, bytes, since_ms, now_ms.saturating_add(due_in_ms));
        self.places.get_mut(&id).expect("put above").try_count = try_count;
    }

    /// Takes out one; false if it is not here.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(place) = self.places.remove(&id) else { return false };
        self.dues.remove(&(place.due_ms, id));
        self.bytes -= place.bytes as usize;
        true
    }

    /// Those below this one were evicted from their channel.
    pub(super) fn give_up_below(&mut self, floor_id: u64) {
        while let Some(id) = self.oldest_id().filter(|id| *id < floor_id) {
            self.remove(id);
            self.lost += 1;
        }
    }

    pub(super) fn oldest_id(&self) -> Option<u64> {
        self.places.keys().next().copied()
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.places.keys().copied()
    }

    pub(super) fn is_full(&self) -> bool {
        let count = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        count > self.policy.publications_max || self.bytes > self.policy.bytes_max as usize
    }

    // --- Time -------------------------------------------------------------------------------

    pub(super) fn ttl_ms(&self) -> u64 {
        u64::from(self.policy.ttl_s) * 1000
    }

    /// When the oldest is too old.
    fn expiry_ms(&self) -> Option<u64> {
        let (_, oldest) = self.places.first_key_value()?;
        Some(oldest.since_ms + self.ttl_ms())
    }

    /// Whether the oldest is too old.
    pub(super) fn is_stale_at(&self, now_ms: u64) -> bool {
        self.expiry_ms().is_some_and(|expiry_ms| expiry_ms <= now_ms)
    }

    fn is_idle(&self) -> bool {
        self.links.is_empty() && self.places.is_empty()
    }

    /// Whether it has nothing, and takes nothing more.
    pub(super) fn is_over_at(&self, now_ms: u64) -> bool {
        self.is_idle() && self.away_until_ms <= now_ms
    }

    /// When there is something to do.
    pub(super) fn next_ms(&self) -> u64 {
        let due = self.dues.first().filter(|_| !self.links.is_empty()).map(|(due_ms, _)| *due_ms);
        let end = self.is_idle().then_some(self.away_until_ms);
        due.into_iter().chain(self.expiry_ms()).chain(end).min().unwrap_or(u64::MAX)
    }

    /// All are sent again then.
    pub(super) fn send_again_at(&mut self, due_ms: u64) {
        self.dues.clear();
        for (id, place) in &mut self.places {
            place.due_ms = due_ms;
            self.dues.insert((due_ms, *id));
        }
    }

    /// The first that is due, and how often it is sent again with this time.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<(u64, u32)> {
        let &(due_ms, id) = self.dues.first().filter(|_| !self.links.is_empty())?;
        if due_ms > now_ms {
            return None;
        }
        self.dues.pop_first();
        let place = self.places.get_mut(&id).expect("what is due is here");
        place.try_count += 1;
        place.due_ms = now_ms + delay_ms(place.try_count, id);
        self.dues.insert((place.due_ms, id));
        Some((id, place.try_count))
    }

    /// The connections that came last.
    pub(super) fn newest_links(&self) -> Vec<L> {
        self.links.values().rev().take(ACK_LINKS_MAX).copied().collect()
    }
}
