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
use std::time::{Duration, Instant};

use super::attendance::{Attendance, Attendant};
use super::estate::Inheritance;
use super::forms::{Words, numbered, tagged, with_both};
use super::message::{Gone, Version};
use super::sections::with_deltas;
use crate::handler::{
    Acknowledges, Answer as Said, AskError, ConnectionId, Entered, Entry, JoinError, Keep,
    Position, Present, Publications, Question, Reading, Recover, Recovered, Retention,
};
use crate::hub::{
    AckBounds, AckPolicy, Answer, Follows, HomeChannelId, MailboxesFull, Order, Outstanding,
    Published, Recovery, Redelivery, ShardId, ShardSet, StreamBounds, StreamId, Streams,
};
use crate::limits::{ACK_TAKE_SHARE, EXPIRY_SHARE, REPAIR_SHARE};
use crate::metrics::Counters;
use crate::ring::Frame;

/// The tag that a publication is acknowledged by.
const ID_TAG: &str = "lw_id";

/// The tag that says how often it was sent again.
const TRY_TAG: &str = "lw_try";

/// The time of acknowledgements when this process begins: what was retained by the processes before
/// it has its time as well. More than thirty years.
const ACK_START_MS: u64 = 1 << 40;

/// A connection, and the shard that it is of.
pub(super) type Link = (ShardId, ConnectionId);

/// The channels whose home a shard is.
pub(super) struct Home {
    pub(super) order: Order,
    pub(super) streams: Streams<Frame>,
    pub(super) attendance: Attendance,
    /// What users have not acknowledged, by their connections and those's shards.
    pub(super) outstanding: Outstanding<Frame, Link>,
    pub(super) inheritance: Inheritance,
    pub(super) words: Words,
    pub(super) now: Instant,
    began: Instant,
    /// Seconds since the start.
    pub(super) now_s: u32,
    /// The same in milliseconds, and [`ACK_START_MS`].
    pub(super) now_ms: u64,
    pub(super) interest_refused: u64,
    /// Members that were taken over, and are not known here as they should be.
    pub(super) unmatched: u64,
    /// Publications that were not kept, because every stream that may be is one with members.
    unkept: u64,
    /// Publications that were put into the other kind of message here.
    pub(super) translated: u64,
    /// Publications of which deltas were made, or tried.
    compared: u64,
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
    pub(super) fn new(
        here: usize,
        shard_count: usize,
        channels_max: u32,
        now: Instant,
        hasher: &RandomState,
    ) -> Self {
        // Its own: channels of two homes may have one home in another process.
        let seed = hasher.hash_one((here, shard_count));
        Self {
            order: Order::new(shard_count, channels_max, hasher.clone()),
            streams: Streams::new(StreamBounds::default(), seed, hasher.clone()),
            attendance: Attendance::new(hasher),
            outstanding: Outstanding::new(AckBounds::default(), hasher.hash_one(seed)),
            inheritance: Inheritance::default(),
            words: Words::default(),
            now,
            began: now,
            now_s: 0,
            now_ms: ACK_START_MS,
            interest_refused: 0,
            unmatched: 0,
            unkept: 0,
            translated: 0,
            compared: 0,
        }
    }

    /// Moves time forward, and drops some of what has outlived its own.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.set_now(now);
        self.streams.expire(self.now_s, EXPIRY_SHARE);
    }

    /// Moves time forward, and drops nothing: half of a stream may have been taken over.
    pub(super) fn set_now(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.began);
        self.now = now;
        self.now_s = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.now_ms = since_ms.saturating_add(ACK_START_MS);
    }

    /// When there is something to do that nobody asks for.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.streams.next_expiry_s();
        let expiry = expiry.map(|at_s| self.began + Duration::from_secs(at_s.into()));
        let again = self.outstanding.due_ms().map(|ms| ms.saturating_sub(ACK_START_MS));
        let again = again.map(|ms| self.began + Duration::from_millis(ms));
        expiry.into_iter().chain(self.attendance.due()).chain(again).min()
    }

    /// Adds what was counted here.
    pub(super) fn count_into(&self, counters: &mut Counters) {
        let streams = self.streams.counters();
        counters.interest_refused = self.interest_refused;
        counters.heirlooms_unmatched += self.unmatched;
        counters.publications_translated += self.translated;
        let acks = self.outstanding.counters();
        counters.acks_retained = acks.retained;
        counters.acks_acknowledged = acks.acknowledged;
        counters.acks_redelivered = acks.redelivered;
        counters.acks_lost = acks.lost;
        counters.acks_unretained = acks.unretained;
        counters.acks_untold = acks.untold;
        counters.publications_compared = self.compared;
        counters.publications_kept = streams.appended;
        counters.publications_evicted =
            streams.publications_evicted + streams.publications_oversized + self.unkept;
        counters.streams_evicted = streams.streams_evicted;
        counters.stream_reads = streams.reads;
        counters.stream_reads_repeated = streams.reads_repeated;
        counters.publications_resent = self.order.counters().resent;
        counters.presence_refused = self.attendance.refused();
        counters.joins_dropped += self.attendance.dropped();
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
        keep: Option<Keep>,
    ) -> Option<(Frame, Published)> {
        let owed = self.owed(channel, frame);
        let frame = owed.as_ref().map_or(frame, |(_, owed)| owed);
        let place = keep.and_then(|keep| {
            let Some(stream) = self.open(channel, keep.retention) else {
                self.unkept += 1;
                return None;
            };
            Some((stream, self.streams.next(stream), keep))
        });
        let numbered =
            place.and_then(|(_, position, _)| numbered(frame, position.into(), self.words));
        let frame = numbered.as_ref().unwrap_or(frame);
        let published = self.order.publish(channel, place.map(|(_, position, _)| position.offset));
        let is_read_in_both = published.is_some_and(|published| published.in_both_forms);
        let both = is_read_in_both.then(|| with_both(frame, self.words)).flatten();
        self.translated += u64::from(both.is_some());
        let frame = both.as_ref().unwrap_or(frame);
        let to_send = published.and_then(|published| published.deltas).map(|follows| {
            let place = place.map(|(stream, _, keep)| (stream, keep.makes_delta));
            self.with_deltas(frame, follows, place)
        });
        if let Some((id, owed)) = &owed {
            self.outstanding.retain(channel, *id, owed, owed.len(), self.now_ms);
        }
        if let Some((stream, _, Keep { retention, .. })) = place {
            let (kept, bytes) = (Frame::clone(frame), frame.len());
            self.streams.append(stream, kept, bytes, retention.into(), self.now_s);
            if published.is_some() {
                self.streams.pin(stream, retention.meta_ttl_s);
            }
        }
        Some((to_send.unwrap_or_else(|| Frame::clone(frame)), published?))
    }

    /// A publication that is to be acknowledged by somebody, with its number.
    fn owed(&mut self, channel: &str, frame: &Frame) -> Option<(u64, Frame)> {
        let id = self.outstanding.next_id(channel)?;
        Some((id, tagged(frame, ID_TAG, &format!("{id:x}"), self.words)?))
    }

    /// A publication that is to be sent again now, with how often it has been.
    pub(super) fn next_redelivery(
        &mut self,
        budget: &mut usize,
    ) -> Option<Redelivery<Frame, Link>> {
        let due = self.outstanding.next_due(self.now_ms, budget)?;
        let frame = tagged(&due.frame, TRY_TAG, &due.try_number.to_string(), self.words);
        Some(Redelivery { frame: frame.unwrap_or_else(|| Frame::clone(&due.frame)), ..due })
    }

    /// Has users' mailboxes take what was published, as far as that goes in a turn.
    pub(super) fn take_in(&mut self) {
        self.outstanding.take_in(ACK_TAKE_SHARE);
    }

    /// Whether some have yet to.
    pub(super) fn is_behind(&self) -> bool {
        self.outstanding.is_behind()
    }

    /// Bytes of memory behind the streams, and of what is kept in them and retained for users.
    pub(super) fn history_bytes(&self) -> usize {
        self.streams.memory_bytes() + self.streams.bytes() + self.outstanding.bytes()
    }

    /// Users × channels of which something is retained, or would be, and what that is charged for.
    pub(super) fn mailboxes(&self) -> (u64, u64) {
        (self.outstanding.mailbox_count() as u64, self.outstanding.bytes() as u64)
    }

    /// A publication that is about to be kept, for members who take deltas, too. Those of them who
    /// have the last one that was sent are sent what it differs by from that, if it is to be
    /// compared and the last one is kept.
    fn with_deltas(
        &mut self,
        frame: &Frame,
        follows: Follows,
        place: Option<(StreamId, bool)>,
    ) -> Frame {
        let base = match (follows, place) {
            (Follows::Last, Some((stream, true))) => self.streams.last(stream),
            _ => None,
        };
        self.compared += u64::from(base.is_some());
        with_deltas(frame, base, self.words)
    }

    /// Whether a publication is newer than what its channel has, by its publisher's count; it is
    /// about to be published then.
    pub(super) fn is_news(
        &mut self,
        channel: &str,
        retention: Retention,
        version: &Version,
    ) -> bool {
        let stream = self.open(channel, retention);
        stream.is_none_or(|stream| self.streams.is_news(stream, version.number, &version.epoch))
    }

    /// Where the stream of a channel is, if it has one.
    pub(super) fn position(&self, channel: &str) -> Option<Position> {
        let stream = self.streams.find(channel)?;
        Some(self.streams.position(stream, u64::MAX).into())
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
        connection: ConnectionId,
        channel: &str,
        entry: &Entry,
    ) -> Result<Entered, JoinError> {
        // What could not be noted is not sent to the shard: nobody there can be a member.
        if !self.order.is_interested(channel, from) {
            return Err(JoinError::HomeFull);
        }
        let mut entered = match entry.stream {
            Some(retention) => self.bring_up(from, channel, retention, entry.recover)?,
            None => Entered::default(),
        };
        if entry.reading == Reading::Deltas {
            self.order.needs_deltas(channel);
        }
        if entry.hears_joins {
            self.order.hears_joins(channel, from);
        }
        if let Some(present) = &entry.presence {
            let is_told = entry.is_announced && !self.order.hearers(channel).is_empty();
            let now = is_told.then_some(self.now);
            self.attendance.come(channel, Attendant::new(from, connection), present, now)?;
        }
        // Last, since the user is told of what it returns.
        if let Some(acknowledges) = &entry.acknowledges {
            let lost = self.link(from, connection, channel, acknowledges);
            if lost.is_err() {
                self.take_back(from, connection, channel, entry);
            }
            entered.lost = lost?;
        }
        Ok(entered)
    }

    /// A connection that is present in a channel is shown as this from now on.
    pub(super) fn show(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &str,
        anew: &Present,
    ) {
        self.attendance.show(channel, Attendant::new(from, connection), anew);
    }

    /// Forgets an entry that came to nothing.
    pub(super) fn take_back(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &str,
        entry: &Entry,
    ) {
        let gone = Gone {
            is_present: entry.presence.is_some(),
            is_announced: entry.is_announced,
            acknowledges: entry.acknowledges.is_some(),
            is_for_good: false,
        };
        self.absent(from, connection, channel, gone);
    }

    /// A connection is not in a channel any more.
    pub(super) fn absent(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &str,
        gone: Gone,
    ) {
        if gone.acknowledges {
            self.outstanding.leave(channel, (from, connection), gone.is_for_good, self.now_ms);
        }
        if !gone.is_present {
            return;
        }
        // Whoever comes before the tick is over is told of those who came within it, even if
        // nobody hears of it just now.
        let is_heard =
            !self.order.hearers(channel).is_empty() || self.attendance.has_news_of(channel);
        let is_told = gone.is_announced && is_heard;
        self.attendance.go(channel, Attendant::new(from, connection), is_told.then_some(self.now));
    }

    /// The next channel where it is time to tell who came and went, with the messages that do and
    /// the shards to send them to.
    pub(super) fn next_joins(&mut self) -> Option<(Arc<str>, Vec<Frame>, ShardSet)> {
        let (channel, mut frames) = self.attendance.next(self.now)?;
        if self.order.is_read_in_both_forms(&channel) {
            for frame in &mut frames {
                if let Some(both) = with_both(frame, self.words) {
                    self.translated += 1;
                    *frame = both;
                }
            }
        }
        let hearers = self.order.hearers(&channel);
        Some((channel, frames, hearers))
    }

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
        Ok(Entered { position: Some(position), recovered, lost: 0 })
    }

    /// Notes a connection of a user who acknowledges; returns what was lost to the user.
    fn link(
        &mut self,
        from: ShardId,
        connection: ConnectionId,
        channel: &str,
        acknowledges: &Acknowledges,
    ) -> Result<u64, JoinError> {
        let &Acknowledges { ref user, publications_max, bytes_max, ttl_s } = acknowledges;
        let policy = AckPolicy { publications_max, bytes_max, ttl_s };
        let link = (from, connection);
        let entered = self.outstanding.enter(channel, user, link, policy, self.now_ms);
        entered.map_err(|MailboxesFull| JoinError::HomeFull)
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
            Question::RemoveHistory => {
                self.streams.remove(channel);
                Ok(Said::HistoryRemoved)
            }
            Question::Presence => Ok(self.attendance.list(channel)),
            Question::PresenceStats => Ok(self.attendance.stats(channel)),
            Question::Acknowledge { user, ids } => {
                self.outstanding.acknowledge(channel, &user, &ids);
                Ok(Said::Acknowledged)
            }
        }
    }

    fn open(&mut self, channel: &str, retention: Retention) -> Option<StreamId> {
        self.streams.open(channel, retention.meta_ttl_s, self.now_s).ok()
    }
}
