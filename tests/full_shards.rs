//! Shards fill up together, not one by one, and a full server says so.
//!
//! Setup: four shards with 100 seats each on one port, over which the kernel spreads connections
//! by hash. Claims: 396 connections are all served, some of them passed on by a full shard; the
//! one after the 400th is told 503 and closed, and is served once somebody has left; more shards
//! than cores work.

use fleet::{Client, config, wait_for, wait_until_empty};
use longwire::limits::SURPLUS_SLOTS;
use longwire::{Handler, Message, Peer, Request, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        peer.send(message).expect("this client reads");
    }
}

fn four_shards_of_100() -> Running {
    let mut config = config(4, 400);
    config.shard_capacity = Some(100);
    Server::start(config, |_shard| Echo).expect("starts")
}

/// Opens a connection that is refused for want of a seat.
fn refused(server: &Running) -> Client {
    let mut client = Client::dial(server.address());
    client.ask("/");
    let head = client.head().expect("told so");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    client
}

#[test]
fn every_seat_of_every_shard_is_reached_through_one_port() {
    let server = four_shards_of_100();
    let mut clients: Vec<_> = (0..396).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.echo(3);
    }
    let snapshot = server.snapshot().expect("it runs");
    assert_eq!((snapshot.open, snapshot.counters.refused_full), (396, 0));
    let counters = &snapshot.counters;
    assert!(counters.passed_on > 0, "no hash fills four shards alike");
    assert_eq!((counters.passed_here, counters.pass_failures), (counters.passed_on, 0));
    assert!(snapshot.shard_connections.iter().all(|&count| (96..=100).contains(&count)));
    drop(clients);
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.accepted, counters.released), (396, 396));
}

#[test]
fn beyond_the_last_seat_is_503_until_somebody_leaves() {
    let server = four_shards_of_100();
    let mut clients: Vec<_> = (0..400).map(|_| Client::connect(server.address())).collect();
    for _ in 0..3 {
        refused(&server).end();
    }
    let snapshot = server.snapshot().expect("it runs");
    assert_eq!((snapshot.open, snapshot.counters.refused_full), (400, 3));

    for _ in 0..3 {
        clients.pop().expect("400 of them").reset();
        wait_for(&server, "a free seat", |snapshot| snapshot.connections == 399);
        let mut next = Client::connect(server.address());
        next.echo(1);
        clients.push(next);
    }
    for client in &mut clients {
        client.echo(1);
    }
    drop(clients);
    wait_until_empty(&server);
}

#[test]
fn those_that_wait_to_be_told_503_are_bounded_too() {
    let server = four_shards_of_100();
    let clients: Vec<_> = (0..400).map(|_| Client::connect(server.address())).collect();
    // They hold their slots by saying nothing.
    let silent: Vec<_> = (0..SURPLUS_SLOTS).map(|_| Client::dial(server.address())).collect();
    let all = u64::from(400 + SURPLUS_SLOTS);
    wait_for(&server, "all surplus slots taken", |snapshot| snapshot.connections == all);
    let mut one_more = Client::dial(server.address());
    assert_eq!(one_more.frame(), None, "closed without a word");
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.refused_full, u64::from(SURPLUS_SLOTS) + 1);
    assert_eq!(counters.dropped_full, 1);

    drop(silent);
    wait_for(&server, "the slots again", |snapshot| snapshot.connections == 400);
    refused(&server).end();
    drop(clients);
    wait_until_empty(&server);
}

#[test]
fn more_shards_than_cores_all_serve() {
    let cores = std::thread::available_parallelism().expect("known").get();
    let shards = u32::try_from(4 * cores).expect("a few").max(8);
    let mut config = config(shards, 10 * shards);
    // All but one cannot hold them all, whatever the hash does: each has some.
    config.shard_capacity = Some(10);
    let server = Server::start(config, |_shard| Echo).expect("starts");
    assert_eq!(server.shard_count(), shards as usize);
    let clients = 0..10 * shards;
    let mut clients: Vec<_> = clients.map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.echo(10);
    }
    let snapshot = server.snapshot().expect("it runs");
    assert_eq!(snapshot.open, u64::from(10 * shards));
    assert!(snapshot.shard_connections.iter().all(|&count| count == 10), "each has its share");
}
