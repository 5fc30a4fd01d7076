//! A parked shard is woken by everybody, every time.
//!
//! Setup: one shard with nothing to do, so that it parks between what a test asks of it, or more
//! shards than a machine of CI has cores. Claim: bells of the control thread, bytes of a client,
//! new connections and messages of other shards wake it, again and again, with a deadline in its
//! wheel and without one.
//!
//! Shards have slept for ever twice. Once a parked shard heard its first bell only: an eventfd as
//! the bell is signalled from within a write to an eventfd, which a ring passes on to the eventfd
//! it signals a single time (Linux 6.18). And once an executor went to sleep with its woken task
//! in its queue, because the thread had lost its core for as long as the preemption timer runs
//! (`shard/wait`): the more shards than cores, the sooner.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::time::Duration;

use peer::{Client, Heard, Scene, config, payload};

/// More than the cores of a machine of CI, so that their threads wait for a core as well.
const SHARDS: u32 = 12;

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

/// Every round asks each shard for its counts by a message, lets all park, wakes one by a new
/// connection and those with members of the channel by a publication.
#[test]
fn by_messages_and_connections_where_shards_are_more_than_cores() {
    let mut config = config();
    config.shards = Some(SHARDS);
    let scene = Scene::new(config);
    let mut members: Vec<Client> = (0..2 * SHARDS).map(|_| scene.client()).collect();
    for member in &mut members {
        member.text("!join all");
        assert_eq!(member.next(), Heard::Text("joined".into()));
    }
    let parks = scene.snapshot().counters.parks;
    let mut rounds = 0;
    while rounds < 50 || scene.snapshot().counters.parks < parks + 50 * u64::from(SHARDS) {
        rounds += 1;
        std::thread::sleep(Duration::from_millis(10));
        let mut publisher = scene.client();
        publisher.text(&format!("!publish all {rounds} 40"));
        for member in &mut members {
            assert_eq!(member.next(), Heard::Binary(payload(rounds, 40)), "round {rounds}");
        }
    }
    let last = scene.snapshot();
    assert_eq!(last.counters.accepted, rounds as u64 + u64::from(2 * SHARDS));
}
