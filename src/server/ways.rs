//! The ways between the shards of two processes, on their way to both.
//!
//! Invariant: each end leaves once, with the numbers of both shards; what could not leave for want
//! of room leaves later, in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::handover::Word;
use crate::shard::Passing;
use crate::sys::fdpass::{self, SendError};

/// One way, and the ends of it that have not left.
#[derive(Debug)]
struct Way {
    from: u16,
    to: u16,
    ours: Option<OwnedFd>,
    theirs: Option<OwnedFd>,
}

/// Those that have not left whole.
#[derive(Debug, Default)]
pub(super) struct Ways(VecDeque<Way>);

impl Ways {
    /// From each of so many shards to each of so many of the other process.
    pub(super) fn lay(&mut self, ours: usize, theirs: u16) -> io::Result<()> {
        for from in 0..u16::try_from(ours).expect("SHARDS_MAX is below") {
            for to in 0..theirs {
                let (ours, theirs) = fdpass::pair()?;
                self.0.push_back(Way { from, to, ours: Some(ours), theirs: Some(theirs) });
            }
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends both ends, as far as there is room: to our shards, and to the other process.
    /// `attempt`: tells them from those that were laid before.
    pub(super) fn send(
        &mut self,
        attempt: u8,
        shards: &[Arc<OwnedFd>],
        process: impl AsFd,
    ) -> Result<(), SendError> {
        while let Some(way) = self.0.front_mut() {
            let Way { from, to, .. } = *way;
            let message = Passing::channel(to, attempt);
            send_once(&*shards[usize::from(from)], &message, &mut way.ours)?;
            let word = Word::Channel { from, to }.encode();
            send_once(&process, &word, &mut way.theirs)?;
            self.0.pop_front();
        }
        Ok(())
    }
}

/// Sends a descriptor, unless it was sent before.
fn send_once(
    socket: impl AsFd,
    message: &[u8],
    descriptor: &mut Option<OwnedFd>,
) -> Result<(), SendError> {
    if let Some(one) = &*descriptor {
        fdpass::send(socket, message, &[one.as_fd()])?;
        *descriptor = None;
    }
    Ok(())
}
