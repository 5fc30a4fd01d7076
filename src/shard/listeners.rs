//! The listeners of one shard: armed, paused, or resting, and what they have accepted.
//!
//! Invariant: each listener has at most one multishot accept in the ring, whose token carries the
//! listener's number; a listener is closed only after its accept has ended.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::address::Introduction;
use crate::limits::{ACCEPT_BACKOFF, ACCEPT_QUEUE_MAX};
use crate::metrics::Counters;
use crate::ring::{Completion, Operation, Ring, Token};

/// A socket that was accepted, and has no seat yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) socket: OwnedFd,
    /// Its first bytes are to be a header of the PROXY protocol.
    pub(crate) proxied: bool,
    /// Who it is, if the control thread has made it.
    pub(crate) introduction: Option<Introduction>,
}

impl Newcomer {
    /// One that says itself who it is.
    pub(crate) fn new(socket: OwnedFd, proxied: bool) -> Self {
        Self { socket, proxied, introduction: None }
    }
}

/// The state of one multishot accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Armed,
    /// Cancelled until the queue of accepted sockets is shorter, or for good while stopping.
    Cancelled,
    /// Ended, to be armed again at the given time.
    Waiting(Instant),
}

struct Listener {
    number: u32,
    socket: OwnedFd,
    proxied: bool,
    /// Which of the addresses it listens on.
    place: u16,
    accepting: Accepting,
}

impl Listener {
    fn token(&self) -> Token {
        Token::new(Operation::Accept, 0, self.number)
    }

    fn arm(&mut self, ring: &mut Ring) {
        ring.accept(self.socket.as_raw_fd(), self.token());
        self.accepting = Accepting::Armed;
    }

    fn cancel(&mut self, ring: &mut Ring) {
        ring.cancel(self.token());
        self.accepting = Accepting::Cancelled;
    }
}

/// All listeners of one shard.
#[derive(Default)]
pub(super) struct Listeners {
    known: Vec<Listener>,
    accepted: VecDeque<Newcomer>,
    is_stopping: bool,
    /// Nothing is accepted for a while: connections wait in the kernel's queues.
    is_paused: bool,
}

impl Listeners {
    /// Starts to accept on one more.
    pub(super) fn add(&mut self, ring: &mut Ring, socket: OwnedFd, proxied: bool, place: u16) {
        let number = u32::try_from(self.known.len()).expect("few");
        let accepting = Accepting::Cancelled;
        let mut listener = Listener { number, socket, proxied, place, accepting };
        listener.arm(ring);
        self.known.push(listener);
    }

    /// Accepts no more until [`resume`](Self::resume).
    pub(super) fn pause(&mut self, ring: &mut Ring) {
        self.is_paused = true;
        for listener in &mut self.known {
            if listener.accepting == Accepting::Armed {
                listener.cancel(ring);
            }
        }
    }

    /// The same before there is any.
    pub(super) fn hold(&mut self) {
        self.is_paused = true;
    }

    /// Takes over one more, to be armed when the pause is over.
    pub(super) fn keep(&mut self, socket: OwnedFd, proxied: bool, place: u16, now: Instant) {
        let number = u32::try_from(self.known.len()).expect("few");
        let accepting = Accepting::Waiting(now);
        self.known.push(Listener { number, socket, proxied, place, accepting });
    }

    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    /// All accepts have ended after a pause, and nobody waits for a seat.
    pub(super) fn are_quiet(&self) -> bool {
        let is_waiting = |one: &Listener| matches!(one.accepting, Accepting::Waiting(_));
        self.known.iter().all(is_waiting) && self.accepted.is_empty()
    }

    /// The listener at `index`, in the order of their coming, and the number of its place.
    pub(super) fn get(&self, index: usize) -> Option<(u16, BorrowedFd<'_>)> {
        let listener = self.known.get(index)?;
        Some((listener.place, listener.socket.as_fd()))
    }

    /// Whether there is a listener of this place.
    pub(super) fn has_place(&self, place: u16) -> bool {
        self.known.iter().any(|listener| listener.place == place)
    }

    /// Takes what an accept has reported.
    pub(super) fn take(
        &mut self,
        ring: &mut Ring,
        completion: Completion,
        now: Instant,
        counters: &mut Counters,
    ) {
        let (more, number) = (completion.more, completion.token.index());
        let place = self.known.iter().position(|one| one.number == number);
        let place = place.expect("it is closed after its last completion");
        let listener = &mut self.known[place];
        let mut resting = now;
        match completion.into_socket() {
            Ok(socket) => {
                self.accepted.push_back(Newcomer::new(socket, listener.proxied));
            }
            Err(libc::ECANCELED) => {}
            Err(errno) => {
                counters.accept_backoffs += 1;
                let error = std::io::Error::from_raw_os_error(errno);
                tracing::warn!(errno, "accept failed: {error}");
                resting = now + ACCEPT_BACKOFF;
            }
        }
        if more {
            if self.accepted.len() > ACCEPT_QUEUE_MAX && listener.accepting == Accepting::Armed {
                counters.accept_pauses += 1;
                listener.cancel(ring);
            }
        } else if self.is_stopping {
            self.known.swap_remove(place);
        } else {
            // Cancelled for its queue, out of descriptors, or ended by an overflow.
            listener.accepting = Accepting::Waiting(resting);
        }
    }

    /// Arms again those that have rested, when there is room in the queue.
    pub(super) fn rearm(&mut self, ring: &mut Ring, now: Instant) {
        if self.accepted.len() > ACCEPT_QUEUE_MAX / 2 || self.is_paused {
            return;
        }
        for listener in &mut self.known {
            if matches!(listener.accepting, Accepting::Waiting(until) if until <= now) {
                listener.arm(ring);
            }
        }
    }

    /// When the first of those that rest is to be armed again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let resting = self.known.iter().filter_map(|listener| match listener.accepting {
            Accepting::Waiting(until) => (!self.is_paused).then_some(until),
            Accepting::Armed | Accepting::Cancelled => None,
        });
        resting.min()
    }

    pub(super) fn next(&mut self) -> Option<Newcomer> {
        self.accepted.pop_front()
    }

    pub(super) fn has_newcomers(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Accepts no more. What comes in the race with it is still taken out of the queue.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        self.is_stopping = true;
        self.known.retain(|listener| !matches!(listener.accepting, Accepting::Waiting(_)));
        for listener in &mut self.known {
            if listener.accepting == Accepting::Armed {
                listener.cancel(ring);
            }
        }
    }

    /// All accepts have ended after a stop, and nobody waits for a seat.
    pub(super) fn is_over(&self) -> bool {
        self.known.is_empty() && self.accepted.is_empty()
    }
}
