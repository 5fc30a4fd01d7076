//! What is due when: handshake, idle, heartbeat, slow output, the application's alarm, close.
//!
//! A connection stands in the wheel once, at its earliest deadline. Bytes from the peer do not
//! move it: when it fires, the facts say whether anything is really due, and where it stands next.

use std::time::Duration;

use super::connection::{Connection, Flags};
use super::core::{Core, Turn};
use super::guard;
use super::heartbeat::{Beat, next_beat};
use super::phase::Phase;
use super::settings::Settings;
use super::slab::Index;
use super::wheel::{Tick, ticks_in};
use crate::handler::{Cause, Handler, Peer};
use crate::ws::close::code;

/// Something that a connection is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The request head is not complete in time.
    Handshake,
    /// Nothing was heard for the route's idle time.
    Idle,
    /// The next step of its heartbeat.
    Beat(Beat),
    /// The backlog did not move for the write timeout.
    Stalled,
    /// The application wanted to be called.
    Alarm,
    /// The peer did not finish the close in time.
    Close,
}

/// The deadline that comes first, and what it is for.
fn earliest<S>(
    connection: &Connection<S>,
    settings: &Settings,
    idle_ticks: Option<u32>,
) -> Option<(Tick, Due)> {
    let heard = connection.heard;
    match connection.phase {
        Phase::Handshake => Some((heard.plus(settings.handshake_ticks), Due::Handshake)),
        Phase::Closing | Phase::Discarding | Phase::Lingering => Some((connection.due, Due::Close)),
        Phase::Retiring => None,
        Phase::Open => {
            let stalled = connection.busy.as_ref().filter(|busy| !busy.backlog.is_empty());
            let stalled = stalled.map(|busy| (busy.moved.plus(settings.write_ticks), Due::Stalled));
            let idle = idle_ticks.map(|ticks| (heard.plus(ticks), Due::Idle));
            let beat = next_beat(connection, settings);
            let beat = beat.map(|beat| (connection.due, Due::Beat(beat)));
            let is_set = connection.flags.has(Flags::ALARM);
            let alarm = is_set.then_some((connection.alarm, Due::Alarm));
            [stalled, idle, beat, alarm]
                .into_iter()
                .flatten()
                .reduce(|first, other| if other.0.is_before(first.0) { other } else { first })
        }
    }
}

impl<H: Handler> Core<H> {
    fn earliest_of(&self, index: Index) -> Option<(Tick, Due)> {
        let connection = self.connections.get(index)?;
        let idle = self.settings.idle_ticks(connection.route);
        earliest(connection, &self.settings, idle)
    }

    /// Puts a connection into the wheel where its facts say.
    pub(super) fn schedule(&mut self, index: Index) {
        match self.earliest_of(index) {
            Some((tick, _)) => self.wheel.schedule(&mut self.connections, index, tick),
            None => {
                self.wheel.cancel(&mut self.connections, index);
            }
        }
    }
}

impl<H: Handler> Core<H> {
    /// Has the application called after this time, or not at all.
    pub(super) fn set_alarm(&mut self, index: Index, after: Option<Duration>) {
        let tick = self.tick;
        let connection = self.connections.get_mut(index).expect("open");
        connection.flags.clear(Flags::ALARM);
        if let Some(after) = after {
            connection.flags.set(Flags::ALARM);
            connection.alarm = tick.plus(ticks_in(after));
        }
        self.schedule(index);
    }
}

impl<H: Handler> Turn<'_, H> {
    pub(super) fn reschedule(&mut self, index: Index) {
        self.core.schedule(index);
    }

    /// Handles what is due, within `looks` nodes of the wheel.
    pub(crate) fn expire(&mut self, handler: &mut H, looks: &mut u32) {
        loop {
            let core = &mut *self.core;
            let now = core.served();
            let Some(index) = core.wheel.expire(&mut core.connections, now, looks) else { return };
            let due = self.core.earliest_of(index);
            if let Some((tick, due)) = due
                && !self.core.tick.is_before(tick)
            {
                match due {
                    Due::Alarm => self.alarm(handler, index),
                    due => self.fire(index, due),
                }
                self.tell_endings(handler);
            }
            if self.core.connections.get(index).is_some_and(|one| one.phase != Phase::Retiring) {
                self.core.schedule(index);
            }
        }
    }

    fn alarm(&mut self, handler: &mut H, index: Index) {
        let connection = self.core.connections.get_mut(index).expect("it was in the wheel");
        connection.flags.clear(Flags::ALARM);
        let id = self.core.id(index);
        self.core.called = true;
        self.core.speaks_for(id);
        if guard(|| handler.alarm(&mut Peer::new(self, id))).is_none() {
            self.panicked(index);
        }
    }

    fn fire(&mut self, index: Index, due: Due) {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("it was in the wheel");
        // Nobody was heard meanwhile: each has all of its time once more.
        let heard_anew = core.stillness.went_on_since(connection.heard);
        match due {
            Due::Handshake | Due::Idle if heard_anew => connection.heard = core.tick,
            Due::Handshake => {
                core.counters.handshake_timeouts += 1;
                self.refuse_late(index);
            }
            // It is not read from until its output has left: that nothing was heard says nothing,
            // and the write timeout watches over it.
            Due::Idle if connection.backlog_bytes() > 0 => connection.heard = core.tick,
            Due::Idle => {
                core.counters.idle_timeouts += 1;
                self.close_from_here(index, Cause::Idle, code::GOING_AWAY, "idle");
            }
            Due::Beat(beat) => self.beat(index, beat),
            Due::Stalled if core.stillness.went_on_since(connection.busy().moved) => {
                connection.busy().moved = core.tick;
            }
            Due::Stalled => {
                core.counters.write_timeouts += 1;
                self.cut_slow(index, "write timeout");
            }
            Due::Alarm => unreachable!("the handler is called for it"),
            Due::Close => {
                if connection.phase == Phase::Lingering && connection.flags.has(Flags::PEER_CLOSED)
                {
                    core.counters.lingers_ended += 1;
                } else {
                    core.counters.close_timeouts += 1;
                }
                self.retire(index);
            }
        }
    }
}
