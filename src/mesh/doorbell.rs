//! What other threads may write of a member: who has sent, who waits for room, and whether the
//! member sleeps. Messages themselves stand in the queues.
//!
//! A source pushes, *marks*, and *rouses*; the owner goes to sleep only after it has said so
//! and looked once more. Between the write and the look of each side stands a `SeqCst` fence, so
//! at least one of the two sees the other.
//!
//! Invariants: nobody sleeps while it is marked and no wake is under way; each `prepare_sleep`
//! is followed by one wake at most (also where it said false: the wake was faster than the
//! second look); who has taken a mark sees all that was pushed before it.
#![forbid(unsafe_code)]

use super::atomics::{AtomicBool, AtomicU64, Ordering, fence};
use super::members::{MemberId, MemberSet, WORDS};

/// One per member, each in cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Doorbell {
    /// Sources whose queue to the owner may hold messages, or who have made room for it.
    marked: [AtomicU64; WORDS],
    /// Sources that were refused and wait until the owner has drained their queue.
    waiting: [AtomicU64; WORDS],
    asleep: AtomicBool,
}

#[cfg(not(longwire_loom))]
const _: () = assert!(size_of::<Doorbell>() == 128); // two lines: they are fetched in pairs

impl Doorbell {
    pub(super) fn new() -> Self {
        Self {
            marked: std::array::from_fn(|_| AtomicU64::new(0)),
            waiting: std::array::from_fn(|_| AtomicU64::new(0)),
            asleep: AtomicBool::new(false),
        }
    }

    /// For a source, after its pushes: the owner has to look at its queue.
    pub(super) fn mark(&self, source: MemberId) {
        let (word, bit) = source.place();
        self.marked[word].fetch_or(bit, Ordering::Release);
    }

    /// For a source, after its mark: true if the owner sleeps and this caller has to wake it.
    #[must_use]
    pub(super) fn rouse(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// For a source that was refused: it wants to be marked when there is room.
    pub(super) fn wait_for_room(&self, source: MemberId) {
        let (word, bit) = source.place();
        self.waiting[word].fetch_or(bit, Ordering::Release);
    }

    /// For the owner: the sources that were marked since the last call.
    pub(super) fn take_marked(&self) -> MemberSet {
        MemberSet(std::array::from_fn(|word| {
            let marked = &self.marked[word];
            if marked.load(Ordering::Relaxed) == 0 {
                return 0; // a swap would take the cache line away from the sources
            }
            marked.swap(0, Ordering::Acquire)
        }))
    }

    /// For the owner, after it has taken messages: who waits for room.
    pub(super) fn waiting(&self) -> MemberSet {
        fence(Ordering::SeqCst);
        MemberSet(std::array::from_fn(|word| self.waiting[word].load(Ordering::Acquire)))
    }

    /// For the owner, before it marks a source that waited.
    pub(super) fn end_waiting(&self, source: MemberId) {
        let (word, bit) = source.place();
        self.waiting[word].fetch_and(!bit, Ordering::Relaxed);
    }

    /// For the owner: false if something came meanwhile, and then it is awake.
    #[must_use]
    pub(super) fn prepare_sleep(&self) -> bool {
        // A swap as all writes of the flag, so that they have one order for everyone.
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let marked = self.marked.iter().any(|word| word.load(Ordering::Relaxed) != 0);
        if marked {
            self.woke();
        }
        !marked
    }

    /// For the owner: it runs again, whoever woke it.
    pub(super) fn woke(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}

/// Every order of every access, by loom. Run it with its own target directory:
/// `RUSTFLAGS="--cfg longwire_loom" CARGO_TARGET_DIR=target/loom cargo test --lib mesh::`
///
/// A thread that waits for a wake and gets none is a deadlock to loom, and fails the test.
/// Every order would take hours, so threads are interrupted four times in a run; more by
/// `LOOM_MAX_PREEMPTIONS=6`, for example.
#[cfg(test)]
#[cfg(longwire_loom)]
mod loom_tests {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// Enough for a lost wake without the fences, the second look, or the order of the flag.
    const PREEMPTIONS: usize = 4;
    const OWNER: MemberId = MemberId::new(0);

    fn in_every_order(run: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(PREEMPTIONS));
        model.check(run);
    }

    /// An SPSC queue that holds nothing but its length. Its counters order nothing: what is
    /// seen of them is seen through the doorbell.
    struct Queue {
        pushed: AtomicUsize,
        popped: AtomicUsize,
    }

    impl Queue {
        fn new() -> Self {
            Self { pushed: AtomicUsize::new(0), popped: AtomicUsize::new(0) }
        }

        fn push(&self) {
            self.pushed.fetch_add(1, Ordering::Relaxed);
        }

        fn pop_all(&self) -> usize {
            let pushed = self.pushed.load(Ordering::Relaxed);
            pushed - self.popped.swap(pushed, Ordering::Relaxed)
        }

        fn is_empty(&self) -> bool {
            self.pushed.load(Ordering::Relaxed) == self.popped.load(Ordering::Relaxed)
        }
    }

    /// A doorbell with the means to wait for a wake, and the count of wakes.
    struct Sleeper {
        bell: Doorbell,
        wakes: Mutex<usize>,
        wake: Condvar,
    }

    impl Sleeper {
        fn new() -> Self {
            Self { bell: Doorbell::new(), wakes: Mutex::new(0), wake: Condvar::new() }
        }

        fn mark_and_rouse(&self, source: MemberId) {
            self.bell.mark(source);
            if self.bell.rouse() {
                *self.wakes.lock().unwrap() += 1;
                self.wake.notify_one();
            }
        }

        /// Waits until there was a wake that no wait before has seen.
        fn wait(&self, wakes_seen: &mut usize) {
            let mut wakes = self.wakes.lock().unwrap();
            while *wakes == *wakes_seen {
                wakes = self.wake.wait(wakes).unwrap();
            }
            *wakes_seen = *wakes;
        }
    }

    /// The owner of `sleeper` receives until `expected` messages were seen.
    fn receive_all(sleeper: &Sleeper, queues: &[Queue], expected: usize) {
        let (mut seen, mut rests, mut wakes_seen) = (0, 0, 0);
        loop {
            let marked = sleeper.bell.take_marked();
            seen += marked.iter().map(|source| queues[source.as_usize()].pop_all()).sum::<usize>();
            if seen == expected {
                break;
            }
            rests += 1;
            if sleeper.bell.prepare_sleep() {
                sleeper.wait(&mut wakes_seen);
                sleeper.bell.woke();
            }
        }
        assert!(*sleeper.wakes.lock().unwrap() <= rests, "one wake per prepared sleep at most");
    }

    #[test]
    fn a_source_of_two_turns_never_leaves_the_owner_asleep() {
        in_every_order(|| {
            let shared = Arc::new((Sleeper::new(), [Queue::new()]));
            let source = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (owner, [queue]) = &*shared;
                    for _turn in 0..2 {
                        queue.push();
                        owner.mark_and_rouse(MemberId::new(0));
                    }
                }
            });
            receive_all(&shared.0, &shared.1, 2);
            source.join().unwrap();
        });
    }

    #[test]
    fn two_sources_never_leave_the_owner_asleep() {
        in_every_order(|| {
            let shared = Arc::new((Sleeper::new(), [Queue::new(), Queue::new()]));
            let sources = [0, 1].map(|number| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (owner, queues) = &*shared;
                    queues[number].push();
                    owner.mark_and_rouse(MemberId::new(number));
                })
            });
            receive_all(&shared.0, &shared.1, 2);
            sources.into_iter().for_each(|source| source.join().unwrap());
        });
    }

    /// A queue of one slot that is full: its source sleeps, or sees that the owner has popped.
    #[test]
    fn a_refused_source_is_woken_when_there_is_room() {
        in_every_order(|| {
            let queue = Queue::new();
            queue.push();
            let shared = Arc::new((Sleeper::new(), Sleeper::new(), queue));
            let source = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (source, owner, queue) = &*shared;
                    let mut wakes_seen = 0;
                    while !queue.is_empty() {
                        owner.bell.wait_for_room(MemberId::new(1));
                        if source.bell.prepare_sleep() {
                            if !queue.is_empty() {
                                source.wait(&mut wakes_seen);
                            }
                            source.bell.woke();
                        }
                        source.bell.take_marked();
                    }
                }
            });
            let (source_sleeper, owner, queue) = &*shared;
            assert_eq!(queue.pop_all(), 1);
            for waiting in owner.bell.waiting().iter() {
                owner.bell.end_waiting(waiting);
                source_sleeper.mark_and_rouse(OWNER);
            }
            source.join().unwrap();
        });
    }
}
