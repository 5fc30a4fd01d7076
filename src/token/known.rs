//! Tokens whose signatures were found to be right, so that those who come back with them in a storm
//! do not have them checked again.
//!
//! Two halves: what is new goes into one, and when it is full the other, which holds the oldest, is
//! emptied and takes over. Who is asked for again is as good as new. What is known of is the
//! signature alone: claims are read each time, for a token may have expired since.

use std::collections::HashSet;

use super::jwt::Fingerprint;
use crate::limits::TOKENS_KNOWN_MAX;

/// Tokens that one set of keys has signed.
#[derive(Debug, Default)]
pub struct Known {
    new: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
    /// Which set of keys.
    generation: u64,
}

impl Known {
    /// Whether this set of keys is known to have signed it. What others have counts for nothing.
    pub fn holds(&mut self, token: Fingerprint, generation: u64) -> bool {
        if generation > self.generation {
            (self.new, self.old) = (HashSet::new(), HashSet::new());
            self.generation = generation;
        }
        if generation < self.generation {
            return false;
        }
        let is_old = self.old.remove(&token);
        if is_old {
            self.add(token, generation);
        }
        is_old || self.new.contains(&token)
    }

    /// Notes that this set of keys has signed it.
    pub fn add(&mut self, token: Fingerprint, generation: u64) {
        if generation != self.generation {
            return;
        }
        if self.new.len() >= TOKENS_KNOWN_MAX / 2 {
            std::mem::swap(&mut self.new, &mut self.old);
            self.new.clear();
        }
        self.new.insert(token);
    }

    /// Tokens that are known.
    pub fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn the_latest_are_known_and_there_are_never_more_than_may_be() {
        let mut known = Known::default();
        let count = 3 * TOKENS_KNOWN_MAX;
        for number in 0..count {
            known.add(token(number), 0);
            assert!(known.len() <= TOKENS_KNOWN_MAX);
        }
        assert!((count - TOKENS_KNOWN_MAX / 2..count).all(|number| known.holds(token(number), 0)));
        assert!(!known.holds(token(0), 0));
    }

    #[test]
    fn who_is_asked_for_stays() {
        let mut known = Known::default();
        known.add(token(0), 0);
        for number in 1..2 * TOKENS_KNOWN_MAX {
            known.add(token(number), 0);
            if number.is_multiple_of(1000) {
                assert!(known.holds(token(0), 0), "after {number}");
            }
        }
    }

    #[test]
    fn other_keys_have_signed_nothing() {
        let mut known = Known::default();
        known.add(token(1), 0);
        assert!(known.holds(token(1), 0) && !known.holds(token(1), 1));
        known.add(token(2), 0);
        assert!(!known.holds(token(2), 0) && known.is_empty(), "by keys that are there no more");
    }
}
