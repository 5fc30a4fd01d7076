//! One peer that does not read costs a bounded amount, and nobody else anything.
//!
//! Setup: a server of one shard; one client that writes or subscribes but does not read, with
//! small socket buffers so that this is felt early; others that echo, or subscribe too, at speed.
//!
//! Claims: a peer with unsent output is not read from, so its input stays in the kernel and its
//! backlog stays under the output bound; read at last, it gets everything. A peer that fan-out
//! pushes at is cut at the output bound, one whose backlog does not move at the write timeout, and
//! all of them together are held to the budget of the shard; each has its counter, and the others
//! get every message in order. A peer that is read from slowly is not taken for one that is gone.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use longwire::ws::OpCode;
use longwire::{Cause, Config, Limits, Route, Routes};
use peer::{Client, Heard, Scene, config, frame, payload};

/// Of each side's socket; the kernel takes it twice.
const SOCKET_BYTES: usize = 32 * 1024;

/// What the kernel holds of one connection in each direction, at most: both sides' buffers,
/// counted with their overhead, and half as much again for what it rounds up.
const IN_KERNEL_BYTES: usize = 6 * SOCKET_BYTES;

const OUTPUT_BYTES: usize = 256 * 1024;

fn small_sockets() -> Config {
    let mut config = config();
    config.send_buffer_bytes = Some(SOCKET_BYTES);
    config.receive_buffer_bytes = Some(SOCKET_BYTES);
    config.output_bytes_max = OUTPUT_BYTES;
    config
}

/// Rounds of echo by clients that read: also the clock of these tests.
fn echo_rounds(clients: &mut [Client], rounds: usize) {
    for round in 0..rounds {
        for client in clients.iter_mut() {
            client.binary(&payload(round, 1000));
        }
        for client in clients.iter_mut() {
            assert_eq!(client.next(), Heard::Binary(payload(round, 1000)));
        }
    }
}

#[test]
fn who_does_not_read_is_not_read_from_and_gets_all_of_it_later() {
    const MESSAGES: usize = 1000;
    const BYTES: usize = 10_000;
    let scene = Scene::new(small_sockets());
    let mut others: Vec<_> = (0..3).map(|_| scene.client()).collect();
    let mut slow = scene.small_client(SOCKET_BYTES);
    let mut stream = slow.stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for number in 0..MESSAGES {
            stream.write_all(&frame(true, OpCode::Binary, &payload(number, BYTES))).unwrap();
        }
    });
    scene.wait_until(|now| now.backlog_bytes > 0);
    for _ in 0..20 {
        echo_rounds(&mut others, 20);
        let now = scene.snapshot();
        // Paused after one read: what that held, and what it completed.
        assert!(now.backlog_bytes <= 64 * 1024 + 2 * BYTES as u64, "{}", now.backlog_bytes);
    }
    let now = scene.snapshot();
    let of_others = others.len() * 20 * 20 * (1000 + 8);
    let of_slow = usize::try_from(now.counters.received_bytes).unwrap() - of_others;
    let held = IN_KERNEL_BYTES + usize::try_from(now.backlog_bytes).unwrap();
    assert!(of_slow <= held, "{of_slow} bytes were read, the kernel and we hold {held}");
    assert!(!writer.is_finished(), "all of {} bytes went nowhere", MESSAGES * BYTES);
    for number in 0..MESSAGES {
        assert_eq!(slow.next(), Heard::Binary(payload(number, BYTES)), "message {number}");
    }
    writer.join().unwrap();
    let last = scene.wait_until(|now| now.backlog_bytes == 0);
    assert_eq!((last.open, last.counters.closed_overflow), (4, 0));
    assert!(last.counters.sends_short > 0);
}

/// Clients in the channel `news`.
fn subscribers(scene: &Scene, count: usize, connect: impl Fn() -> Client) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| connect()).collect();
    for client in &mut clients {
        client.text("!join news");
        assert_eq!(client.next(), Heard::Text("joined".into()));
    }
    assert_eq!(scene.snapshot().channels, 1);
    clients
}

/// Publishes one at a time, each read by all of `readers` before the next, until `done`.
fn publish_until(scene: &Scene, readers: &mut [Client], bytes: usize, done: impl Fn() -> bool) {
    for number in 0..1000 {
        if done() {
            return;
        }
        readers[0].text(&format!("!publish news {number} {bytes}"));
        for reader in readers.iter_mut() {
            assert_eq!(reader.next(), Heard::Binary(payload(number, bytes)));
        }
    }
    panic!("a thousand publications later: {:?}", scene.snapshot());
}

/// What is left to read is whole messages in order, then a part of one, and no Close: the stream
/// was cut in the middle.
fn assert_cut(mut client: Client, bytes: usize) {
    for number in 0.. {
        match client.next() {
            Heard::Binary(message) => assert!(message == payload(number, bytes), "{number}"),
            Heard::End | Heard::Reset => return,
            other => panic!("{other:?} from a connection that was cut"),
        }
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_at_its_output_bound_and_others_lose_nothing() {
    const BYTES: usize = 16_000;
    let scene = Scene::new(small_sockets());
    let mut readers = subscribers(&scene, 3, || scene.client());
    let mut slow = subscribers(&scene, 1, || scene.small_client(SOCKET_BYTES));
    publish_until(&scene, &mut readers, BYTES, || {
        let now = scene.snapshot();
        assert!(now.backlog_bytes <= OUTPUT_BYTES as u64, "{}", now.backlog_bytes);
        now.counters.output_overflows > 0
    });
    let last = scene.wait_until(|now| now.connections == 3);
    assert_eq!((last.counters.output_overflows, last.counters.closed_overflow), (1, 1));
    assert_eq!((last.backlog_bytes, last.counters.publications_missed), (0, 0));
    assert_eq!(scene.last_end(), (Cause::Overflow, 1008, "output limit".into()));
    assert_cut(slow.remove(0), BYTES);
}

#[test]
fn a_peer_whose_backlog_does_not_move_is_cut_at_the_write_timeout() {
    let mut config = small_sockets();
    config.write_timeout = Duration::from_millis(300);
    let scene = Scene::new(config);
    let mut others: Vec<_> = (0..3).map(|_| scene.client()).collect();
    let mut slow = scene.small_client(SOCKET_BYTES);
    let mut number = 0;
    // Writes into the socket as long as anybody takes it: pressing does not help.
    slow.stream.set_nonblocking(true).unwrap();
    while scene.snapshot().counters.write_timeouts == 0 {
        match slow.stream.write(&frame(true, OpCode::Binary, &payload(number, 1000))[..]) {
            Ok(_) => number += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => echo_rounds(&mut others, 1),
            Err(_) => break,
        }
    }
    let last = scene.wait_until(|now| now.connections == 3);
    assert_eq!((last.counters.write_timeouts, last.counters.closed_overflow), (1, 1));
    assert_eq!((last.backlog_bytes, last.open), (0, 3));
    assert_eq!(scene.last_end(), (Cause::Overflow, 1008, "write timeout".into()));
    echo_rounds(&mut others, 10);
}

#[test]
fn many_that_do_not_read_are_cut_at_the_budget_of_the_shard() {
    const BYTES: usize = 8_000;
    const SLOW: usize = 12;
    const BUDGET: usize = 2 * OUTPUT_BYTES;
    let mut config = small_sockets();
    config.backlog_bytes_max = BUDGET;
    let scene = Scene::new(config);
    let mut readers = subscribers(&scene, 3, || scene.client());
    let slow = subscribers(&scene, SLOW, || scene.small_client(SOCKET_BYTES));
    publish_until(&scene, &mut readers, BYTES, || {
        let now = scene.snapshot();
        assert!(now.backlog_bytes <= BUDGET as u64, "{} in all", now.backlog_bytes);
        now.connections == 3
    });
    let counters = scene.snapshot().counters;
    assert!(counters.backlog_budget_cuts > 0);
    let cuts = counters.backlog_budget_cuts + counters.output_overflows;
    assert_eq!((cuts, counters.closed_overflow), (SLOW as u64, SLOW as u64));
    assert_eq!(counters.publications_missed, 0);
    for client in slow {
        assert_cut(client, BYTES);
    }
}

/// A peer with unsent output is not read from, so neither its pongs nor anything else is heard:
/// that says nothing about it. It was once counted against it, and a download that took longer
/// than three heartbeats was cut in the middle.
#[test]
fn a_peer_that_has_output_to_read_first_is_not_taken_for_gone() {
    let mut config = small_sockets();
    config.output_bytes_max = 1 << 20;
    config.ping_interval = Some(Duration::from_millis(500));
    let routes = || {
        let idle = |period| Limits { idle: period, ..Limits::default() };
        let short = Route::new("/short").limits(idle(Some(Duration::from_secs(1))));
        Routes::new().route(short).route(Route::new("/*").limits(idle(None)))
    };
    let scene = Scene::with_routes(config, routes);
    let mut slow = Client::open(scene.connect_small(SOCKET_BYTES), "/short");
    slow.text("!flood 10 60000");
    scene.wait_until(|now| now.backlog_bytes > 0);
    slow.text("still here");
    // The clock: another client that is pinged, and answers, for longer than the idle time and
    // for twice the pings that may be missed.
    let mut witness = scene.client();
    for _ in 0..8 {
        let Heard::Ping(payload) = witness.next() else { panic!("only pings are due") };
        assert!(witness.write(&frame(true, OpCode::Pong, &payload)));
    }
    let mut floods = 0;
    while floods < 10 {
        match slow.next() {
            Heard::Binary(message) => assert!(message == payload(floods, 60_000)),
            Heard::Ping(payload) => {
                assert!(slow.write(&frame(true, OpCode::Pong, &payload)));
                continue;
            }
            other => panic!("{other:?} instead of the rest"),
        }
        floods += 1;
    }
    let mut next = slow.next();
    while let Heard::Ping(payload) = next {
        assert!(slow.write(&frame(true, OpCode::Pong, &payload)));
        next = slow.next();
    }
    assert_eq!(next, Heard::Text("still here".into()), "it was open all the time");
}
