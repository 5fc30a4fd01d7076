//! A peer may vanish at any moment, and leaves nothing behind.
//!
//! Setup: one server; for each state of a connection a client that brings it there and then is
//! gone, by FIN or by reset. Claim: afterwards the server holds no connection, every accepted
//! socket was released, no byte of backlog or partial input is accounted for, and the handler's
//! `close` was called once for each `open`, with the cause and code of what really ended it.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use longwire::Cause;
use longwire::ws::OpCode;
use peer::{Client, Heard, Scene, config, fragments, frame, payload, request, reset};

/// How a peer vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// The process ended in order: the kernel says FIN.
    Fin,
    /// It crashed, or had unread bytes: the kernel says RST.
    Reset,
}

impl Exit {
    const BOTH: [Self; 2] = [Self::Fin, Self::Reset];

    fn leave(self, stream: TcpStream) {
        match self {
            Self::Fin => drop(stream),
            Self::Reset => reset(stream),
        }
    }
}

fn vanished() -> (Cause, u16, String) {
    (Cause::Vanished, 1006, String::new())
}

/// Brings connections into a state where nothing was opened yet, and has them vanish.
fn vanish_in_the_head(head: &[u8]) {
    let scene = Scene::new(config());
    for exit in Exit::BOTH {
        let mut stream = scene.connect();
        stream.write_all(head).unwrap();
        scene.wait_until(|now| now.connections == 1 && now.partial_bytes == head.len() as u64);
        exit.leave(stream);
        scene.wait_until_empty();
    }
    assert_eq!(scene.record().opened, 0);
}

/// Brings open connections into a state, and has them vanish; how each ended.
fn vanish_after(act: impl Fn(&Scene, &mut Client), expected: &(Cause, u16, String)) {
    let scene = Scene::new(config());
    for exit in Exit::BOTH {
        let mut client = scene.client();
        act(&scene, &mut client);
        exit.leave(client.stream);
        scene.wait_until_empty();
        assert_eq!(scene.last_end(), *expected, "{exit:?}");
    }
    assert_eq!(scene.record().opened, 2);
}

#[test]
fn before_any_byte() {
    vanish_in_the_head(b"");
}

#[test]
fn in_the_middle_of_the_head() {
    vanish_in_the_head(b"GET / HTTP/1.1\r\nHost: 127.0");
}

#[test]
fn right_behind_the_head_without_waiting_for_the_answer() {
    let scene = Scene::new(config());
    for exit in Exit::BOTH {
        let mut stream = scene.connect();
        stream.write_all(&request("/")).unwrap();
        exit.leave(stream);
    }
    // A reset may overtake the head, so that nothing was ever opened; what was, was closed.
    scene.wait_until(|now| now.counters.accepted == 2);
    scene.wait_until_empty();
    assert!(scene.record().closed.iter().all(|(_, closed)| closed.cause == Cause::Vanished));
}

#[test]
fn while_it_is_idle() {
    vanish_after(|_, _| (), &vanished());
}

#[test]
fn in_the_middle_of_a_frame() {
    let frame = frame(true, OpCode::Text, &payload(1, 1000));
    for end in [1, 3, 7, 500] {
        let part = &frame[..end];
        let act = |scene: &Scene, client: &mut Client| {
            assert!(client.write(part));
            scene.wait_until(|now| now.partial_bytes > 0);
        };
        vanish_after(act, &vanished());
    }
}

#[test]
fn between_two_fragments() {
    let fragments = fragments(OpCode::Binary, &payload(1, 1000), 400);
    let first = &fragments[..408];
    let act = |scene: &Scene, client: &mut Client| {
        assert!(client.write(first));
        scene.wait_until(|now| now.partial_bytes > 0);
    };
    vanish_after(act, &vanished());
}

#[test]
fn while_our_close_waits_for_its_answer() {
    let act = |scene: &Scene, client: &mut Client| {
        client.text("!close 4000 enough");
        assert_eq!(client.next(), Heard::Close(Some((4000, "enough".into()))));
        assert_eq!(scene.snapshot().connections, 1, "it waits for the peer's");
    };
    vanish_after(act, &(Cause::Application, 4000, "enough".into()));
}

#[test]
fn while_we_linger_for_its_fin() {
    let act = |scene: &Scene, client: &mut Client| {
        client.close(1000, "bye");
        assert_eq!(client.next(), Heard::Close(Some((1000, "bye".into()))));
        assert_eq!(client.next(), Heard::End);
        let now = scene.snapshot();
        let ended = now.counters.lingers_ended; // a second after our end, on a slow machine
        assert_eq!(now.connections + ended, 1, "it waits for the peer's end");
    };
    vanish_after(act, &(Cause::Peer, 1000, "bye".into()));
}

/// A server whose sends come short early.
fn scene_of_small_sockets(write_timeout_ms: u64) -> Scene {
    let mut config = config();
    config.send_buffer_bytes = Some(16 * 1024);
    config.write_timeout = std::time::Duration::from_millis(write_timeout_ms);
    Scene::new(config)
}

fn with_a_backlog(scene: &Scene) -> Client {
    let mut client = scene.small_client(16 * 1024);
    client.text("!flood 10 60000");
    // Or was there, where this thread came late.
    scene.wait_until(|now| now.backlog_bytes > 0 || now.counters.write_timeouts > 0);
    client
}

#[test]
fn by_reset_with_output_unsent() {
    let scene = scene_of_small_sockets(60_000);
    with_a_backlog(&scene).reset();
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), vanished());
}

/// A FIN does not say that the peer stopped to read, so the write timeout ends it.
#[test]
fn by_fin_with_output_unsent() {
    let scene = scene_of_small_sockets(2000);
    let client = with_a_backlog(&scene);
    // It fails where this thread came so late that the write timeout is over.
    let _late = client.stream.shutdown(Shutdown::Write);
    let last = scene.wait_until_empty();
    assert_eq!(scene.last_end(), (Cause::Overflow, 1008, "write timeout".into()));
    assert_eq!(last.counters.write_timeouts, 1);
    drop(client);
}

#[test]
fn by_reset_with_our_close_behind_unsent_output() {
    let scene = scene_of_small_sockets(60_000);
    let mut client = with_a_backlog(&scene);
    // Not read while its output waits, so it is the server that has to close: by a stop.
    scene.server.stop();
    assert!(client.write(&frame(true, OpCode::Text, b"too late")));
    client.reset();
    let Scene { server, .. } = scene;
    let last = server.join();
    assert_eq!((last.counters.released, last.counters.drain_cuts, last.forced), (1, 0, false));
    assert_eq!(last.counters.closed_shutdown + last.counters.closed_vanished, 1);
}
