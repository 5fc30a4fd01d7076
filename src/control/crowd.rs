//! The connections of one port together: how many they are, and who of them idles.
//!
//! ```text
//!   seats taken   0 ────────────── 3/4 ─────────────────── 15/16 ──────── all
//!                   kept for more    every answer is the     those who idle longest
//!                   requests         last of its connection  are ended for newcomers
//! ```
//!
//! Clients that keep their connections and say nothing would hold every seat, and back ends would
//! be told 503. Invariant: nobody is ended for another but between two requests, or behind the
//! answer to the last.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::Id;

use crate::limits::{HTTP_FREED_SHARE, HTTP_NEWCOMERS_SHARE, HTTP_PRESSED_SHARE};

/// All guests of a port, by the tasks that serve them.
#[derive(Debug)]
pub(super) struct Crowd {
    room: Arc<Room>,
    /// Those who were not told to leave.
    guests: HashMap<Id, Guest>,
}

/// What the guests of a port have in common. One thread serves them all, so its numbers are
/// atomic for the compiler's sake only.
#[derive(Debug)]
struct Room {
    seats: usize,
    taken: AtomicUsize,
    /// Guests whose answer is a stream. They have places of their own, and none of the seats.
    streams: AtomicUsize,
    /// Times that a guest began to idle.
    idled: AtomicU64,
}

/// One connection, as it is known to the task that serves it and to those who count it.
#[derive(Clone, Debug)]
pub(super) struct Guest(Arc<Presence>);

#[derive(Debug)]
struct Presence {
    room: Arc<Room>,
    /// Its number among those who began to idle; 0 while it is served.
    idle_since: AtomicU64,
    told_to_leave: Notify,
    /// Its answer is a stream.
    is_stream: AtomicBool,
    became_stream: Notify,
}

/// A guest whose answer is a stream, until it ends.
#[derive(Debug)]
pub(super) struct Streaming(Guest);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.0.is_stream.store(false, Ordering::Relaxed);
        self.0.0.room.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crowd {
    /// Of a port that may have so many connections at a time.
    pub(super) fn new(seats: usize) -> Self {
        let room = Room {
            seats,
            taken: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            idled: AtomicU64::new(0),
        };
        Self { room: Arc::new(room), guests: HashMap::new() }
    }

    /// Somebody who will take a seat.
    pub(super) fn guest(&self) -> Guest {
        let room = Arc::clone(&self.room);
        Guest(Arc::new(Presence {
            room,
            idle_since: AtomicU64::new(0),
            told_to_leave: Notify::new(),
            is_stream: AtomicBool::new(false),
            became_stream: Notify::new(),
        }))
    }

    /// `task` serves this guest from now on. If hardly a seat is left, others leave for the next.
    pub(super) fn enter(&mut self, task: Id, guest: Guest) {
        self.guests.insert(task, guest);
        let free_count = self.room.share(HTTP_NEWCOMERS_SHARE);
        let surplus = self.seated_count().saturating_sub(self.room.seats - free_count);
        if surplus > 0 {
            self.clear_out(surplus.max(self.room.share(HTTP_FREED_SHARE)));
        }
        self.note_count();
    }

    /// The task has ended.
    pub(super) fn leave(&mut self, task: Id) {
        self.guests.remove(&task);
        self.note_count();
    }

    /// Tells those who idle longest to leave, `count` at most.
    fn clear_out(&mut self, count: usize) {
        let idle =
            self.guests.iter().filter_map(|(task, guest)| Some((guest.idle_since()?, *task)));
        let mut idle: Vec<_> = idle.collect();
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
            idle.truncate(count);
        }
        for (_, task) in idle {
            let guest = self.guests.remove(&task).expect("found there");
            guest.0.told_to_leave.notify_one();
        }
    }

    fn note_count(&self) {
        self.room.taken.store(self.seated_count(), Ordering::Relaxed);
    }

    /// Those who have a seat.
    fn seated_count(&self) -> usize {
        self.guests.len().saturating_sub(self.room.streams.load(Ordering::Relaxed))
    }
}

impl Room {
    /// One seat of so many.
    fn share(&self, of: usize) -> usize {
        (self.seats / of).max(1)
    }
}

impl Guest {
    /// It waits for the client's next request.
    pub(super) fn idle(&self) {
        let number = self.0.room.idled.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.idle_since.store(number, Ordering::Relaxed);
    }

    /// A request of its client came.
    pub(super) fn work(&self) {
        self.0.idle_since.store(0, Ordering::Relaxed);
    }

    /// Whether it may not stay for another request.
    pub(super) fn is_pressed(&self) -> bool {
        let room = &self.0.room;
        room.taken.load(Ordering::Relaxed) >= room.seats - room.seats / HTTP_PRESSED_SHARE
    }

    /// Returns when its seat is needed for another.
    pub(super) async fn told_to_leave(&self) {
        self.0.told_to_leave.notified().await;
    }

    /// Its answer is a stream from now on: it gives its seat back.
    pub(super) fn stream(&self) -> Streaming {
        self.0.is_stream.store(true, Ordering::Relaxed);
        self.0.room.streams.fetch_add(1, Ordering::Relaxed);
        self.0.became_stream.notify_one();
        Streaming(self.clone())
    }

    /// Whether its answer is a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.0.is_stream.load(Ordering::Relaxed)
    }

    /// Returns when its answer has become a stream.
    pub(super) async fn became_stream(&self) {
        self.0.became_stream.notified().await;
    }

    fn idle_since(&self) -> Option<u64> {
        let number = self.0.idle_since.load(Ordering::Relaxed);
        (number > 0).then_some(number)
    }
}
