//! What a home leaves to the homes of another process: streams with their publications, who is
//! present, and what users have not acknowledged.
//!
//! ```text
//!   place by place ─▶ the way to the channel's next home ─▶ streams there, present in waiting
//!   Returned (the member is on this shard now) ─▶ present, nobody is told; in its user's mailbox
//! ```
//!
//! Invariant: whoever was present is shown again when its connection is there, under its new name,
//! and not before; a stream whose channel had members is kept until it is known whether it has.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use super::attendance::Attendant;
use super::heirloom::Heirloom;
use super::home::Home;
use super::message::Returned;
use crate::handler::{ConnectionId, Present};
use crate::handover;
use crate::hub::{AckPolicy, CarriedMailbox, CarriedPlace, CarriedStream, ShardId, Untakable};
use crate::limits::PRESENT_PER_HOME_MAX;

/// How far a home has left what it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Estate {
    stream: u32,
    crowd: u32,
    /// The last channel whose mailboxes were left.
    mailboxes: Option<Arc<str>>,
    /// Of the channel behind it, the last publication and the last user's mailbox that were.
    owed: Option<u64>,
    user: Option<Arc<str>>,
    loss: u64,
}

/// What was taken over, and waits for the connections that it belongs to.
#[derive(Default)]
pub(super) struct Inheritance {
    present: HashMap<(Arc<str>, u64), Present>,
    /// Streams whose channels had members.
    pinned: Vec<Arc<str>>,
    /// Connections by whose mailbox they are, with their places there.
    links: HashMap<(Arc<str>, u64), (Arc<str>, u64)>,
}

impl Home {
    /// The next thing that is left; `None` behind the last.
    pub(super) fn heirloom(&self, estate: &Estate) -> Option<(Heirloom<'_>, Estate)> {
        for place in estate.stream..self.streams.places() {
            if let Some((channel, stream, frames)) = self.streams.carried(place, self.now_s) {
                let next = Estate { stream: place + 1, ..estate.clone() };
                return Some((Heirloom::stream(channel, stream, frames), next));
            }
        }
        let estate = Estate { stream: self.streams.places(), ..estate.clone() };
        for place in estate.crowd..self.attendance.places() {
            if let Some((channel, crowd)) = self.attendance.in_place(place) {
                let next = Estate { crowd: place + 1, ..estate };
                return Some((Heirloom::Crowd(channel, crowd), next));
            }
        }
        let mut estate = Estate { crowd: self.attendance.places(), ..estate };
        while let Some(channel) = self.outstanding.channel_after(estate.mailboxes.as_deref()) {
            if let Some(left) = self.heirloom_of(channel, &estate) {
                return Some(left);
            }
            let mailboxes = Some(Arc::clone(channel));
            estate = Estate { mailboxes, owed: None, user: None, ..estate };
        }
        let (loss, channel, user, count) = self.outstanding.loss_after(estate.loss)?;
        Some((Heirloom::Loss { channel, user, count }, Estate { loss, ..estate }))
    }

    /// The next of a channel's publications that users have not acknowledged, or of their
    /// mailboxes.
    fn heirloom_of<'a>(
        &'a self,
        channel: &'a str,
        estate: &Estate,
    ) -> Option<(Heirloom<'a>, Estate)> {
        let (outstanding, now_ms) = (&self.outstanding, self.now_ms);
        if let Some((id, age_ms, frame)) = outstanding.retained(channel, estate.owed, now_ms).next()
        {
            let next = Estate { owed: Some(id), ..estate.clone() };
            return Some((Heirloom::Owed { channel, id, age_ms, frame }, next));
        }
        let after = estate.user.as_deref();
        let (user, mailbox) = outstanding.mailboxes(channel, after, now_ms).next()?;
        let next = Estate { user: Some(Arc::clone(user)), ..estate.clone() };
        Some((Heirloom::Mailbox { channel, user, mailbox }, next))
    }

    /// Takes a stream over; false if there is no room for it.
    pub(super) fn inherit_stream(&mut self, stream: handover::Stream) -> bool {
        let handover::Stream { channel, epoch, top, version, version_epoch, .. } = stream;
        if stream.has_members {
            self.inheritance.pinned.push(channel.as_str().into());
        }
        let carried = CarriedStream {
            epoch,
            top,
            publications_left_s: stream.publications_left_s,
            left_s: stream.left_s,
            is_pinned: stream.has_members,
            version: version.map(|number| (number, version_epoch.into())),
        };
        self.streams.take_over(&channel, carried, self.now_s).is_ok()
    }

    /// Takes the next publication of a stream over; false if it is none of its.
    pub(super) fn inherit_publication(&mut self, channel: &str, frame: Vec<u8>) -> bool {
        let bytes = frame.len();
        self.streams.keep_taken_over(channel, frame.into(), bytes)
    }

    /// Somebody was present, and will be; false if more were than may be.
    pub(super) fn inherit_present(&mut self, one: handover::Present) -> bool {
        if self.inheritance.present.len() >= PRESENT_PER_HOME_MAX as usize {
            return false;
        }
        let present = Present::new(one.client, &one.user, &one.info, &one.channel_info);
        let present = if one.is_hidden { present.unlisted() } else { present };
        self.inheritance.present.insert((one.channel.into(), one.name), present);
        true
    }

    /// Retains what users have not acknowledged; their mailboxes follow.
    pub(super) fn inherit_owed(&mut self, one: handover::Owed) -> Result<(), Untakable> {
        let handover::Owed { channel, id, age_ms, frame } = one;
        let since_ms = self.now_ms.saturating_sub(age_ms);
        let bytes = frame.len();
        self.outstanding.keep_again(&channel, id, (frame.into(), bytes), since_ms)
    }

    /// Takes a mailbox over; its connections come back later.
    pub(super) fn inherit_mailbox(&mut self, one: handover::Mailbox) -> Result<(), Untakable> {
        let handover::Mailbox { publications_max, bytes_max, ttl_s, .. } = one;
        let place = |place: &handover::OwedPlace| {
            let &handover::OwedPlace { id, tries, due_in_ms } = place;
            CarriedPlace { id, try_count: tries, due_in_ms }
        };
        let carried = CarriedMailbox {
            policy: AckPolicy { publications_max, bytes_max, ttl_s },
            links: one.connections,
            places: one.places.iter().map(place).collect(),
            lost: one.lost,
            told: one.told,
            away_left_ms: one.away_left_ms,
            given_id: one.given_id,
        };
        let (channel, user): (Arc<str>, Arc<str>) = (one.channel.into(), one.user.into());
        let orders = self.outstanding.take_over(&channel, &user, &carried, self.now_ms)?;
        for (name, order) in carried.links.into_iter().zip(orders) {
            let link = (Arc::clone(&user), order);
            self.inheritance.links.insert((Arc::clone(&channel), name), link);
        }
        Ok(())
    }

    /// A mailbox had ended with losses that its user is to be told of.
    pub(super) fn inherit_loss(&mut self, one: &handover::Lost) {
        self.outstanding.lose_again(&one.channel, &one.user, one.count);
    }

    /// A member that was taken over from another process is on that shard now.
    pub(super) fn returned(&mut self, from: ShardId, returned: &Returned) {
        let Returned { channel, connection, former, .. } = returned;
        if returned.takes_deltas {
            self.order.needs_deltas(channel);
        }
        if returned.hears_joins {
            self.order.hears_joins(channel, from);
        }
        if returned.is_present {
            let inherited = self.inheritance.present.remove(&(channel.clone(), *former));
            let present = inherited.or_else(|| self.attendance.take(channel, *former));
            let come = present.map(|present| {
                self.attendance.come(channel, Attendant::new(from, *connection), &present, None)
            });
            if !matches!(come, Some(Ok(()))) {
                self.unmatched += 1;
                tracing::error!(%channel, "who was present there is not shown any more");
            }
        }
        if returned.acknowledges && !self.link_again(from, *connection, channel, *former) {
            self.unmatched += 1;
            tracing::error!(%channel, "what a user there has not acknowledged is not known");
        }
    }

    /// A connection is one of its user's again; false if its user has no mailbox.
    fn link_again(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &Arc<str>,
        former: u64,
    ) -> bool {
        let known = self.inheritance.links.remove(&(Arc::clone(channel), former));
        known.is_some_and(|(user, order)| {
            self.outstanding.link_again(channel, &user, order, (from, connection))
        })
    }

    /// All members are back. Who was present and has not come is of a stream over HTTP that has
    /// ended with the other process.
    pub(super) fn settle_inheritance(&mut self) {
        let Inheritance { present, pinned, links } = std::mem::take(&mut self.inheritance);
        for channel in pinned {
            if !self.order.has_members(&channel) {
                self.streams.unpin(&channel, self.now_s);
            }
        }
        if !present.is_empty() {
            tracing::info!(clients = present.len(), "present in channels before, and gone");
        }
        for ((channel, _), (user, _)) in links {
            self.outstanding.cut_off(&channel, &user, self.now_ms);
        }
        self.outstanding.settle(self.now_ms);
    }
}
