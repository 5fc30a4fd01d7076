//! A fixed set of small numbers that finds its next member by whole words.
//!
//! The slab asks it for the lowest chunk with room, the wheel for the next slot with nodes; both
//! have a few thousand places at most, so one level of words is enough.
#![forbid(unsafe_code)]

/// One bit per place; the number of places is fixed when it is made.
#[derive(Debug)]
pub(super) struct Bitmap {
    words: Box<[u64]>,
}

impl Bitmap {
    /// An empty set of numbers below `places`.
    pub(super) fn new(places: usize) -> Self {
        Self { words: vec![0; places.div_ceil(64)].into_boxed_slice() }
    }

    pub(super) fn insert(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.words[place / 64] &= !(1 << (place % 64));
    }

    /// The lowest member that is not below `place`.
    pub(super) fn first_from(&self, place: usize) -> Option<usize> {
        let word = place / 64;
        let first = self.words.get(word)? & (!0 << (place % 64));
        if first != 0 {
            return Some(word * 64 + first.trailing_zeros() as usize);
        }
        let rest = &self.words[word + 1..];
        let skipped = rest.iter().position(|&bits| bits != 0)?;
        Some((word + 1 + skipped) * 64 + rest[skipped].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_next_member_is_found_from_every_place() {
        let members = BTreeSet::from([0, 1, 63, 64, 130, 191, 300]);
        let mut bitmap = Bitmap::new(301);
        for place in 0..301 {
            bitmap.insert(place);
        }
        for place in (0..301).filter(|place| !members.contains(place)) {
            bitmap.remove(place);
        }
        for place in 0..400 {
            let expected = members.range(place..).next().copied();
            assert_eq!(bitmap.first_from(place), expected, "from {place}");
        }
    }
}
