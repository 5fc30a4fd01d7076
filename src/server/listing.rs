//! Lists of the channels of all shards, on their way to those who have asked for them.
//!
//! Invariants: a list is whole or none: it has what every shard has said; those under way are
//! bounded, and one too many is refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::control::ListError;
use crate::limits::{CHANNELS_LISTED_MAX, LISTINGS_MAX};
use crate::mesh::{Class, Member, MemberId};
use crate::shard::{ListChannels, Listed, Message};

type Answer = oneshot::Sender<Result<BTreeMap<String, u32>, ListError>>;

/// The lists under way.
#[derive(Default)]
pub(super) struct Listing {
    last_ask: u64,
    lists: VecDeque<List>,
}

struct List {
    ask: u64,
    pattern: Arc<str>,
    /// Shards that have not been asked, for want of room.
    unasked: Vec<MemberId>,
    /// Shards that have not answered.
    left: usize,
    /// Channels and their members on all shards so far; `None` once they are too many.
    found: Option<BTreeMap<String, u32>>,
    answer: Answer,
}

impl Listing {
    /// Asks for a list of the channels whose names are of this pattern.
    pub(super) fn list(&mut self, mesh: &Member<Message>, pattern: &str, answer: Answer) {
        if self.lists.len() >= LISTINGS_MAX {
            let _gone = answer.send(Err(ListError::Busy));
            return;
        }
        let unasked: Vec<_> = mesh.peers().collect();
        self.last_ask += 1;
        self.lists.push_back(List {
            ask: self.last_ask,
            pattern: pattern.into(),
            left: unasked.len(),
            unasked,
            found: Some(BTreeMap::new()),
            answer,
        });
    }

    /// Nobody waits for a list.
    pub(super) fn is_quiet(&self) -> bool {
        self.lists.is_empty()
    }

    /// Asks the shards, as far as there is room.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>) {
        for list in &mut self.lists {
            let (ask, pattern) = (list.ask, &list.pattern);
            list.unasked.retain(|shard| {
                let question = Box::new(ListChannels { ask, pattern: Arc::clone(pattern) });
                let message = Message::ListChannels(question);
                mesh.send(*shard, message, Class::Request).is_err()
            });
        }
    }

    /// What a shard has found.
    pub(super) fn found(&mut self, ask: u64, found: Option<&[Listed]>) {
        let place = self.lists.iter().position(|list| list.ask == ask);
        let place = place.expect("a list waits for all shards");
        let list = &mut self.lists[place];
        list.left -= 1;
        match (found, &mut list.found) {
            (Some(found), Some(all)) => {
                for Listed { channel, members } in found {
                    *all.entry(channel.to_string()).or_default() += members;
                }
                if all.len() > CHANNELS_LISTED_MAX {
                    list.found = None;
                }
            }
            _ => list.found = None,
        }
        if list.left == 0 {
            let list = self.lists.remove(place).expect("found above");
            // Who asked may have stopped waiting.
            let _gone = list.answer.send(list.found.ok_or(ListError::TooMany));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    #[test]
    fn a_list_is_the_sum_of_what_all_shards_say_or_none() {
        let mut members = mesh::build_with_slots(3, 16).unwrap();
        let mut control = members.pop().unwrap();
        let mut listing = Listing::default();
        let mut ask = |control: &mut Member<Message>| {
            let (answer, answered) = oneshot::channel();
            listing.list(control, "*", answer);
            (answered, listing.last_ask)
        };
        let (mut whole, first) = ask(&mut control);
        let (mut cut, second) = ask(&mut control);
        for _ in 2..LISTINGS_MAX {
            ask(&mut control);
        }
        let (mut refused, _) = ask(&mut control);
        assert_eq!(refused.try_recv(), Ok(Err(ListError::Busy)));
        listing.advance(&mut control);
        let listed = |channel: &str, members| Listed { channel: channel.into(), members };
        listing.found(first, Some(&[listed("a", 2), listed("b", 1)]));
        assert!(whole.try_recv().is_err(), "one shard has not answered");
        listing.found(first, Some(&[listed("a", 3)]));
        let sum = [("a".to_owned(), 5), ("b".to_owned(), 1)].into();
        assert_eq!(whole.try_recv(), Ok(Ok(sum)));
        listing.found(second, None);
        listing.found(second, Some(&[]));
        assert_eq!(cut.try_recv(), Ok(Err(ListError::TooMany)));
    }
}
