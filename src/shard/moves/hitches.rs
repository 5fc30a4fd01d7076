//! What may come in between when a connection moves: a home that is a third shard, pins that do
//! not stand or come late, what does not fit, and an application that is always answering.

use super::super::session_rig::{Client, SessionRig, names_at, open_settings};
use super::super::session_settings::SessionSettings;
use super::{MoveId, MoveStep};
use crate::config::Config;
use crate::handler::Question;
use crate::hub::planted::{Fault, with};
use crate::limits::PINNED_FRAMES_MAX;
use crate::session::{ChannelOptions, Rules};
use crate::shard::slab::Index;

const SHARDS: usize = 3;

fn rig(mesh_slots: usize) -> SessionRig {
    let open = open_settings();
    let options = ChannelOptions { presence: true, ..ChannelOptions::default() };
    let rules = Rules { without_namespace: options, ..open.rules };
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    // What they give away is the test's to say.
    config.balance_difference = None;
    SessionRig::new(SHARDS, mesh_slots, config, &SessionSettings { rules, ..open })
}

/// A client of the first shard, in this channel.
fn member_of(rig: &mut SessionRig, channel: &str) -> Client {
    let client = rig.connect(0, "");
    rig.exchange();
    rig.frame(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    rig.exchange();
    assert!(rig.core(0).channels.is_member(client.index, channel));
    client
}

fn name_at(home: usize) -> String {
    names_at(home, SHARDS).next().expect("there are names enough")
}

fn present_count(rig: &mut SessionRig, channel: &str) -> String {
    let home = rig.core(0).channels.homes.home_of_channel(channel);
    let home = &mut rig.core(home.index()).channels.home;
    format!("{:?}", home.answer(channel, Question::PresenceStats))
}

/// Everything that is to be delivered is; how many deliveries there were so far.
fn delivered(rig: &mut SessionRig) -> u64 {
    for shard in 0..SHARDS {
        rig.fan_out(shard, 999);
    }
    rig.counters().deliveries
}

/// Nothing is left of any move.
fn assert_quiet(rig: &mut SessionRig) {
    for shard in 0..SHARDS {
        let core = rig.core(shard);
        assert!(core.moves.is_quiet(), "shard {shard}");
        assert_eq!((core.channels.pins.count(), core.channels.fanout.hold_count()), (0, 0));
    }
}

#[test]
fn a_third_shard_that_is_the_home_has_each_publication_delivered_once() {
    for (publisher, step) in (0..SHARDS).flat_map(|one| (0..15).map(move |step| (one, step))) {
        for is_delivered_at_once in [false, true] {
            let mut rig = rig(64);
            let channel = name_at(2);
            member_of(&mut rig, &channel);
            assert!(rig.offer(0, 1, true));
            for shard in (0..step).map(|step| (step + publisher) % SHARDS) {
                rig.take_messages(shard);
            }
            rig.publish(publisher, &channel);
            if is_delivered_at_once {
                rig.fan_out(0, 9);
            }
            rig.exchange();
            let case = format!("from {publisher}, step {step}: {:?}", rig.counters());
            assert_eq!(delivered(&mut rig), 1, "{case}");
            rig.publish(publisher, &channel);
            rig.exchange();
            assert_eq!(delivered(&mut rig), 2, "{case}");
            let counters = rig.counters();
            assert_eq!(counters.moved_here + counters.moves_given_up, 1, "{case}");
            assert_quiet(&mut rig);
        }
    }
}

#[test]
fn who_has_no_pin_for_want_of_room_stays_and_may_go_later() {
    let mut rig = rig(4);
    let channel = name_at(2);
    let client = member_of(&mut rig, &channel);
    assert!(rig.offer(0, 1, true));
    rig.core(1).channels.mesh.flush(|_| {});
    // The interest, and its answer: the question for the pin is on its way.
    rig.take_messages(2);
    rig.take_messages(1);
    for _ in 0..20 {
        rig.publish(2, &channel);
    }
    rig.take_messages(2);
    rig.exchange();
    delivered(&mut rig);
    let counters = rig.counters();
    assert_eq!((counters.moves_refused, counters.moved_here), (1, 0), "{counters:?}");
    assert!(rig.is_open(client));
    assert_eq!(rig.core(0).settings.seats.all_taken(), [1, 0, 0]);
    assert_quiet(&mut rig);
    assert!(rig.offer(0, 1, true));
    rig.exchange();
    assert_eq!(rig.counters().moved_here, 1);
}

#[test]
fn a_pin_that_comes_when_the_move_is_over_is_nobodys() {
    let mut rig = rig(64);
    let channel = name_at(2);
    let client = member_of(&mut rig, &channel);
    assert!(rig.offer(0, 1, false), "there is no descriptor for it");
    rig.exchange();
    assert_eq!(rig.counters().moves_refused, 1);
    for to in [0, 1] {
        let core = rig.core(2);
        let step = MoveStep::Pinned { channel: channel.as_str().into() };
        core.moves.say(&mut core.channels.mesh, to, MoveId { from: 0, number: 0 }, step);
    }
    rig.exchange();
    assert!(rig.is_open(client));
    assert_quiet(&mut rig);
    rig.publish(2, &channel);
    rig.exchange();
    assert_eq!(delivered(&mut rig), 1);
}

#[test]
fn who_does_not_fit_where_it_comes_is_closed_alone_and_leaves_nothing() {
    for fault in [Fault::MembershipUnfit, Fault::StateUnfit] {
        for home in 0..SHARDS {
            let mut rig = rig(64);
            let channel = name_at(home);
            let nobody = present_count(&mut rig, &channel);
            member_of(&mut rig, &channel);
            assert_ne!(present_count(&mut rig, &channel), nobody);
            assert!(rig.offer(0, 1, true));
            with(fault, || rig.exchange());
            rig.exchange();
            assert_eq!(present_count(&mut rig, &channel), nobody, "{fault:?}, home {home}");
            let counters = rig.counters();
            let has_come = u64::from(fault == Fault::MembershipUnfit);
            assert_eq!((counters.moves_lost, counters.moved_here), (1, has_come));
            assert_eq!(counters.closed_shutdown, has_come, "it hears that it is to come again");
            assert_eq!([0, 1, 2].map(|shard| rig.core(shard).open_count), [0; 3]);
            assert_quiet(&mut rig);
            // Whoever comes then is served.
            let next = member_of(&mut rig, &channel);
            assert!(rig.is_open(next));
        }
    }
}

#[test]
fn what_is_published_beyond_what_is_kept_for_a_move_is_told_as_missed_and_counted() {
    const MORE: usize = 6;
    let mut rig = rig(256);
    let channel = name_at(1);
    member_of(&mut rig, &channel);
    assert!(rig.offer(0, 1, true));
    rig.core(1).channels.mesh.flush(|_| {});
    for _ in 0..PINNED_FRAMES_MAX + MORE {
        rig.publish(1, &channel);
    }
    rig.exchange();
    assert_eq!(rig.counters().moved_here, 1, "{:?}", rig.counters());
    assert_eq!(delivered(&mut rig), PINNED_FRAMES_MAX as u64);
    let core = rig.core(1);
    assert_eq!(core.counted().counters.publications_missed, MORE as u64);
    assert_quiet(&mut rig);
}

#[test]
fn where_the_application_has_just_spoken_for_one_another_goes() {
    let mut rig = rig(64);
    let channel = name_at(1);
    let clients = [(); 2].map(|()| rig.connect(0, ""));
    rig.exchange();
    rig.rest(0);
    // All has been heard.
    rig.core(0).moves.mode = super::Mode::On;
    rig.core(0).moves.give_all_to(1, 100);
    rig.core(0).look_at_moves();
    // An answer has come for the first, and what came of it is on its way.
    rig.rest(0);
    let first = rig.core(0).id(clients[0].index);
    rig.core(0).speaks_for(first);
    rig.publish(0, &channel);
    assert!(rig.offer(0, 1, true));
    rig.exchange();
    assert_eq!(clients.map(|client| rig.is_open(client)), [true, false]);
    assert!(rig.core(1).living(Index::new(0), 0).is_some());
    assert!(rig.offer(0, 1, true), "when it has been heard, it goes, too");
}
