//! All members of a channel see one sequence, on whichever shards they and the publishers are.
//!
//! Setup: four shards with 16 members each, and two publishers on two of the shards that publish
//! 10,000 messages each at the same time, again where a queue was full. Claim: 64 members receive
//! the same 20,000 messages in the same order, each publisher's own order kept.

use fleet::{Client, config, on_each_shard};
use longwire::{Handler, Message, Peer, PublishError, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

struct Ordered;

impl Handler for Ordered {
    type Connection = bool; // whether it is a member

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<bool> {
        Upgrade::accept(request.path() == "/member")
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        if peer.state() == Some(&mut true) {
            peer.join("all").expect("there is room");
        }
        let number = peer.shard().number().to_string();
        peer.send(Message::text(&number)).expect("this client reads");
    }

    /// Publishes `name from to`, as far as there is room, and says where it came to.
    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let text = message.as_text().expect("text");
        let mut words = text.split(' ');
        let (name, mut from, to) = (words.next(), number(words.next()), number(words.next()));
        while from < to {
            let text = format!("{} {from}", name.expect("a name"));
            match peer.publish("all", Message::text(&text)) {
                Ok(()) => from += 1,
                Err(error) => {
                    assert_eq!(error, PublishError::Full);
                    break;
                }
            }
        }
        peer.send(Message::text(&from.to_string())).expect("this client reads");
    }
}

fn number(word: Option<&str>) -> usize {
    word.expect("a number").parse().expect("a number")
}

/// Publishes the messages `from..to`, again and again while the queue is full.
fn publish(publisher: &mut Client, name: &str, mut from: usize, to: usize) {
    while from < to {
        from = number(Some(&publisher.ask_text(&format!("{name} {from} {to}"))));
    }
}

#[test]
fn sixty_four_members_see_one_sequence_of_two_publishers() {
    const EACH: usize = 10_000;
    const BATCH: usize = 200;
    let server = Server::start(config(4, 1000), |_shard| Ordered).expect("starts");
    let mut members: Vec<_> = on_each_shard(&server, "/member", 16).into_iter().flatten().collect();
    let mut publishers = on_each_shard(&server, "/publisher", 1);
    let (mut one, mut other) = (publishers.remove(0).remove(0), publishers.remove(0).remove(0));
    // A join is complete when the member hears something; what came before it is not compared.
    publish(&mut one, "hello", 0, 1);
    for member in &mut members {
        assert_eq!(member.text(), "hello 0");
    }
    let mut sequence: Vec<String> = Vec::new();
    for from in (0..EACH).step_by(BATCH) {
        std::thread::scope(|scope| {
            scope.spawn(|| publish(&mut one, "one", from, from + BATCH));
            scope.spawn(|| publish(&mut other, "other", from, from + BATCH));
        });
        let (first, others) = members.split_first_mut().expect("64 of them");
        let heard: Vec<_> = (0..2 * BATCH).map(|_| first.text()).collect();
        for member in others {
            for text in &heard {
                assert_eq!(member.text(), *text);
            }
        }
        sequence.extend(heard);
    }
    for name in ["one", "other"] {
        let own = sequence.iter().filter_map(|text| text.strip_prefix(name)?.strip_prefix(' '));
        assert!(own.map(|word| number(Some(word))).eq(0..EACH), "{name} in its own order");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.publications_missed, 0);
    assert_eq!(counters.deliveries, 64 * (2 * EACH as u64 + 1));
}
