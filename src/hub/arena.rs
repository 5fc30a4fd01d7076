//! Values in numbered slots, in chunks, so that growing never moves more than one chunk.
//!
//! Invariant: the lowest chunk with room is filled first and a chunk without values holds no
//! memory, so a hub that shrank gives back what it does not use.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;

/// Slots of one chunk. It grows by doubling up to here, so a small arena stays small.
const CHUNK_SLOTS: u32 = 1024;

/// The number of a slot. Reused after `remove`: whoever keeps a key keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(NonZeroU32);

const _: () = assert!(size_of::<Option<Key>>() == 4);

impl Key {
    fn new(chunk_index: u32, slot_index: u32) -> Self {
        let number = chunk_index
            .checked_mul(CHUNK_SLOTS)
            .and_then(|first| first.checked_add(slot_index + 1))
            .and_then(NonZeroU32::new);
        Self(number.expect("the owner bounds the arena far below 2^32 values"))
    }

    fn chunk_index(self) -> usize {
        ((self.0.get() - 1) / CHUNK_SLOTS) as usize
    }

    fn slot_index(self) -> u32 {
        (self.0.get() - 1) % CHUNK_SLOTS
    }
}

pub(super) struct Arena<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with at least one free slot; changes only when a chunk fills or gets its first room.
    roomy: BTreeSet<u32>,
    len: u32,
}

struct Chunk<T> {
    slots: Vec<Slot<T>>,
    /// The first of the vacant slots, which are linked through themselves.
    vacant: Option<u32>,
    used: u32,
}

pub(super) enum Slot<T> {
    Vacant { next: Option<NonZeroU32> },
    Used(T),
}

impl<T> Arena<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), roomy: BTreeSet::new(), len: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let chunk_index = self.roomy.first().copied().unwrap_or_else(|| self.add_chunk());
        let chunk = &mut self.chunks[chunk_index as usize];
        let slot_index = chunk.insert(value);
        if chunk.used == CHUNK_SLOTS {
            self.roomy.remove(&chunk_index);
        }
        self.len += 1;
        Key::new(chunk_index, slot_index)
    }

    /// The value at `key`, unless the slot is vacant.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        match self.chunks.get(key.chunk_index())?.slots.get(key.slot_index() as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The value at `key`, unless the slot is vacant.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.chunks.get_mut(key.chunk_index())?.slots.get_mut(key.slot_index() as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// Places that there are, with a value or vacant.
    pub(super) fn places(&self) -> u32 {
        let chunks = u32::try_from(self.chunks.len()).expect("keys are u32");
        chunks * CHUNK_SLOTS
    }

    /// The values in some of the places.
    pub(super) fn in_places(&self, places: Range<u32>) -> impl Iterator<Item = &T> {
        let places = places.start..places.end.min(self.places());
        places.filter_map(|place| self.get(Key::new(place / CHUNK_SLOTS, place % CHUNK_SLOTS)))
    }

    pub(super) fn remove(&mut self, key: Key) -> T {
        let chunk_index = key.chunk_index();
        let chunk = &mut self.chunks[chunk_index];
        if chunk.used == CHUNK_SLOTS {
            self.roomy.insert(u32::try_from(chunk_index).expect("keys are u32"));
        }
        let value = chunk.remove(key.slot_index());
        self.len -= 1;
        self.trim();
        value
    }

    /// Bytes of memory behind this arena, not counting what the values themselves point to.
    pub(super) fn memory_bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(|chunk| chunk.slots.capacity()).sum();
        slots * size_of::<Slot<T>>() + self.chunks.capacity() * size_of::<Chunk<T>>()
    }

    fn add_chunk(&mut self) -> u32 {
        let chunk_index = u32::try_from(self.chunks.len()).expect("keys are u32");
        self.chunks.push(Chunk { slots: Vec::new(), vacant: None, used: 0 });
        self.roomy.insert(chunk_index);
        chunk_index
    }

    /// Forgets empty chunks at the end; those in the middle have given up their slots already.
    fn trim(&mut self) {
        while self.chunks.last().is_some_and(|chunk| chunk.used == 0) {
            self.chunks.pop();
            self.roomy.pop_last();
        }
        if self.chunks.is_empty() {
            self.chunks = Vec::new();
        }
    }
}

impl<T> Chunk<T> {
    fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        let Some(slot_index) = self.vacant else {
            let slot_index = u32::try_from(self.slots.len()).expect("a chunk is small");
            debug_assert!(slot_index < CHUNK_SLOTS, "a full chunk is not among the roomy");
            self.slots.push(Slot::Used(value));
            return slot_index;
        };
        let slot = std::mem::replace(&mut self.slots[slot_index as usize], Slot::Used(value));
        let Slot::Vacant { next } = slot else { unreachable!("slot {slot_index} is in use") };
        self.vacant = next.map(|next| next.get() - 1);
        slot_index
    }

    fn remove(&mut self, slot_index: u32) -> T {
        let next = self.vacant.and_then(|vacant| NonZeroU32::new(vacant + 1));
        let slot = &mut self.slots[slot_index as usize];
        let Slot::Used(value) = std::mem::replace(slot, Slot::Vacant { next }) else {
            unreachable!("slot {slot_index} is vacant already")
        };
        self.vacant = Some(slot_index);
        self.used -= 1;
        if self.used == 0 {
            *self = Self { slots: Vec::new(), vacant: None, used: 0 };
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_emptied_chunk_holds_no_memory_and_is_filled_first() {
        let mut arena = Arena::new();
        let keys: Vec<Key> = (0..3 * CHUNK_SLOTS).map(|value| arena.insert(value)).collect();
        let full = arena.memory_bytes();
        for key in &keys[..CHUNK_SLOTS as usize] {
            arena.remove(*key);
        }
        assert_eq!(full - arena.memory_bytes(), CHUNK_SLOTS as usize * size_of::<Slot<u32>>());
        assert_eq!(arena.insert(7), keys[0]);
        arena.remove(keys[0]);
        for key in &keys[CHUNK_SLOTS as usize..] {
            arena.remove(*key);
        }
        assert_eq!((arena.len(), arena.memory_bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 0..4000),
        ) {
            let mut arena = Arena::new();
            let mut model = BTreeMap::new();
            for (number, (kind, which)) in steps.into_iter().enumerate() {
                if kind < 3 || model.is_empty() {
                    let key = arena.insert(number);
                    prop_assert_eq!(model.insert(key, number), None, "a key in use was given out");
                } else {
                    let key = *which.get(&model.keys().copied().collect::<Vec<_>>());
                    prop_assert_eq!(Some(arena.remove(key)), model.remove(&key));
                    prop_assert_eq!(arena.get(key), None);
                }
                prop_assert_eq!(arena.len() as usize, model.len());
            }
            for (key, value) in &model {
                prop_assert_eq!(arena.get(*key), Some(value));
            }
        }
    }
}
