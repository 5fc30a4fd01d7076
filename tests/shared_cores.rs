//! More shards than cores: a publication to many goes out by turns, and reaches everybody.
//!
//! Setup: more shards than the host has cores, and 150 members of one channel on each, which is
//! long work. Claim: of several publications at once everybody gets each once, in order, as do the
//! members of a small channel; and a server that stops while shards stand in line comes to its end.

use std::time::Instant;

use fleet::{PATIENCE, config, on_each_shard};
use longwire::{Handler, Message, Peer, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

const MEMBERS: usize = 150;
const PUBLICATIONS: usize = 20;

struct Loud;

impl Handler for Loud {
    type Connection = bool; // whether it is one of the many

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<bool> {
        Upgrade::accept(request.path() == "/member")
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let is_member = peer.state() == Some(&mut true);
        peer.join(if is_member { "all" } else { "few" }).expect("there is room");
        let number = peer.shard().number().to_string();
        peer.send(Message::text(&number)).expect("this client reads");
    }

    /// Says the same to the channel that the first word names.
    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let (channel, text) = message.as_text().and_then(|text| text.split_once(' ')).expect("two");
        peer.publish(channel, Message::text(text)).expect("there is room");
    }
}

/// Two at least share a core.
fn shard_count() -> u32 {
    let cores = std::thread::available_parallelism().expect("it is known").get();
    u32::try_from(cores + 2).expect("few").max(6)
}

#[test]
fn a_publication_to_many_reaches_all_of_them_once_and_in_order() {
    let shards = shard_count();
    let server = Server::start(config(shards, shards * 1000), |_shard| Loud).expect("starts");
    let mut members: Vec<_> =
        on_each_shard(&server, "/member", MEMBERS).into_iter().flatten().collect();
    let mut others: Vec<_> = on_each_shard(&server, "/other", 1).into_iter().flatten().collect();
    let deadline = Instant::now() + PATIENCE;
    let mut published = 0;
    // Whether two shards of a core meet is the scheduler's to say: in most rounds some do.
    while server.snapshot().expect("it runs").counters.cores_passed == 0 {
        assert!(Instant::now() < deadline, "shards of a core do it by turns");
        let round = published..published + PUBLICATIONS;
        for publication in round.clone() {
            others[0].send(&format!("all {publication}"));
        }
        others[1].send("few hello");
        for other in &mut others {
            assert_eq!(other.text(), "hello");
        }
        for member in &mut members {
            for publication in round.clone() {
                assert_eq!(member.text(), publication.to_string());
            }
        }
        published = round.end;
    }
    assert_eq!(server.snapshot().expect("it runs").counters.publications_missed, 0);
    // Shards that stand in line stop as all do.
    others[0].send("all last");
    server.stop();
    assert_eq!(server.join().connections, 0);
}
