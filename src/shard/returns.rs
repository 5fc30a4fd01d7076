//! What a shard that has taken connections over tells the homes of their channels and users,
//! before anybody is served.
//!
//! ```text
//!   connection ─▶ its memberships ─▶ interest ─▶ Returned … ─▶ home: who is present, who hears
//!              └▶ its user ───────────────────▶ CountAgain ─▶ home: how many connections
//!                                 Settled to every other shard ─▶ all have settled ─▶ commit
//! ```
//!
//! Invariant: what a home hears of a member comes behind the interest of the member's shard, in the
//! same FIFO; and behind a shard's `Settled` comes nothing of what it has taken over.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::attendance::Attendant;
use super::carried::Unfit;
use super::channels::{Channels, member};
use super::core::Core;
use super::message::{HandOver, Message, Returned};
use crate::filter::{Filter, Node, Reading};
use crate::handler::{ConnectionId, Handler};
use crate::handover::{FilterNode, Membership};
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::hub::{MemberId, ShardId, Standing};
use crate::mesh::{Class, MemberId as MeshId};

/// What the homes are still to be told, and which shards have settled. No more than there are
/// memberships and sessions, and gone when all have settled.
#[derive(Default)]
pub(super) struct Returns {
    owed: Vec<VecDeque<Message>>,
    /// Other shards to which it was said that all is told.
    told_count: usize,
    /// Other shards that have said so.
    settled_count: usize,
}

impl Returns {
    fn owe(&mut self, home: ShardId, message: Message) {
        if self.owed.len() <= home.index() {
            self.owed.resize_with(home.index() + 1, VecDeque::new);
        }
        self.owed[home.index()].push_back(message);
    }

    fn of(&mut self, home: ShardId) -> Option<&mut VecDeque<Message>> {
        self.owed.get_mut(home.index())
    }

    /// Another shard has told all that it has for this one.
    pub(super) fn note_settled(&mut self) {
        self.settled_count += 1;
    }
}

impl Channels {
    /// Makes a connection that was taken over a member again. `former`: the name by which the
    /// channel's home knew it.
    pub(super) fn readmit(
        &mut self,
        connection: ConnectionId,
        former: u64,
        one: Membership,
    ) -> Result<(), Unfit> {
        let reading = reading_of(&one).ok_or(Unfit::State)?;
        let standing = standing_of(&one).ok_or(Unfit::State)?;
        let member = MemberId(connection.index());
        let readmitted = self.fanout.readmit(&one.channel, member, standing, reading);
        readmitted.map_err(|_| Unfit::Channels)?;
        let home = self.homes.home_of_channel(&one.channel);
        if let Some(returned) = returned_of(connection, former, one) {
            self.returns.owe(home, Message::Returned(Box::new(returned)));
        }
        Ok(())
    }

    /// Makes a connection a member that has moved here from another shard, where the channel's home
    /// knew it by the name `former`. The channel is held for it.
    pub(super) fn move_in(
        &mut self,
        connection: ConnectionId,
        former: u64,
        one: Membership,
    ) -> Result<(), Unfit> {
        let Some((reading, standing)) = reading_of(&one).zip(standing_of(&one)) else {
            let channel = one.channel.clone();
            self.lose(connection, former, one);
            self.fanout.release(&channel);
            self.tell_home(self.homes.home_of_channel(&channel));
            return Err(Unfit::State);
        };
        let member = MemberId(connection.index());
        let admitted = self.fanout.admit(&one.channel, member, standing, reading);
        admitted.map_err(|_| Unfit::Channels)?;
        let home = self.homes.home_of_channel(&one.channel);
        if let Some(returned) = returned_of(connection, former, one) {
            self.absences.owe_return(home, returned);
            self.tell_absences(home);
        }
        Ok(())
    }

    /// A member that was to move here, where the channel's home knew it by the name `former`, is
    /// none: the home is told that it has gone, by the name of a connection that it has not.
    pub(super) fn lose(&mut self, connection: ConnectionId, former: u64, one: Membership) {
        let home = self.homes.home_of_channel(&one.channel);
        let Membership { is_present, is_announced, .. } = one;
        let standing = Standing { is_present, is_announced, ..Standing::default() };
        let channel = one.channel.clone();
        if let Some(returned) = returned_of(connection, former, one).filter(|_| is_present) {
            self.absences.owe_return(home, returned);
            self.absences.owe(home, &channel, connection, standing, false);
            self.tell_absences(home);
        }
    }

    /// The home of a user is to count a connection that was counted before.
    pub(super) fn count_again(&mut self, user: &str) {
        let home = self.homes.home_of_user(user);
        self.returns.owe(home, Message::CountAgain { user: user.into() });
    }

    /// Tells other homes what they are owed, as far as there is room; what is this shard's own is
    /// returned. All of it was told if every other shard has heard so.
    pub(super) fn tell_returns(&mut self) -> Vec<Message> {
        let homes = (0..self.homes.shard_count()).map(ShardId::new);
        let mut own = Vec::new();
        let mut is_all = true;
        for home in homes {
            self.tell_home(home);
            let is_behind = self.fanout.has_changes(home);
            let Some(owed) = self.returns.of(home) else {
                is_all &= !is_behind;
                continue;
            };
            if home == self.here {
                own.extend(owed.drain(..));
            }
            while let Some(message) = owed.front().filter(|_| !is_behind) {
                if self.mesh.send(member(home), message.clone(), Class::Delivery).is_err() {
                    break;
                }
                owed.pop_front();
            }
            is_all &= !is_behind && owed.is_empty();
        }
        if is_all {
            self.tell_settled();
        }
        own
    }

    /// Says to the others, one after the other, that nothing of what was taken over comes any more.
    fn tell_settled(&mut self) {
        let others: Vec<MeshId> =
            self.mesh.peers().filter(|peer| peer.as_usize() < self.homes.shard_count()).collect();
        while let Some(&peer) = others.get(self.returns.told_count) {
            let message = Message::HandOver(HandOver::Settled);
            if self.mesh.send(peer, message, Class::Notice).is_err() {
                return;
            }
            self.returns.told_count += 1;
        }
    }

    /// Whether every shard has told this one all, and this one them.
    pub(super) fn has_settled_in(&self) -> bool {
        let others = self.homes.shard_count() - 1;
        let Returns { told_count, settled_count, .. } = self.returns;
        told_count == others && settled_count == others
    }

    /// A member of another process, or of this shard, is here now.
    pub(super) fn returned(&mut self, from: ShardId, returned: &Returned) {
        self.home.returned(from, returned);
    }
}

impl<H: Handler> Core<H> {
    /// Counts a connection of a user whose home is here.
    pub(super) fn count_again(&mut self, user: &str) {
        let is_counted = self.sign_ins.count_again(user);
        self.counters.heirlooms_unmatched += u64::from(!is_counted);
    }

    /// Once a turn, until all have settled.
    pub(super) fn settle_in(&mut self) {
        let here = self.channels.here;
        for message in self.channels.tell_returns() {
            match message {
                Message::Returned(returned) => self.channels.returned(here, &returned),
                Message::CountAgain { user } => self.count_again(&user),
                other => unreachable!("{other:?} is nothing that is owed"),
            }
        }
    }
}

/// What the home is to hear of a member that it knew by the name `former`; nothing of most.
fn returned_of(connection: ConnectionId, former: u64, one: Membership) -> Option<Returned> {
    let Membership { is_present, acknowledges, hears_joins, takes_deltas, .. } = one;
    let is_noted = is_present || acknowledges || hears_joins || takes_deltas;
    is_noted.then(|| Returned {
        channel: one.channel.into(),
        connection,
        former,
        is_present,
        acknowledges,
        hears_joins,
        takes_deltas,
    })
}

/// `None` if it is none that this process knows.
fn standing_of(one: &Membership) -> Option<Standing> {
    let is_known = one.tag < 1 << Standing::TAG_BITS && one.overflow < 1 << Standing::OVERFLOW_BITS;
    is_known.then_some(Standing {
        tag: one.tag,
        overflow: one.overflow,
        is_present: one.is_present,
        is_announced: one.is_announced,
        hears_joins: one.hears_joins,
        acknowledges: one.acknowledges,
    })
}

/// How a member reads; `None` if its filter is none by this process's rules.
fn reading_of(one: &Membership) -> Option<Reading> {
    #[cfg(test)]
    if is_planted(Fault::MembershipUnfit) {
        return None;
    }
    Some(match &one.filter {
        Some(filter) => Reading::Selected(Arc::new(Filter::of(node_of(filter)).ok()?)),
        None if one.takes_deltas => Reading::Deltas,
        None => Reading::Whole,
    })
}

fn node_of(one: &FilterNode) -> Node {
    let FilterNode { op, key, cmp, val, vals, nodes } = one.clone();
    Node { op, key, cmp, val, vals, nodes: nodes.iter().map(node_of).collect() }
}

fn carried_node(one: &Node) -> FilterNode {
    let Node { op, key, cmp, val, vals, nodes } = one.clone();
    FilterNode { op, key, cmp, val, vals, nodes: nodes.iter().map(carried_node).collect() }
}

/// A membership as another process needs it.
pub(super) fn membership_of(channel: &str, standing: Standing, reading: &Reading) -> Membership {
    let Standing { tag, overflow, is_present, is_announced, hears_joins, acknowledges } = standing;
    Membership {
        channel: channel.to_owned(),
        tag,
        overflow,
        is_present,
        is_announced,
        hears_joins,
        acknowledges,
        takes_deltas: *reading == Reading::Deltas,
        filter: match reading {
            Reading::Selected(filter) => Some(carried_node(&filter.node())),
            Reading::Whole | Reading::Deltas => None,
        },
    }
}

/// The name by which homes know a connection of a shard.
pub(super) fn name_of(shard: ShardId, connection: ConnectionId) -> u64 {
    Attendant::new(shard, connection).number()
}
