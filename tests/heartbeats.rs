//! A route speaks its own protocol's words: heartbeats by message, farewells, close codes.
//!
//! Setup: a server whose connections are asked with a text, a binary message or a Ping frame, by
//! their path; the handler takes `pong` for the answer. Claims: each is asked in its own way and
//! no other; who answers stays, and who does not is told 3012; an answer that nobody asked for is
//! told apart; a peer that does not read is asked behind its backlog; where the heartbeat was left
//! for later, nobody is asked before it was begun; a connection that was accepted with one message too many is answered 500; on a stop
//! and on an overflow a route's own codes are sent; any code from 3000 to 4999 is sent as it is.

use std::time::Duration;

use fleet::{Client, config, wait_for, wait_until_empty};
use longwire::limits::HEARTBEAT_MESSAGES_MAX;
use longwire::{
    Accept, Config, Handler, Heartbeat, Message, Peer, Request, Route, Routes, Running, Server,
    Upgrade,
};

#[path = "support/fleet.rs"]
mod fleet;

/// A few ticks of a shard's wheel.
const SOON: Duration = Duration::from_millis(200);

/// One more than a shard can tell apart.
const WORDS: [&str; HEARTBEAT_MESSAGES_MAX + 1] = ["a", "b", "c", "d", "e", "f", "g", "h"];

struct Speaker;

impl Handler for Speaker {
    type Connection = ();

    fn routes(&mut self) -> Routes {
        Routes::new()
            .route(Route::new("/ping"))
            .route(Route::new("/binary").overflow(3008, "slow"))
            .route(Route::new("/text/:word").farewell(3001, "shutdown"))
            .route(Route::new("/text/:word/:when"))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        let heartbeat = match (request.path(), request.param("word")) {
            ("/binary", _) => Heartbeat::Binary(&[0]),
            (_, Some("json")) => Heartbeat::Text("{}"),
            (_, Some(number)) => Heartbeat::Text(WORDS[number.parse::<usize>().expect("small")]),
            _ => Heartbeat::Ping,
        };
        let accept = Accept::new(()).heartbeat(heartbeat);
        if request.param("when") == Some("later") { accept.heartbeat_later() } else { accept }
            .into()
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let text = message.as_text().expect("text");
        match text.split_once(' ') {
            None if text == "pong" => {
                let awaited = peer.answer_heartbeat();
                assert!(!awaited || !peer.answer_heartbeat(), "awaited once");
                let text = if awaited { "awaited" } else { "not awaited" };
                peer.send(Message::text(text)).expect("this client reads");
            }
            None if text == "begin" => {
                peer.begin_heartbeat();
                peer.send(Message::text("begun")).expect("this client reads");
            }
            Some(("fill", bytes)) => {
                let payload = vec![7; bytes.parse().expect("a number")];
                peer.send(Message::binary(&payload)).expect("within the bound");
            }
            Some(("close", code)) => peer.close(code.parse().expect("a code"), "as asked"),
            Some(("flood", bytes)) => {
                let payload = vec![7; bytes.parse().expect("a number")];
                while peer.send(Message::binary(&payload)).is_ok() {}
            }
            _ => panic!("no such order: {text}"),
        }
    }
}

fn server() -> Running {
    with_heartbeats(fleet::PATIENCE, fleet::PATIENCE)
}

fn with_heartbeats(interval: Duration, pong_timeout: Duration) -> Running {
    let mut config = Config { message_ping_interval: Some(interval), ..config(1, 100) };
    config.message_pong_timeout = pong_timeout;
    config.output_bytes_max = 100_000;
    Server::start(config, |_shard| Speaker).expect("starts")
}

#[test]
fn who_answers_its_heartbeats_stays_and_is_asked_again() {
    // Busy machines are slow: there is time to answer.
    let server = with_heartbeats(Duration::from_secs(5), fleet::PATIENCE);
    let mut text = Client::connect_to(server.address(), "/text/json");
    let mut binary = Client::connect_to(server.address(), "/binary");
    let mut ping = Client::connect_to(server.address(), "/ping");
    assert_eq!(ping.ask_text("pong"), "not awaited");
    for _ in 0..2 {
        assert_eq!(text.text(), "{}");
        assert_eq!(text.ask_text("pong"), "awaited");
        let frame = binary.frame().expect("open");
        assert_eq!((frame.opcode, &*frame.payload), (2, &[0][..]));
        assert_eq!(binary.ask_text("pong"), "awaited");
    }
    assert_eq!(ping.ask_text("pong"), "not awaited", "and not asked by message");
    let counters = server.snapshot().expect("it runs").counters;
    assert!(counters.message_pings_sent >= 4, "{}", counters.message_pings_sent);
    assert_eq!((counters.message_pong_timeouts, counters.pings_sent), (0, 0));
}

#[test]
fn who_does_not_answer_is_told_3012_whatever_else_it_sends() {
    let server = with_heartbeats(2 * SOON, SOON);
    let mut silent = Client::connect_to(server.address(), "/text/json");
    let mut talking = Client::connect_to(server.address(), "/text/json");
    assert_eq!(talking.text(), "{}");
    talking.pong(b"");
    for client in [&mut silent, &mut talking] {
        let close = loop {
            let frame = client.frame().expect("it is told");
            if frame.opcode == 8 {
                break frame;
            }
            assert_eq!((frame.opcode, &*frame.payload), (1, &b"{}"[..]));
        };
        assert_eq!(close.close_code(), Some(3012));
        assert_eq!(&close.payload[2..], b"no pong");
        client.send_close(3012);
    }
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.message_pings_sent, counters.message_pong_timeouts), (2, 2));
    assert_eq!((counters.closed_unresponsive, counters.pong_timeouts), (2, 0));
}

#[test]
fn a_backlog_keeps_no_question_back() {
    // More than the socket buffers of both ends take.
    const BACKLOG_BYTES: usize = 24 << 20;
    let mut config = Config { message_ping_interval: Some(2 * SOON), ..config(1, 100) };
    config.message_pong_timeout = SOON;
    config.output_bytes_max = 2 * BACKLOG_BYTES;
    let server = Server::start(config, |_shard| Speaker).expect("starts");
    let mut client = Client::connect_to(server.address(), "/text/json/later");
    client.send(&format!("fill {BACKLOG_BYTES}"));
    client.send("begin");
    let asked = wait_for(&server, "it is asked", |now| now.counters.message_pings_sent == 1);
    assert!(asked.backlog_bytes > 0, "while it does not read");
    assert_eq!(client.frame().expect("open").payload.len(), BACKLOG_BYTES);
    assert_eq!(client.text(), "begun");
    assert_eq!(client.text(), "{}");
}

#[test]
fn a_heartbeat_left_for_later_waits_to_be_begun() {
    let server = with_heartbeats(3 * SOON, fleet::PATIENCE);
    let mut later = Client::connect_to(server.address(), "/text/json/later");
    let mut now = Client::connect_to(server.address(), "/text/json");
    for _ in 0..3 {
        assert_eq!(now.text(), "{}");
        assert_eq!(now.ask_text("pong"), "awaited");
    }
    assert_eq!(later.ask_text("pong"), "not awaited", "it was not asked meanwhile");
    assert_eq!(later.ask_text("begin"), "begun");
    assert_eq!(later.text(), "{}");
    assert_eq!(later.ask_text("pong"), "awaited");
}

#[test]
fn one_heartbeat_more_than_a_shard_can_tell_apart_is_refused() {
    let server = server();
    let mut clients: Vec<_> = (0..HEARTBEAT_MESSAGES_MAX)
        .map(|number| Client::connect_to(server.address(), &format!("/text/{number}")))
        .collect();
    let mut refused = Client::dial(server.address());
    refused.ask(&format!("/text/{HEARTBEAT_MESSAGES_MAX}"));
    let head = refused.head().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    clients.push(Client::connect_to(server.address(), "/text/0"));
    for client in &mut clients {
        assert_eq!(client.ask_text("pong"), "not awaited");
    }
}

#[test]
fn a_stop_says_farewell_in_the_words_of_the_route() {
    let server = server();
    let mut own = Client::connect_to(server.address(), "/text/json");
    let mut default = Client::connect_to(server.address(), "/ping");
    server.stop();
    let told = [&mut own, &mut default].map(|client| {
        let frame = client.frame().expect("a Close");
        let code = frame.close_code().expect("a Close");
        client.send_close(code);
        (code, String::from_utf8(frame.payload[2..].to_vec()).expect("text"))
    });
    let expected = [(3001, "shutdown".to_owned()), (1001, "server is stopping".to_owned())];
    assert_eq!(told, expected);
    assert_eq!(server.wait().counters.closed_shutdown, 2);
}

#[test]
fn an_overflow_is_told_in_the_words_of_the_route_to_who_reads() {
    let server = server();
    for (path, code) in [("/binary", 3008), ("/ping", 1008)] {
        // All in one turn: the socket has taken everything so far.
        let mut client = Client::connect_to(server.address(), path);
        client.send("flood 30000");
        for _ in 0..3 {
            assert_eq!(client.frame().expect("a message").payload.len(), 30_000);
        }
        assert_eq!(client.closed(), Some(code));
        client.send_close(code);
    }
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.output_overflows, counters.closed_overflow), (2, 2));
    assert_eq!(counters.overflow_cuts, 0);
}

#[test]
fn any_code_of_an_application_is_sent_as_it_is() {
    let server = server();
    for code in [3000, 3001, 3500, 3999, 4000, 4999] {
        let mut client = Client::connect_to(server.address(), "/ping");
        client.send(&format!("close {code}"));
        assert_eq!(client.closed(), Some(code));
        client.send_close(code);
    }
    for code in [1005, 1006, 1015, 2999, 5000] {
        let mut client = Client::connect_to(server.address(), "/ping");
        client.send(&format!("close {code}"));
        assert_eq!(client.closed(), Some(1000), "{code} is never on the wire");
        client.send_close(1000);
    }
    let told = wait_for(&server, "all closed", |now| now.connections == 0);
    assert_eq!(told.counters.closed_application, 11);
}
