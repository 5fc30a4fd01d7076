//! When the memory of connections that have left goes back to the system.
//!
//! An allocator keeps what is freed, for the next connection, and one that gives it back after a
//! while does so while it is called: a shard whose clients have all left calls it no more. So a
//! shard asks for it, on its own thread, some time after many connections have left.
//!
//! A crowd leaves over some time, and its last ones behind the question: who finds itself alone
//! asks once more, for then there is next to nothing to look at.
//!
//! Invariant: below the minimum nothing is asked for while somebody is there, and it is asked for
//! once per delay at most.

use std::time::Instant;

use crate::limits::{GIVE_BACK_DELAY, GIVE_BACK_MIN};

/// Asks the allocator, if somebody has said how.
pub(super) struct GivingBack {
    ask: Option<fn()>,
    /// Slots released when it was last asked.
    released: u64,
    due: Option<Instant>,
}

impl GivingBack {
    pub(super) fn new(ask: Option<fn()>) -> Self {
        Self { ask, released: 0, due: None }
    }

    /// When it is asked next, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Looks once a turn, with all slots that were ever released and whether nobody is there; when
    /// it is time, what is to be called once the shard has freed what it can spare.
    pub(super) fn look(&mut self, released: u64, is_alone: bool, now: Instant) -> Option<fn()> {
        let ask = self.ask?;
        let min = if is_alone { 1 } else { GIVE_BACK_MIN };
        match self.due {
            None if released - self.released >= min => {
                self.due = Some(now + GIVE_BACK_DELAY);
                None
            }
            Some(due) if due <= now => {
                self.due = None;
                // A crowd may have come since it was alone.
                let is_enough = released - self.released >= min;
                self.released = if is_enough { released } else { self.released };
                is_enough.then_some(ask)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    fn ask() {}

    #[test]
    fn many_who_left_are_asked_for_once_after_the_delay() {
        let mut giving = GivingBack::new(Some(ask));
        let start = clock::now();
        let due = start + GIVE_BACK_DELAY;
        assert!(giving.look(GIVE_BACK_MIN - 1, false, start).is_none());
        assert_eq!(giving.next_deadline(), None, "too few");
        assert!(giving.look(GIVE_BACK_MIN, false, start).is_none());
        assert_eq!(giving.next_deadline(), Some(due));
        assert!(giving.look(5 * GIVE_BACK_MIN, false, start + GIVE_BACK_DELAY / 2).is_none());
        assert_eq!(giving.next_deadline(), Some(due), "those who leave later do not put it off");
        assert!(giving.look(6 * GIVE_BACK_MIN, false, due).is_some());
        assert!(giving.look(6 * GIVE_BACK_MIN, false, due + GIVE_BACK_DELAY).is_none());
        assert_eq!(giving.next_deadline(), None);
        assert!(giving.look(7 * GIVE_BACK_MIN, false, due + GIVE_BACK_DELAY).is_none());
        assert!(giving.look(7 * GIVE_BACK_MIN, false, due + GIVE_BACK_DELAY * 2).is_some());
    }

    #[test]
    fn who_is_left_alone_asks_for_the_last_ones_too() {
        let mut giving = GivingBack::new(Some(ask));
        let start = clock::now();
        assert!(giving.look(0, true, start).is_none());
        assert_eq!(giving.next_deadline(), None, "nobody was there");
        assert!(giving.look(1, true, start).is_none());
        assert!(giving.look(1, true, start + GIVE_BACK_DELAY).is_some());
        assert!(giving.look(1, true, start + GIVE_BACK_DELAY * 2).is_none());
        assert_eq!(giving.next_deadline(), None, "once");
    }

    #[test]
    fn who_is_not_alone_any_more_does_not_ask_for_one() {
        let mut giving = GivingBack::new(Some(ask));
        let start = clock::now();
        assert!(giving.look(1, true, start).is_none());
        assert!(giving.look(1, false, start + GIVE_BACK_DELAY).is_none());
        assert_eq!(giving.next_deadline(), None);
        assert!(giving.look(GIVE_BACK_MIN, false, start + GIVE_BACK_DELAY).is_none());
        assert!(giving.look(GIVE_BACK_MIN, false, start + GIVE_BACK_DELAY * 2).is_some());
    }

    #[test]
    fn without_a_way_to_ask_there_is_no_deadline() {
        let mut giving = GivingBack::new(None);
        assert!(giving.look(GIVE_BACK_MIN, false, clock::now()).is_none());
        assert_eq!(giving.next_deadline(), None);
    }
}
