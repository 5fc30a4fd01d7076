//! Who came to the channels of a home and left them, for the others there to be told.
//!
//! ```text
//!   come, go ─▶ one batch for each channel ─next, once a tick─▶ one publication of many events
//! ```
//!
//! A crowd that loses its connections at once leaves one by one. Were each told to all who are
//! left, ten thousand would take fifty million messages; so what happens in a channel within one
//! tick is told together, and no more than a bound of it at all.
//!
//! Invariant: who is told to have come within a tick, and has left within it, is told to have left.

use super::arena::Key;
use super::bounds::JoinBounds;
use super::names::Names;
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// Somebody came to a channel, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinEvent<K, P> {
    /// Whom presence knows by this key.
    pub key: K,
    /// What is shown of it.
    pub present: P,
    /// Whether it came.
    pub has_come: bool,
}

/// What happened in one channel, in order.
pub struct JoinBatch<K, P> {
    /// The channel's name.
    pub channel: Box<str>,
    /// No more than the bound of a tick, and at least one.
    pub events: Vec<JoinEvent<K, P>>,
}

/// The comings and goings that wait to be told.
pub struct Joins<K, P> {
    channels: Names<Waiting<K, P>>,
    /// Each channel once, in the order in which they began to wait.
    order: VecDeque<Key>,
    /// Events that wait in all channels.
    count: usize,
    bounds: JoinBounds,
    dropped: u64,
}

struct Waiting<K, P> {
    events: Vec<JoinEvent<K, P>>,
    /// How many of them came.
    come_count: usize,
}

impl<K: Copy + Eq, P> Joins<K, P> {
    /// Nothing waits. `hasher` is keyed at random by the caller and never shows in what is
    /// returned.
    pub fn new(bounds: JoinBounds, hasher: impl BuildHasher + Send + 'static) -> Self {
        Self {
            channels: Names::new(u32::MAX, hasher),
            order: VecDeque::new(),
            count: 0,
            bounds,
            dropped: 0,
        }
    }

    /// Adds an event to those of its channel. Where they are as many as may be, it is dropped and
    /// counted, and with a leave the join that it would contradict.
    pub fn add(&mut self, channel: &str, event: JoinEvent<K, P>) {
        let found = self.channels.find(channel);
        let is_full = self.count >= self.bounds.events_max;
        if let Some(key) = found {
            let waiting = at_mut(&mut self.channels, key);
            if !is_full && waiting.events.len() < self.bounds.per_channel_max {
                waiting.push(event);
                self.count += 1;
                return;
            }
            if !event.has_come && waiting.take_back(event.key) {
                self.count -= 1;
                self.dropped += 1;
            }
        } else if !is_full {
            let mut waiting = Waiting { events: Vec::new(), come_count: 0 };
            waiting.push(event);
            if let Ok(key) = self.channels.enter(channel, waiting) {
                self.order.push_back(key);
                self.count += 1;
                return;
            }
        }
        self.dropped += 1;
    }

    /// What happened in the channel that has waited longest. A tick takes as many channels as it
    /// has time for.
    #[expect(clippy::should_implement_trait, reason = "more may be added meanwhile")]
    pub fn next(&mut self) -> Option<JoinBatch<K, P>> {
        while let Some(key) = self.order.pop_front() {
            let channel = self.channels.name(key).into();
            let Waiting { events, .. } = self.channels.forget(key);
            self.count -= events.len();
            if !events.is_empty() {
                return Some(JoinBatch { channel, events });
            }
        }
        self.order = VecDeque::new();
        None
    }

    /// Whether something that happened in this channel waits.
    pub fn is_waiting(&self, channel: &str) -> bool {
        self.channels.find(channel).is_some()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Channels in which something waits to be told.
    pub fn channel_count(&self) -> usize {
        self.order.len()
    }

    /// Events that wait to be told.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Events that nobody is told of, because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl<K: Copy + Eq, P> Waiting<K, P> {
    fn push(&mut self, event: JoinEvent<K, P>) {
        self.come_count += usize::from(event.has_come);
        self.events.push(event);
    }

    /// Takes out the coming of whoever leaves now, if it waits here. Among many who leave and none
    /// who came nobody is looked for.
    fn take_back(&mut self, key: K) -> bool {
        if self.come_count == 0 {
            return false;
        }
        let last = self.events.iter().rposition(|event| event.key == key);
        let Some(place) = last.filter(|&place| self.events[place].has_come) else { return false };
        self.events.remove(place);
        self.come_count -= 1;
        true
    }
}

fn at_mut<K, P>(channels: &mut Names<Waiting<K, P>>, key: Key) -> &mut Waiting<K, P> {
    channels.get_mut(key).expect("a channel with events is kept")
}
