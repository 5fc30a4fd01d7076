//! What a stop does to connections in every state.
//!
//! Setup: a server with many idle connections, some in the middle of a message, one that never
//! reads, one in its handshake. Claims: every open one is told 1001; those that answer are done;
//! the drain deadline cuts the rest and counts them; and a peer that has answered but keeps its
//! TCP connection open holds neither the stop nor a slot until the close timeout.

use std::time::Duration;

use fleet::{Client, config, message, request, wait_for, wait_until_empty};
use longwire::limits::DRAIN_SHARE;
use longwire::{Config, Handler, Message, Peer, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        if message.as_text() == Some("flood") {
            peer.send(Message::binary(&vec![0; 16 << 20])).expect("one is always taken");
            return;
        }
        peer.send(message).unwrap_or_default();
    }
}

#[test]
fn everybody_is_told_1001_and_the_rest_is_cut_at_the_deadline() {
    // More than one share of a stopping turn, few enough to be told long before the deadline.
    const IDLE: usize = DRAIN_SHARE as usize + 88;
    let drain_timeout = Duration::from_secs(6);
    let config = Config { drain_timeout, close_timeout: Duration::from_mins(1), ..config(2, 3000) };
    let server = Server::start(config, |_shard| Echo).expect("starts");
    let address = server.address();
    let mut idle: Vec<_> = (0..IDLE).map(|_| Client::connect(address)).collect();
    for client in idle.iter_mut().step_by(10) {
        client.write(&message("only half of this arrives")[..12]);
    }
    let mut reads_nothing = Client::connect(address);
    reads_nothing.send("flood");
    let mut says_nothing = Client::dial(address);
    says_nothing.write(&request("/").as_bytes()[..20]);
    wait_for(&server, "all states", |now| {
        now.connections == IDLE as u64 + 2 && now.backlog_bytes > 0 && now.partial_bytes > 20
    });
    server.stop();
    for client in &mut idle {
        assert_eq!(client.closed(), Some(1001));
    }
    // Answered, but not ended: one keeps its socket open.
    idle.iter_mut().skip(1).for_each(|client| client.send_close(1001));
    let keeps_its_socket = idle.pop().expect("many");
    let never_answers = idle.remove(0);
    drop(idle);
    assert_eq!(says_nothing.frame(), None, "it was never open");
    let last = server.join();
    let counters = &last.counters;
    let opened = IDLE as u64 + 1;
    assert_eq!((counters.closed_shutdown, counters.opened), (opened, opened));
    assert_eq!(counters.drain_cuts, 2, "who never read and who never answered");
    assert_eq!((counters.lingers_ended, counters.close_timeouts), (1, 0));
    assert_eq!((counters.released, last.shards_lost, last.forced), (opened + 1, 0, false));
    drop((keeps_its_socket, never_answers, reads_nothing));
}

#[test]
fn a_peer_that_keeps_its_socket_after_both_closes_holds_no_slot() {
    let config = Config { close_timeout: Duration::from_hours(1), ..config(1, 10) };
    let server = Server::start(config, |_shard| Echo).expect("starts");
    let mut client = Client::connect(server.address());
    client.send_close(1000);
    assert_eq!(client.closed(), Some(1000));
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.lingers_ended, counters.close_timeouts), (1, 0));
    drop(client);
}
