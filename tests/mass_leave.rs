//! Fifteen thousand clients leave in one moment.
//!
//! Setup: one shard; the clients live in a thread with a descriptor table of its own, so that the
//! end of the thread closes all of their sockets at once, as a network that fails does. Claim:
//! every connection is released, and one that stays keeps echoing before, meanwhile and after.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;

use fleet::{Client, config, message, wait_for};
use longwire::sys::{fdtable, rlimit};
use longwire::{Closed, Config, Handler, Message, Peer, Request, Server, Shard, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// Times the handler was told that it may give its own room back.
static SPARED: AtomicU64 = AtomicU64::new(0);

struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        peer.send(message).expect("this client reads");
    }

    fn close(&mut self, _shard: &mut Shard<'_, Self>, _state: (), closed: &Closed) {
        assert_eq!(closed.code, 1006);
    }

    fn spare(&mut self) {
        SPARED.fetch_add(1, Relaxed);
    }
}

#[test]
fn fifteen_thousand_leave_at_once_and_one_stays() {
    const LEAVING: usize = 15_000;
    rlimit::raise_nofile(LEAVING as u64 + 1000).expect("readable");
    let config = Config { give_back: Some(|| ()), ..config(1, 16_000) };
    let server = Server::start(config, |_shard| Echo).expect("starts");
    let address = server.address();
    let mut staying = Client::connect(address);
    let (go, told) = sync_channel::<()>(0);
    let crowd = std::thread::spawn(move || {
        fdtable::unshare_keeping(&[]).expect("a table of its own");
        let mut clients: Vec<_> = (0..LEAVING).map(|_| Client::connect(address).stream).collect();
        told.recv().expect("everybody is there");
        // Half of them have something on the way when they go.
        for client in clients.iter_mut().step_by(2) {
            std::io::Write::write_all(client, &message("bye")).expect("it reads");
        }
        told.recv().expect("go");
        // Forgotten, so that the kernel closes them all when the table goes with the thread.
        clients.into_iter().for_each(std::mem::forget);
    });
    go.send(()).expect("the crowd is complete");
    assert_eq!(server.snapshot().expect("it runs").open, LEAVING as u64 + 1);
    staying.echo(100);
    go.send(()).expect("they wait");
    staying.echo(100);
    crowd.join().expect("no client failed");
    staying.echo(100);
    let snapshot = wait_for(&server, "only one left", |snapshot| snapshot.connections == 1);
    staying.echo(100);
    let counters = &snapshot.counters;
    assert_eq!((counters.released, counters.closed_vanished), (15_000, 15_000));
    assert_eq!((snapshot.open, snapshot.timers, counters.handler_panics), (1, 1, 0));
    // Some seconds later the allocator is asked to give their memory back, by a shard that sleeps.
    wait_for(&server, "memory given back", |now| now.counters.memory_given_back == 1);
    assert_eq!(SPARED.load(Relaxed), 1);
    staying.echo(100);
    staying.send_close(1000);
    assert_eq!(staying.closed(), Some(1000));
    drop(staying);
    let last = server.join();
    assert_eq!((last.counters.released, last.shards_lost), (15_001, 0));
}
