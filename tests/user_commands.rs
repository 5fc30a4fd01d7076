//! What back ends do to a user's clients, by the server API.
//!
//! Setup: a server of three shards, and clients of several users on every one of them. Claims: a
//! command reaches all clients that it means, wherever they are, and nobody else; it has been done
//! when it is answered; a user without clients is no error.

use longwire::control::{ChannelKind, Channels, Kept};
use longwire::session::{ChannelOptions, Retention};
use longwire::{Running, SessionSettings};
use serde_json::json;
use session::{Client, End, config, settings};

#[path = "support/api.rs"]
mod api;
#[path = "support/session.rs"]
mod session;

const SHARDS: u32 = 3;

/// A server that believes who its clients say they are.
fn server() -> Running {
    let settings = SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..settings() };
    let mut config = config(SHARDS);
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    api::serve(config, &settings, Channels::default())
}

/// A client of a user, and its name.
fn connect(server: &Running, user: &str) -> (Client, String) {
    let mut client = Client::dial_with(server.address(), &[("X-User", user)]);
    let reply = client.ask(r#""connect":{}"#);
    let name = reply["connect"]["client"].as_str().unwrap_or_else(|| panic!("{reply}"));
    (client, name.to_owned())
}

/// Enough clients of each that every shard has some.
fn connect_many(server: &Running, user: &str) -> Vec<(Client, String)> {
    (0..8 * SHARDS).map(|_| connect(server, user)).collect()
}

/// The client is there, and has been told nothing.
fn assert_untold(client: &mut Client) {
    let reply = client.ask(r#""unsubscribe":{"channel":"none"}"#);
    assert_eq!(reply["unsubscribe"], json!({}), "{reply}");
}

/// A server whose channels `kept:…` keep what is published in them.
fn keeping_server() -> Running {
    let history = Retention { publications_max: 10, ttl_s: 600, meta_ttl_s: 600 };
    let kept = ChannelOptions { history: Some(history), ..ChannelOptions::default() };
    let mut settings =
        SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..settings() };
    settings.rules.namespaces = [("kept".to_owned(), kept)].into();
    let kept = Kept { publications_max: 10, ttl_s: 600, meta_ttl_s: 600 };
    let keeping = ChannelKind { kept: Some(kept), ..ChannelKind::default() };
    let namespaces = [("kept".to_owned(), keeping)].into();
    let mut config = config(SHARDS);
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    api::serve(config, &settings, Channels { namespaces, ..Channels::default() })
}

#[test]
fn clients_are_put_into_channels_and_out_of_them() {
    let server = keeping_server();
    let done = json!({ "result": {} });
    let command = |method, body| {
        assert_eq!(api::command(server.address(), method, &body), done, "{method}");
    };
    let mut of_ann: Vec<_> = connect_many(&server, "ann");
    let (mut other, _) = connect(&server, "bob");
    let data = json!({ "welcome": true });
    command("subscribe", json!({ "user": "ann", "channel": "room", "data": data }));
    command("subscribe", json!({ "user": "ann", "channel": "room" }));
    command("publish", json!({ "channel": "room", "data": 1 }));
    command("unsubscribe", json!({ "user": "ann", "channel": "room" }));
    command("publish", json!({ "channel": "room", "data": 2 }));
    for (client, _) in &mut of_ann {
        let push = client.line()["push"].clone();
        assert_eq!(push, json!({ "channel": "room", "subscribe": { "data": data } }));
        assert_eq!(client.line()["push"]["pub"]["data"], 1);
        let push = client.line()["push"].clone();
        let why = json!({ "code": 2000, "reason": "server unsubscribe" });
        assert_eq!(push, json!({ "channel": "room", "unsubscribe": why }));
        assert_untold(client);
    }
    assert_untold(&mut other);
    command("subscribe", json!({ "user": "nobody", "channel": "room" }));
    command("refresh", json!({ "user": "ann", "expired": true }));
    for (mut client, _) in of_ann {
        assert_eq!(client.end(), End { code: 3005, reason: "connection expired".to_owned() });
    }
    assert_untold(&mut other);
}

#[test]
fn who_is_put_into_a_channel_recovers_from_where_the_back_end_says() {
    let server = keeping_server();
    let mut clients = connect_many(&server, "ann");
    let publish = |data: u64| {
        let body = json!({ "channel": "kept:a", "data": data });
        api::command(server.address(), "publish", &body);
    };
    (1..=3).for_each(publish);
    let subscribe = json!({
        "user": "ann",
        "channel": "kept:a",
        "recover_since": { "offset": 1 },
        "override": { "force_recovery": { "value": true } },
    });
    api::command(server.address(), "subscribe", &subscribe);
    publish(4);
    for (client, _) in &mut clients {
        let push = client.line()["push"]["subscribe"].clone();
        assert_eq!((&push["recoverable"], &push["offset"]), (&json!(true), &json!(1)), "{push}");
        for data in 2..=4 {
            let push = client.line()["push"]["pub"].clone();
            assert_eq!((&push["data"], &push["offset"]), (&json!(data), &json!(data)), "{push}");
        }
    }
}

#[test]
fn a_disconnect_ends_all_clients_of_a_user_and_of_nobody_else() {
    let server = server();
    let done = json!({ "result": {} });
    let [of_ann, mut of_bob, mut of_nobody] =
        ["ann", "bob", ""].map(|user| connect_many(&server, user));
    let out = json!({ "user": "ann", "disconnect": { "code": 4005, "reason": "go home" } });
    assert_eq!(api::command(server.address(), "disconnect", &out), done);
    // All shards have closed them before the answer; here is the end of each.
    for (mut client, _) in of_ann {
        assert_eq!(client.end(), End { code: 4005, reason: "go home".to_owned() });
    }
    let again = json!({ "user": "ann" });
    assert_eq!(api::command(server.address(), "disconnect", &again), done, "nobody is there");

    let (mut first, name) = of_bob.pop().expect("many");
    let one = json!({ "user": "bob", "client": name });
    assert_eq!(api::command(server.address(), "disconnect", &one), done);
    assert_eq!(first.end(), End { code: 3503, reason: "force disconnect".to_owned() });
    let not_of_ann = json!({ "user": "ann", "client": of_bob[0].1 });
    api::command(server.address(), "disconnect", &not_of_ann);
    let no_session = json!({ "user": "bob", "session": "none" });
    api::command(server.address(), "disconnect", &no_session);
    for (client, _) in &mut of_bob {
        assert_untold(client);
    }

    let (mut spared, name) = of_bob.pop().expect("many");
    let but_one = json!({ "user": "bob", "whitelist": [name] });
    assert_eq!(api::command(server.address(), "disconnect", &but_one), done);
    for (client, _) in &mut of_bob {
        assert_eq!(client.end().code, 3503);
    }
    assert_untold(&mut spared);

    for (client, _) in &mut of_nobody {
        assert_untold(client);
    }
    assert_eq!(api::command(server.address(), "disconnect", &json!({ "user": "" })), done);
    for (client, _) in &mut of_nobody {
        assert_eq!(client.end().code, 3503);
    }
    let counters = server.join().counters;
    assert_eq!(counters.user_commands, 3 * u64::from(8 * SHARDS) - 1);
}
