//! What back ends do to a user's clients, by the server API.
//!
//! Setup: a server of three shards, and clients of several users on every one of them. Claims: a
//! command reaches all clients that it means, wherever they are, and nobody else; it has been done
//! when it is answered; a user without clients is no error; who is connecting, or is being asked
//! about, is no exception.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use backend::{BackEnd, Reply};
use longwire::backend::{Proxies, Proxy};
use longwire::control::{ChannelKind, Channels, Kept};
use longwire::session::{ChannelHooks, ChannelOptions, Hooks, PersonalChannel, Retention};
use longwire::{Running, SessionSettings};
use serde_json::{Value, json};
use session::{Client, End, config, settings};

#[path = "support/api.rs"]
mod api;
#[path = "support/backend.rs"]
mod backend;
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
    for (client, _) in &mut of_ann {
        let push = client.line()["push"].clone();
        assert_eq!(push, json!({ "channel": "room", "subscribe": { "data": data } }));
        // A publication that is on its way may come too late for who is put out.
        assert_eq!(client.line()["push"]["pub"]["data"], 1);
    }
    command("unsubscribe", json!({ "user": "ann", "channel": "room" }));
    command("publish", json!({ "channel": "room", "data": 2 }));
    for (client, _) in &mut of_ann {
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

/// A back end that answers `result`, each time when the test says so: says that it is asked.
fn thoughtful(result: Value) -> (BackEnd, Receiver<()>, Sender<()>) {
    let (hear, heard) = channel();
    let (say, said): (_, Receiver<()>) = channel();
    let said = Mutex::new(said);
    let back_end = BackEnd::start(move |_| {
        // The test may be over.
        let _heard = hear.send(());
        let _said = said.lock().expect("nobody panics with it").recv();
        Reply::json(&json!({ "result": result }))
    });
    (back_end, heard, say)
}

/// It was closed with 3004: both had it enter the channel.
#[test]
fn a_client_that_a_back_end_is_asked_about_is_put_in_and_out_all_the_same() {
    let (back_end, heard, say) = thoughtful(json!({}));
    let mut subscribe = ChannelHooks::default();
    subscribe.set(None, "may".to_owned());
    let mut settings =
        SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..settings() };
    settings.rules.hooks = Hooks { subscribe, ..Hooks::default() };
    let proxy = Proxy {
        endpoints: vec![back_end.url("/subscribe")],
        timeout: session::PATIENCE,
        ..Proxy::default()
    };
    let mut config = config(SHARDS);
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    let proxies = Proxies([("may".to_owned(), proxy)].into());
    let server = api::serve_with(config, &settings, Channels::default(), proxies);
    let done = json!({ "result": {} });
    let (mut client, _) = connect(&server, "ann");
    let room = json!({ "user": "ann", "channel": "room" });

    let asked = client.command(r#""subscribe":{"channel":"room"}"#);
    heard.recv_timeout(session::PATIENCE).expect("the back end is asked");
    assert_eq!(api::command(server.address(), "subscribe", &room), done);
    say.send(()).expect("it is asked");
    let reply = client.line();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(asked), &json!(105)), "{reply}");
    assert_eq!(client.line()["push"], json!({ "channel": "room", "subscribe": {} }));

    assert_eq!(api::command(server.address(), "unsubscribe", &room), done);
    assert_eq!(client.line()["push"]["unsubscribe"]["code"], 2000);
    let asked = client.command(r#""subscribe":{"channel":"room"}"#);
    heard.recv_timeout(session::PATIENCE).expect("the back end is asked");
    assert_eq!(api::command(server.address(), "unsubscribe", &room), done);
    say.send(()).expect("it is asked");
    let reply = client.line();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(asked), &json!(103)), "{reply}");
    assert_untold(&mut client);
}

/// Once what was done to a user passed over its clients that a back end was asked about: they came
/// in, or stayed in a channel, after the API had said that it was done.
#[test]
fn what_is_done_to_a_user_holds_for_clients_of_whom_it_comes_out_later_that_they_are_the_users() {
    let ann = json!({ "user": "ann", "subs": { "room": {} } });
    let (back_end, heard, say) = thoughtful(ann);
    let mut settings = SessionSettings { stale_close_delay: session::PATIENCE, ..settings() };
    settings.rules.hooks = Hooks { connect: Some("who".to_owned()), ..Hooks::default() };
    let proxy = Proxy {
        endpoints: vec![back_end.url("/connect")],
        timeout: session::PATIENCE,
        ..Proxy::default()
    };
    let proxies = Proxies([("who".to_owned(), proxy)].into());
    let server = api::serve_with(config(SHARDS), &settings, Channels::default(), proxies);
    let done = json!({ "result": {} });
    // Of those of each shard.
    for _ in 0..3 * SHARDS {
        let decide = |method: &str, body| {
            let mut client = Client::dial(server.address());
            client.command(r#""connect":{}"#);
            heard.recv_timeout(session::PATIENCE).expect("the back end is asked");
            assert_eq!(api::command(server.address(), method, &body), done, "{method}");
            say.send(()).expect("it is asked");
            client
        };
        let of_bob = json!({ "user": "bob" });
        let mut client = decide("disconnect", of_bob);
        assert_eq!(client.line()["connect"]["subs"], json!({ "room": {} }), "another was meant");

        let mut client = decide("disconnect", json!({ "user": "ann" }));
        let mut end = None;
        while end.is_none() {
            end = client.next().err();
        }
        assert_eq!(end.map(|end| end.code), Some(3503));

        let room = json!({ "user": "ann", "channel": "room" });
        let mut client = decide("unsubscribe", room);
        if client.line()["connect"]["subs"] == json!({ "room": {} }) {
            assert_eq!(client.line()["push"]["unsubscribe"]["code"], 2000);
        }
        assert_untold(&mut client);

        let other = json!({ "user": "ann", "channel": "other" });
        let mut client = decide("subscribe", other);
        if client.line()["connect"]["subs"] == json!({ "room": {} }) {
            assert_eq!(client.line()["push"], json!({ "channel": "other", "subscribe": {} }));
        }
        assert_untold(&mut client);
    }
}

/// Whose homes, and those of their own channels, are on any shard. When the command reaches them
/// some are connected, some are about to be, and some nobody has heard of.
#[test]
fn whoever_is_connecting_is_in_the_channel_once_or_came_after_the_command() {
    let mut settings =
        SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..settings() };
    settings.rules.user_connection_limit = 100;
    let personal = PersonalChannel { namespace: String::new(), is_single: false };
    settings.rules.personal_channel = Some(personal);
    let mut config = config(SHARDS);
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    let server = api::serve(config, &settings, Channels::default());
    let done = json!({ "result": {} });
    for user in ["ann", "bob", "cho", "dan"] {
        let room = json!({ "user": user, "channel": "room" });
        let mut clients: Vec<Client> = (0..30)
            .map(|_| {
                let mut client = Client::dial_with(server.address(), &[("X-User", user)]);
                client.command(r#""connect":{}"#);
                client
            })
            .collect();
        assert_eq!(api::command(server.address(), "subscribe", &room), done);
        let mut replies: Vec<_> = clients.iter_mut().map(Client::line).collect();
        // By now all of them are connected: who came after the first command hears of this one.
        assert_eq!(api::command(server.address(), "subscribe", &room), done);
        let hello = json!({ "channel": "room", "data": user });
        assert_eq!(api::command(server.address(), "publish", &hello), done);
        for (client, reply) in clients.iter_mut().zip(&mut replies) {
            let subs = reply["connect"]["subs"].as_object().expect("its own channel");
            if !subs.contains_key("room") {
                let push = client.line()["push"].clone();
                assert_eq!(push, json!({ "channel": "room", "subscribe": {} }));
            }
            assert_eq!(client.line()["push"]["pub"]["data"], user);
            assert_untold(client);
        }
    }
}
