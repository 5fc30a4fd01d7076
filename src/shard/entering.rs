//! Connections that a home has yet to let into a channel, and what becomes of them meanwhile.
//!
//! Invariant: there is one entry here for each that was asked for and not answered, and a
//! connection has one for a channel: who leaves and comes back before the answer enters anew after
//! it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::handler::{ConnectionId, Entry, Present, Reading};
use crate::hub::Standing;

/// Whose answer is awaited: no more than have requests in the mesh, or waiting for it.
#[derive(Default)]
pub(super) struct Entering(BTreeMap<(ConnectionId, Arc<str>), Expected>);

/// What becomes of a connection when the home lets it in.
pub(super) struct Expected {
    pub(super) standing: Standing,
    pub(super) reading: Reading,
    /// It has left before the answer.
    pub(super) has_left: bool,
    /// It has come back since.
    pub(super) next: Option<Box<Entry>>,
    /// It is shown as this since it asked.
    pub(super) anew: Option<Box<Present>>,
}

impl Expected {
    pub(super) fn of(entry: &Entry, standing: Standing) -> Self {
        let reading = entry.reading.clone();
        Self { standing, reading, has_left: false, next: None, anew: None }
    }
}

impl Entering {
    pub(super) fn get_mut(
        &mut self,
        connection: ConnectionId,
        channel: &str,
    ) -> Option<&mut Expected> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get_mut(&(connection, channel.into()))
    }

    pub(super) fn insert(
        &mut self,
        connection: ConnectionId,
        channel: Arc<str>,
        expected: Expected,
    ) {
        let before = self.0.insert((connection, channel), expected);
        assert!(before.is_none(), "{connection} asks once");
    }

    /// The answer is here, or is not awaited any more.
    pub(super) fn remove(&mut self, connection: ConnectionId, channel: Arc<str>) -> Expected {
        self.0.remove(&(connection, channel)).expect("an answer belongs to an entry")
    }

    /// Whether the answer to the connection's entry is awaited, and would be heard.
    pub(super) fn is_wanted(&mut self, connection: ConnectionId, channel: &str) -> bool {
        let expected = self.get_mut(connection, channel);
        expected.is_some_and(|expected| !expected.has_left || expected.next.is_some())
    }

    /// Whether no answer is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers that are awaited.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The connection does not want to be let in any more; false if it did not.
    pub(super) fn leave(&mut self, connection: ConnectionId, channel: &str) -> bool {
        let Some(expected) = self.get_mut(connection, channel) else { return false };
        let has_come_back = expected.next.take().is_some();
        !std::mem::replace(&mut expected.has_left, true) || has_come_back
    }

    /// The connection is gone.
    pub(super) fn leave_all(&mut self, connection: ConnectionId) {
        for expected in self.of(connection) {
            (expected.has_left, expected.next) = (true, None);
        }
    }

    /// The connection is shown otherwise than it asked for.
    pub(super) fn show_anew(&mut self, connection: ConnectionId, present: &Present) {
        for expected in self.of(connection) {
            if expected.standing.is_present {
                expected.anew = Some(Box::new(present.clone()));
            }
            let next = expected.next.as_mut().and_then(|entry| entry.presence.as_mut());
            if let Some(next) = next {
                *next = next.shown_as(present);
            }
        }
    }

    fn of(&mut self, connection: ConnectionId) -> impl Iterator<Item = &mut Expected> {
        let first = (!self.0.is_empty()).then(|| (connection, Arc::from("")));
        let range = first.map(|first| self.0.range_mut((Bound::Included(first), Bound::Unbounded)));
        let all = range.into_iter().flatten();
        all.take_while(move |((other, _), _)| *other == connection).map(|(_, expected)| expected)
    }
}
