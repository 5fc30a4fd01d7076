//! Asking all shards at once what they have counted, one round after the other.
//!
//! Invariant: at most one round is under way; who asks meanwhile waits for the next, so an answer
//! never is from before its question.

use std::time::Instant;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use super::Snapshot;
use crate::limits::ASKERS_MAX;
use crate::mesh::{Class, Member};
use crate::metrics;
use crate::shard::{Counted, Message};
use crate::sys::clock;

/// Somebody who wants to know.
pub(super) enum Asker {
    Program(Sender<Snapshot>),
    Site(oneshot::Sender<Option<metrics::Snapshot>>),
}

impl Asker {
    /// Whoever asked may have stopped waiting.
    fn tell(self, snapshot: &Snapshot) {
        match self {
            Self::Program(answer) => drop(answer.try_send(snapshot.clone())),
            Self::Site(answer) => drop(answer.send(Some(snapshot.totals()))),
        }
    }
}

/// The rounds, the present one and those to come.
#[derive(Default)]
pub(super) struct Rounds {
    /// An answer to an earlier round is too late.
    number: u64,
    current: Option<Round>,
    waiting: Vec<Asker>,
}

struct Round {
    /// Shards that have not answered.
    left: usize,
    deadline: Instant,
    snapshot: Snapshot,
    askers: Vec<Asker>,
}

impl Rounds {
    /// Notes a question. One too many is dropped, which its asker takes for "no".
    pub(super) fn ask(&mut self, asker: Asker) {
        if self.waiting.len() < ASKERS_MAX {
            self.waiting.push(asker);
        }
    }

    /// Ends a round that takes too long, and starts one if somebody waits.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>) {
        if self.current.as_ref().is_some_and(|round| round.deadline <= clock::now()) {
            self.current = None;
        }
        if self.current.is_some() || self.waiting.is_empty() {
            return;
        }
        self.number += 1;
        let askers = std::mem::take(&mut self.waiting);
        let peers: Vec<_> = mesh.peers().collect();
        let left = peers.len();
        for shard in peers {
            let count = Message::Count { round: self.number };
            if mesh.send(shard, count, Class::Request).is_err() {
                return; // it still owes answers to earlier rounds: the askers hear "no"
            }
        }
        let deadline = clock::now() + super::SNAPSHOT_TIMEOUT;
        self.current = Some(Round { left, deadline, snapshot: Snapshot::default(), askers });
    }

    /// When the present round is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|round| round.deadline)
    }

    /// A shard's answer; `extra` is what the control thread itself has counted.
    pub(super) fn answered(&mut self, counted: &Counted, extra: &metrics::Counters) {
        let Some(round) = self.current.as_mut().filter(|_| counted.round == self.number) else {
            return;
        };
        round.snapshot.add(counted);
        round.left -= 1;
        if round.left == 0 {
            let Round { mut snapshot, askers, .. } = self.current.take().expect("seen above");
            snapshot.counters += extra;
            for asker in askers {
                asker.tell(&snapshot);
            }
        }
    }
}
