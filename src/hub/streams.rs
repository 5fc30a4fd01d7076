//! The streams of one home: what was published in its channels, for those who come later or back.
//!
//! ```text
//!   open ─▶ position, append, read, recover        a budget for all: the stream published to
//!   expire: what has outlived its time             longest ago loses its oldest first
//! ```
//!
//! A channel has a stream from its first use on, so that a position can be told before anything is
//! published. Time is told in seconds of any one clock that does not go back.
//!
//! Invariants: all publications together are charged for no more than the budget, and no more
//! streams are kept than the bound. A stream that has to go takes its epoch with it: whoever was
//! in it learns that it cannot be brought up to date, and never gets another's publications.

use super::arena::Key;
use super::bounds::StreamBounds;
use super::names::Names;
use super::position::{Epochs, Position, Recover, Retention, Since};
use super::reads::{Read, Reads};
use super::recency::Recency;
use super::stream::{Found, Kept, NEVER_S, Stream};
use super::versions::Versions;
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

/// A stream of this home. Valid until another one is opened, or anything expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub(super) Key);

/// Why a channel has no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The name is longer than `CHANNEL_NAME_BYTES_MAX`.
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are as many streams as there may be, and each is pinned.
    AllPinned,
}

/// The history that was asked for belongs to an epoch that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecoverable;

/// What became of a client that asked to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery<F> {
    /// These bring it to the position that it is told.
    Whole(Arc<[F]>),
    /// It has missed something that is not kept: it begins anew at the position that it is told.
    Lost,
    /// It has more than the shard that asks for it has been sent so far: it may come again.
    Ahead,
}

/// Events counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Publications that were given an offset.
    pub appended: u64,
    /// Publications that were dropped before their time, because the budget was used up.
    pub publications_evicted: u64,
    /// Publications that were not kept, nor any before them, because one is more than the budget.
    pub publications_oversized: u64,
    /// Streams that were dropped before their time, because there were too many.
    pub streams_evicted: u64,
    /// Lists that were read.
    pub reads: u64,
    /// Those of them that were at hand, because the same had been read before.
    pub reads_repeated: u64,
}

/// The streams of one home.
pub struct Streams<F> {
    pub(super) channels: Names<Stream<F>>,
    epochs: Epochs,
    by_use: Recency<Stream<F>>,
    by_publication: Recency<Stream<F>>,
    /// When each stream is to be looked at. One that lives on by then is put back.
    looks: BTreeSet<(u32, Key)>,
    reads: Reads<F>,
    pub(super) versions: Versions,
    nothing: Arc<[F]>,
    /// What all publications are charged for.
    bytes: usize,
    bounds: StreamBounds,
    counters: StreamCounters,
}

impl<F: Clone> Streams<F> {
    /// A home without streams. `hasher` and `seed`, of which epochs are made, are drawn at random
    /// by the caller; the hasher never shows in what is returned.
    pub fn new(bounds: StreamBounds, seed: u64, hasher: impl BuildHasher + Send + 'static) -> Self {
        assert!(bounds.streams_max > 0, "a stream is made room for by another");
        Self {
            channels: Names::new(bounds.streams_max, hasher),
            epochs: Epochs::new(seed),
            by_use: Recency::new(|stream| &mut stream.use_links),
            by_publication: Recency::new(|stream| &mut stream.publication_links),
            looks: BTreeSet::new(),
            reads: Reads::new(),
            versions: Versions::default(),
            nothing: Arc::from([]),
            bytes: 0,
            bounds,
            counters: StreamCounters::default(),
        }
    }

    // --- Streams ----------------------------------------------------------------------------

    /// The stream of a channel, which begins now if there is none. It is used by that, and lives
    /// for `meta_ttl_s` from now.
    pub fn open(
        &mut self,
        channel: &str,
        meta_ttl_s: u32,
        now_s: u32,
    ) -> Result<StreamId, StreamError> {
        let key = match self.channels.find(channel).filter(|&key| self.settle(key, now_s)) {
            Some(key) => key,
            None => self.begin(channel)?,
        };
        if !self.at(key).is_pinned() {
            self.by_use.touch(&mut self.channels, key);
        }
        self.at_mut(key).used(now_s, meta_ttl_s);
        self.schedule(key);
        Ok(StreamId(key))
    }

    /// The stream of a channel, if there is one; it is not used by that.
    pub fn find(&self, channel: &str) -> Option<StreamId> {
        self.channels.find(channel).map(StreamId)
    }

    /// Keeps a stream, whatever its time and the number of streams: its channel has members. What
    /// it keeps comes and goes as always. After them it lives for `meta_ttl_s`.
    pub fn pin(&mut self, stream: StreamId, meta_ttl_s: u32) {
        let key = stream.0;
        if !self.at(key).is_pinned() {
            self.by_use.remove(&mut self.channels, key);
        }
        self.at_mut(key).pin(meta_ttl_s);
    }

    /// The channel of a stream has no members any more.
    pub fn unpin(&mut self, channel: &str, now_s: u32) {
        let Some(key) = self.channels.find(channel) else { return };
        if self.at(key).is_pinned() {
            self.at_mut(key).unpin(now_s);
            self.by_use.push(&mut self.channels, key);
            self.schedule(key);
        }
    }

    /// Drops the publications of a channel. Its offsets go on where they are.
    pub fn remove(&mut self, channel: &str) {
        if let Some(key) = self.channels.find(channel) {
            self.drop_kept(key, usize::MAX);
        }
    }

    /// Where a stream is, for a shard that has been sent what is `up_to`; all: `u64::MAX`.
    pub fn position(&self, stream: StreamId, up_to: u64) -> Position {
        self.at(stream.0).position(up_to)
    }

    fn begin(&mut self, channel: &str) -> Result<Key, StreamError> {
        if channel.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(StreamError::NameTooLong { bytes: channel.len() });
        }
        if self.channels.len() >= self.bounds.streams_max {
            let oldest = self.by_use.oldest().ok_or(StreamError::AllPinned)?;
            self.counters.streams_evicted += 1;
            self.forget(oldest);
        }
        let stream = Stream::new(self.epochs.draw());
        let key =
            self.channels.enter(channel, stream).expect("its length and the room were seen to");
        self.by_use.push(&mut self.channels, key);
        self.looks.insert((NEVER_S, key));
        Ok(key)
    }

    fn forget(&mut self, key: Key) {
        self.drop_kept(key, usize::MAX);
        self.by_use.remove(&mut self.channels, key);
        let stream = self.channels.forget(key);
        self.looks.remove(&(stream.look_s, key));
        self.versions.forget(key);
    }

    // --- Publications -----------------------------------------------------------------------

    /// The position of the publication that is appended next: nothing has changed yet.
    pub fn next(&self, stream: StreamId) -> Position {
        let Position { offset, epoch } = self.position(stream, u64::MAX);
        Position { offset: offset + 1, epoch }
    }

    /// Notes the version of what is about to be appended; false if the stream has had one of the
    /// same epoch that is as new.
    pub fn is_news(&mut self, stream: StreamId, number: u64, epoch: &str) -> bool {
        self.versions.note(stream.0, number, epoch)
    }

    /// Appends a publication, numbered by [`next`](Self::next), and drops what is too old by that.
    pub fn append(
        &mut self,
        stream: StreamId,
        frame: F,
        frame_bytes: usize,
        retention: Retention,
        now_s: u32,
    ) {
        let key = stream.0;
        self.counters.appended += 1;
        self.at_mut(key).advance();
        let charge = frame_bytes.saturating_add(Self::PLACE_BYTES);
        let keeps_none = retention.publications_max == 0 || retention.ttl_s == 0;
        match u32::try_from(charge) {
            _ if keeps_none => self.drop_kept(key, usize::MAX),
            Ok(bytes) if charge <= self.bounds.bytes_max => {
                self.keep(key, Kept { frame, bytes }, retention.publications_max);
            }
            _ => {
                self.counters.publications_oversized += 1;
                self.drop_kept(key, usize::MAX);
            }
        }
        self.at_mut(key).published(now_s, retention);
        self.schedule(key);
    }

    /// What keeping a publication is charged for besides its own bytes: its place, and the counts
    /// in front of bytes that are shared.
    pub const PLACE_BYTES: usize = size_of::<Kept<F>>() + 2 * size_of::<usize>();

    /// Keeps a publication that has its place already, if it may be kept at all.
    pub(super) fn keep_again(&mut self, key: Key, frame: F, frame_bytes: usize) {
        let charge = frame_bytes.saturating_add(Self::PLACE_BYTES);
        match u32::try_from(charge) {
            Ok(bytes) if charge <= self.bounds.bytes_max => {
                self.keep(key, Kept { frame, bytes }, u32::MAX);
            }
            _ => {
                self.counters.publications_oversized += 1;
                self.drop_kept(key, usize::MAX);
            }
        }
    }

    fn keep(&mut self, key: Key, kept: Kept<F>, publications_max: u32) {
        self.bytes += kept.bytes as usize;
        let stream = self.at_mut(key);
        stream.kept.push_back(kept);
        let count = stream.kept.len();
        if count == 1 {
            self.by_publication.push(&mut self.channels, key);
        } else {
            self.by_publication.touch(&mut self.channels, key);
        }
        let max = usize::try_from(publications_max).unwrap_or(usize::MAX);
        self.drop_kept(key, count.saturating_sub(max));
        while self.bytes > self.bounds.bytes_max {
            let oldest = self.by_publication.oldest().expect("something is charged for");
            self.drop_kept(oldest, 1);
            self.counters.publications_evicted += 1;
        }
    }

    /// Drops the oldest publications of a stream, at most so many.
    fn drop_kept(&mut self, key: Key, count_max: usize) {
        let stream = self.at_mut(key);
        let count = stream.kept.len().min(count_max);
        if count == 0 {
            return;
        }
        let dropped: usize = stream.kept.drain(..count).map(|kept| kept.bytes as usize).sum();
        if stream.kept.len() * 4 <= stream.kept.capacity() {
            stream.kept.shrink_to(stream.kept.len() * 2);
        }
        let (is_empty, was_read) = (stream.kept.is_empty(), std::mem::take(&mut stream.is_read));
        self.bytes -= dropped;
        if was_read {
            self.reads.forget(key);
        }
        if is_empty {
            self.by_publication.remove(&mut self.channels, key);
        }
    }

    /// The last publication of a stream, if it is kept.
    pub fn last(&self, stream: StreamId) -> Option<&F> {
        self.at(stream.0).kept.back().map(|kept| &kept.frame)
    }

    // --- Reading ----------------------------------------------------------------------------

    /// The publications after `since`, or all, from the oldest on; in reverse those before it,
    /// from the newest on. At most `publications_max`.
    pub fn read(
        &mut self,
        stream: StreamId,
        since: Option<Since>,
        publications_max: u32,
        is_reverse: bool,
    ) -> Result<Arc<[F]>, Unrecoverable> {
        let found = self.at(stream.0).history(since, publications_max, is_reverse);
        let places = found.ok_or(Unrecoverable)?;
        Ok(self.list(Read { stream: stream.0, places, is_reverse }))
    }

    /// What a client that comes back is sent, on a shard that has been sent what is `up_to`: with
    /// it the client is at [`position`](Self::position) of the same `up_to`.
    pub fn recover(&mut self, stream: StreamId, recover: Recover, up_to: u64) -> Recovery<F> {
        match self.at(stream.0).recover(recover, up_to) {
            Found::Whole(places) => {
                Recovery::Whole(self.list(Read { stream: stream.0, places, is_reverse: false }))
            }
            Found::Lost => Recovery::Lost,
            Found::Ahead => Recovery::Ahead,
        }
    }

    /// The publications that a shard was not sent, `after < offset <= up_to`, at most so many and
    /// with the offset of the first. `None`: some of them are not kept.
    pub fn repair(
        &self,
        stream: StreamId,
        after: u64,
        up_to: u64,
        publications_max: usize,
    ) -> Option<(u64, impl Iterator<Item = &F>)> {
        let stream = self.at(stream.0);
        let span = stream.span(after, up_to);
        let is_whole = !span.is_empty() && stream.offset_at(span.start) == after + 1;
        let end = span.end.min(span.start.saturating_add(publications_max));
        is_whole.then(|| (after + 1, stream.kept.range(span.start..end).map(|kept| &kept.frame)))
    }

    fn list(&mut self, read: Read) -> Arc<[F]> {
        if read.places.is_empty() {
            return Arc::clone(&self.nothing);
        }
        self.counters.reads += 1;
        if let Some(list) = self.reads.find(&read) {
            self.counters.reads_repeated += 1;
            return Arc::clone(list);
        }
        let stream = self.at_mut(read.stream);
        stream.is_read = true;
        let list = copied(stream, read.places.clone(), read.is_reverse);
        if let Some(key) = self.reads.keep(read, Arc::clone(&list)) {
            self.at_mut(key).is_read = false;
        }
        list
    }

    // --- Time -------------------------------------------------------------------------------

    /// When [`expire`](Self::expire) has something to do next.
    pub fn next_expiry_s(&self) -> Option<u32> {
        self.looks.first().map(|&(look_s, _)| look_s).filter(|&look_s| look_s != NEVER_S)
    }

    /// Drops what has outlived its time, looking at no more than `budget` streams; returns how
    /// many it was. What is left over is not shown to anybody either.
    pub fn expire(&mut self, now_s: u32, budget: usize) -> usize {
        let mut count = 0;
        while count < budget {
            let Some(&(look_s, key)) = self.looks.first() else { break };
            if look_s > now_s {
                break;
            }
            count += 1;
            if self.settle(key, now_s) {
                let next_s = self.at(key).next_end_s();
                self.look_at(key, next_s);
            }
        }
        count
    }

    /// Drops what a stream keeps for too long; false if the stream itself went with it.
    fn settle(&mut self, key: Key, now_s: u32) -> bool {
        if self.at(key).is_over(now_s) {
            self.forget(key);
            return false;
        }
        if self.at(key).is_stale(now_s) {
            self.drop_kept(key, usize::MAX);
        }
        true
    }

    /// Makes sure that the stream is looked at when something of it ends. Mostly it is looked at
    /// before that already, and only then put where it belongs: publishing moves nothing here.
    pub(super) fn schedule(&mut self, key: Key) {
        let stream = self.at(key);
        let next_s = stream.next_end_s();
        if next_s < stream.look_s {
            self.look_at(key, next_s);
        }
    }

    fn look_at(&mut self, key: Key, look_s: u32) {
        let before_s = std::mem::replace(&mut self.at_mut(key).look_s, look_s);
        self.looks.remove(&(before_s, key));
        self.looks.insert((look_s, key));
    }

    // --- Figures ----------------------------------------------------------------------------

    /// Streams that are kept.
    pub fn count(&self) -> u32 {
        self.channels.len()
    }

    /// What all publications that are kept are charged for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory behind names and states, beside those of [`bytes`](Self::bytes).
    pub fn memory_bytes(&self) -> usize {
        self.channels.memory_bytes()
    }

    /// What was counted so far.
    pub fn counters(&self) -> StreamCounters {
        self.counters
    }

    pub(super) fn at(&self, key: Key) -> &Stream<F> {
        self.channels.get(key).expect("a stream is kept while its key is in use")
    }

    pub(super) fn at_mut(&mut self, key: Key) -> &mut Stream<F> {
        self.channels.get_mut(key).expect("a stream is kept while its key is in use")
    }
}

/// Lists of frames, in the order of their places or against it.
fn copied<F: Clone>(stream: &Stream<F>, places: Range<usize>, is_reverse: bool) -> Arc<[F]> {
    let frames = stream.kept.range(places).map(|kept| kept.frame.clone());
    if is_reverse { frames.rev().collect() } else { frames.collect() }
}
