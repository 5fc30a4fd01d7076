//! The ways from a shard to those of another process, and what leaves on them.
//!
//! Invariant: a way is used when the other end has said that it has it, and what was put leaves in
//! its order, whole messages at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::event_loop::Loop;
use super::slab::Index;
use crate::handler::Handler;
use crate::handover::Sink;
use crate::sys::fdpass::{self, SendError};

/// What a record's descriptor is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carried {
    Listener(usize),
    Connection(Index),
    /// Of a connection that is served, and may be gone when its copy leaves.
    Copy(Index, u32),
}

/// A way as it comes from the control thread. One of an attempt that was given up may come late.
pub(super) struct NewWay {
    /// Of the other process's shard.
    pub(super) number: u16,
    pub(super) attempt: u8,
    socket: OwnedFd,
    /// The other process's shard has its end.
    is_open: bool,
}

impl NewWay {
    pub(super) fn new(number: u16, attempt: u8, socket: OwnedFd) -> Self {
        Self { number, attempt, socket, is_open: false }
    }

    /// Whether the other process's shard has said that it has its end. What is sent earlier could
    /// be as many descriptors as this user may have on their way; then the end itself could not
    /// get to that shard, and nobody would take anything out again.
    fn is_open(&mut self) -> bool {
        self.is_open |= has_answered(&self.socket);
        self.is_open
    }

    /// Takes the ways of this attempt, by their numbers, if all of them have come and are open.
    pub(super) fn all_of(new: &mut Vec<Self>, attempt: u8, count: usize) -> Option<Vec<Way>> {
        new.retain(|way| way.attempt == attempt);
        if new.len() != count || !new.iter_mut().all(Self::is_open) {
            return None;
        }
        let mut all = std::mem::take(new);
        all.sort_by_key(|way| way.number);
        let way = |new: Self| Way { socket: new.socket, sink: Sink::default(), is_marked: false };
        Some(all.into_iter().map(way).collect())
    }
}

/// One way to a shard of the other process.
pub(super) struct Way {
    socket: OwnedFd,
    pub(super) sink: Sink<Carried>,
    /// The other process's shard has said that it has the copies up to the mark.
    is_marked: bool,
}

impl Way {
    /// Whether everything that was put has left.
    pub(super) fn is_empty(&self) -> bool {
        self.sink.message().is_none()
    }

    /// Whether the other end has still to take out what has left.
    pub(super) fn is_unread(&self) -> bool {
        fdpass::is_unread(&self.socket)
    }

    /// Whether the other end has answered the mark.
    pub(super) fn is_marked(&mut self) -> bool {
        self.is_marked |= has_answered(&self.socket);
        self.is_marked
    }
}

/// A byte is all that ever comes back.
fn has_answered(socket: &OwnedFd) -> bool {
    fdpass::receive(socket, &mut [0], 0, &mut Vec::new()).is_ok()
}

/// What sending as much as there is room for came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    Some,
    /// The kernel holds as many descriptors on their way as this user may have.
    Crowded,
    Nowhere,
    Broken,
}

impl<H: Handler> Loop<H> {
    /// Sends what was put, as far as the ways take it.
    pub(super) fn send_all(&self, ways: &mut [Way]) -> Sent {
        let mut sent = Sent::All;
        for way in ways {
            while !way.is_empty() {
                match self.send_message(way) {
                    Sent::All => {}
                    waits @ (Sent::Some | Sent::Crowded) => {
                        sent = waits;
                        break;
                    }
                    ended => return ended,
                }
            }
        }
        sent
    }

    /// Sends the next message of one way, if there is one.
    pub(super) fn send_message(&self, Way { socket, sink, .. }: &mut Way) -> Sent {
        let Some((bytes, carried)) = sink.message() else { return Sent::All };
        let descriptors: Vec<_> = carried.map(|one| self.descriptor(*one)).collect();
        match fdpass::send(&*socket, bytes, &descriptors) {
            Ok(()) => {
                sink.sent();
                Sent::All
            }
            Err(SendError::Full) => Sent::Some,
            Err(SendError::TooManyInFlight) => Sent::Crowded,
            // The other process is gone: its control thread's socket tells how.
            Err(SendError::Closed) => Sent::Nowhere,
            Err(error) => {
                tracing::error!(?error, "connections cannot be handed over");
                Sent::Broken
            }
        }
    }

    fn descriptor(&self, carried: Carried) -> BorrowedFd<'_> {
        match carried {
            Carried::Listener(index) => self.listeners.get(index).expect("none has gone").1,
            Carried::Connection(index) => self.core.socket_ref(index).expect("none has gone"),
            // Something has to go along: that the copy is dropped stands behind it.
            Carried::Copy(index, serial) if self.core.serial(index) != serial => {
                self.links.bell.as_fd()
            }
            Carried::Copy(index, _) => {
                self.core.socket_ref(index).unwrap_or_else(|| self.links.bell.as_fd())
            }
        }
    }
}
