//! A shard without a free descriptor waits for one, calmly, and goes on.
//!
//! Setup: one shard whose handler opens files until its thread's table is full, so that every
//! accept fails with EMFILE. Claims: it backs off and counts it, hardly runs meanwhile, serves
//! who it has, and takes those who waited once descriptors are free.

use std::fs::File;
use std::time::Instant;

use fleet::{Client, config, wait_for, wait_until_empty};
use longwire::limits::ACCEPT_BACKOFF;
use longwire::{Config, Handler, Message, Peer, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

#[derive(Default)]
struct Hoarder {
    files: Vec<File>,
}

impl Handler for Hoarder {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        match message.as_text() {
            Some("hoard") => self.files.extend(std::iter::from_fn(|| File::open("/dev/null").ok())),
            Some("free") => self.files.clear(),
            _ => {}
        }
        peer.send(message).expect("this client reads");
    }
}

#[test]
fn without_descriptors_accepting_rests_and_resumes() {
    const WAITING: usize = 5;
    let config = Config { stall_threshold: ACCEPT_BACKOFF, ..config(1, 1000) };
    let server = Server::start(config, |_shard| Hoarder::default()).expect("starts");
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.address())).collect();
    assert_eq!(clients[0].ask_text("hoard"), "hoard");

    let began = Instant::now();
    let mut waiting: Vec<_> = (0..WAITING).map(|_| Client::dial(server.address())).collect();
    let first = wait_for(&server, "a backoff", |now| now.counters.accept_backoffs >= 1).counters;
    for client in &mut clients {
        client.echo(1);
    }
    let mut last = first.clone();
    while last.accept_backoffs < first.accept_backoffs + 3 {
        std::thread::sleep(4 * ACCEPT_BACKOFF); // nobody asks while it rests
        last = server.snapshot().expect("it runs").counters;
    }
    let tries_max = began.elapsed().as_millis() / ACCEPT_BACKOFF.as_millis() + 1;
    assert!(u128::from(last.accept_backoffs) <= tries_max, "no sooner than the rest is over");
    // A try costs the turns of one wake; the echoes and the looks of this test have theirs.
    let turns = last.turns - first.turns;
    let tries = last.accept_backoffs - first.accept_backoffs;
    assert!(turns < 200 + 50 * tries, "{turns} turns for {tries} tries: it spins while it waits");
    assert_eq!(last.accepted, 20);

    assert_eq!(clients[0].ask_text("free"), "free");
    for client in &mut waiting {
        client.ask("/");
        assert!(client.head().expect("served").starts_with("HTTP/1.1 101 "));
        client.echo(10);
    }
    drop((clients, waiting));
    assert_eq!(wait_until_empty(&server).counters.accepted, 25);
}
