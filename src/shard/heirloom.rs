//! One thing that a home leaves, on its way to the channel's next home.

#![forbid(unsafe_code)]

use super::attendance::Attendant;
use super::home::Link;
use crate::handler::Present;
use crate::handover::{self, Sink};
use crate::hub::{CarriedMailbox, CarriedStream};
use crate::ring::Frame;

/// It, and the channel that it belongs to.
pub(super) enum Heirloom<'a> {
    Stream(handover::Stream, Vec<&'a Frame>),
    Crowd(&'a str, &'a [(Attendant, Present)]),
    /// One of a channel's publications that users have not acknowledged, with its id and its age.
    Owed {
        channel: &'a str,
        id: u64,
        age_ms: u64,
        frame: &'a Frame,
    },
    /// One of its users' mailboxes.
    Mailbox {
        channel: &'a str,
        user: &'a str,
        mailbox: CarriedMailbox<Link>,
    },
    Loss {
        channel: &'a str,
        user: &'a str,
        count: u64,
    },
}

impl<'a> Heirloom<'a> {
    pub(super) fn stream(
        channel: &str,
        stream: CarriedStream,
        frames: impl Iterator<Item = &'a Frame>,
    ) -> Self {
        Self::Stream(carried_stream(channel, stream), frames.collect())
    }

    pub(super) fn channel(&self) -> &str {
        match self {
            Self::Stream(stream, _) => &stream.channel,
            Self::Crowd(channel, _)
            | Self::Owed { channel, .. }
            | Self::Mailbox { channel, .. }
            | Self::Loss { channel, .. } => channel,
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
            &Self::Owed { channel, id, age_ms, frame } => {
                let (channel, frame) = (channel.to_owned(), frame.to_vec());
                sink.owed(&handover::Owed { channel, id, age_ms, frame });
            }
            Self::Mailbox { channel, user, mailbox } => {
                sink.mailbox(&carried_mailbox(channel, user, mailbox));
            }
            Self::Loss { channel, user, count } => {
                let (channel, user) = ((*channel).to_owned(), (*user).to_owned());
                sink.lost(&handover::Lost { channel, user, count: *count });
            }
        }
    }
}

fn carried_mailbox(channel: &str, user: &str, one: &CarriedMailbox<Link>) -> handover::Mailbox {
    let name = |&(shard, connection): &Link| Attendant::new(shard, connection).number();
    let places = one.places.iter().map(|place| handover::OwedPlace {
        id: place.id,
        tries: place.try_count,
        due_in_ms: place.due_in_ms,
    });
    handover::Mailbox {
        channel: channel.to_owned(),
        user: user.to_owned(),
        publications_max: one.policy.publications_max,
        bytes_max: one.policy.bytes_max,
        ttl_s: one.policy.ttl_s,
        connections: one.links.iter().map(name).collect(),
        places: places.collect(),
        lost: one.lost,
        told: one.told,
        away_left_ms: one.away_left_ms,
        given_id: one.given_id,
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
