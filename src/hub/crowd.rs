//! Who is present in one channel: a few in a list, many in a list that knows everyone's place.
//!
//! Most channels of a server with many are personal, or rooms of a few. One alone takes no memory
//! beyond its channel's; in a crowd, whoever leaves is found without looking at the others.
//!
//! Invariant: a key is in the crowd once. Beyond `SCANNED_MAX` entries, and only then, `places`
//! has the place of each.

use hashbrown::HashTable;

/// Entries among which one is found by looking at all: 16 keys are a cache line or four.
const SCANNED_MAX: usize = 16;

pub(super) type Entry<K, P> = (K, P);

pub(super) enum Crowd<K, P> {
    One(Entry<K, P>),
    /// At least two.
    Many(Box<Many<K, P>>),
}

pub(super) struct Many<K, P> {
    entries: Vec<Entry<K, P>>,
    places: HashTable<u32>,
}

impl<K: Copy + Eq, P> Crowd<K, P> {
    pub(super) fn entries(&self) -> &[Entry<K, P>] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(many) => &many.entries,
        }
    }

    /// Adds an entry, or replaces that of the same key and returns what it held.
    pub(super) fn add(&mut self, entry: Entry<K, P>, hash: &dyn Fn(&K) -> u64) -> Option<P> {
        match self {
            Self::One(one) if one.0 == entry.0 => {
                return Some(std::mem::replace(&mut one.1, entry.1));
            }
            Self::One(_) => {
                let many = Many { entries: Vec::with_capacity(2), places: HashTable::new() };
                let before = std::mem::replace(self, Self::Many(Box::new(many)));
                let (Self::One(one), Self::Many(many)) = (before, &mut *self) else {
                    unreachable!("seen above, and made above")
                };
                many.entries.push(one);
                many.entries.push(entry);
            }
            Self::Many(many) => return many.add(entry, hash),
        }
        None
    }

    /// Takes an entry out; `Err` if it was the only one: then the crowd itself is to go.
    pub(super) fn remove(&mut self, key: K, hash: &dyn Fn(&K) -> u64) -> Result<Option<P>, Alone> {
        let Self::Many(many) = self else {
            return if self.entries()[0].0 == key { Err(Alone) } else { Ok(None) };
        };
        let removed = many.remove(key, hash);
        if many.entries.len() == 1 {
            let last = many.entries.pop().expect("there is one");
            *self = Self::One(last);
        }
        Ok(removed.map(|(_, present)| present))
    }

    /// What the entry of a key holds.
    pub(super) fn get_mut(&mut self, key: K, hash: &dyn Fn(&K) -> u64) -> Option<&mut P> {
        match self {
            Self::One(one) => (one.0 == key).then_some(&mut one.1),
            Self::Many(many) => {
                let place = many.place(key, hash)?;
                Some(&mut many.entries[place].1)
            }
        }
    }

    pub(super) fn contains(&self, key: K, hash: &dyn Fn(&K) -> u64) -> bool {
        match self {
            Self::One(one) => one.0 == key,
            Self::Many(many) => many.place(key, hash).is_some(),
        }
    }

    /// The only entry.
    pub(super) fn into_one(self) -> Entry<K, P> {
        match self {
            Self::One(one) => one,
            Self::Many(_) => unreachable!("{:?} was said of it", Alone),
        }
    }

    /// Bytes of memory behind it.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(many) => {
                size_of::<Many<K, P>>()
                    + many.entries.capacity() * size_of::<Entry<K, P>>()
                    + many.places.allocation_size()
            }
        }
    }
}

/// There is nobody else in the crowd.
#[derive(Debug)]
pub(super) struct Alone;

impl<K: Copy + Eq, P> Many<K, P> {
    fn add(&mut self, entry: Entry<K, P>, hash: &dyn Fn(&K) -> u64) -> Option<P> {
        if let Some(place) = self.place(entry.0, hash) {
            return Some(std::mem::replace(&mut self.entries[place].1, entry.1));
        }
        let (place, room) = (self.entries.len(), self.entries.capacity());
        if place == room {
            self.entries.reserve_exact(room / 4 + 1);
        }
        self.entries.push(entry);
        match place {
            ..SCANNED_MAX => {}
            SCANNED_MAX => (0..=place).for_each(|place| self.note(place, hash)),
            _ => self.note(place, hash),
        }
        None
    }

    fn remove(&mut self, key: K, hash: &dyn Fn(&K) -> u64) -> Option<Entry<K, P>> {
        let place = self.place(key, hash)?;
        let last = self.entries.len() - 1;
        if last == SCANNED_MAX {
            self.places = HashTable::new();
        } else if last > SCANNED_MAX {
            self.forget(place, hash);
            if place != last {
                self.move_place(last, place, hash);
            }
        }
        let removed = self.entries.swap_remove(place);
        if self.entries.len() * 2 <= self.entries.capacity() {
            let count = self.entries.len();
            self.entries.shrink_to(count + count / 4);
            self.places.shrink_to(count, |&place| hash(&self.entries[place as usize].0));
        }
        Some(removed)
    }

    fn place(&self, key: K, hash: &dyn Fn(&K) -> u64) -> Option<usize> {
        if self.entries.len() <= SCANNED_MAX {
            return self.entries.iter().position(|entry| entry.0 == key);
        }
        let is_it = |&place: &u32| self.entries[place as usize].0 == key;
        self.places.find(hash(&key), is_it).map(|&place| place as usize)
    }

    fn note(&mut self, place: usize, hash: &dyn Fn(&K) -> u64) {
        let of = |place: u32| hash(&self.entries[place as usize].0);
        let place = number(place);
        self.places.insert_unique(of(place), place, |&place| of(place));
    }

    fn forget(&mut self, place: usize, hash: &dyn Fn(&K) -> u64) {
        let hash = hash(&self.entries[place].0);
        let found = self.places.find_entry(hash, |&other| other == number(place));
        found.expect("everyone's place is known").remove();
    }

    fn move_place(&mut self, from: usize, to: usize, hash: &dyn Fn(&K) -> u64) {
        let hash = hash(&self.entries[from].0);
        let found = self.places.find_mut(hash, |&other| other == number(from));
        *found.expect("everyone's place is known") = number(to);
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("the presence of a home is bounded by a u32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Collides often.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "crowds hash larger keys, too")]
    fn hash(key: &u32) -> u64 {
        u64::from(key % 7)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((0..40_u32, 0..3_u8), 0..400),
        ) {
            let (mut crowd, mut model) = (None::<Crowd<u32, usize>>, BTreeMap::new());
            for (value, (key, step)) in steps.into_iter().enumerate() {
                match (&mut crowd, step < 2) {
                    (Some(crowd), true) => {
                        prop_assert_eq!(crowd.add((key, value), &hash), model.insert(key, value));
                    }
                    (None, true) => {
                        crowd = Some(Crowd::One((key, value)));
                        model.insert(key, value);
                    }
                    (Some(some), false) => {
                        if let Ok(removed) = some.remove(key, &hash) {
                            prop_assert_eq!(removed, model.remove(&key));
                        } else {
                            prop_assert!(model.remove(&key).is_some() && model.is_empty());
                            crowd = None;
                        }
                    }
                    (None, false) => {}
                }
                let entries = crowd.as_ref().map_or(&[][..], Crowd::entries);
                prop_assert_eq!(entries.iter().copied().collect::<BTreeMap<_, _>>(), model.clone());
                prop_assert_eq!(entries.len(), model.len());
            }
        }

        #[test]
        fn memory_goes_with_those_who_leave(count in 1..300_u32) {
            let mut crowd = Crowd::One((0, ()));
            (1..count).for_each(|key| assert!(crowd.add((key, ()), &hash).is_none()));
            (1..count).for_each(|key| assert!(crowd.remove(key, &hash).is_ok()));
            prop_assert_eq!(crowd.memory_bytes(), 0);
        }
    }
}
