//! Every wait for a peer ends, each in its own way.
//!
//! Setup: servers whose deadlines are short, one at a time, and peers that do not do what is
//! waited for. Claims: a request head that does not come is answered 408; a silent peer is told
//! 1001; pings are sent, a peer that answers them stays, and one that does not is cut after
//! `PINGS_MISSED_MAX`; a Close that nobody answers and a backlog that does not move end too. Each
//! is counted once, as what it is, and whoever else is connected stays.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::io::{Read, Write};
use std::time::Duration;

use longwire::limits::PINGS_MISSED_MAX;
use longwire::metrics::Counters;
use longwire::ws::OpCode;
use longwire::{Cause, Config, Limits, Route, Routes};
use peer::{Client, Heard, Scene, config, frame, request};

/// What counts for soon: a few ticks of a shard's wheel.
const SOON: Duration = Duration::from_millis(200);

/// Handshake, idle, pong, write and close deadlines that ran out.
fn deadlines(counters: &Counters) -> [u64; 5] {
    [
        counters.handshake_timeouts,
        counters.idle_timeouts,
        counters.pong_timeouts,
        counters.write_timeouts,
        counters.close_timeouts,
    ]
}

fn echo(client: &mut Client) {
    client.text("still here");
    assert_eq!(client.next(), Heard::Text("still here".into()));
}

#[test]
fn a_head_that_does_not_come_is_answered_408() {
    // Time enough for the one that is to be in time.
    let scene = Scene::new(Config { handshake_timeout: Duration::from_secs(3), ..config() });
    let mut other = scene.client();
    let late = ["", "GET / HTTP/1.1\r\nHost: he"].map(|part| {
        let mut late = scene.connect();
        late.write_all(part.as_bytes()).unwrap();
        late
    });
    for mut late in late {
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    scene.wait_until(|now| now.connections == 1);
    let counters = scene.snapshot().counters;
    assert_eq!(deadlines(&counters), [2, 0, 0, 0, 0]);
    assert_eq!((counters.upgrades_refused, counters.opened), (2, 1));
    echo(&mut other);
}

#[test]
fn a_head_that_came_while_the_shard_was_late_is_in_time() {
    let scene = Scene::new(Config { handshake_timeout: Duration::from_secs(3), ..config() });
    let mut holder = scene.client();
    let mut waiting = scene.connect();
    scene.wait_until(|now| now.connections == 2);
    holder.text("!stall 4000");
    waiting.write_all(&request("/")).unwrap();
    echo(&mut Client::asked(waiting));
    assert_eq!(scene.snapshot().counters.handshake_timeouts, 0);
}

/// A route that waits for a word, and one that does not.
fn short_and_long() -> Routes {
    let idle = |idle| Limits { idle, ..Limits::default() };
    let short = Route::new("/short").limits(idle(Some(SOON)));
    Routes::new().route(short).route(Route::new("/long").limits(idle(None)))
}

#[test]
fn a_silent_peer_is_told_1001_where_its_route_says_so() {
    let scene = Scene::with_routes(config(), short_and_long);
    let mut long = Client::open(scene.connect(), "/long");
    let mut short = Client::open(scene.connect(), "/short");
    assert_eq!(short.next(), Heard::Close(Some((1001, "idle".into()))));
    short.close(1001, "");
    assert_eq!(short.next(), Heard::End);
    drop(short);
    scene.wait_until(|now| now.connections == 1);
    let counters = scene.snapshot().counters;
    assert_eq!(deadlines(&counters), [0, 1, 0, 0, 0]);
    assert_eq!(counters.closed_idle, 1);
    assert_eq!(scene.last_end(), (Cause::Idle, 1001, "idle".into()));
    echo(&mut long);
}

#[test]
fn a_peer_that_answers_its_pings_stays() {
    const PINGS: u64 = 10;
    let scene = Scene::new(Config { ping_interval: Some(SOON * 2), ..config() });
    let mut client = scene.client();
    for _ in 0..PINGS {
        let Heard::Ping(payload) = client.next() else { panic!("a ping") };
        assert!(client.write(&frame(true, OpCode::Pong, &payload)));
    }
    let snapshot = scene.wait_until(|now| now.counters.pongs_received >= PINGS);
    assert_eq!((snapshot.open, snapshot.counters.closed_unresponsive), (1, 0));
    assert_eq!(deadlines(&snapshot.counters), [0; 5]);
    echo(&mut client);
}

#[test]
fn a_peer_that_answers_no_ping_is_cut_after_the_last() {
    let interval = Duration::from_millis(64);
    let scene = Scene::new(Config { ping_interval: Some(interval), ..config() });
    let mut client = scene.client();
    for _ in 0..PINGS_MISSED_MAX {
        assert_eq!(client.next(), Heard::Ping(Vec::new()));
    }
    assert_eq!(client.next(), Heard::End, "without a Close: there is nobody to read it");
    let last = scene.wait_until_empty();
    assert_eq!(deadlines(&last.counters), [0, 0, 1, 0, 0]);
    let counters = &last.counters;
    assert_eq!((counters.pings_sent, counters.closed_unresponsive), (PINGS_MISSED_MAX.into(), 1));
    assert_eq!(scene.last_end(), (Cause::Unresponsive, 1006, "no pong".into()));
}

#[test]
fn a_close_that_nobody_answers_ends() {
    let scene = Scene::new(Config { close_timeout: SOON, ..config() });
    let mut other = scene.client();
    let mut client = scene.client();
    client.text("!close 4000 enough");
    assert_eq!(client.next(), Heard::Close(Some((4000, "enough".into()))));
    assert_eq!(client.next(), Heard::End);
    let now = scene.wait_until(|now| now.connections == 1);
    assert_eq!(deadlines(&now.counters), [0, 0, 0, 0, 1]);
    assert_eq!(now.counters.closed_application, 1);
    echo(&mut other);
}

#[test]
fn a_backlog_that_does_not_move_ends() {
    let mut config = Config { write_timeout: SOON, output_bytes_max: 1 << 24, ..config() };
    config.send_buffer_bytes = Some(4096);
    let scene = Scene::new(config);
    let mut other = scene.client();
    let mut client = scene.small_client(4096);
    client.text("!flood 8 100000");
    let now = scene.wait_until(|now| now.connections == 1);
    assert_eq!(deadlines(&now.counters), [0, 0, 0, 1, 0]);
    let counters = &now.counters;
    assert_eq!((counters.closed_overflow, counters.output_overflows), (1, 0));
    assert_eq!((now.backlog_bytes, now.open), (0, 1));
    assert_eq!(scene.last_end(), (Cause::Overflow, 1008, "write timeout".into()));
    echo(&mut other);
}
