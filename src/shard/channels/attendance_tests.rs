//! Presence, and who is told of it: two shards, the mesh between them, and no threads.

use super::tests::{GONE, delivered_payloads, enter, exchange, id, names_at, shards};
use super::*;
use crate::handler::{Answer, Asked, Entry, JoinEvent, Present, Question};
use crate::limits::{JOINS_PER_TICK_MAX, JOINS_TICK};

/// Two shards that tell joins as `+user` and leaves as `-user`.
fn telling() -> [Channels; 2] {
    let mut shards = shards();
    for shard in &mut shards {
        shard.word_by(Words::default(), tell);
    }
    shards
}

fn tell(_: &str, events: &[JoinEvent<'_>]) -> Vec<Vec<u8>> {
    let one = |event: &JoinEvent<'_>| {
        format!("{}{}", if event.has_come { '+' } else { '-' }, event.present.user())
    };
    vec![events.iter().map(one).collect::<String>().into_bytes()]
}

/// Present under this user's name.
fn present(user: &str) -> Present {
    Present::new([7; 16], user, b"", b"")
}

fn announced(user: &str) -> Entry {
    Entry { presence: Some(present(user)), is_announced: true, ..Entry::default() }
}

fn hearing() -> Entry {
    Entry { hears_joins: true, ..Entry::default() }
}

/// Time passes until joins are told.
fn tick(shards: &mut [Channels; 2]) {
    for shard in &mut *shards {
        shard.home.pass_time(shard.home.now + 2 * JOINS_TICK);
    }
    exchange(shards);
    exchange(shards);
}

fn presence(shards: &mut [Channels; 2], home: usize, channel: &str) -> (Vec<String>, [u32; 2]) {
    let ask = |shards: &mut [Channels; 2], question| {
        let Ok(Asked::Done(answer)) = shards[home].ask(id(1), 0, channel, question) else {
            panic!("its home is there")
        };
        answer
    };
    let Answer::Presence(list) = ask(shards, Question::Presence) else { panic!("a list") };
    let Answer::PresenceStats { clients, users } = ask(shards, Question::PresenceStats) else {
        panic!("figures")
    };
    let mut names: Vec<String> = list.iter().map(|one| one.user().to_string()).collect();
    names.sort_unstable();
    (names, [clients, users])
}

#[test]
fn who_enters_is_present_until_it_leaves_or_is_gone() {
    for home in [0, 1] {
        let mut shards = telling();
        let [name, _] = names_at(home);
        for (index, user) in [(4, "ann"), (5, "ann"), (6, "bob")] {
            assert!(enter(&mut shards, index, &name, announced(user)).is_ok());
        }
        let all = ["ann", "ann", "bob"].map(str::to_owned);
        assert_eq!(presence(&mut shards, home, &name), (all.to_vec(), [3, 2]), "home {home}");
        assert!(shards[0].leave(id(4), &name, true));
        shards[0].leave_all(id(6));
        exchange(&mut shards);
        assert_eq!(presence(&mut shards, home, &name), (vec!["ann".into()], [1, 1]));
        shards[0].leave_all(id(5));
        exchange(&mut shards);
        assert_eq!(presence(&mut shards, home, &name), (vec![], [0, 0]), "home {home}");
    }
}

#[test]
fn who_was_let_in_after_it_was_gone_is_not_present() {
    let mut shards = telling();
    let [name, _] = names_at(1);
    for index in [4, GONE] {
        assert_eq!(shards[0].enter(id(index), &name, announced("ann")), Ok(Asked::Waits));
    }
    assert!(shards[0].leave(id(4), &name, true));
    assert_eq!(exchange(&mut shards), []);
    assert_eq!(presence(&mut shards, 1, &name), (vec![], [0, 0]));
}

#[test]
fn absences_wait_for_room_and_nobody_comes_back_before_them() {
    let mut shards = telling();
    let [name, other] = names_at(1);
    let crowd = 100..160;
    for index in crowd.clone() {
        assert!(enter(&mut shards, index - 90, &name, announced("ann")).is_ok());
    }
    // The queue to the home is filled, so most of those who leave must wait.
    while shards[0].publish(&other, Arc::new(*b"\x81\x00"), None).is_ok() {}
    for index in crowd.clone() {
        shards[0].leave_all(id(index - 90));
    }
    assert_eq!(shards[0].enter(id(100 - 90), &name, announced("bob")), Ok(Asked::Waits));
    exchange(&mut shards);
    assert_eq!(presence(&mut shards, 1, &name), (vec!["bob".into()], [1, 1]));
}

#[test]
fn who_is_shown_anew_is_so_wherever_it_is_present() {
    for home in [0, 1] {
        let mut shards = telling();
        let [name, _] = names_at(home);
        assert!(enter(&mut shards, 4, &name, announced("ann")).is_ok());
        assert!(enter(&mut shards, 5, &name, hearing()).is_ok());
        assert_eq!(presence(&mut shards, home, &name), (vec!["ann".into()], [1, 1]));
        for index in [4, 5] {
            shards[0].show_anew(id(index), &present("bob"));
            exchange(&mut shards);
            assert_eq!(presence(&mut shards, home, &name), (vec!["bob".into()], [1, 1]));
        }
    }
}

#[test]
fn a_home_without_room_to_hear_of_it_is_counted() {
    let mut shards = telling();
    let [name, other] = names_at(1);
    assert!(enter(&mut shards, 4, &name, announced("ann")).is_ok());
    while shards[0].publish(&other, Arc::new(*b"\x81\x00"), None).is_ok() {}
    shards[0].show_anew(id(4), &present("bob"));
    let mut counters = Counters::default();
    shards[0].count_into(&mut counters);
    assert_eq!(counters.presence_unheard, 1);
    exchange(&mut shards);
    assert_eq!(presence(&mut shards, 1, &name), (vec!["ann".into()], [1, 1]));
}

#[test]
fn who_is_not_listed_is_told_of_as_it_comes_and_goes() {
    let mut shards = telling();
    let [name, _] = names_at(1);
    assert!(enter(&mut shards, 4, &name, hearing()).is_ok());
    let hidden = Entry { presence: Some(present("ann").unlisted()), ..announced("ann") };
    assert!(enter(&mut shards, 5, &name, hidden).is_ok());
    assert_eq!(presence(&mut shards, 1, &name), (vec![], [0, 0]));
    shards[0].leave_all(id(5));
    exchange(&mut shards);
    tick(&mut shards);
    assert_eq!(delivered_payloads(&mut shards[0]), [(4, b"+ann-ann".to_vec())]);
}

#[test]
fn only_hearers_are_told_once_a_tick_who_came_and_went() {
    for home in [0, 1] {
        let mut shards = telling();
        let [name, _] = names_at(home);
        assert!(enter(&mut shards, 4, &name, hearing()).is_ok());
        for (index, user) in [(5, "ann"), (6, "bob")] {
            assert!(enter(&mut shards, index, &name, announced(user)).is_ok());
        }
        let quiet = Entry { is_announced: false, ..announced("cho") };
        assert!(enter(&mut shards, 7, &name, quiet).is_ok());
        shards[0].leave_all(id(5));
        exchange(&mut shards);
        assert_eq!(delivered_payloads(&mut shards[0]), [], "not before its time");
        tick(&mut shards);
        let told = delivered_payloads(&mut shards[0]);
        assert_eq!(told, [(4, b"+ann+bob-ann".to_vec())], "home {home}");
        tick(&mut shards);
        assert_eq!(delivered_payloads(&mut shards[0]), [], "once");
        // What is published beside it is everybody's.
        assert!(shards[0].leave(id(6), &name, true));
        exchange(&mut shards);
        assert_eq!(shards[1].publish(&name, Arc::new(*b"\x81\x02hi"), None), Ok(()));
        tick(&mut shards);
        let told = delivered_payloads(&mut shards[0]);
        let expected: [(u32, &[u8]); 3] = [(4, b"hi"), (7, b"hi"), (4, b"-bob")];
        assert_eq!(told, expected.map(|(index, text)| (index, text.to_vec())), "home {home}");
    }
}

#[test]
fn where_nobody_hears_nothing_waits_to_be_told() {
    let mut shards = telling();
    let [name, _] = names_at(0);
    assert!(enter(&mut shards, 5, &name, announced("ann")).is_ok());
    shards[0].leave_all(id(5));
    assert_eq!(shards[0].home.next_deadline(), None);
}

#[test]
fn a_crowd_that_leaves_at_once_is_few_messages() {
    const CROWD: u32 = 80;
    const HEARERS: u32 = 10;
    let mut shards = telling();
    let [name, _] = names_at(0);
    for index in 0..CROWD {
        let hears_joins = index < HEARERS;
        let entry = Entry { hears_joins, ..announced("a") };
        assert!(enter(&mut shards, index, &name, entry).is_ok());
    }
    tick(&mut shards);
    delivered_payloads(&mut shards[0]);
    let before = shards[0].fanout.counters();
    for index in HEARERS..CROWD {
        shards[0].leave_all(id(index));
    }
    tick(&mut shards);
    let told = delivered_payloads(&mut shards[0]);
    assert_eq!(told.len(), HEARERS as usize, "one message each");
    let told_count = told[0].1.split(|byte| *byte == b'-').count() - 1;
    assert_eq!(told_count, JOINS_PER_TICK_MAX.min((CROWD - HEARERS) as usize));
    let after = shards[0].fanout.counters();
    assert_eq!(after.queued - before.queued, 1, "one frame for all of them");
    let dropped = u64::from(CROWD - HEARERS) - told_count as u64;
    let mut counters = Counters::default();
    shards[0].count_into(&mut counters);
    let joins_dropped = u64::from(CROWD).saturating_sub(JOINS_PER_TICK_MAX as u64);
    assert_eq!(counters.joins_dropped, dropped + joins_dropped);
}
