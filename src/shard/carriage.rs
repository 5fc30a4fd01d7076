//! A shard on its way to another process: standing still, and sending all that it has.
//!
//! ```text
//!   Ahead ──▶ copies of descriptors, while it serves (`ahead`)
//!   Freeze ─▶ accepts cancelled, jobs finished, messages answered, sends settled
//!   Survey ─▶ how much was said and heard, until nothing is on its way between any two
//!   Send ───▶ connections, in slot order, to the other process's shards in turn, or to where
//!             their copies are
//!             ─▶ end on every way ─▶ Moved
//! ```
//!
//! The polls stay armed: a poll takes nothing from a socket, and what it reports meanwhile stands
//! on the ready list if the shard goes on after all. Invariant: from the first record to the
//! `Thaw` nothing is read from a client, written to it or closed.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::carried::Parcel;
use super::copies::{Deal, number_of};
use super::estate::Estate;
use super::event_loop::{Loop, Service};
use super::phase::Phase;
use super::slab::Index;
use super::way::{Carried, NewWay, Sent, Way};
use crate::handler::Handler;
use crate::hub::Homes;
use crate::limits::{HANDED_MESSAGES_SHARE, HANDED_PATIENCE, HANDED_PAUSE};
use crate::mesh::{Class, MemberId};
use crate::shard::message::{HandOver, Message};
use crate::sys::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Accepts, jobs and sends come to their end.
    Settling,
    /// All of it has, in all shards.
    Settled,
    /// Records leave.
    Sending,
    /// The ends stand behind the last records.
    Ending,
    /// All has left, or cannot; the control thread knows.
    Told,
}

/// Where a shard stands with it.
pub(super) struct Carriage {
    state: State,
    /// Tells this hand-over's ways from those of earlier ones.
    attempt: u8,
    /// Shards of the other process.
    shard_count: usize,
    /// By their numbers; those that copies were sent on ahead, or none before all are open.
    ways: Vec<Way>,
    /// Which of them each connection takes.
    deal: Deal,
    /// The next slot to look at.
    cursor: u32,
    /// What the homes here have left so far.
    estate: Estate,
    /// Which of the other process's shards is the home of a channel.
    homes: Homes,
    connections: u64,
    /// Those of them whose copies were there.
    copied: u64,
    /// Connections that end with this process.
    staying: Vec<Index>,
    retry_at: Option<Instant>,
    was_crowded: bool,
    /// When whoever waits for the control thread waits no longer.
    patience_ends: Instant,
}

impl Carriage {
    /// Whether others are still told what was under way.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.state, State::Settling | State::Settled)
    }

    /// How long there is nothing to do for it.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        match self.state {
            State::Settling | State::Settled => HANDED_PAUSE,
            State::Sending | State::Ending => {
                self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            }
            State::Told => Duration::MAX,
        }
    }
}

impl<H: Handler> Loop<H> {
    pub(super) fn hand_over_step(&mut self, step: HandOver) {
        match step {
            HandOver::Ahead { shards, attempt } => self.begin_ahead(shards, attempt),
            HandOver::Freeze { shards, attempt } => self.freeze(shards, attempt),
            HandOver::Thaw => self.thaw(),
            HandOver::Leave => {
                Step::OlderLeaving.reached();
                self.shut_down_staying();
                self.service = Service::Left;
            }
            HandOver::Survey { round } => self.answer_survey(round),
            HandOver::Send => {
                // Without a carriage the hand-over was given up before.
                if let Some(carriage) = &mut self.carriage {
                    carriage.state = State::Settled;
                }
            }
            HandOver::Settled => self.core.channels.returns.note_settled(),
            HandOver::Copied { .. } | HandOver::Moved { .. } | HandOver::Surveyed { .. } => {
                unreachable!("shards say it")
            }
        }
    }

    /// A close would not end them: their polls keep them for as long as there is the ring, of which
    /// another thread has a copy.
    fn shut_down_staying(&self) {
        let staying = self.carriage.iter().flat_map(|carriage| &carriage.staying);
        staying.for_each(|&index| self.shut(index, Shutdown::Both));
    }

    /// Stands still, to send everything to the shards of another process.
    fn freeze(&mut self, shards: u16, attempt: u8) {
        self.listeners.pause(&mut self.ring);
        self.core.stand_still(true);
        let ways = self.ahead.take().map(|ahead| ahead.into_ways()).unwrap_or_default();
        self.carriage = Some(Box::new(Carriage {
            state: State::Settling,
            attempt,
            shard_count: usize::from(shards),
            ways,
            deal: Deal::new(0, 0, &[0]),
            cursor: 0,
            estate: Estate::default(),
            homes: Homes::dealt(usize::from(shards)),
            connections: 0,
            copied: 0,
            staying: Vec::new(),
            retry_at: None,
            was_crowded: false,
            patience_ends: self.core.now + HANDED_PATIENCE,
        }));
    }

    /// How much this shard has said and heard so far, for who adds it up.
    fn answer_survey(&mut self, round: u32) {
        // What the control thread has passed on before it asked is there, whatever the poll says.
        self.passed_ready = true;
        self.take_passed();
        let is_idle = self.carriage.is_some() && self.has_settled();
        let mesh = &mut self.core.channels.mesh;
        let counts = mesh.counters();
        let (sent, received) = (counts.sent, counts.received);
        let answer = HandOver::Surveyed { round, sent, received, is_idle };
        let control = MemberId::new(self.core.shard_count);
        if mesh.send(control, Message::HandOver(answer), Class::Notice).is_err() {
            tracing::error!(shard = self.core.number, "no room to answer a survey");
        }
    }

    /// Goes on as if nothing had been.
    fn thaw(&mut self) {
        self.carriage = None;
        self.core.stand_still(self.unwatched.is_some());
        self.end_ahead();
        self.channels.clear();
        self.listeners.resume();
    }

    /// Whether nothing is read, written or timed.
    pub(super) fn is_still(&self) -> bool {
        self.carriage.is_some()
    }

    /// Whether what it has is on its way, or there already.
    pub(super) fn is_sending(&self) -> bool {
        let is_settling = |one: &Carriage| matches!(one.state, State::Settling | State::Settled);
        self.carriage.as_ref().is_some_and(|one| !is_settling(one))
    }

    /// The sources of a turn that are left while the shard stands still.
    pub(super) fn work_still(&mut self) -> bool {
        let mut worked = self.take_messages();
        if self.is_sending() {
            worked |= self.take_passed();
        } else {
            worked |= self.work_without_clients();
            worked |= self.give_up_waiting();
            worked |= self.fan_out();
        }
        // A message may have been the thaw.
        let Some(mut carriage) = self.carriage.take() else { return worked };
        self.carry(&mut carriage);
        self.carriage = Some(carriage);
        worked
    }

    /// Sessions that wait for a back end, or for a token to be checked, are told to try again.
    fn give_up_waiting(&mut self) -> bool {
        let now = self.core.now;
        let is_over = self.carriage.as_ref().is_some_and(|one| one.patience_ends <= now);
        if !is_over || self.core.consultations.is_quiet() {
            return false;
        }
        let (mut turn, handler) = self.turn_parts();
        turn.give_up_consults(handler);
        self.time("given up");
        true
    }

    fn carry(&mut self, carriage: &mut Carriage) {
        if carriage.state == State::Settling {
            return;
        }
        if carriage.state == State::Settled {
            if carriage.ways.is_empty() {
                let (attempt, count) = (carriage.attempt, carriage.shard_count);
                let ways = NewWay::all_of(&mut self.channels, attempt, count);
                carriage.ways = ways.unwrap_or_default();
            }
            if carriage.ways.is_empty() || !self.has_settled() {
                return;
            }
            Step::OlderSettled.reached();
            self.begin_carriage(carriage);
        }
        if carriage.retry_at.is_some_and(|at| at > self.core.now) {
            return;
        }
        carriage.retry_at = None;
        if carriage.state == State::Told {
            return;
        }
        for _ in 0..HANDED_MESSAGES_SHARE {
            if !self.fill(carriage) {
                return self.tell_moved(carriage, None);
            }
            match self.send_all(&mut carriage.ways) {
                Sent::Broken => return self.tell_moved(carriage, None),
                Sent::Nowhere => {
                    carriage.state = State::Told;
                    return;
                }
                sent @ (Sent::Some | Sent::Crowded) => {
                    self.note_wait(&mut carriage.was_crowded, sent);
                    carriage.retry_at = Some(self.core.now + HANDED_PAUSE);
                    return;
                }
                Sent::All if carriage.state == State::Ending => {
                    let connections = carriage.connections;
                    self.core.counters().handed_over += connections;
                    self.core.counters().handed_over_copied += carriage.copied;
                    self.core.counters().not_handed_over += carriage.staying.len() as u64;
                    return self.tell_moved(carriage, Some(connections));
                }
                Sent::All => {}
            }
        }
    }

    /// Nothing is under way that would change what is sent.
    fn has_settled(&self) -> bool {
        self.listeners.are_quiet() && !self.passed_ready && self.core.has_settled()
    }

    /// Puts the listeners: one after the other to the shards in turn.
    fn begin_carriage(&mut self, carriage: &mut Carriage) {
        let none = vec![0; carriage.shard_count];
        let copies = self.core.copies.as_ref().map_or(&*none, |copies| copies.live());
        carriage.deal = Deal::new(self.core.connection_count(), self.core.number, copies);
        self.deal_listeners(carriage);
        if self.core.number == 0 {
            let legacy = self.handler.legacy();
            carriage.ways.iter_mut().for_each(|way| way.sink.legacy(&legacy));
        }
        carriage.state = State::Sending;
    }

    /// Those of each place to the shards in turn, counted over all shards here: each there gets
    /// one, if there are as many, and need not join with another. So no number of upgrades makes
    /// them more than the most shards that there have been.
    fn deal_listeners(&self, carriage: &mut Carriage) {
        let mut dealt_counts = Vec::new();
        for index in 0.. {
            let Some((place, _)) = self.listeners.get(index) else { return };
            dealt_counts.resize(dealt_counts.len().max(usize::from(place) + 1), 0);
            let dealt = &mut dealt_counts[usize::from(place)];
            let way = (self.core.number + *dealt * self.core.shard_count) % carriage.shard_count;
            *dealt += 1;
            carriage.ways[way].sink.listener(place, Carried::Listener(index));
        }
    }

    /// Puts connections until a way has enough, and then the ends; false if one cannot be put.
    fn fill(&mut self, carriage: &mut Carriage) -> bool {
        let end = self.core.entries_max();
        while carriage.state == State::Sending {
            if !self.put_ended(&mut carriage.ways) {
                return true;
            }
            if carriage.cursor == end {
                return self.leave_estate(carriage);
            }
            let index = Index::new(carriage.cursor);
            let phase = self.core.phase(index);
            if matches!(phase, None | Some(Phase::Retiring)) {
                carriage.cursor += 1;
                continue; // it is over, and was shut down
            }
            let copied = self.core.copy_way(index);
            let way = carriage.deal.choose(copied);
            let sink = &mut carriage.ways[way].sink;
            if !sink.has_room() {
                return true;
            }
            carriage.cursor += 1;
            match self.core.carried(index) {
                Parcel::Goes(mut connection) if copied == Some(way) => {
                    connection.copy = Some(number_of(index, self.core.serial(index)));
                    sink.copied(&connection);
                    carriage.deal.note(copied, way);
                    carriage.connections += 1;
                    carriage.copied += 1;
                }
                Parcel::Goes(connection) => {
                    sink.connection(&connection, Carried::Connection(index));
                    carriage.deal.note(copied, way);
                    self.core.drop_copy(index);
                    carriage.connections += 1;
                }
                Parcel::Stays => {
                    carriage.deal.forget(copied);
                    self.core.drop_copy(index);
                    carriage.staying.push(index);
                }
                Parcel::Stuck => {
                    tracing::error!(
                        connection = %self.core.id(index),
                        "cannot be handed over: it waits for something"
                    );
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn note_wait(&mut self, was_crowded: &mut bool, sent: Sent) {
        self.core.counters().handover_waits += 1;
        if sent == Sent::Crowded && !*was_crowded {
            *was_crowded = true;
            tracing::info!("waiting until fewer descriptors are on their way");
        }
    }

    /// Puts what the homes here have, until a way has enough, and then the ends.
    fn leave_estate(&mut self, carriage: &mut Carriage) -> bool {
        let home = &self.core.channels.home;
        while let Some((heirloom, next)) = home.heirloom(&carriage.estate) {
            let to = carriage.homes.home_of_channel(heirloom.channel()).index();
            let sink = &mut carriage.ways[to].sink;
            if !sink.has_room() {
                return true;
            }
            heirloom.put(sink);
            carriage.estate = next;
        }
        carriage.ways.iter_mut().for_each(|way| way.sink.end());
        carriage.state = State::Ending;
        Step::OlderEnding.reached();
        true
    }

    fn tell_moved(&mut self, carriage: &mut Carriage, connections: Option<u64>) {
        carriage.state = State::Told;
        let control = MemberId::new(self.core.shard_count);
        let copied = carriage.copied;
        let moved = Message::HandOver(HandOver::Moved { connections, copied });
        if self.core.channels.mesh.send(control, moved, Class::Notice).is_err() {
            // The queue to the control thread has a reserve for notices; without room even there
            // the upgrade is late, and rolled back.
            tracing::error!(shard = self.core.number, "no room to say what has moved");
        }
    }
}
