//! Words for all connections of a user, or with a mark, which somebody outside has said to every
//! shard.
//!
//! ```text
//!   TellUser ─▶ waits its turn ─▶ a walk over those who are meant, some in each turn
//!             └▶ Handler::heard       └▶ Handler::told ─ all of them ─▶ UserTold
//! ```
//!
//! Invariants: words are told in the order in which they came, each of them to all who were there
//! when its walk began, and is answered after the last of them; a walk has a share of each turn,
//! however many connections a user has, and looks at nobody who is not in its list.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::hash::RandomState;
use std::slice;

use super::core::Turn;
use super::guard;
use super::message::{Message, TellUser};
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, Shard, Whom, Word};
#[cfg(test)]
use crate::hub::planted::{Fault, is_planted};
use crate::hub::{Marks, MemberId, Roster};
use crate::limits::{MOVE_WORDS_MAX, RECENT_WORDS_BYTES_MAX};
use crate::mesh::MemberId as MeshId;

/// Whose connections this shard has, and what is to be told to them.
pub(super) struct Tellings {
    pub(super) roster: Roster,
    pub(super) marks: Marks,
    /// The first one's walk is under way if it has begun. As many at most as the mesh has room for
    /// their answers.
    waiting: VecDeque<Telling>,
    /// How many walks have begun: the same words in the same order as in all other shards.
    word_count: u64,
    /// The last of them, for connections that come from a shard which has heard less.
    recent: VecDeque<TellUser>,
    recent_bytes: usize,
}

struct Telling {
    from: MeshId,
    stage: Stage,
    what: Box<TellUser>,
}

#[derive(Clone, Copy)]
enum Stage {
    Waits,
    /// Its walk has begun.
    Told {
        was_heard: bool,
    },
}

impl Tellings {
    /// For a shard of so many connections.
    pub(super) fn new(connections_max: u32) -> Self {
        let roster = Roster::new(connections_max, RandomState::new());
        Self {
            roster,
            marks: Marks::new(RandomState::new()),
            waiting: VecDeque::new(),
            word_count: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
        }
    }

    pub(super) fn take(&mut self, from: MeshId, what: Box<TellUser>) {
        self.waiting.push_back(Telling { from, stage: Stage::Waits, what });
    }

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.roster.leave(member);
        self.marks.leave(member);
    }

    /// Words that all connections of this shard have been told, when none waits.
    pub(super) fn word_count(&self) -> u64 {
        self.word_count
    }

    /// The words since there were so many; `None` if they are not all known any more.
    fn since(&self, count: u64) -> Option<Vec<TellUser>> {
        let forgotten = self.word_count - self.recent.len() as u64;
        let skipped = usize::try_from(count.checked_sub(forgotten)?).ok()?;
        Some(self.recent.iter().skip(skipped).cloned().collect())
    }

    fn begin(&mut self, what: &TellUser) {
        self.word_count += 1;
        self.recent_bytes += what.word.len();
        self.recent.push_back(what.clone());
        while self.recent.len() > MOVE_WORDS_MAX || self.recent_bytes > RECENT_WORDS_BYTES_MAX {
            let oldest = self.recent.pop_front().expect("its bytes are counted");
            self.recent_bytes -= oldest.word.len();
        }
        match what.whom.borrowed() {
            Whom::User(user) => self.roster.begin(user),
            Whom::Marked(mark) => self.marks.begin(mark),
        }
    }

    /// The next of the walk.
    fn pass(&mut self, whom: Whom<&str>) -> Option<MemberId> {
        match whom {
            Whom::User(_) => self.roster.pass(),
            Whom::Marked(_) => self.marks.pass(),
        }
    }

    fn has_next(&self, whom: Whom<&str>) -> bool {
        match whom {
            Whom::User(_) => self.roster.has_next(),
            Whom::Marked(_) => self.marks.has_next(),
        }
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Tells words to at most `budget` connections; returns how many were looked at.
    pub(crate) fn tell_users(&mut self, handler: &mut H, budget: usize) -> usize {
        let mut left = budget;
        while left > 0 {
            let Some(mut telling) = self.core.tellings.waiting.pop_front() else { break };
            let whom = telling.what.whom.borrowed();
            let was_heard = match telling.stage {
                Stage::Told { was_heard } => was_heard,
                Stage::Waits => {
                    self.core.tellings.begin(&telling.what);
                    self.hear(handler, &telling.what)
                }
            };
            telling.stage = Stage::Told { was_heard };
            let connections = self.some_connections(whom, left);
            left -= connections.len().max(1);
            self.tell_some(handler, &telling.what, &connections);
            if self.core.tellings.has_next(whom) {
                self.core.tellings.waiting.push_front(telling);
            } else {
                let answer = Message::UserTold { ask: telling.what.ask, was_heard };
                self.core.channels.mesh.answer(telling.from, answer);
            }
        }
        budget - left
    }

    /// Tells a connection that has come from another shard the words that were told to all here,
    /// and not there yet. Who cannot be told is to come again.
    pub(super) fn tell_missed_words(&mut self, handler: &mut H, id: ConnectionId, count: u64) {
        #[cfg(test)]
        if is_planted(Fault::WordsMissed) {
            return;
        }
        let Some(words) = self.core.tellings.since(count) else {
            return self.lose_arrived(id);
        };
        for what in words {
            self.tell_some(handler, &what, &[id]);
        }
    }

    /// Has the application take a word in; false if it failed.
    fn hear(&mut self, handler: &mut H, what: &TellUser) -> bool {
        self.core.called = true;
        let word = Word { whom: what.whom.borrowed(), bytes: &what.word };
        let was_heard = guard(|| handler.heard(word)).is_some();
        // It is no connection's fault: whoever is told of it is told all the same, and whoever has
        // said it hears that it may not hold here.
        self.core.counters.handler_panics += u64::from(!was_heard);
        was_heard
    }

    /// The next connections of the walk.
    fn some_connections(&mut self, whom: Whom<&str>, count_max: usize) -> Vec<ConnectionId> {
        let mut connections = Vec::new();
        while connections.len() < count_max
            && let Some(MemberId(index)) = self.core.tellings.pass(whom)
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
        let word = Word { whom: what.whom.borrowed(), bytes: &what.word };
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

#[cfg(test)]
mod tests {
    use super::super::tests::{admit, core_in};
    use super::*;
    use crate::handler::{Cause, Closed, Message as Received, Peer, Request, Upgrade};
    use crate::mesh::{self, Class};
    use crate::ring::{Batch, Received as Read};

    /// An application that fails at words of its choice.
    struct Failing {
        fails_to_hear: bool,
        fails_to_tell: bool,
        ends: Vec<(Cause, u16)>,
    }

    impl Handler for Failing {
        type Connection = ();

        fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
            Upgrade::accept(())
        }

        fn message(&mut self, _peer: &mut Peer<'_, Self>, _message: Received<'_>) {}

        fn close(&mut self, _shard: &mut Shard<'_, Self>, _state: (), closed: &Closed) {
            self.ends.push((closed.cause, closed.code));
        }

        fn heard(&mut self, _word: Word<'_>) {
            assert!(!self.fails_to_hear, "planted");
        }

        fn told(&mut self, _: &mut Shard<'_, Self>, _: Word<'_>, _: &[ConnectionId]) {
            assert!(!self.fails_to_tell, "planted");
        }
    }

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// Has one of two connections told something; returns what is answered, how the connections
    /// ended, and how many panics were counted.
    fn told(fails_to_hear: bool, fails_to_tell: bool) -> (bool, Vec<(Cause, u16)>, u64) {
        let mut members = mesh::build_with_slots(2, 64).expect("a mesh");
        let mut control = members.pop().expect("two");
        let mut core = core_in::<Failing>(members.pop().expect("two"));
        let mut handler = Failing { fails_to_hear, fails_to_tell, ends: Vec::new() };
        let mut batch = Batch::new(64);
        let _peers = [admit(&mut core), admit(&mut core)];
        for index in [0, 1].map(Index::new) {
            let mut turn = Turn { core: &mut core, batch: &mut batch };
            turn.received(&mut handler, index, Read::Bytes(HEAD.len()), &mut HEAD.to_vec());
        }
        core.tellings.marks.add(MemberId(1), "t");
        let what = TellUser { ask: 7, whom: Whom::Marked("t".into()), word: [0; 1].into() };
        let what = Message::TellUser(Box::new(what));
        control.send(MeshId::new(0), what, Class::Request).expect("there is room");
        control.flush(|_| {});
        let received = core.channels.mesh.receive().expect("it was just sent");
        let mut turn = Turn { core: &mut core, batch: &mut batch };
        turn.take(&mut handler, received.from, received.message);
        while turn.core.tellings.has_work() {
            turn.tell_users(&mut handler, 10);
        }
        core.channels.mesh.flush(|_| {});
        let Message::UserTold { ask: 7, was_heard } = control.receive().expect("one").message
        else {
            panic!("another message")
        };
        (was_heard, handler.ends, core.counters().handler_panics)
    }

    /// Once whoever had said it was told that all shards had heard it.
    #[test]
    fn who_says_what_an_application_fails_to_hear_is_told_so() {
        assert_eq!(told(false, false), (true, vec![], 0));
        assert_eq!(told(true, false), (false, vec![], 1), "it is nobody's fault");
    }

    #[test]
    fn the_last_words_are_known_within_their_bounds_and_who_misses_more_is_told_so() {
        let word = |bytes: usize| TellUser {
            ask: 1,
            whom: Whom::User("ann".into()),
            word: vec![0; bytes].into(),
        };
        for (bytes, room) in [(1, MOVE_WORDS_MAX), (RECENT_WORDS_BYTES_MAX / 4, 4)] {
            let mut tellings = Tellings::new(10);
            for _ in 0..room {
                tellings.begin(&word(bytes));
            }
            assert_eq!(tellings.since(0).map(|words| words.len()), Some(room));
            tellings.begin(&word(bytes));
            assert_eq!(tellings.since(0).map(|words| words.len()), None);
            assert_eq!(tellings.since(1).map(|words| words.len()), Some(room));
        }
    }

    #[test]
    fn a_connection_that_cannot_be_told_is_closed_and_no_other() {
        let (was_heard, ends, panics) = told(false, true);
        assert_eq!((was_heard, ends), (true, vec![(Cause::Panic, 1011)]));
        assert_eq!(panics, 1);
    }
}
