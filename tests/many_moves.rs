//! Two thousand sessions that have all come to one of four shards spread over all of them, and
//! nobody notices.
//!
//! Setup: sockets are connected until one shard has so many of them; those become sessions. Most of
//! the others leave at once; the last of them leave at the end, and moves begin. Claims: while somebody publishes,
//! shards come level, and every session hears every publication of its channels once and in order,
//! and no more of it; and a server that stops in the middle of it tells every session so.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::thread;
use std::time::{Duration, Instant};

use longwire::session::{ChannelOptions, Retention, Rules};
use longwire::{Config, Running, SessionSettings, Snapshot};
use session::{Client, PATIENCE, config, serve, settings};
use snapshots::wait_for;

#[path = "support/session.rs"]
mod session;
#[path = "support/snapshots.rs"]
mod snapshots;

const SHARDS: u32 = 4;
const SESSIONS: usize = 2000;
/// More than there are other shards, so that each has some.
const OTHERS: usize = 40;
/// Channels with some of the sessions each, beside the one that all are in.
const GROUPS: usize = 20;

/// Nothing moves while each of the others has anybody.
fn start() -> Running {
    let settings = settings();
    let history = Some(Retention { publications_max: 100, ttl_s: 600, meta_ttl_s: 600 });
    let options = ChannelOptions { history, force_recovery: true, ..ChannelOptions::default() };
    let rules = Rules { without_namespace: options, ..settings.rules };
    let config = Config {
        balance_difference: Some(SESSIONS.try_into().unwrap()),
        max_connections: Some(40_000),
        ..config(SHARDS)
    };
    serve(config, &SessionSettings { rules, ..settings })
}

fn on_first(server: &Running) -> u64 {
    server.snapshot().expect("it runs").shard_connections[0]
}

/// Sessions that have all come to the first shard, in the channel of all and in one of the groups;
/// and some on the others, without whom these are so few that moves begin.
fn on_one_shard(server: &Running) -> (Vec<Client>, Vec<Client>) {
    let (mut sessions, mut others) = (Vec::new(), Vec::new());
    while sessions.len() < SESSIONS {
        let before = on_first(server);
        let mut client = Client::dial(server.address());
        // Only who is kept brings that shard one more.
        if on_first(server) == before {
            if others.len() < OTHERS {
                others.push(client);
            }
            continue;
        }
        assert!(client.ask(r#""connect":{}"#)["connect"]["client"].is_string());
        client.subscribe("all");
        client.subscribe(&group_of(sessions.len()));
        sessions.push(client);
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.moved_away, 0, "nobody is so much emptier");
    (sessions, others)
}

fn group_of(session: usize) -> String {
    format!("group{}", session % GROUPS)
}

fn publish(publisher: &mut Client, channel: &str, number: usize) {
    let publish = format!(r#""publish":{{"channel":"{channel}","data":{number}}}"#);
    let reply = publisher.ask(&publish);
    assert!(reply.get("publish").is_some(), "{reply}");
}

fn is_level(snapshot: &Snapshot) -> bool {
    let counts = &snapshot.shard_connections;
    counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
}

#[test]
fn everybody_hears_everything_once_and_in_order_while_shards_come_level() {
    let server = start();
    let (mut sessions, others) = on_one_shard(&server);
    let mut publisher = Client::connect(server.address());
    drop(others);
    let (mut number, deadline) = (0, Instant::now() + PATIENCE);
    loop {
        let is_last = is_level(&server.snapshot().expect("it runs"));
        number += 1;
        publish(&mut publisher, "all", number);
        for group in 0..GROUPS {
            publish(&mut publisher, &group_of(group), number);
        }
        if is_last {
            break;
        }
        assert!(Instant::now() < deadline, "not level: {:#?}", server.snapshot());
        thread::sleep(Duration::from_millis(100));
    }
    for (place, session) in sessions.iter_mut().enumerate() {
        let group = group_of(place);
        let mut heard = [0; 2];
        for _ in 0..2 * number {
            let push = session.line()["push"].take();
            let place = usize::from(push["channel"] == *group);
            assert!(place == 1 || push["channel"] == "all", "{push}");
            heard[place] += 1;
            assert_eq!(push["pub"]["data"], heard[place], "{group}: {push}");
            assert_eq!(push["pub"]["offset"], heard[place], "{group}: {push}");
        }
        // And nothing more.
        let reply = session.ask(r#""unsubscribe":{"channel":"all"}"#);
        assert!(reply.get("unsubscribe").is_some(), "{reply}");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert!(counters.moved_here >= SESSIONS as u64 / 2, "{counters:?}");
    assert_eq!((counters.moved_here, counters.moves_lost), (counters.moved_away, 0));
    assert_eq!((counters.publications_missed, counters.gaps_sent), (0, 0));
    drop(sessions);
    wait_for(&server, "all but the publisher to leave", |now| now.open == 1);
}

#[test]
fn who_stops_in_the_middle_of_moves_tells_every_session() {
    let server = start();
    let (mut sessions, others) = on_one_shard(&server);
    drop(others);
    wait_for(&server, "the first to move", |now| now.counters.moved_away >= 100);
    server.stop();
    for session in &mut sessions {
        assert_eq!(session.end().code, 3001);
    }
    drop(sessions);
    let counters = server.wait().counters;
    assert_eq!((counters.moved_here, counters.moves_lost), (counters.moved_away, 0));
    assert_eq!(counters.drain_cuts, 0, "{counters:?}");
}
