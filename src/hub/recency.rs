//! Entries in the order in which something was last done with them, linked through themselves.
//!
//! Invariant: every entry in the list is in it once, and each step costs the same however long the
//! list is.

use super::arena::Key;
use super::names::Names;

/// An entry's place in one such list. Its neighbours are the entries done before and after it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    older: Option<Key>,
    newer: Option<Key>,
}

const _: () = assert!(size_of::<Links>() == 8); // two for each stream

pub(super) struct Recency<T> {
    /// Which of an entry's links are those of this list.
    links: fn(&mut T) -> &mut Links,
    oldest: Option<Key>,
    newest: Option<Key>,
}

impl<T> Recency<T> {
    pub(super) fn new(links: fn(&mut T) -> &mut Links) -> Self {
        Self { links, oldest: None, newest: None }
    }

    pub(super) fn oldest(&self) -> Option<Key> {
        self.oldest
    }

    /// Adds an entry that is not in the list, as the newest.
    pub(super) fn push(&mut self, entries: &mut Names<T>, key: Key) {
        *self.at(entries, key) = Links { older: self.newest, newer: None };
        match self.newest {
            Some(newest) => self.at(entries, newest).newer = Some(key),
            None => self.oldest = Some(key),
        }
        self.newest = Some(key);
    }

    /// Takes an entry of the list out of it.
    pub(super) fn remove(&mut self, entries: &mut Names<T>, key: Key) {
        let Links { older, newer } = std::mem::take(self.at(entries, key));
        match older {
            Some(older) => self.at(entries, older).newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.at(entries, newer).older = older,
            None => self.newest = older,
        }
    }

    /// Makes an entry of the list the newest.
    pub(super) fn touch(&mut self, entries: &mut Names<T>, key: Key) {
        if self.newest != Some(key) {
            self.remove(entries, key);
            self.push(entries, key);
        }
    }

    fn at<'a>(&self, entries: &'a mut Names<T>, key: Key) -> &'a mut Links {
        (self.links)(entries.get_mut(key).expect("entries leave the list before they go"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::RandomState;

    proptest! {
        #[test]
        fn it_keeps_the_order_that_a_vector_keeps(
            steps in prop::collection::vec((0..8_usize, 0..3_u8), 0..200),
        ) {
            let mut entries = Names::new(8, RandomState::new());
            let keys: Vec<Key> =
                (0..8).map(|n| entries.enter(&n.to_string(), Links::default()).unwrap()).collect();
            let (mut list, mut model) = (Recency::new(|links: &mut Links| links), Vec::new());
            for (which, step) in steps {
                let key = keys[which];
                let place = model.iter().position(|&one| one == key);
                match (step, place) {
                    (0, None) => list.push(&mut entries, key),
                    (1, Some(_)) => list.touch(&mut entries, key),
                    (2, Some(_)) => list.remove(&mut entries, key),
                    _ => continue,
                }
                model.retain(|&one| one != key);
                model.extend((step != 2).then_some(key));
                prop_assert_eq!(list.oldest(), model.first().copied());
            }
            for expected in model {
                prop_assert_eq!(list.oldest(), Some(expected));
                list.remove(&mut entries, expected);
            }
            prop_assert_eq!((list.oldest, list.newest), (None, None));
        }
    }
}
