//! The echo path goes over the ring, in batches.
//!
//! Setup: one shard, echoes with many in flight; submissions are counted by operation.

use fleet::{Client, config, message};
use longwire::ring::Operation;
use longwire::{Handler, Message, Peer, Request, Server, Upgrade};

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

#[test]
fn ten_thousand_echoes_are_few_enters() {
    const CLIENTS: usize = 50;
    const WINDOW: usize = 20;
    const ROUNDS: usize = 10;
    const MESSAGES: u64 = (CLIENTS * WINDOW * ROUNDS) as u64;
    let server = Server::start(config(1, 100), |_shard| Echo).expect("starts");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    let window = message("20 bytes of payload!").repeat(WINDOW);
    let mut round = || {
        for client in &mut clients {
            client.write(&window);
        }
        for client in &mut clients {
            (0..WINDOW).for_each(|_| assert_eq!(client.text(), "20 bytes of payload!"));
        }
    };
    round();
    let before = server.snapshot().expect("it runs");
    (0..ROUNDS).for_each(|_| round());
    let after = server.snapshot().expect("it runs");

    let submitted = |operation| after.submitted(operation) - before.submitted(operation);
    let sends = submitted(Operation::Send);
    assert!((1..=MESSAGES).contains(&sends), "{sends} sends for {MESSAGES} messages");
    assert_eq!(sends, after.counters.sends - before.counters.sends);
    assert_eq!(after.counters.messages_sent - before.counters.messages_sent, MESSAGES);
    assert_eq!(submitted(Operation::Readable), 0, "armed once, for good");
    let polls = after.submitted(Operation::Readable);
    assert_eq!((polls, after.submitted(Operation::Accept)), (CLIENTS as u64, 1));
    let enters = after.counters.enters - before.counters.enters;
    assert!(enters < MESSAGES / 2, "{enters} enters for {MESSAGES} messages");
}

#[test]
fn an_echo_alone_takes_one_enter() {
    const ECHOES: u64 = 1000;
    let server = Server::start(config(1, 100), |_shard| Echo).expect("starts");
    let mut client = Client::connect(server.address());
    client.echo(10);
    let before = server.snapshot().expect("it runs").counters;
    client.echo(usize::try_from(ECHOES).expect("few"));
    let after = server.snapshot().expect("it runs").counters;
    // The enter that submits an echo also waits for the next message. A machine so slow that the
    // shard parks in between adds one that timed out.
    let parks = after.parks - before.parks;
    let enters = after.enters - before.enters;
    assert!(enters < ECHOES + ECHOES / 2 + parks + 10, "{enters} enters, {parks} parks");
}
