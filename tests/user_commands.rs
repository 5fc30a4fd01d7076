//! What back ends do to a user's clients, by the server API.
//!
//! Setup: a server of three shards, and clients of several users on every one of them. Claims: a
//! command reaches all clients that it means, wherever they are, and nobody else; it has been done
//! when it is answered; a user without clients is no error.

use longwire::control::Channels;
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
