//! A connection on its way out of this shard: chosen, offered, and gone if it is idle still when
//! the other shard is ready.
//!
//! Invariant: a connection goes only in a moment in which nothing of it is under way here: no send,
//! no part of a message, no job, no word that it is still to be told.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::admission::Passing;
use super::balance::{Gift, Why};
use super::carried::Parcel;
use super::connection::Flags;
use super::core::{Core, Effect, Turn};
use super::guard;
use super::moves::{Mode, MoveId, MoveStep};
use super::output::NONE;
use super::slab::Index;
use super::wheel::Tick;
use crate::handler::{Handler, Shard};
use crate::handover::Sink;
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::hub::{ChannelId, Fanout, MemberId};
use crate::limits::{
    MOVE_LOOKS_SHARE, MOVE_OFFER_BYTES_MAX, MOVED_CHANNELS_MAX, MOVES_UNDER_WAY_MAX,
};

/// A connection that was offered to another shard.
#[derive(Debug)]
pub(super) struct Departure {
    index: Index,
    serial: u32,
    /// When it had last spoken.
    heard: Tick,
    to: usize,
    why: Why,
    /// Its channels then, and in how many of them a pin stands.
    channels: BTreeSet<String>,
    pinned_count: usize,
    /// The other shard has said that it may come.
    is_awaited: bool,
}

/// What the loop is to send to another shard, with a copy of the descriptor.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) number: u32,
    pub(super) index: Index,
    pub(super) to: usize,
    pub(super) message: Vec<u8>,
}

impl<H: Handler> Core<H> {
    /// The next connection that is to be offered, with a seat where it is to go.
    pub(super) fn next_offer(&mut self, looks: &mut u32) -> Option<Offer> {
        let gift = *self.moves.gift();
        while self.moves.is_looking() && *looks > 0 {
            *looks -= 1;
            self.moves.looks_left -= 1;
            let index = Index::new(self.moves.cursor);
            self.moves.cursor = (self.moves.cursor + 1) % self.entries_max();
            if !self.is_idle(index) || self.is_offered(index) {
                continue;
            }
            let Some(channels) = self.movable_channels(index) else { continue };
            if self.record(index).is_none() {
                continue;
            }
            if !self.settings.seats.reserve_second(gift.to, gift.level) {
                // It is as full as it was to be: the next look finds another one, if there is one.
                self.moves.gift().count = 0;
                return None;
            }
            self.moves.gift().count -= 1;
            return Some(self.offer(index, gift, &channels));
        }
        None
    }

    fn heard(&self, index: Index) -> Tick {
        self.connections.get(index).expect("it is idle").heard
    }

    pub(super) fn is_offered(&self, index: Index) -> bool {
        self.moves.departures.values().any(|one| one.index == index)
    }

    fn offer(&mut self, index: Index, gift: Gift, channels: &[(String, bool)]) -> Offer {
        let Gift { to, why, .. } = gift;
        let number = self.moves.next_number;
        self.moves.next_number = number.wrapping_add(1);
        let message = Passing::moving(self.move_id(number), channels);
        let departure = Departure {
            index,
            serial: self.serial(index),
            heard: self.heard(index),
            to,
            why,
            channels: channels.iter().map(|(channel, _)| channel.clone()).collect(),
            pinned_count: 0,
            is_awaited: false,
        };
        self.moves.departures.insert(number, departure);
        Offer { number, index, to, message }
    }

    fn move_id(&self, number: u32) -> MoveId {
        MoveId { from: u16::try_from(self.number).expect("shards are few"), number }
    }

    /// The channels that a connection is in, and whether it hears of joins there; `None` if it
    /// cannot move for them: there are too many, or what is published is kept for its user by the
    /// name of this connection.
    fn movable_channels(&self, index: Index) -> Option<Vec<(String, bool)>> {
        let mut channels = Vec::new();
        let mut is_movable = true;
        self.channels.fanout.each_of(MemberId(index.as_u32()), |channel, standing| {
            is_movable &= !standing.acknowledges && channels.len() < MOVED_CHANNELS_MAX;
            if is_movable {
                channels.push((channel.to_owned(), standing.hears_joins));
            }
        });
        is_movable &= Passing::moving_bytes(&channels) <= MOVE_OFFER_BYTES_MAX;
        is_movable.then_some(channels)
    }

    /// It could not be offered, or was refused: it stays.
    pub(super) fn refused(&mut self, number: u32) {
        let departure = self.moves.departures.remove(&number).expect("an offer is answered once");
        self.settings.seats.release_one_of_two(departure.to);
        self.channels.pins.unwatch(number);
        self.counters.moves_refused += 1;
    }

    /// Whether nothing of a connection is under way.
    fn is_idle(&self, index: Index) -> bool {
        let Some(one) = self.connections.get(index) else { return false };
        one.phase.is_open()
            && one.busy.is_none()
            && one.chain == NONE
            && one.polls == 1
            && self.copy_way(index).is_none()
            && one.flags.has(Flags::READ_WATCHED)
            && !one.flags.has(Flags::STIRRED)
            && self.is_heard_out(index, one.heard)
    }

    /// Whether a connection has got all of its channels that came before their pins, and nothing
    /// has come since.
    fn has_come_to_rest(&self, number: u32, departure: &Departure) -> bool {
        let Self { channels, .. } = self;
        let member = MemberId(departure.index.as_u32());
        let (mut count, mut is_at_rest) = (0, true);
        channels.fanout.each_of(member, |channel, standing| {
            let id = channels.fanout.find(channel).expect("it has this member");
            count += 1;
            is_at_rest &= departure.channels.contains(channel)
                && is_through(&channels.fanout, id)
                && !standing.acknowledges;
        });
        is_at_rest
            && count == departure.channels.len()
            && channels.pins.are_quiet(number)
            && channels.replaced.is_empty()
            && !channels.fanout.has_announcements()
    }

    /// Whether it has said nothing: it may have left a channel and come back, which no name of a
    /// channel shows.
    fn is_unheard_since(&self, departure: &Departure) -> bool {
        #[cfg(test)]
        if is_planted(Fault::ReturnUnseen) {
            return true;
        }
        self.heard(departure.index) == departure.heard
    }

    fn count_departed(&mut self, why: Why) {
        self.counters.moved_away += 1;
        match why {
            Why::Uneven => {}
            Why::Full => self.counters.moved_from_full += 1,
            Why::Hot => self.counters.moved_from_hot += 1,
        }
    }

    /// The record of a connection that can go now.
    fn record(&self, index: Index) -> Option<Vec<u8>> {
        let Parcel::Goes(handed) = self.carried(index) else { return None };
        let mut sink = Sink::default();
        sink.connection(&handed, ());
        let mut record = Vec::new();
        while let Some((bytes, _)) = sink.message() {
            record.extend_from_slice(bytes);
            sink.sent();
        }
        Some(record)
    }
}

impl<H: Handler> Turn<'_, H> {
    /// A pin stands in one more channel of a connection, or the other shard awaits it.
    pub(super) fn advance_departure(&mut self, handler: &mut H, number: u32, pinned: Option<&str>) {
        let core = &mut *self.core;
        // Of one that was refused meanwhile, a pin may come late.
        let Some(departure) = core.moves.departures.get_mut(&number) else { return };
        match pinned {
            Some(channel) => {
                departure.pinned_count += 1;
                core.channels.watch_pin(number, channel);
            }
            None => departure.is_awaited = true,
        }
        if departure.is_awaited && departure.pinned_count == departure.channels.len() {
            self.depart(handler, number);
        }
    }

    /// The other shard is ready for a connection: it goes, if it still can.
    fn depart(&mut self, handler: &mut H, number: u32) {
        let core = &mut *self.core;
        let departure = core.moves.departures.remove(&number).expect("seen just now");
        let Departure { index, serial, to, why, .. } = departure;
        let may_go = core.living(index, serial).is_some()
            && core.is_idle(index)
            && core.is_unheard_since(&departure)
            && core.has_come_to_rest(number, &departure)
            && core.moves.mode == Mode::On
            && !core.tellings.has_work();
        core.channels.pins.unwatch(number);
        let record = if may_go { core.record(index) } else { None };
        let id = core.move_id(number);
        let Some(record) = record else {
            core.settings.seats.release_one_of_two(to);
            core.counters.moves_given_up += 1;
            core.moves.say(&mut core.channels.mesh, to, id, MoveStep::Stays);
            return;
        };
        let words = core.tellings.word_count();
        let step = MoveStep::Goes { words, record: record.into() };
        core.moves.say(&mut core.channels.mesh, to, id, step);
        core.count_departed(why);
        self.forget_gone(handler, index);
    }

    /// The connection is another shard's: gives up all that was its here, but its slot, which the
    /// end of its poll does.
    fn forget_gone(&mut self, handler: &mut H, index: Index) {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("it was there");
        let state = connection.state.take().expect("open ones have one");
        // The homes are told by the other shard, by which name they know it from now on.
        connection.channel_count = 0;
        core.channels.fanout.leave_all(MemberId(index.as_u32()), |_, _| {});
        core.open_count -= 1;
        core.tellings.forget(MemberId(index.as_u32()));
        core.moves.gone.push(index);
        core.called = true;
        self.retire_with(index, Effect::Detach(index));
        if guard(|| handler.moved(&mut Shard::new(self), state)).is_none() {
            self.core.counters.handler_panics += 1;
        }
    }
}

fn is_through<T: Clone>(fanout: &Fanout<T>, channel: ChannelId) -> bool {
    #[cfg(test)]
    if is_planted(Fault::BacklogForgotten) {
        return true;
    }
    fanout.is_through(channel)
}

const _: () = assert!(MOVE_LOOKS_SHARE as usize >= MOVES_UNDER_WAY_MAX);
