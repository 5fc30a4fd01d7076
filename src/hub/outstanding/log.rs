//! What a channel retains, once for all of its users.
//!
//! ```text
//!   evicted ┊ held by some mailboxes ┊ behind: published, and not taken by all yet ◀─ push
//!        floor                    taken                                         last
//! ```
//!
//! Invariants: what is behind stays until all have taken it; the rest while somebody holds it.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What a publication is charged for beside its bytes.
pub(super) const KEPT_BYTES: usize = size_of::<Kept<[usize; 2]>>() + 2 * size_of::<u64>();

/// When a publication was retained, and its id: the order of age.
pub(super) type Age = (u64, u64);

/// A publication, for all who have yet to acknowledge it.
pub(super) struct Kept<F> {
    pub(super) frame: F,
    pub(super) bytes: u32,
    /// Mailboxes that have it.
    pub(super) holders: u32,
    pub(super) since_ms: u64,
}

impl<F> Kept<F> {
    pub(super) fn charge(&self) -> usize {
        KEPT_BYTES + self.bytes as usize
    }
}

/// The publications of a channel, by their ids.
pub(super) struct Log<F> {
    kept: BTreeMap<u64, Kept<F>>,
    /// Up to this one, all have taken them.
    taken_id: u64,
    /// The last that was published.
    last_id: u64,
    /// Those below this one that are not here were evicted, or are held by nobody.
    floor_id: u64,
    behind_count: usize,
}

impl<F> Log<F> {
    pub(super) fn new() -> Self {
        Self { kept: BTreeMap::new(), taken_id: 0, last_id: 0, floor_id: 0, behind_count: 0 }
    }

    /// Appends one; returns what it is charged for.
    pub(super) fn push(&mut self, id: u64, kept: Kept<F>) -> usize {
        assert!(id > self.last_id, "ids are given in the order of the publications");
        let charge = kept.charge();
        self.kept.insert(id, kept);
        self.last_id = id;
        self.behind_count += 1;
        charge
    }

    /// Appends one that all who are to have it will [`hold`](Self::hold) by themselves.
    pub(super) fn push_taken(&mut self, id: u64, kept: Kept<F>) -> usize {
        let charge = self.push(id, kept);
        self.behind_count -= 1;
        self.taken_id = id;
        charge
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    #[cfg(test)]
    pub(super) fn taken_id(&self) -> u64 {
        self.taken_id
    }

    pub(super) fn floor_id(&self) -> u64 {
        self.floor_id
    }

    /// The oldest that is here.
    fn first_id(&self) -> Option<u64> {
        self.kept.keys().next().copied()
    }

    /// The same, by its age.
    pub(super) fn first(&self) -> Option<Age> {
        self.kept.iter().next().map(|(id, kept)| (kept.since_ms, *id))
    }

    /// Whether the oldest may go, because all have taken it.
    pub(super) fn may_evict(&self) -> bool {
        self.first_id().is_some_and(|id| id <= self.taken_id)
    }

    /// How many some have yet to take.
    pub(super) fn behind_count(&self) -> usize {
        self.behind_count
    }

    /// Those behind this one: id, bytes, and when each was published.
    pub(super) fn behind(&self, id: u64) -> impl Iterator<Item = (u64, u32, u64)> {
        let from = (Bound::Excluded(id.max(self.taken_id)), Bound::Unbounded);
        self.kept.range(from).map(|(id, kept)| (*id, kept.bytes, kept.since_ms))
    }

    /// All have taken those up to this one. What nobody has any more goes; returns what it was
    /// charged for.
    pub(super) fn be_taken(&mut self, id: u64) -> usize {
        let taken = (Bound::Excluded(self.taken_id), Bound::Included(id));
        let ids: Vec<u64> = self.kept.range(taken).map(|(id, _)| *id).collect();
        self.behind_count -= ids.len();
        self.taken_id = id;
        ids.into_iter().map(|id| self.drop_unheld(id)).sum()
    }

    /// One more mailbox has it.
    pub(super) fn hold(&mut self, id: u64) {
        self.kept.get_mut(&id).expect("what is behind stays").holders += 1;
    }

    /// One mailbox fewer has it; returns what it was charged for, if it goes with that.
    pub(super) fn release(&mut self, id: u64) -> usize {
        self.kept.get_mut(&id).expect("held until now").holders -= 1;
        if id <= self.taken_id { self.drop_unheld(id) } else { 0 }
    }

    fn drop_unheld(&mut self, id: u64) -> usize {
        if self.kept[&id].holders > 0 {
            return 0;
        }
        self.kept.remove(&id).map_or(0, |kept| kept.charge())
    }

    /// Takes out the oldest of those that all have taken.
    pub(super) fn evict_oldest(&mut self) -> Option<Kept<F>> {
        let (id, kept) = self.may_evict().then(|| self.kept.pop_first()).flatten()?;
        self.floor_id = id + 1;
        Some(kept)
    }

    /// Its bytes, and when it was published, if it is here.
    pub(super) fn find(&self, id: u64) -> Option<(u32, u64)> {
        self.kept.get(&id).map(|kept| (kept.bytes, kept.since_ms))
    }

    /// What is here behind this one, or all, the oldest first.
    pub(super) fn all_after(&self, id: Option<u64>) -> impl Iterator<Item = (u64, &Kept<F>)> {
        let behind = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.kept.range((behind, Bound::Unbounded)).map(|(id, kept)| (*id, kept))
    }

    /// One that is held.
    pub(super) fn frame(&self, id: u64) -> &F {
        &self.kept[&id].frame
    }

    /// What all of it is charged for.
    pub(super) fn charge(&self) -> usize {
        self.kept.values().map(Kept::charge).sum()
    }
}
