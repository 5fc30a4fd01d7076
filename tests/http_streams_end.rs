//! How streams over HTTP end, and what is bounded while they last.
//!
//! Setup: a server of two shards in this process, and raw HTTP. Claims: every way that a session
//! ends ends its stream with a word that the SDKs go by; every way that a stream ends ends its
//! session; a stream takes a place of its own and no seat of the requests; a client that does not
//! read its stream is cut, and what waits for it is bounded; pings go both ways.

#[path = "support/http.rs"]
mod http;
#[path = "support/session.rs"]
mod session;
#[path = "support/streams.rs"]
mod streams;

use std::time::Duration;

use http::ask;
use longwire::SessionSettings;
use serde_json::json;
use streams::{
    CONNECT, Client, EVENTS, LINES, config, connected, serve, serve_with, settings, until,
};

#[test]
fn a_stop_ends_every_stream_so_that_its_client_comes_back() {
    let server = serve();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(server.address())).collect();
    let mut events = ask(server.address(), "POST", EVENTS, &[], CONNECT.as_bytes());
    let mut text = String::new();
    while !text.contains("session") {
        text.push_str(std::str::from_utf8(&events.chunk().expect("a reply")).expect("text"));
    }
    server.stop();
    let farewell = json!({ "code": 3001, "reason": "shutdown", "reconnect": true });
    for client in &mut clients {
        assert_eq!(client.end(), farewell);
    }
    let expected = format!("data: {{\"push\":{{\"disconnect\":{farewell}}}}}\n\n");
    assert_eq!(events.body(), expected);
    let counted = server.wait();
    assert_eq!((counted.forced, counted.counters.disconnects_shutdown), (false, 4));
}

#[test]
fn who_breaks_the_protocol_is_told_so_at_the_end_of_its_stream() {
    let server = serve();
    let bad = json!({ "code": 3501, "reason": "bad request" });
    let mut client = Client::connect(server.address());
    assert_eq!(client.say("{"), 204);
    assert_eq!(client.end(), bad);
    let mut unasked = Client::connect(server.address());
    assert_eq!(unasked.say("{}"), 204, "a pong that answers no ping");
    assert_eq!(unasked.end(), bad);
    for first in ["", "nonsense", r#"{"id":1,"subscribe":{"channel":"a"}}"#] {
        let mut client = Client::open(server.address(), &[], first);
        assert_eq!(client.end(), bad, "{first:?}");
    }
    let sent = Client::connect(server.address());
    assert_eq!(sent.say(r#"{"send":{"data":1}}"#), 204);
    let mut sent = sent;
    assert_eq!(sent.end(), json!({ "code": 3508, "reason": "not available" }));
    assert_eq!(until(&server, |counted| connected(counted) == 0).open, 0);
}

#[test]
fn a_client_that_leaves_ends_its_session() {
    let server = serve();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(server.address())).collect();
    clients[0].subscribe("a");
    let stayed = clients.pop().expect("three");
    let gone = clients.remove(0);
    let (session, node) = (gone.session.clone(), gone.node.clone());
    drop((gone, clients));
    let counted = until(&server, |counted| connected(counted) == 1 && counted.open == 1);
    assert_eq!((counted.counters.client_ends, counted.subscriptions), (2, 0));
    let body = json!({ "session": session, "node": node, "data": "{}" }).to_string();
    assert_eq!(ask(server.address(), "POST", "/emulation", &[], body.as_bytes()).status, 204);
    drop(stayed);
    until(&server, |counted| connected(counted) == 0);
}

#[test]
fn a_client_is_pinged_and_one_that_does_not_answer_is_let_go() {
    const TRIES: usize = 20;
    let settings = SessionSettings {
        ping_interval: Some(Duration::from_secs(1)),
        pong_timeout: Duration::from_millis(900),
        ..settings()
    };
    let server = serve_with(config(), &settings, |_| {});
    let mut client = Client::connect(server.address());
    assert_eq!(client.line().expect("a ping"), json!({}));
    let end = client.end();
    assert_eq!(end, json!({ "code": 3012, "reason": "no pong", "reconnect": true }));
    // A machine may be too slow for one pong, and not for all of them.
    let is_heard = (0..TRIES).any(|_| {
        let mut client = Client::connect(server.address());
        assert_eq!(client.line().expect("a ping"), json!({}));
        assert_eq!(client.say("{}"), 204);
        client.line().expect("a ping, or a word before the end") == json!({})
    });
    assert!(is_heard, "no client that answers is pinged again");
}

#[test]
fn streams_are_bounded_apart_from_requests() {
    const SEATS: u32 = 2;
    const STREAMS: usize = 6;
    const TRIES: usize = 10_000;
    let mut config = config();
    config.http_connections_max = SEATS;
    let server = serve_with(config, &settings(), |streaming| streaming.streams_max = STREAMS);
    let address = server.address();
    // The seats of those before are given back a moment later than they see their answer; without a
    // seat, it is a shard that says 503.
    let ask = |path: &str| {
        let answers = (0..TRIES).map(|_| ask(address, "POST", path, &[], CONNECT.as_bytes()));
        let mut answers = answers.filter(|answer| answer.header("x-request-id").is_some());
        answers.next().expect("a seat becomes free")
    };
    let mut clients: Vec<_> = (0..STREAMS).map(|_| ask(LINES)).collect();
    assert!(clients.iter().all(|client| client.status == 200));
    assert_eq!(ask(LINES).status, 503);
    assert_eq!(ask(EVENTS).status, 503);
    assert_eq!(ask("/emulation").status, 404, "requests have their seats all the while");
    clients.truncate(STREAMS - 1);
    until(&server, |counted| counted.open == STREAMS as u64 - 1);
    assert_eq!(ask(LINES).status, 200, "a place was given back");
}

#[test]
fn who_does_not_read_its_stream_is_cut_and_holds_no_more_than_its_bound() {
    const OUTPUT_BYTES: usize = 256 * 1024;
    const ROUNDS: usize = 400;
    let settings = SessionSettings { output_bytes_max: OUTPUT_BYTES, ..settings() };
    let mut config = config();
    config.send_buffer_bytes = Some(32 * 1024);
    let server = serve_with(config, &settings, |_| {});
    let mut deaf = Client::connect(server.address());
    deaf.subscribe("a");
    let mut publisher = session::Client::connect(server.address());
    let data = "x".repeat(48 * 1024);
    let is_cut = (0..ROUNDS).any(|_| {
        publisher.ask(&format!(r#""publish":{{"channel":"a","data":"{data}"}}"#));
        let counted = server.snapshot().expect("it runs");
        assert!(counted.backlog_bytes <= OUTPUT_BYTES as u64, "{counted:?}");
        counted.counters.disconnects_slow == 1
    });
    assert!(is_cut, "at its bound, as all others are");
    until(&server, |counted| connected(counted) == 1);
    // What was on its way still comes, and then its connection is over.
    deaf.stream.drain();
}
