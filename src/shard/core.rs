//! A shard without its I/O: bytes and time in, effects and output out.
//!
//! ```text
//!  accepted, readable, received, writable, expired, job done, mesh message
//!      └─▶ Core + handler ─▶ chains of output, effects (watch, shut, cancel), ended connections
//! ```
//!
//! [`Core`] is the state; a [`Turn`] is that state together with the batch that its output goes
//! into, and is what the application sees behind its `Shard`. The parts stand in files of their
//! own: admission, inbound, outbound, deadlines, endings, channels, jobs.
//!
//! Invariants:
//! * *One life, one serial.* An index is used with the serial it was issued with, or not at all.
//! * *The loop releases.* A slot is freed only by [`Core::release`], after the polls of its life
//!   have ended and the batch that its last send pointed into was recycled.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::channels::Channels;
use super::connection::{AddressOf, Connection, Flags};
use super::consultations::Consultations;
use super::copies::Copies;
use super::ending::Ending;
use super::forms::Words;
use super::guard;
use super::handover::Leaver;
use super::heartbeat::Heartbeats;
use super::jobs::Jobs;
use super::listings::Listings;
use super::message::Counted;
use super::moves::Moves;
use super::output::Output;
use super::phase::Phase;
use super::ready::{Rank, Ready};
use super::reports::Reports;
use super::settings::Settings;
use super::sign_ins::SignIns;
use super::slab::{Index, Slab};
use super::stillness::Stillness;
use super::tellings::Tellings;
use super::unarmed::{Unarmed, is_refusal};
use super::wheel::{Tick, Wheel};
use crate::handler::{ConnectionId, Handler, Routes};
use crate::metrics::{Counters, Details};
use crate::ring::{Batch, Operation, Token};

/// What the loop does for the core, at once and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Arm the multishot poll for input.
    Watch(Index),
    /// Arm a poll for room.
    WatchWritable(Index),
    /// Cancel the poll for room, which has found some; its end is taken as the news.
    EndRoomPoll(Index),
    /// `shutdown(2)` of the write side.
    ShutWrite(Index),
    /// `shutdown(2)` of both sides, then cancel the polls.
    Shut(Index),
    /// Cancel the polls, and leave the connection alone: its socket is somebody else's, or its
    /// close is enough.
    Detach(Index),
}

/// All state of one shard.
pub(crate) struct Core<H: Handler> {
    pub(super) number: usize,
    pub(super) shard_count: usize,
    pub(super) settings: Settings,
    pub(super) routes: Routes,
    pub(super) connections: Slab<Connection<H::Connection>>,
    pub(super) wheel: Wheel,
    pub(super) ready: Ready,
    pub(super) output: Output,
    pub(super) channels: Channels,
    pub(super) sign_ins: SignIns,
    pub(super) consultations: Consultations,
    pub(super) reports: Reports,
    pub(super) tellings: Tellings,
    pub(super) listings: Listings,
    pub(super) moves: Moves,
    /// Copies of descriptors that were sent ahead to another process.
    pub(super) copies: Option<Box<Copies>>,
    /// Copies may be open in a process that takes over, or has not ended yet: here or, of a
    /// connection that has moved, by the shard where it was.
    pub(super) has_sent_copies: bool,
    pub(super) jobs: Jobs<H>,
    pub(super) heartbeats: Heartbeats,
    /// Connections that left `Open`, until the handler has heard of it.
    pub(super) endings: VecDeque<Ending<H::Connection>>,
    /// With the serial of the connection meant: its slot may be another's when they are applied.
    pub(super) effects: Vec<(u32, Effect)>,
    /// Connections that wait to be handed over, in the order of their requests.
    pub(super) leavers: VecDeque<Leaver>,
    /// Retiring connections whose polls have all ended.
    pub(super) retired: Vec<Index>,
    /// Connections that can send more of their backlog in the next flush.
    pub(super) writable: Vec<Index>,
    /// Connections that have taken all they were sent, with more set aside for them.
    pub(super) caught_up: VecDeque<(u32, Index)>,
    pub(super) unarmed: Unarmed,
    pub(super) next_serial: u32,
    pub(super) open_count: usize,
    /// Something hangs on the settling of the last flush: reading goes on, a close goes on.
    pub(super) settles_soon: bool,
    /// Bytes of all backlogs, and of all partial messages and heads.
    pub(super) backlog_bytes: usize,
    /// What all that is set aside for slow connections is charged for.
    pub(super) set_aside_bytes: usize,
    pub(super) partial_bytes: usize,
    pub(super) counters: Counters,
    pub(super) details: Details,
    pub(super) now: Instant,
    pub(super) tick: Tick,
    pub(super) stillness: Stillness,
    /// The application was called since the loop last looked at the time.
    pub(super) called: bool,
    /// Commands of clients whose time is in the histogram.
    pub(super) timed_commands: u64,
    /// Asks the kernel for a peer's address.
    pub(super) address_of: AddressOf,
}

impl<H: Handler> Core<H> {
    pub(crate) fn new(
        settings: Settings,
        routes: Routes,
        mut channels: Channels,
        jobs: Jobs<H>,
        now: Instant,
        address_of: AddressOf,
    ) -> Self {
        let words = Words {
            translate: |message| guard(|| H::translate(message)).flatten(),
            number: |message, position| guard(|| H::numbered(message, position)).flatten(),
            whole: |message| guard(|| H::whole(message)).flatten(),
            delta: |message, base| guard(|| H::delta(message, base)).flatten(),
            tag: |message, key, value| guard(|| H::tagged(message, key, value)).flatten(),
            tags: |message| guard(|| H::tags(message)).unwrap_or_default(),
        };
        channels.word_by(words, |channel, events| {
            guard(|| H::joins(channel, events)).unwrap_or_default()
        });
        let wheel = Wheel::new(now);
        let tick = wheel.tick_of(now);
        let sign_ins = SignIns::new(settings.number, settings.shard_count);
        Self {
            number: settings.number,
            shard_count: settings.shard_count,
            connections: Slab::new(settings.entries_max()),
            tellings: Tellings::new(settings.entries_max()),
            listings: Listings::default(),
            moves: Moves::new(
                (settings.balance_difference, settings.shard_count, settings.seats.capacity()),
                now,
                tick,
            ),
            copies: None,
            has_sent_copies: false,
            settings,
            routes,
            wheel,
            ready: Ready::default(),
            output: Output::default(),
            channels,
            sign_ins,
            consultations: Consultations::default(),
            reports: Reports::default(),
            jobs,
            heartbeats: Heartbeats::default(),
            endings: VecDeque::new(),
            effects: Vec::new(),
            leavers: VecDeque::new(),
            retired: Vec::new(),
            writable: Vec::new(),
            caught_up: VecDeque::new(),
            unarmed: Unarmed::default(),
            next_serial: 0,
            open_count: 0,
            settles_soon: false,
            backlog_bytes: 0,
            set_aside_bytes: 0,
            partial_bytes: 0,
            counters: Counters::default(),
            details: Details::default(),
            now,
            tick,
            stillness: Stillness::default(),
            called: false,
            timed_commands: 0,
            address_of,
        }
    }

    pub(crate) fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// A step took this long: it is that of the commands that were in it, in equal shares.
    pub(super) fn time_commands(&mut self, period: Duration) {
        let Self { counters, details, timed_commands, .. } = self;
        let count = counters.client_commands - *timed_commands;
        if count > 0 {
            details.command_seconds.observe(period, count);
            *timed_commands = counters.client_commands;
        }
    }

    /// The next thing for the loop to do.
    pub(crate) fn take_effects(&mut self, into: &mut Vec<(u32, Effect)>) {
        into.append(&mut self.effects);
    }

    pub(crate) fn serial(&self, index: Index) -> u32 {
        self.connections.get(index).map_or(0, |connection| connection.serial)
    }

    /// The connection that `serial` names, not another in its slot.
    pub(super) fn living(
        &mut self,
        index: Index,
        serial: u32,
    ) -> Option<&mut Connection<H::Connection>> {
        let connection = self.connections.get_mut(index)?;
        (connection.serial == serial).then_some(connection)
    }

    /// The connection that a token names; tokens carry 28 bits of the serial.
    pub(super) fn by_token(&mut self, token: Token) -> Option<&mut Connection<H::Connection>> {
        let connection = self.connections.get_mut(Index::new(token.index()))?;
        let same = (connection.serial ^ token.generation()) & Token::GENERATION_MASK == 0;
        same.then_some(connection)
    }

    pub(super) fn open(&mut self, id: ConnectionId) -> Option<&mut Connection<H::Connection>> {
        self.living(Index::new(id.index()), id.serial()).filter(|one| one.phase.is_open())
    }

    pub(super) fn id(&self, index: Index) -> ConnectionId {
        ConnectionId::new(index.as_u32(), self.serial(index))
    }

    /// Input, half-close or an error was reported for a connection.
    pub(crate) fn readable(&mut self, token: Token, half_closed: bool) {
        let Some(connection) = self.by_token(token) else { return };
        if half_closed {
            connection.flags.set(Flags::HALF_CLOSED);
        }
        self.make_ready(Index::new(token.index()));
    }

    /// Puts a connection on the ready list, once, unless its reading is paused.
    pub(super) fn make_ready(&mut self, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let flags = &mut connection.flags;
        if connection.phase == Phase::Retiring || flags.has(Flags::READY) {
            return;
        }
        // A paused one comes back through `resume`, which looks at the socket afresh.
        let is_paused = flags.has(Flags::PAUSED) && connection.phase.is_open();
        if !is_paused || flags.has(Flags::HALF_CLOSED) {
            flags.set(Flags::READY);
            let (serial, rank) = (connection.serial, connection.rank());
            self.ready.push(index, serial, rank);
        }
    }

    /// A poll reported its end, by this result.
    pub(crate) fn poll_ended(&mut self, token: Token, result: i32) {
        let index = Index::new(token.index());
        let readable = token.operation() == Operation::Readable;
        let Some(connection) = self.by_token(token) else { return };
        let flag = if readable { Flags::READ_WATCHED } else { Flags::WRITE_WATCHED };
        connection.flags.clear(flag);
        connection.polls -= 1;
        match connection.phase {
            Phase::Retiring if connection.polls == 0 => self.retired.push(index),
            Phase::Retiring => {}
            _ if is_refusal(result) => self.rest_poll(token),
            // A completion queue that spilled over ends multishots: arm it again, and look, for
            // the edge may have gone with it.
            _ if readable => {
                self.counters.polls_rearmed += 1;
                self.watch(index);
                self.make_ready(index);
            }
            _ => {}
        }
    }

    pub(super) fn watch(&mut self, index: Index) {
        let connection = self.connections.get_mut(index).expect("watched while it lives");
        connection.flags.set(Flags::READ_WATCHED);
        connection.polls += 1;
        let serial = connection.serial;
        self.effects.push((serial, Effect::Watch(index)));
    }

    /// Waits for room in the socket at `index`.
    pub(super) fn watch_writable(&mut self, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.phase != Phase::Retiring {
            connection.flags.set(Flags::WRITE_WATCHED);
            connection.polls += 1;
            let serial = connection.serial;
            self.effects.push((serial, Effect::WatchWritable(index)));
        }
    }

    /// The poll for room goes on after it found some: ends it.
    pub(super) fn end_room_poll(&mut self, token: Token) {
        if self.by_token(token).is_some() {
            let serial = self.serial(Index::new(token.index()));
            self.effects.push((serial, Effect::EndRoomPoll(Index::new(token.index()))));
        }
    }

    /// Whether the peer is known to have sent FIN.
    pub(super) fn is_half_closed(&self, index: Index) -> bool {
        self.connections.get(index).is_some_and(|one| one.flags.has(Flags::HALF_CLOSED))
    }

    /// The earliest time at which something is due, by the wheel or at a home.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let by_wheel = self.wheel.next_deadline().map(|due| due + self.stillness.all());
        by_wheel.into_iter().chain(self.channels.home.next_deadline()).min()
    }

    /// Whether there is work that no completion will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.output.len() > 0 || self.is_pressed()
    }

    /// Whether the next turn may not wait. Plain output may: nothing hangs on its settling, and a
    /// send that fails ends the wait by itself.
    pub(crate) fn is_pressed(&self) -> bool {
        self.settles_soon
            || !self.ready.is_empty()
            || !self.writable.is_empty()
            || !self.effects.is_empty()
            || !self.endings.is_empty()
            || !self.retired.is_empty()
            || !self.caught_up.is_empty()
            || self.tellings.has_work()
            || self.listings.has_work()
            || self.moves.is_looking()
            || self.channels.is_pressed()
    }

    /// Frees the slots of connections that nothing names any more, and closes their sockets.
    /// The caller has just recycled the batch.
    pub(crate) fn release(&mut self) {
        while let Some(index) = self.retired.pop() {
            let connection = self.connections.remove(index);
            assert_eq!((connection.phase, connection.polls), (Phase::Retiring, 0), "{index:?}");
            assert!(!connection.timer.is_scheduled(), "cancelled when it retired");
            self.counters.released += 1;
            if connection.flags.has(Flags::SURPLUS) {
                self.settings.seats.release_surplus();
            } else if self.moves.take_gone(index) {
                self.settings.seats.release_one_of_two(self.number);
            } else {
                self.settings.seats.release(self.number);
            }
        }
    }

    /// Frees what lists have grown to while a crowd came and left.
    pub(super) fn shrink(&mut self) {
        self.connections.release_spare();
        self.ready.shrink();
        self.endings.shrink_to_fit();
        self.effects.shrink_to_fit();
        self.leavers.shrink_to_fit();
        self.retired.shrink_to_fit();
        self.writable.shrink_to_fit();
        self.caught_up.shrink_to_fit();
        self.output.shrink();
        self.sign_ins.shrink();
        self.channels.absences.shrink();
        self.channels.requests.shrink();
    }

    /// The polls that a connection has in the kernel.
    pub(super) fn armed(&self, index: Index) -> impl Iterator<Item = Operation> + use<H> {
        let flags = self.connections.get(index).map_or(Flags::default(), |one| one.flags);
        let readable = flags.has(Flags::READ_WATCHED).then_some(Operation::Readable);
        let writable = flags.has(Flags::WRITE_WATCHED).then_some(Operation::Writable);
        readable.into_iter().chain(writable)
    }

    /// The pattern of a connection's route, for a log.
    pub(super) fn route_of(&self, index: Index) -> &str {
        let route = self.connections.get(index).map_or(0, |connection| connection.route);
        self.routes.pattern_of(route)
    }

    /// What was counted, and what is held now.
    pub(super) fn counted(&self) -> Counted {
        let mut counters = self.counters.clone();
        self.channels.count_into(&mut counters);
        let (mailboxes, mailbox_bytes) = self.channels.home.mailboxes();
        Counted {
            round: 0,
            shard: self.number as u64,
            counters,
            details: self.details.clone(),
            connections: self.connections.len().into(),
            open: self.open_count as u64,
            channels: self.channels.home.order.channel_count().into(),
            subscriptions: self.channels.fanout.membership_count().into(),
            users: self.sign_ins.user_count().into(),
            streams: self.channels.home.streams.count().into(),
            stream_bytes: self.channels.home.streams.bytes() as u64,
            present: self.channels.home.attendance.count().into(),
            mailboxes,
            mailbox_bytes,
            backlog_bytes: (self.backlog_bytes + self.set_aside_bytes) as u64,
            partial_bytes: self.partial_bytes as u64,
            memory: self.memory(),
            timers: self.wheel.len().into(),
            ready: (self.ready_count(Rank::Known) + self.ready_count(Rank::New)) as u64,
            submitted: Vec::new(),
        }
    }

    /// Slots that a connection may be in.
    pub(crate) fn entries_max(&self) -> u32 {
        self.settings.entries_max()
    }

    /// Connections in any phase.
    pub(crate) fn connection_count(&self) -> u32 {
        self.connections.len()
    }
}

/// The core during one turn, with the batch its output goes into.
pub(crate) struct Turn<'a, H: Handler> {
    pub(crate) core: &'a mut Core<H>,
    pub(crate) batch: &'a mut Batch,
}
