//! Channels of this shard: members and fan-out here, order for those whose home it is, and the
//! mesh in between.
//!
//! ```text
//!   publish ─▶ home here? ─yes─▶ order ─▶ members here: fan-out │ elsewhere: mesh, or a lag bit
//!                        └─no──▶ mesh ─▶ home
//! ```
//!
//! Invariants: everything about one channel travels between two shards in one FIFO, so a join made
//! before a publication is seen by the home before it, and the home's answer to the join stands
//! before all that is ordered after it; a member is told of its join before it is sent anything.

use std::sync::Arc;
use std::time::Instant;

use super::absences::Absences;
use super::attendance::Tell;
use super::entering::Entering;
use super::forms::{Joined, Words};
use super::home::{Home, Mending};
use super::message::{
    Answered, Ask, Enter, EnteredBy, Message, Place, PublishKept, ShowAnew, Version,
};
use super::pins::{Pins, Sent};
use super::redeliveries::Redeliveries;
use super::replacing::Replaced;
use super::requests::Requests;
use super::returns::Returns;
use super::selections::Selections;
use super::slab::Index;
use crate::handler::{ConnectionId, JoinError, Keep, Position, Present, PublishError};
use crate::hub::{
    Fanout, FanoutBounds, Homes, JoinError as HubJoinError, MemberId, ShardId, ShardSet, Standing,
    Told,
};
use crate::limits::{
    CHANNELS_PER_HOME_MAX, FANOUT_SHARED_TURN_SHARE, FANOUT_TURN_SHARE, JOINS_TOLD_SHARE,
};
use crate::mesh::{Class, Member, MemberId as MeshId};
use crate::metrics::Counters;
use crate::ring::Frame;

/// The channels of one shard, and its end of the mesh.
pub(crate) struct Channels {
    pub(super) here: ShardId,
    pub(super) homes: Homes,
    pub(super) fanout: Fanout<Frame>,
    pub(super) home: Home,
    pub(super) entering: Entering,
    pub(super) absences: Absences,
    pub(super) requests: Requests,
    pub(crate) mesh: Member<Message>,
    pub(super) redeliveries: Redeliveries,
    pub(super) joined: Joined,
    pub(super) selections: Selections,
    pub(super) pins: Pins,
    /// Publications that members here missed, and gaps told to other shards.
    pub(super) missed: u64,
    pub(super) gaps_sent: u64,
    /// Publications that were not made, because they were no newer than the last one.
    outdated: u64,
    /// Publications that came for an interest that had ended.
    pub(super) stale: u64,
    /// Messages that tell of others' coming and going, and found no room.
    pub(super) joins_dropped: u64,
    /// Homes that did not hear, for want of room, that somebody is shown otherwise.
    presence_unheard: u64,
    pub(super) replaced: Replaced,
    /// What homes are to be told of connections that were taken over.
    pub(super) returns: Returns,
    /// Publications that were translated here for members here.
    pub(super) translated: u64,
}

impl Channels {
    pub(crate) fn new(
        here: usize,
        shard_count: usize,
        members_max: u32,
        mesh: Member<Message>,
        now: Instant,
        hasher: &std::hash::RandomState,
    ) -> Self {
        Self::with_home(here, shard_count, members_max, CHANNELS_PER_HOME_MAX, mesh, now, hasher)
    }

    /// The same with a home of another size.
    fn with_home(
        here: usize,
        shard_count: usize,
        members_max: u32,
        home_channels_max: u32,
        mesh: Member<Message>,
        now: Instant,
        hasher: &std::hash::RandomState,
    ) -> Self {
        let homes = Homes::dealt(shard_count);
        let bounds = FanoutBounds::default();
        let fanout = Fanout::new(homes.clone(), members_max, bounds, hasher.clone());
        Self {
            here: ShardId::new(here),
            homes,
            fanout,
            home: Home::new(here, shard_count, home_channels_max, now, hasher),
            entering: Entering::default(),
            absences: Absences::new(shard_count),
            requests: Requests::new(shard_count),
            mesh,
            redeliveries: Redeliveries::default(),
            joined: Joined::default(),
            selections: Selections::default(),
            pins: Pins::default(),
            missed: 0,
            gaps_sent: 0,
            outdated: 0,
            stale: 0,
            joins_dropped: 0,
            presence_unheard: 0,
            replaced: Replaced::default(),
            returns: Returns::default(),
            translated: 0,
        }
    }

    /// How publications are put into words, and comings and goings: not at all, unless it is said.
    pub(super) fn word_by(&mut self, words: Words, tell: Tell) {
        self.home.words = words;
        self.home.attendance.tell = tell;
    }

    /// Adds what was counted here and at the homes of this shard.
    pub(super) fn count_into(&self, counters: &mut Counters) {
        counters.publications_missed = self.missed;
        counters.gaps_sent = self.gaps_sent;
        counters.publications_stale = self.stale;
        counters.publications_outdated = self.outdated;
        counters.publications_translated = self.translated;
        counters.acks_put_off = self.redeliveries.put_off;
        counters.joins_dropped = self.joins_dropped;
        counters.presence_unheard = self.presence_unheard;
        counters.requests_refused = self.requests.refused();
        self.home.count_into(counters);
    }

    pub(super) fn has_work(&self) -> bool {
        self.fanout.has_long_work() || self.is_pressed()
    }

    /// The same without what waits for its turn, which a wake announces.
    pub(super) fn is_pressed(&self) -> bool {
        self.fanout.has_short_work()
            || !self.mesh.waits_for_core() && self.fanout.has_long_work()
            || self.fanout.has_announcements()
            || !self.replaced.is_empty()
            || !self.redeliveries.is_empty()
            || self.home.is_behind()
    }

    /// Finds out whether channels of many members may be served in this turn; returns how many
    /// members may be in all.
    pub(super) fn stand_in_line(&mut self) -> usize {
        if self.fanout.has_long_work() {
            let _or_waits = self.mesh.take_core();
        }
        if self.mesh.shares_core() { FANOUT_SHARED_TURN_SHARE } else { FANOUT_TURN_SHARE }
    }

    /// Makes a connection a member; false if it was one.
    pub(super) fn join(
        &mut self,
        connection: ConnectionId,
        channel: &str,
    ) -> Result<bool, JoinError> {
        if self.entering.is_wanted(connection, channel) {
            return Err(JoinError::Member);
        }
        match self.fanout.join(channel, MemberId(connection.index())) {
            Ok(_) => {}
            Err(HubJoinError::AlreadyMember(_)) => return Ok(false),
            Err(HubJoinError::NameTooLong { .. }) => return Err(JoinError::Name),
            Err(_) => return Err(JoinError::ShardFull),
        }
        self.tell_home(self.homes.home_of_channel(channel));
        Ok(true)
    }

    pub(super) fn is_member(&self, index: Index, channel: &str) -> bool {
        let member = MemberId(index.as_u32());
        self.fanout.find(channel).is_some_and(|id| self.fanout.is_member(id, member))
    }

    /// How a connection stands in a channel; `None` if it is not in it.
    pub(super) fn standing(&self, index: Index, channel: &str) -> Option<Standing> {
        self.fanout.standing(self.fanout.find(channel)?, MemberId(index.as_u32()))
    }

    /// Ends a membership, or an entry that is under way: for good, or until it comes back.
    pub(super) fn leave(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        is_for_good: bool,
    ) -> bool {
        if self.entering.leave(connection, channel) {
            return true;
        }
        let Some(id) = self.fanout.find(channel) else { return false };
        let left = self.fanout.leave(id, MemberId(connection.index()));
        let home = self.homes.home_of_channel(channel);
        if let Some(standing) = left {
            self.absences.owe(home, channel, connection, standing, is_for_good);
            self.tell_absences(home);
        }
        self.tell_home(home);
        left.is_some()
    }

    pub(super) fn leave_all(&mut self, connection: ConnectionId) {
        self.entering.leave_all(connection);
        let Self { fanout, absences, homes, replaced, .. } = self;
        replaced.forget(MemberId(connection.index()));
        fanout.leave_all(MemberId(connection.index()), |channel, standing| {
            absences.owe(homes.home_of_channel(channel), channel, connection, standing, false);
        });
        self.tell_absences(self.here);
        self.tell_home(self.here);
    }

    /// A connection is shown as this from now on, wherever it is present. A home that has no room
    /// to hear of it shows what it was until the next time.
    pub(super) fn show_anew(&mut self, connection: ConnectionId, present: &Present) {
        self.entering.show_anew(connection, present);
        let mut channels: Vec<Arc<str>> = Vec::new();
        self.fanout.each_of(MemberId(connection.index()), |channel, standing| {
            channels.extend(standing.is_present.then(|| channel.into()));
        });
        for channel in channels {
            self.show_anew_in(connection, &channel, present);
        }
    }

    /// The same in one channel.
    pub(super) fn show_anew_in(
        &mut self,
        connection: ConnectionId,
        channel: &str,
        present: &Present,
    ) {
        let to = self.homes.home_of_channel(channel);
        if to == self.here {
            return self.home.show(to, connection, channel, present);
        }
        let (channel, present) = (channel.into(), present.clone());
        let message = Message::ShowAnew(Box::new(ShowAnew { channel, connection, present }));
        let sent = self.mesh.send(member(to), message, Class::Delivery);
        self.presence_unheard += u64::from(sent.is_err());
    }

    pub(super) fn publish(
        &mut self,
        channel: &str,
        frame: Frame,
        keep: Option<Keep>,
    ) -> Result<(), PublishError> {
        let home = self.homes.home_of_channel(channel);
        self.tell_home(home);
        if home == self.here {
            self.publish_in_order(&channel.into(), &frame, keep);
            return Ok(());
        }
        // A join whose news has not left yet must not be overtaken.
        if self.fanout.is_pending(channel) {
            return Err(PublishError::Full);
        }
        let message = Message::publication(channel.into(), frame, keep);
        self.mesh.send(member(home), message, Class::Delivery).map_err(|_| PublishError::Full)
    }

    /// Hands on what has changed in our interest, as far as there is room.
    pub(super) fn tell_home(&mut self, to: ShardId) {
        if !self.fanout.has_changes(to) {
            return;
        }
        let Self { fanout, home, mesh, here, .. } = self;
        fanout.drain_changes(to, |change| {
            if to == *here && change.on {
                return Told::Answered(home.interested(change.channel, to));
            }
            if to == *here {
                home.uninterested(change.channel, to);
                return Told::Sent;
            }
            let (channel, ask) = (change.channel.into(), change.ask);
            let sent = if change.on {
                mesh.send(member(to), Message::Interested { channel, ask }, Class::Request)
            } else {
                mesh.send(member(to), Message::Uninterested { channel }, Class::Notice)
            };
            if sent.is_ok() { Told::Sent } else { Told::NoRoom }
        });
    }

    /// Hands on who is not there any more, as far as there is room.
    pub(super) fn tell_absences(&mut self, to: ShardId) {
        if to != self.here {
            return self.absences.send(&mut self.mesh, to);
        }
        while let Some(message) = self.absences.next(to) {
            match message {
                Message::Absent { channel, connection, gone } => {
                    self.home.absent(to, connection, &channel, gone);
                }
                Message::Returned(returned) => self.home.returned(to, &returned),
                other => unreachable!("{other:?} is nothing that is owed"),
            }
        }
    }

    /// Tells the channels that have waited for it who came and went there.
    fn tell_joins(&mut self) {
        for _ in 0..JOINS_TOLD_SHARE {
            let Some((channel, frames, hearers)) = self.home.next_joins() else { return };
            for frame in &frames {
                self.tell_hearers(&channel, frame, hearers);
            }
        }
    }

    fn tell_hearers(&mut self, channel: &Arc<str>, frame: &Frame, hearers: ShardSet) {
        for shard in hearers {
            if shard == self.here {
                self.tell(channel, frame.clone());
                continue;
            }
            let message = Message::Tell { channel: channel.clone(), frame: frame.clone() };
            let sent = self.mesh.send(member(shard), message, Class::Delivery);
            self.joins_dropped += u64::from(sent.is_err());
        }
    }

    /// Once a turn: what did not fit earlier, and what has waited for its time. Requests are asked
    /// of those homes only that `may_ask` names, and of connections only that `is_open` does.
    pub(crate) fn catch_up(
        &mut self,
        may_ask: impl Fn(ShardId) -> bool,
        mut is_open: impl FnMut(ConnectionId) -> bool,
    ) {
        self.tell_joins();
        self.home.take_in();
        self.redeliver_due();
        for shard in (0..self.homes.shard_count()).map(ShardId::new) {
            self.tell_absences(shard);
            self.tell_home(shard);
            if may_ask(shard) {
                self.ask_again(shard, &mut is_open);
            }
            while let Some(mending) = self.home.next_mending(shard) {
                if !self.mend(shard, mending) {
                    break;
                }
            }
        }
    }

    /// Whether nothing is under way here that would lead to a message, to a connection of this
    /// shard or to another shard.
    pub(super) fn is_quiet(&self) -> bool {
        let mut homes = (0..self.homes.shard_count()).map(ShardId::new);
        let is_owed = |home| {
            self.absences.owes(home)
                || self.fanout.has_changes(home)
                || self.home.next_mending(home).is_some()
        };
        !self.has_work()
            && self.requests.count() == 0
            && self.entering.is_empty()
            && !self.home.attendance.has_news()
            && !homes.any(is_owed)
    }

    /// Whether some other shard is still to hear of something, for want of room.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        let mut homes = (0..self.homes.shard_count()).map(ShardId::new);
        let is_owed = |home| self.absences.owes(home) || self.fanout.has_changes(home);
        self.requests.count() > 0 || homes.any(is_owed)
    }

    /// Sends a shard that lags what it has missed, or how much that is; false if there is no room.
    fn mend(&mut self, shard: ShardId, mending: Mending) -> bool {
        let Mending { id, channel, missed, frames } = mending;
        if frames.is_empty() {
            let message = Message::Gap { channel, missed };
            let is_sent = self.mesh.send(member(shard), message, Class::Delivery).is_ok();
            if is_sent {
                self.gaps_sent += 1;
                self.home.order.repaired(id, shard);
            }
            return is_sent;
        }
        let count = frames.len();
        let mesh = &mut self.mesh;
        let sent = frames.into_iter().take_while(|frame| {
            let message = Message::Deliver { channel: channel.clone(), frame: frame.clone() };
            mesh.send(member(shard), message, Class::Delivery).is_ok()
        });
        let sent = sent.count();
        if sent > 0 {
            self.home.order.resent(id, shard, sent as u64);
        }
        sent == count
    }

    /// A message of another member of the mesh about a channel.
    pub(super) fn take(&mut self, from: MeshId, message: Message) {
        let shard = || ShardId::new(from.as_usize());
        match message {
            Message::Publish { channel, frame } => self.publish_in_order(&channel, &frame, None),
            Message::PublishKept(publish) => {
                let PublishKept { channel, frame, keep } = *publish;
                self.publish_in_order(&channel, &frame, Some(keep));
            }
            Message::Place(place) => {
                let Place { ask, version, publication } = *place;
                let place = self.place(publication, version.as_ref());
                self.mesh.answer(from, Message::Placed { ask, place });
            }
            Message::Deliver { channel, frame } => self.deliver(&channel, frame),
            Message::ShowAnew(anew) => {
                self.home.show(shard(), anew.connection, &anew.channel, &anew.present);
            }
            Message::Tell { channel, frame } => self.tell(&channel, frame),
            Message::Redeliver(one) => self.redeliveries.add(*one),
            Message::Replaced { channel } => self.replace_here(&channel),
            Message::Gap { channel, missed } => self.miss(&channel, missed),
            Message::Interested { channel, ask } => {
                let answer = self.home.interested(&channel, shard());
                self.mesh.answer(from, Message::InterestAnswered { channel, ask, answer });
            }
            Message::InterestAnswered { channel, ask, answer } => {
                // An answer to a question that is not asked any more says nothing.
                let _is_awaited = self.fanout.answered(&channel, ask, answer);
            }
            Message::Uninterested { channel } => self.home.uninterested(&channel, shard()),
            Message::BothForms { channel } => self.home.order.needs_both_forms(&channel),
            Message::Enter(enter) => {
                let Enter { channel, connection, entry } = *enter;
                let result = self.enter_at_home(shard(), connection, &channel, &entry);
                let entered = EnteredBy { channel, connection, result };
                self.mesh.answer(from, Message::Entered(Box::new(entered)));
            }
            Message::Ask(ask) => self.take_question(from, *ask),
            Message::Absent { channel, connection, gone } => {
                self.home.absent(shard(), connection, &channel, gone);
            }
            Message::Returned(returned) => self.returned(shard(), &returned),
            Message::Placed { .. }
            | Message::Entered(_)
            | Message::Answered(_)
            | Message::SignIn { .. }
            | Message::SignedIn { .. }
            | Message::SignOut { .. }
            | Message::CountAgain { .. }
            | Message::Consult(_)
            | Message::Unconsult { .. }
            | Message::Consulted(_)
            | Message::Reported(_)
            | Message::TellUser(_)
            | Message::UserTold { .. }
            | Message::ListChannels(_)
            | Message::ChannelsListed { .. }
            | Message::Stop
            | Message::HandOver(_)
            | Message::Move(_)
            | Message::Count { .. }
            | Message::Counted(_) => {
                unreachable!("others take these")
            }
        }
    }

    fn take_question(&mut self, from: MeshId, ask: Ask) {
        let Ask { channel, connection, id, question } = ask;
        let result = self.home.answer(&channel, question);
        let answered = Answered { connection, id, result };
        self.mesh.answer(from, Message::Answered(Box::new(answered)));
    }

    /// Publishes and keeps what is news, and says where the stream is then.
    fn place(&mut self, publication: PublishKept, version: Option<&Version>) -> Option<Position> {
        let PublishKept { channel, frame, keep } = publication;
        let is_news =
            version.is_none_or(|version| self.home.is_news(&channel, keep.retention, version));
        if is_news {
            self.publish_in_order(&channel, &frame, Some(keep));
        } else {
            self.outdated += 1;
        }
        self.home.position(&channel)
    }

    fn publish_in_order(&mut self, channel: &Arc<str>, frame: &Frame, keep: Option<Keep>) {
        let Some((frame, published)) = self.home.publish(channel, frame, keep) else { return };
        for shard in published.targets {
            if shard == self.here {
                self.deliver(channel, Arc::clone(&frame));
                continue;
            }
            let message = Message::Deliver { channel: channel.clone(), frame: frame.clone() };
            if self.mesh.send(member(shard), message, Class::Delivery).is_err() {
                self.home.order.lagging(&published, shard);
            }
        }
    }

    fn deliver(&mut self, channel: &str, frame: Frame) {
        let Some(id) = self.fanout.receiving(channel) else {
            self.stale += 1;
            return;
        };
        self.pins.pass(id, || Sent::Publication(Frame::clone(&frame)));
        let bytes = frame.len();
        if self.fanout.deliver(id, frame, bytes).is_err() {
            self.missed += 1;
        }
    }

    /// The home had no room for so many: members here are told.
    fn miss(&mut self, channel: &str, missed: u64) {
        if let Some(id) = self.fanout.receiving(channel) {
            self.missed += missed;
            self.pins.pass(id, || Sent::Missed(missed));
            self.fanout.miss(id, missed);
        }
    }

    /// Tells members here who comes and goes.
    fn tell(&mut self, channel: &str, frame: Frame) {
        let Some(id) = self.fanout.receiving(channel) else { return };
        self.pins.pass(id, || Sent::Joins(Frame::clone(&frame)));
        let bytes = frame.len();
        self.joins_dropped += u64::from(self.fanout.tell(id, frame, bytes).is_err());
    }

    /// Pieces of an earlier batch are not pieces of this one.
    pub(super) fn forget_pieces(&mut self) {
        self.joined = Joined::default();
        self.selections = Selections::default();
    }
}

pub(super) fn member(shard: ShardId) -> MeshId {
    MeshId::new(shard.index())
}

#[cfg(test)]
mod attendance_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
