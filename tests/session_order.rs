//! Every subscriber sees one sequence, from its subscribe reply on.
//!
//! Setup: four shards, subscribers on each, a publisher on each, publications numbered by their
//! publisher. Claims: all who are in the channel for the whole time receive the same publications
//! in the same order, each publisher's own order kept; who comes while they flow receives its
//! reply first, and after it that sequence from some place on, without a gap.

use serde_json::Value;
use session::{Client, config, one_on_each, serve, settings};

#[path = "support/session.rs"]
mod session;

const SHARDS: usize = 4;
const ROUNDS: usize = 25;
/// Publications of one publisher in one frame.
const BATCH: usize = 10;
const EACH: usize = ROUNDS * BATCH;

/// Publishes the next batch of one publisher, and awaits the replies.
fn publish(client: &mut Client, publisher: usize, round: usize) {
    let lines: Vec<String> = (0..BATCH)
        .map(|place| {
            let (id, number) = (1000 + place, round * BATCH + place);
            format!(r#"{{"id":{id},"publish":{{"channel":"all","data":"{publisher} {number}"}}}}"#)
        })
        .collect();
    client.send(&lines.join("\n"));
}

fn await_replies(client: &mut Client) {
    for place in 0..BATCH {
        let reply = client.line();
        assert!(reply.get("publish").is_some(), "{reply}");
        assert_eq!(reply["id"], 1000 + place, "in order");
    }
}

fn data_of(push: &Value) -> String {
    push["push"]["pub"]["data"].as_str().unwrap_or_else(|| panic!("{push}")).to_owned()
}

#[test]
fn all_subscribers_see_one_order_and_newcomers_join_it_behind_their_reply() {
    let server = serve(config(4), &settings());
    // Those beside them stay, too: who leaves now would be counted out while the next come.
    let mut found = one_on_each(&server, SHARDS);
    let mut publishers: Vec<Client> = found.iter_mut().filter_map(Vec::pop).collect();
    let mut subscribers: Vec<Client> = one_on_each(&server, SHARDS).into_iter().flatten().collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("all");
    }
    let mut newcomers: Vec<Client> = Vec::new();
    for round in 0..ROUNDS {
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publish(publisher, number, round);
        }
        // Subscribes while the publications are on their way; its reply is read at the end.
        let mut newcomer = Client::connect(server.address());
        newcomer.command(r#""subscribe":{"channel":"all"}"#);
        newcomers.push(newcomer);
        for publisher in &mut publishers {
            await_replies(publisher);
        }
    }
    let sequence: Vec<String> =
        (0..SHARDS * EACH).map(|_| data_of(&subscribers[0].line())).collect();
    for publisher in 0..SHARDS {
        let prefix = format!("{publisher} ");
        let own = sequence.iter().filter_map(|data| data.strip_prefix(&*prefix));
        assert!(own.map(|number| number.parse::<usize>().unwrap()).eq(0..EACH), "its own order");
    }
    for subscriber in &mut subscribers[1..] {
        for data in &sequence {
            assert_eq!(data_of(&subscriber.line()), *data);
        }
    }
    // A last publication, so that newcomers know when they have seen everything.
    publishers[0].ask(r#""publish":{"channel":"all","data":"end"}"#);
    let mut heard = 0;
    for newcomer in &mut newcomers {
        let reply = newcomer.line();
        assert!(reply.get("subscribe").is_some(), "the reply is the first: {reply}");
        let mut own = Vec::new();
        loop {
            match data_of(&newcomer.line()) {
                end if end == "end" => break,
                data => own.push(data),
            }
        }
        assert_eq!(own, sequence[sequence.len() - own.len()..], "no gap, none twice");
        heard += own.len();
    }
    assert!(heard > 0, "the first newcomers came before the last publications");
    let counters = server.snapshot().unwrap().counters;
    assert_eq!(counters.publications_missed, 0);
    assert_eq!(counters.client_publishes, (SHARDS * EACH) as u64 + 1);
}
