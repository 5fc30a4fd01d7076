//! What the application's calls do: the shard behind the handler's view of it.

use std::time::{Duration, Instant};

use super::connection::Flags;
use super::core::Turn;
use super::slab::Index;
use crate::handler::{
    Answer, AskError, Asked, Cause, ConnectionId, ConsultError, Done, Engine, Entered, Entry,
    Handler, Job, JoinError, Keep, MessageKind, OffloadError, Peer, Present, PublishError,
    Question, ReportError, SendError, ShardLimits, SignIn, SignInError,
};
use crate::hub::MemberId;
use crate::limits::{CHANNEL_NAME_BYTES_MAX, PUBLICATION_BYTES_MAX};
use crate::metrics::Counters;
use crate::ws::{OpCode, encode_header};

use super::guard;

impl<H: Handler> Engine<H> for Turn<'_, H> {
    fn send(
        &mut self,
        to: ConnectionId,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if self.core.open(to).is_none() {
            return Err(SendError::Gone);
        }
        let header = encode_header(true, kind.into(), payload.len(), None);
        let piece = self.copied(&[&header, payload]);
        self.queue(Index::new(to.index()), piece)?;
        self.core.counters.messages_sent += 1;
        self.core.counters.messages_sent_bytes += piece.len() as u64;
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        if self.core.open(connection).is_some() {
            let index = Index::new(connection.index());
            self.close_from_here(index, Cause::Application, code, reason);
        }
    }

    fn begin_heartbeat(&mut self, connection: ConnectionId) {
        if self.core.open(connection).is_some() {
            let index = Index::new(connection.index());
            self.core.begin_heartbeat(index);
            self.core.schedule(index);
        }
    }

    fn answer_heartbeat(&mut self, connection: ConnectionId) -> bool {
        let is_open = self.core.open(connection).is_some();
        is_open && self.core.answer_heartbeat(Index::new(connection.index()))
    }

    fn join(&mut self, connection: ConnectionId, channel: &str) -> Result<(), JoinError> {
        check_name(channel).map_err(|()| JoinError::Name)?;
        let core = &mut *self.core;
        if core.open(connection).is_none() {
            return Err(JoinError::Gone);
        }
        let index = Index::new(connection.index());
        let channel_count = core.open(connection).map_or(0, |one| one.channel_count);
        let joined = if channel_count < core.settings.connection_channels_max {
            core.channels.join(connection, channel)
        } else if core.channels.is_member(index, channel) {
            Ok(false)
        } else {
            Err(JoinError::ConnectionChannels)
        };
        match joined {
            Ok(is_new) => {
                let connection = core.open(connection).expect("seen above");
                connection.channel_count += u16::from(is_new);
            }
            Err(_) => core.counters.joins_refused += 1,
        }
        joined.map(drop)
    }

    fn enter(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        entry: Entry,
    ) -> Result<Asked<Entered>, JoinError> {
        check_name(channel).map_err(|()| JoinError::Name)?;
        self.core.enter(connection, channel, entry)
    }

    fn ask(
        &mut self,
        connection: ConnectionId,
        id: u32,
        channel: &str,
        question: Question,
    ) -> Result<Asked<Answer>, AskError> {
        check_name(channel).map_err(|()| AskError::Name)?;
        self.core.open(connection).ok_or(AskError::Gone)?;
        self.core.channels.ask(connection, id, channel, question)
    }

    fn consult(
        &mut self,
        connection: ConnectionId,
        id: u32,
        question: Box<[u8]>,
        may_wait: bool,
    ) -> Result<(), ConsultError> {
        self.core.consult(connection, id, question, may_wait)
    }

    fn report(&mut self, report: Box<[u8]>, is_lesser: bool) -> Result<(), ReportError> {
        self.core.report(report, is_lesser)
    }

    fn tag(&self, connection: ConnectionId, channel: &str) -> Option<u8> {
        let index = Index::new(connection.index());
        let is_it = self.core.serial(index) == connection.serial();
        let standing = is_it.then(|| self.core.channels.standing(index, channel));
        standing.flatten().map(|standing| standing.tag)
    }

    fn hold_deliveries(&mut self, connection: ConnectionId) {
        self.core.hold_back(connection);
    }

    fn release_deliveries(&mut self, connection: ConnectionId) {
        self.let_go(connection);
    }

    fn show_anew(&mut self, connection: ConnectionId, present: &Present) {
        if self.core.open(connection).is_some() {
            self.core.channels.show_anew(connection, present);
        }
    }

    fn show_anew_in(&mut self, connection: ConnectionId, channel: &str, present: &Present) {
        if self.core.open(connection).is_none() {
            return;
        }
        let index = Index::new(connection.index());
        let standing = self.core.channels.standing(index, channel);
        if standing.is_some_and(|standing| standing.is_present) {
            self.core.channels.show_anew_in(connection, channel, present);
        }
    }

    fn leave(&mut self, connection: ConnectionId, channel: &str, is_for_good: bool) -> bool {
        let core = &mut *self.core;
        if core.open(connection).is_none() {
            return false;
        }
        core.forget_set_aside(connection, channel);
        core.forget_held_back(connection, channel);
        let left = core.channels.leave(connection, channel, is_for_good);
        core.open(connection).expect("seen above").channel_count -= u16::from(left);
        left
    }

    fn is_member(&self, connection: ConnectionId, channel: &str) -> bool {
        let index = Index::new(connection.index());
        self.core.serial(index) == connection.serial()
            && self.core.channels.is_member(index, channel)
    }

    fn sign_in(
        &mut self,
        connection: ConnectionId,
        user: &str,
        limit: u32,
    ) -> Result<SignIn, SignInError> {
        self.core.sign_in(connection, user, limit)
    }

    fn sign_out(&mut self, user: &str) {
        self.core.sign_out(user);
    }

    fn count_again(&mut self, user: &str) {
        // Who has only changed shards has not stopped being counted.
        if !self.core.moves.is_taking_in {
            self.core.channels.count_again(user);
        }
    }

    fn belong_to(&mut self, connection: ConnectionId, user: &str) {
        if self.core.open(connection).is_some() {
            self.core.tellings.roster.enter(MemberId(connection.index()), user);
        }
    }

    fn mark(&mut self, connection: ConnectionId, mark: &str) {
        if self.core.open(connection).is_some() {
            self.core.tellings.marks.add(MemberId(connection.index()), mark);
        }
    }

    fn unmark(&mut self, connection: ConnectionId, mark: &str) {
        if self.core.open(connection).is_some() {
            self.core.tellings.marks.remove(MemberId(connection.index()), mark);
        }
    }

    fn set_alarm(&mut self, connection: ConnectionId, after: Option<Duration>) {
        if self.core.open(connection).is_some() {
            self.core.set_alarm(Index::new(connection.index()), after);
        }
    }

    fn counters(&mut self) -> &mut Counters {
        &mut self.core.counters
    }

    fn publish(
        &mut self,
        channel: &str,
        kind: MessageKind,
        payload: &[u8],
        keep: Option<Keep>,
    ) -> Result<(), PublishError> {
        check_name(channel).map_err(|()| PublishError::Name)?;
        if payload.len() > PUBLICATION_BYTES_MAX {
            return Err(PublishError::TooLong);
        }
        let header = encode_header(true, kind.into(), payload.len(), None);
        let frame = [&header, payload].concat().into();
        let published = self.core.channels.publish(channel, frame, keep);
        match published {
            Ok(()) => self.core.counters.published += 1,
            Err(_) => self.core.counters.publishes_refused += 1,
        }
        published
    }

    fn has_room(&mut self, connection: ConnectionId, payload_bytes: usize) -> bool {
        let header_bytes = encode_header(true, OpCode::Binary, payload_bytes, None).len();
        let bytes = header_bytes + payload_bytes;
        let is_open = self.core.open(connection).is_some();
        is_open && self.core.has_room(Index::new(connection.index()), bytes)
    }

    fn state(&mut self, connection: ConnectionId) -> Option<&mut H::Connection> {
        self.core.open(connection)?.state.as_mut()
    }

    fn offload(
        &mut self,
        connection: ConnectionId,
        job: Job,
        done: Done<H>,
    ) -> Result<(), OffloadError> {
        let core = &mut *self.core;
        if core.open(connection).is_none() {
            return Err(OffloadError::Gone);
        }
        match core.jobs.start(connection, job, done) {
            Ok(()) => {
                core.counters.jobs_started += 1;
                core.open(connection).expect("seen above").flags.set(Flags::JOBS);
                Ok(())
            }
            Err(error) => {
                core.counters.jobs_refused += 1;
                Err(error)
            }
        }
    }

    fn hold(&mut self, connection: ConnectionId, bytes: usize) -> bool {
        let Some(one) = self.core.open(connection) else { return bytes == 0 };
        let before = one.busy.as_ref().map_or(0, |busy| busy.held_bytes);
        if bytes == before {
            return true;
        }
        let core = &mut *self.core;
        let all_bytes = core.partial_bytes - before + bytes;
        if bytes > before && all_bytes > core.settings.partial_bytes_max {
            return false;
        }
        core.partial_bytes = all_bytes;
        let one = core.open(connection).expect("seen above");
        one.busy().held_bytes = bytes;
        one.calm();
        true
    }

    fn set_limits(&mut self, limits: ShardLimits) {
        self.core.settings.set_limits(limits);
    }

    fn now(&self) -> Instant {
        self.core.now
    }

    fn number(&self) -> usize {
        self.core.number
    }

    fn shard_count(&self) -> usize {
        self.core.shard_count
    }

    fn open_count(&self) -> usize {
        self.core.open_count
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Finishes jobs that came back from the pool, at most `budget` of them.
    pub(crate) fn finish_jobs(&mut self, handler: &mut H, budget: usize) {
        for _ in 0..budget {
            let Some((id, done, outcome)) = self.core.jobs.next_done() else { return };
            if self.core.open(id).is_none() {
                continue;
            }
            self.core.called = true;
            if guard(|| done(handler, &mut Peer::new(self, id), outcome)).is_none() {
                self.panicked(Index::new(id.index()));
            }
            self.tell_endings(handler);
        }
    }
}

fn check_name(channel: &str) -> Result<(), ()> {
    let valid = (1..=CHANNEL_NAME_BYTES_MAX).contains(&channel.len());
    if valid { Ok(()) } else { Err(()) }
}
