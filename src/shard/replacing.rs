//! Connections that give way to one that enters a channel in their place.
//!
//! ```text
//!   enter ─▶ home ─▶ the word, to all shards with members ─▶ the answer to who enters
//!                       └─▶ Handler::replaced
//! ```
//!
//! Invariant: of those who enter so, one stays. Whoever is a member when the word comes gives way;
//! the newcomer is none yet, for its answer stands behind the word.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channels::{Channels, member};
use super::core::Turn;
use super::guard;
use super::message::Message;
use super::pins::Sent;
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, JoinError, Peer};
use crate::hub::MemberId;
use crate::mesh::Class;

/// Members here that have yet to be told, each with the channel where another is in its place, and
/// once: as many as there are memberships at most.
#[derive(Default)]
pub(super) struct Replaced(BTreeSet<(MemberId, Arc<str>)>);

impl Replaced {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The connection in this slot is gone: the next in it is not meant.
    pub(super) fn forget(&mut self, member: MemberId) {
        if !self.0.is_empty() {
            self.0.retain(|(replaced, _)| *replaced != member);
        }
    }
}

impl Channels {
    /// At the home: whoever is in the channel is to give way. Where a shard cannot be told, for
    /// want even of the room that is reserved, nobody enters, and may try again.
    pub(super) fn replace_all(&mut self, channel: &str) -> Result<(), JoinError> {
        let channel: Arc<str> = channel.into();
        for shard in self.home.order.interested_shards(&channel) {
            if shard == self.here {
                self.replace_here(&channel);
                continue;
            }
            let word = Message::Replaced { channel: Arc::clone(&channel) };
            let sent = self.mesh.send(member(shard), word, Class::Notice);
            sent.map_err(|_| JoinError::Busy)?;
        }
        Ok(())
    }

    /// The members that the channel has on this shard now are to give way.
    pub(super) fn replace_here(&mut self, channel: &Arc<str>) {
        if let Some(id) = self.fanout.receiving(channel) {
            self.pins.pass(id, || Sent::Replaced);
        }
        let Some(id) = self.fanout.find(channel) else { return };
        let members = self.fanout.members(id);
        self.replaced.0.extend(members.map(|member| (member, Arc::clone(channel))));
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Tells at most `budget` members that another is in their place; returns how many it was.
    pub(super) fn tell_replaced(&mut self, handler: &mut H, budget: usize) -> usize {
        for count in 0..budget {
            let replaced = &mut self.core.channels.replaced.0;
            let Some((member, channel)) = replaced.pop_first() else { return count };
            let index = Index::new(member.0);
            let id: ConnectionId = self.core.id(index);
            let is_member = self.core.channels.is_member(index, &channel);
            if !is_member || self.core.open(id).is_none() {
                continue; // it has left before the word came
            }
            self.core.called = true;
            let peer = &mut Peer::new(self, id);
            if guard(|| handler.replaced(peer, &channel)).is_none() {
                self.panicked(index);
            }
            self.tell_endings(handler);
        }
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_is_not_told_in_the_person_of_the_next_in_its_slot() {
        let mut replaced = Replaced::default();
        for (member, channel) in [(1, "#ann"), (2, "#ann"), (1, "#bob"), (1, "#ann")] {
            replaced.0.insert((MemberId(member), channel.into()));
        }
        assert_eq!(replaced.0.len(), 3, "each once");
        replaced.forget(MemberId(1));
        let left: Vec<_> = replaced.0.iter().map(|(member, _)| member.0).collect();
        assert_eq!(left, [2]);
    }
}
