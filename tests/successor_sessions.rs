//! Sessions of the client protocol, whose server's binary is replaced while they go on.
//!
//! Setup: `longwire serve` as a process of its own, its successors started by it, with more and
//! with fewer shards; clients over loopback. Claims: a session stays on its socket, with its client
//! id and its subscriptions, and hears every publication once and in order.

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;
#[path = "support/tokens.rs"]
mod tokens;

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use session::Client;
use successors::Succession;

#[test]
fn an_idle_session_goes_on_and_hears_what_is_published_once() {
    let mut server = Succession::start(2, "[client]\ninsecure = true\n");
    let mut clients: Vec<Client> = (0..9).map(|_| Client::connect(server.address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe("all");
        client.subscribe(&format!("own{number}"));
    }
    for shards in [3, 2, 1] {
        server.upgrade_to(shards);
        server.publish("all", &shards.to_string());
        for (number, client) in clients.iter_mut().enumerate() {
            let heard = client.line();
            let expected = json!({"push": {"channel": "all", "pub": {"data": shards}}});
            assert_eq!(heard, expected, "{number} of {shards}");
            let own = format!("own{number}");
            let reply = client.ask(&format!(r#""publish":{{"channel":"{own}","data":{number}}}"#));
            assert_eq!(reply["publish"], json!({}), "{reply}");
            assert_eq!(client.line()["push"]["pub"]["data"], json!(number));
        }
    }
    drop(clients);
    server.stop();
}

#[test]
fn who_cannot_take_over_says_why_and_a_rehearsal_changes_nothing() {
    let mut server = Succession::start(2, "[client]\ninsecure = true\n");
    let mut client = Client::connect(server.address);
    client.subscribe("all");
    // More than any server has: the configuration itself is refused.
    let said = server.fails_to_upgrade(100_000);
    assert!(said.starts_with("failed: the new process cannot take over: "), "{said}");
    assert!(said.contains("shards"), "{said}");
    server.rehearse(3);
    server.publish("all", "1");
    assert_eq!(client.line()["push"]["pub"]["data"], json!(1));
    server.upgrade_to(3);
    server.publish("all", "2");
    assert_eq!(client.line()["push"]["pub"]["data"], json!(2));
    drop(client);
    server.stop();
}

const KEPT: &str = "[client]\ninsecure = true\n[channel.without_namespace]\nhistory_size = 10\nhistory_ttl = \"10m\"\n\
                    force_recovery = true\n";

#[test]
fn streams_keep_their_epoch_their_offsets_and_what_was_published() {
    let mut server = Succession::start(2, KEPT);
    let channels: Vec<String> = (0..9).map(|number| format!("kept{number}")).collect();
    for channel in &channels {
        (1..=12).for_each(|number| drop(server.publish(channel, &number.to_string())));
    }
    let mut member = Client::connect(server.address);
    let mut positions = Vec::new();
    for channel in &channels {
        let reply = member.ask(&format!(r#""subscribe":{{"channel":"{channel}"}}"#));
        assert_eq!(reply["subscribe"]["offset"], 12, "{reply}");
        positions.push(reply["subscribe"]["epoch"].as_str().unwrap().to_owned());
    }
    for (round, shards) in (0..).zip([3, 2, 1]) {
        server.upgrade_to(shards);
        for (channel, epoch) in channels.iter().zip(&positions) {
            let offset = 13 + round;
            let placed = server.publish(channel, "\"new\"");
            assert_eq!(placed, json!({"offset": offset, "epoch": epoch}));
            let heard = member.line();
            let expected = json!({"channel": channel, "pub": {"data": "new", "offset": offset}});
            assert_eq!(heard["push"], expected);
            let mut back = Client::connect(server.address);
            let since = format!(r#""recover":true,"epoch":"{epoch}","offset":{}"#, offset - 5);
            let reply = back.ask(&format!(r#""subscribe":{{"channel":"{channel}",{since}}}"#));
            let reply = &reply["subscribe"];
            assert_eq!(reply["recovered"], true, "{reply}");
            assert_eq!(reply["publications"].as_array().map(Vec::len), Some(5), "{reply}");
            let history =
                server.api("history", &format!(r#"{{"channel":"{channel}","limit":99}}"#));
            let offsets: Vec<_> = history["publications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["offset"].as_u64().unwrap())
                .collect();
            assert_eq!(offsets, (offset - 9..=offset).collect::<Vec<_>>());
        }
    }
    drop(member);
    server.stop();
}

const ATTENDED: &str = "[client]\ninsecure = true\n[channel.without_namespace]\npresence = true\njoin_leave = true\n\
                        force_push_join_leave = true\n";

#[test]
fn those_present_stay_so_and_are_told_of_those_who_come_and_go() {
    let mut server = Succession::start(2, ATTENDED);
    let mut members: Vec<Client> = (0..6).map(|_| Client::connect(server.address)).collect();
    for member in &mut members {
        member.subscribe("room");
    }
    let present = |server: &Succession| {
        let result = server.api("presence", r#"{"channel":"room"}"#);
        result["presence"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let before = present(&server);
    assert_eq!(before.len(), 6);
    for shards in [3, 1, 2] {
        server.upgrade_to(shards);
        assert_eq!(present(&server), before, "the same clients, by their ids");
    }
    drop(members.pop());
    let last = members.first_mut().unwrap();
    loop {
        let line = last.line();
        if line["push"]["leave"].is_object() {
            break;
        }
        assert!(line["push"]["join"].is_object(), "{line}");
    }
    assert_eq!(present(&server).len(), 5);
    drop(members);
    server.stop();
}

#[test]
fn a_session_in_protobuf_goes_on_beside_those_in_json() {
    let mut server = Succession::start(1, "[client]\ninsecure = true\n");
    let mut binary = protobuf::Client::connect(server.address);
    let mut text = Client::connect(server.address);
    binary.subscribe("all");
    text.subscribe("all");
    for shards in [2, 3] {
        server.upgrade_to(shards);
        let data = format!(r#"{{"shards":{shards}}}"#);
        server.publish("all", &data);
        assert_eq!(binary.publication(), data.as_bytes());
        assert_eq!(text.line()["push"]["pub"]["data"], json!({"shards": shards}));
    }
    drop((binary, text));
    server.stop();
}

/// Connects as ann, by a token that has a name and so much time.
fn sign_in(server: &Succession, name: &str, life: Duration) -> Client {
    let claims = json!({"sub": "ann", "jti": name, "exp": tokens::in_time(life)});
    let mut client = Client::dial(server.address);
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, tokens::token(&claims)));
    client
}

const SIGNED: &str = "[client]\nuser_connection_limit = 3\nexpired_close_delay = \"1s\"\n\
                      [client.token]\nhmac_secret_key = \"a key of tests\"\n";

#[test]
fn users_are_counted_found_and_put_out_by_what_they_were_before() {
    let mut server = Succession::start(2, SIGNED);
    let long = Duration::from_hours(1);
    let names = ["one", "two", "three"];
    let [mut one, mut two, mut three] = names.map(|name| {
        let life = if name == "three" { Duration::from_secs(15) } else { long };
        let mut client = sign_in(&server, name, life);
        assert!(client.line()["connect"]["client"].is_string());
        client
    });
    for shards in [3, 1] {
        server.upgrade_to(shards);
        let end = sign_in(&server, "four", long).end();
        assert_eq!(end.code, 3504, "she has three: {end:?}");
    }
    server.api("revoke_token", r#"{"uid":"one"}"#);
    assert_eq!(one.end().code, 3500, "her token is found by its name");
    server.upgrade_to(2);
    let end = sign_in(&server, "one", long).end();
    assert_eq!(end.code, 3500, "it stays revoked: {end:?}");
    assert_eq!(three.end().code, 3005, "her time goes on");
    server.api("disconnect", r#"{"user":"ann"}"#);
    assert_eq!(two.end().code, 3503, "she is found by her name");
    server.stop();
}

#[test]
fn a_command_that_waits_for_a_back_end_is_answered_with_a_temporary_error() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/rpc", silent.local_addr().unwrap());
    let mut server = Succession::start(
        2,
        &format!(
            "[client]\ninsecure = true\n[rpc.proxy]\nendpoint = \"{endpoint}\"\ntimeout = \"1m\"\n\
             [rpc.without_namespace]\nproxy_enabled = true\n"
        ),
    );
    let mut client = Client::connect(server.address);
    client.subscribe("all");
    let id = client.command(r#""rpc":{"method":"wait","data":{}}"#);
    // It has been asked, and does not answer.
    let asked = silent.accept().unwrap();
    server.upgrade_to(3);
    let reply = client.line();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(id), &json!(100)), "{reply}");
    assert_eq!(reply["error"]["temporary"], true, "{reply}");
    server.publish("all", "1");
    assert_eq!(client.line()["push"]["pub"]["data"], 1);
    drop((client, asked));
    server.stop();
}

#[test]
fn who_reads_by_a_filter_goes_on_doing_so() {
    let mut server = Succession::start(
        2,
        "[client]\ninsecure = true\n[channel.without_namespace]\nallow_tags_filter = true\n",
    );
    let mut client = Client::connect(server.address);
    let filter = r#"{"op":"not","nodes":[{"key":"level","cmp":"lt","val":"7.5"}]}"#;
    let reply = client.ask(&format!(r#""subscribe":{{"channel":"all","tf":{filter}}}"#));
    assert!(reply["subscribe"].is_object(), "{reply}");
    for shards in [3, 1] {
        server.upgrade_to(shards);
        for level in ["7", "10"] {
            let body = format!(
                r#"{{"channel":"all","data":{{"level":{level}}},"tags":{{"level":"{level}"}}}}"#
            );
            server.api("publish", &body);
        }
        assert_eq!(client.line()["push"]["pub"]["data"], json!({"level": 10}));
    }
    drop(client);
    server.stop();
}

const ACKNOWLEDGED: &str = "[client.token]\nhmac_secret_key = \"a key of tests\"\n\
                            [channel.without_namespace]\nacknowledged = true\n\
                            acknowledged_size = 5\nallow_subscribe_for_client = true\n";

/// The number and the data of the next publication, and how often it was sent again.
fn owed(client: &mut Client) -> (String, u64, Option<u64>) {
    let line = client.line();
    let publication = &line["push"]["pub"];
    let tag = |name: &str| publication["tags"][name].as_str().map(str::to_owned);
    let id = tag("lw_id").unwrap_or_else(|| panic!("{line}"));
    let tries = tag("lw_try").map(|tries| tries.parse().expect("a number"));
    (id, publication["data"].as_u64().expect("a number"), tries)
}

/// Acknowledges these, whatever is sent again before the reply.
fn acknowledge(client: &mut Client, ids: &[String]) {
    let data = json!({"channel": "orders", "ids": ids});
    let id = client.command(&format!(r#""rpc":{{"method":"longwire.ack","data":{data}}}"#));
    while client.line()["id"] != id {}
}

/// What a client that subscribes is told of its losses.
fn told(client: &mut Client) -> serde_json::Value {
    let id = client.command(r#""subscribe":{"channel":"orders"}"#);
    let reply = client.line();
    assert_eq!(reply["id"], id, "{reply}");
    reply["subscribe"]["data"]["lw_lost"].clone()
}

#[test]
fn what_is_not_acknowledged_comes_again_from_whoever_serves_then() {
    let mut server = Succession::start(2, ACKNOWLEDGED);
    let long = Duration::from_hours(1);
    let sign_in = |server: &Succession| {
        let mut client = sign_in(server, "one", long);
        assert!(client.line()["connect"]["client"].is_string());
        client
    };
    let mut ann = sign_in(&server);
    assert_eq!(told(&mut ann), json!(null));
    (1..=3).for_each(|number| drop(server.publish("orders", &number.to_string())));
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < 3 {
        let (id, number, _) = owed(&mut ann);
        if !ids.contains(&id) {
            ids.push(id);
            assert_eq!(number, ids.len() as u64);
        }
    }
    acknowledge(&mut ann, &ids[..1]);
    for (round, shards) in (4..).zip([3, 1]) {
        server.upgrade_to(shards);
        // On the same socket: what she was sent by the other process she acknowledges here.
        let mut again: Vec<String> = Vec::new();
        while again.len() < 2 {
            let (id, number, tries) = owed(&mut ann);
            if tries.is_some() && !again.contains(&id) {
                assert_eq!(id, ids[usize::try_from(number).unwrap() - 1]);
                again.push(id);
            }
        }
        acknowledge(&mut ann, &ids[usize::try_from(round).unwrap() - 3..][..1]);
        server.publish("orders", &round.to_string());
        let id = loop {
            let (id, number, tries) = owed(&mut ann);
            if number == round && tries.is_none() {
                break id;
            }
        };
        assert!(!ids.contains(&id), "numbers go on");
        ids.push(id);
    }
    // What is published while she is away waits for her, and what is too much is told.
    drop(ann);
    (6..=10).for_each(|number| drop(server.publish("orders", &number.to_string())));
    server.upgrade_to(2);
    let mut ann = sign_in(&server);
    assert_eq!(told(&mut ann), json!(2), "of seven, five are kept");
    drop(ann);
    server.upgrade_to(3);
    let mut ann = sign_in(&server);
    assert_eq!(told(&mut ann), json!(2), "she has not said that she knows");
    let mut heard = std::collections::BTreeMap::new();
    while heard.len() < 5 {
        let (id, number, tries) = owed(&mut ann);
        assert!(tries.is_some(), "{number}");
        heard.insert(number, id);
    }
    assert!(heard.keys().copied().eq(6..=10), "{heard:?}");
    acknowledge(&mut ann, &heard.into_values().collect::<Vec<_>>());
    drop(ann);
    server.upgrade_to(1);
    let mut ann = sign_in(&server);
    assert_eq!(told(&mut ann), json!(null));
    server.publish("orders", "11");
    assert_eq!(owed(&mut ann).1, 11, "nothing else is left");
    drop(ann);
    server.stop();
}

#[test]
fn a_publication_under_a_key_is_made_once_whoever_serves() {
    let mut server = Succession::start(2, KEPT);
    let mut member = Client::connect(server.address);
    member.subscribe("all");
    let publish = |server: &Succession, key: &str, data: u64| {
        let body = format!(r#"{{"channel":"all","data":{data},"idempotency_key":"{key}"}}"#);
        server.api("publish", &body)["offset"].as_u64().expect("a number")
    };
    // As many that they leave in several parts.
    let keys: Vec<String> = (1..=200).map(|number| format!("key{number}")).collect();
    for (key, number) in keys.iter().zip(1..) {
        assert_eq!(publish(&server, key, number), number);
    }
    for shards in [3, 1] {
        server.upgrade_to(shards);
        for (key, number) in keys.iter().zip(1..) {
            assert_eq!(publish(&server, key, 0), number, "{key}");
        }
    }
    assert_eq!(publish(&server, "another", 201), 201);
    for number in 1..=201 {
        assert_eq!(member.line()["push"]["pub"]["data"], json!(number));
    }
    drop(member);
    server.stop();
}
