//! Connections that move from one shard of this process to another, as they are, while both serve.
//!
//! ```text
//!   old shard                                 new shard
//!     second seat, copy of the descriptor ══▶   keeps it, holds its channels, and has
//!     ◀─────────── Pinned ── their homes ◀─ Pin ─ their homes pin them (`pins`)
//!     ◀─────────────────────────────── Ready   (or Refused: no descriptor, no room)
//!     still idle? ─yes─▶ Goes, with its record ─▶ a connection of this shard
//!        └─ no ──▶ Stays ─────────────────────▶ closes the copy
//! ```
//!
//! The record is that of a hand-over to another process. Invariants: until `Goes` is on its way the
//! connection is the old shard's, which serves it as if nothing were; from then on it is the new
//! one's. Whoever has it reads what the other has not, and nothing of it is unsent; what it says
//! from the new shard comes to no home before what it has said from the old one, for it goes only
//! when all others have taken that. Every offer is answered, every answer too, and what finds no
//! room in the mesh waits here: a few messages for each move.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arriving::Arrival;
#[cfg(test)]
use super::balance::Why;
use super::balance::{Balance, Gift, Stance, Thermometer};
use super::core::Core;
use super::departing::Departure;
use super::message::Message;
use super::slab::Index;
use super::wheel::Tick;
use crate::handler::{ConnectionId, Handler};
use crate::hub::ShardId;
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::limits::{MOVE_LOOKS_PER_PERIOD_MAX, MOVE_SPOKEN_FOR_MAX, MOVES_UNDER_WAY_MAX};
use crate::mesh::{Class, Member, MemberId};

/// A move, by the shard that the connection comes from and that one's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MoveId {
    pub(crate) from: u16,
    pub(crate) number: u32,
}

impl MoveId {
    /// Before all others, and behind them.
    pub(super) const MIN: Self = Self { from: 0, number: 0 };
    pub(super) const MAX: Self = Self { from: u16::MAX, number: u32::MAX };
}

/// A step of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) id: MoveId,
    pub(crate) step: MoveStep,
}

/// See the picture above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MoveStep {
    /// To the old shard: it may come.
    Ready,
    /// To the old shard: it cannot.
    Refused,
    /// To the new shard: it does not.
    Stays,
    /// To the new shard: it is yours, and has been told so many words.
    Goes { words: u64, record: Arc<[u8]> },
    /// To the home of one of its channels: put a pin into the queues to both shards.
    Pin { to: u16, channel: Arc<str>, hears_joins: bool },
    /// From the home, to both: this is the pin.
    Pinned { channel: Arc<str> },
    /// From the home, to the new shard: there is none, for want of room.
    Unpinned,
}

/// Whether connections come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They do.
    On,
    /// None begins to; those under way come to their end.
    Off,
    /// The same, and who arrives all the same is told that the server stops.
    Stopping,
}

/// The moves of one shard, in both directions.
pub(super) struct Moves {
    pub(super) mode: Mode,
    balance: Balance,
    thermometer: Thermometer,
    gift: Gift,
    /// Offers made so far.
    pub(super) next_number: u32,
    /// The next slot to look at.
    pub(super) cursor: u32,
    /// Slots that may still be looked at for the present gift.
    pub(super) looks_left: u32,
    /// When each other shard had last taken all that was said to it from here.
    heard: Box<[Option<Tick>]>,
    /// When the application was last told something for connections.
    told: Tick,
    /// When it last spoke for one that had not spoken itself: of the last of them.
    spoken_for: BTreeMap<ConnectionId, Tick>,
    /// Those from here, by their numbers.
    pub(super) departures: BTreeMap<u32, Departure>,
    /// Slots of connections that have gone, whose polls have not ended yet.
    pub(super) gone: Vec<Index>,
    /// Those to here.
    pub(super) arrivals: BTreeMap<MoveId, Arrival>,
    /// Messages for which the mesh had no room, in their order.
    owed: VecDeque<(MemberId, Message)>,
    /// An arrival is being taken in: what the process has counted of it, it has counted.
    pub(super) is_taking_in: bool,
}

impl Moves {
    pub(super) fn new(
        (difference_min, shard_count, capacity): (Option<u32>, usize, u32),
        now: Instant,
        tick: Tick,
    ) -> Self {
        Self {
            mode: Mode::Off,
            balance: Balance::new(difference_min, capacity, now),
            thermometer: Thermometer::new(now),
            gift: Gift::default(),
            next_number: 0,
            cursor: 0,
            looks_left: 0,
            heard: vec![None; shard_count].into(),
            told: tick,
            spoken_for: BTreeMap::new(),
            departures: BTreeMap::new(),
            gone: Vec::new(),
            arrivals: BTreeMap::new(),
            owed: VecDeque::new(),
            is_taking_in: false,
        }
    }

    /// Whether no connection is about to come or to go.
    pub(super) fn is_quiet(&self) -> bool {
        self.departures.is_empty() && self.arrivals.is_empty() && self.owed.is_empty()
    }

    /// Has this shard give all that it has, but no more than so many.
    #[cfg(test)]
    pub(super) fn give_all_to(&mut self, to: usize, count: u32) {
        self.gift = Gift { to, level: u32::MAX, count, why: Why::Uneven };
        (self.cursor, self.looks_left) = (0, 100);
    }

    /// Whether more connections are to be looked for at once.
    pub(super) fn is_looking(&self) -> bool {
        let has_room = self.departures.len() < MOVES_UNDER_WAY_MAX;
        self.gift.count > 0 && self.looks_left > 0 && has_room
    }

    /// What is left of the present gift.
    pub(super) fn gift(&mut self) -> &mut Gift {
        &mut self.gift
    }

    /// Whether whatever a connection has said until then was taken by all other shards: what it
    /// says from another one cannot overtake it.
    pub(super) fn is_all_heard(&self, here: usize, said: Tick) -> bool {
        let is_heard = |at: &Option<Tick>| at.is_some_and(|at| said.is_before(at));
        let others = self.heard.iter().enumerate().filter(|(shard, _)| *shard != here);
        others.map(|(_, at)| at).all(is_heard)
    }

    /// Whether the connection in this slot has gone, and its seat with it; asked once.
    pub(super) fn take_gone(&mut self, index: Index) -> bool {
        let place = self.gone.iter().position(|gone| *gone == index);
        place.map(|place| self.gone.swap_remove(place)).is_some()
    }

    /// Says a step to another shard, behind what it is still to hear.
    pub(super) fn say(
        &mut self,
        mesh: &mut Member<Message>,
        to: usize,
        id: MoveId,
        step: MoveStep,
    ) {
        let message = Message::Move(Box::new(Move { id, step }));
        self.owed.push_back((MemberId::new(to), message));
        self.send_owed(mesh);
    }

    /// Hands on what is owed, as far as there is room.
    fn send_owed(&mut self, mesh: &mut Member<Message>) {
        let mut full: Vec<MemberId> = Vec::new();
        self.owed.retain(|(to, message)| {
            if full.contains(to) {
                return true;
            }
            let is_full = mesh.send(*to, message.clone(), Class::Delivery).is_err();
            full.extend(is_full.then_some(*to));
            is_full
        });
    }
}

impl<H: Handler> Core<H> {
    /// Once a turn: what did not fit earlier, and whether there is something to give away.
    pub(super) fn look_at_moves(&mut self) {
        self.advance_arrivals();
        self.moves.send_owed(&mut self.channels.mesh);
        if self.moves.mode != Mode::On || !H::is_movable() {
            self.moves.gift.count = 0;
            return;
        }
        self.look_who_has_heard();
        if !self.moves.balance.is_due(self.now) {
            return;
        }
        let stances = self.stances();
        let gift = self.moves.balance.look(self.now, self.number, &stances);
        if gift.count > 0 && self.moves.gift.count == 0 {
            tracing::debug!(shard = self.number, ?gift, "connections move to another shard");
        }
        self.moves.gift = gift;
        self.forget_spoken_for();
        self.moves.looks_left = self.entries_max().min(MOVE_LOOKS_PER_PERIOD_MAX);
    }

    /// How all shards stand.
    fn stances(&self) -> Vec<Stance> {
        let seats = &self.settings.seats;
        let counts = seats.all_taken().into_iter().zip(seats.heats(self.now));
        let mut stances: Vec<Stance> =
            counts.map(|(count, (core, heat))| Stance { count, core, heat }).collect();
        // Those under way have a seat elsewhere already.
        let leaving = self.moves.departures.len() + self.moves.gone.len();
        let leaving = u32::try_from(leaving).expect("few are under way");
        let own = &mut stances[self.number].count;
        *own = own.saturating_sub(leaving);
        stances
    }

    /// Whether others are to hear how busy this shard was.
    pub(super) fn is_heat_due(&self) -> bool {
        let may_move = self.settings.balance_difference.is_some() && self.shard_count > 1;
        may_move && H::is_movable() && self.moves.thermometer.is_due(self.now)
    }

    /// The thread of this shard has run for so long.
    pub(super) fn note_heat(&mut self, ran: Duration) {
        let heat = self.moves.thermometer.read(self.now, ran);
        self.settings.seats.note_heat(self.number, heat, self.now);
    }

    /// What all others have heard need not be known any more.
    fn forget_spoken_for(&mut self) {
        let mut spoken_for = std::mem::take(&mut self.moves.spoken_for);
        spoken_for.retain(|_, said| !self.moves.is_all_heard(self.number, *said));
        self.moves.spoken_for = spoken_for;
    }

    /// While connections may go: which other shards have taken all that was said here.
    fn look_who_has_heard(&mut self) {
        let Self { moves, channels, tick, number, .. } = self;
        if self.tellings.has_work() {
            moves.told = *tick;
        }
        if moves.gift.count == 0 && moves.departures.is_empty() {
            return;
        }
        for (shard, at) in moves.heard.iter_mut().enumerate().filter(|(one, _)| one != number) {
            // What found no room in the mesh is still to be said.
            let home = ShardId::new(shard);
            let is_owed = channels.absences.owes(home) || channels.fanout.has_changes(home);
            if !is_owed && channels.mesh.has_taken_all(MemberId::new(shard)) {
                *at = Some(*tick);
            }
        }
    }

    /// What the application says now for a connection that has not spoken itself, such as a command
    /// that waited for an answer, is on its way as what the connection says.
    pub(super) fn speaks_for(&mut self, connection: ConnectionId) {
        #[cfg(test)]
        if is_planted(Fault::SpokenForUnheard) {
            return;
        }
        let Moves { spoken_for, told, .. } = &mut self.moves;
        if spoken_for.len() >= MOVE_SPOKEN_FOR_MAX {
            // It has spoken for so many that it may have spoken for anybody.
            spoken_for.clear();
            *told = self.tick;
        }
        spoken_for.insert(connection, self.tick);
    }

    /// Whether a connection that has spoken at this time has said nothing since that is still on
    /// its way to a home, and nor has the application for it.
    pub(super) fn is_heard_out(&self, index: Index, spoken: Tick) -> bool {
        let moves = &self.moves;
        let is_all_heard = |said| moves.is_all_heard(self.number, said);
        let spoken_for = moves.spoken_for.get(&self.id(index)).copied();
        #[cfg(test)]
        let spoken = if is_planted(Fault::SpokenUnheard) { moves.told } else { spoken };
        is_all_heard(spoken) && is_all_heard(moves.told) && spoken_for.is_none_or(is_all_heard)
    }

    /// When to look whether this shard has something to give away.
    pub(super) fn next_look_at_moves(&self) -> Option<Instant> {
        let may_move = self.moves.mode == Mode::On && H::is_movable() && self.shard_count > 1;
        let count = self.connections.len();
        may_move.then(|| self.moves.balance.next_deadline(count)).flatten()
    }
}

#[cfg(test)]
mod hitches;
#[cfg(test)]
mod tests;
