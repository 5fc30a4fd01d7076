//! Two shards of sessions, one of which has all clients: whoever writes the test says what happens
//! at which moment of a move.

use std::sync::Arc;

use super::super::message::TellUser;
use super::super::session_rig::{Client, SessionRig, names_at, open_settings};
use super::super::session_settings::SessionSettings;
use crate::config::Config;
use crate::handler::{Question, Whom};
use crate::limits::MOVE_WORDS_MAX;
use crate::protocol::{Selection, UserAction, UserCommand};
use crate::session::{ChannelOptions, Rules};
use crate::shard::copies::Copies;
use crate::shard::slab::Index;

fn rig() -> SessionRig {
    let open = open_settings();
    let options = ChannelOptions { presence: true, join_leave: true, ..ChannelOptions::default() };
    let rules = Rules { without_namespace: options, user_connection_limit: 1, ..open.rules };
    let settings =
        SessionSettings { user_id_http_header: Some("X-User".to_owned()), rules, ..open };
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    // What they give away is the test's to say.
    config.balance_difference = None;
    SessionRig::new(2, 64, config, &settings)
}

/// Ann's client on a shard.
fn ann(rig: &mut SessionRig, shard: usize) -> Client {
    let client = rig.connect(shard, "X-User: ann\r\n");
    rig.exchange();
    assert!(rig.is_open(client));
    client
}

fn subscribe(rig: &mut SessionRig, client: Client, channel: &str) {
    rig.frame(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    rig.exchange();
}

fn open_counts(rig: &mut SessionRig) -> [usize; 2] {
    [0, 1].map(|shard| rig.core(shard).open_count)
}

/// Where ann's client is when it has moved: the first place.
fn moved_to(shard: usize) -> Client {
    Client { shard, index: Index::new(0) }
}

fn word(action: UserAction) -> TellUser {
    let word = UserCommand { clients: Selection::default(), action }.encode();
    TellUser { ask: 7, whom: Whom::User("ann".into()), word: Arc::from(word) }
}

/// How many are present in a channel, by its home.
fn present_count(rig: &mut SessionRig, channel: &str) -> String {
    let home = rig.core(0).channels.homes.home_of_channel(channel);
    let home = &mut rig.core(home.index()).channels.home;
    format!("{:?}", home.answer(channel, Question::PresenceStats))
}

#[test]
fn who_moves_is_counted_present_and_a_member_once_and_can_leave() {
    for home in [0, 1] {
        let mut rig = rig();
        let channel = names_at(home, 2).next().expect("there are names enough");
        let client = ann(&mut rig, 0);
        subscribe(&mut rig, client, &channel);
        let before = present_count(&mut rig, &channel);
        assert!(rig.offer(0, 1, true));
        rig.exchange();
        assert_eq!(open_counts(&mut rig), [0, 1], "home {home}: {:?}", rig.counters());
        assert_eq!(present_count(&mut rig, &channel), before);
        let counters = rig.counters();
        assert_eq!((counters.moved_away, counters.moved_here), (1, 1));
        assert!(rig.core(1).channels.is_member(Index::new(0), &channel));
        assert!(rig.core(0).moves.is_quiet() && rig.core(1).moves.is_quiet());
        // A second client of hers is one too many as before, wherever it comes.
        let second = rig.connect(0, "X-User: ann\r\n");
        rig.exchange();
        assert!(!rig.is_open(second));
        rig.vanish(moved_to(1));
        rig.exchange();
        assert_ne!(present_count(&mut rig, &channel), before, "home {home}: it has left");
        ann(&mut rig, 0);
    }
}

#[test]
fn who_has_a_second_seat_gives_one_back_whether_it_goes_or_stays() {
    for (has_room, speaks) in [(true, false), (false, false), (true, true)] {
        let mut rig = rig();
        let client = ann(&mut rig, 0);
        assert!(rig.offer(0, 1, has_room));
        assert_eq!(rig.core(0).settings.seats.all_taken(), [1, 1]);
        if speaks {
            // Its answer waits for the end of the turn.
            rig.frame(client, r#"{"id":3,"rpc":{"method":"x"}}"#);
        }
        rig.exchange();
        let goes = has_room && !speaks;
        assert_eq!(rig.is_open(client), !goes);
        let counters = rig.counters();
        assert_eq!(counters.moved_here, u64::from(goes));
        assert_eq!(counters.moves_refused, u64::from(!has_room));
        assert_eq!(counters.moves_given_up, u64::from(speaks));
        if goes {
            rig.release(0);
        }
        let expected = if goes { [0, 1] } else { [1, 0] };
        assert_eq!(rig.core(0).settings.seats.all_taken(), expected);
        assert_eq!(rig.core(0).settings.seats.sum(), 1);
        assert!(rig.core(0).moves.is_quiet() && rig.core(1).moves.is_quiet());
    }
}

/// Its descriptor would go on in another shard, where nobody knows that there is a copy of it.
#[test]
fn who_is_copied_does_not_move_and_who_moves_is_not_copied() {
    for is_copied_first in [true, false] {
        let mut rig = rig();
        ann(&mut rig, 0);
        rig.core(0).copies = Some(Box::new(Copies::new(1, 0)));
        let looks = 64;
        if is_copied_first {
            assert!(rig.core(0).next_to_copy(&mut looks.clone()).is_some());
            assert!(!rig.offer(0, 1, true));
        } else {
            assert!(rig.offer(0, 1, true));
            assert_eq!(rig.core(0).next_to_copy(&mut looks.clone()), None);
        }
        rig.exchange();
        let expected = if is_copied_first { [1, 0] } else { [0, 1] };
        assert_eq!(open_counts(&mut rig), expected);
    }
}

/// Everything that is to be delivered is; how many deliveries there were so far.
fn delivered(rig: &mut SessionRig) -> u64 {
    for shard in [0, 1] {
        rig.fan_out(shard, 9);
    }
    rig.counters().deliveries
}

#[test]
fn a_publication_in_the_middle_of_a_move_is_delivered_once_by_either_shard() {
    // Before each of the steps of a move, in turn, and behind the last; the home is either shard.
    for (home, step) in (0..2).flat_map(|home| (0..8).map(move |step| (home, step))) {
        for is_delivered_at_once in [false, true] {
            let mut rig = rig();
            let channel = names_at(home, 2).next().expect("there are names enough");
            let client = ann(&mut rig, 0);
            subscribe(&mut rig, client, &channel);
            assert!(rig.offer(0, 1, true));
            for shard in (0..step).map(|step| step % 2) {
                rig.take_messages(shard);
            }
            rig.publish(home, &channel);
            if is_delivered_at_once {
                rig.fan_out(0, 9);
            }
            rig.exchange();
            assert_eq!(delivered(&mut rig), 1, "home {home}, step {step}: {:?}", rig.counters());
            rig.publish(0, &channel);
            rig.exchange();
            assert_eq!(delivered(&mut rig), 2, "home {home}, step {step}");
            let counters = rig.counters();
            assert_eq!(counters.moved_here + counters.moves_given_up, 1);
            assert!(rig.core(0).moves.is_quiet() && rig.core(1).moves.is_quiet());
        }
    }
}

#[test]
fn what_has_come_behind_a_pin_keeps_a_connection_where_it_got_it() {
    let mut rig = rig();
    let channel = names_at(0, 2).next().expect("there are names enough");
    let client = ann(&mut rig, 0);
    subscribe(&mut rig, client, &channel);
    assert!(rig.offer(0, 1, true));
    // The interest, its answer, the pin: it stands in both queues.
    rig.core(1).channels.mesh.flush(|_| {});
    for shard in [0, 1, 0] {
        assert!(rig.take_messages(shard) > 0);
    }
    rig.publish(0, &channel);
    assert_eq!(rig.fan_out(0, 9), 1, "the old shard has delivered it");
    rig.rest(0);
    rig.exchange();
    let counters = rig.counters();
    assert_eq!((counters.moved_here, counters.moves_given_up), (0, 1));
    assert_eq!(delivered(&mut rig), 1);
}

#[test]
fn who_comes_hears_the_words_that_only_the_new_shard_has_heard() {
    let mut rig = rig();
    ann(&mut rig, 1);
    rig.tell_user_on(0, word(UserAction::disconnect()), 9);
    assert_eq!(open_counts(&mut rig), [0, 1], "it is not there");
    assert!(rig.offer(1, 0, true));
    rig.exchange();
    assert_eq!(open_counts(&mut rig), [0, 0]);
    assert_eq!(rig.counters().moved_here, 1);
}

/// Who has missed a word that nobody knows any more cannot be told it.
#[test]
fn who_has_missed_more_words_than_are_kept_is_to_come_again() {
    for (missed, is_lost) in [(MOVE_WORDS_MAX, false), (MOVE_WORDS_MAX + 1, true)] {
        let mut rig = rig();
        ann(&mut rig, 1);
        for _ in 0..missed {
            let refresh = UserAction::Refresh { expired: false, expires_s: 0, info: None };
            rig.tell_user_on(0, word(refresh), 9);
        }
        assert!(rig.offer(1, 0, true));
        rig.exchange();
        assert_eq!(open_counts(&mut rig), [usize::from(!is_lost), 0], "{missed} words");
        let counters = rig.counters();
        let lost = u64::from(is_lost);
        assert_eq!((counters.moved_here, counters.moves_lost), (1, lost));
        assert_eq!(counters.closed_shutdown, lost, "it hears that it is to come again");
        let told = if is_lost { 0 } else { missed as u64 };
        assert_eq!(counters.user_commands, told, "all of them or none");
    }
}

#[test]
fn who_has_heard_a_word_waits_until_the_new_shard_has_heard_it_too() {
    let mut rig = rig();
    ann(&mut rig, 0);
    let refresh = || word(UserAction::Refresh { expired: false, expires_s: 0, info: None });
    rig.tell_user_on(0, refresh(), 9);
    assert!(rig.offer(0, 1, true));
    rig.exchange();
    assert_eq!((rig.counters().moved_away, rig.counters().moved_here), (1, 0));
    rig.tell_user_on(1, refresh(), 9);
    rig.exchange();
    assert_eq!(open_counts(&mut rig), [0, 1]);
    assert_eq!(rig.counters().user_commands, 1, "told once, by the shard that it was in");
}

#[test]
fn who_has_said_something_that_is_still_on_its_way_is_not_offered() {
    let mut rig = rig();
    let channel = names_at(1, 2).next().expect("there are names enough");
    let client = ann(&mut rig, 0);
    subscribe(&mut rig, client, &channel);
    rig.frame(client, &format!(r#"{{"id":3,"publish":{{"channel":"{channel}","data":{{}}}}}}"#));
    assert!(!rig.offer(0, 1, true), "from there it could overtake itself");
    rig.exchange();
    rig.fan_out(0, 9);
    assert!(rig.offer(0, 1, true));
}
