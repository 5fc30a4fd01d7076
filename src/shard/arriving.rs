//! A connection on its way into this shard: its descriptor is kept, and its channels are held,
//! until it is known whether it comes; nothing is done with it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::carried::Unfit;
use super::core::{Core, Turn};
use super::guard;
use super::moves::{Mode, MoveId, MoveStep};
use super::slab::Index;
use crate::handler::{Cause, ConnectionId, Handler, Peer};
use crate::handover::{self, Item, Source};
use crate::hub::{Answer, ShardId};

/// A connection of another shard that may come.
pub(super) struct Arrival {
    socket: OwnedFd,
    channels: Vec<Joining>,
    stage: Stage,
}

/// A channel of it, which is held here.
struct Joining {
    name: Arc<str>,
    hears_joins: bool,
    /// The home knows of the interest, and was asked for the pin.
    is_asked: bool,
    is_pinned: bool,
}

enum Stage {
    /// Some of its channels have no pin yet.
    Pinning,
    /// The other shard knows that it may come.
    Ready,
    /// It has come: the words that it has been told, and its record.
    Here(u64, Arc<[u8]>),
}

impl<H: Handler> Core<H> {
    /// A connection is offered by another shard, with a descriptor if there was room for it here.
    pub(super) fn take_offer(
        &mut self,
        id: MoveId,
        socket: Option<OwnedFd>,
        channels: Vec<(String, bool)>,
    ) {
        let Some(socket) = socket.filter(|_| self.moves.mode == Mode::On) else {
            return self.refuse(id);
        };
        let mut arrival = Arrival { socket, channels: Vec::new(), stage: Stage::Pinning };
        for (channel, hears_joins) in channels {
            if self.channels.fanout.hold(&channel).is_err() {
                self.let_go_of(id, arrival);
                return self.refuse(id);
            }
            let name = channel.into();
            arrival.channels.push(Joining { name, hears_joins, is_asked: false, is_pinned: false });
        }
        self.moves.arrivals.insert(id, arrival);
        self.advance_arrival(id);
    }

    fn refuse(&mut self, id: MoveId) {
        self.moves.say(&mut self.channels.mesh, id.from.into(), id, MoveStep::Refused);
    }

    /// It does not come.
    fn let_go_of(&mut self, id: MoveId, arrival: Arrival) {
        for joining in arrival.channels {
            // Nobody is to hear what was kept.
            let _kept = self.channels.take_kept(id, &joining.name);
            self.release_held(&joining.name);
        }
    }

    /// Ends the hold of a channel for somebody who does not enter it.
    fn release_held(&mut self, channel: &str) {
        self.channels.fanout.release(channel);
        self.channels.tell_home(self.channels.homes.home_of_channel(channel));
    }

    /// Once a turn: those whose homes have answered meanwhile.
    pub(super) fn advance_arrivals(&mut self) {
        let ids: Vec<MoveId> = self.moves.arrivals.keys().copied().collect();
        for id in ids {
            self.advance_arrival(id);
        }
    }

    /// Asks for the pins of channels whose homes know of the interest, and says that it may come
    /// when all stand.
    fn advance_arrival(&mut self, id: MoveId) {
        let Some(mut arrival) = self.moves.arrivals.remove(&id) else { return };
        let can_come = match arrival.stage {
            Stage::Pinning => {
                arrival.channels.iter_mut().all(|joining| self.ask_for_pin(id, joining))
            }
            Stage::Ready | Stage::Here(..) => true,
        };
        if !can_come {
            self.let_go_of(id, arrival);
            return self.refuse(id);
        }
        let is_pinned = arrival.channels.iter().all(|joining| joining.is_pinned);
        if is_pinned && matches!(arrival.stage, Stage::Pinning) {
            arrival.stage = Stage::Ready;
            self.moves.say(&mut self.channels.mesh, id.from.into(), id, MoveStep::Ready);
        }
        self.moves.arrivals.insert(id, arrival);
    }

    /// False if there will be no pin.
    fn ask_for_pin(&mut self, id: MoveId, joining: &mut Joining) -> bool {
        if joining.is_asked {
            return true;
        }
        let home = self.channels.homes.home_of_channel(&joining.name);
        self.channels.tell_home(home);
        match self.channels.fanout.answer(&joining.name) {
            None => return true,
            Some(Answer::Refused) => return false,
            Some(Answer::Confirmed) => joining.is_asked = true,
        }
        let (channel, hears_joins) = (Arc::clone(&joining.name), joining.hears_joins);
        if home == self.channels.here {
            joining.is_pinned = self.channels.pin(id, self.number, &channel, hears_joins);
            if joining.is_pinned {
                self.channels.keep_behind_pin(id, &channel);
            }
            return joining.is_pinned;
        }
        let to = u16::try_from(self.number).expect("shards are few");
        let step = MoveStep::Pin { to, channel, hears_joins };
        self.moves.say(&mut self.channels.mesh, home.index(), id, step);
        true
    }

    /// A pin stands in one of its channels: what comes behind it is kept.
    fn note_pin(&mut self, id: MoveId, channel: &Arc<str>) {
        // It may have been let go of meanwhile.
        let Some(arrival) = self.moves.arrivals.get_mut(&id) else { return };
        let mut channels = arrival.channels.iter_mut();
        let joining = channels.find(|one| one.name == *channel).expect("it was asked for");
        joining.is_pinned = true;
        self.channels.keep_behind_pin(id, channel);
        self.advance_arrival(id);
    }

    /// An arrival whose record has come, and which has been told no word that is still to be heard
    /// here.
    fn next_arrival(&mut self) -> Option<MoveId> {
        let heard = self.tellings.word_count();
        let mut arrivals = self.moves.arrivals.iter();
        let is_due = |one: &Arrival| matches!(one.stage, Stage::Here(words, _) if words <= heard);
        arrivals.find(|(_, arrival)| is_due(arrival)).map(|(id, _)| *id)
    }
}

impl<H: Handler> Turn<'_, H> {
    /// A step of a move, said by another shard.
    pub(super) fn take_move(&mut self, handler: &mut H, id: MoveId, step: MoveStep) {
        let core = &mut *self.core;
        match step {
            MoveStep::Ready => self.advance_departure(handler, id.number, None),
            MoveStep::Refused => core.refused(id.number),
            MoveStep::Stays => {
                let arrival = core.moves.arrivals.remove(&id).expect("it was ready for it");
                core.let_go_of(id, arrival);
            }
            MoveStep::Goes { words, record } => {
                let arrival = core.moves.arrivals.get_mut(&id).expect("it was ready for it");
                arrival.stage = Stage::Here(words, record);
                self.take_arrivals(handler);
            }
            MoveStep::Pin { to, channel, hears_joins } => {
                self.pin(handler, id, to.into(), &channel, hears_joins);
            }
            MoveStep::Pinned { channel } if core.number == usize::from(id.from) => {
                self.advance_departure(handler, id.number, Some(&channel));
            }
            MoveStep::Pinned { channel } => core.note_pin(id, &channel),
            MoveStep::Unpinned => {
                if let Some(arrival) = core.moves.arrivals.remove(&id) {
                    core.let_go_of(id, arrival);
                    core.refuse(id);
                }
            }
        }
    }

    /// This shard is the home of a channel of a connection that may move, and may be the one that
    /// it goes from.
    fn pin(&mut self, handler: &mut H, id: MoveId, to: usize, channel: &Arc<str>, hears: bool) {
        let core = &mut *self.core;
        if !core.channels.pin(id, to, channel, hears) {
            core.moves.say(&mut core.channels.mesh, to, id, MoveStep::Unpinned);
        } else if ShardId::new(id.from.into()) == core.channels.here {
            self.advance_departure(handler, id.number, Some(channel));
        }
    }

    /// Takes in those who have come.
    pub(super) fn take_arrivals(&mut self, handler: &mut H) {
        while let Some(id) = self.core.next_arrival() {
            let arrival = self.core.moves.arrivals.remove(&id).expect("just found");
            let Arrival { socket, channels, stage } = arrival;
            let Stage::Here(words, record) = stage else {
                unreachable!("it was found because it is here")
            };
            let names = || channels.iter().map(|joining| &joining.name);
            let core = &mut *self.core;
            let kept = names().filter_map(|name| {
                Some((Arc::clone(name), core.channels.take_kept(id, name)?)) //
            });
            let kept: Vec<_> = kept.collect();
            match core.arrive(handler, socket, &record, names()) {
                Ok((connection, is_whole)) => {
                    self.core.counters.moved_here += 1;
                    // Its homes are to hear by what name it goes before it goes by another.
                    self.core.speaks_for(connection);
                    self.tell_arrived(handler, connection);
                    if !is_whole {
                        self.lose_arrived(connection);
                        self.tell_endings(handler);
                    }
                    self.deliver_kept(handler, connection, kept);
                    self.tell_missed_words(handler, connection, words);
                }
                Err(why) => {
                    // It was this process's own record, for which there was room.
                    tracing::error!(?why, from = id.from, "a connection was lost between shards");
                    self.core.counters.moves_lost += 1;
                }
            }
        }
    }

    /// It is a connection of this shard now, and the application hears of it.
    fn tell_arrived(&mut self, handler: &mut H, id: ConnectionId) {
        let index = Index::new(id.index());
        self.core.watch(index);
        // What came before is no news to the poll.
        self.core.make_ready(index);
        self.core.called = true;
        self.core.moves.is_taking_in = true;
        if guard(|| handler.taken_over(&mut Peer::new(self, id))).is_none() {
            self.panicked(index);
        }
        self.core.moves.is_taking_in = false;
        if self.core.moves.mode == Mode::Stopping && self.core.open(id).is_some() {
            let (close, reason) = self.core.farewell_of(index);
            self.close_from_here(index, Cause::Shutdown, close, reason);
        }
        self.tell_endings(handler);
    }

    /// It has come, but not all that is its: it is to come again, as when the server stops.
    pub(super) fn lose_arrived(&mut self, id: ConnectionId) {
        if self.core.open(id).is_some() {
            self.core.counters.moves_lost += 1;
            let index = Index::new(id.index());
            let (code, reason) = self.core.farewell_of(index);
            self.close_from_here(index, Cause::Shutdown, code, reason);
        }
    }
}

impl<H: Handler> Core<H> {
    /// Gives it a slot, and makes it a member of its channels, which are held until then; also
    /// whether of all of them.
    fn arrive<'a>(
        &mut self,
        handler: &mut H,
        socket: OwnedFd,
        record: &[u8],
        held: impl Iterator<Item = &'a Arc<str>>,
    ) -> Result<(ConnectionId, bool), Unfit> {
        let read = read(record, socket);
        let mut memberships: BTreeMap<_, _> = BTreeMap::new();
        let mut former = 0;
        let brought = read.ok_or(Unfit::State).and_then(|(mut handed, socket)| {
            former = handed.name;
            let all = std::mem::take(&mut handed.memberships).into_iter();
            memberships.extend(all.map(|one| (one.channel.clone(), one)));
            self.bring_in(handler, &mut handed, socket, true)
        });
        // Who has none is missed under the name of one that could be.
        let name = brought.unwrap_or_else(|_| ConnectionId::new(0, self.next_serial));
        if brought.is_err() {
            self.next_serial = self.next_serial.wrapping_add(1);
            self.settings.seats.release(self.number);
        }
        let mut is_whole = true;
        for channel in held {
            let Some(membership) = memberships.remove(&**channel) else {
                self.release_held(channel);
                continue;
            };
            if brought.is_err() {
                self.channels.lose(name, former, membership);
                self.release_held(channel);
                continue;
            }
            let moved = self.channels.move_in(name, former, membership);
            is_whole &= moved.is_ok();
            if moved.is_ok() {
                self.open(name).expect("seated above").channel_count += 1;
            }
        }
        is_whole &= memberships.is_empty();
        brought.map(|id| (id, is_whole))
    }
}

fn read(record: &[u8], socket: OwnedFd) -> Option<(handover::Connection, OwnedFd)> {
    let mut source = Source::default();
    source.feed(record, [socket]);
    match source.next_item() {
        Ok(Some(Item::Connection(handed, socket))) => Some((*handed, socket)),
        _ => None,
    }
}
