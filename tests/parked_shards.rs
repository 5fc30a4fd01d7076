//! A parked shard is woken by everybody, every time.
//!
//! Setup: one shard with nothing to do, so that it parks between what a test asks of it. Claim:
//! bells of the control thread and bytes of a client wake it, again and again, with a deadline in
//! its wheel and without one. Once a parked shard heard its first bell only: an eventfd as the
//! bell is signalled from within a write to an eventfd, which a ring passes on to the eventfd it
//! signals a single time (Linux 6.18), and the second snapshot of a quiet server never came.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::time::Duration;

use peer::{Client, Heard, Scene, config};

/// Asks for snapshots, with pauses that let the shard park, until it has parked often.
fn wake_again_and_again(scene: &Scene, mut client: Option<&mut Client>) {
    let parks = scene.snapshot().counters.parks;
    while scene.snapshot().counters.parks < parks + 20 {
        std::thread::sleep(Duration::from_millis(5));
        if let Some(client) = &mut client {
            client.text("are you there?");
            assert_eq!(client.next(), Heard::Text("are you there?".into()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn by_bells_with_nothing_in_its_wheel() {
    wake_again_and_again(&Scene::new(config()), None);
}

#[test]
fn by_bells_with_a_deadline_in_its_wheel() {
    let scene = Scene::new(config());
    let _waits_for_its_head = scene.connect();
    scene.wait_until(|now| now.connections == 1);
    wake_again_and_again(&scene, None);
}

#[test]
fn by_bells_and_bytes_in_turn() {
    let scene = Scene::new(config());
    wake_again_and_again(&scene, Some(&mut scene.client()));
}
