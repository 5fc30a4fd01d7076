//! The client protocol on real sockets: what a client asks, and what it is told.
//!
//! Setup: a server of `Sessions`, clients of tungstenite. Claims: commands are answered in their
//! order, channels reach clients on every shard, and every error and disconnect code of this
//! slice arrives as the protocol says, with a reason, and is counted.

use longwire::session::{ChannelOptions, Retention, Rules};
use longwire::{Counters, Running, SessionSettings};
use serde_json::{Value, json};
use session::{Client, End, Patient, config, one_on_each, serve, settings};
use std::collections::BTreeSet;
use std::time::Duration;
use tungstenite::Message;

#[path = "support/session.rs"]
mod session;

fn end(code: u16, reason: &str) -> End {
    End { code, reason: reason.to_owned() }
}

/// What was counted of disconnects, without the zeros.
fn disconnects(counters: &Counters) -> Vec<(&'static str, u64)> {
    let all =
        counters.iter().filter(|(name, count)| name.starts_with("disconnects_") && *count > 0);
    all.map(|(name, count)| (&name["disconnects_".len()..], count)).collect()
}

#[test]
fn connect_and_subscribes_in_one_frame_are_answered_in_order() {
    let server = serve(config(4), &settings());
    let mut client = Client::dial(server.address());
    let mut lines = vec![r#"{"connect":{"name":"js"},"id":1}"#.to_owned()];
    for id in 2..=40 {
        lines.push(format!(r#"{{"subscribe":{{"channel":"ch{id}","flag":1}},"id":{id}}}"#));
    }
    client.send(&lines.join("\n"));
    let reply = client.line();
    let keys: Vec<_> = reply["connect"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["client", "version"], "no pings, so none are announced");
    for id in 2..=40 {
        assert_eq!(client.line(), json!({ "id": id, "subscribe": {} }));
    }
    let counters = server.snapshot().unwrap().counters;
    assert_eq!((counters.client_connects, counters.client_subscribes), (1, 39));
    assert_eq!((counters.client_commands, counters.client_replies), (40, 40));
}

#[test]
fn replies_are_packed_sixteen_to_a_message() {
    let server = serve(config(1), &settings());
    let mut client = Client::connect(server.address());
    client.message_lines.clear();
    let lines: Vec<_> = (2..42).map(|id| format!(r#"{{"id":{id},"rpc":{{}}}}"#)).collect();
    client.send(&lines.join("\n"));
    for id in 2..42 {
        assert_eq!(client.line()["id"], id);
    }
    assert_eq!(client.message_lines, [16, 16, 8]);
}

#[test]
fn a_publication_reaches_the_clients_of_every_shard() {
    let server = serve(config(4), &settings());
    let mut clients: Vec<Client> = one_on_each(&server, 4).into_iter().flatten().collect();
    for client in &mut clients {
        client.subscribe("news");
    }
    let reply = clients[0].ask(r#""unsubscribe":{"channel":"news"}"#);
    assert!(reply.get("unsubscribe").is_some(), "{reply}");
    let publish = r#""publish":{"channel":"news","data":{"text": "h\u00e9llo", "n": [1.0, null]}}"#;
    assert!(clients[0].ask(publish).get("publish").is_some());
    let mut publishers = BTreeSet::new();
    for client in &mut clients[1..] {
        let push = client.line();
        assert_eq!(push["push"]["channel"], "news");
        let publication = &push["push"]["pub"];
        assert_eq!(publication["data"], json!({ "text": "héllo", "n": [1.0, null] }));
        assert_eq!(publication["info"]["user"], "");
        publishers.insert(publication["info"]["client"].as_str().unwrap().to_owned());
    }
    assert_eq!(publishers.len(), 1, "one client published");
    // Who left hears nothing: the next it hears is the answer to what it asks next.
    assert_eq!(clients[0].ask(r#""rpc":{}"#)["error"]["code"], 108);
}

#[test]
fn every_client_has_a_uuid_of_its_own() {
    let server = serve(config(2), &settings());
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let mut client = Client::dial(server.address());
        client.send(r#"{"id":1,"connect":{}}"#);
        let id = client.line()["connect"]["client"].as_str().unwrap().to_owned();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4", "{id}: the version");
        assert!(seen.insert(id));
    }
}

#[test]
fn every_error_of_a_command_arrives_and_is_counted() {
    let options = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        ..ChannelOptions::default()
    };
    let rules = Rules {
        allow_anonymous_connect_without_token: true,
        channel_limit: 1,
        without_namespace: options,
        ..Rules::default()
    };
    let server = serve(config(1), &SessionSettings { rules, ..settings() });
    let mut client = Client::connect(server.address());
    let unknown = client.ask(r#""subscribe":{"channel":"none:a"}"#);
    assert_eq!(unknown["error"], json!({ "code": 102, "message": "unknown channel" }));
    client.subscribe("a");
    let cases = [
        (r#""publish":{"channel":"a","data":1}"#, 103, "permission denied"),
        (r#""subscribe":{"channel":"a"}"#, 105, "already subscribed"),
        (r#""subscribe":{"channel":"b"}"#, 106, "limit exceeded"),
        (r#""publish":{"channel":"a"}"#, 107, "bad request"),
        (r#""presence":{"channel":"a"}"#, 108, "not available"),
    ];
    for (request, code, message) in cases {
        let error = client.ask(request)["error"].clone();
        assert_eq!(error, json!({ "code": code, "message": message }), "{request}");
    }
    // Its channel makes room for another by leaving.
    client.ask(r#""unsubscribe":{"channel":"a"}"#);
    client.subscribe("b");
    let counters = server.snapshot().unwrap().counters;
    let counted = [
        counters.errors_unknown_channel,
        counters.errors_permission_denied,
        counters.errors_already_subscribed,
        counters.errors_limit_exceeded,
        counters.errors_bad_request,
        counters.errors_not_available,
    ];
    assert_eq!(counted, [1; 6]);
    assert_eq!((counters.errors_other, counters.client_replies), (0, 10));
    assert_eq!((counters.client_subscribes, counters.client_unsubscribes), (2, 1));
}

#[test]
fn every_disconnect_arrives_with_its_reason_and_is_counted() {
    let server = serve(config(1), &settings());
    let token = "invalid token: it is no JWT";
    let bad_request = end(3501, "bad request");
    let before_connect = [
        (r#"{"id":1,"connect":{"token":"t"}}"#, end(3500, token)),
        (r#"{"id":1,"rpc":{}}"#, bad_request.clone()),
        ("{}", bad_request.clone()),
        ("not JSON", bad_request.clone()),
        ("", bad_request.clone()),
    ];
    for (frame, expected) in before_connect {
        let mut client = Client::dial(server.address());
        client.send(frame);
        assert_eq!(client.end(), expected, "{frame}");
    }
    let after_connect = [
        (r#"{"id":2,"connect":{}}"#, bad_request.clone()),
        (r#"{"id":2,"subscribe":{}}"#, bad_request.clone()),
        (r#"{"id":2,"ping":{}}"#, bad_request.clone()),
        ("{}", bad_request),
        (r#"{"send":{"data":{}}}"#, end(3508, "not available")),
    ];
    for (frame, expected) in after_connect {
        let mut client = Client::connect(server.address());
        client.send(frame);
        assert_eq!(client.end(), expected, "{frame}");
    }
    let counters = server.snapshot().unwrap().counters;
    let expected = [("invalid_token", 1), ("bad_request", 8), ("not_available", 1)];
    assert_eq!((disconnects(&counters), counters.closed_application), (expected.into(), 10));
    assert_eq!((counters.client_connects, counters.client_ends), (5, 5));
}

#[test]
fn what_was_asked_before_a_fault_is_answered_before_the_close() {
    let server = serve(config(1), &settings());
    let mut client = Client::connect(server.address());
    client.send("{\"id\":2,\"rpc\":{}}\n\n{\"id\":3,\"rpc\":{}}");
    assert_eq!(client.line()["id"], 2);
    assert_eq!(client.end().code, 3501);
}

#[test]
fn without_a_token_nobody_connects_unless_that_is_allowed() {
    let closed = SessionSettings { rules: Rules::default(), ..settings() };
    let server = serve(config(1), &closed);
    let mut client = Client::dial(server.address());
    client.send(r#"{"id":1,"connect":{}}"#);
    assert_eq!(client.end(), end(3501, "bad request"));
}

#[test]
fn who_does_not_connect_in_time_is_stale_and_who_has_stays() {
    let delay = Duration::from_millis(300);
    let server = serve(config(1), &SessionSettings { stale_close_delay: delay, ..settings() });
    let mut silent = Client::dial(server.address());
    assert_eq!(silent.end(), end(3502, "stale"));
    let mut connected = connect_within(&server);
    let mut silent = Client::dial(server.address());
    assert_eq!(silent.end(), end(3502, "stale"), "opened later, so the other's time is over too");
    assert_eq!(connected.ask(r#""rpc":{}"#)["error"]["code"], 108);
    let counters = server.snapshot().unwrap().counters;
    assert!(counters.disconnects_stale >= 2, "{counters:?}");
}

/// A session; tried again where the machine was too slow for the short time it has.
fn connect_within(server: &longwire::Running) -> Client {
    for _ in 0..100 {
        let mut client = Client::dial(server.address());
        client.send(r#"{"id":1,"connect":{}}"#);
        if client.next().is_ok() {
            return client;
        }
    }
    panic!("never in time");
}

#[test]
fn pings_come_are_answered_and_come_again() {
    let interval = Duration::from_secs(4);
    let pong_timeout = Duration::from_millis(3900);
    let settings = SessionSettings { ping_interval: Some(interval), pong_timeout, ..settings() };
    let server = serve(config(1), &settings);
    let mut client = Client::dial(server.address());
    client.send(r#"{"id":1,"connect":{}}"#);
    let connect = client.line()["connect"].clone();
    assert_eq!((&connect["ping"], &connect["pong"]), (&json!(4), &json!(true)));
    for _ in 0..2 {
        assert_eq!(client.line(), json!({}));
        client.send("{}");
    }
    client.send("{\"id\":2,\"rpc\":{}}");
    assert_eq!(client.line()["id"], 2, "the second pong was taken as well");
    client.send("{}\n{}"); // another ping may have left meanwhile, but not two
    let told = loop {
        match client.next() {
            Ok(line) => assert_eq!(line, json!({})),
            Err(told) => break told,
        }
    };
    assert_eq!(told, end(3501, "bad request"), "a pong that answers no ping");
}

#[test]
fn who_does_not_answer_a_ping_is_told_so() {
    let settings = SessionSettings {
        ping_interval: Some(Duration::from_millis(300)),
        pong_timeout: Duration::from_millis(200),
        ..settings()
    };
    let server = serve(config(1), &settings);
    let mut client = Client::connect(server.address());
    assert_eq!(client.line(), json!({}));
    assert_eq!(client.end(), end(3012, "no pong"));
    let counters = server.snapshot().unwrap().counters;
    assert_eq!(counters.message_pong_timeouts, 1);
    assert_eq!(disconnects(&counters), [("no_pong", 1)]);
}

#[test]
fn debugging_tools_may_have_ping_frames_instead() {
    let settings = SessionSettings {
        ping_interval: Some(Duration::from_secs(1)),
        pong_timeout: Duration::from_millis(900),
        ..settings()
    };
    let server = serve(config(1), &settings);
    for (query, announced) in [("", Some(1)), ("?cf_ws_frame_ping_pong=true", None)] {
        let path = format!("/connection/websocket{query}");
        let mut client = Client::dial_path(server.address(), &path);
        client.send(r#"{"id":1,"connect":{}}"#);
        let connect = client.line()["connect"].clone();
        assert_eq!(connect.get("ping").and_then(Value::as_u64), announced, "{query}");
        let ping = client.message();
        let expected =
            if announced.is_some() { Message::text("{}") } else { Message::Ping("".into()) };
        assert_eq!(ping, expected, "{query}");
    }
}

#[test]
fn a_server_that_stops_says_shutdown() {
    let server = serve(config(2), &settings());
    let mut client = Client::connect(server.address());
    server.stop();
    assert_eq!(client.end(), end(3001, "shutdown"));
    drop(client);
    let counters = server.join().counters;
    assert_eq!(disconnects(&counters), [("shutdown", 1)]);
    assert_eq!((counters.client_connects, counters.client_ends), (1, 1));
}

/// Be it over the bound of its own output or, with others, over that of all.
#[test]
fn a_client_that_does_not_read_is_cut_as_slow() {
    for (slow_count, is_budget) in [(1, false), (4, true)] {
        let mut config = config(1);
        let settings = SessionSettings { output_bytes_max: 64 * 1024, ..settings() };
        if is_budget {
            config.backlog_bytes_max = settings.output_bytes_max;
        }
        config.send_buffer_bytes = Some(4096);
        let server = serve(config, &settings);
        let mut slow: Vec<_> = (0..slow_count).map(|_| Client::connect(server.address())).collect();
        for client in &mut slow {
            client.subscribe("flood");
        }
        let mut publisher = Client::connect(server.address());
        let data = "x".repeat(16 * 1024);
        let publish = format!(r#""publish":{{"channel":"flood","data":"{data}"}}"#);
        let cut = (0..4096).find_map(|_| {
            publisher.ask(&publish);
            let counters = server.snapshot().unwrap().counters;
            (counters.closed_overflow > 0).then_some(counters)
        });
        let cut = cut.expect("somebody is cut");
        assert_eq!(cut.backlog_budget_cuts > 0, is_budget);
        assert_eq!(disconnects(&cut), [("slow", cut.closed_overflow)]);
        assert_eq!(publisher.ask(r#""rpc":{}"#)["error"]["code"], 108, "others are served");
    }
}

/// Publications in one frame, more than may wait for the members of a channel.
const FLOOD: usize = 1300;
const _: () = assert!(FLOOD > longwire::limits::CHANNEL_QUEUE_FRAMES_MAX);

/// Forty subscribers of a channel, and what a client has published there that does not read along.
fn flooded(options: ChannelOptions) -> (Running, Vec<Client>, Client) {
    let rules = Rules { insecure: true, without_namespace: options, ..Rules::default() };
    let server = serve(config(1), &SessionSettings { rules, ..settings() });
    let mut subscribers: Vec<_> = (0..40).map(|_| Client::connect(server.address())).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("g");
    }
    let mut publisher = Client::connect(server.address());
    let publish = |id: usize| format!(r#"{{"id":{id},"publish":{{"channel":"g","data":{id}}}}}"#);
    let flood: Vec<String> = (1..=FLOOD).map(publish).collect();
    publisher.send(&flood.join("\n"));
    for id in 1..=20 {
        publisher.send(&publish(FLOOD + id)); // these come while the flood is delivered
    }
    for _ in 0..FLOOD + 20 {
        publisher.line();
    }
    (server, subscribers, publisher)
}

const LAST: &str = r#""publish":{"channel":"g","data":"last"}"#;

#[test]
fn who_missed_publications_is_told_where_its_position_is_known_and_comes_back() {
    let history = Some(Retention { publications_max: 1, ttl_s: 600, meta_ttl_s: 600 });
    let options = ChannelOptions { history, force_positioning: true, ..ChannelOptions::default() };
    let (server, mut subscribers, mut publisher) = flooded(options);
    for subscriber in &mut subscribers {
        let mut last = 0;
        let push = loop {
            let push = subscriber.line()["push"].clone();
            let Some(number) = push["pub"]["data"].as_u64() else { break push };
            assert_eq!(number, last + 1, "nothing is missing without a word");
            last = number;
        };
        let told = json!({ "code": 2500, "reason": "insufficient state" });
        assert_eq!(push, json!({ "channel": "g", "unsubscribe": told }));
        assert!(last < FLOOD as u64);
        subscriber.subscribe("g"); // the next that it hears is the reply
    }
    publisher.ask(LAST);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.line()["push"]["pub"]["data"], "last");
    }
    let counters = server.snapshot().unwrap().counters;
    assert_eq!(counters.unsubscribes_insufficient_state, 40);
    assert!(counters.publications_missed > 0);
}

#[test]
fn who_missed_publications_where_no_position_is_known_goes_on() {
    let (server, mut subscribers, mut publisher) = flooded(ChannelOptions::default());
    let mut heard = 0;
    publisher.ask(LAST);
    for subscriber in &mut subscribers {
        let mut last = 0;
        loop {
            let push = subscriber.line()["push"].clone();
            let Some(number) = push["pub"]["data"].as_u64() else {
                assert_eq!(push["pub"]["data"], "last");
                break;
            };
            assert!(number > last, "in order, and at most once");
            (last, heard) = (number, heard + 1);
        }
    }
    let counters = server.snapshot().unwrap().counters;
    let missed = usize::try_from(counters.publications_missed).unwrap();
    assert_eq!(40 * (FLOOD + 20 - missed), heard, "what is not heard is counted");
    assert!(counters.publications_missed > 0);
    assert_eq!((counters.client_unsubscribes, counters.unsubscribes_insufficient_state), (0, 0));
}

#[test]
fn the_handshake_settles_what_is_spoken() {
    let server = serve(config(1), &settings());
    let address = server.address();
    let ask = |path: &str, protocol: Option<&str>| {
        let request = tungstenite::http::Request::builder()
            .uri(format!("ws://{address}{path}"))
            .header("Host", address.to_string())
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key());
        let request = match protocol {
            Some(protocol) => request.header("Sec-WebSocket-Protocol", protocol),
            None => request,
        };
        match tungstenite::client(request.body(()).unwrap(), Patient::connect(address)) {
            Ok((_, response)) => {
                let echoed = response.headers().get("sec-websocket-protocol").cloned();
                (101, echoed.map(|value| value.to_str().unwrap().to_owned()))
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                (response.status().as_u16(), None)
            }
            Err(error) => panic!("{path}: {error}"),
        }
    };
    let path = "/connection/websocket";
    assert_eq!(ask(path, None), (101, None));
    assert_eq!(ask("/connection/websocket/", None), (101, None));
    let json = "centrifuge-json";
    assert_eq!(ask(path, Some(json)), (101, Some(json.to_owned())));
    let protobuf = Some("centrifuge-protobuf".to_owned());
    assert_eq!(ask(path, Some("centrifuge-protobuf")), (101, protobuf));
    assert_eq!(ask("/connection/websocket?format=protobuf", None), (101, None));
    assert_eq!(ask("/connection", None).0, 404);
}
