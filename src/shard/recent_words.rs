//! What back ends have lately said of users, for clients that came before it and of whom it was not
//! known then whose they are.
//!
//! ```text
//!   a client asks to be let in ─▶ its token, or a back end ─▶ it is ann's
//!            └──── "put ann out" is said to all of ann's ────┘  and to this one, too
//! ```
//!
//! Invariant: what was said of a user after a client asked is found when the client is known to be
//! that user's, or the client is told to come again: nothing is passed over in silence.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{RECENT_WORDS_BYTES_MAX, RECENT_WORDS_MAX};

/// The words, in their order.
#[derive(Debug, Default)]
pub(super) struct RecentWords {
    words: VecDeque<RecentWord>,
    bytes: usize,
    /// How many there were.
    count: u64,
}

#[derive(Debug)]
struct RecentWord {
    since: Instant,
    user: Box<str>,
    word: Box<[u8]>,
}

/// Not all words that may be meant are there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten;

impl RecentWords {
    /// How many words there were so far: those that a client which asks now has been spared.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// One more was said. Those older than any client that waits are forgotten, and the oldest if
    /// there are too many.
    pub(super) fn note(&mut self, user: &str, word: &[u8], now: Instant, wait_max: Duration) {
        self.count += 1;
        self.bytes += charge(user, word);
        self.words.push_back(RecentWord { since: now, user: user.into(), word: word.into() });
        while let Some(oldest) = self.words.front()
            && (self.words.len() > RECENT_WORDS_MAX
                || self.bytes > RECENT_WORDS_BYTES_MAX
                || now.saturating_duration_since(oldest.since) > wait_max)
        {
            self.bytes -= charge(&oldest.user, &oldest.word);
            self.words.pop_front();
        }
        if self.words.is_empty() {
            self.words.shrink_to(WORDS_KEPT);
        }
    }

    /// What was said of a user since there were so many words.
    pub(super) fn since(&self, count: u64, user: &str) -> Result<Vec<Box<[u8]>>, Forgotten> {
        let forgotten = self.count - self.words.len() as u64;
        let skipped = count.checked_sub(forgotten).ok_or(Forgotten)?;
        let skipped = usize::try_from(skipped).expect("no more than are kept");
        let news = self.words.iter().skip(skipped).filter(|one| *one.user == *user);
        Ok(news.map(|one| one.word.clone()).collect())
    }
}

/// Places for which room is kept.
const WORDS_KEPT: usize = 64;

fn charge(user: &str, word: &[u8]) -> usize {
    size_of::<RecentWord>() + user.len() + word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(10);

    fn words(recent: &RecentWords, count: u64, user: &str) -> Option<Vec<String>> {
        let found = recent.since(count, user).ok()?;
        Some(found.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn what_was_said_of_a_user_since_is_found_in_its_order() {
        let (mut recent, now) = (RecentWords::default(), Instant::now());
        let mut counts = vec![recent.count()];
        for (user, word) in [("ann", "1"), ("bob", "2"), ("ann", "3")] {
            recent.note(user, word.as_bytes(), now, WAIT_MAX);
            counts.push(recent.count());
        }
        for (since, expected) in counts.iter().zip([&["1", "3"][..], &["3"], &["3"], &[]]) {
            assert_eq!(words(&recent, *since, "ann").expect("all are there"), expected);
        }
        assert_eq!(words(&recent, 0, "cho"), Some(vec![]));
    }

    #[test]
    fn what_nobody_can_wait_for_any_more_is_forgotten() {
        let (mut recent, now) = (RecentWords::default(), Instant::now());
        recent.note("ann", b"1", now, WAIT_MAX);
        recent.note("ann", b"2", now + WAIT_MAX, WAIT_MAX);
        assert_eq!(recent.words.len(), 2);
        recent.note("ann", b"3", now + WAIT_MAX * 3 / 2, WAIT_MAX);
        assert_eq!(words(&recent, 0, "ann"), None, "who has waited for so long is told");
        assert_eq!(words(&recent, 1, "ann"), Some(vec!["2".to_owned(), "3".to_owned()]));
    }

    #[test]
    fn words_are_bounded_in_number_and_in_bytes_and_who_misses_one_is_told() {
        for bytes in [1, RECENT_WORDS_BYTES_MAX / 10] {
            let (mut recent, now) = (RecentWords::default(), Instant::now());
            let word = vec![b'x'; bytes];
            let room = RECENT_WORDS_MAX.min(RECENT_WORDS_BYTES_MAX / charge("ann", &word));
            for _ in 0..room {
                recent.note("ann", &word, now, WAIT_MAX);
            }
            assert_eq!(recent.since(0, "ann").map(|all| all.len()), Ok(room));
            recent.note("bob", &word, now, WAIT_MAX);
            assert_eq!(recent.since(0, "ann"), Err(Forgotten));
            assert_eq!(recent.since(1, "ann").map(|all| all.len()), Ok(room - 1));
        }
    }
}
