//! Words for all connections of a user, or of everybody, which somebody outside has said to every
//! shard.
//!
//! ```text
//!   TellUser ─▶ waits its turn ─▶ a walk over the user's connections, some in each turn
//!             └▶ Handler::heard       └▶ Handler::told ─ all of them ─▶ UserTold
//! ```
//!
//! Invariants: words are told in the order in which they came, each of them to all who were there
//! when its walk began, and is answered after the last of them; a walk has a share of each turn,
//! however many connections a user has.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::hash::RandomState;
use std::slice;

use super::core::Turn;
use super::guard;
use super::message::{Message, TellUser};
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, Shard, Word};
use crate::hub::{MemberId, Roster};
use crate::mesh::MemberId as MeshId;

/// Whose connections this shard has, and what is to be told to them.
pub(super) struct Tellings {
    pub(super) roster: Roster,
    /// The first one's walk is under way if it has begun. As many at most as the mesh has room for
    /// their answers.
    waiting: VecDeque<Telling>,
}

struct Telling {
    from: MeshId,
    has_begun: bool,
    what: Box<TellUser>,
}

impl Tellings {
    /// For a shard of so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let roster = Roster::new(connections_max, RandomState::new());
        Self { roster, waiting: VecDeque::new() }
    }

    pub(super) fn take(&mut self, from: MeshId, what: Box<TellUser>) {
        self.waiting.push_back(Telling { from, has_begun: false, what });
    }

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Tells words to at most `budget` connections; returns how many were looked at.
    pub(crate) fn tell_users(&mut self, handler: &mut H, budget: usize) -> usize {
        let mut left = budget;
        while left > 0 {
            let Some(mut telling) = self.core.tellings.waiting.pop_front() else { break };
            if !std::mem::replace(&mut telling.has_begun, true) {
                self.hear(handler, &telling.what);
                let roster = &mut self.core.tellings.roster;
                match &telling.what.user {
                    Some(user) => roster.begin(user),
                    None => roster.begin_all(),
                }
            }
            let connections = self.some_connections(left);
            left -= connections.len().max(1);
            self.tell_some(handler, &telling.what, &connections);
            if self.core.tellings.roster.has_next() {
                self.core.tellings.waiting.push_front(telling);
            } else {
                let answer = Message::UserTold { ask: telling.what.ask };
                self.core.channels.mesh.answer(telling.from, answer);
            }
        }
        budget - left
    }

    fn hear(&mut self, handler: &mut H, what: &TellUser) {
        self.core.called = true;
        let word = Word { user: what.user.as_deref(), bytes: &what.word };
        if guard(|| handler.heard(word)).is_none() {
            // It is no connection's fault: whoever is told of it is told all the same.
            self.core.counters.handler_panics += 1;
        }
    }

    /// The next connections of the walk.
    fn some_connections(&mut self, count_max: usize) -> Vec<ConnectionId> {
        let mut connections = Vec::new();
        while connections.len() < count_max
            && let Some(MemberId(index)) = self.core.tellings.roster.pass()
        {
            connections.push(self.core.id(Index::new(index)));
        }
        connections
    }

    fn tell_some(&mut self, handler: &mut H, what: &TellUser, connections: &[ConnectionId]) {
        if connections.is_empty() {
            return;
        }
        self.core.called = true;
        let word = Word { user: what.user.as_deref(), bytes: &what.word };
        if guard(|| handler.told(&mut Shard::new(self), word, connections)).is_none() {
            // Nobody knows how far it came: each hears it by itself, and one costs only itself.
            for one in connections {
                let told =
                    guard(|| handler.told(&mut Shard::new(self), word, slice::from_ref(one)));
                if told.is_none() {
                    self.panicked(Index::new(one.index()));
                }
            }
        }
        self.tell_endings(handler);
    }
}
