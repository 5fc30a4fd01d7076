//! Lists of publications that were read from streams, kept for whoever reads the same next.
//!
//! A crowd that lost its connections at once asks for the same publications again and again. All
//! that ask for the same get the same list, so that it can be encoded once for all of them.
//!
//! Invariant: a list that is kept holds nothing that its stream does not. It goes when the stream
//! drops anything; what is appended only stands behind it.

use super::arena::Key;
use crate::limits::READS_KEPT_MAX;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// What was read: of which stream, and which of the publications that it keeps, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) stream: Key,
    pub(super) places: Range<usize>,
    pub(super) is_reverse: bool,
}

pub(super) struct Reads<F>(VecDeque<(Read, Arc<[F]>)>);

impl<F> Reads<F> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The list of an equal read; the latest are looked at first.
    pub(super) fn find(&self, read: &Read) -> Option<&Arc<[F]>> {
        self.0.iter().find(|(known, _)| known == read).map(|(_, list)| list)
    }

    /// Keeps a list instead of the oldest one. Returns the stream that has lost its last list by
    /// that.
    pub(super) fn keep(&mut self, read: Read, list: Arc<[F]>) -> Option<Key> {
        let dropped = if self.0.len() >= READS_KEPT_MAX { self.0.pop_back() } else { None };
        self.0.push_front((read, list));
        let stream = dropped?.0.stream;
        self.0.iter().all(|(known, _)| known.stream != stream).then_some(stream)
    }

    /// Drops the lists of a stream that drops publications.
    pub(super) fn forget(&mut self, stream: Key) {
        self.0.retain(|(read, _)| read.stream != stream);
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }
}
