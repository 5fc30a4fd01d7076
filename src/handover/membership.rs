//! A connection in a channel, on its way with the connection.

use super::FilterNode;
use super::field::{self, Record, Writer};

/// What a connection is in one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The channel's name.
    pub channel: String,
    /// What only the application understands.
    pub tag: u8,
    /// What becomes of publications that the connection does not take in time.
    pub overflow: u8,
    /// Others see that it is there.
    pub is_present: bool,
    /// Others are told of its coming and going.
    pub is_announced: bool,
    /// It is told of others' coming and going.
    pub hears_joins: bool,
    /// What is published is kept for its user until it is acknowledged.
    pub acknowledges: bool,
    /// It reads publications as deltas.
    pub takes_deltas: bool,
    /// It reads only what this admits.
    pub filter: Option<FilterNode>,
}

/// A publication that waits until its member, who is slow, has read what is before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// The channel.
    pub channel: String,
    /// The publication.
    pub frame: Vec<u8>,
    /// It is dropped when a later one of its channel waits.
    pub gives_way: bool,
    /// It is none, but tells of others coming and going.
    pub tells_joins: bool,
}

impl Aside {
    pub(super) fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.bytes(1, self.channel.as_bytes())
            .bytes(2, &self.frame)
            .number(3, self.gives_way.into())
            .optional()
            .number(4, self.tells_joins.into())
    }

    /// `None` if the bytes are none.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.frame = value.to_vec(),
                3 => one.gives_way = field::number(value)? != 0,
                4 => one.tells_joins = field::number(value)? != 0,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(one)
    }
}

impl Membership {
    pub(super) fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.bytes(1, self.channel.as_bytes())
            .number(2, self.tag.into())
            .number(3, self.overflow.into())
            .number(4, self.flags())
            .each(5, &self.filter, |put, filter| filter.write(put))
    }

    /// `None` if the bytes are none.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.channel = field::text(value)?,
                2 => one.tag = field::narrow(value)?,
                3 => one.overflow = field::narrow(value)?,
                4 => one.set_flags(field::number(value)?)?,
                5 => one.filter = Some(FilterNode::read(value)?),
                _ => return Some(false),
            }
            Some(true)
        })?;
        (!one.channel.is_empty()).then_some(one)
    }

    fn flags(&self) -> u64 {
        field::flags_of([
            self.is_present,
            self.is_announced,
            self.hears_joins,
            self.acknowledges,
            self.takes_deltas,
        ])
    }

    fn set_flags(&mut self, flags: u64) -> Option<()> {
        field::set_flags(
            flags,
            [
                &mut self.is_present,
                &mut self.is_announced,
                &mut self.hears_joins,
                &mut self.acknowledges,
                &mut self.takes_deltas,
            ],
        )
    }
}
