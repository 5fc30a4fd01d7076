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

use super::forms::{Joined, Translate, with_both};
use super::message::Message;
use super::slab::Index;
use crate::handler::{JoinError, PublishError};
use crate::hub::{
    Answer, Fanout, FanoutBounds, Homes, JoinError as HubJoinError, MemberId, Order, ShardId, Told,
};
use crate::limits::CHANNELS_PER_HOME_MAX;
use crate::mesh::{Class, Member, MemberId as MeshId};
use crate::ring::Frame;

/// The channels of one shard, and its end of the mesh.
pub(crate) struct Channels {
    pub(super) here: ShardId,
    pub(super) homes: Homes,
    pub(super) fanout: Fanout<Frame>,
    pub(super) order: Order,
    pub(crate) mesh: Member<Message>,
    pub(super) joined: Joined,
    pub(super) translate: Translate,
    /// Publications that members here missed, and gaps told to other shards.
    pub(super) missed: u64,
    pub(super) gaps_sent: u64,
    pub(super) interest_refused: u64,
    /// Publications that came for an interest that had ended.
    pub(super) stale: u64,
    /// Publications that were translated here.
    pub(super) translated: u64,
}

impl Channels {
    pub(crate) fn new(
        here: usize,
        shard_count: usize,
        members_max: u32,
        mesh: Member<Message>,
        hasher: &std::hash::RandomState,
    ) -> Self {
        Self::with_home(here, shard_count, members_max, CHANNELS_PER_HOME_MAX, mesh, hasher)
    }

    /// The same with a home of another size.
    fn with_home(
        here: usize,
        shard_count: usize,
        members_max: u32,
        home_channels_max: u32,
        mesh: Member<Message>,
        hasher: &std::hash::RandomState,
    ) -> Self {
        let homes = Homes::dealt(shard_count);
        let bounds = FanoutBounds::default();
        let fanout = Fanout::new(homes.clone(), members_max, bounds, hasher.clone());
        let order = Order::new(shard_count, home_channels_max, hasher.clone());
        Self {
            here: ShardId::new(here),
            homes,
            fanout,
            order,
            mesh,
            joined: Joined::default(),
            translate: |_| None,
            missed: 0,
            gaps_sent: 0,
            interest_refused: 0,
            stale: 0,
            translated: 0,
        }
    }

    /// How a publication is put into the other kind of message. Not at all, unless it is said.
    pub(super) fn translate_by(&mut self, translate: Translate) {
        self.translate = translate;
    }

    pub(super) fn has_work(&self) -> bool {
        self.fanout.has_work() || self.fanout.has_announcements()
    }

    /// Makes a connection a member; false if it was one.
    pub(super) fn join(&mut self, index: Index, channel: &str) -> Result<bool, JoinError> {
        match self.fanout.join(channel, MemberId(index.as_u32())) {
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

    pub(super) fn leave(&mut self, index: Index, channel: &str) -> bool {
        let Some(id) = self.fanout.find(channel) else { return false };
        let left = self.fanout.leave(id, MemberId(index.as_u32()));
        self.tell_home(self.homes.home_of_channel(channel));
        left
    }

    pub(super) fn leave_all(&mut self, index: Index) {
        self.fanout.leave_all(MemberId(index.as_u32()));
        self.tell_home(self.here);
    }

    pub(super) fn publish(&mut self, channel: &str, frame: Frame) -> Result<(), PublishError> {
        let home = self.homes.home_of_channel(channel);
        self.tell_home(home);
        if home == self.here {
            self.publish_in_order(&channel.into(), &frame);
            return Ok(());
        }
        // A join whose news has not left yet must not be overtaken.
        if self.fanout.is_pending(channel) {
            return Err(PublishError::Full);
        }
        let message = Message::Publish { channel: channel.into(), frame };
        self.mesh.send(member(home), message, Class::Delivery).map_err(|_| PublishError::Full)
    }

    /// Hands on what has changed in our interest, as far as there is room.
    fn tell_home(&mut self, home: ShardId) {
        if !self.fanout.has_changes(home) {
            return;
        }
        let Self { fanout, order, mesh, here, interest_refused, .. } = self;
        fanout.drain_changes(home, |change| {
            if home == *here && change.on {
                return Told::Answered(note(order, change.channel, home, interest_refused));
            }
            if home == *here {
                order.uninterested(change.channel, home);
                return Told::Sent;
            }
            let (channel, ask) = (change.channel.into(), change.ask);
            let sent = if change.on {
                mesh.send(member(home), Message::Interested { channel, ask }, Class::Request)
            } else {
                mesh.send(member(home), Message::Uninterested { channel }, Class::Notice)
            };
            if sent.is_ok() { Told::Sent } else { Told::NoRoom }
        });
    }

    /// Once a turn: what did not fit earlier.
    pub(crate) fn catch_up(&mut self) {
        for shard in (0..self.homes.shard_count()).map(ShardId::new) {
            self.tell_home(shard);
            while let Some(gap) = self.order.next_repair(shard) {
                let (id, missed) = (gap.channel, gap.missed);
                let message = Message::Gap { channel: gap.name.into(), missed };
                if self.mesh.send(member(shard), message, Class::Delivery).is_err() {
                    break;
                }
                self.gaps_sent += 1;
                self.order.repaired(id, shard);
            }
        }
    }

    /// A message of another member of the mesh about a channel.
    pub(super) fn take(&mut self, from: MeshId, message: Message) {
        match message {
            Message::Publish { channel, frame } => self.publish_in_order(&channel, &frame),
            Message::Deliver { channel, frame } => self.deliver(&channel, frame),
            Message::Gap { channel, missed } => {
                if let Some(id) = self.fanout.receiving(&channel) {
                    self.missed += missed;
                    self.fanout.miss(id, missed);
                }
            }
            Message::Interested { channel, ask } => {
                let shard = ShardId::new(from.as_usize());
                let answer = note(&mut self.order, &channel, shard, &mut self.interest_refused);
                self.mesh.answer(from, Message::InterestAnswered { channel, ask, answer });
            }
            Message::InterestAnswered { channel, ask, answer } => {
                // An answer to a question that is not asked any more says nothing.
                let _is_awaited = self.fanout.answered(&channel, ask, answer);
            }
            Message::Uninterested { channel } => {
                self.order.uninterested(&channel, ShardId::new(from.as_usize()));
            }
            Message::BothForms { channel } => self.order.needs_both_forms(&channel),
            Message::SignIn { .. }
            | Message::SignedIn { .. }
            | Message::SignOut { .. }
            | Message::Stop
            | Message::Count { .. }
            | Message::Counted(_) => {
                unreachable!("others take these")
            }
        }
    }

    fn publish_in_order(&mut self, channel: &Arc<str>, frame: &Frame) {
        let Some(published) = self.order.publish(channel) else { return };
        let both = published.in_both_forms.then(|| with_both(frame, self.translate)).flatten();
        self.translated += u64::from(both.is_some());
        let frame = both.as_ref().unwrap_or(frame);
        for shard in published.targets {
            if shard == self.here {
                self.deliver(channel, Arc::clone(frame));
                continue;
            }
            let message = Message::Deliver { channel: channel.clone(), frame: frame.clone() };
            if self.mesh.send(member(shard), message, Class::Delivery).is_err() {
                self.order.lagging(published.channel, shard);
            }
        }
    }

    fn deliver(&mut self, channel: &str, frame: Frame) {
        let Some(id) = self.fanout.receiving(channel) else {
            self.stale += 1;
            return;
        };
        let bytes = frame.len();
        if self.fanout.deliver(id, frame, bytes).is_err() {
            self.missed += 1;
        }
    }

    /// Pieces of an earlier batch are not pieces of this one.
    pub(super) fn forget_pieces(&mut self) {
        self.joined = Joined::default();
    }
}

/// Notes a shard's interest at this home.
fn note(order: &mut Order, channel: &str, shard: ShardId, refused: &mut u64) -> Answer {
    match order.interested(channel, shard) {
        Ok(_) => Answer::Confirmed,
        Err(error) => {
            *refused += 1;
            tracing::warn!(channel, ?error, "the home cannot note a shard's interest");
            Answer::Refused
        }
    }
}

pub(super) fn member(shard: ShardId) -> MeshId {
    MeshId::new(shard.index())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::MessageKind;
    use crate::ring::Batch;

    /// Two shards with a home for one channel each, and no threads.
    fn shards() -> [Channels; 2] {
        let hasher = std::hash::RandomState::new();
        let members = crate::mesh::build_with_slots(2, 64).expect("two members").into_iter();
        let mut shards = members
            .zip(0..)
            .map(|(mesh, here)| Channels::with_home(here, 2, 100, 1, mesh, &hasher));
        std::array::from_fn(|_| shards.next().expect("two"))
    }

    /// The first names whose home is `shard`.
    fn names_at(shard: usize) -> [String; 2] {
        let homes = Homes::dealt(2);
        let mut names = (0..).map(|number| format!("channel-{number}"));
        let at_home = |name: &String| homes.home_of_channel(name) == ShardId::new(shard);
        std::array::from_fn(|_| names.find(at_home).expect("there are names enough"))
    }

    /// Hands over what each shard has for the other, in turns, until nobody has anything.
    fn exchange(shards: &mut [Channels; 2]) {
        for shard in &mut *shards {
            shard.mesh.flush(|_| {});
        }
        loop {
            let mut count = 0;
            for shard in &mut *shards {
                while let Some(received) = shard.mesh.receive() {
                    shard.take(received.from, received.message);
                    count += 1;
                }
                shard.catch_up();
                shard.mesh.flush(|_| {});
            }
            if count == 0 {
                return;
            }
        }
    }

    fn told(shard: &mut Channels) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| shard.fanout.next_announcement())
            .map(|told| (told.member.0, told.is_member))
            .collect()
    }

    #[test]
    fn a_full_home_here_or_elsewhere_ends_the_membership() {
        for home in [0, 1] {
            let mut shards = shards();
            let names = names_at(home);
            for (name, index) in names.iter().zip([4, 5]) {
                assert_eq!(shards[0].join(Index::new(index), name), Ok(true));
            }
            exchange(&mut shards);
            assert_eq!(told(&mut shards[0]), [(4, true), (5, false)], "home {home}");
            assert!(shards[0].is_member(Index::new(4), &names[0]));
            assert!(!shards[0].is_member(Index::new(5), &names[1]));
            assert_eq!(shards[home].interest_refused, 1);
            // Once there is room again, the same join is confirmed.
            assert!(shards[0].leave(Index::new(4), &names[0]));
            exchange(&mut shards);
            assert_eq!(shards[0].join(Index::new(5), &names[1]), Ok(true));
            exchange(&mut shards);
            assert_eq!(told(&mut shards[0]), [(5, true)], "home {home}");
        }
    }

    #[test]
    fn a_delivery_for_an_interest_that_has_ended_is_counted_and_nobodys() {
        let mut shards = shards();
        let [name, _] = names_at(1);
        let index = Index::new(4);
        assert_eq!(shards[0].join(index, &name), Ok(true));
        exchange(&mut shards);
        assert_eq!(told(&mut shards[0]), [(4, true)]);
        // The home sends, and the member leaves and comes back before it arrives.
        assert_eq!(shards[1].publish(&name, Arc::new(*b"old")), Ok(()));
        assert!(shards[0].leave(index, &name));
        assert_eq!(shards[0].join(index, &name), Ok(true));
        exchange(&mut shards);
        assert_eq!((shards[0].stale, shards[0].fanout.queue_bytes()), (1, 0));
        assert_eq!(told(&mut shards[0]), [(4, true)]);
        assert_eq!(shards[1].publish(&name, Arc::new(*b"new")), Ok(()));
        exchange(&mut shards);
        assert_eq!(shards[0].stale, 1);
        assert_eq!(shards[0].fanout.next().expect("a delivery").frames, [Arc::from(*b"new")]);
    }

    #[test]
    fn a_shard_translates_until_its_question_reaches_the_home() {
        let mut shards = shards();
        for shard in &mut shards {
            shard.translate_by(|message| Some(message.payload().to_ascii_uppercase()));
        }
        let [name, other] = names_at(1);
        assert_eq!(shards[0].join(Index::new(4), &name), Ok(true));
        exchange(&mut shards);
        assert_eq!(told(&mut shards[0]), [(4, true)]);
        let mut batch = Batch::new(1024);
        // Published at the home, read as binary here; returns who has translated so far.
        let mut round = |shards: &mut [Channels; 2], is_full: bool| {
            assert_eq!(shards[1].publish(&name, Arc::new(*b"\x81\x02hi")), Ok(()));
            exchange(shards);
            while is_full && shards[0].publish(&other, Arc::new(*b"\x81\x00")).is_ok() {}
            let next = shards[0].next(&mut batch, |_| Some(MessageKind::Binary));
            let piece = next.and_then(|next| next.piece.ok().flatten()).expect("a delivery");
            assert_eq!(batch.bytes(piece), b"\x82\x02HI");
            exchange(shards);
            [shards[0].translated, shards[1].translated]
        };
        assert_eq!(round(&mut shards, true), [1, 0], "there is no room for the question");
        assert_eq!(round(&mut shards, false), [2, 0], "the question leaves");
        assert_eq!(round(&mut shards, false), [2, 1], "the home knows");
        assert_eq!(round(&mut shards, true), [2, 2]);
    }
}
