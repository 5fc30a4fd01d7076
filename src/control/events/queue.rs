//! The events that wait, in their order, and what became of the others. No clock, no I/O.

use std::collections::VecDeque;
use std::time::Instant;

use crate::backend::Departure;
use crate::limits::{
    EVENTS_AGE_MAX, EVENTS_BATCH_BYTES_MAX, EVENTS_BATCH_MAX, EVENTS_BYTES_MAX,
    EVENTS_OF_CHANNELS_BYTES_MAX, EVENTS_OF_CHANNELS_MAX, EVENTS_WAITING_MAX,
    REPORT_OVERHEAD_BYTES,
};

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounts {
    /// Those that the back end has taken.
    pub delivered: u64,
    /// Those that it will not be told of.
    pub lost: u64,
    /// Posts that failed, or could not be made, and are tried again.
    pub retries: u64,
    /// Those that wait.
    pub waiting: u64,
}

/// The events that wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// Of all.
    taken: Room,
    /// Of those that tell of channels only.
    taken_by_channels: Room,
    /// What the ids of this process begin with.
    seed: u64,
    /// How many have come.
    count: u64,
    counts: EventCounts,
}

/// What events take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    count: usize,
    bytes: usize,
}

impl Room {
    /// What all events may take.
    const ALL: Self = Self { count: EVENTS_WAITING_MAX, bytes: EVENTS_BYTES_MAX };
    /// What those that tell of channels only may take of it.
    const CHANNELS: Self =
        Self { count: EVENTS_OF_CHANNELS_MAX, bytes: EVENTS_OF_CHANNELS_BYTES_MAX };

    fn with(self, event: &[u8]) -> Self {
        Self { count: self.count + 1, bytes: self.bytes + charge(event) }
    }

    fn without(self, event: &[u8]) -> Self {
        Self { count: self.count - 1, bytes: self.bytes - charge(event) }
    }

    fn is_within(self, room: Self) -> bool {
        self.count <= room.count && self.bytes <= room.bytes
    }
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    since: Instant,
    event: Box<[u8]>,
}

/// Some events, from the first that waits on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: Vec<u8>,
    pub(super) count: usize,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Self {
        let counts = EventCounts::default();
        let taken = Room::default();
        Self { waiting: VecDeque::new(), taken, taken_by_channels: taken, seed, count: 0, counts }
    }

    /// One more has come: it waits, or is lost where there is no room, or where it is no event.
    /// Those before it keep theirs, for they may be under way; and those that tell of channels
    /// leave some to those that tell of clients.
    pub(super) fn push(&mut self, event: Box<[u8]>, now: Instant) {
        let number = self.count;
        self.count += 1;
        // Events are objects; any handler may report anything.
        let is_event = event.len() > 2 && event.starts_with(b"{") && event.ends_with(b"}");
        let taken = self.taken.with(&event);
        let by_channels = if Departure::is_of_channel(&event) {
            self.taken_by_channels.with(&event)
        } else {
            self.taken_by_channels
        };
        if !is_event || !taken.is_within(Room::ALL) || !by_channels.is_within(Room::CHANNELS) {
            self.counts.lost += 1;
            return;
        }
        (self.taken, self.taken_by_channels) = (taken, by_channels);
        self.waiting.push_back(Waiting { number, since: now, event });
    }

    /// The next to be posted; `None` if nothing waits. They wait on until they are taken.
    pub(super) fn batch(&self) -> Option<Batch> {
        let mut bytes = 0;
        let fits = |one: &&Waiting| {
            bytes += charge(&one.event);
            bytes <= EVENTS_BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(EVENTS_BATCH_MAX).take_while(fits).count();
        // One that is longer than a batch goes alone.
        let count = count.max(1).min(self.waiting.len());
        let id = |number: u64| format!("{:016x}-{number}", self.seed);
        let events = self.waiting.iter().take(count).map(|one| (id(one.number), &*one.event));
        (count > 0).then(|| Batch { body: Departure::batch(events), count })
    }

    /// The back end has taken so many.
    pub(super) fn deliver(&mut self, count: usize) {
        self.forget(count);
        self.counts.delivered += count as u64;
    }

    /// It has not taken the last batch.
    pub(super) fn note_failure(&mut self) {
        self.counts.retries += 1;
    }

    /// Gives those up that have waited for too long; returns how many. None may be under way.
    pub(super) fn give_up_old(&mut self, now: Instant) -> usize {
        let is_old = |one: &&Waiting| now.saturating_duration_since(one.since) >= EVENTS_AGE_MAX;
        let count = self.waiting.iter().take_while(is_old).count();
        self.give_up(count);
        count
    }

    /// Gives all up; returns how many.
    pub(super) fn give_up_all(&mut self) -> usize {
        let count = self.waiting.len();
        self.give_up(count);
        count
    }

    pub(super) fn counts(&self) -> EventCounts {
        EventCounts { waiting: self.waiting.len() as u64, ..self.counts }
    }

    fn give_up(&mut self, count: usize) {
        self.forget(count);
        self.counts.lost += count as u64;
    }

    fn forget(&mut self, count: usize) {
        for Waiting { event, .. } in self.waiting.drain(..count) {
            self.taken = self.taken.without(&event);
            if Departure::is_of_channel(&event) {
                self.taken_by_channels = self.taken_by_channels.without(&event);
            }
        }
        if self.waiting.is_empty() {
            // What a storm has needed is not kept.
            self.waiting.shrink_to(EVENTS_BATCH_MAX);
        }
    }
}

fn charge(event: &[u8]) -> usize {
    event.len() + REPORT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn event(number: usize) -> Box<[u8]> {
        format!("{{\"n\":{number}}}").into_bytes().into()
    }

    /// Ids and numbers in a batch.
    fn read(batch: &Batch) -> Vec<(String, u64)> {
        let body: Value = serde_json::from_slice(&batch.body).expect("JSON");
        let events = body["events"].as_array().expect("a list").iter();
        let read = events.map(|event| {
            let id = event["id"].as_str().expect("a text").to_owned();
            (id, event["n"].as_u64().expect("a number"))
        });
        let all: Vec<_> = read.collect();
        assert_eq!(all.len(), batch.count);
        all
    }

    #[test]
    fn what_is_no_event_is_lost_and_not_posted() {
        let now = Instant::now();
        let mut queue = Queue::new(7);
        for report in [&b""[..], b"{}", b"x", b"{", b"[1,2,3]"] {
            queue.push(report.into(), now);
        }
        assert_eq!((queue.counts().lost, queue.counts().waiting), (5, 0));
        assert!(queue.batch().is_none());
    }

    #[test]
    fn what_is_not_taken_is_posted_again_under_the_same_ids() {
        let now = Instant::now();
        let mut queue = Queue::new(7);
        assert_eq!(queue.batch(), None);
        (0..3).for_each(|number| queue.push(event(number), now));
        let first = queue.batch().expect("some wait");
        queue.note_failure();
        queue.push(event(3), now);
        let second = read(&queue.batch().expect("some wait"));
        assert_eq!(second[..3], read(&first));
        assert_eq!(second[3], ("0000000000000007-3".to_owned(), 3));
        queue.deliver(first.count);
        assert_eq!(read(&queue.batch().expect("one waits")), second[3..]);
        let counts = EventCounts { delivered: 3, lost: 0, retries: 1, waiting: 1 };
        assert_eq!(queue.counts(), counts);
    }

    #[test]
    fn batches_and_what_waits_are_bounded_in_number_and_in_bytes() {
        let now = Instant::now();
        for bytes in [10, EVENTS_BYTES_MAX / 100, EVENTS_BATCH_BYTES_MAX / 3] {
            let mut queue = Queue::new(0);
            let long: Box<[u8]> =
                format!("{{\"n\":\"{}\"}}", "x".repeat(bytes)).into_bytes().into();
            let room = EVENTS_WAITING_MAX.min(EVENTS_BYTES_MAX / charge(&long));
            (0..room + 7).for_each(|_| queue.push(long.clone(), now));
            let EventCounts { lost, waiting, .. } = queue.counts();
            assert_eq!((waiting, lost), (room as u64, 7), "{bytes} bytes each");
            let expected = EVENTS_BATCH_MAX.min(EVENTS_BATCH_BYTES_MAX / charge(&long)).max(1);
            assert_eq!(queue.batch().map(|batch| batch.count), Some(expected));
            assert_eq!(queue.give_up_all(), room);
            assert_eq!((queue.taken, queue.batch()), (Room::default(), None));
        }
    }

    /// Once one client that came and went in channels pushed out that others were gone.
    #[test]
    fn events_of_channels_leave_room_for_those_of_clients() {
        let now = Instant::now();
        for bytes in [0, EVENTS_BATCH_BYTES_MAX] {
            let mut queue = Queue::new(0);
            let of = |kind: &str| -> Box<[u8]> {
                let text = format!(r#"{{"type":"{kind}","reason":"{}"}}"#, "x".repeat(bytes));
                text.into_bytes().into()
            };
            let (channel, client) = (of("unsubscribe"), of("disconnect"));
            let room = EVENTS_OF_CHANNELS_MAX.min(EVENTS_OF_CHANNELS_BYTES_MAX / charge(&channel));
            (0..room + 9).for_each(|_| queue.push(channel.clone(), now));
            assert_eq!((queue.counts().waiting, queue.counts().lost), (room as u64, 9));
            queue.push(client.clone(), now);
            assert_eq!((queue.counts().waiting, queue.counts().lost), (room as u64 + 1, 9));
            let taken = queue.batch().expect("some wait").count;
            queue.deliver(taken);
            (0..=taken).for_each(|_| queue.push(channel.clone(), now));
            assert_eq!(queue.counts().lost, 10, "what is delivered gives its room back");
            let left = queue.give_up_all();
            assert_eq!(left, room + 1);
            assert_eq!((queue.taken, queue.taken_by_channels), (Room::default(), Room::default()));
        }
    }

    #[test]
    fn what_nobody_takes_for_long_is_given_up() {
        let began = Instant::now();
        let mut queue = Queue::new(0);
        queue.push(event(0), began);
        queue.push(event(1), began + Duration::from_secs(1));
        assert_eq!(queue.give_up_old(began + EVENTS_AGE_MAX.mul_f64(0.9)), 0);
        assert_eq!(queue.give_up_old(began + EVENTS_AGE_MAX), 1);
        assert_eq!(read(&queue.batch().expect("one waits"))[0].1, 1);
        assert_eq!(queue.counts().lost, 1);
    }

    proptest! {
        /// Whatever comes and goes, every event is delivered once, lost or waiting, in its order.
        #[test]
        fn every_event_is_accounted_for(steps in proptest::collection::vec(0..4_u8, 0..300)) {
            let (mut queue, now) = (Queue::new(1), Instant::now());
            let (mut pushed, mut delivered) = (0, Vec::new());
            for step in steps {
                match (step, queue.batch()) {
                    (0 | 1, _) => {
                        queue.push(event(pushed), now);
                        pushed += 1;
                    }
                    (2, Some(batch)) => {
                        delivered.extend(read(&batch).into_iter().map(|(_, number)| number));
                        queue.deliver(batch.count);
                    }
                    (_, batch) => batch.iter().for_each(|_| queue.note_failure()),
                }
            }
            let EventCounts { lost, waiting, .. } = queue.counts();
            prop_assert_eq!(delivered.len() as u64 + lost + waiting, pushed as u64);
            prop_assert!(delivered.iter().copied().eq(0..delivered.len() as u64));
        }
    }
}
