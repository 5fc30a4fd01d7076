//! What is asked of a home that has no room for it now.

use super::tests::{GONE, enter, exchange, id, names_at, shards};
use super::*;
use crate::handler::{Answer, AskError, Asked, Entry, JoinError, Present, Question};

/// Fills the queue to the other shard.
fn fill(shard: &mut Channels, channel: &str) {
    while shard.publish(channel, Arc::new(*b"\x81\x00"), None).is_ok() {}
}

fn noted() -> Entry {
    Entry { hears_joins: true, ..Entry::default() }
}

#[test]
fn what_a_full_mesh_does_not_take_waits_and_is_asked_in_order() {
    let mut shards = shards();
    let [name, other] = names_at(1);
    fill(&mut shards[0], &other);
    for index in 1..40 {
        assert_eq!(shards[0].enter(id(index), &name, noted()), Ok(Asked::Waits));
    }
    assert_eq!(shards[0].ask(id(1), 7, &name, Question::PresenceStats), Ok(Asked::Waits));
    assert_eq!(shards[0].requests.count(), 40);
    let heard: Vec<u32> = exchange(&mut shards)
        .into_iter()
        .map(|(index, result)| result.map(|_| index).expect("it is let in"))
        .collect();
    assert_eq!(heard, (1..40).collect::<Vec<_>>());
    assert_eq!(shards[0].requests.count(), 0);
    assert_eq!(shards[0].requests.refused(), 0);
}

#[test]
fn who_leaves_while_its_entry_waits_is_no_member() {
    let mut shards = shards();
    let [name, other] = names_at(1);
    fill(&mut shards[0], &other);
    assert_eq!(shards[0].enter(id(1), &name, noted()), Ok(Asked::Waits));
    assert!(shards[0].leave(id(1), &name, true));
    assert_eq!(exchange(&mut shards), []);
    assert!(!shards[0].is_member(Index::new(1), &name));
    assert!(enter(&mut shards, 1, &name, noted()).is_ok());
}

#[test]
fn no_more_wait_than_may_and_the_others_are_told() {
    let mut shards = shards();
    let [name, other] = names_at(1);
    fill(&mut shards[0], &other);
    shards[0].requests.limit(2);
    let entered = [1, 2, 3].map(|index| shards[0].enter(id(index), &name, noted()));
    assert_eq!(entered, [Ok(Asked::Waits), Ok(Asked::Waits), Err(JoinError::Busy)]);
    let asked = shards[0].ask(id(1), 7, &name, Question::PresenceStats);
    assert_eq!(asked, Err(AskError::Busy));
    assert_eq!(shards[0].requests.refused(), 2);
    assert_eq!(exchange(&mut shards).len(), 2);
    assert!(enter(&mut shards, 3, &name, noted()).is_ok());
}

#[test]
fn nobody_enters_before_the_home_has_heard_who_was_gone() {
    let mut shards = shards();
    let [name, other] = names_at(1);
    let present = Present::new([7; 16], "ann", b"", b"");
    let there = || Entry { presence: Some(present.clone()), ..Entry::default() };
    assert!(enter(&mut shards, 1, &name, there()).is_ok());
    fill(&mut shards[0], &other);
    while shards[0].mesh.send(member(ShardId::new(1)), unheard(), Class::Notice).is_ok() {}
    assert!(shards[0].leave(id(1), &name, true));
    assert_eq!(shards[0].enter(id(1), &name, there()), Ok(Asked::Waits));
    // There is room again, but what is owed has not been sent.
    shards[0].mesh.flush(|_| {});
    while let Some(received) = shards[1].mesh.receive() {
        shards[1].take(received.from, received.message);
    }
    shards[1].mesh.flush(|_| {});
    shards[0].ask_again(ShardId::new(1), |_| true);
    assert_eq!(shards[0].requests.count(), 1);
    assert_eq!(exchange(&mut shards).len(), 1);
    assert_eq!(shards[1].home.attendance.count(), 1, "it is back, not gone");
}

fn unheard() -> Message {
    Message::Uninterested { channel: "nobody's".into() }
}

#[test]
fn what_nobody_wants_to_hear_any_more_is_not_asked() {
    let mut shards = shards();
    let [name, other] = names_at(1);
    fill(&mut shards[0], &other);
    let present = Present::new([7; 16], "ann", b"", b"");
    for index in [1, GONE, 2] {
        let there = Entry { presence: Some(present.clone()), ..Entry::default() };
        assert_eq!(shards[0].enter(id(index), &name, there), Ok(Asked::Waits));
    }
    assert_eq!(shards[0].ask(id(GONE), 7, &name, Question::PresenceStats), Ok(Asked::Waits));
    shards[0].leave_all(id(1));
    let asked = shards[0].requests.count();
    let heard = exchange(&mut shards);
    assert_eq!((asked, heard.len()), (4, 1), "{heard:?}");
    assert_eq!((shards[0].entering.count(), shards[0].requests.count()), (0, 0));
    assert!(shards[0].leave(id(2), &name, true));
    exchange(&mut shards);
    assert_eq!((shards[0].fanout.channel_count(), shards[1].home.attendance.count()), (0, 0));
}

#[test]
fn who_comes_back_before_the_answer_enters_after_it() {
    let mut shards = shards();
    let [name, _] = names_at(1);
    let there = |user| {
        let present = Present::new([7; 16], user, b"", b"");
        Entry { presence: Some(present), ..Entry::default() }
    };
    assert_eq!(shards[0].enter(id(1), &name, there("ann")), Ok(Asked::Waits));
    assert!(shards[0].leave(id(1), &name, true));
    assert_eq!(shards[0].enter(id(1), &name, there("bob")), Ok(Asked::Waits));
    assert_eq!(shards[0].enter(id(1), &name, there("cho")), Err(JoinError::Member));
    assert_eq!(exchange(&mut shards).len(), 1, "the second is answered");
    assert!(shards[0].is_member(Index::new(1), &name));
    let Answer::Presence(list) = shards[1].home.attendance.list(&name) else { panic!("a list") };
    assert_eq!(list.iter().map(Present::user).collect::<Vec<_>>(), ["bob"]);
    // And who leaves twice does not.
    assert!(shards[0].leave(id(1), &name, true));
    exchange(&mut shards);
    assert_eq!(shards[0].enter(id(1), &name, there("ann")), Ok(Asked::Waits));
    assert!(shards[0].leave(id(1), &name, true));
    assert_eq!(shards[0].enter(id(1), &name, there("bob")), Ok(Asked::Waits));
    assert!(shards[0].leave(id(1), &name, true));
    assert!(!shards[0].leave(id(1), &name, true));
    assert_eq!(exchange(&mut shards), []);
    assert_eq!((shards[0].entering.count(), shards[1].home.attendance.count()), (0, 0));
}

#[test]
fn who_is_shown_anew_on_its_way_in_is_so_when_it_is_there() {
    let mut shards = shards();
    let [name, _] = names_at(1);
    let [ann, bob] = ["ann", "bob"].map(|user| Present::new([7; 16], user, b"", b""));
    let there = Entry { presence: Some(ann), ..Entry::default() };
    assert_eq!(shards[0].enter(id(1), &name, there), Ok(Asked::Waits));
    shards[0].show_anew(id(1), &bob);
    exchange(&mut shards);
    exchange(&mut shards);
    let Answer::Presence(list) = shards[1].home.attendance.list(&name) else { panic!("a list") };
    assert_eq!(list.iter().map(Present::user).collect::<Vec<_>>(), ["bob"]);
}
