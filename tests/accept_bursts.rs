//! More connections at once than a shard queues.
//!
//! Setup: a handler that holds the loop while clients connect, so that one look at the ring finds
//! more accepted sockets than may wait for a turn. Claim: accepting pauses, is counted, and goes
//! on; every client is served. Once the pause itself ended the shard: its cancellation stood in
//! the queue when the batch of the last turn was let go, which took it for a send.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use longwire::limits::ACCEPT_QUEUE_MAX;
use peer::{Client, Heard, Scene, config, request};
use std::io::Write;

#[test]
fn accepting_pauses_when_the_queue_is_full_and_goes_on() {
    let count = ACCEPT_QUEUE_MAX + 200;
    let mut config = config();
    config.max_connections = Some(2000);
    let scene = Scene::new(config);
    let mut holder = scene.client();
    let mut streams = Vec::new();
    // How many come within one stall is the machine's business: the slower, the longer it holds.
    for seconds in [1, 2, 4, 8, 16] {
        holder.text(&format!("!stall {seconds}000"));
        streams.extend((0..count).map(|_| scene.connect()));
        if scene.snapshot().counters.accept_pauses > 0 {
            break;
        }
        streams.clear();
        scene.wait_until(|now| now.connections == 1);
    }
    assert!(scene.snapshot().counters.accept_pauses > 0, "no burst filled the queue");
    let mut clients: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            stream.write_all(&request("/")).unwrap();
            Client::asked(stream)
        })
        .collect();
    for client in &mut clients {
        client.text("served?");
        assert_eq!(client.next(), Heard::Text("served?".into()));
    }
    assert_eq!(scene.snapshot().open, count as u64 + 1);
    drop((clients, holder));
    scene.wait_until_empty();
}
