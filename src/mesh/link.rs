//! One member's two queues to and from one other, and the room that is kept in them.
//!
//! ```text
//!  |<------------------------------ slots ------------------------------>|
//!  |  deliveries and requests: `open`      | notices |  answers: `answers` |
//! ```
//!
//! Each class may fill the queue up to the end of its part. Both directions have the same
//! parts, so a member knows how many answers fit into the queue back to it.
//!
//! **A request reserves the room of its answer.** Its sender counts the answers that it awaits
//! from a peer, until it has taken them out of the queue, and sends no further request at
//! `answers` of them. So the answers that stand in that queue or are still owed to it are
//! `answers` at most; all others are refused before the last `answers` slots; hence a slot is
//! free for every answer, whenever it comes.
#![forbid(unsafe_code)]

use std::mem::MaybeUninit;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::limits::{MESH_ANSWER_SHARE, MESH_NOTICE_SHARE};

/// What a message may fill a queue to; an answer is sent by its own call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing comes back; it is refused when the queue is filled to what is kept.
    Delivery,
    /// One answer comes back, and has its room; refused like a delivery, or when as many
    /// answers are awaited as there is room for.
    Request,
    /// Nothing comes back, and it may fill more than a delivery: interest gained and lost.
    Notice,
}

impl Class {
    /// How many classes there are, for tables with a row per class.
    pub(super) const COUNT: usize = 3;
}

/// There is no room for this message: it comes back, and its sender decides what that means.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<M>(pub M);

/// The parts of one queue, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) slots: usize,
    pub(super) answers: usize,
    pub(super) notices: usize,
}

impl Parts {
    pub(super) fn of(slots: usize) -> Self {
        assert!(slots >= 2, "one slot for an answer and one for the rest");
        let answers = (slots / MESH_ANSWER_SHARE).max(1);
        Self { slots, answers, notices: slots / MESH_NOTICE_SHARE }
    }

    /// Slots that a class must leave free.
    const fn kept_from(self, class: Class) -> usize {
        match class {
            Class::Delivery | Class::Request => self.answers + self.notices,
            Class::Notice => self.answers,
        }
    }

    /// Messages in a queue that has been full and counts as having room again.
    ///
    /// Half of the open part, so that the two sides do not wake each other for every message.
    const fn drained(self) -> usize {
        (self.slots - self.answers - self.notices) / 2
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OneWay,
    Request,
    Answer,
}

/// A message as it stands in a queue.
#[derive(Debug)]
pub(super) struct Envelope<M> {
    message: M,
    kind: Kind,
}

/// The queues between the owner and one peer, as the owner sees them.
pub(super) struct Link<M> {
    producer: Producer<Envelope<M>>,
    consumer: Consumer<Envelope<M>>,
    parts: Parts,
    /// Answers that the owner has not received yet; `0 <= awaited <= parts.answers`.
    awaited: usize,
    /// Answers that the owner has not sent yet.
    owed: usize,
    filled_max: usize,
}

/// Writes to every slot of an empty queue once, so that the kernel backs it with memory now: what
/// the mesh takes is seen before the first connection, and no message waits for a page.
fn touch<M>(producer: &mut Producer<Envelope<M>>) {
    let all = producer.slots();
    let mut chunk = producer.write_chunk_uninit(all).expect("a new queue is empty");
    let (slots, wrapped) = chunk.as_mut_slices();
    slots.iter_mut().chain(wrapped).for_each(|slot| *slot = MaybeUninit::zeroed());
}

impl<M> Link<M> {
    /// The two ends of a pair of queues.
    pub(super) fn pair(parts: Parts) -> (Self, Self) {
        let (mut to_right, from_left) = RingBuffer::new(parts.slots);
        let (mut to_left, from_right) = RingBuffer::new(parts.slots);
        touch(&mut to_right);
        touch(&mut to_left);
        let link = |producer, consumer| Self {
            producer,
            consumer,
            parts,
            awaited: 0,
            owed: 0,
            filled_max: 0,
        };
        (link(to_right, from_right), link(to_left, from_left))
    }

    /// Bytes of the slots that the owner reads from.
    pub(super) fn memory_bytes(&self) -> usize {
        self.parts.slots * size_of::<Envelope<M>>()
    }

    pub(super) fn send(&mut self, message: M, class: Class) -> Result<(), Full<M>> {
        let is_request = class == Class::Request;
        if (is_request && self.awaits_all()) || !self.has_room_beyond(self.parts.kept_from(class)) {
            return Err(Full(message));
        }
        let kind = if is_request { Kind::Request } else { Kind::OneWay };
        self.push(Envelope { message, kind }).expect("the room was just seen, and is ours");
        self.awaited += usize::from(is_request);
        Ok(())
    }

    pub(super) fn answer(&mut self, message: M) {
        self.owed = self.owed.checked_sub(1).expect("an answer belongs to a request");
        self.push(Envelope { message, kind: Kind::Answer })
            .expect("a request reserves the room of its answer");
    }

    /// The next message, and whether it is a request that the owner now has to answer.
    pub(super) fn receive(&mut self) -> Option<(M, bool)> {
        let Envelope { message, kind } = self.consumer.pop().ok()?;
        match kind {
            Kind::OneWay => {}
            Kind::Request => self.owed += 1,
            Kind::Answer => {
                self.awaited = self.awaited.checked_sub(1).expect("an answer was awaited");
            }
        }
        Some((message, kind == Kind::Request))
    }

    /// True when a queue to the peer that has refused a message has room again.
    pub(super) fn peer_has_drained(&self) -> bool {
        self.producer.slots() >= self.parts.slots - self.parts.drained()
    }

    /// True when the peer has taken all that was sent to it.
    pub(super) fn peer_has_taken_all(&self) -> bool {
        self.producer.slots() == self.parts.slots
    }

    /// The same as the first of them, seen from the other end.
    pub(super) fn owner_has_drained(&self) -> bool {
        self.consumer.slots() <= self.parts.drained()
    }

    /// True when a request is refused until one of the awaited answers has come.
    pub(super) fn awaits_all(&self) -> bool {
        self.awaited == self.parts.answers
    }

    /// Answers that the owner owes the peer.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// Notes how full the queue to the peer is; a turn's last push is its highest mark.
    pub(super) fn note_filled(&mut self) {
        let filled = self.parts.slots - self.producer.slots();
        self.filled_max = self.filled_max.max(filled);
    }

    pub(super) fn filled_max(&self) -> usize {
        self.filled_max
    }

    /// Reads the peer's end of the queue only when what was last seen of it is not enough.
    fn has_room_beyond(&self, kept: usize) -> bool {
        self.producer.cached_slots() > kept || self.producer.slots() > kept
    }

    fn push(&mut self, envelope: Envelope<M>) -> Result<(), Full<()>> {
        self.producer.push(envelope).map_err(|_| Full(()))
    }
}
