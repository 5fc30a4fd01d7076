//! A connection as another process needs it, and one of another process's as a slot of this shard.
//!
//! Pure: sockets are named and kept, and nothing is done with them.

use std::os::fd::OwnedFd;

use super::connection::{Connection, Flags, PartialHead};
use super::core::Core;
use super::guard;
use super::phase::Phase;
use super::returns::{membership_of, name_of};
use super::slab::Index;
use super::wheel::{Tick, ticks_in};
use crate::handler::{ConnectionId, Handler};
use crate::handover::{Connection as Handed, Membership, Stage};
use crate::hub::MemberId;
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::limits::WHEEL_TICK_MS;
use crate::ws::handshake::HeadScanner;
use crate::ws::{Assembler, Role};

/// Why a connection was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is no seat for it.
    NoSeat,
    /// There is no such route here.
    NoRoute,
    /// The application does not understand its state.
    State,
    /// What arrived of its request or message is none by this process's rules.
    Input,
    /// There is no room for a channel that it is in.
    Channels,
    /// There is no room for what users have not acknowledged.
    Mailboxes,
}

/// A connection of a shard that stands still.
pub(super) enum Parcel {
    /// It goes to the other process.
    Goes(Box<Handed>),
    /// It ends with this one.
    Stays,
    /// It cannot go there now.
    Stuck,
}

impl<H: Handler> Core<H> {
    /// Nothing is under way that would change what is handed over.
    pub(super) fn has_settled(&self) -> bool {
        self.output.len() == 0
            && self.effects.is_empty()
            && self.endings.is_empty()
            && self.leavers.is_empty()
            && self.caught_up.is_empty()
            && self.jobs.is_idle()
            && self.sign_ins.is_quiet()
            && self.consultations.is_quiet()
            && self.has_reported()
            && self.moves.is_quiet()
            && !self.tellings.has_work()
            && !self.listings.has_work()
            && self.channels.is_quiet()
    }

    /// Whether somebody waits for what comes from elsewhere: a back end, the keys of a token, the
    /// home of a user, or a job.
    pub(super) fn waits_for_answers(&self) -> bool {
        !(self.consultations.is_quiet() && self.sign_ins.is_quiet() && self.jobs.is_idle())
    }

    pub(super) fn phase(&self, index: Index) -> Option<Phase> {
        self.connections.get(index).map(|connection| connection.phase)
    }

    /// The connection at `index`, for another process.
    pub(super) fn carried(&self, index: Index) -> Parcel {
        let Some(connection) = self.connections.get(index) else { return Parcel::Stuck };
        let head = connection.busy.as_ref().and_then(|busy| busy.head.as_ref());
        let is_introduced = head.is_some_and(|head| head.introduction.is_some());
        if is_introduced || connection.state.as_ref().is_some_and(|state| H::stays(state)) {
            return Parcel::Stays;
        }
        match self.packed(index, connection) {
            Some(handed) => Parcel::Goes(Box::new(handed)),
            None => Parcel::Stuck,
        }
    }

    fn packed(&self, index: Index, connection: &Connection<H::Connection>) -> Option<Handed> {
        let is_open = connection.phase.is_open();
        let mut handed = Handed {
            stage: stage_of(connection.phase)?,
            silence_ms: ms_between(connection.heard, self.tick),
            due_in_ms: ms_between(self.tick, connection.due),
            misses: connection.misses,
            ..Handed::default()
        };
        if connection.phase == Phase::Handshake {
            handed.is_proxied = connection.flags.has(Flags::PROXIED);
        } else {
            handed.is_silent = connection.flags.has(Flags::SILENT);
            self.routes.pattern_of(connection.route).clone_into(&mut handed.route);
        }
        handed.is_half_closed = connection.flags.has(Flags::HALF_CLOSED);
        handed.is_peer_closed = connection.flags.has(Flags::PEER_CLOSED);
        handed.is_ended = connection.flags.has(Flags::ENDED);
        handed.is_asked = connection.flags.has(Flags::ASKED);
        handed.is_surplus = connection.flags.has(Flags::SURPLUS);
        if connection.flags.has(Flags::ALARM) {
            handed.alarm_in_ms = Some(ms_between(self.tick, connection.alarm));
        }
        if is_open {
            let state = connection.state.as_ref().expect("open ones have one");
            handed.state = guard(|| H::pack(state)).flatten()?;
            handed.memberships = self.memberships(index);
            handed.name = name_of(self.channels.here, self.id(index));
        }
        if let Some(busy) = &connection.busy {
            if busy.held_back.is_some() || busy.held_bytes > 0 {
                return None;
            }
            handed.aside = self.carried_aside(busy);
            busy.assembler.replay(&mut handed.input);
            if let Some(head) = &busy.head {
                handed.head.clone_from(&head.bytes);
                handed.client = head.proxied;
            }
            handed.output = busy.backlog.to_vec();
            handed.stalled_ms = ms_between(busy.moved, self.tick);
        }
        Some(handed)
    }

    /// The channels that a connection is in.
    fn memberships(&self, index: Index) -> Vec<Membership> {
        let (fanout, member) = (&self.channels.fanout, MemberId(index.as_u32()));
        let mut all = Vec::new();
        fanout.each_of(member, |channel, standing| {
            let id = fanout.find(channel).expect("it has this member");
            let reading = fanout.reading(id, member).expect("it is one");
            all.push(membership_of(channel, standing, &reading));
        });
        all
    }

    /// Takes a connection over, without touching its socket.
    pub(super) fn take_over(
        &mut self,
        handler: &mut H,
        mut handed: Handed,
        socket: OwnedFd,
    ) -> Result<ConnectionId, Unfit> {
        let id = self.bring_in(handler, &mut handed, socket, false)?;
        self.counters.taken_over += 1;
        for membership in handed.memberships {
            self.channels.readmit(id, handed.name, membership)?;
            self.open(id).expect("seated above").channel_count += 1;
        }
        self.take_over_aside(id, handed.aside)?;
        Ok(id)
    }

    /// The same without its channels. `is_seated`: it has a seat here.
    pub(super) fn bring_in(
        &mut self,
        handler: &mut H,
        handed: &mut Handed,
        socket: OwnedFd,
        is_seated: bool,
    ) -> Result<ConnectionId, Unfit> {
        let serial = self.next_serial;
        let mut connection = Connection::new(socket, serial, self.tick);
        connection.phase = phase_of(handed.stage);
        connection.heard = self.tick.minus(ticks_of(handed.silence_ms));
        connection.due = self.tick.plus(ticks_of(handed.due_in_ms));
        connection.misses = handed.misses;
        let flags = [
            (handed.is_half_closed, Flags::HALF_CLOSED),
            (handed.is_peer_closed, Flags::PEER_CLOSED),
            (handed.is_ended, Flags::ENDED),
            (handed.is_asked, Flags::ASKED),
            (handed.is_surplus, Flags::SURPLUS),
        ];
        for (_, flag) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            connection.flags.set(flag);
        }
        if let Some(ms) = handed.alarm_in_ms {
            connection.flags.set(Flags::ALARM);
            connection.alarm = self.tick.plus(ticks_of(ms));
        }
        self.take_over_stage(handler, handed, &mut connection)?;
        self.take_over_bytes(handed, &mut connection)?;
        self.seat(handed, connection, is_seated)
    }

    /// Its request, or its route and the application's state.
    fn take_over_stage(
        &mut self,
        handler: &mut H,
        handed: &Handed,
        connection: &mut Connection<H::Connection>,
    ) -> Result<(), Unfit> {
        if connection.phase == Phase::Handshake {
            if handed.is_proxied {
                connection.flags.set(Flags::PROXIED);
            }
            return Ok(());
        }
        #[cfg(test)]
        if is_planted(Fault::StateUnfit) {
            return Err(Unfit::State);
        }
        connection.route = self.routes.number_of(&handed.route).ok_or(Unfit::NoRoute)?;
        if connection.phase.is_open() {
            let unpacked = guard(|| handler.unpack(&handed.state)).flatten();
            let (state, heartbeat) = unpacked.ok_or(Unfit::State)?;
            connection.state = Some(state);
            let number = self.heartbeats.number(heartbeat).ok_or(Unfit::State)?;
            connection.flags.set_heartbeat(number);
        }
        if handed.is_silent {
            connection.flags.set(Flags::SILENT);
        }
        Ok(())
    }

    /// What has arrived in part, and what has not left.
    fn take_over_bytes(
        &mut self,
        handed: &mut Handed,
        connection: &mut Connection<H::Connection>,
    ) -> Result<(), Unfit> {
        if !handed.input.is_empty() {
            let limits = self.settings.message_limits(connection.route);
            let mut assembler = Assembler::new();
            match assembler.next(Role::Server, &limits, &mut handed.input) {
                Ok(step) if step.event.is_none() => {}
                _ => return Err(Unfit::Input),
            }
            connection.busy().assembler = assembler;
        }
        if !handed.head.is_empty() || handed.client.is_some() {
            let bytes = std::mem::take(&mut handed.head);
            let mut head = PartialHead { proxied: handed.client, ..PartialHead::default() };
            // A PROXY header that has arrived in part is scanned when it is whole.
            if !handed.is_proxied && !matches!(rescan(&mut head.scanner, &bytes), Ok(None)) {
                return Err(Unfit::Input);
            }
            head.bytes = bytes;
            connection.busy().head = Some(Box::new(head));
        }
        if !handed.output.is_empty() {
            let moved = self.tick.minus(ticks_of(handed.stalled_ms));
            let busy = connection.busy();
            busy.backlog.append(&handed.output);
            busy.moved = moved;
            connection.flags.set(Flags::PAUSED);
        }
        Ok(())
    }

    /// Gives it a slot, and its place in the budgets.
    fn seat(
        &mut self,
        handed: &Handed,
        connection: Connection<H::Connection>,
        is_seated: bool,
    ) -> Result<ConnectionId, Unfit> {
        let seats = &self.settings.seats;
        let has_seat = if is_seated {
            true
        } else if handed.is_surplus {
            seats.reserve_surplus()
        } else {
            seats.reserve_here(self.number)
        };
        if !has_seat {
            return Err(Unfit::NoSeat);
        }
        let is_open = connection.phase.is_open();
        let backlog_bytes = connection.backlog_bytes();
        let partial_bytes = connection.busy.as_ref().map_or(0, |busy| busy.partial_bytes());
        let Ok(index) = self.connections.insert(connection) else {
            unreachable!("the slab has an entry for every seat and surplus slot")
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        self.open_count += usize::from(is_open);
        self.backlog_bytes += backlog_bytes;
        self.partial_bytes += partial_bytes;
        if backlog_bytes > 0 {
            self.writable.push(index);
        }
        self.schedule(index);
        Ok(self.id(index))
    }

    /// Watches connections that were taken over, from slot `cursor` on, at most `share` of them;
    /// where to go on, if there are more.
    pub(super) fn watch_from(&mut self, cursor: u32, share: u32) -> Option<u32> {
        let end = self.entries_max();
        let stop = end.min(cursor.saturating_add(share));
        for index in (cursor..stop).map(Index::new) {
            let is_watched = self.connections.get(index).is_none_or(|one| {
                one.phase == Phase::Retiring || one.flags.has(Flags::READ_WATCHED)
            });
            if !is_watched {
                self.watch(index);
                // What was known to be ready before is no news to the poll.
                self.make_ready(index);
            }
        }
        (stop < end).then_some(stop)
    }
}

type Scanned = Result<Option<usize>, crate::ws::handshake::HeadError>;

fn rescan(scanner: &mut HeadScanner, bytes: &[u8]) -> Scanned {
    if bytes.is_empty() { Ok(None) } else { scanner.scan(bytes) }
}

fn stage_of(phase: Phase) -> Option<Stage> {
    Some(match phase {
        Phase::Handshake => Stage::Handshake,
        Phase::Open => Stage::Open,
        Phase::Closing => Stage::Closing,
        Phase::Discarding => Stage::Discarding,
        Phase::Lingering => Stage::Lingering,
        Phase::Retiring => return None,
    })
}

fn phase_of(stage: Stage) -> Phase {
    match stage {
        Stage::Handshake => Phase::Handshake,
        Stage::Open => Phase::Open,
        Stage::Closing => Phase::Closing,
        Stage::Discarding => Phase::Discarding,
        Stage::Lingering => Phase::Lingering,
    }
}

fn ms_between(earlier: Tick, later: Tick) -> u64 {
    u64::from(later.since(earlier)) * WHEEL_TICK_MS
}

fn ticks_of(ms: u64) -> u32 {
    ticks_in(std::time::Duration::from_millis(ms))
}
