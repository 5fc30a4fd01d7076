//! What a shard does for the channels whose home it is: order, streams, presence.
//!
//! ```text
//!   publication ─▶ its offset ─▶ kept ─▶ the shards with members
//!   entry, question ─▶ what is kept, who is present
//! ```
//!
//! Invariants: a publication is kept before it is sent to anybody, and is sent in the order of the
//! offsets; a shard that lags is answered as if nothing had been published since it was last sent
//! something, because the rest will be sent to all of its members; a stream with members lives.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::forms::{Number, Translate, numbered, with_both};
use crate::handler::{
    Answer as Said, AskError, ConnectionId, Entered, Entry, JoinError, Publications, Question,
    Recover, Recovered, Retention,
};
use crate::hub::{
    Answer, HomeChannelId, Order, Published, Recovery, ShardId, StreamBounds, StreamId, Streams,
};
use crate::limits::{EXPIRY_SHARE, REPAIR_SHARE};
use crate::ring::Frame;

/// The channels whose home a shard is.
pub(super) struct Home {
    pub(super) order: Order,
    streams: Streams<Frame>,
    pub(super) translate: Translate,
    pub(super) number: Number,
    /// Seconds since the start.
    now_s: u32,
    pub(super) interest_refused: u64,
    /// Publications that were put into the other kind of message here.
    pub(super) translated: u64,
}

/// What a shard is to be sent for what it has missed.
pub(super) struct Mending {
    pub(super) id: HomeChannelId,
    pub(super) channel: Arc<str>,
    pub(super) missed: u64,
    /// The first of the publications, as far as they are kept; none where the shard is to be told
    /// of a gap.
    pub(super) frames: Vec<Frame>,
}

impl Home {
    pub(super) fn new(shard_count: usize, channels_max: u32, hasher: &RandomState) -> Self {
        let seed = hasher.hash_one(shard_count);
        Self {
            order: Order::new(shard_count, channels_max, hasher.clone()),
            streams: Streams::new(StreamBounds::default(), seed, hasher.clone()),
            translate: |_| None,
            number: |_, _| None,
            now_s: 0,
            interest_refused: 0,
            translated: 0,
        }
    }

    /// Moves time forward, and drops some of what has outlived its own.
    pub(super) fn pass_time(&mut self, now_s: u32) {
        self.now_s = now_s;
        self.streams.expire(now_s, EXPIRY_SHARE);
    }

    // --- Interest ---------------------------------------------------------------------------

    /// Notes that a shard has members in the channel.
    pub(super) fn interested(&mut self, channel: &str, shard: ShardId) -> Answer {
        match self.order.interested(channel, shard) {
            Ok(_) => Answer::Confirmed,
            Err(error) => {
                self.interest_refused += 1;
                tracing::warn!(channel, ?error, "the home cannot note a shard's interest");
                Answer::Refused
            }
        }
    }

    /// Notes that it has none any more.
    pub(super) fn uninterested(&mut self, channel: &str, shard: ShardId) {
        if self.order.uninterested(channel, shard) {
            self.streams.unpin(channel, self.now_s);
        }
    }

    // --- Publications -----------------------------------------------------------------------

    /// Gives a publication its place in the order, and keeps it if it is to be retained. Returns
    /// it as it is to be sent, with those to send it to; `None` if nobody hears it.
    pub(super) fn publish(
        &mut self,
        channel: &str,
        frame: &Frame,
        retention: Option<Retention>,
    ) -> Option<(Frame, Published)> {
        let place = retention.and_then(|retention| {
            let stream = self.streams.open(channel, retention.meta_ttl_s, self.now_s).ok()?;
            Some((stream, self.streams.next(stream), retention))
        });
        let numbered =
            place.and_then(|(_, position, _)| numbered(frame, position.into(), self.number));
        let frame = numbered.as_ref().unwrap_or(frame);
        let published = self.order.publish(channel, place.map(|(_, position, _)| position.offset));
        let is_read_in_both = published.is_some_and(|published| published.in_both_forms);
        let both = is_read_in_both.then(|| with_both(frame, self.translate)).flatten();
        self.translated += u64::from(both.is_some());
        let frame = both.as_ref().unwrap_or(frame);
        if let Some((stream, _, retention)) = place {
            self.streams.append(
                stream,
                Frame::clone(frame),
                frame.len(),
                retention.into(),
                self.now_s,
            );
            if published.is_some() {
                self.streams.pin(stream, retention.meta_ttl_s);
            }
        }
        Some((Frame::clone(frame), published?))
    }

    /// What a shard that lags is to be sent next.
    pub(super) fn next_mending(&self, shard: ShardId) -> Option<Mending> {
        let repair = self.order.next_repair(shard)?;
        let kept = repair.since.and_then(|since| {
            let stream = self.streams.find(repair.name)?;
            self.streams.repair(stream, since, u64::MAX, REPAIR_SHARE)
        });
        Some(Mending {
            id: repair.channel,
            channel: repair.name.into(),
            missed: repair.missed,
            frames: kept.map(|(_, frames)| frames.cloned().collect()).unwrap_or_default(),
        })
    }

    // --- Entries and questions --------------------------------------------------------------

    /// Does what an entry asks of the home. `from`: the shard of the connection.
    pub(super) fn enter(
        &mut self,
        from: ShardId,
        _connection: ConnectionId,
        channel: &str,
        entry: &Entry,
    ) -> Result<Entered, JoinError> {
        // What could not be noted is not sent to the shard: nobody there can be a member.
        if !self.order.is_interested(channel, from) {
            return Err(JoinError::HomeFull);
        }
        match entry.stream {
            Some(retention) => self.bring_up(from, channel, retention, entry.recover),
            None => Ok(Entered::default()),
        }
    }

    /// A connection is not present in a channel any more.
    #[expect(clippy::unused_self, reason = "presence is not noted yet")]
    pub(super) fn absent(&mut self, _from: ShardId, _connection: ConnectionId, _channel: &str) {}

    /// The position in a stream from which a shard is sent what follows, and what was asked for of
    /// the publications before it.
    fn bring_up(
        &mut self,
        from: ShardId,
        channel: &str,
        retention: Retention,
        recover: Option<Recover>,
    ) -> Result<Entered, JoinError> {
        let stream = self.open(channel, retention).ok_or(JoinError::HomeFull)?;
        self.streams.pin(stream, retention.meta_ttl_s);
        let up_to = self.order.view(channel, from);
        let recovered = match recover.map(|one| self.streams.recover(stream, one.into(), up_to)) {
            None => None,
            Some(Recovery::Whole(frames)) => {
                let publications = Publications::of_frames(frames);
                Some(Recovered { is_whole: true, publications })
            }
            Some(Recovery::Lost) => {
                Some(Recovered { is_whole: false, publications: Publications::default() })
            }
            Some(Recovery::Ahead) => return Err(JoinError::Busy),
        };
        let position = self.streams.position(stream, up_to).into();
        Ok(Entered { position: Some(position), recovered })
    }

    /// The answer to a question.
    pub(super) fn answer(&mut self, channel: &str, question: Question) -> Result<Said, AskError> {
        match question {
            Question::History { since, publications_max, is_reverse, retention } => {
                let stream = self.open(channel, retention).ok_or(AskError::HomeFull)?;
                let since = since.map(Into::into);
                let read = self.streams.read(stream, since, publications_max, is_reverse);
                let position = self.streams.position(stream, u64::MAX).into();
                Ok(match read {
                    Ok(frames) => {
                        Said::History { position, publications: Publications::of_frames(frames) }
                    }
                    Err(_) => Said::Unrecoverable,
                })
            }
            Question::Presence | Question::PresenceStats => Err(AskError::HomeFull),
        }
    }

    fn open(&mut self, channel: &str, retention: Retention) -> Option<StreamId> {
        self.streams.open(channel, retention.meta_ttl_s, self.now_s).ok()
    }
}
