//! What a home leaves to the homes of another process: streams with their publications, and who is
//! present.
//!
//! ```text
//!   place by place ─▶ the way to the channel's next home ─▶ streams there, present in waiting
//!   Returned (the member is on this shard now) ─▶ present, nobody is told
//! ```
//!
//! Invariant: whoever was present is shown again when its connection is there, under its new name,
//! and not before; a stream is pinned again only where its channel has members.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use super::attendance::Attendant;
use super::home::Home;
use super::message::Returned;
use crate::handler::Present;
use crate::handover::{self, Sink};
use crate::hub::{CarriedStream, ShardId};
use crate::limits::PRESENT_PER_HOME_MAX;
use crate::ring::Frame;

/// How far a home has left what it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estate {
    stream: u32,
    crowd: u32,
}

/// What was taken over, and waits for the connections that it belongs to.
#[derive(Default)]
pub(super) struct Inheritance {
    present: HashMap<(Arc<str>, u64), Present>,
    /// Streams whose channels had members, with their time after them.
    pinned: Vec<(Arc<str>, u32)>,
}

/// One thing of a home's on its way, and the channel that it belongs to.
pub(super) enum Heirloom<'a> {
    Stream(handover::Stream, Vec<&'a Frame>),
    Crowd(&'a str, &'a [(Attendant, Present)]),
}

impl Heirloom<'_> {
    pub(super) fn channel(&self) -> &str {
        match self {
            Self::Stream(stream, _) => &stream.channel,
            Self::Crowd(channel, _) => channel,
        }
    }

    /// Puts it into the sink of its channel's next home.
    pub(super) fn put<T>(&self, sink: &mut Sink<T>) {
        match self {
            Self::Stream(stream, frames) => {
                sink.stream(stream);
                for frame in frames {
                    sink.publication(frame);
                }
            }
            Self::Crowd(channel, crowd) => {
                for (name, present) in *crowd {
                    sink.present(&carried(channel, *name, present));
                }
            }
        }
    }
}

impl Home {
    /// Whether all that is known here can be handed over.
    pub(super) fn is_portable(&self) -> bool {
        self.outstanding.mailbox_count() == 0
    }

    /// What the next place holds that holds anything; `None` behind the last.
    pub(super) fn heirloom(&self, estate: Estate) -> Option<(Heirloom<'_>, Estate)> {
        for place in estate.stream..self.streams.places() {
            if let Some((channel, stream, frames)) = self.streams.carried(place, self.now_s) {
                let stream = carried_stream(channel, stream);
                let next = Estate { stream: place + 1, ..estate };
                return Some((Heirloom::Stream(stream, frames.collect()), next));
            }
        }
        for place in estate.crowd..self.attendance.places() {
            if let Some((channel, crowd)) = self.attendance.in_place(place) {
                let next = Estate { stream: self.streams.places(), crowd: place + 1 };
                return Some((Heirloom::Crowd(channel, crowd), next));
            }
        }
        None
    }

    /// Takes a stream over; false if there is no room for it.
    pub(super) fn inherit_stream(&mut self, stream: handover::Stream) -> bool {
        let handover::Stream { channel, epoch, top, version, version_epoch, .. } = stream;
        if stream.has_members {
            self.inheritance.pinned.push((channel.as_str().into(), stream.left_s));
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
            let present = self.inheritance.present.remove(&(channel.clone(), *former));
            let come = present.map(|present| {
                self.attendance.come(channel, Attendant::new(from, *connection), &present, None)
            });
            if !matches!(come, Some(Ok(()))) {
                tracing::error!(%channel, "who was present there is not shown any more");
            }
        }
    }

    /// All members are back. Who was present and has not come is of a stream over HTTP that has
    /// ended with the other process.
    pub(super) fn settle_inheritance(&mut self) {
        let Inheritance { present, pinned } = std::mem::take(&mut self.inheritance);
        for (channel, left_s) in pinned {
            let has_members = self.order.has_members(&channel);
            if let Some(stream) = self.streams.find(&channel).filter(|_| has_members) {
                self.streams.pin(stream, left_s);
            }
        }
        if !present.is_empty() {
            tracing::info!(clients = present.len(), "present in channels before, and gone");
        }
    }
}

fn carried_stream(channel: &str, stream: CarriedStream) -> handover::Stream {
    let (version, version_epoch) = stream.version.unzip();
    handover::Stream {
        channel: channel.to_owned(),
        epoch: stream.epoch,
        top: stream.top,
        publications_left_s: stream.publications_left_s,
        left_s: stream.left_s,
        has_members: stream.is_pinned,
        version,
        version_epoch: version_epoch.unwrap_or_default().into(),
    }
}

fn carried(channel: &str, name: Attendant, present: &Present) -> handover::Present {
    handover::Present {
        channel: channel.to_owned(),
        name: name.number(),
        client: present.id(),
        user: present.user().to_owned(),
        info: present.info().to_vec(),
        channel_info: present.channel_info().to_vec(),
        is_hidden: !present.is_listed(),
    }
}
