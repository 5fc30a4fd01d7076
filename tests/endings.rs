//! What a handler does when it hears of an end is done.
//!
//! Setup: a handler that, in `close`, sends to one connection that watches, and that can be made to
//! panic where no connection is to blame. Claims: the watcher hears of every end, also of one found
//! by a failed send in the very drain that told it; an id outlives its connection and then names
//! nobody, whoever has its slot; a shard that is lost ends the server instead of being missed in
//! silence.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/fleet.rs"]
mod fleet;

use std::sync::atomic::{AtomicBool, Ordering};

use longwire::{
    Cancelled, Closed, ConnectionId, Handler, Message, Peer, Request, Server, Shard, Upgrade,
};

use fleet::{Client, config, wait_until_empty};

/// Tells its first connection of the end of every other.
#[derive(Default)]
struct Watched {
    watcher: Option<ConnectionId>,
}

/// Panics when it is let go of.
struct Fatal;

impl Drop for Fatal {
    fn drop(&mut self) {
        panic!("as asked");
    }
}

static IS_LOST: AtomicBool = AtomicBool::new(false);

impl Handler for Watched {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let id = peer.id();
        self.watcher.get_or_insert(id);
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        if message.as_text() == Some("lose") {
            let fatal = Fatal;
            let job = |_: &Cancelled| {
                while !IS_LOST.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            };
            // Its connection is gone before it is done, so the shard lets go of the end itself.
            peer.offload(job, move |_, _, _| drop(fatal)).unwrap();
            peer.send(Message::text("as you like")).unwrap();
            return;
        }
        // Output in flight when the peer is gone: the send fails, and that ends it.
        for _ in 0..50 {
            let _ended = peer.send(Message::text("here you are"));
        }
    }

    fn close(&mut self, shard: &mut Shard<'_, Self>, _state: (), _closed: &Closed) {
        if let Some(watcher) = self.watcher {
            shard.peer(watcher).send(Message::text("one is gone")).unwrap();
        }
    }
}

#[test]
fn the_watcher_hears_of_every_end() {
    const COUNT: usize = 200;
    let server = Server::start(config(1, 500), |_shard| Watched::default()).unwrap();
    let mut watcher = Client::connect(server.address());
    for _ in 0..COUNT {
        let mut client = Client::connect(server.address());
        client.send("ask");
        client.send("ask");
        client.reset();
    }
    for _ in 0..COUNT {
        assert_eq!(watcher.text(), "one is gone");
    }
}

/// Remembers its first connection, and does to it what others ask for.
#[derive(Default)]
struct Remembers(Option<ConnectionId>);

impl Handler for Remembers {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, _message: Message<'_>) {
        let first = *self.0.get_or_insert(peer.id());
        let mut shard = peer.shard();
        let mut other = shard.peer(first);
        let is_there = other.state().is_some();
        let sent = other.send(Message::text("for the first"));
        let joined = other.join("room");
        if !is_there {
            other.close(4000, "for the first");
        }
        let answer = format!("{is_there} {} {}", sent.is_ok(), joined.is_ok());
        peer.send(Message::text(&answer)).unwrap();
    }
}

#[test]
fn an_id_of_a_connection_that_is_gone_names_nobody() {
    let server = Server::start(config(1, 1), |_shard| Remembers::default()).unwrap();
    let mut first = Client::connect(server.address());
    assert_eq!(first.ask_text("who is it?"), "for the first");
    assert_eq!(first.text(), "true true true");
    first.reset();
    wait_until_empty(&server);
    // There is one slot, and now it is this one's.
    let mut second = Client::connect(server.address());
    for _ in 0..2 {
        assert_eq!(second.ask_text("who is it now?"), "false false false");
    }
}

#[test]
fn a_lost_shard_ends_the_server() {
    let server = Server::start(config(2, 100), |_shard| Watched::default()).unwrap();
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask_text("lose"), "as you like");
    client.reset();
    // Nobody asks it to stop: it hears of the loss by itself.
    assert_eq!(server.wait().shards_lost, 1);
    IS_LOST.store(true, Ordering::SeqCst);
}
