//! Channels that the server puts clients into.
//!
//! Setup: a server with a key, whose tokens name channels, and clients on several shards. Claims:
//! the connect reply tells of all of them, with what was missed; their publications follow, and
//! none comes before; a client neither enters nor leaves them itself; a personal channel is the
//! user's own; a new token for others makes the client connect again.

use longwire::session::{ChannelOptions, PersonalChannel, Retention, Rules};
use longwire::token::{HmacKey, TokenRules};
use longwire::{Running, SessionSettings};
use protobuf::{command, field};
use serde_json::{Value, json};
use session::{Client, PATIENCE, config, serve, settings};
use std::time::Instant;
use tokens::{KEY, token};

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/tokens.rs"]
mod tokens;

fn rules() -> Rules {
    let history = Some(Retention { publications_max: 100, ttl_s: 600, meta_ttl_s: 600 });
    let open = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_publish_for_client: true,
        ..ChannelOptions::default()
    };
    let kept =
        ChannelOptions { history, force_recovery: true, allow_history_for_client: true, ..open };
    Rules {
        token: TokenRules { key: HmacKey::new(KEY.as_bytes()), ..TokenRules::default() },
        without_namespace: open,
        namespaces: [("kept".to_owned(), kept)].into(),
        ..Rules::default()
    }
}

fn server_with(rules: Rules) -> Running {
    serve(config(3), &SessionSettings { rules, ..settings() })
}

/// A client that has sent a connect command with these claims and these other fields.
fn dial(server: &Running, claims: &Value, fields: &str) -> Client {
    let mut client = Client::dial(server.address());
    let token = token(claims);
    client.command(&format!(r#""connect":{{"token":"{token}"{fields}}}"#));
    client
}

/// The same once it is connected, and the channels that it was put into.
fn connect(server: &Running, claims: &Value, fields: &str) -> (Client, Value) {
    let mut client = dial(server, claims, fields);
    let reply = client.line();
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    (client, reply["connect"]["subs"].clone())
}

fn publish(client: &mut Client, channel: &str, data: u64) {
    let reply = client.ask(&format!(r#""publish":{{"channel":"{channel}","data":{data}}}"#));
    assert!(reply.get("publish").is_some(), "{reply}");
    if channel.starts_with("kept:") {
        // The home has it, if it can answer what was asked behind it.
        let reply = client.ask(&format!(r#""history":{{"channel":"{channel}"}}"#));
        assert!(reply.get("history").is_some(), "{reply}");
    }
}

#[test]
fn the_connect_reply_tells_of_all_channels_and_their_publications_follow() {
    let server = server_with(rules());
    let (mut publisher, none) = connect(&server, &json!({ "sub": "bob" }), "");
    assert_eq!(none, Value::Null);
    let channels: Vec<String> = (0..20).map(|number| format!("kept:{number}")).collect();
    let claims = json!({ "sub": "ann", "channels": channels });
    for round in 1..=5 {
        // They are published while the client is being put into the channels.
        let mut client = dial(&server, &claims, "");
        for channel in &channels {
            publish(&mut publisher, channel, round);
        }
        let reply = client.line();
        let subs = reply["connect"]["subs"].as_object().unwrap_or_else(|| panic!("{reply}"));
        assert_eq!(subs.len(), channels.len());
        let mut awaited = 0;
        for channel in &channels {
            let sub = &subs[channel];
            assert_eq!((&sub["positioned"], &sub["recoverable"]), (&json!(true), &json!(true)));
            awaited += round - sub["offset"].as_u64().unwrap_or(0);
        }
        for _ in 0..awaited {
            let push = client.line()["push"].clone();
            assert_eq!(push["pub"]["offset"], round, "{push}");
        }
        assert_eq!(client.ask(r#""rpc":{}"#)["error"]["code"], 108, "and nothing else");
    }
}

#[test]
fn what_is_said_of_a_channel_is_told_and_what_was_missed_is_recovered() {
    let server = server_with(rules());
    let claims = json!({ "sub": "ann", "subs": { "kept:a": { "data": { "n": 1 } }, "b": {} } });
    let (mut client, subs) = connect(&server, &claims, "");
    assert_eq!((&subs["kept:a"]["data"], &subs["b"]), (&json!({ "n": 1 }), &json!({})));
    let epoch = subs["kept:a"]["epoch"].as_str().expect("an epoch").to_owned();
    publish(&mut connect(&server, &json!({ "sub": "bob" }), "").0, "kept:a", 1);
    assert_eq!(client.line()["push"]["pub"]["offset"], 1);
    drop(client);
    let mut publisher = connect(&server, &json!({ "sub": "bob" }), "").0;
    publish(&mut publisher, "kept:a", 2);
    publish(&mut publisher, "kept:a", 3);
    let held = format!(r#","subs":{{"kept:a":{{"recover":true,"offset":1,"epoch":"{epoch}"}}}}"#);
    let (mut client, subs) = connect(&server, &claims, &held);
    let told = &subs["kept:a"];
    let data: Vec<_> = told["publications"]
        .as_array()
        .unwrap_or_else(|| panic!("{told}"))
        .iter()
        .map(|publication| publication["data"].as_u64())
        .collect();
    assert_eq!(data, [Some(2), Some(3)]);
    assert_eq!((&told["recovered"], &told["offset"]), (&json!(true), &json!(1)));
    publish(&mut publisher, "kept:a", 4);
    assert_eq!(client.line()["push"]["pub"]["offset"], 4);
}

#[test]
fn a_client_of_protobuf_is_told_the_same() {
    let server = server_with(rules());
    let claims = json!({ "sub": "ann", "subs": { "kept:a": { "data": { "n": 1 } } } });
    let mut client = protobuf::Client::dial(server.address());
    client.send(&command(1, 4, &field(1, token(&claims).as_bytes())));
    let reply = client.reply();
    let result = reply.message(5).unwrap_or_else(|| panic!("{reply:?}"));
    let entry = result.message(6).unwrap_or_else(|| panic!("{result:?}"));
    assert_eq!(entry.text(1), "kept:a");
    let sub = entry.message(2).expect("a result");
    assert_eq!((sub.number(3), sub.number(10), sub.text(11)), (1, 1, r#"{"n":1}"#));
    publish(&mut connect(&server, &json!({ "sub": "bob" }), "").0, "kept:a", 7);
    assert_eq!(client.publication(), b"7");
}

#[test]
fn a_client_neither_enters_nor_leaves_such_a_channel_itself() {
    let server = server_with(rules());
    let (mut client, _) = connect(&server, &json!({ "sub": "ann", "channels": ["a"] }), "");
    let subscribed = client.ask(r#""subscribe":{"channel":"a"}"#);
    assert_eq!(subscribed["error"]["code"], 105);
    assert_eq!(client.ask(r#""unsubscribe":{"channel":"a"}"#)["error"]["code"], 103);
    publish(&mut connect(&server, &json!({ "sub": "bob" }), "").0, "a", 7);
    assert_eq!(client.line()["push"]["pub"]["data"], 7, "it is still there");
}

#[test]
fn a_user_hears_in_its_own_channel_on_all_shards_and_others_do_not() {
    let personal_channel = Some(PersonalChannel::default());
    let server = server_with(Rules { personal_channel, ..rules() });
    let mut of_ann: Vec<Client> = (0..8)
        .map(|_| {
            let (client, subs) = connect(&server, &json!({ "sub": "ann" }), "");
            assert_eq!(subs, json!({ "#ann": {} }));
            client
        })
        .collect();
    let (mut bob, subs) = connect(&server, &json!({ "sub": "bob" }), "");
    assert_eq!(subs, json!({ "#bob": {} }));
    publish(&mut bob, "#ann", 7);
    for client in &mut of_ann {
        assert_eq!(client.line()["push"]["channel"], "#ann");
    }
    assert_eq!(bob.ask(r#""rpc":{}"#)["error"]["code"], 108, "it heard nothing");
}

#[test]
fn of_the_connections_of_a_user_who_may_have_one_the_last_stays() {
    let personal_channel = Some(PersonalChannel { is_single: true, ..PersonalChannel::default() });
    let server = server_with(Rules { personal_channel, ..rules() });
    let (mut bob, _) = connect(&server, &json!({ "sub": "bob" }), "");
    // Somebody else who is in the channel, by its token.
    let (mut carl, _) = connect(&server, &json!({ "sub": "carl", "channels": ["#ann"] }), "");
    let mut before: Option<Client> = None;
    // On whichever shards they are.
    for round in 1..=12 {
        let (mut client, subs) = connect(&server, &json!({ "sub": "ann" }), "");
        assert_eq!(subs, json!({ "#ann": {} }));
        if let Some(mut before) = before.take() {
            let end = before.end();
            assert_eq!((end.code, &*end.reason), (3504, "connection limit"));
        }
        publish(&mut bob, "#ann", round);
        assert_eq!(client.line()["push"]["pub"]["data"], round);
        before = Some(client);
    }
    // And of a crowd that comes at once.
    let mut crowd: Vec<Client> =
        (0..12).map(|_| dial(&server, &json!({ "sub": "ann" }), "")).collect();
    assert_eq!(before.expect("the last").end().code, 3504);
    for client in &mut crowd {
        assert!(client.line()["connect"]["client"].is_string());
    }
    let deadline = Instant::now() + PATIENCE;
    while server.snapshot().expect("it runs").counters.disconnects_connection_limit < 12 + 11 {
        assert!(Instant::now() < deadline, "more than one stays");
        std::thread::yield_now();
    }
    publish(&mut bob, "#ann", 99);
    let heard = crowd.iter_mut().filter_map(|client| client.next().ok()).count();
    assert_eq!(heard, 1, "one is left, and hears what is published");
    while carl.line()["push"]["pub"]["data"] != 99 {}
}

#[test]
fn channels_that_cannot_be_end_the_connection_with_their_code() {
    let server = server_with(Rules { channel_limit: 2, ..rules() });
    let many = json!({ "sub": "ann", "channels": ["a", "b", "c"] });
    assert_eq!(dial(&server, &many, "").end().code, 3505);
    let unknown = json!({ "sub": "ann", "channels": ["none:a"] });
    assert_eq!(dial(&server, &unknown, "").line()["error"]["code"], 102);
    let (mut client, _) = connect(&server, &json!({ "sub": "ann", "channels": ["a"] }), "");
    let same = token(&json!({ "sub": "ann", "channels": ["a"], "jti": "2" }));
    let reply = client.ask(&format!(r#""refresh":{{"token":"{same}"}}"#));
    assert!(reply.get("refresh").is_some(), "{reply}");
    let other = token(&json!({ "sub": "ann", "channels": ["b"] }));
    client.command(&format!(r#""refresh":{{"token":"{other}"}}"#));
    assert_eq!(client.end().code, 3010);
}
