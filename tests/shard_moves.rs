//! Connections move from a fuller shard to an emptier one, and nobody notices.
//!
//! Setup: two shards whose handler echoes, and says with each echo on which shard it is. Clients
//! connect until one shard has its number, and those of the other leave. Claims: the shards come
//! level, and stay so; whoever speaks meanwhile is answered once and in order, wherever it is; one
//! that leaves meanwhile is gone; a handler that does not say that its connections can move keeps
//! them where they are.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fleet::{Client, config, wait_for, wait_until_empty};
use longwire::{Handler, Heartbeat, Message, Peer, Request, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// Puts the number of the shard in front of what it sends back.
struct Echo<const MOVES: bool>;

impl<const MOVES: bool> Handler for Echo<MOVES> {
    /// How many messages have come.
    type Connection = u64;

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<u64> {
        Upgrade::accept(0)
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let shard = peer.shard().number();
        let count = peer.state().expect("open");
        *count += 1;
        let text = String::from_utf8_lossy(message.payload());
        let answer = format!("{shard} {count} {text}");
        // One that has left is no matter.
        let _gone = peer.send(Message::text(&answer));
    }

    fn is_movable() -> bool {
        MOVES
    }

    fn pack(count: &u64) -> Option<Vec<u8>> {
        Some(count.to_le_bytes().to_vec())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<(u64, Heartbeat)> {
        Some((u64::from_le_bytes(bytes.try_into().ok()?), Heartbeat::Ping))
    }
}

/// One client, and how many messages it has sent.
struct Counted {
    client: Client,
    count: u64,
}

impl Counted {
    fn connect(server: &Running) -> Self {
        Self { client: Client::connect(server.address()), count: 0 }
    }

    /// Sends `count` messages at once and reads their answers; the shard of the last one.
    fn ask(&mut self, count: u64) -> usize {
        let numbers = self.count + 1..=self.count + count;
        numbers.clone().for_each(|number| self.client.send(&format!("m{number}")));
        self.count += count;
        let answers = numbers.map(|number| {
            let answer = self.client.text();
            let (shard, rest) = answer.split_once(' ').expect("two parts");
            assert_eq!(rest, format!("{number} m{number}"), "once and in order");
            shard.parse().expect("a number")
        });
        answers.last().expect("at least one")
    }
}

const FULLER: usize = 40;

fn start<const MOVES: bool>() -> Running {
    let mut config = config(2, 1000);
    config.balance_difference = Some(8);
    Server::start(config, |_shard| Echo::<MOVES>).expect("starts")
}

/// So many clients of one shard, and none of the other: those have left. Some may have moved
/// before the last of them came.
fn uneven(server: &Running) -> Vec<Counted> {
    let mut clients: [Vec<Counted>; 2] = [vec![], vec![]];
    while clients[0].len() < FULLER {
        let mut client = Counted::connect(server);
        let shard = client.ask(1);
        clients[shard].push(client);
    }
    let [ours, others] = clients;
    drop(others);
    wait_for(server, "those of the other shard to leave", |snapshot| {
        snapshot.open <= FULLER as u64
    });
    ours
}

fn wait_until_level(server: &Running) {
    wait_for(server, "level shards", |snapshot| {
        snapshot.shard_connections.iter().all(|count| *count == FULLER as u64 / 2)
    });
}

#[test]
fn shards_come_level_and_everybody_is_served_where_it_is() {
    let server = start::<true>();
    let mut clients = uneven(&server);
    wait_until_level(&server);
    let mut counts = [0; 2];
    for client in &mut clients {
        counts[client.ask(3)] += 1;
    }
    assert_eq!(counts, [FULLER / 2; 2]);
    let snapshot = server.snapshot().expect("it runs");
    let counters = &snapshot.counters;
    assert_eq!(counters.moved_here, counters.moved_away);
    assert!(counters.moved_here >= FULLER as u64 / 2, "{counters:?}");
    assert_eq!((counters.moves_lost, snapshot.open), (0, FULLER as u64));
    let moved = counters.moved_here;
    drop(clients);
    let counters = wait_until_empty(&server).counters;
    assert_eq!(counters.moved_here, moved, "level shards leave each other alone");
    assert_eq!(counters.closed_vanished, counters.opened, "each was closed once");
}

#[test]
fn who_speaks_while_it_moves_is_answered_once_and_in_order() {
    let server = start::<true>();
    let clients = uneven(&server);
    let is_level = AtomicBool::new(false);
    thread::scope(|scope| {
        for (number, mut client) in (0..).zip(clients) {
            let is_level = &is_level;
            scope.spawn(move || {
                for round in 0.. {
                    if is_level.load(Ordering::Relaxed) {
                        return client.ask(5);
                    }
                    client.ask(5);
                    // Who has just spoken does not move: some of the pauses are long enough.
                    thread::sleep(Duration::from_millis((number * 37 + round * 61) % 300));
                }
                unreachable!("it ends when the shards are level")
            });
        }
        wait_until_level(&server);
        is_level.store(true, Ordering::Relaxed);
    });
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.moved_here, counters.moves_lost), (counters.moved_away, 0));
}

#[test]
fn who_leaves_while_others_move_is_gone_and_leaves_nothing() {
    let server = start::<true>();
    for _ in 0..5 {
        let before = server.snapshot().expect("it runs").counters.moved_here;
        let mut clients = uneven(&server);
        wait_for(&server, "the first to move", |snapshot| snapshot.counters.moved_here > before);
        // Each in its own way: a reset, a Close, an end.
        for (number, mut client) in clients.drain(..).enumerate() {
            match number % 3 {
                0 => client.client.reset(),
                1 => client.client.send_close(1000),
                _ => {}
            }
        }
        wait_until_empty(&server);
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.moved_here, counters.moves_lost), (counters.moved_away, 0));
    let ends = counters.closed_vanished + counters.closed_peer;
    assert_eq!(ends, counters.opened, "each was closed once");
}

#[test]
fn who_stops_while_connections_move_closes_each_of_them() {
    let server = start::<true>();
    let mut clients = uneven(&server);
    server.stop();
    for client in &mut clients {
        assert_eq!(client.client.closed(), Some(1001));
    }
    drop(clients);
    let counters = server.wait().counters;
    assert_eq!(counters.drain_cuts, 0, "{counters:?}");
    assert_eq!(counters.moved_here, counters.moved_away);
}

#[test]
fn a_handler_that_has_not_said_so_keeps_its_connections() {
    let server = start::<false>();
    let mut clients = uneven(&server);
    let turns = server.snapshot().expect("it runs").counters.turns;
    // Long enough for a shard that would give something away to have looked.
    let mut looks = 0;
    while looks < 200 {
        for client in &mut clients {
            assert_eq!(client.ask(1), 0);
        }
        looks += 1;
    }
    let snapshot = server.snapshot().expect("it runs");
    assert!(snapshot.counters.turns > turns);
    assert_eq!(snapshot.shard_connections, [FULLER as u64, 0]);
    assert_eq!(snapshot.counters.moved_away, 0);
}
