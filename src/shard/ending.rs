//! How connections end: the close sequence, and telling the handler, once.

use super::connection::Flags;
use super::core::{Core, Effect, Turn};
use super::guard;
use super::log::log_closed;
use super::phase::{Event, Phase};
use super::slab::Index;
use crate::handler::{Cause, Closed, ClosedConnection, ConnectionId, Handler, Shard};
use crate::hub::MemberId;
use crate::limits::DRAIN_SHARE;
use crate::metrics::Counters;
use crate::ws::close::{code, cut_reason, may_be_sent};
use crate::ws::encode_close;

/// A connection that left `Open`, until its handler was told.
pub(super) struct Ending<S> {
    pub(super) id: ConnectionId,
    pub(super) route: u16,
    pub(super) state: Option<S>,
    pub(super) closed: Closed,
}

impl<H: Handler> Turn<'_, H> {
    /// Starts the close handshake from our side: the Close frame seals the output.
    pub(super) fn close_from_here(&mut self, index: Index, cause: Cause, code: u16, reason: &str) {
        let code = if may_be_sent(code) { code } else { code::NORMAL };
        let reason = cut_reason(reason);
        if self.leave_open(index, cause, code, reason) {
            self.queue_close(index, code, reason);
            self.step(index, Event::CloseSent);
            // Reading may have been paused; from now on it waits for nothing.
            self.core.make_ready(index);
            self.patience(index);
        }
    }

    /// Answers the peer's Close, or a fault of the peer's: nothing more is parsed after it.
    pub(super) fn close_for_good(&mut self, index: Index, cause: Cause, code: u16, reason: &str) {
        if self.leave_open(index, cause, code, reason) {
            if may_be_sent(code) {
                self.queue_close(index, code, reason);
            } else if code == code::NO_STATUS {
                self.core.details.closes.sent(code);
                self.queue_last(index, &crate::ws::encode::CLOSE);
            }
            self.seal(index);
        }
    }

    /// What is queued still goes out, but nothing of the peer's is looked at any more.
    pub(super) fn seal(&mut self, index: Index) {
        self.step(index, Event::Sealed);
        self.core.make_ready(index);
        self.drop_partial(index);
        self.patience(index);
        self.touch(index);
    }

    /// The peer's Close came after ours, or its stream ended: no need to parse any more.
    pub(super) fn peer_closed(&mut self, index: Index) {
        self.step(index, Event::PeerClosed);
        self.drop_partial(index);
        self.touch(index);
    }

    /// The peer's stream is over; what it sent before has been handled.
    pub(super) fn end_of_stream(&mut self, index: Index) {
        let connection = self.core.connections.get_mut(index).expect("being read");
        connection.flags.set(Flags::ENDED);
        match connection.phase {
            Phase::Open => {
                self.leave_open(index, Cause::Vanished, code::ABNORMAL, "");
                self.seal(index);
            }
            Phase::Closing => self.peer_closed(index),
            Phase::Discarding => self.touch(index),
            Phase::Handshake => self.retire(index),
            Phase::Lingering => self.part(index),
            Phase::Retiring => {}
        }
    }

    /// Ends a connection at once, whatever it was doing.
    pub(super) fn cut(&mut self, index: Index, cause: Cause, code: u16, reason: &str) {
        self.leave_open(index, cause, code, reason);
        self.retire(index);
    }

    /// Takes an open connection away from its application; false if it was not open.
    fn leave_open(&mut self, index: Index, cause: Cause, code: u16, reason: &str) -> bool {
        let shard = &mut *self.core;
        let Some(connection) = shard.connections.get_mut(index) else { return false };
        if !connection.phase.is_open() {
            return false;
        }
        let id = ConnectionId::new(index.as_u32(), connection.serial);
        let told = Ending {
            id,
            route: connection.route,
            state: connection.state.take(),
            closed: Closed { cause, code, reason: reason.into() },
        };
        if let Some(busy) = &mut connection.busy {
            // It goes with the state.
            shard.partial_bytes -= std::mem::take(&mut busy.held_bytes);
        }
        shard.forget_consults(id);
        shard.tellings.forget(MemberId(index.as_u32()));
        shard.take_held_back(index);
        shard.end_set_aside(index);
        let connection = shard.connections.get_mut(index).expect("seen above");
        let flags = connection.flags;
        let channel_count = std::mem::take(&mut connection.channel_count);
        shard.endings.push_back(told);
        shard.open_count -= 1;
        count(&mut shard.counters, cause);
        if channel_count > 0 {
            shard.channels.leave_all(id);
        }
        if flags.has(Flags::JOBS) {
            shard.counters.jobs_cancelled += shard.jobs.cancel_of(id);
        }
        true
    }

    fn queue_close(&mut self, index: Index, code: u16, reason: &str) {
        let mut frame = Vec::with_capacity(crate::ws::encode::CONTROL_FRAME_BYTES_MAX);
        encode_close(&mut frame, code, reason);
        self.core.details.closes.sent(code);
        self.queue_last(index, &frame);
    }

    /// Queues the Close, whatever the bound: it is one frame, the last, and it must also arrive
    /// behind a full backlog. A cut from here would end the connection a second time.
    fn queue_last(&mut self, index: Index, frame: &[u8]) {
        let piece = self.copied(&[frame]);
        self.touch(index);
        let chain = self.core.connections.get(index).expect("touched").chain;
        self.core.output.push(chain, piece);
    }

    /// From now on the peer has the close timeout to finish its part.
    fn patience(&mut self, index: Index) {
        let core = &mut *self.core;
        let due = core.tick.plus(core.settings.close_ticks);
        core.connections.get_mut(index).expect("closing").due = due;
        core.wheel.schedule(&mut core.connections, index, due);
    }

    /// Both Close frames and our FIN are out: the peer may end the TCP connection first, for a
    /// moment, but a server need not wait for it (RFC 6455 §7.1.1).
    fn linger(&mut self, index: Index) {
        let core = &mut *self.core;
        let due = core.tick.plus(core.settings.linger_ticks);
        core.connections.get_mut(index).expect("lingering").due = due;
        core.wheel.schedule(&mut core.connections, index, due);
    }

    fn step(&mut self, index: Index, event: Event) {
        let connection = self.core.connections.get_mut(index).expect("stepping while it lives");
        connection.phase = connection.phase.on(event);
    }

    /// All output of a discarding connection has left: send FIN, or be done if the peer is.
    pub(super) fn flushed(&mut self, index: Index) {
        let connection = self.core.connections.get_mut(index).expect("flushed while it lives");
        if connection.phase != Phase::Discarding {
            return;
        }
        if connection.flags.has(Flags::ENDED) {
            self.part(index);
            return;
        }
        let said_all = connection.flags.has(Flags::PEER_CLOSED);
        self.step(index, Event::Flushed);
        if said_all {
            self.linger(index);
        }
        let serial = self.core.serial(index);
        self.core.effects.push((serial, Effect::ShutWrite(index)));
        self.core.make_ready(index);
    }

    /// Both sides have said all: the descriptor's close is all that TCP needs to end well, if there
    /// is no other descriptor of the socket.
    fn part(&mut self, index: Index) {
        let is_alone = !self.core.has_sent_copies;
        let last = if is_alone { Effect::Detach(index) } else { Effect::Shut(index) };
        self.retire_with(index, last);
    }

    /// Shuts the socket down and waits for the kernel to let go of it.
    pub(super) fn retire(&mut self, index: Index) {
        self.retire_with(index, Effect::Shut(index));
    }

    /// The same with another last effect on the socket.
    pub(super) fn retire_with(&mut self, index: Index, last: Effect) {
        self.drop_partial(index);
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("retired once");
        if connection.phase == Phase::Retiring {
            return;
        }
        core.backlog_bytes -= connection.backlog_bytes();
        connection.busy = None;
        connection.phase = connection.phase.on(Event::Over);
        core.effects.push((connection.serial, last));
        if connection.polls == 0 {
            core.retired.push(index);
        }
        core.end_copy(index);
        core.wheel.cancel(&mut core.connections, index);
    }

    /// Gives back what was kept of a head or message that will never be whole.
    fn drop_partial(&mut self, index: Index) {
        let core = &mut *self.core;
        let Some(connection) = core.connections.get_mut(index) else { return };
        let Some(busy) = &mut connection.busy else { return };
        core.partial_bytes -= busy.partial_bytes();
        busy.assembler = crate::ws::Assembler::new();
        busy.head = None;
        busy.held_bytes = 0;
        connection.calm();
    }

    /// Closes a share of the connections of a stopping shard, from slot `cursor` on; all that is
    /// left when it is `late`. Returns where to go on.
    pub(super) fn close_share(&mut self, handler: &mut H, cursor: u32, late: bool) -> u32 {
        let end = self.core.settings.entries_max();
        let stop = if late { end } else { end.min(cursor.saturating_add(DRAIN_SHARE)) };
        let start = if late { 0 } else { cursor };
        for index in (start..stop).map(Index::new) {
            let phase = self.core.connections.get(index).map(|connection| connection.phase);
            match phase {
                None | Some(Phase::Retiring) => {}
                Some(_) if late => {
                    self.core.counters.drain_cuts += 1;
                    self.cut(index, Cause::Shutdown, code::ABNORMAL, "");
                }
                Some(Phase::Open) => {
                    let (code, reason) = self.core.farewell_of(index);
                    self.close_from_here(index, Cause::Shutdown, code, reason);
                }
                Some(Phase::Handshake) => self.retire(index),
                Some(Phase::Closing | Phase::Discarding | Phase::Lingering) => {}
            }
        }
        self.tell_endings(handler);
        stop
    }

    /// Tells the handler of connections that ended. Called after every step that may end one.
    pub(super) fn tell_endings(&mut self, handler: &mut H) {
        while let Some(ending) = self.core.endings.pop_front() {
            let Ending { id, route, state, closed } = ending;
            self.core.called = true;
            log_closed(id, &closed);
            let told = guard(|| {
                if let Some(state) = state {
                    handler.close(&mut Shard::new(self), state, &closed);
                }
            });
            if told.is_none() {
                self.core.counters.handler_panics += 1;
            }
            let Core { routes, counters, .. } = &mut *self.core;
            {
                let connection =
                    ClosedConnection { route: routes.pattern_of(route), closed: &closed };
                for link in routes.links(route).rev() {
                    if guard(|| link.borrow_mut().after_close(&connection)).is_none() {
                        counters.handler_panics += 1;
                    }
                }
            }
        }
    }
}

impl<H: Handler> Core<H> {
    pub(super) fn farewell_of(&self, index: Index) -> (u16, &'static str) {
        let route = self.connections.get(index).map_or(0, |connection| connection.route);
        self.routes.farewell_of(route)
    }
}

fn count(counters: &mut Counters, cause: Cause) {
    let counter = match cause {
        Cause::Application => &mut counters.closed_application,
        Cause::Peer => &mut counters.closed_peer,
        Cause::Vanished => &mut counters.closed_vanished,
        Cause::Violation => &mut counters.closed_violation,
        Cause::Idle => &mut counters.closed_idle,
        Cause::Unresponsive => &mut counters.closed_unresponsive,
        Cause::Overflow => &mut counters.closed_overflow,
        Cause::Panic => &mut counters.closed_panic,
        Cause::Shutdown => &mut counters.closed_shutdown,
    };
    *counter += 1;
}
