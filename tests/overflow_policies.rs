//! A namespace says what becomes of publications for clients that do not keep up.
//!
//! Setup: a channel that keeps its publications; one client that may recover in it, with a small
//! socket buffer, stops reading while another publishes far more than fits. Claims: with `latest`
//! and `drop_oldest` it stays connected and subscribed, hears the end of the stream when it reads
//! again, and offsets alone show what it has missed; with `disconnect` it is told 3008, or cut.

use longwire::session::{ChannelOptions, Overflow, Retention, Rules};
use longwire::{Counters, Running, SessionSettings};
use serde_json::Value;
use session::{Client, PATIENCE, config, serve, settings};
use std::time::Instant;

#[path = "support/session.rs"]
mod session;

const PUBLICATIONS: u64 = 100;

/// With a hundred of them more than the sockets' buffers and a backlog hold.
const FILL_BYTES: usize = 16_000;

fn server(overflow: Overflow) -> Running {
    let history = Some(Retention { publications_max: 10, ttl_s: 600, meta_ttl_s: 600 });
    let options = ChannelOptions { history, overflow, ..ChannelOptions::default() };
    let rules = Rules { insecure: true, without_namespace: options, ..Rules::default() };
    let mut config = config(1);
    config.send_buffer_bytes = Some(32 * 1024);
    config.output_bytes_max = 256 * 1024;
    serve(config, &SessionSettings { rules, ..settings() })
}

fn counters(server: &Running) -> Counters {
    server.snapshot().expect("it runs").counters
}

fn wait_until(server: &Running, is_so: impl Fn(&Counters) -> bool) -> Counters {
    let began = Instant::now();
    loop {
        let now = counters(server);
        if is_so(&now) {
            return now;
        }
        assert!(began.elapsed() < PATIENCE, "{now:?}");
    }
}

fn publish(client: &mut Client, numbers: std::ops::RangeInclusive<u64>) {
    let fill = "x".repeat(FILL_BYTES);
    for number in numbers {
        let data = format!(r#"{{"number":{number},"fill":"{fill}"}}"#);
        let reply = client.ask(&format!(r#""publish":{{"channel":"news","data":{data}}}"#));
        assert!(reply.get("publish").is_some(), "{reply}");
    }
}

fn offset_of(push: &Value) -> u64 {
    let publication = &push["push"]["pub"];
    assert_eq!(publication["data"]["number"], publication["offset"], "{push}");
    publication["offset"].as_u64().unwrap_or_else(|| panic!("no publication: {push}"))
}

/// A subscriber that reads again after a hundred publications; what it heard, and what it missed.
fn heard_with(overflow: Overflow, waiting: u64) -> (Vec<u64>, Counters) {
    let server = server(overflow);
    let mut slow = Client::connect(server.address());
    let reply = slow.ask(r#""subscribe":{"channel":"news","recoverable":true}"#);
    assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
    let mut publisher = Client::connect(server.address());
    publish(&mut publisher, 1..=PUBLICATIONS);
    let is_through = |now: &Counters| {
        let dropped = now.overflow_dropped_oldest + now.overflow_conflated;
        now.deliveries + dropped + waiting >= PUBLICATIONS
    };
    assert_eq!(wait_until(&server, is_through).closed_overflow, 0);
    let mut heard = vec![offset_of(&slow.line())];
    while heard.last() != Some(&PUBLICATIONS) {
        heard.push(offset_of(&slow.line()));
    }
    // It is told of nothing else, and goes on as before.
    publish(&mut publisher, PUBLICATIONS + 1..=PUBLICATIONS + 1);
    assert_eq!(offset_of(&slow.line()), PUBLICATIONS + 1);
    let reply = slow.ask(r#""history":{"channel":"news"}"#);
    assert_eq!(reply["history"]["offset"], PUBLICATIONS + 1, "{reply}");
    (heard, counters(&server))
}

/// What was heard is in order, with nothing twice, and has the whole end of the stream.
fn assert_end(heard: &[u64], last: u64) {
    assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    let end = (PUBLICATIONS - last + 1..=PUBLICATIONS).rev();
    assert!(end.eq(heard.iter().rev().copied().take(usize::try_from(last).unwrap())), "{heard:?}");
}

#[test]
fn the_latest_is_what_a_slow_client_hears_last() {
    let (heard, counters) = heard_with(Overflow::Latest, 1);
    assert_end(&heard, 1);
    let missed = PUBLICATIONS - heard.len() as u64;
    assert_eq!((counters.overflow_conflated, counters.overflow_dropped_oldest), (missed, 0));
    assert!(missed > 0);
}

#[test]
fn the_oldest_are_what_a_slow_client_misses() {
    // As many as the bound for what waits has room for.
    const WAITING: u64 = 4;
    let (heard, counters) = heard_with(Overflow::DropOldest, WAITING);
    assert_end(&heard, WAITING);
    let missed = PUBLICATIONS - heard.len() as u64;
    assert_eq!((counters.overflow_conflated, counters.overflow_dropped_oldest), (0, missed));
    assert!(missed > 0);
}

#[test]
fn by_default_a_slow_client_is_disconnected() {
    let server = server(Overflow::Disconnect);
    let mut slow = Client::connect(server.address());
    slow.subscribe("news");
    let mut publisher = Client::connect(server.address());
    publish(&mut publisher, 1..=PUBLICATIONS);
    let now = wait_until(&server, |now| now.closed_overflow == 1);
    assert_eq!((now.overflow_conflated, now.overflow_dropped_oldest), (0, 0));
}
