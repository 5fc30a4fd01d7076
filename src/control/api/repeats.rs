//! Publications that are asked for twice under one key, and made once.
//!
//! ```text
//!   key ─ unknown ─▶ publish ─▶ its answer is kept ─▶ forgotten after a while, or for room
//!      └─ known, also where it is still under way ─▶ the same answer
//! ```
//!
//! Invariants: of those who ask under one key, one publishes, and all are told what it was told; a
//! publication that failed, or whose asker has gone, is not known, so the next try is the first
//! again; the bytes of all keys are bounded, and what is forgotten for room is counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::failure::ApiError;
use super::publish::{Published, busy};
use crate::control::traffic::Traffic;
use crate::limits::{IDEMPOTENCY_BYTES_MAX, IDEMPOTENCY_ENTRY_BYTES, IDEMPOTENCY_PERIOD};

/// A channel, and a key in it.
type Key = Arc<(String, String)>;

/// What was answered, once it was.
type Answer = Option<Published>;

/// The keys of the last minutes.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Repeats(Arc<Mutex<Keys>>);

#[derive(Debug, Default)]
struct Keys {
    answers: HashMap<Key, watch::Receiver<Answer>>,
    /// When each is forgotten, in their order.
    ends: VecDeque<(Instant, Key)>,
    bytes: usize,
}

/// A key, and what was answered, for another process or from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The channel.
    pub channel: String,
    /// The key.
    pub key: String,
    /// Where the publication is kept.
    pub offset: u64,
    /// And the life that this counts in.
    pub epoch: String,
    /// Until it is forgotten.
    pub left: Duration,
}

/// How a publication under a key goes on.
enum Begun {
    /// It is made, and the answer told here.
    First(watch::Sender<Answer>),
    /// Somebody else has made it, or does.
    Again(watch::Receiver<Answer>),
}

impl Repeats {
    /// Publishes, unless it was done under this key.
    pub(super) async fn once(
        &self,
        (channel, key): (&str, &str),
        traffic: &Traffic,
        publishing: impl Future<Output = Result<Published, ApiError>>,
    ) -> Result<Published, ApiError> {
        let begun = {
            let mut keys = self.0.try_lock().expect("one thread, and no wait while it is locked");
            keys.begin((channel, key), Instant::now(), traffic)
        };
        match begun {
            Begun::First(answer) => {
                let published = publishing.await?;
                answer.send_replace(Some(published.clone()));
                Ok(published)
            }
            Begun::Again(mut answer) => {
                traffic.repeated();
                let known = answer.wait_for(Option::is_some).await.map_err(|_| busy())?;
                Ok(known.clone().expect("waited for"))
            }
        }
    }
}

/// Of two processes, the one before and the one after: keys go from it, and come to it.
impl Repeats {
    /// The keys of publications that were made, the first to be forgotten first. Those of others
    /// that are under way are not among them.
    pub(in crate::control) fn known(&self) -> Vec<KnownKey> {
        let keys = self.0.try_lock().expect("one thread, and no wait while it is locked");
        let now = Instant::now();
        let known = keys.ends.iter().filter_map(|(end, key)| {
            let answer = keys.answers.get(key)?.borrow();
            let Published { offset, epoch } = answer.as_ref()?.clone();
            let (channel, key) = (key.0.clone(), key.1.clone());
            Some(KnownKey { channel, key, offset, epoch, left: end.saturating_duration_since(now) })
        });
        known.filter(|one| !one.left.is_zero()).collect()
    }

    /// Knows keys of the process before this one, for as long as they have left.
    pub(in crate::control) fn inherit(&self, keys: Vec<KnownKey>, traffic: &Traffic) {
        let mut here = self.0.try_lock().expect("one thread, and no wait while it is locked");
        let now = Instant::now();
        for KnownKey { channel, key, offset, epoch, left } in keys {
            let left = left.min(IDEMPOTENCY_PERIOD);
            let begun = here.begin_until((&channel, &key), now, now + left, traffic);
            if let Begun::First(answer) = begun {
                answer.send_replace(Some(Published { offset, epoch }));
            }
        }
    }
}

impl Keys {
    fn begin(&mut self, key: (&str, &str), now: Instant, traffic: &Traffic) -> Begun {
        self.begin_until(key, now, now + IDEMPOTENCY_PERIOD, traffic)
    }

    /// The same for a key that is forgotten then, after all that are known.
    fn begin_until(
        &mut self,
        (channel, key): (&str, &str),
        now: Instant,
        end: Instant,
        traffic: &Traffic,
    ) -> Begun {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
        let key = Arc::new((channel.to_owned(), key.to_owned()));
        let (sender, receiver) = watch::channel(None);
        if let Some(known) = self.answers.get_mut(&key) {
            let failed = known.has_changed().is_err() && known.borrow().is_none();
            if !failed {
                return Begun::Again(known.clone());
            }
            *known = receiver;
            return Begun::First(sender);
        }
        self.bytes += charge(&key);
        self.ends.push_back((end, Arc::clone(&key)));
        self.answers.insert(key, receiver);
        while self.bytes > IDEMPOTENCY_BYTES_MAX {
            self.forget_oldest();
            traffic.key_forgotten();
        }
        Begun::First(sender)
    }

    fn forget_oldest(&mut self) {
        let (_, key) = self.ends.pop_front().expect("what is charged for is there");
        self.bytes -= charge(&key);
        self.answers.remove(&key);
    }
}

fn charge(key: &Key) -> usize {
    key.0.len() + key.1.len() + IDEMPOTENCY_ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Published {
        Published { offset, epoch: "e".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_known_for_its_time_in_its_channel() {
        let (repeats, traffic) = (Repeats::default(), Traffic::new());
        let publish = async |channel: &str, key: &str, offset: u64| {
            let publishing = async { Ok(place(offset)) };
            repeats.once((channel, key), &traffic, publishing).await.unwrap().offset
        };
        assert_eq!(publish("a", "k", 1).await, 1);
        assert_eq!(publish("a", "k", 2).await, 1);
        assert_eq!((publish("b", "k", 3).await, publish("a", "l", 4).await), (3, 4));
        tokio::time::advance(IDEMPOTENCY_PERIOD).await;
        assert_eq!(publish("a", "k", 5).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_go_on_in_the_next_process_with_the_time_that_they_have_left() {
        let (before, after, traffic) = (Repeats::default(), Repeats::default(), Traffic::new());
        let publish = async |repeats: &Repeats, key: &str, offset: u64| {
            let publishing = async { Ok(place(offset)) };
            repeats.once(("a", key), &traffic, publishing).await.unwrap().offset
        };
        assert_eq!(publish(&before, "k", 1).await, 1);
        tokio::time::advance(IDEMPOTENCY_PERIOD / 2).await;
        assert_eq!(publish(&before, "l", 2).await, 2);
        let failed = before.once(("a", "m"), &traffic, async { Err(busy()) }).await;
        assert_eq!(failed, Err(busy()));
        after.inherit(before.known(), &traffic);
        assert_eq!(after.known(), before.known(), "nothing is lost on the way");
        let again = [("k", 3), ("l", 4), ("m", 5)];
        for ((key, offset), known) in again.into_iter().zip([1, 2, 5]) {
            assert_eq!(publish(&after, key, offset).await, known);
        }
        tokio::time::advance(IDEMPOTENCY_PERIOD / 2).await;
        assert_eq!(publish(&after, "k", 6).await, 6, "its time was over");
        assert_eq!(publish(&after, "l", 7).await, 2);
    }

    #[tokio::test]
    async fn who_asks_meanwhile_is_told_the_same_and_who_asks_after_a_failure_is_the_first() {
        let (repeats, traffic) = (Repeats::default(), Traffic::new());
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let first = repeats.once(("a", "k"), &traffic, async {
            gate.await.unwrap();
            Ok(place(1))
        });
        let second = repeats.once(("a", "k"), &traffic, async { panic!("it is made once") });
        let third = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            go.send(()).unwrap();
        };
        let (first, second, ()) = tokio::join!(first, second, third);
        assert_eq!((first, second), (Ok(place(1)), Ok(place(1))));
        let failed = repeats.once(("a", "l"), &traffic, async { Err(busy()) }).await;
        assert_eq!(failed, Err(busy()));
        let again = repeats.once(("a", "l"), &traffic, async { Ok(place(2)) }).await;
        assert_eq!(again, Ok(place(2)));
    }

    #[test]
    fn keys_have_a_budget_and_the_oldest_goes() {
        let (mut keys, traffic) = (Keys::default(), Traffic::new());
        let (now, long) = (Instant::now(), "k".repeat(100_000));
        let count = IDEMPOTENCY_BYTES_MAX / long.len();
        let mut begin = |number: usize| {
            let channel = number.to_string();
            let begun = keys.begin((&channel, &long), now, &traffic);
            assert!(keys.bytes <= IDEMPOTENCY_BYTES_MAX);
            matches!(begun, Begun::First(_))
        };
        assert!((0..=count).all(&mut begin), "each is new");
        assert!(begin(0), "the oldest was forgotten");
    }
}
