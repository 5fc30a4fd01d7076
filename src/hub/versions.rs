//! The versions of what streams hold: a publication that is no newer than the last is not news.
//!
//! A publisher that sends the whole state of something may send it twice, or late. It numbers its
//! states, in an epoch of its own, and the home drops what comes behind something newer.

use std::collections::BTreeMap;

use super::arena::Key;

/// The last version of each stream that has one, which lives as long as the stream.
#[derive(Default)]
pub(super) struct Versions {
    last: BTreeMap<Key, (u64, Box<str>)>,
}

impl Versions {
    /// Notes a version; false if it is not newer than the last one of the same epoch.
    pub(super) fn note(&mut self, stream: Key, number: u64, epoch: &str) -> bool {
        let last = self.last.get(&stream);
        if last.is_some_and(|(last, of)| **of == *epoch && *last >= number) {
            return false;
        }
        self.last.insert(stream, (number, epoch.into()));
        true
    }

    /// The last version of a stream, if it has one.
    pub(super) fn of(&self, stream: Key) -> Option<(u64, Box<str>)> {
        self.last.get(&stream).cloned()
    }

    pub(super) fn forget(&mut self, stream: Key) {
        self.last.remove(&stream);
    }
}
