//! One channel's stream: its epoch, the offset of its last publication, and the last of them.
//!
//! ```text
//!   offset  1 2 3 4 5 6 7 8 9
//!           trimmed │ kept  │ top
//!                ───┘ first └── up_to: how far the asking shard has been sent
//! ```
//!
//! Invariant: what is kept is the end of the stream, without a hole: the last offset kept is the
//! top. So a publication's offset is its place, and is not stored.

#[cfg(test)]
use super::planted::{Fault, is_planted};
use super::position::{AskedEpoch, Epoch, Position, Recover, Retention, Since};
use super::recency::Links;
use std::collections::VecDeque;
use std::ops::Range;

/// What another process has to know of a stream, beside what it keeps.
pub(super) struct Carriage {
    pub(super) epoch: Epoch,
    pub(super) top: u64,
    /// Seconds until the publications end.
    pub(super) publications_left_s: u32,
    /// Seconds until the stream ends, or that it lives from the end of its pin.
    pub(super) left_s: u32,
}

/// A publication that is kept.
pub(super) struct Kept<F> {
    pub(super) frame: F,
    /// What it is charged for.
    pub(super) bytes: u32,
}

/// The time of something that never comes to be.
pub(super) const NEVER_S: u32 = u32::MAX;

pub(super) struct Stream<F> {
    epoch: Epoch,
    /// The offset of the last publication, kept or not.
    top: u64,
    pub(super) kept: VecDeque<Kept<F>>,
    /// When the publications end.
    publications_end_s: u32,
    /// When the stream ends; while it is pinned, how long it lives from the end of that.
    end_s: u32,
    /// The time at which it is known to be looked at: never after one of the two above.
    pub(super) look_s: u32,
    /// Its place among all streams, by use.
    pub(super) use_links: Links,
    /// Its place among the streams with publications, by the last of them.
    pub(super) publication_links: Links,
    /// Its channel has members: it does not end.
    is_pinned: bool,
    /// Whether some of it has been read into a list that is still at hand.
    pub(super) is_read: bool,
}

const _: () = assert!(size_of::<Stream<()>>() <= 80); // up to 2 Mi of them

/// What becomes of a client that asks to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has all with these, by their places among those kept.
    Whole(Range<usize>),
    /// It cannot be brought up to date from what is kept.
    Lost,
    /// It has more than its shard has been sent yet.
    Ahead,
}

impl<F> Stream<F> {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            top: 0,
            kept: VecDeque::new(),
            publications_end_s: NEVER_S,
            end_s: NEVER_S,
            look_s: NEVER_S,
            use_links: Links::default(),
            publication_links: Links::default(),
            is_pinned: false,
            is_read: false,
        }
    }

    /// The place behind its last publication, or behind `up_to` if that is before it.
    pub(super) fn position(&self, up_to: u64) -> Position {
        Position { offset: self.top.min(up_to), epoch: self.epoch }
    }

    // --- Time -------------------------------------------------------------------------------

    /// Notes that it is used: it lives for so long from now, and no shorter than what it keeps.
    pub(super) fn used(&mut self, now_s: u32, meta_ttl_s: u32) {
        if self.is_pinned {
            self.end_s = meta_ttl_s;
            return;
        }
        self.end_s = end_s(now_s, meta_ttl_s);
        if !self.kept.is_empty() {
            self.end_s = self.end_s.max(self.publications_end_s);
        }
    }

    /// Its channel has members from now on; after them it lives for so long.
    pub(super) fn pin(&mut self, meta_ttl_s: u32) {
        self.is_pinned = true;
        self.end_s = meta_ttl_s;
    }

    /// Its channel had members until now.
    pub(super) fn unpin(&mut self, now_s: u32) {
        self.is_pinned = false;
        self.used(now_s, self.end_s);
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// It without its publications, for another process.
    pub(super) fn carried(&self, now_s: u32) -> Carriage {
        let left_s =
            |end_s: u32| if end_s == NEVER_S { NEVER_S } else { end_s.saturating_sub(now_s) };
        Carriage {
            epoch: self.epoch,
            top: self.top,
            publications_left_s: left_s(self.publications_end_s),
            left_s: if self.is_pinned { self.end_s } else { left_s(self.end_s) },
        }
    }

    /// Goes on where another process has left it.
    pub(super) fn take_over(&mut self, carried: &Carriage, now_s: u32) {
        (self.epoch, self.top) = (carried.epoch, carried.top);
        self.publications_end_s = now_s.saturating_add(carried.publications_left_s);
        self.end_s = now_s.saturating_add(carried.left_s);
    }

    /// Notes that it is published to: what it keeps then ends together.
    pub(super) fn published(&mut self, now_s: u32, retention: Retention) {
        self.publications_end_s = end_s(now_s, retention.ttl_s);
        self.used(now_s, retention.meta_ttl_s);
    }

    /// When something of it ends next.
    pub(super) fn next_end_s(&self) -> u32 {
        let end_s = if self.is_pinned { NEVER_S } else { self.end_s };
        if self.kept.is_empty() { end_s } else { self.publications_end_s.min(end_s) }
    }

    /// Whether what it keeps has outlived its time.
    pub(super) fn is_stale(&self, now_s: u32) -> bool {
        !self.kept.is_empty() && self.publications_end_s <= now_s
    }

    /// Whether the stream itself has.
    pub(super) fn is_over(&self, now_s: u32) -> bool {
        !self.is_pinned && self.end_s <= now_s
    }

    // --- Publications -----------------------------------------------------------------------

    /// The offset of the publication to come.
    pub(super) fn advance(&mut self) {
        self.top += 1;
    }

    /// Those kept with `after < offset <= up_to`, by their places.
    pub(super) fn span(&self, after: u64, up_to: u64) -> Range<usize> {
        let before_first = self.before_first();
        let place = |offset: u64| {
            let count = offset.saturating_sub(before_first).min(self.kept.len() as u64);
            usize::try_from(count).expect("no more than there are")
        };
        let (start, end) = (place(after), place(up_to));
        start.min(end)..end
    }

    /// The offset of the publication at a place.
    pub(super) fn offset_at(&self, place: usize) -> u64 {
        self.before_first() + 1 + place as u64
    }

    /// The offset before that of the publication at a place.
    fn offset_before(&self, place: usize) -> u64 {
        let offset = self.offset_at(place) - 1;
        #[cfg(test)]
        let offset = offset.saturating_sub(is_planted(Fault::RecoveryOffByOne).into());
        offset
    }

    /// The offset of the last publication that is not kept any more.
    fn before_first(&self) -> u64 {
        self.top - self.kept.len() as u64
    }

    /// The history that a client asks for. `None`: the epoch that it names is over.
    pub(super) fn history(
        &self,
        since: Option<Since>,
        publications_max: u32,
        is_reverse: bool,
    ) -> Option<Range<usize>> {
        if since.is_some_and(|since| !since.epoch.allows(self.epoch)) {
            return None;
        }
        let max = usize::try_from(publications_max).unwrap_or(usize::MAX);
        let span = match since {
            None => 0..self.kept.len(),
            Some(since) if is_reverse => self.span(0, since.offset.saturating_sub(1)),
            Some(since) => self.span(since.offset, u64::MAX),
        };
        let count = span.len().min(max);
        Some(if is_reverse { span.end - count..span.end } else { span.start..span.start + count })
    }

    /// What a client that comes back is sent, if its shard has been sent what is `up_to`.
    pub(super) fn recover(&self, recover: Recover, up_to: u64) -> Found {
        let (since, top) = (recover.since(), self.top.min(up_to));
        let is_ahead = since.offset > top && since.offset <= self.top;
        if is_ahead && since.epoch.allows(self.epoch) {
            return Found::Ahead;
        }
        match recover {
            Recover::Missed { publications_max, .. } => self.missed(since, publications_max, top),
            Recover::Latest { .. } => self.latest(since, top),
        }
    }

    /// All between the client's place and the top, or nothing if one of them is not kept, or they
    /// are too many.
    fn missed(&self, since: Since, publications_max: u32, top: u64) -> Found {
        let span = self.span(since.offset, top);
        let max = usize::try_from(publications_max).unwrap_or(usize::MAX);
        let is_whole = if span.is_empty() {
            since.offset == top
        } else {
            span.len() <= max && self.offset_before(span.start) == since.offset
        };
        if is_whole && since.epoch.allows(self.epoch) { Found::Whole(span) } else { Found::Lost }
    }

    /// The last publication before the top, unless the client has it. Where it is not kept, only a
    /// client that stands at the very top is known to miss nothing.
    fn latest(&self, since: Since, top: u64) -> Found {
        let span = self.span(top.saturating_sub(1), top);
        let is_at_top = since.offset == top && since.epoch == AskedEpoch::Is(self.epoch);
        match span.is_empty() {
            true if is_at_top => Found::Whole(span),
            true => Found::Lost,
            false if is_at_top => Found::Whole(span.end..span.end),
            false => Found::Whole(span),
        }
    }
}

/// The first second at which something that lives for so long is over. It lives for at most a
/// second longer, because `now_s` may have nearly passed.
fn end_s(now_s: u32, ttl_s: u32) -> u32 {
    now_s.saturating_add(ttl_s).saturating_add(1)
}
