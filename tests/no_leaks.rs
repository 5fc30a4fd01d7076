//! Ten thousand connections come and go, in every way there is, and nothing of them stays.
//!
//! Setup: two shards in this process; clients leave by a clean close, by FIN, by RST, after a
//! refusal, in the middle of a head, in the middle of a frame, and by breaking RFC 6455. Claim:
//! every slot, timer, ready entry and descriptor is given back, and each opened connection was
//! closed for the handler once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::{Client, config, message, request, wait_for, wait_until_empty};
use longwire::{Closed, Handler, Message, Peer, Request, Running, Server, Shard, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

struct Echo {
    closed: Arc<AtomicU64>,
}

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        if request.path() == "/refused" { Upgrade::refuse(403) } else { Upgrade::accept(()) }
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        peer.join("everybody").expect("there is room");
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let _left_already = peer.send(message);
    }

    fn close(&mut self, _shard: &mut Shard<'_, Self>, _state: (), _closed: &Closed) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Descriptors in the tables of the threads of the shards.
fn descriptor_count() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
    let shards = tasks.map(|task| task.path()).filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        matches!(name.trim(), "longwire-0" | "longwire-1")
    });
    let counts: Vec<_> =
        shards.map(|task| fs::read_dir(task.join("fd")).expect("it runs").count()).collect();
    assert!(counts.len() >= 2, "both shards, and the helpers of their executors");
    counts.iter().sum()
}

const WAYS: usize = 8;

fn leave(server: &Running, way: usize) {
    let address = server.address();
    match way {
        0 => {
            let mut client = Client::connect(address);
            client.send_close(1000);
            assert_eq!(client.closed(), Some(1000));
            client.end();
        }
        1 => drop(Client::connect(address)),
        2 => Client::connect(address).reset(),
        3 => {
            let mut client = Client::dial(address);
            client.ask("/refused");
            assert!(client.head().expect("an answer").starts_with("HTTP/1.1 403 "));
            client.end();
        }
        4 => Client::dial(address).write(&request("/").as_bytes()[..40]),
        5 => Client::connect(address).write(&message("never whole")[..9]),
        6 => {
            let mut client = Client::connect(address);
            client.write(&[0x81, 0x01, b'x']); // not masked
            assert_eq!(client.closed(), Some(1002));
            client.end();
        }
        _ => Client::connect(address).echo(1),
    }
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let closed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&closed);
    let make = move |_shard| Echo { closed: Arc::clone(&counted) };
    let server = Server::start(config(2, 1000), make).expect("starts");
    // Each way once, so that what is made lazily is there before the count.
    (0..WAYS).for_each(|way| leave(&server, way));
    wait_until_empty(&server);
    let before = descriptor_count();

    (WAYS..10_000).for_each(|number| leave(&server, number % WAYS));

    wait_until_empty(&server);
    // The homes of channels hear of it a little later.
    let snapshot = wait_for(&server, "no channels", |now| now.channels == 0);
    let counters = &snapshot.counters;
    assert_eq!((counters.accepted, counters.released), (10_000, 10_000));
    assert_eq!(counters.opened, 10_000 / WAYS as u64 * 6);
    assert_eq!(closed.load(Ordering::Relaxed), counters.opened, "told once of each end");
    assert_eq!((snapshot.open, snapshot.timers, snapshot.ready), (0, 0, 0));
    assert_eq!(snapshot.subscriptions, 0);
    assert_eq!((snapshot.backlog_bytes, snapshot.partial_bytes), (0, 0));
    assert_eq!(descriptor_count(), before);
    assert_eq!(server.join().shards_lost, 0);
}
