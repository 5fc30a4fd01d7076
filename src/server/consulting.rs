//! Questions of sessions, on their way from the shards to the site's desk, and the answers back.
//!
//! Invariant: an answer for which a shard's queue has no room waits here; there are as many at most
//! as the shard may have questions open.

use std::collections::VecDeque;

use crate::control::Desk;
use crate::handler::ConnectionId;
use crate::limits::ANSWERS_SHARE;
use crate::mesh::{Class, Full, Member, MemberId};
use crate::shard::{Consult, Consulted, Message};

/// How a question is told from others: the shard, its connection, and the number there.
type Key = (MemberId, ConnectionId, u32);

/// An answer and whose it is.
pub(super) type Answered = (Key, Option<Box<[u8]>>);

/// The way between the shards and the desk.
pub(super) struct Consulting {
    /// There is none where there is no site: nobody has an answer then.
    desk: Option<Desk<Key>>,
    unsent: VecDeque<(MemberId, Consulted)>,
}

impl Consulting {
    pub(super) fn new(desk: Option<Desk<Key>>) -> Self {
        Self { desk, unsent: VecDeque::new() }
    }

    /// A shard has a question.
    pub(super) fn ask(&mut self, from: MemberId, consult: &Consult) {
        let Consult { connection, id, question } = consult;
        let key = (from, *connection, *id);
        let answer = match &mut self.desk {
            Some(desk) => desk.ask(key, question).map(Some),
            None => Some(None),
        };
        if let Some(answer) = answer {
            self.note((key, answer));
        }
    }

    /// Nobody there waits for the answer any more.
    pub(super) fn call_off(&mut self, from: MemberId, connection: ConnectionId, id: u32) {
        if let Some(desk) = &mut self.desk {
            desk.call_off(&(from, connection, id));
        }
        self.unsent
            .retain(|(to, answer)| (*to, answer.connection, answer.id) != (from, connection, id));
    }

    /// The next answer of the desk.
    pub(super) async fn answered(&mut self) -> Answered {
        match &mut self.desk {
            Some(desk) => desk.answered().await,
            None => std::future::pending().await,
        }
    }

    /// Has an answer sent, and some of those behind it, which leave with the same flush.
    pub(super) fn note_share(&mut self, first: Answered) {
        self.note(first);
        for _ in 0..ANSWERS_SHARE {
            let Some(answered) = self.desk.as_mut().and_then(Desk::try_answered) else { break };
            self.note(answered);
        }
    }

    /// Has an answer sent.
    fn note(&mut self, (key, answer): Answered) {
        let (to, connection, id) = key;
        self.unsent.push_back((to, Consulted { connection, id, answer }));
    }

    /// No answer waits for room.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends the answers, as far as there is room.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>) {
        for _ in 0..self.unsent.len() {
            let (to, answer) = self.unsent.pop_front().expect("as many as were counted");
            let message = Message::Consulted(Box::new(answer));
            // The mesh wakes this thread when there is room again.
            if let Err(Full(message)) = mesh.send(to, message, Class::Delivery)
                && let Message::Consulted(answer) = message
            {
                self.unsent.push_back((to, *answer));
            }
        }
    }
}
