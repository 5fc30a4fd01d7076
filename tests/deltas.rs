//! What a client that takes deltas puts together is what was published, also where publications are
//! dropped on their way to it.
//!
//! Setup: a channel of which deltas are made, a client that takes them and applies each to what it
//! had before, and one that publishes documents of which a little changes. Claims: data is always a
//! string, the first one whole, and every document comes out as it went in; a client that stopped
//! reading, and lost the oldest or all but the latest, is never sent a delta to what it lost; where
//! no deltas are allowed, or a filter is named, there are none.

use longwire::protocol::fossil;
use longwire::session::{ChannelOptions, Overflow, Retention, Rules};
use longwire::{Counters, Running, SessionSettings};
use serde_json::{Value, json};
use session::{Client, PATIENCE, config, serve, settings};
use std::time::Instant;

#[path = "support/session.rs"]
mod session;

fn options() -> ChannelOptions {
    ChannelOptions {
        history: Some(Retention { publications_max: 100, ttl_s: 600, meta_ttl_s: 600 }),
        force_recovery: true,
        allow_delta: true,
        delta_publish: true,
        allow_tags_filter: true,
        ..ChannelOptions::default()
    }
}

fn server(without_namespace: ChannelOptions) -> Running {
    server_of(2, without_namespace)
}

fn server_of(shard_count: u32, without_namespace: ChannelOptions) -> Running {
    let rules = Rules { insecure: true, without_namespace, ..Rules::default() };
    let mut config = config(shard_count);
    config.send_buffer_bytes = Some(32 * 1024);
    config.output_bytes_max = 256 * 1024;
    serve(config, &SessionSettings { rules, ..settings() })
}

fn wait_until(server: &Running, is_so: impl Fn(&Counters) -> bool) -> Counters {
    let began = Instant::now();
    loop {
        let now = server.snapshot().expect("it runs").counters;
        if is_so(&now) {
            return now;
        }
        assert!(began.elapsed() < PATIENCE, "{now:?}");
    }
}

/// So many bytes that no two documents share but for their number.
fn document(number: u64, bytes: usize) -> Value {
    let rows: Vec<String> =
        (0..bytes / 8).map(|row| format!("{:x}", row * 2_654_435_761)).collect();
    json!({ "number": number, "rows": rows, "end": number * 7 })
}

fn publish(client: &mut Client, number: u64, bytes: usize) {
    let data = document(number, bytes);
    let reply = client.ask(&format!(r#""publish":{{"channel":"news","data":{data}}}"#));
    assert!(reply.get("publish").is_some(), "{reply}");
}

/// A client that takes deltas: what it had last, and how many deltas it was sent.
struct Reader {
    client: Client,
    last: Vec<u8>,
    deltas: u64,
}

impl Reader {
    fn subscribe(mut client: Client, about: &str) -> (Self, Value) {
        let request = format!(r#""subscribe":{{"channel":"news","delta":"fossil"{about}}}"#);
        let reply = client.ask(&request);
        assert_eq!(reply["subscribe"]["delta"], true, "{reply}");
        (Self { client, last: Vec::new(), deltas: 0 }, reply["subscribe"].clone())
    }

    /// The document of a publication.
    fn read(&mut self, publication: &Value) -> Value {
        let data = publication["data"].as_str().unwrap_or_else(|| panic!("{publication}"));
        if publication["delta"] == true {
            self.last = fossil::decode(&self.last, data.as_bytes()).expect("it has the base");
            self.deltas += 1;
        } else {
            self.last = data.as_bytes().to_vec();
        }
        serde_json::from_slice(&self.last).expect("a document")
    }

    fn next(&mut self) -> (u64, Value) {
        let push = self.client.line();
        let document = self.read(&push["push"]["pub"]);
        (push["push"]["pub"]["offset"].as_u64().expect("it has a place"), document)
    }
}

#[test]
fn the_first_is_whole_and_the_rest_are_what_they_differ_by() {
    let server = server(options());
    let (mut reader, _) = Reader::subscribe(Client::connect(server.address()), "");
    let mut publisher = Client::connect(server.address());
    for number in 1..=5 {
        publish(&mut publisher, number, 2000);
        assert_eq!(reader.next(), (number, document(number, 2000)));
        assert_eq!(reader.deltas, number - 1);
    }
    // One who comes later has nothing that a delta could be applied to.
    let (mut late, _) = Reader::subscribe(Client::connect(server.address()), "");
    for number in 6..=7 {
        publish(&mut publisher, number, 2000);
        assert_eq!(reader.next(), (number, document(number, 2000)));
        assert_eq!(late.next(), (number, document(number, 2000)));
    }
    assert_eq!((reader.deltas, late.deltas), (6, 1));
    let counters = wait_until(&server, |now| now.publications_kept == 7);
    assert_eq!(counters.publications_compared, 6, "once for all, and on no shard but the home");
}

#[test]
fn what_was_missed_comes_as_deltas_behind_one_that_is_whole() {
    let server = server(options());
    let mut publisher = Client::connect(server.address());
    for number in 1..=4 {
        publish(&mut publisher, number, 2000);
    }
    let client = Client::connect(server.address());
    let (mut reader, reply) = Reader::subscribe(client, r#","recover":true,"offset":1"#);
    let publications = reply["publications"].as_array().expect("what it missed").clone();
    for (publication, number) in publications.iter().zip(2..=4) {
        assert_eq!(reader.read(publication), document(number, 2000));
    }
    assert_eq!((publications.len(), reader.deltas), (3, 2));
    publish(&mut publisher, 5, 2000);
    assert_eq!(reader.next(), (5, document(5, 2000)));
    publish(&mut publisher, 6, 2000);
    assert_eq!(reader.next(), (6, document(6, 2000)));
    assert_eq!(reader.deltas, 3);
}

/// Publishes to a client that reads nothing until it has lost some, and then reads to the end. Large
/// documents stand between small ones, and so are not worth a delta: they fill what there is room
/// for. The publisher is in the channel too, and hears each before it goes on: no queue but that of
/// the slow one grows.
fn read_late(overflow: Overflow) -> (u64, u64) {
    const BYTES: usize = 30_000;
    const COUNT: u64 = 100;
    let server = server_of(1, ChannelOptions { overflow, ..options() });
    let (mut slow, _) = Reader::subscribe(Client::connect(server.address()), "");
    let mut publisher = Client::connect(server.address());
    publisher.subscribe("news");
    for number in 1..=COUNT {
        let bytes = if number % 2 == 0 { BYTES } else { 40 };
        let data = document(number, bytes);
        publisher.command(&format!(r#""publish":{{"channel":"news","data":{data}}}"#));
        let (one, other) = (publisher.line(), publisher.line());
        assert!(one.get("publish").is_some() || other.get("publish").is_some(), "{one} {other}");
    }
    let dropped = |now: &Counters| now.overflow_dropped_oldest + now.overflow_conflated;
    let now = wait_until(&server, |now| dropped(now) > 0 && now.publications_kept == COUNT);
    assert_eq!(now.closed_overflow, 0);
    let mut at = 0;
    let mut heard = 0;
    while at < COUNT {
        let (offset, document_read) = slow.next();
        assert!(offset > at, "in order");
        let bytes = if offset % 2 == 0 { BYTES } else { 40 };
        assert_eq!(document_read, document(offset, bytes));
        (at, heard) = (offset, heard + 1);
    }
    assert!(heard < COUNT, "it has lost some");
    // It goes on with deltas as before.
    let before = slow.deltas;
    let mut publisher = Client::connect(server.address());
    for number in COUNT + 1..=COUNT + 3 {
        publish(&mut publisher, number, 2000);
        assert_eq!(slow.next(), (number, document(number, 2000)));
    }
    (slow.deltas - before, heard)
}

#[test]
fn who_loses_the_oldest_is_sent_no_delta_to_what_it_lost() {
    let (deltas, _) = read_late(Overflow::DropOldest);
    assert_eq!(deltas, 2, "the first one behind what waited is whole");
}

#[test]
fn who_gets_the_latest_alone_is_sent_no_delta_to_what_it_lost() {
    let (deltas, _) = read_late(Overflow::Latest);
    assert_eq!(deltas, 2, "the first one behind what waited is whole");
}

#[test]
fn there_are_no_deltas_where_none_are_granted() {
    let asked = r#""subscribe":{"channel":"news","delta":"fossil"}"#;
    let none = [
        ChannelOptions { allow_delta: false, ..options() },
        ChannelOptions { force_recovery: false, ..options() },
        ChannelOptions { history: None, ..options() },
    ];
    for options in none {
        let server = server(options);
        let mut client = Client::connect(server.address());
        let reply = client.ask(asked);
        assert!(reply["subscribe"].is_object() && reply["subscribe"]["delta"].is_null(), "{reply}");
        let mut publisher = Client::connect(server.address());
        publish(&mut publisher, 1, 100);
        assert_eq!(client.line()["push"]["pub"]["data"], document(1, 100));
    }
    let server = server(options());
    let mut client = Client::connect(server.address());
    let filter = r#"{"key":"a","cmp":"nex"}"#;
    let reply =
        client.ask(&format!(r#""subscribe":{{"channel":"news","delta":"fossil","tf":{filter}}}"#));
    assert!(reply["subscribe"].is_object() && reply["subscribe"]["delta"].is_null(), "{reply}");
}
