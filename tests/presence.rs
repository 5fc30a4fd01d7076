//! Who is in a channel, and who comes and goes.
//!
//! Setup: channels with presence, clients of several users and both formats on several shards.
//! Claims: the list has every client that is there with what its token says of it, and nobody who
//! has left or lost its connection; the numbers count clients and users; comings and goings are
//! told to those who ask for it, in either format, a client's own coming included.

use std::collections::BTreeSet;

use longwire::session::{ChannelOptions, Rules};
use longwire::token::{HmacKey, TokenRules};
use longwire::{Running, SessionSettings};
use protobuf::{command, field, number};
use serde_json::{Map, Value, json};
use session::{Client, PATIENCE, config, serve, settings};
use tokens::{KEY, token};

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/tokens.rs"]
mod tokens;

fn server() -> Running {
    let seen = ChannelOptions {
        allow_subscribe_for_client: true,
        presence: true,
        allow_presence_for_client: true,
        join_leave: true,
        ..ChannelOptions::default()
    };
    let silent = ChannelOptions { join_leave: false, ..seen };
    let rules = Rules {
        token: TokenRules { key: HmacKey::new(KEY.as_bytes()), ..TokenRules::default() },
        without_namespace: seen,
        namespaces: [("silent".to_owned(), silent)].into(),
        ..Rules::default()
    };
    serve(config(3), &SessionSettings { rules, ..settings() })
}

/// A client with these claims, and its id.
fn connect(server: &Running, claims: &Value) -> (Client, String) {
    let mut client = Client::dial(server.address());
    let reply = client.ask(&format!(r#""connect":{{"token":"{}"}}"#, token(claims)));
    let id = reply["connect"]["client"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    (client, id)
}

fn presence(client: &mut Client, channel: &str) -> Value {
    let reply = client.ask(&format!(r#""presence":{{"channel":"{channel}"}}"#));
    reply["presence"]["presence"].clone()
}

fn stats(client: &mut Client, channel: &str) -> (u64, u64) {
    let reply = client.ask(&format!(r#""presence_stats":{{"channel":"{channel}"}}"#));
    let stats = &reply["presence_stats"];
    let count = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("{reply}"));
    (count("num_clients"), count("num_users"))
}

/// Waits for the news that a connection has ended to reach the channel's home.
fn wait_for(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it never is so");
        std::thread::yield_now();
    }
}

#[test]
fn the_list_has_everyone_who_is_there_and_what_is_said_of_them() {
    let server = server();
    for channel in ["silent:a", "silent:b", "silent:c"] {
        let subs = json!({ channel: { "info": { "seat": 7 } } });
        let ann = json!({ "sub": "ann", "info": { "name": "Ann" }, "subs": subs });
        let (mut ann, ann_id) = connect(&server, &ann);
        let (mut bob, bob_id) = connect(&server, &json!({ "sub": "bob" }));
        assert_eq!(presence(&mut bob, channel).as_object().map(Map::len), Some(1));
        bob.subscribe(channel);
        let expected = json!({
            &*ann_id: { "user": "ann", "client": ann_id, "conn_info": { "name": "Ann" },
                "chan_info": { "seat": 7 } },
            &*bob_id: { "user": "bob", "client": bob_id },
        });
        assert_eq!(presence(&mut ann, channel), expected);
        let (mut second, _) = connect(&server, &json!({ "sub": "bob" }));
        second.subscribe(channel);
        assert_eq!(stats(&mut ann, channel), (3, 2));
        bob.ask(&format!(r#""unsubscribe":{{"channel":"{channel}"}}"#));
        assert_eq!(stats(&mut bob, channel), (2, 2));
        drop(second);
        wait_for(|| stats(&mut ann, channel) == (1, 1));
        drop(ann);
        wait_for(|| presence(&mut bob, channel) == json!({}));
    }
}

/// The next that a client is told of a channel: who came (true) or left.
fn news(client: &mut Client, channel: &str) -> (bool, String) {
    let push = client.line()["push"].clone();
    assert_eq!(push["channel"], channel, "{push}");
    let (has_come, told) = match push.get("join") {
        Some(join) => (true, join),
        None => (false, &push["leave"]),
    };
    let id = told["info"]["client"].as_str().unwrap_or_else(|| panic!("{push}"));
    (has_come, id.to_owned())
}

#[test]
fn comings_and_goings_are_told_to_those_who_ask() {
    let server = server();
    let (mut ann, ann_id) = connect(&server, &json!({ "sub": "ann" }));
    let (mut deaf, deaf_id) = connect(&server, &json!({ "sub": "deaf" }));
    for channel in ["a", "b", "c"] {
        let subscribe = format!(r#""subscribe":{{"channel":"{channel}","join_leave":true}}"#);
        ann.ask(&subscribe);
        assert_eq!(news(&mut ann, channel), (true, ann_id.clone()), "of itself");
        deaf.subscribe(channel);
        assert_eq!(news(&mut ann, channel), (true, deaf_id.clone()));
        let (mut bob, bob_id) = connect(&server, &json!({ "sub": "bob" }));
        bob.subscribe(channel);
        assert_eq!(news(&mut ann, channel), (true, bob_id.clone()));
        drop(bob);
        assert_eq!(news(&mut ann, channel), (false, bob_id));
        deaf.ask(&format!(r#""unsubscribe":{{"channel":"{channel}"}}"#));
        assert_eq!(news(&mut ann, channel), (false, deaf_id.clone()));
    }
    assert_eq!(deaf.ask(r#""rpc":{}"#)["error"]["code"], 108, "who did not ask heard nothing");
    ann.ask(r#""subscribe":{"channel":"silent:a","join_leave":true}"#);
    deaf.subscribe("silent:a");
    // By the time that two more are told of, that one would have been.
    let (mut bob, bob_id) = connect(&server, &json!({ "sub": "bob" }));
    bob.subscribe("a");
    assert_eq!(news(&mut ann, "a"), (true, bob_id.clone()), "it is not told in every channel");
    drop(bob);
    assert_eq!(news(&mut ann, "a"), (false, bob_id), "nor later");
}

#[test]
fn a_client_of_protobuf_sees_and_hears_the_same() {
    let server = server();
    let mut client = protobuf::Client::dial(server.address());
    let ann = token(&json!({ "sub": "ann", "info": [1] }));
    client.send(&command(1, 4, &field(1, ann.as_bytes())));
    let connected = client.reply().message(5).expect("a connect result");
    let id = connected.text(1).to_owned();
    client.send(&command(2, 5, &[field(1, b"a"), number(11, 1)].concat()));
    assert!(client.reply().message(6).is_some());
    let own = client.reply().message(4).and_then(|push| push.message(5)).expect("a join");
    let info = own.message(1).expect("who");
    assert_eq!((info.text(1), info.text(2), info.text(3)), ("ann", &*id, "[1]"));
    let (mut bob, bob_id) = connect(&server, &json!({ "sub": "bob" }));
    bob.ask(r#""subscribe":{"channel":"a","join_leave":true}"#);
    let join = client.reply().message(4).and_then(|push| push.message(5)).expect("a join");
    assert_eq!(join.message(1).expect("who").text(2), bob_id);
    assert_eq!(news(&mut bob, "a").1, bob_id);

    client.send(&command(3, 8, &field(1, b"a")));
    let reply = client.reply();
    let list = reply.message(9).unwrap_or_else(|| panic!("{reply:?}"));
    let ids: BTreeSet<String> =
        list.messages(1).iter().map(|entry| entry.text(1).to_owned()).collect();
    assert_eq!(ids, [id.clone(), bob_id].into());
    drop(client);
    assert_eq!(news(&mut bob, "a"), (false, id));
}
