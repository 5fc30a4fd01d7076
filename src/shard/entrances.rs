//! Connections that enter channels by way of the channels' homes, and what they ask those.
//!
//! ```text
//!   enter ─▶ hold ─▶ home here? ─yes─▶ its word ─▶ a member, or refused
//!                             └─no──▶ requests ─▶ mesh ─▶ its word ─▶ the same, Handler::entered
//! ```
//!
//! Invariant: from the question to the answer the channel is held, so the home sends this shard
//! whatever it publishes; what came before the answer is in the answer, and nobody's here. An
//! answer to somebody who has gone meanwhile takes back what the home has noted of it.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::channels::Channels;
use super::core::{Core, Turn};
use super::entering::Expected;
use super::guard;
use super::message::{Answered, Ask, Enter, EnteredBy, Message};
use super::requests::TooMany;
use super::slab::Index;
use crate::handler::{
    Answer, AskError, Asked, ConnectionId, Entered, Entry, Handler, JoinError, Overflow, Peer,
    Question, Reading,
};
use crate::hub::{ChannelId, JoinError as HubJoinError, MemberId, ShardId, Standing};

impl Channels {
    /// Has a connection, which is in so many channels as it may be, enter one more.
    pub(super) fn enter(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        entry: Entry,
    ) -> Result<Asked<Entered>, JoinError> {
        if self.is_member(Index::new(connection.index()), channel)
            || self.entering.is_wanted(connection, channel)
        {
            return Err(JoinError::Member);
        }
        if let Reading::Selected(filter) = &entry.reading
            && !self.fanout.has_room_for(filter)
        {
            return Err(JoinError::ShardFull);
        }
        if let Some(before) = self.entering.get_mut(connection, channel) {
            before.next = Some(Box::new(entry));
            return Ok(Asked::Waits);
        }
        let home = self.homes.home_of_channel(channel);
        self.fanout.hold(channel).map_err(refusal)?;
        self.tell_home(home);
        let expected = Expected::of(&entry, standing_of(&entry));
        if home == self.here {
            let entered = self.enter_at_home(home, connection, channel, &entry);
            return self.settle(connection, channel, expected, entered).map(Asked::Done);
        }
        if !entry.asks_home() && self.fanout.receiving(channel).is_some() {
            // The home sends what it publishes already, and has nothing to say.
            let entered = Ok(Entered::default());
            return self.settle(connection, channel, expected, entered).map(Asked::Done);
        }
        let asked = self.ask_to_enter(connection, channel, entry);
        if asked.is_err() {
            self.fanout.release(channel);
            self.tell_home(home);
            return Err(JoinError::Busy);
        }
        Ok(Asked::Waits)
    }

    /// The home's word on the entry of a connection of `from`.
    pub(super) fn enter_at_home(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &str,
        entry: &Entry,
    ) -> Result<Entered, JoinError> {
        let entered = self.home.enter(from, connection, channel, entry)?;
        if entry.replaces_others
            && let Err(error) = self.replace_all(channel)
        {
            self.home.take_back(from, connection, channel, entry);
            return Err(error);
        }
        Ok(entered)
    }

    fn ask_to_enter(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        entry: Entry,
    ) -> Result<(), TooMany> {
        let home = self.homes.home_of_channel(channel);
        self.absences.send(&mut self.mesh, home);
        // The home must have heard of the interest before, and of an earlier presence that ended.
        let is_free = !self.fanout.is_pending(channel) && !self.absences.owes(home);
        let expected = Expected::of(&entry, standing_of(&entry));
        let name: Arc<str> = channel.into();
        let enter = Enter { channel: name.clone(), connection, entry };
        let message = Message::Enter(Box::new(enter));
        self.requests.ask(&mut self.mesh, home, message, is_free)?;
        self.entering.insert(connection, name, expected);
        Ok(())
    }

    /// The home's word on an entry: ends the hold, with a membership or without.
    fn settle(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        expected: Expected,
        result: Result<Entered, JoinError>,
    ) -> Result<Entered, JoinError> {
        let Expected { standing, reading, has_left, anew, .. } = expected;
        if result.is_ok() && !has_left {
            let index = MemberId(connection.index());
            let admitted = self.fanout.admit(channel, index, standing, reading);
            admitted.expect("who is on its way in cannot join otherwise");
            if let Some(present) = anew {
                self.show_anew_in(connection, channel, &present);
            }
            return result;
        }
        self.fanout.release(channel);
        let home = self.homes.home_of_channel(channel);
        if result.is_ok() {
            self.absences.owe(home, channel, connection, standing, false);
            self.tell_absences(home);
        }
        self.tell_home(home);
        result
    }

    /// The home's answer to an entry from here: what to tell the connection, if it is still open
    /// and wants to hear of it.
    pub(super) fn entered(
        &mut self,
        entered: EnteredBy,
        is_open: bool,
    ) -> Option<(Arc<str>, Result<Entered, JoinError>)> {
        let EnteredBy { channel, connection, result } = entered;
        let mut expected = self.entering.remove(connection, channel.clone());
        expected.has_left |= !is_open;
        let has_left = expected.has_left;
        let next = expected.next.take().filter(|_| is_open);
        let result = self.settle(connection, &channel, expected, result);
        let Some(next) = next else { return (!has_left).then_some((channel, result)) };
        match self.enter(connection, &channel, *next) {
            Ok(Asked::Waits) => None,
            Ok(Asked::Done(entered)) => Some((channel, Ok(entered))),
            Err(error) => Some((channel, Err(error))),
        }
    }

    /// Asks what has waited for room, but for those who do not want to hear it any more.
    pub(super) fn ask_again(
        &mut self,
        home: ShardId,
        mut is_open: impl FnMut(ConnectionId) -> bool,
    ) {
        // Not before the home has heard what goes before it.
        if self.absences.owes(home) || self.fanout.has_changes(home) {
            return;
        }
        while let Some(message) = self.requests.next(home) {
            let is_wanted = match message {
                Message::Enter(enter) => {
                    is_open(enter.connection)
                        && self.entering.is_wanted(enter.connection, &enter.channel)
                }
                Message::Ask(ask) => is_open(ask.connection),
                Message::SignIn { connection, .. } => is_open(*connection),
                _ => true,
            };
            if !is_wanted {
                self.withdraw(home);
            } else if !self.requests.ask_next(&mut self.mesh, home) {
                return;
            }
        }
    }

    /// Does not ask what nobody wants to hear.
    fn withdraw(&mut self, home: ShardId) {
        if let Some(Message::Enter(enter)) = self.requests.drop_next(home) {
            let Enter { channel, connection, .. } = *enter;
            self.fanout.release(&channel);
            self.entering.remove(connection, channel);
            self.tell_home(home);
        }
    }

    /// Asks a channel's home.
    pub(super) fn ask(
        &mut self,
        connection: ConnectionId,
        id: u32,
        channel: &str,
        question: Question,
    ) -> Result<Asked<Answer>, AskError> {
        let home = self.homes.home_of_channel(channel);
        if home == self.here {
            return self.home.answer(channel, question).map(Asked::Done);
        }
        self.absences.send(&mut self.mesh, home);
        let is_free = !self.absences.owes(home);
        let ask = Ask { channel: channel.into(), connection, id, question };
        let asked = self.requests.ask(&mut self.mesh, home, Message::Ask(Box::new(ask)), is_free);
        asked.map(|()| Asked::Waits).map_err(|TooMany| AskError::Busy)
    }
}

impl<H: Handler> Turn<'_, H> {
    /// The home's answer to a connection that enters.
    pub(super) fn entered(&mut self, handler: &mut H, entered: EnteredBy) {
        let core = &mut *self.core;
        let connection = entered.connection;
        core.counters.joins_refused += u64::from(entered.result.is_err());
        let is_open = core.open(connection).is_some();
        let Some((channel, result)) = core.channels.entered(entered, is_open) else { return };
        if result.is_err() {
            core.open(connection).expect("seen above").channel_count -= 1;
        }
        core.called = true;
        core.speaks_for(connection);
        let peer = &mut Peer::new(self, connection);
        if guard(|| handler.entered(peer, &channel, result)).is_none() {
            self.panicked(Index::new(connection.index()));
        }
        self.tell_endings(handler);
    }

    /// The home's answer to a question.
    pub(super) fn answered(&mut self, handler: &mut H, answered: Answered) {
        let Answered { connection, id, result } = answered;
        let core = &mut *self.core;
        if core.open(connection).is_none() {
            return;
        }
        core.called = true;
        core.speaks_for(connection);
        let peer = &mut Peer::new(self, connection);
        if guard(|| handler.answered(peer, id, result)).is_none() {
            self.panicked(Index::new(connection.index()));
        }
        self.tell_endings(handler);
    }
}

impl<H: Handler> Core<H> {
    /// Has an open connection enter a channel.
    pub(super) fn enter(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        entry: Entry,
    ) -> Result<Asked<Entered>, JoinError> {
        let channels_max = self.settings.connection_channels_max;
        let one = self.open(connection).ok_or(JoinError::Gone)?;
        let entered = if one.channel_count < channels_max {
            self.channels.enter(connection, channel, entry)
        } else {
            Err(JoinError::ConnectionChannels)
        };
        match entered {
            Ok(_) => self.open(connection).expect("seen above").channel_count += 1,
            Err(_) => self.counters.joins_refused += 1,
        }
        entered
    }
}

/// What is kept of an entry with the membership.
fn standing_of(entry: &Entry) -> Standing {
    let overflow = match entry.overflow {
        Overflow::Close => 0,
        Overflow::DropOldest => 1,
        Overflow::Latest => 2,
    };
    Standing {
        tag: entry.tag,
        overflow,
        is_present: entry.presence.is_some(),
        is_announced: entry.is_announced,
        hears_joins: entry.hears_joins,
        acknowledges: entry.acknowledges.is_some(),
    }
}

impl Channels {
    /// What becomes of publications that a member does not take in time.
    pub(super) fn overflow_of(&self, index: Index, channel: ChannelId) -> Overflow {
        let standing = self.fanout.standing(channel, MemberId(index.as_u32()));
        match standing.unwrap_or_default().overflow {
            1 => Overflow::DropOldest,
            2 => Overflow::Latest,
            _ => Overflow::Close,
        }
    }
}

fn refusal(error: HubJoinError) -> JoinError {
    match error {
        HubJoinError::NameTooLong { .. } => JoinError::Name,
        HubJoinError::AlreadyMember(_) => JoinError::Member,
        _ => JoinError::ShardFull,
    }
}
