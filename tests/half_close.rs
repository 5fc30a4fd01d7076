//! A peer that ends its half gets all its answers first.
//!
//! Setup: an echo server; clients that write messages, then shut their write side, and only then
//! read. Claim: every message that arrived whole before the FIN is answered before our FIN, in
//! order and without a reset, whatever stands behind it: nothing, a part of a message, a Close, or
//! a request head that came in the same segment; and also when the answers are more than the
//! socket takes. The application is told once that the peer vanished (1006), or closed.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::io::Write;

use longwire::Cause;
use longwire::ws::OpCode;
use peer::{Client, Heard, Scene, config, fragments, frame, payload, request};

/// Small, middling, and larger than a receive buffer; empty ones between them.
const SIZES: [usize; 7] = [1, 0, 125, 70_000, 0, 5, 200_000];

fn all_messages() -> Vec<u8> {
    let frames = SIZES.iter().enumerate();
    frames.flat_map(|(number, &size)| frame(true, OpCode::Binary, &payload(number, size))).collect()
}

fn assert_all_answered(client: &mut Client) {
    for (number, &size) in SIZES.iter().enumerate() {
        assert_eq!(client.next(), Heard::Binary(payload(number, size)), "message {number}");
    }
}

fn vanished() -> (Cause, u16, String) {
    (Cause::Vanished, 1006, String::new())
}

#[test]
fn whole_messages_before_a_fin_are_answered_before_ours() {
    let scene = Scene::new(config());
    let mut client = scene.client();
    assert!(client.write(&all_messages()));
    client.end();
    assert_all_answered(&mut client);
    assert_eq!(client.next(), Heard::End);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), vanished());
}

#[test]
fn a_part_of_a_message_before_a_fin_is_dropped_and_the_rest_answered() {
    let header = frame(true, OpCode::Text, &payload(9, 300));
    let unfinished = fragments(OpCode::Text, &payload(9, 300), 100);
    let parts = [&header[..1], &header[..7], &header[..200], &unfinished[..106 + 106]];
    let scene = Scene::new(config());
    for part in parts {
        let mut client = scene.client();
        assert!(client.write(&all_messages()) && client.write(part));
        client.end();
        assert_all_answered(&mut client);
        assert_eq!(client.next(), Heard::End, "behind {} bytes of a message", part.len());
        scene.wait_until_empty();
        assert_eq!(scene.last_end(), vanished());
    }
    assert_eq!(scene.record().messages.len(), parts.len() * SIZES.len());
}

#[test]
fn a_close_before_a_fin_is_answered_too() {
    let scene = Scene::new(config());
    let mut client = scene.client();
    assert!(client.write(&all_messages()));
    client.close(4321, "enough");
    client.end();
    assert_all_answered(&mut client);
    assert_eq!(client.next(), Heard::Close(Some((4321, "enough".into()))));
    assert_eq!(client.next(), Heard::End);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), (Cause::Peer, 4321, "enough".into()));
}

#[test]
fn a_whole_conversation_in_one_segment_is_answered() {
    let scene = Scene::new(config());
    let mut stream = scene.connect();
    stream.write_all(&[request("/"), frame(true, OpCode::Text, b"all at once")].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut client = Client::asked(stream);
    assert_eq!(client.next(), Heard::Text("all at once".into()));
    assert_eq!(client.next(), Heard::End);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), vanished());
}

#[test]
fn answers_that_wait_for_room_leave_before_our_fin() {
    const SOCKET_BYTES: usize = 16 * 1024;
    let mut config = config();
    config.send_buffer_bytes = Some(SOCKET_BYTES);
    let scene = Scene::new(config);
    let mut client = scene.small_client(SOCKET_BYTES);
    assert!(client.write(&frame(true, OpCode::Text, b"!flood 10 60000")));
    assert!(client.write(&frame(true, OpCode::Text, b"behind the flood")));
    client.end();
    scene.wait_until(|now| now.backlog_bytes > 0);
    for number in 0..10 {
        assert_eq!(client.next(), Heard::Binary(payload(number, 60_000)));
    }
    assert_eq!(client.next(), Heard::Text("behind the flood".into()));
    assert_eq!(client.next(), Heard::End);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), vanished());
}
