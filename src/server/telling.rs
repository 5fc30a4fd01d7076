//! Words for users' connections, on their way to all shards, and the answers on their way back.
//!
//! Invariants: every shard hears the words in the order in which they came here; a word is
//! answered when all shards have told it to all whom it concerns; one that nobody waits for any
//! more and that no shard has heard is not told at all; those under way are bounded, and one too
//! many is refused and counted.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::control::{Audience, TellError};
use crate::handler::Whom;
use crate::limits::USER_COMMANDS_MAX;
use crate::mesh::{Class, Member, MemberId};
use crate::metrics::Counters;
use crate::shard::{Message, TellUser};

/// The words under way.
pub(super) struct Telling {
    next: u64,
    words: VecDeque<Word>,
}

struct Word {
    ask: u64,
    whom: Whom<Arc<str>>,
    bytes: Arc<[u8]>,
    /// Shards that have not heard it, for want of room.
    untold: Vec<MemberId>,
    /// Shards that have not answered, told or not.
    left: usize,
    /// All that have answered have taken it in.
    was_heard: bool,
    answer: oneshot::Sender<Result<(), TellError>>,
}

impl Telling {
    pub(super) fn new() -> Self {
        Self { next: 0, words: VecDeque::new() }
    }

    /// Notes a word for connections on all shards.
    pub(super) fn tell(
        &mut self,
        mesh: &Member<Message>,
        counters: &mut Counters,
        (whom, bytes): (&Audience, &[u8]),
        answer: oneshot::Sender<Result<(), TellError>>,
    ) {
        if self.words.len() >= USER_COMMANDS_MAX {
            counters.user_commands_refused += 1;
            let _gone = answer.send(Err(TellError::Busy));
            return;
        }
        let untold: Vec<_> = mesh.peers().collect();
        self.next += 1;
        self.words.push_back(Word {
            ask: self.next,
            whom: match whom {
                Audience::User(user) => Whom::User(user.as_str().into()),
                Audience::Bearers(token) => Whom::Marked(token.as_str().into()),
            },
            bytes: bytes.into(),
            left: untold.len(),
            untold,
            was_heard: true,
            answer,
        });
    }

    /// All shards have told everything.
    pub(super) fn is_quiet(&self) -> bool {
        self.words.is_empty()
    }

    /// Hands the words on, as far as there is room: the mesh wakes this thread when there is more.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>, counters: &mut Counters) {
        let shard_count = mesh.peers().count();
        let mut full: Vec<MemberId> = Vec::new();
        self.words.retain_mut(|word| {
            let is_unheard = word.untold.len() == shard_count;
            if is_unheard && word.answer.is_closed() {
                counters.user_commands_refused += 1;
                return false;
            }
            let (whom, bytes) = (&word.whom, &word.bytes);
            word.untold.retain(|shard| {
                if full.contains(shard) {
                    return true;
                }
                let (whom, bytes) = (whom.clone(), Arc::clone(bytes));
                let tell = Box::new(TellUser { ask: word.ask, whom, word: bytes });
                let is_full = mesh.send(*shard, Message::TellUser(tell), Class::Request).is_err();
                full.extend(is_full.then_some(*shard));
                is_full
            });
            true
        });
    }

    /// A shard has told a word to all whom it concerns there, or has failed to take it in.
    pub(super) fn told(&mut self, ask: u64, was_heard: bool) {
        let place = self.words.iter().position(|word| word.ask == ask);
        let place = place.expect("a word waits for the answers of all shards");
        let word = &mut self.words[place];
        word.left -= 1;
        word.was_heard &= was_heard;
        if word.left == 0 {
            let word = self.words.remove(place).expect("found above");
            // Who asked may have stopped waiting.
            let told = if word.was_heard { Ok(()) } else { Err(TellError::Unheard) };
            let _gone = word.answer.send(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    /// The control thread's end of a mesh with short queues, and those of the shards.
    fn ends(slots: usize) -> (Member<Message>, Vec<Member<Message>>) {
        let mut members = mesh::build_with_slots(3, slots).unwrap();
        (members.pop().unwrap(), members)
    }

    fn tell(
        telling: &mut Telling,
        mesh: &mut Member<Message>,
        user: &str,
    ) -> oneshot::Receiver<Result<(), TellError>> {
        let (answer, answered) = oneshot::channel();
        let whom = Audience::User(user.to_owned());
        telling.tell(mesh, &mut Counters::default(), (&whom, b"word"), answer);
        answered
    }

    /// What a shard hears now: it answers at once.
    fn heard(control: &mut Member<Message>, shard: &mut Member<Message>) -> Vec<(u64, String)> {
        control.flush(|_| {});
        let mut heard = Vec::new();
        while let Some(received) = shard.receive() {
            let Message::TellUser(tell) = received.message else { panic!("{received:?}") };
            shard.answer(received.from, Message::UserTold { ask: tell.ask, was_heard: true });
            let Whom::User(user) = tell.whom else { panic!("{tell:?}") };
            heard.push((tell.ask, user.to_string()));
        }
        shard.flush(|_| {});
        heard
    }

    fn take_answers(telling: &mut Telling, control: &mut Member<Message>) {
        while let Some(received) = control.receive() {
            let Message::UserTold { ask, was_heard } = received.message else {
                panic!("{received:?}")
            };
            telling.told(ask, was_heard);
        }
        control.flush(|_| {});
    }

    #[test]
    fn a_word_is_answered_when_the_last_shard_has_told_it() {
        let (mut control, mut shards) = ends(64);
        let mut telling = Telling::new();
        let mut answered = tell(&mut telling, &mut control, "ann");
        telling.advance(&mut control, &mut Counters::default());
        for (place, shard) in shards.iter_mut().enumerate() {
            assert!(answered.try_recv().is_err(), "{place} shards have answered");
            assert_eq!(heard(&mut control, shard), [(1, "ann".to_owned())]);
            take_answers(&mut telling, &mut control);
        }
        assert_eq!(answered.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn one_shard_that_has_failed_makes_the_answer_a_failure() {
        for failed in 0..2 {
            let (mut control, _shards) = ends(64);
            let mut telling = Telling::new();
            let mut answered = tell(&mut telling, &mut control, "ann");
            telling.advance(&mut control, &mut Counters::default());
            (0..2).for_each(|shard| telling.told(1, shard != failed));
            assert_eq!(answered.try_recv(), Ok(Err(TellError::Unheard)));
        }
    }

    #[test]
    fn a_full_queue_delays_words_and_keeps_their_order() {
        let (mut control, mut shards) = ends(8);
        let mut telling = Telling::new();
        let mut counters = Counters::default();
        let users: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let mut answers: Vec<_> =
            users.iter().map(|user| tell(&mut telling, &mut control, user)).collect();
        let mut seen = vec![Vec::new(), Vec::new()];
        for _ in 0..users.len() {
            telling.advance(&mut control, &mut counters);
            for (seen, shard) in seen.iter_mut().zip(&mut shards) {
                let heard = heard(&mut control, shard);
                assert!(heard.len() < users.len(), "the queue is short");
                seen.extend(heard.into_iter().map(|(_, user)| user));
            }
            take_answers(&mut telling, &mut control);
        }
        assert!(seen.iter().all(|seen| *seen == users), "{seen:?}");
        assert!(answers.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(()))));
    }

    #[test]
    fn one_too_many_is_refused_and_one_that_nobody_waits_for_is_not_told() {
        let (mut control, mut shards) = ends(8);
        let mut telling = Telling::new();
        let mut counters = Counters::default();
        let mut answers: Vec<_> =
            (0..USER_COMMANDS_MAX).map(|_| tell(&mut telling, &mut control, "")).collect();
        let (answer, mut refused) = oneshot::channel();
        let whom = Audience::User("ann".to_owned());
        telling.tell(&control, &mut counters, (&whom, b"word"), answer);
        let busy = Ok(Err(TellError::Busy));
        assert_eq!((refused.try_recv(), counters.user_commands_refused), (busy, 1));
        drop(answers.split_off(1));
        telling.advance(&mut control, &mut counters);
        assert_eq!(counters.user_commands_refused, USER_COMMANDS_MAX as u64);
        assert_eq!(heard(&mut control, &mut shards[0]), [(1, String::new())]);
    }
}
