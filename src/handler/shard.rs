//! The application's view of its shard, and of one connection on it.

use std::time::{Duration, Instant};

use super::engine::{
    ConsultError, JoinError, OffloadError, PublishError, ReportError, SendError, ShardLimits,
    SignIn, SignInError,
};
use super::offload::halves;
use super::{
    Answer, AskError, Asked, Cancelled, ConnectionId, Engine, Entered, Entry, Handler, JobPanicked,
    Keep, Message, Present, Question,
};
use crate::metrics::Counters;

/// The shard that the present call runs on.
pub struct Shard<'a, H: Handler> {
    engine: &'a mut dyn Engine<H>,
}

impl<'a, H: Handler> Shard<'a, H> {
    #[doc(hidden)]
    pub fn new(engine: &'a mut dyn Engine<H>) -> Self {
        Self { engine }
    }

    /// One connection of this shard, open or not: what is asked of one that is gone is an error.
    pub fn peer(&mut self, id: ConnectionId) -> Peer<'_, H> {
        Peer { engine: &mut *self.engine, id }
    }

    /// Publishes to all members of a channel, on all shards, in one order for all of them.
    pub fn publish(&mut self, channel: &str, message: Message<'_>) -> Result<(), PublishError> {
        self.engine.publish(channel, message.kind(), message.payload(), None)
    }

    /// The same, and has the channel's home keep the publication for those who come later, or
    /// back: see [`Peer::publish_kept`].
    pub fn publish_kept(
        &mut self,
        channel: &str,
        message: Message<'_>,
        keep: impl Into<Keep>,
    ) -> Result<(), PublishError> {
        self.engine.publish(channel, message.kind(), message.payload(), Some(keep.into()))
    }

    /// Says that a connection of this shard that was counted for a user is gone
    /// ([`Peer::sign_in`]); to be called once for each, from [`Handler::close`].
    ///
    /// # Panics
    ///
    /// If no connection of the user is counted: the program itself is wrong then.
    pub fn sign_out(&mut self, user: &str) {
        self.engine.sign_out(user);
    }

    /// Has a connection counted for a user that another process has counted before, from
    /// [`Handler::taken_over`]. One that comes from another shard is counted still.
    pub fn count_again(&mut self, user: &str) {
        self.engine.count_again(user);
    }

    /// Tells the control thread what only the application and what stands there understand. Nothing
    /// comes back; what is reported here arrives in its order, and what waits for room is bounded.
    pub fn report(&mut self, report: Box<[u8]>) -> Result<(), ReportError> {
        self.engine.report(report, false)
    }

    /// The same for what clients can make as much of as they like: it has half of the room.
    pub fn report_lesser(&mut self, report: Box<[u8]>) -> Result<(), ReportError> {
        self.engine.report(report, true)
    }

    /// What this shard has counted since the start, for the application to count its own there.
    pub fn counters(&mut self) -> &mut Counters {
        self.engine.counters()
    }

    /// Sets limits anew while the shard serves, for those who are connected as well.
    pub fn set_limits(&mut self, limits: ShardLimits) {
        self.engine.set_limits(limits);
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.engine.now()
    }

    /// Which shard this is, from 0.
    pub fn number(&self) -> usize {
        self.engine.number()
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.engine.shard_count()
    }

    /// Open connections of this shard.
    pub fn open_count(&self) -> usize {
        self.engine.open_count()
    }
}

/// One connection, as its handler sees it.
pub struct Peer<'a, H: Handler> {
    engine: &'a mut dyn Engine<H>,
    id: ConnectionId,
}

impl<'a, H: Handler> Peer<'a, H> {
    #[doc(hidden)]
    pub fn new(engine: &'a mut dyn Engine<H>, id: ConnectionId) -> Self {
        Self { engine, id }
    }

    /// Its name on this shard, to find it again later.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The shard it lives on.
    pub fn shard(&mut self) -> Shard<'_, H> {
        Shard { engine: &mut *self.engine }
    }

    /// The application's state of it; `None` once it is closing.
    pub fn state(&mut self) -> Option<&mut H::Connection> {
        self.engine.state(self.id)
    }

    /// Whether a message of so many bytes would find room: one that does not ends the connection.
    pub fn has_room(&mut self, payload_bytes: usize) -> bool {
        self.engine.has_room(self.id, payload_bytes)
    }

    /// Queues a message; it leaves at the end of the turn, together with the turn's others.
    pub fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.engine.send(self.id, message.kind(), message.payload())
    }

    /// Starts the close handshake. What was sent before still goes out; nothing after it does.
    ///
    /// The reason is cut to 123 bytes. An application's own codes are 3000 to 4999; one that may
    /// not be sent (RFC 6455 §7.4) becomes 1000.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.engine.close(self.id, code, reason);
    }

    /// Begins, or begins anew, to ask whether the peer is there: first at a time of its own
    /// between half an interval and a whole one from now.
    pub fn begin_heartbeat(&mut self) {
        self.engine.begin_heartbeat(self.id);
    }

    /// To be called when the peer has answered its heartbeat by message (see
    /// [`Accept::heartbeat`](super::Accept::heartbeat)); false if no answer is awaited.
    pub fn answer_heartbeat(&mut self) -> bool {
        self.engine.answer_heartbeat(self.id)
    }

    /// Makes it a member of a channel; [`Handler::joined`] says when the channel's home knows. To
    /// be a member already is no error, and nothing more is said of it.
    pub fn join(&mut self, channel: &str) -> Result<(), JoinError> {
        self.engine.join(self.id, channel)
    }

    /// Has it enter a channel by way of the channel's home: with a position in the channel's
    /// stream, what it has missed, its presence, or whatever else the entry asks for. Where the
    /// home is another shard, [`Handler::entered`] gives its answer. It is a member from the answer
    /// on, not before.
    pub fn enter(&mut self, channel: &str, entry: Entry) -> Result<Asked<Entered>, JoinError> {
        self.engine.enter(self.id, channel, entry)
    }

    /// Asks a channel's home. Where that is another shard, [`Handler::answered`] gives its answer
    /// with the same `id`, which says nothing to anybody else.
    pub fn ask(
        &mut self,
        id: u32,
        channel: &str,
        question: Question,
    ) -> Result<Asked<Answer>, AskError> {
        self.engine.ask(self.id, id, channel, question)
    }

    /// Asks the control thread something that only the application and what stands there
    /// understand. [`Handler::consulted`] gives the answer with the same `id`, which no other open
    /// question of the connection has. If the connection is closed before, nobody works on it any
    /// more.
    pub fn consult(&mut self, id: u32, question: Box<[u8]>) -> Result<(), ConsultError> {
        self.engine.consult(self.id, id, question, false)
    }

    /// The same for a question that waits in line where there is no room for it now: for those that
    /// are soon answered, whoever asks them.
    pub fn consult_in_turn(&mut self, id: u32, question: Box<[u8]>) -> Result<(), ConsultError> {
        self.engine.consult(self.id, id, question, true)
    }

    /// The tag that it entered a channel with ([`Entry::tag`]), 0 where it has joined; `None` if it
    /// is not in it.
    pub fn tag(&self, channel: &str) -> Option<u8> {
        self.engine.tag(self.id, channel)
    }

    /// Keeps back what is published in its channels, until it is released: what it is sent itself
    /// overtakes that. What is kept back counts as unsent output, and ends the connection like any
    /// other at [`Config::output_bytes_max`](crate::Config::output_bytes_max).
    /// [`Handler::missed`] and [`Handler::unreadable`] are called at once.
    pub fn hold_deliveries(&mut self) {
        self.engine.hold_deliveries(self.id);
    }

    /// Sends what was kept back, behind all that it was sent until now, and keeps nothing back any
    /// more.
    pub fn release_deliveries(&mut self) {
        self.engine.release_deliveries(self.id);
    }

    /// Says how many bytes of what it sent the application keeps now, to look at them later. They
    /// count against [`Config::partial_bytes_max`](crate::Config::partial_bytes_max), until the
    /// connection closes or the next call. False if there is no room for more: nothing has changed
    /// then, and what is kept beyond the last call must go.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        self.engine.hold(self.id, bytes)
    }

    /// Has it counted for a user, over all shards, unless `limit` of the user's are counted. The
    /// user's home counts: where that is another shard, [`Handler::signed_in`] gives its answer.
    pub fn sign_in(&mut self, user: &str, limit: u32) -> Result<SignIn, SignInError> {
        self.engine.sign_in(self.id, user, limit)
    }

    /// Notes whose connection it is, empty for nobody's, for what is told to all connections of a
    /// user: see [`Handler::told`].
    pub fn belong_to(&mut self, user: &str) {
        self.engine.belong_to(self.id, user);
    }

    /// Notes one more name under which it can be told something, whosever it is, until it is
    /// [unmarked](Self::unmark) or closed: see [`Handler::told`] and [`Whom::Marked`](super::Whom).
    /// How many each has is for the application to bound.
    pub fn mark(&mut self, mark: &str) {
        self.engine.mark(self.id, mark);
    }

    /// It does not bear this mark any more.
    pub fn unmark(&mut self, mark: &str) {
        self.engine.unmark(self.id, mark);
    }

    /// Whether it is a member of a channel, from a join that was not refused until it leaves.
    pub fn is_member(&self, channel: &str) -> bool {
        self.engine.is_member(self.id, channel)
    }

    /// Has [`Handler::alarm`] called after this time, once, instead of any earlier alarm; `None`
    /// takes it back. As exact as the shard's wheel, whose tick is
    /// [`WHEEL_TICK_MS`](crate::limits::WHEEL_TICK_MS).
    pub fn set_alarm(&mut self, after: Option<Duration>) {
        self.engine.set_alarm(self.id, after);
    }

    /// Shows it otherwise from now on to those who ask who is in its channels: its user, and what
    /// is said of the connection. What is said of it in a channel stays.
    pub fn show_anew(&mut self, present: &Present) {
        self.engine.show_anew(self.id, present);
    }

    /// The same in one channel: what is said of it there is replaced, unless that is nothing.
    pub fn show_anew_in(&mut self, channel: &str, present: &Present) {
        self.engine.show_anew_in(self.id, channel, present);
    }

    /// Ends its membership, or its entry that is under way; false if there was none. Where it was
    /// present, it is not any more. Where its user [acknowledges](crate::Acknowledges), nothing
    /// more is retained once the last of its connections has left so.
    pub fn leave(&mut self, channel: &str) -> bool {
        self.engine.leave(self.id, channel, true)
    }

    /// The same for a connection that is expected back: what is published meanwhile is retained
    /// for its user, as it is when the connection ends.
    pub fn leave_for_now(&mut self, channel: &str) -> bool {
        self.engine.leave(self.id, channel, false)
    }

    /// Publishes to all members of a channel, on all shards, in one order for all of them.
    pub fn publish(&mut self, channel: &str, message: Message<'_>) -> Result<(), PublishError> {
        self.engine.publish(channel, message.kind(), message.payload(), None)
    }

    /// The same, and has the channel's home keep the publication, with its place in the channel's
    /// stream put into it by [`Handler::numbered`], for those who come later, or back.
    pub fn publish_kept(
        &mut self,
        channel: &str,
        message: Message<'_>,
        keep: impl Into<Keep>,
    ) -> Result<(), PublishError> {
        self.engine.publish(channel, message.kind(), message.payload(), Some(keep.into()))
    }

    /// Runs `job` on the pool, and `done` with its result back on this shard.
    ///
    /// If the connection is closed meanwhile, a job that waits is never run, one that runs is told
    /// through [`Cancelled`], and `done` is dropped.
    pub fn offload<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&Cancelled) -> R + Send + 'static,
        done: impl FnOnce(&mut H, &mut Peer<'_, H>, Result<R, JobPanicked>) + 'static,
    ) -> Result<(), OffloadError> {
        let (job, done) = halves(job, done);
        self.engine.offload(self.id, job, done)
    }
}
