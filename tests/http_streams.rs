//! Clients that cannot have a WebSocket: sessions over streams and requests beside them.
//!
//! Setup: a server of two shards in this process, with both kinds of stream, and raw HTTP. Claims:
//! what is said to `/emulation` is answered in the stream, in either format and form; whoever
//! names no session of this node is told what the SDKs go by; what is too long or malformed is
//! refused before a shard hears of it; pages of other hosts are kept out, and those that are let
//! in can read what they are answered; who a client is does not depend on its transport.

#[path = "support/http.rs"]
mod http;
#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/streams.rs"]
mod streams;

use std::net::SocketAddr;

use http::{Answer, ask};
use longwire::SessionSettings;
use longwire::control::Pages;
use longwire::session::Rules;
use protobuf::Fields;
use serde_json::{Value, json};
use streams::{
    BESIDE, CONNECT, Client, EVENTS, LINES, config, connected, serve, serve_with, settings, until,
};

#[test]
fn what_is_said_beside_a_stream_is_answered_in_it() {
    let server = serve();
    let mut client = Client::connect(server.address());
    assert_eq!((client.session.len(), client.node.len()), (32, 15));
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-accel-buffering", "no"),
        ("cache-control", "private, no-cache, no-store, no-transform, max-age=0"),
    ] {
        assert_eq!(client.stream.header(name), Some(value), "{name}");
    }
    client.subscribe("a");
    let publish = |id| format!(r#"{{"id":{id},"publish":{{"channel":"a","data":"\u00e9"}}}}"#);
    assert_eq!(client.say(&format!("{}\n{}\n", publish(3), publish(4))), 204);
    let lines: Vec<Value> = (0..4).map(|_| client.line().unwrap()).collect();
    for id in [3, 4] {
        assert!(lines.contains(&json!({ "id": id, "publish": {} })), "{lines:?}");
    }
    let heard = lines.iter().filter(|line| line["push"]["pub"]["data"] == "é");
    assert_eq!(heard.count(), 2, "{lines:?}");
    drop(client);
    let counted = server.join().counters;
    assert_eq!((counted.introduced, counted.client_connects), (1, 1));
    assert_eq!((counted.client_connects_http_stream, counted.client_ends_http_stream), (1, 1));
}

#[test]
fn the_first_frame_may_say_more_than_connect() {
    let server = serve();
    let frame = format!("{CONNECT}\n{}\n", r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    let mut client = Client::open(server.address(), &[], &frame);
    assert_eq!(client.line().unwrap()["id"], 1);
    assert_eq!(client.line().unwrap(), json!({ "id": 2, "subscribe": {} }));
}

const PROTOBUF: (&str, &str) = ("Content-Type", "application/octet-stream");

/// The next reply of a stream behind its length.
fn reply(stream: &mut Answer, inbox: &mut Vec<u8>) -> Fields {
    loop {
        // Replies here are shorter than 16 KiB.
        let (length, head) = match *inbox.as_slice() {
            [low, ..] if low < 0x80 => (usize::from(low), 1),
            [low, high, ..] => (usize::from(low & 0x7f) | usize::from(high) << 7, 2),
            _ => (usize::MAX, 0),
        };
        if length != usize::MAX && inbox.len() >= head + length {
            let reply = Fields::read(&inbox[head..head + length]);
            inbox.drain(..head + length);
            return reply;
        }
        inbox.extend(stream.chunk().expect("the stream goes on"));
    }
}

#[test]
fn protobuf_is_spoken_in_the_stream_and_beside_it() {
    let server = serve();
    let address = server.address();
    let frame = protobuf::connect(1);
    let mut stream = ask(address, "POST", LINES, &[PROTOBUF], &frame);
    assert_eq!(stream.header("content-type"), Some("application/octet-stream"));
    let mut inbox = Vec::new();
    let connected = reply(&mut stream, &mut inbox).message(5).expect("a connect result");
    let (session, node) = (connected.text(9), connected.text(10));
    let said = [protobuf::subscribe(2, "a"), protobuf::publish(3, "a", b"\xff\0")].concat();
    let body = [
        protobuf::field(1, node.as_bytes()),
        protobuf::field(2, session.as_bytes()),
        protobuf::field(3, &said),
    ];
    assert_eq!(ask(address, "POST", BESIDE, &[PROTOBUF], &body.concat()).status, 204);
    let heard: Vec<Fields> = (0..3).map(|_| reply(&mut stream, &mut inbox)).collect();
    assert_eq!(heard.iter().map(|one| one.number(1)).sum::<u64>(), 2 + 3, "{heard:?}");
    let push = heard.iter().find_map(|one| one.message(4)).expect("a publication");
    let publication = push.message(4).expect("a publication");
    assert_eq!(publication.bytes(4), Some(&b"\xff\0"[..]));
}

/// Events of a stream, up to one that holds `last`.
fn events(stream: &mut Answer, last: &str) -> String {
    let mut text = String::new();
    while !text.contains(last) || !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&stream.chunk().expect("more")).expect("text"));
    }
    text
}

#[test]
fn event_streams_begin_by_query_or_by_body() {
    let server = serve();
    let address = server.address();
    let query = format!("{EVENTS}?a=b&cf_connect=%7B%22id%22%3A1%2C+%22connect%22:%7B%7D%7D");
    let by_query = ask(address, "GET", &query, &[], b"");
    let by_body = ask(address, "POST", EVENTS, &[], CONNECT.as_bytes());
    for mut stream in [by_query, by_body] {
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let text = events(&mut stream, "node");
        let reply = text.strip_prefix("\ndata: ").expect("a blank line, then an event");
        let reply: Value = serde_json::from_str(reply.trim_end()).expect("a reply");
        let name = |key: &str| reply["connect"][key].as_str().expect(key).to_owned();
        let said = "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n\
                    {\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}";
        let body = json!({ "session": name("session"), "node": name("node"), "data": said });
        let said = ask(address, "POST", BESIDE, &[], body.to_string().as_bytes());
        assert_eq!(said.status, 204);
        let expected =
            "data: {\"id\":2,\"subscribe\":{}}\n\ndata: {\"id\":3,\"unsubscribe\":{}}\n\n";
        assert_eq!(events(&mut stream, "\"id\":3"), expected);
    }
    assert_eq!(ask(address, "GET", EVENTS, &[], b"").status, 400, "without a first frame");
    let broken = format!("{EVENTS}?cf_connect=%7");
    assert_eq!(ask(address, "GET", &broken, &[], b"").status, 400);
}

#[test]
fn who_names_no_session_of_this_node_is_told_what_sdks_go_by() {
    let server = serve();
    let client = Client::connect(server.address());
    let say = |body: &str| ask(server.address(), "POST", BESIDE, &[], body.as_bytes()).status;
    let said = |session: &str, node: &str, data: &str| {
        say(&json!({ "session": session, "node": node, "data": data }).to_string())
    };
    assert_eq!(said(&client.session, "elsewhere", "{}"), 404);
    assert_eq!(said(&client.session, "", "{}"), 404);
    assert_eq!(said("nobody", &client.node, "{}"), 204, "its stream has ended, which says it");
    assert_eq!(say("{"), 400);
    assert_eq!(say(r#"{"session":1}"#), 400);
    let protobuf = ask(server.address(), "POST", BESIDE, &[PROTOBUF], b"\x0a\x7f");
    assert_eq!(protobuf.status, 400);
    let counted = until(&server, |counted| counted.counters.messages_received == 1);
    assert_eq!(connected(&counted), 1, "no shard has heard of it");
}

#[test]
fn what_is_too_long_is_refused_before_a_shard_hears_of_it() {
    let mut settings = settings();
    settings.limits.message_bytes_max = 2000;
    let server = serve_with(config(), &settings, |streaming| {
        streaming.terms.message_bytes_max = 2000;
        let endpoint = streaming.http_stream.as_mut().expect("it is on");
        endpoint.body_bytes_max = 1500;
    });
    let address = server.address();
    let padded = |bytes: usize| format!("{}{}", CONNECT, " ".repeat(bytes - CONNECT.len()));
    let open = |path: &str, bytes| ask(address, "POST", path, &[], padded(bytes).as_bytes());
    assert_eq!(open(LINES, 1500).status, 200);
    assert_eq!(open(LINES, 1501).status, 413);
    assert_eq!(open(EVENTS, 2000).status, 200);
    assert_eq!(open(EVENTS, 2001).status, 413);
    let client = Client::connect(address);
    let padded = |bytes: usize| format!("{{\"id\":0}}{}", "\n".repeat(bytes - 8));
    assert_eq!(client.say(&padded(2001)), 413, "longer than a message may be");
    assert_eq!(client.say(&"\u{7}".repeat(1500)), 413, "longer than a request may be");
    assert_eq!(connected(&until(&server, |_| true)), 1, "{:?}", server.snapshot());
}

#[test]
fn other_methods_are_refused() {
    let server = serve();
    for (path, methods, allow) in [
        (LINES, &["GET", "PUT"][..], "POST, OPTIONS"),
        (EVENTS, &["DELETE"], "GET, POST, OPTIONS"),
        (BESIDE, &["GET"], "POST, OPTIONS"),
    ] {
        for method in methods {
            let answer = ask(server.address(), method, path, &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        }
    }
}

const OURS: (&str, &str) = ("Origin", "https://page.example");
const THEIRS: (&str, &str) = ("Origin", "https://evil.example");

/// A server for the pages of one other host.
fn serve_pages() -> longwire::Running {
    let admits = |origin: Option<&[u8]>| origin.is_none_or(|origin| origin == OURS.1.as_bytes());
    let mut settings = settings();
    settings.limits.origins = longwire::Origins::Allowed(
        longwire::ws::handshake::AllowedOrigins::new(
            [OURS.1],
            longwire::ws::handshake::MissingOrigin::Allow,
        )
        .expect("an origin"),
    );
    serve_with(config(), &settings, |streaming| {
        streaming.terms.pages = Pages::new(move |origin, _host| admits(origin));
    })
}

#[test]
fn pages_that_may_connect_may_read_and_others_get_nothing() {
    let server = serve_pages();
    let address = server.address();
    for path in [LINES, EVENTS, BESIDE] {
        let wanted = [("Access-Control-Request-Headers", "content-type, x-own"), OURS];
        let preflight = ask(address, "OPTIONS", path, &wanted, b"");
        assert_eq!(preflight.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", OURS.1),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "content-type, x-own"),
            ("vary", "Origin"),
        ] {
            assert_eq!(preflight.header(name), Some(value), "{path}: {name}");
        }
        let refused = ask(address, "OPTIONS", path, &[THEIRS], b"");
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
        let refused = ask(address, "POST", path, &[THEIRS], CONNECT.as_bytes());
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    }
    let stream = ask(address, "POST", LINES, &[OURS], CONNECT.as_bytes());
    let may_read = |answer: &Answer| answer.header("access-control-allow-origin") == Some(OURS.1);
    assert!(stream.status == 200 && may_read(&stream));
    let unknown = ask(address, "POST", BESIDE, &[OURS], b"{}");
    assert!(unknown.status == 404 && may_read(&unknown), "also what went wrong");
    assert_eq!(until(&server, |_| true).counters.introduced, 1);
}

#[test]
fn a_shard_has_the_last_word_on_who_is_let_in() {
    let mut settings = settings();
    settings.limits.origins = longwire::Origins::SameHost;
    // Whoever decides here does not know what the shards know by now.
    let server = serve_with(config(), &settings, |streaming| {
        streaming.terms.pages = Pages::new(|_, _| true);
    });
    let refused = ask(server.address(), "POST", LINES, &[THEIRS], CONNECT.as_bytes());
    assert_eq!(refused.status, 403);
    assert_eq!(until(&server, |_| true).counters.upgrades_refused, 1);
}

/// The user that others see of a client which brings this header.
fn user_seen(address: SocketAddr, headers: &[(&str, &str)]) -> Option<String> {
    let mut client = Client::open(address, headers, CONNECT);
    let reply = client.line().expect("a reply");
    if reply["push"]["disconnect"]["code"] == 3501 {
        return None;
    }
    let name = |key: &str| reply["connect"][key].as_str().expect(key).to_owned();
    (client.session, client.node) = (name("session"), name("node"));
    client.subscribe("a");
    assert_eq!(client.say(r#"{"id":3,"publish":{"channel":"a","data":1}}"#), 204);
    loop {
        let line = client.line().expect("a publication");
        if let Some(user) = line["push"]["pub"]["info"]["user"].as_str() {
            return Some(user.to_owned());
        }
    }
}

#[test]
fn only_a_trusted_proxy_says_whose_stream_it_is() {
    let without_anonymous =
        Rules { allow_anonymous_connect_without_token: false, ..settings().rules };
    let settings = SessionSettings {
        user_id_http_header: Some("X-User-ID".to_owned()),
        rules: without_anonymous,
        ..settings()
    };
    let header = [("X-User-ID", "größe")];
    for (is_trusted, expected) in [(true, Some("größe".to_owned())), (false, None)] {
        let mut config = config();
        if is_trusted {
            config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        }
        let server = serve_with(config, &settings, |_| {});
        assert_eq!(user_seen(server.address(), &header), expected);
    }
}
