//! Channels of this shard: members and fan-out here, order for those whose home it is, and the
//! mesh in between.
//!
//! ```text
//!   publish ─▶ home here? ─yes─▶ order ─▶ members here: fan-out │ elsewhere: mesh, or a lag bit
//!                        └─no──▶ mesh ─▶ home
//! ```
//!
//! Invariant: everything about one channel travels between two shards in one FIFO, so a join made
//! before a publication is seen by the home before it.

use std::sync::Arc;

use super::core::Turn;
use super::guard;
use super::message::Message;
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, JoinError, Peer, PublishError};
use crate::hub::{
    Chain, Fanout, FanoutBounds, Homes, JoinError as HubJoinError, MemberId, Order, ShardId,
};
use crate::limits::{CHANNELS_PER_HOME_MAX, RUN_FRAMES_MAX};
use crate::mesh::{Class, Member, MemberId as MeshId};
use crate::ring::{Batch, Frame, Piece};

/// The channels of one shard, and its end of the mesh.
pub(crate) struct Channels {
    here: ShardId,
    homes: Homes,
    pub(super) fanout: Fanout<Frame>,
    order: Order,
    pub(crate) mesh: Member<Message>,
    /// The frames of the run at hand as one piece of the present batch.
    joined: Option<(Chain, Piece)>,
    /// Publications that members here missed, and gaps told to other shards.
    pub(super) missed: u64,
    pub(super) gaps_sent: u64,
    pub(super) interest_refused: u64,
}

impl Channels {
    pub(crate) fn new(
        here: usize,
        shard_count: usize,
        members_max: u32,
        mesh: Member<Message>,
        hasher: &std::hash::RandomState,
    ) -> Self {
        let homes = Homes::dealt(shard_count);
        let bounds = FanoutBounds::default();
        let fanout = Fanout::new(homes.clone(), members_max, bounds, hasher.clone());
        let order = Order::new(shard_count, CHANNELS_PER_HOME_MAX, hasher.clone());
        Self {
            here: ShardId::new(here),
            homes,
            fanout,
            order,
            mesh,
            joined: None,
            missed: 0,
            gaps_sent: 0,
            interest_refused: 0,
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.fanout.has_work()
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
            if home == *here {
                note_interest(order, change.channel, home, change.on, interest_refused);
                return true;
            }
            let channel = change.channel.into();
            let message = if change.on {
                Message::Interested { channel }
            } else {
                Message::Uninterested { channel }
            };
            mesh.send(member(home), message, Class::Notice).is_ok()
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

    /// A message of another shard about a channel.
    pub(super) fn take(&mut self, from: MeshId, message: Message) {
        let from = from.as_usize();
        match message {
            Message::Publish { channel, frame } => self.publish_in_order(&channel, &frame),
            Message::Deliver { channel, frame } => self.deliver(&channel, frame),
            Message::Gap { channel, missed } => {
                if let Some(id) = self.fanout.find(&channel) {
                    self.missed += missed;
                    self.fanout.miss(id, missed);
                }
            }
            Message::Interested { channel } | Message::Uninterested { channel }
                if from >= self.homes.shard_count() =>
            {
                tracing::error!(%channel, from, "interest from outside the shards");
            }
            Message::Interested { channel } => {
                let shard = ShardId::new(from);
                note_interest(&mut self.order, &channel, shard, true, &mut self.interest_refused);
            }
            Message::Uninterested { channel } => {
                self.order.uninterested(&channel, ShardId::new(from));
            }
            Message::Stop | Message::Count { .. } | Message::Counted(_) => {
                unreachable!("the loop takes these itself")
            }
        }
    }

    fn publish_in_order(&mut self, channel: &Arc<str>, frame: &Frame) {
        let Some(published) = self.order.publish(channel) else { return };
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
        let Some(id) = self.fanout.find(channel) else { return };
        let bytes = frame.len();
        if self.fanout.deliver(id, frame, bytes).is_err() {
            self.missed += 1;
        }
    }

    /// Pieces of an earlier batch are not pieces of this one.
    pub(super) fn forget_pieces(&mut self) {
        self.joined = None;
    }

    pub(crate) fn channel_count(&self) -> u32 {
        self.fanout.channel_count()
    }

    /// The next member that is to get something.
    fn next(&mut self, batch: &mut Batch) -> Option<Next> {
        let delivery = self.fanout.next()?;
        let piece = match (delivery.frames, self.joined) {
            ([], _) => None,
            (_, Some((chain, piece))) if chain == delivery.chain => Some(piece),
            (frames, _) => {
                let piece = joined(frames, batch);
                self.joined = Some((delivery.chain, piece));
                Some(piece)
            }
        };
        let (member, missed, count) = (delivery.member, delivery.missed, delivery.frames.len());
        let missed = (missed > 0).then_some((missed, delivery.channel));
        let missed = missed.map(|(count, channel)| (count, self.fanout.name(channel).to_owned()));
        Some(Next { index: Index::new(member.0), missed, piece, count })
    }
}

/// A delivery in the terms of the shard.
struct Next {
    index: Index,
    missed: Option<(u64, String)>,
    piece: Option<Piece>,
    count: usize,
}

/// The frames of a run as one piece.
fn joined(frames: &[Frame], batch: &mut Batch) -> Piece {
    if let [frame] = frames {
        return batch.share(Arc::clone(frame));
    }
    let mut parts: [&[u8]; RUN_FRAMES_MAX] = [&[]; RUN_FRAMES_MAX];
    for (part, frame) in parts.iter_mut().zip(frames) {
        *part = frame;
    }
    let parts = &parts[..frames.len()];
    batch.copy(parts).unwrap_or_else(|| batch.share(parts.concat().into()))
}

fn note_interest(order: &mut Order, channel: &str, shard: ShardId, on: bool, refused: &mut u64) {
    if !on {
        order.uninterested(channel, shard);
    } else if let Err(error) = order.interested(channel, shard) {
        *refused += 1;
        tracing::error!(channel, ?error, "the home cannot note a shard's interest");
    }
}

fn member(shard: ShardId) -> MeshId {
    MeshId::new(shard.index())
}

impl<H: Handler> Turn<'_, H> {
    /// Delivers to at most `budget` members; returns how many it was.
    pub(crate) fn fan_out(&mut self, handler: &mut H, budget: usize) -> usize {
        let mut count = 0;
        while count < budget {
            let Some(next) = self.core.channels.next(self.batch) else { break };
            count += 1;
            if let Some((missed, channel)) = next.missed {
                let id: ConnectionId = self.core.id(next.index);
                self.core.called = true;
                let peer = &mut Peer::new(self, id);
                if guard(|| handler.missed(peer, &channel, missed)).is_none() {
                    self.panicked(next.index);
                }
                self.tell_endings(handler);
            }
            let Some(piece) = next.piece else { continue };
            let open = self.core.connections.get(next.index).is_some_and(|one| one.phase.is_open());
            if open && self.queue(next.index, piece).is_ok() {
                self.core.counters.deliveries += next.count as u64;
            }
            self.tell_endings(handler);
        }
        count
    }
}
