//! Questions of connections to the control thread.
//!
//! ```text
//!   consult ─▶ room? ─no─▶ Busy, or it waits in line
//!                └─yes─▶ mesh ─▶ control thread ─▶ mesh ─▶ Handler::consulted
//!   closed  ─▶ mesh: nobody waits for it any more; what finds no room there waits here
//! ```
//!
//! Invariants: questions that are open, and those of which the control thread has yet to hear that
//! they are not, are bounded in number, and what is open in bytes, those that wait included; who
//! waits is asked in the order in which they came; an answer to somebody who has gone meanwhile is
//! nobody's.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use super::core::{Core, Turn};
use super::guard;
use super::message::{Consult, Consulted, Message};
use super::slab::Index;
use crate::handler::{ConnectionId, ConsultError, Handler, Peer};
use crate::limits::{
    CONSULTS_BYTES_MAX, CONSULTS_PATIENT_MAX, CONSULTS_PER_SHARD_MAX, CONSULTS_WAITING_MAX,
};
use crate::mesh::{Class, Full, Member, MemberId};

/// The questions of one shard.
#[derive(Default)]
pub(super) struct Consultations {
    open: BTreeMap<(ConnectionId, u32), Open>,
    bytes: Bytes,
    /// Of them, how many were sent.
    sent_count: usize,
    /// Of these, how many might have waited: they leave the others room.
    patient_count: usize,
    /// Those that were not, in their order, and some whose connections have gone.
    line: VecDeque<(ConnectionId, u32)>,
    /// Those that are to be called off, for which the mesh had no room.
    unwanted: VecDeque<(ConnectionId, u32)>,
}

/// Bytes of questions that may wait, and of those that may not: a crowd of the first, who fill
/// their share for seconds, is nothing to the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bytes {
    patient: usize,
    others: usize,
}

impl Bytes {
    fn of(&mut self, may_wait: bool) -> &mut usize {
        if may_wait { &mut self.patient } else { &mut self.others }
    }
}

/// A question that is open.
struct Open {
    bytes: usize,
    may_wait: bool,
    /// It, as long as it waits in line.
    waiting: Option<Box<[u8]>>,
}

impl Consultations {
    /// Whether no question is open, nor to be called off.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.unwanted.is_empty()
    }

    fn ask(
        &mut self,
        (mesh, control): (&mut Member<Message>, MemberId),
        (connection, id): (ConnectionId, u32),
        question: Box<[u8]>,
        may_wait: bool,
    ) -> Result<(), ConsultError> {
        self.call_off_owed(mesh, control);
        let (key, bytes) = ((connection, id), question.len());
        let is_too_much = *self.bytes.of(may_wait) + bytes > CONSULTS_BYTES_MAX;
        if is_too_much || self.open.contains_key(&key) {
            return Err(ConsultError::Busy);
        }
        // None overtakes those in line that would wait there itself.
        let sent = if may_wait && !self.line.is_empty() {
            Err(question)
        } else {
            self.send((mesh, control), key, question, may_wait)
        };
        let waiting = match sent {
            Ok(()) => None,
            Err(question) if may_wait && self.line.len() < CONSULTS_WAITING_MAX => {
                self.line.push_back(key);
                Some(question)
            }
            Err(_) => return Err(ConsultError::Busy),
        };
        self.open.insert(key, Open { bytes, may_wait, waiting });
        *self.bytes.of(may_wait) += bytes;
        Ok(())
    }

    /// Sends a question if there is room: returns it otherwise.
    fn send(
        &mut self,
        (mesh, control): (&mut Member<Message>, MemberId),
        (connection, id): (ConnectionId, u32),
        question: Box<[u8]>,
        may_wait: bool,
    ) -> Result<(), Box<[u8]>> {
        let is_full = self.sent_count + self.unwanted.len() >= CONSULTS_PER_SHARD_MAX;
        if is_full || (may_wait && self.patient_count >= CONSULTS_PATIENT_MAX) {
            return Err(question);
        }
        let message = Message::Consult(Box::new(Consult { connection, id, question }));
        match mesh.send(control, message, Class::Delivery) {
            Ok(()) => {
                self.sent_count += 1;
                self.patient_count += usize::from(may_wait);
                Ok(())
            }
            Err(Full(Message::Consult(consult))) => Err(consult.question),
            Err(Full(other)) => unreachable!("{other:?} was not sent"),
        }
    }

    /// Asks those who wait in line, as far as there is room.
    fn advance(&mut self, mesh: &mut Member<Message>, control: MemberId) {
        while let Some(key) = self.line.front().copied() {
            let waiting = self.open.get_mut(&key).and_then(|open| open.waiting.take());
            // It may have gone.
            if let Some(question) = waiting
                && let Err(question) = self.send((mesh, control), key, question, true)
            {
                self.open.get_mut(&key).expect("seen above").waiting = Some(question);
                return;
            }
            self.line.pop_front();
        }
    }

    /// An answer has come; false if nobody waits for it any more.
    fn take(&mut self, connection: ConnectionId, id: u32) -> bool {
        let Some(open) = self.open.remove(&(connection, id)) else { return false };
        self.close(&open);
        true
    }

    /// A question that is open, if there is one; it is called off.
    fn give_up_next(&mut self) -> Option<(ConnectionId, u32)> {
        let (key, open) = self.open.pop_first()?;
        self.close(&open);
        if open.waiting.is_none() {
            self.unwanted.push_back(key);
        }
        Some(key)
    }

    /// A connection is gone; returns how many questions it had open.
    fn forget(&mut self, connection: ConnectionId) -> u64 {
        let mut count = 0;
        let all = (connection, 0)..=(connection, u32::MAX);
        while let Some((&key, _)) = self.open.range(all.clone()).next() {
            let open = self.open.remove(&key).expect("just seen");
            self.close(&open);
            if open.waiting.is_none() {
                self.unwanted.push_back(key);
            }
            count += 1;
        }
        count
    }

    /// What was open is so no more.
    fn close(&mut self, open: &Open) {
        *self.bytes.of(open.may_wait) -= open.bytes;
        if open.waiting.is_none() {
            self.sent_count -= 1;
            self.patient_count -= usize::from(open.may_wait);
        }
    }

    fn call_off_owed(&mut self, mesh: &mut Member<Message>, control: MemberId) {
        while let Some(&(connection, id)) = self.unwanted.front() {
            let message = Message::Unconsult { connection, id };
            if mesh.send(control, message, Class::Notice).is_err() {
                return;
            }
            self.unwanted.pop_front();
        }
    }
}

impl<H: Handler> Core<H> {
    /// The mesh's last member: it has no connections of its own.
    pub(super) fn control(&self) -> MemberId {
        MemberId::new(self.shard_count)
    }

    /// Asks the control thread on behalf of an open connection.
    pub(super) fn consult(
        &mut self,
        connection: ConnectionId,
        id: u32,
        question: Box<[u8]>,
        may_wait: bool,
    ) -> Result<(), ConsultError> {
        self.open(connection).ok_or(ConsultError::Gone)?;
        let control = self.control();
        let mesh = &mut self.channels.mesh;
        let asked = self.consultations.ask((mesh, control), (connection, id), question, may_wait);
        match asked {
            Ok(()) => self.counters.consults += 1,
            Err(_) => self.counters.consults_refused += 1,
        }
        asked
    }

    /// A connection is gone, and whatever it has asked is not to be answered.
    pub(super) fn forget_consults(&mut self, connection: ConnectionId) {
        self.counters.consults_cancelled += self.consultations.forget(connection);
        self.call_off_consults();
    }

    /// Tells the control thread what nobody waits for, and asks what waits in line, as far as there
    /// is room.
    pub(super) fn call_off_consults(&mut self) {
        let (control, mesh) = (self.control(), &mut self.channels.mesh);
        let all = &mut self.consultations;
        if !all.unwanted.is_empty() {
            all.call_off_owed(mesh, control);
        }
        if !all.line.is_empty() {
            all.advance(mesh, control);
        }
    }
}

impl<H: Handler> Turn<'_, H> {
    /// The shard is to stand still, and answers will come too late: whoever waits for one hears
    /// that there is none now. What is asked by that is given up in a later turn.
    pub(super) fn give_up_consults(&mut self, handler: &mut H) {
        for _ in 0..self.core.consultations.open.len() {
            let Some((connection, id)) = self.core.consultations.give_up_next() else { return };
            self.core.counters.consults_cancelled += 1;
            let peer = &mut Peer::new(self, connection);
            if guard(|| handler.consulted(peer, id, Err(ConsultError::Unanswered))).is_none() {
                self.panicked(Index::new(connection.index()));
            }
            self.tell_endings(handler);
        }
        self.core.call_off_consults();
    }

    /// The control thread's answer to a question.
    pub(super) fn consulted(&mut self, handler: &mut H, consulted: Consulted) {
        let Consulted { connection, id, answer } = consulted;
        let core = &mut *self.core;
        if !core.consultations.take(connection, id) {
            return;
        }
        assert!(core.open(connection).is_some(), "those of the others are forgotten");
        core.counters.consults_unanswered += u64::from(answer.is_none());
        core.called = true;
        core.speaks_for(connection);
        let result = answer.ok_or(ConsultError::Unanswered);
        let peer = &mut Peer::new(self, connection);
        if guard(|| handler.consulted(peer, id, result)).is_none() {
            self.panicked(Index::new(connection.index()));
        }
        self.tell_endings(handler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    fn connection(index: u32) -> ConnectionId {
        ConnectionId::new(index, 1)
    }

    /// A shard's end of the mesh, and that of the control thread.
    fn ends(slots: usize) -> (Member<Message>, Member<Message>) {
        let mut members = mesh::build_with_slots(2, slots).expect("a mesh");
        let control = members.pop().expect("two");
        (members.pop().expect("two"), control)
    }

    /// Takes all that the control thread has been sent: questions, and what was called off.
    fn received(shard: &mut Member<Message>, control: &mut Member<Message>) -> (usize, usize) {
        shard.flush(|_| {});
        let (mut asked, mut called_off) = (0, 0);
        while let Some(received) = control.receive() {
            match received.message {
                Message::Consult(_) => asked += 1,
                Message::Unconsult { .. } => called_off += 1,
                other => panic!("{other:?}"),
            }
        }
        control.flush(|_| {});
        (asked, called_off)
    }

    #[test]
    fn open_questions_are_bounded_in_number_and_in_bytes() {
        for (bytes, expected) in [(1, CONSULTS_PER_SHARD_MAX), (1 << 20, CONSULTS_BYTES_MAX >> 20)]
        {
            let (mut shard, mut control) = ends(16);
            let mut all = Consultations::default();
            let mut ask = |number: u32| {
                received(&mut shard, &mut control);
                let way = (&mut shard, MemberId::new(1));
                all.ask(way, (connection(number % 7), number), vec![0; bytes].into(), false)
            };
            let taken = (0..10_000).take_while(|number| ask(*number).is_ok()).count();
            assert_eq!(taken, expected, "{bytes} bytes each");
            assert!(all.take(connection(3), 3) && !all.take(connection(3), 3));
            let way = (&mut shard, MemberId::new(1));
            assert_eq!(all.ask(way, (connection(3), 3), vec![0; bytes].into(), false), Ok(()));
            for index in 0..7 {
                assert!(all.forget(connection(index)) > 0);
            }
            assert_eq!((all.open.len(), all.bytes), (0, Bytes::default()));
        }
    }

    #[test]
    fn what_nobody_waits_for_is_called_off_when_there_is_room() {
        let (mut shard, mut control) = ends(16);
        let control_id = MemberId::new(1);
        let mut all = Consultations::default();
        let mut asked = 0;
        for id in 0..32 {
            let way = (&mut shard, control_id);
            assert_eq!(all.ask(way, (connection(id % 2), id), [0].into(), false), Ok(()));
            asked += received(&mut shard, &mut control).0;
        }
        assert_eq!((asked, all.forget(connection(0)), all.forget(connection(9))), (32, 16, 0));
        let mut called_off = 0;
        all.call_off_owed(&mut shard, control_id);
        assert!(!all.unwanted.is_empty(), "more than the queue holds");
        for _ in 0..16 {
            called_off += received(&mut shard, &mut control).1;
            all.call_off_owed(&mut shard, control_id);
        }
        assert_eq!((called_off, all.unwanted.len(), all.open.len()), (16, 0, 16));
    }

    #[test]
    fn a_full_queue_refuses_the_question_and_holds_nothing_of_it() {
        let (mut shard, _control) = ends(16);
        let mut all = Consultations::default();
        let mut ask =
            |id| all.ask((&mut shard, MemberId::new(1)), (connection(1), id), [0].into(), false);
        let taken = (0..100).take_while(|id| ask(*id).is_ok()).count();
        assert!((1..16).contains(&taken), "{taken}");
        assert_eq!((ask(1000), all.open.len()), (Err(ConsultError::Busy), taken));
    }

    /// What the control thread is asked now, by number; it answers all of it at once.
    fn answer_all(
        all: &mut Consultations,
        shard: &mut Member<Message>,
        control: &mut Member<Message>,
    ) -> Vec<u32> {
        shard.flush(|_| {});
        let mut asked = Vec::new();
        while let Some(received) = control.receive() {
            let Message::Consult(consult) = received.message else { continue };
            assert!(all.take(consult.connection, consult.id));
            asked.push(consult.id);
        }
        control.flush(|_| {});
        asked
    }

    #[test]
    fn who_may_wait_is_asked_in_order_and_who_may_not_is_refused_meanwhile() {
        let (mut shard, mut control) = ends(16);
        let control_id = MemberId::new(1);
        let mut all = Consultations::default();
        for id in 0..100 {
            let way = (&mut shard, control_id);
            assert_eq!(all.ask(way, (connection(id), id), [0].into(), true), Ok(()));
        }
        let refused = all.ask((&mut shard, control_id), (connection(7), 200), [0].into(), false);
        assert_eq!(refused, Err(ConsultError::Busy), "the queue is full");
        // Half of those who wait are gone before it is their turn.
        let gone = |id: &u32| id % 2 == 1 && *id > 20;
        for id in (0..100).filter(gone) {
            assert_eq!(all.forget(connection(id)), 1);
        }
        assert_eq!(all.unwanted.len(), 0, "nobody has heard of them");
        let mut asked = Vec::new();
        while !all.open.is_empty() {
            let now = answer_all(&mut all, &mut shard, &mut control);
            if asked.is_empty() {
                // There is room for who comes now, and others have waited for it.
                let way = (&mut shard, control_id);
                assert_eq!(all.ask(way, (connection(100), 100), [0].into(), true), Ok(()));
            }
            assert!((1..16).contains(&now.len()), "as many as there is room for: {now:?}");
            asked.extend(now);
            all.advance(&mut shard, control_id);
        }
        let expected: Vec<u32> = (0..=100).filter(|id| !gone(id)).collect();
        assert_eq!(asked, expected);
        assert_eq!((all.bytes, all.sent_count, all.line.len()), (Bytes::default(), 0, 0));
    }

    /// As many as come back at once to a shard whose queue to the control thread is long enough.
    #[test]
    fn a_line_is_bounded_in_number_and_in_bytes() {
        for (bytes, expected) in
            [(1, CONSULTS_PATIENT_MAX + CONSULTS_WAITING_MAX), (1 << 20, CONSULTS_BYTES_MAX >> 20)]
        {
            let (mut shard, mut control) = ends(16);
            let mut all = Consultations::default();
            let mut ask = |number: u32| {
                // Nothing is answered.
                if number < 5000 {
                    all.advance(&mut shard, MemberId::new(1));
                    received(&mut shard, &mut control);
                }
                let way = (&mut shard, MemberId::new(1));
                all.ask(way, (connection(number), number), vec![0; bytes].into(), true)
            };
            let taken = (0..100_000).take_while(|number| ask(*number).is_ok()).count();
            assert_eq!(taken, expected, "{bytes} bytes each");
            received(&mut shard, &mut control);
            let way = (&mut shard, MemberId::new(1));
            let other = all.ask(way, (connection(7), 200_000), vec![0; bytes].into(), false);
            assert_eq!(other, Ok(()), "there is room for who may not wait");
            for index in 0..100_000 {
                all.forget(connection(index));
            }
            assert_eq!((all.open.len(), all.sent_count, all.patient_count), (0, 0, 0));
            assert_eq!(all.bytes, Bytes::default());
        }
    }
}
