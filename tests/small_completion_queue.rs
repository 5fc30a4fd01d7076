//! A completion queue far too small loses nothing.
//!
//! Setup: one shard whose ring keeps 16 completions, and 500 connections that all talk at once
//! and all leave at once, so that the kernel's overflow list carries most of it. Claims: every
//! message comes back, every end is seen, and the overflows are counted.

use fleet::{Client, config, message, wait_until_empty};
use longwire::{Handler, Message, Peer, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// Holds the loop for a moment on its first message, while completions pile up.
struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        if message.as_text() == Some("hold") {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        peer.send(message).expect("this client reads");
    }
}

#[test]
fn sixteen_completions_serve_500_connections() {
    const CLIENTS: usize = 500;
    const ROUNDS: usize = 5;
    let mut config = config(1, 1000);
    config.completion_entries = Some(16);
    let server = Server::start(config, |_shard| Echo).expect("starts");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    for round in 0..ROUNDS {
        clients[0].send("hold");
        for (number, client) in clients.iter_mut().enumerate() {
            let texts = [format!("{round} {number}"), "and again".to_owned()];
            client.write(&texts.map(|text| message(&text)).concat());
        }
        assert_eq!(clients[0].text(), "hold");
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.text(), format!("{round} {number}"));
            assert_eq!(client.text(), "and again");
        }
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.messages_received, (ROUNDS * (2 * CLIENTS + 1)) as u64);
    assert!(counters.completion_overflows > 0, "16 were enough");
    let polls_ended = counters.polls_rearmed;

    clients[0].send("hold");
    drop(clients);
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.accepted, counters.released), (500, 500));
    assert_eq!(counters.closed_vanished, 500, "each end was seen");
    assert!(polls_ended > 0, "a multishot poll ends when its completion spills over");
    assert_eq!(server.join().shards_lost, 0);
}
