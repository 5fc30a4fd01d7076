//! Where one connection's channels stand in two shards at once, while it may move from one to the
//! other.
//!
//! ```text
//!                  … c b ┊ a ▶ old shard: members get a; b would keep the connection there
//!   home ── pin ─┤
//!                  … c b ┊   ▶ new shard: b and c are kept for it until it has come
//! ```
//!
//! A channel's home puts one pin into both queues between the same two publications. Invariant: a
//! connection goes only if the old shard has delivered all that came before the pins, and nothing
//! has come behind any; so what is kept for it is exactly what it has not got.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::channels::{Channels, member};
use super::core::Turn;
use super::forms::{Readable, of_frames};
use super::guard;
use super::message::Message;
use super::moves::{Move, MoveId, MoveStep};
use super::sections::Section;
use super::selections::tags;
use super::slab::Index;
use crate::filter::Reading;
use crate::handler::{ConnectionId, Handler, Peer};
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::hub::{ChannelId, MemberId, ShardId};
use crate::limits::PINNED_FRAMES_MAX;
use crate::mesh::Class;
use crate::ring::Frame;

/// What a channel's home has sent behind a pin.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Publication(Frame),
    /// Who came and went.
    Joins(Frame),
    /// So many publications were lost.
    Missed(u64),
    /// Another is to be in the place of all members.
    Replaced,
}

/// The pins that stand in channels of one shard, for no longer than a move takes; by channel, for
/// every publication looks whether there are some in its own.
#[derive(Default)]
pub(super) struct Pins {
    /// Of connections that may go, by their moves' numbers: whether nothing has come behind it.
    watched: BTreeMap<(ChannelId, u32), bool>,
    /// Of connections that may come: what has come behind it.
    kept: BTreeMap<(ChannelId, MoveId), Kept>,
}

/// What is kept for one connection of one channel, until it has come.
#[derive(Debug, Default)]
pub(super) struct Kept {
    sent: Vec<Sent>,
    /// Of them, how many publications and how many tellings of joins found no room.
    missed: u64,
    joins_dropped: u64,
}

impl Pins {
    /// Something is there for the members of a channel.
    pub(super) fn pass(&mut self, channel: ChannelId, sent: impl Fn() -> Sent) {
        for (_, is_quiet) in self.watched.range_mut((channel, 0)..=(channel, u32::MAX)) {
            *is_quiet = false;
        }
        for (_, kept) in self.kept.range_mut((channel, MoveId::MIN)..=(channel, MoveId::MAX)) {
            kept.add(sent());
        }
    }

    /// Whether nothing has come for a departing connection behind its pins.
    pub(super) fn are_quiet(&self, number: u32) -> bool {
        #[cfg(test)]
        if is_planted(Fault::PinsAlwaysQuiet) {
            return true;
        }
        self.watched.iter().all(|((_, of), is_quiet)| *of != number || *is_quiet)
    }

    /// Pins that stand.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.watched.len() + self.kept.len()
    }

    /// A departure is over, one way or the other.
    pub(super) fn unwatch(&mut self, number: u32) {
        self.watched.retain(|(_, of), _| *of != number);
    }
}

impl Kept {
    /// What is over the bound is missed, as it is in every other queue: whoever comes is told so in
    /// its place, and comes back for it where there is a history. Of others' coming and going
    /// nobody is told that it was dropped.
    fn add(&mut self, sent: Sent) {
        let is_full = self.sent.len() >= PINNED_FRAMES_MAX;
        match (self.sent.last_mut(), sent) {
            (last, Sent::Publication(_)) if is_full => {
                self.missed += 1;
                match last {
                    Some(Sent::Missed(count)) => *count += 1,
                    _ => self.sent.push(Sent::Missed(1)),
                }
            }
            (Some(Sent::Missed(count)), Sent::Missed(more)) => *count += more,
            (_, Sent::Joins(_)) if is_full => self.joins_dropped += 1,
            (_, sent) => self.sent.push(sent),
        }
    }
}

impl Channels {
    /// At the home: puts a pin into the queues to both shards, or into none but the old one's,
    /// where it does no harm; false if there is no room, or one of them lags.
    pub(super) fn pin(&mut self, id: MoveId, to: usize, channel: &Arc<str>, hears: bool) -> bool {
        let (old, new) = (ShardId::new(id.from.into()), ShardId::new(to));
        let order = &mut self.home.order;
        if !order.is_in_step(channel, old) || !order.is_in_step(channel, new) {
            return false;
        }
        if hears {
            order.hears_joins(channel, new);
        }
        [old, new].into_iter().all(|shard| {
            if shard == self.here {
                return true; // the caller sets it, now
            }
            let step = MoveStep::Pinned { channel: Arc::clone(channel) };
            let message = Message::Move(Box::new(Move { id, step }));
            self.mesh.send(member(shard), message, Class::Delivery).is_ok()
        })
    }

    /// At the old shard: a pin stands in a channel of a connection that may go.
    pub(super) fn watch_pin(&mut self, number: u32, channel: &str) {
        if let Some(channel) = self.fanout.find(channel) {
            self.pins.watched.insert((channel, number), true);
        }
    }

    /// At the new shard: a pin stands in a channel of a connection that may come.
    pub(super) fn keep_behind_pin(&mut self, id: MoveId, channel: &str) {
        let channel = self.fanout.receiving(channel).expect("its home knows that it is held");
        self.pins.kept.insert((channel, id), Kept::default());
    }

    /// At the new shard: what was kept of one channel for a connection that may come, if a pin
    /// stands there.
    pub(super) fn take_kept(&mut self, id: MoveId, channel: &str) -> Option<Kept> {
        let channel = self.fanout.receiving(channel)?;
        self.pins.kept.remove(&(channel, id))
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Delivers what was kept for a connection that has come.
    pub(super) fn deliver_kept(
        &mut self,
        handler: &mut H,
        id: ConnectionId,
        kept: Vec<(Arc<str>, Kept)>,
    ) {
        for (channel, Kept { sent, missed, joins_dropped }) in kept {
            self.core.channels.missed += missed;
            self.core.channels.joins_dropped += joins_dropped;
            for sent in sent {
                if self.core.open(id).is_none()
                    || !self.core.channels.is_member(Index::new(id.index()), &channel)
                {
                    break; // it has left, or was closed, over what was before
                }
                self.deliver_one(handler, id, &channel, sent);
                self.tell_endings(handler);
            }
        }
    }

    fn deliver_one(&mut self, handler: &mut H, id: ConnectionId, channel: &str, sent: Sent) {
        let told = match sent {
            Sent::Publication(frame) if self.is_selected(id, channel, &frame) => {
                if self.send_kept(id, channel, frame, true) {
                    return;
                }
                guard(|| handler.unreadable(&mut Peer::new(self, id), channel))
            }
            Sent::Publication(_) => return,
            Sent::Joins(frame) => {
                let standing = self.core.channels.standing(Index::new(id.index()), channel);
                if standing.is_some_and(|standing| standing.hears_joins) {
                    self.send_kept(id, channel, frame, false);
                }
                return;
            }
            Sent::Missed(count) => {
                guard(|| handler.missed(&mut Peer::new(self, id), channel, count))
            }
            Sent::Replaced => guard(|| handler.replaced(&mut Peer::new(self, id), channel)),
        };
        if told.is_none() {
            self.panicked(Index::new(id.index()));
        }
    }

    fn reading(&self, id: ConnectionId, channel: &str) -> Option<(ChannelId, Reading)> {
        let fanout = &self.core.channels.fanout;
        let channel = fanout.find(channel)?;
        Some((channel, fanout.reading(channel, MemberId(id.index()))?))
    }

    /// Whether the filter that the member reads by, if any, admits a publication.
    fn is_selected(&self, id: ConnectionId, channel: &str, frame: &Frame) -> bool {
        match self.reading(id, channel) {
            Some((_, Reading::Selected(filter))) => {
                filter.admits(&tags(frame, self.core.channels.home.words))
            }
            _ => true,
        }
    }

    /// False if the member reads another kind of message, and there is no translation.
    fn send_kept(&mut self, id: ConnectionId, name: &str, frame: Frame, counts: bool) -> bool {
        let Some((channel, reading)) = self.reading(id, name) else { return true };
        let index = Index::new(id.index());
        let core = &mut *self.core;
        let state = core.connections.get(index).and_then(|one| one.state.as_ref());
        let reads = state.and_then(|state| guard(|| H::reads(state)).flatten());
        let is_whole = counts && reading == Reading::Deltas;
        let section = if is_whole { Section::Whole } else { Section::Plain };
        let words = core.channels.home.words;
        let (Readable::Here(piece) | Readable::Translated(piece)) =
            of_frames(&[frame], reads, [section; 2], words, self.batch)
        else {
            core.counters.publications_unreadable += u64::from(counts);
            return false;
        };
        if self.hand_over(index, channel, piece).is_ok() {
            self.core.counters.deliveries += 1;
            self.core.counters.deliveries_bytes += piece.len() as u64;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_bound_is_told_as_missed_in_its_place() {
        let mut kept = Kept::default();
        let frame: Frame = Arc::from(&b"x"[..]);
        for _ in 0..PINNED_FRAMES_MAX + 3 {
            kept.add(Sent::Publication(Frame::clone(&frame)));
        }
        kept.add(Sent::Joins(Frame::clone(&frame)));
        kept.add(Sent::Missed(2));
        kept.add(Sent::Replaced);
        kept.add(Sent::Publication(frame));
        assert_eq!(kept.sent.len(), PINNED_FRAMES_MAX + 3);
        assert!(matches!(
            kept.sent[PINNED_FRAMES_MAX..],
            [Sent::Missed(5), Sent::Replaced, Sent::Missed(1)]
        ));
        assert_eq!((kept.missed, kept.joins_dropped), (4, 1));
    }
}
