//! Polls that the kernel refused, until they are armed again.
//!
//! A poll ends with an error when the kernel has no memory for it. Armed again at once it ends at
//! once, turn after turn; left alone its connection hears nothing until a deadline. So it rests.
//!
//! Invariant: whatever stands here is armed again after [`POLL_BACKOFF`], unless its connection is
//! gone by then; a connection has two polls, so it stands here twice at most.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::connection::Flags;
use super::core::Core;
use super::phase::Phase;
use super::slab::Index;
use crate::handler::Handler;
use crate::limits::POLL_BACKOFF;
use crate::ring::{Operation, Token};

/// The refused polls of one shard.
#[derive(Debug, Default)]
pub(super) struct Unarmed {
    polls: Vec<Token>,
    /// When all of them are armed again; none is there without it.
    until: Option<Instant>,
}

/// Whether this result of a poll says that the kernel would not, or could not, watch any longer.
pub(super) fn is_refusal(result: i32) -> bool {
    result < 0 && result != -libc::ECANCELED
}

impl<H: Handler> Core<H> {
    /// A poll was refused: it rests before it is armed again.
    pub(crate) fn rest_poll(&mut self, token: Token) {
        self.counters.polls_refused += 1;
        self.unarmed.polls.push(token);
        self.unarmed.until.get_or_insert(self.now + POLL_BACKOFF);
    }

    /// When refused polls are to be armed again.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.unarmed.until
    }

    /// The polls whose rest is over.
    pub(crate) fn take_rested(&mut self) -> Vec<Token> {
        if self.unarmed.until.is_none_or(|until| until > self.now) {
            return Vec::new();
        }
        std::mem::take(&mut self.unarmed).polls
    }

    /// Arms the poll of a connection again, and looks at its socket, if it still wants that.
    pub(crate) fn rearm(&mut self, token: Token) {
        let index = Index::new(token.index());
        let Some(connection) = self.by_token(token) else { return };
        if connection.phase == Phase::Retiring {
            return;
        }
        if token.operation() == Operation::Readable {
            self.watch(index);
            self.make_ready(index);
        } else if connection.backlog_bytes() > 0 && !connection.flags.has(Flags::WRITE_WATCHED) {
            self.watch_writable(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Backlog;
    use super::super::core::Effect;
    use super::super::ready::Rank;
    use super::super::tests::{core, effects};
    use super::*;

    const REFUSED: i32 = -libc::ENOMEM;

    #[test]
    fn a_refused_poll_for_input_rests_and_is_armed_once() {
        let (mut core, _peer) = core();
        let index = Index::new(0);
        let token = Token::new(Operation::Readable, core.serial(index), 0);
        assert_eq!(effects(&mut core), [Effect::Watch(index)]);
        for round in 1..=3 {
            core.poll_ended(token, REFUSED);
            assert_eq!((core.ready_count(Rank::New), core.counters().polls_refused), (0, round));
            assert_eq!(core.rests_until(), Some(core.now + POLL_BACKOFF));
            assert!(core.take_rested().is_empty() && effects(&mut core).is_empty());
            core.set_now(core.now + POLL_BACKOFF);
            let rested = core.take_rested();
            assert_eq!(rested, [token]);
            for token in rested {
                core.rearm(token);
            }
            assert_eq!(effects(&mut core), [Effect::Watch(index)]);
            assert_eq!(core.rests_until(), None);
            assert!(core.next_ready(Rank::New).is_some(), "what came meanwhile raised no edge");
        }
        assert_eq!(core.counters().polls_rearmed, 0, "that is of polls which spilled over");
    }

    #[test]
    fn a_refused_poll_for_room_is_armed_again_while_there_is_a_backlog() {
        let (mut core, _peer) = core();
        let index = Index::new(0);
        let token = Token::new(Operation::Writable, core.serial(index), 0);
        effects(&mut core);
        for backlog in [&b"unsent"[..], b""] {
            core.watch_writable(index);
            assert_eq!(effects(&mut core), [Effect::WatchWritable(index)]);
            let busy = core.connections.get_mut(index).unwrap().busy();
            busy.backlog = Backlog::default();
            busy.backlog.append(backlog);
            core.poll_ended(token, REFUSED);
            core.set_now(core.now + POLL_BACKOFF);
            let rested = core.take_rested();
            for token in rested {
                core.rearm(token);
            }
            let armed = effects(&mut core);
            if backlog.is_empty() {
                assert_eq!(armed, []);
            } else {
                assert_eq!(armed, [Effect::WatchWritable(index)]);
                core.poll_ended(token, 0);
            }
        }
    }

    #[test]
    fn a_poll_of_a_connection_that_is_gone_is_not_armed_for_the_next_in_its_slot() {
        let (mut core, _peer) = core();
        let token = Token::new(Operation::Readable, core.serial(Index::new(0)) + 1, 0);
        effects(&mut core);
        core.rest_poll(token);
        core.rearm(token);
        assert_eq!(effects(&mut core), []);
    }
}
