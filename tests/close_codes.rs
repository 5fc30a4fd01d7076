//! A Close arrives behind everything that was sent before it, with its code and reason.
//!
//! Setup: one server, whose handler sends what it is asked for and closes; clients that read only
//! afterwards, so that the Close waits behind megabytes. Claims: for every code that may be sent,
//! all data, then the Close, then our FIN arrive, and no reset; what the peer sends meanwhile is
//! neither handed on nor in the way. A peer's Close is answered with its own code, one that may
//! not be sent with 1002, and nothing behind it reaches the handler. A peer that never answers our
//! Close is let go of at the close timeout.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::time::Duration;

use longwire::Cause;
use longwire::ws::OpCode;
use peer::{Client, Heard, Scene, config, frame, payload};

/// Each class of codes and both ends of each range.
const SENDABLE: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];

/// Those that never are on the wire, and those that belong to nobody.
const UNSENDABLE: [u16; 13] =
    [0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 10_000, 65_535];

const SOCKET_BYTES: usize = 64 * 1024;

/// A server that may hold megabytes for one peer, whose kernel holds little of them.
fn scene() -> Scene {
    let mut config = config();
    config.output_bytes_max = 8 << 20;
    config.send_buffer_bytes = Some(SOCKET_BYTES);
    Scene::new(config)
}

fn close_frame(payload: &[u8]) -> Vec<u8> {
    frame(true, OpCode::Close, payload)
}

fn assert_flood(client: &mut Client, count: usize, bytes: usize) {
    for number in 0..count {
        assert!(client.next() == Heard::Binary(payload(number, bytes)), "message {number}");
    }
}

#[test]
fn every_code_arrives_behind_megabytes_that_are_read_only_afterwards() {
    let scene = scene();
    for code in SENDABLE {
        let mut client = scene.small_client(SOCKET_BYTES);
        let reason = format!("because of {code}");
        // In one segment: both orders are obeyed before a byte has left.
        let flood = frame(true, OpCode::Text, b"!flood 50 60000");
        let close = frame(true, OpCode::Text, format!("!close {code} {reason}").as_bytes());
        assert!(client.write(&[flood, close].concat()));
        scene.wait_until(|now| now.open == 0 && now.backlog_bytes > 2 << 20);
        assert_flood(&mut client, 50, 60_000);
        assert_eq!(client.next(), Heard::Close(Some((code, reason.clone()))));
        client.close(code, "");
        assert_eq!(client.next(), Heard::End);
        drop(client);
        scene.wait_until_empty();
        assert_eq!(scene.last_end(), (Cause::Application, code, reason));
    }
    assert_eq!(scene.snapshot().counters.close_timeouts, 0);
}

#[test]
fn what_a_peer_sends_after_our_close_is_thrown_away_and_costs_it_nothing() {
    let scene = scene();
    let mut client = scene.small_client(SOCKET_BYTES);
    client.text("!flood 10 60000");
    assert_flood(&mut client, 10, 60_000);
    client.text("!close 4001 no more");
    scene.wait_until(|now| now.open == 0);
    // Whole messages, a ping, an order, and part of a message that the Close interrupts.
    for number in 0..100 {
        client.binary(&payload(number, 10_000));
    }
    client.text("!flood 1 1");
    assert!(client.write(&frame(true, OpCode::Ping, b"there?")));
    assert!(client.write(&frame(false, OpCode::Text, b"unfinished")));
    client.close(4001, "no more");
    assert_eq!(client.next(), Heard::Close(Some((4001, "no more".into()))));
    assert_eq!(client.next(), Heard::End, "nothing is sent after a Close, not even a Pong");
    drop(client);
    let last = scene.wait_until_empty();
    assert_eq!(scene.record().messages.len(), 2, "the two orders");
    assert_eq!((last.counters.close_timeouts, last.counters.pongs_sent), (0, 0));
}

#[test]
fn who_breaks_a_rule_and_sends_on_hears_why_and_is_not_reset() {
    let scene = scene();
    let mut client = scene.client();
    assert!(client.write(&[0x81, 0x00]), "a frame without a mask");
    scene.wait_until(|now| now.open == 0);
    for _ in 0..100 {
        assert!(client.write(&[0; 10_000]), "it is read, and thrown away");
    }
    let heard = client.next();
    assert!(matches!(heard, Heard::Close(Some((1002, _)))), "{heard:?}");
    assert_eq!(client.next(), Heard::End);
    drop(client);
    assert_eq!(scene.wait_until_empty().counters.close_timeouts, 0);
}

#[test]
fn a_peers_close_is_answered_with_its_code_and_nothing_behind_it_is_handed_on() {
    let scene = scene();
    for code in SENDABLE {
        let mut client = scene.client();
        let close = close_frame(&[&code.to_be_bytes(), &b"bye"[..]].concat());
        let before = frame(true, OpCode::Text, b"before");
        let after = frame(true, OpCode::Text, b"after");
        let ping = frame(true, OpCode::Ping, b"after");
        assert!(client.write(&[before, close.clone(), after.clone(), ping, close].concat()));
        assert_eq!(client.next(), Heard::Text("before".into()));
        assert_eq!(client.next(), Heard::Close(Some((code, "bye".into()))));
        assert!(client.write(&after));
        assert_eq!(client.next(), Heard::End);
        drop(client);
        scene.wait_until_empty();
        assert_eq!(scene.last_end(), (Cause::Peer, code, "bye".into()));
    }
    assert_eq!(scene.record().messages.len(), SENDABLE.len());
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let scene = scene();
    let mut client = scene.client();
    assert!(client.write(&close_frame(b"")));
    assert_eq!(client.next(), Heard::Close(None));
    assert_eq!(client.next(), Heard::End);
    drop(client);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), (Cause::Peer, 1005, String::new()));
}

/// Answers of a server to the payload of a Close that breaks a rule.
fn answer_to_close(scene: &Scene, payload: &[u8]) -> u16 {
    let mut client = scene.client();
    assert!(client.write(&close_frame(payload)));
    let Heard::Close(Some((code, _))) = client.next() else { panic!("a Close with a code") };
    assert_eq!(client.next(), Heard::End);
    drop(client);
    scene.wait_until_empty();
    let (cause, told, _) = scene.last_end();
    assert_eq!((cause, told), (Cause::Violation, code));
    code
}

#[test]
fn a_close_that_may_not_be_sent_is_answered_with_1002_or_1007() {
    let scene = scene();
    for code in UNSENDABLE {
        assert_eq!(answer_to_close(&scene, &code.to_be_bytes()), 1002, "to {code}");
    }
    assert_eq!(answer_to_close(&scene, &[3]), 1002, "half a code");
    assert_eq!(answer_to_close(&scene, &[3, 0xe8, 0xff]), 1007, "a reason that is no text");
    let violations = scene.snapshot().counters.violations;
    assert_eq!(violations, UNSENDABLE.len() as u64 + 2);
}

#[test]
fn a_code_that_the_application_may_not_send_leaves_as_1000() {
    let scene = scene();
    for code in UNSENDABLE {
        let mut client = scene.client();
        client.text(&format!("!close {code} odd"));
        assert_eq!(client.next(), Heard::Close(Some((1000, "odd".into()))), "for {code}");
        client.close(1000, "");
        assert_eq!(client.next(), Heard::End);
    }
}

#[test]
fn a_reason_too_long_is_cut_between_characters() {
    let scene = scene();
    let mut client = scene.client();
    client.text(&format!("!close 4000 {}", "€".repeat(100)));
    assert_eq!(client.next(), Heard::Close(Some((4000, "€".repeat(41)))));
}

/// Who gets no answer to its Close in time ends the connection (RFC 6455 §7.1.1).
#[test]
fn a_peer_that_never_answers_our_close_is_let_go_of_at_the_close_timeout() {
    let mut config = config();
    config.close_timeout = Duration::from_millis(200);
    config.output_bytes_max = 8 << 20;
    config.send_buffer_bytes = Some(SOCKET_BYTES);
    let scene = Scene::new(config);
    let silent = |orders: &[&str]| {
        let mut client = scene.small_client(SOCKET_BYTES);
        let frames = orders.iter().map(|order| frame(true, OpCode::Text, order.as_bytes()));
        assert!(client.write(&frames.collect::<Vec<_>>().concat()));
        client
    };
    // One has read our Close and says nothing, one talks on, one reads nothing, one has closed
    // and keeps its half open.
    let mut quiet = silent(&["!close 4000 quiet"]);
    assert_eq!(quiet.next(), Heard::Close(Some((4000, "quiet".into()))));
    let mut talking = silent(&["!close 4000 talking"]);
    let deaf = silent(&["!flood 50 60000", "!close 4000 deaf"]);
    let mut closed = silent(&[]);
    closed.close(1000, "");
    assert_eq!(closed.next(), Heard::Close(Some((1000, String::new()))));
    assert_eq!(closed.next(), Heard::End);
    scene.wait_until(|now| {
        let _let_go_of = talking.write(&frame(true, OpCode::Ping, b"hello?"));
        now.connections == 0
    });
    let last = scene.wait_until_empty();
    // The one that has closed only lingers, for which it gets less time.
    assert_eq!((last.counters.close_timeouts, last.counters.lingers_ended), (3, 1));
    assert!(matches!(quiet.next(), Heard::End | Heard::Reset));
    assert_eq!((last.counters.closed_application, last.counters.closed_peer), (3, 1));
    drop(deaf);
}
