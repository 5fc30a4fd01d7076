//! Who is present in the channels of a home, and what the others there are told of it.
//!
//! ```text
//!   enter, leave ─▶ presence ─▶ joins ─ a tick later ─▶ Handler::joins ─▶ shards with hearers
//! ```
//!
//! Invariant: nobody is told of who came and went where nobody hears of it, and nothing waits for
//! that.

#![forbid(unsafe_code)]

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use crate::handler::{Answer, ConnectionId, JoinError, JoinEvent, Present};
use crate::hub;
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::hub::{JoinBatch, JoinBounds, Joins, Presence, ShardId};
use crate::limits::{JOINS_TICK, PRESENT_PER_HOME_MAX, SHARDS_MAX, SLAB_ENTRIES_MAX};
use crate::ring::Frame;
use crate::ws::{OpCode, encode_header};

/// Puts comings and goings in a channel into texts.
pub(super) type Tell = fn(&str, &[JoinEvent<'_>]) -> Vec<Vec<u8>>;

/// Somebody who is present: a connection of a shard, in as few bytes as tell them all apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Attendant(u64);

const _: () = assert!(SLAB_ENTRIES_MAX <= 1 << 24 && SHARDS_MAX <= 1 << 8);
const _: () = assert!(size_of::<(Attendant, Present)>() == 48); // one for each who is present

impl Attendant {
    pub(super) fn new(shard: ShardId, connection: ConnectionId) -> Self {
        assert!(connection.index() < SLAB_ENTRIES_MAX, "{connection} is in no slab");
        let slot = (shard.index() as u64) << 24 | u64::from(connection.index());
        Self(slot << u32::BITS | u64::from(connection.serial()))
    }

    /// It as a number, for another process.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

pub(super) struct Attendance {
    presence: Presence<Attendant, Present>,
    joins: Joins<Attendant, Present>,
    pub(super) tell: Tell,
    /// When those who wait are told.
    due: Option<Instant>,
    /// Channels that are still to be told in this tick: what begins to wait meanwhile waits for the
    /// next.
    left: usize,
}

impl Attendance {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            presence: Presence::new(
                PRESENT_PER_HOME_MAX,
                user_of,
                Present::is_listed,
                hasher.clone(),
            ),
            joins: Joins::new(JoinBounds::default(), hasher.clone()),
            tell: |_, _| Vec::new(),
            due: None,
            left: 0,
        }
    }

    /// Bytes of memory that grow with those present.
    pub(super) fn memory_bytes(&self) -> usize {
        self.presence.memory_bytes()
    }

    /// Somebody is present from now on; `now` is given if that is to be told.
    pub(super) fn come(
        &mut self,
        channel: &str,
        key: Attendant,
        present: &Present,
        now: Option<Instant>,
    ) -> Result<(), JoinError> {
        let added = self.presence.add(channel, key, present.clone());
        added.map_err(|_| JoinError::HomeFull)?;
        self.note(channel, key, present.clone(), true, now);
        Ok(())
    }

    /// Somebody who is present is shown as this from now on.
    pub(super) fn show(&mut self, channel: &str, key: Attendant, anew: &Present) {
        self.presence.renew(channel, key, |present| present.shown_as(anew));
    }

    /// Somebody is not present any more; `now` is given if that is to be told.
    pub(super) fn go(&mut self, channel: &str, key: Attendant, now: Option<Instant>) {
        if let Some(present) = self.presence.remove(channel, key) {
            #[cfg(test)]
            if is_planted(Fault::LeaveToldTwice) {
                self.note(channel, key, present.clone(), false, now);
            }
            self.note(channel, key, present, false, now);
        }
    }

    /// Takes somebody out who comes back at once by another name, and nobody is told.
    pub(super) fn take(&mut self, channel: &str, number: u64) -> Option<Present> {
        self.presence.remove(channel, Attendant(number))
    }

    fn note(
        &mut self,
        channel: &str,
        key: Attendant,
        present: Present,
        has_come: bool,
        now: Option<Instant>,
    ) {
        if let Some(now) = now {
            self.joins.add(channel, hub::JoinEvent { key, present, has_come });
            self.due.get_or_insert(now + JOINS_TICK);
        }
    }

    /// Places of channels, some of them vacant.
    pub(super) fn places(&self) -> u32 {
        self.presence.places()
    }

    /// Those in the channel at a place.
    pub(super) fn in_place(&self, place: u32) -> Option<(&str, &[(Attendant, Present)])> {
        self.presence.in_place(place)
    }

    /// Whether something of this channel waits to be told.
    pub(super) fn has_news_of(&self, channel: &str) -> bool {
        self.joins.is_waiting(channel)
    }

    /// Whether something of any channel does.
    pub(super) fn has_news(&self) -> bool {
        !self.joins.is_empty()
    }

    /// When [`next`](Self::next) has something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next channel of which something is to be told now, and the messages that tell it.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Arc<str>, Vec<Frame>)> {
        self.due.filter(|due| *due <= now)?;
        if self.left == 0 {
            self.left = self.joins.channel_count();
        }
        let next = self.joins.next();
        self.left = if next.is_some() { self.left.saturating_sub(1) } else { 0 };
        if self.left == 0 {
            self.due = (!self.joins.is_empty()).then(|| now + JOINS_TICK);
        }
        let JoinBatch { channel, events } = next?;
        let events = events.iter();
        let events: Vec<JoinEvent<'_>> = events
            .map(|event| JoinEvent { present: &event.present, has_come: event.has_come })
            .collect();
        let texts = (self.tell)(&channel, &events);
        Some((channel.into(), texts.iter().map(|text| framed(text)).collect()))
    }

    pub(super) fn list(&mut self, channel: &str) -> Answer {
        Answer::Presence(self.presence.list(channel))
    }

    pub(super) fn stats(&mut self, channel: &str) -> Answer {
        let stats = self.presence.stats(channel);
        Answer::PresenceStats { clients: stats.clients, users: stats.users }
    }

    /// How many are present, in all channels.
    pub(super) fn count(&self) -> u32 {
        self.presence.count()
    }

    /// How many were not noted for want of room.
    pub(super) fn refused(&self) -> u64 {
        self.presence.refused()
    }

    /// Comings and goings that wait to be told.
    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.joins.count()
    }

    /// Comings and goings that nobody is told of, because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.joins.dropped()
    }
}

fn user_of(present: &Present) -> &str {
    present.user()
}

fn framed(text: &[u8]) -> Frame {
    let header = encode_header(true, OpCode::Text, text.len(), None);
    [&header, text].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn no_two_connections_are_the_same_attendant() {
        let mut seen = HashSet::new();
        for shard in [0, 1, SHARDS_MAX as usize - 1] {
            for index in [0, 1, SLAB_ENTRIES_MAX - 1] {
                for serial in [0, 1, u32::MAX] {
                    let connection = ConnectionId::new(index, serial);
                    assert!(seen.insert(Attendant::new(ShardId::new(shard), connection)));
                }
            }
        }
    }

    /// However many channels there are, and whatever happens while they are told, each is told of
    /// once a tick.
    #[test]
    fn what_happens_while_others_are_told_waits_for_the_next_tick() {
        let mut attendance = Attendance::new(&RandomState::new());
        attendance.tell = |_, events| vec![vec![b'x'; events.len()]];
        let present = Present::new([7; 16], "ann", b"", b"");
        let key = |serial| Attendant::new(ShardId::new(0), ConnectionId::new(1, serial));
        let names: Vec<String> = (0..40).map(|number| format!("channel-{number}")).collect();
        let mut now = crate::sys::clock::now();
        for name in &names {
            attendance.come(name, key(0), &present, Some(now)).expect("there is room");
        }
        for tick in 1..4 {
            assert!(attendance.next(now).is_none(), "it is not time yet");
            now += JOINS_TICK;
            for _ in &names {
                let (name, _) = attendance.next(now).expect("each channel once");
                attendance.come(&name, key(tick), &present, Some(now)).expect("there is room");
            }
            assert!(attendance.next(now + Duration::from_millis(1)).is_none(), "tick {tick}");
        }
    }
}
