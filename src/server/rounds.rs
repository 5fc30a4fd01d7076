//! Asking all shards at once what they have counted, one round after the other.
//!
//! Invariants: at most one round is under way, and who asks meanwhile waits for the next, so an
//! answer never is from before its question; one round answers all who wait, so a shard is asked
//! once however many ask; nobody is turned away without being told and counted.

use std::time::Instant;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use super::Snapshot;
use crate::mesh::{Class, Member, MemberId};
use crate::metrics::{self, Totals};
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

    /// Nobody waits for its answer any more.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Site(answer) if answer.is_closed())
    }
}

/// The rounds, the present one and those to come.
pub(super) struct Rounds {
    /// An answer to an earlier round is too late.
    number: u64,
    current: Option<Round>,
    waiting: Vec<Asker>,
    /// As many as may ask at the same time.
    waiting_max: usize,
    /// What the processes before this one have counted.
    pub(super) inherited: Totals,
}

struct Round {
    /// Shards that have not been asked, for want of room.
    unasked: Vec<MemberId>,
    /// Shards that have not answered, asked or not.
    left: usize,
    deadline: Instant,
    snapshot: Snapshot,
    askers: Vec<Asker>,
}

impl Rounds {
    /// For so many who ask at the same time.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            number: 0,
            current: None,
            waiting: Vec::new(),
            waiting_max,
            inherited: Totals::default(),
        }
    }

    /// Notes a question. One too many is dropped, which its asker takes for "no", and counted.
    pub(super) fn ask(&mut self, asker: Asker, counters: &mut metrics::Counters) {
        if self.waiting.len() >= self.waiting_max {
            self.waiting.retain(|asker| !asker.is_gone());
        }
        if self.waiting.len() < self.waiting_max {
            self.waiting.push(asker);
        } else {
            counters.snapshots_refused += 1;
        }
    }

    /// Ends a round that takes too long, starts one if somebody waits, and asks the shards that
    /// had no room for the question before.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>) {
        if self.current.as_ref().is_some_and(|round| round.deadline <= clock::now()) {
            self.current = None;
        }
        if self.current.is_none() && !self.waiting.is_empty() {
            self.number += 1;
            let unasked: Vec<_> = mesh.peers().collect();
            self.current = Some(Round {
                left: unasked.len(),
                unasked,
                deadline: clock::now() + super::SNAPSHOT_TIMEOUT,
                snapshot: Snapshot::default(),
                askers: std::mem::take(&mut self.waiting),
            });
        }
        if let Some(round) = &mut self.current {
            let count = || Message::Count { round: self.number };
            // The mesh wakes this thread when there is room again.
            round.unasked.retain(|&shard| mesh.send(shard, count(), Class::Request).is_err());
        }
    }

    /// Answers scrapes that wait with what was counted last: the next process goes on from there.
    pub(super) fn answer_sites(&mut self, last: &Snapshot) {
        for asker in self.waiting.extract_if(.., |asker| matches!(asker, Asker::Site(_))) {
            asker.tell(last);
        }
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
            snapshot.counters += &self.inherited.counters;
            snapshot.details += &self.inherited.details;
            for asker in askers {
                asker.tell(&snapshot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    /// A control thread's end of the mesh, and that of the only shard.
    fn ends() -> (Member<Message>, Member<Message>) {
        let mut members = mesh::build(2).unwrap();
        let control = members.pop().unwrap();
        (control, members.pop().unwrap())
    }

    fn ask(rounds: &mut Rounds) -> oneshot::Receiver<Option<metrics::Snapshot>> {
        let (answer, answered) = oneshot::channel();
        rounds.ask(Asker::Site(answer), &mut metrics::Counters::default());
        answered
    }

    /// Takes what the shard was sent: how often it was asked, and in which round last.
    fn asked(control: &mut Member<Message>, shard: &mut Member<Message>) -> (usize, u64) {
        control.flush(|_| {});
        let (mut count, mut last) = (0, 0);
        while let Some(received) = shard.receive() {
            if let Message::Count { round } = received.message {
                (count, last) = (count + 1, round);
            }
        }
        shard.flush(|_| {});
        (count, last)
    }

    #[test]
    fn many_probes_at_once_are_one_question_to_a_shard_and_all_are_answered() {
        let (mut control, mut shard) = ends();
        let mut rounds = Rounds::new(1000);
        let mut probes: Vec<_> = (0..200).map(|_| ask(&mut rounds)).collect();
        rounds.advance(&mut control);
        let (count, round) = asked(&mut control, &mut shard);
        assert_eq!(count, 1);
        let mut late = ask(&mut rounds);
        let counted = Counted { round, open: 7, ..Counted::default() };
        rounds.answered(&counted, &metrics::Counters::default());
        for probe in &mut probes {
            assert_eq!(probe.try_recv().unwrap().expect("not turned away").open, 7);
        }
        assert!(late.try_recv().is_err(), "an answer is not from before its question");
        rounds.advance(&mut control);
        let (_, round) = asked(&mut control, &mut shard);
        rounds.answered(&Counted { round, ..counted }, &metrics::Counters::default());
        assert!(late.try_recv().unwrap().is_some(), "not turned away");
    }

    /// A shard that has much to do is asked when it has room, and is not called mute until then.
    #[test]
    fn a_full_queue_delays_the_question() {
        let (mut control, mut shard) = ends();
        let mut rounds = Rounds::new(1);
        let home = control.peers().next().unwrap();
        let publication =
            || Message::Publish { channel: "a".into(), frame: std::sync::Arc::from(&b"x"[..]) };
        while control.send(home, publication(), Class::Delivery).is_ok() {}
        let mut probe = ask(&mut rounds);
        rounds.advance(&mut control);
        assert_eq!(asked(&mut control, &mut shard).0, 0, "there was no room");
        rounds.advance(&mut control);
        let (count, round) = asked(&mut control, &mut shard);
        assert_eq!(count, 1);
        rounds.answered(&Counted { round, ..Counted::default() }, &metrics::Counters::default());
        assert!(probe.try_recv().unwrap().is_some());
    }

    #[test]
    fn one_too_many_is_told_and_counted_and_those_who_left_make_room() {
        let mut rounds = Rounds::new(2);
        let mut counters = metrics::Counters::default();
        let mut ask = || {
            let (answer, answered) = oneshot::channel();
            rounds.ask(Asker::Site(answer), &mut counters);
            answered
        };
        let (mut first, second, mut third) = (ask(), ask(), ask());
        assert!(third.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        drop(second);
        let mut fourth = ask();
        for waiting in [&mut first, &mut fourth] {
            assert!(waiting.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        }
        assert_eq!(counters.snapshots_refused, 1);
    }
}
