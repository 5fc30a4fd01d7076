//! Channel names to keys, and to the state that one half of the hub keeps per channel.
//!
//! Each name is stored once; the tables hold only keys, and are many, so that no rehash touches
//! more than a small part of a million channels within one turn.
//!
//! Invariant: `get(find(name))` is the state entered under `name`; entries stay below the bound.

use super::arena::{Arena, Key};
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::ops::Range;

/// Tables by hash: a million channels are 4,096 in each, rehashed in well under a millisecond.
const TABLES: usize = 256;

/// A hash of names, whatever hasher it is made of.
type NameHash = Box<dyn Fn(&str) -> u64 + Send>;

pub(super) struct Names<T> {
    /// Keyed, because peers choose the names: which of them collide must not be known to them.
    hash: NameHash,
    tables: Box<[HashTable<Key>]>,
    channels: Arena<Named<T>>,
    channels_max: u32,
    name_bytes: usize,
}

pub(super) struct Named<T> {
    name: Box<str>,
    state: T,
}

/// Why a channel cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    TooLong { bytes: usize },
    Full { channels_max: u32 },
}

impl<T> Names<T> {
    pub(super) fn new(channels_max: u32, hasher: impl BuildHasher + Send + 'static) -> Self {
        let hash = Box::new(move |name: &str| hasher.hash_one(name));
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { hash, tables, channels: Arena::new(), channels_max, name_bytes: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.channels.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<Key> {
        let hash = (self.hash)(name);
        self.tables[table_index(hash)].find(hash, |&key| self.name(key) == name).copied()
    }

    /// Adds a channel that is not there yet.
    pub(super) fn enter(&mut self, name: &str, state: T) -> Result<Key, NameError> {
        debug_assert!(self.find(name).is_none(), "{name} is there already");
        if name.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        if self.channels.len() >= self.channels_max {
            return Err(NameError::Full { channels_max: self.channels_max });
        }
        let hash = (self.hash)(name);
        let key = self.channels.insert(Named { name: name.into(), state });
        self.name_bytes += name.len();
        let (name_hash, channels) = (&self.hash, &self.channels);
        self.tables[table_index(hash)]
            .insert_unique(hash, key, |&key| name_hash(name_of(channels, key)));
        Ok(key)
    }

    /// Removes a channel; its key may be given to another one.
    pub(super) fn forget(&mut self, key: Key) -> T {
        let hash = (self.hash)(self.name(key));
        let table = &mut self.tables[table_index(hash)];
        let entry = table.find_entry(hash, |&entry| entry == key);
        entry.expect("a key in use is in its table").remove();
        let Named { name, state } = self.channels.remove(key);
        self.name_bytes -= name.len();
        if table.len() * 4 <= table.capacity() {
            let (name_hash, channels) = (&self.hash, &self.channels);
            let room = table.len() * 2;
            table.shrink_to(room, |&key| name_hash(name_of(channels, key)));
        }
        state
    }

    /// Places of channels, some of them vacant.
    pub(super) fn places(&self) -> u32 {
        self.channels.places()
    }

    /// The channels in some of the places.
    pub(super) fn in_places(&self, places: Range<u32>) -> impl Iterator<Item = (&str, &T)> {
        self.channels.in_places(places).map(|one| (&*one.name, &one.state))
    }

    pub(super) fn name(&self, key: Key) -> &str {
        name_of(&self.channels, key)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        Some(&self.channels.get(key)?.state)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        Some(&mut self.channels.get_mut(key)?.state)
    }

    /// Bytes of memory behind the names and states, not counting what the states point to.
    pub(super) fn memory_bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(HashTable::allocation_size).sum();
        tables + self.channels.memory_bytes() + self.name_bytes
    }
}

fn name_of<T>(channels: &Arena<Named<T>>, key: Key) -> &str {
    &channels.get(key).expect("keys in tables are in use").name
}

/// Bits that the tables themselves do not use: those take the lowest and the highest seven.
fn table_index(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[5])
}

const _: () = assert!(TABLES == 1 << u8::BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::RandomState;

    #[test]
    fn every_name_is_found_again_and_memory_returns() {
        let mut names = Names::new(100_000, RandomState::new());
        let keys: Vec<Key> =
            (0..100_000).map(|number| names.enter(&number.to_string(), number).unwrap()).collect();
        for (number, key) in keys.iter().enumerate() {
            let name = number.to_string();
            assert_eq!(names.find(&name), Some(*key));
            assert_eq!((names.name(*key), names.get(*key)), (name.as_str(), Some(&number)));
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(names.forget(*key), number);
            assert_eq!(names.find(&number.to_string()), None);
        }
        assert_eq!((names.len(), names.memory_bytes()), (0, 0));
    }

    #[test]
    fn a_name_too_long_and_a_channel_too_many_are_refused() {
        let mut names = Names::new(1, RandomState::new());
        let long = "x".repeat(CHANNEL_NAME_BYTES_MAX + 1);
        assert_eq!(names.enter(&long, ()), Err(NameError::TooLong { bytes: long.len() }));
        assert!(names.enter(&long[1..], ()).is_ok());
        assert_eq!(names.enter("b", ()), Err(NameError::Full { channels_max: 1 }));
    }
}
