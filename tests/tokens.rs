//! Connection tokens on real sockets: who is let in, as whom, and for how long.
//!
//! Setup: a server with a key, clients of either format. Claims: a token that the key has signed
//! names the user to others, in both formats; forged and expired ones are told so and counted; the
//! user of the token is the one whose connections are limited; a connection ends at its expiry
//! unless it was refreshed; a new key holds from the next connect on.

use std::time::{Duration, Instant};

use longwire::session::{ChannelOptions, Rules};
use longwire::token::{HmacKey, TokenRules};
use longwire::{LiveSettings, Running, Server, SessionSettings, Sessions};
use protobuf::{command, field};
use serde_json::json;
use session::{Client, End, PATIENCE, config, serve, settings};
use tokens::{KEY, in_time, token, token_by};

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/tokens.rs"]
mod tokens;

const HOUR: Duration = Duration::from_hours(1);

fn key_settings(key: &str) -> SessionSettings {
    let without_namespace = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_publish_for_client: true,
        ..ChannelOptions::default()
    };
    let token = TokenRules { key: HmacKey::new(key.as_bytes()), ..TokenRules::default() };
    // The close follows the expiry at once.
    let expired_close_delay = Duration::from_millis(1);
    let rules = Rules { token, without_namespace, expired_close_delay, ..Rules::default() };
    SessionSettings { rules, ..settings() }
}

fn server() -> Running {
    serve(config(2), &key_settings(KEY))
}

/// A client that has sent its token.
fn ask(server: &Running, token: &str) -> Client {
    let mut client = Client::dial(server.address());
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    client
}

#[test]
fn a_token_names_its_user_to_others_in_both_formats() {
    let server = server();
    let mut ann = ask(&server, &token(&json!({ "sub": "ann", "info": { "name": "Ann" } })));
    assert!(ann.line()["connect"]["client"].is_string());
    let mut bob = protobuf::Client::dial(server.address());
    let expires = in_time(HOUR);
    let claims = json!({ "sub": "bob", "exp": expires, "info": [1] });
    bob.send(&command(1, 4, &field(1, token(&claims).as_bytes())));
    let connected = bob.reply().message(5).expect("a connect result");
    assert_eq!(connected.number(3), 1, "it expires");
    assert!((1..=3600).contains(&connected.number(4)), "{connected:?}");
    ann.send(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert!(ann.line().get("subscribe").is_some());
    bob.subscribe("a");

    bob.send(&protobuf::publish(9, "a", b"7"));
    let heard = ann.line();
    let info = &heard["push"]["pub"]["info"];
    assert_eq!((&info["user"], &info["conn_info"]), (&json!("bob"), &json!([1])), "{heard}");

    bob.send(&command(10, 14, &field(1, token(&json!({ "sub": "bob" })).as_bytes())));
    let refreshed = loop {
        // The publication and its reply stand before it.
        let reply = bob.reply();
        if reply.number(1) == 10 {
            break reply.message(14).expect("a refresh result");
        }
    };
    assert_eq!((refreshed.number(3), refreshed.number(4)), (0, 0), "it expires no more");
}

#[test]
fn tokens_that_will_not_do_are_told_so_and_counted() {
    let server = server();
    let end = |token: &str| ask(&server, token).end().code;
    let ann = json!({ "sub": "ann" });
    assert_eq!(end(&token_by("another key", &ann)), 3500);
    assert_eq!(end("no token"), 3500);
    // {"alg":"none"}, {"sub":"ann"} and no signature.
    assert_eq!(end("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."), 3500);
    assert_eq!(end(&token(&json!({ "sub": "ann", "channels": [""] }))), 3500);
    let mut late = ask(&server, &token(&json!({ "sub": "ann", "exp": 1 })));
    let reply = late.line();
    assert_eq!(reply["error"], json!({ "code": 109, "message": "token expired" }));
    let mut later = ask(&server, &token(&json!({ "sub": "ann", "expire_at": 1 })));
    assert_eq!(later.line()["error"]["code"], 110);
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.disconnects_invalid_token, 4);
    assert_eq!((counters.errors_token_expired, counters.errors_expired), (1, 1));
    assert_eq!(counters.client_connects, 0);
    // Whoever does not leave with its answer is closed in the end.
    assert_eq!(late.end().code, 3005);
}

#[test]
fn the_limit_is_that_of_the_tokens_user() {
    let settings = key_settings(KEY);
    let rules = Rules { user_connection_limit: 2, ..settings.rules.clone() };
    let server = serve(config(2), &SessionSettings { rules, ..settings });
    let (ann, bob) = (token(&json!({ "sub": "ann" })), token(&json!({ "sub": "bob" })));
    let mut inside: Vec<Client> =
        [&ann, &ann, &bob].iter().map(|token| ask(&server, token)).collect();
    for client in &mut inside {
        assert!(client.line().get("connect").is_some());
    }
    let limit = End { code: 3504, reason: "connection limit".to_owned() };
    assert_eq!(ask(&server, &ann).end(), limit);
}

/// A connected client whose connection expires soon, but after that second. On a slow machine a
/// token may expire on its way; then the next one lives longer.
fn soon_expired(server: &Running, after: u64) -> (Client, u64) {
    let deadline = Instant::now() + PATIENCE;
    for life_s in [1, 2, 4, 8, 16, 32] {
        let expires = in_time(Duration::from_secs(life_s)).max(after + 1);
        let mut client = ask(server, &token(&json!({ "sub": "ann", "exp": expires })));
        let reply = client.line();
        if reply["connect"]["expires"] == true {
            return (client, expires);
        }
        assert_eq!(reply["error"]["code"], 109, "{reply}");
        assert!(Instant::now() < deadline, "tokens expire before they arrive");
    }
    panic!("tokens expire before they arrive");
}

#[test]
fn a_connection_ends_when_it_expires_and_not_before() {
    let server = server();
    let (mut client, expires) = soon_expired(&server, 0);
    assert_eq!(client.end(), End { code: 3005, reason: "connection expired".to_owned() });
    assert!(in_time(Duration::ZERO) >= expires, "it was valid until then");
    assert_eq!(server.snapshot().expect("it runs").counters.disconnects_expired, 1);
}

#[test]
fn a_refreshed_connection_outlives_its_first_token() {
    let server = server();
    let deadline = Instant::now() + PATIENCE;
    let (mut patient, mut impatient) = loop {
        assert!(Instant::now() < deadline, "no refresh arrives in time");
        let (mut first, expires) = soon_expired(&server, 0);
        let (second, _) = soon_expired(&server, expires);
        let claims = json!({ "sub": "ann", "exp": in_time(HOUR) });
        first.send(&format!(r#"{{"id":2,"refresh":{{"token":"{}"}}}}"#, token(&claims)));
        // A slow machine may have let it expire on the way.
        if let Ok(reply) = first.next() {
            assert_eq!(reply["refresh"]["expires"], true, "{reply}");
            break (first, second);
        }
    };
    // Its own end would have come before.
    assert_eq!(impatient.end().code, 3005);
    patient.send(r#"{"id":3,"publish":{"channel":"a","data":1}}"#);
    assert_eq!(patient.line(), json!({ "id": 3, "publish": {} }));
    patient.send(&format!(
        r#"{{"id":4,"refresh":{{"token":"{}"}}}}"#,
        token(&json!({ "sub": "bob" }))
    ));
    assert_eq!(patient.end().code, 3500);
}

#[test]
fn a_new_key_holds_from_the_next_connect_on() {
    let live = LiveSettings::new(key_settings(KEY)).expect("valid");
    let mut config = config(1);
    key_settings(KEY).configure(&mut config);
    let server = Server::start(config, Sessions::following(&live)).expect("it starts");
    let claims = json!({ "sub": "ann" });
    let (old, new) = (token(&claims), token_by("the next key", &claims));
    let mut inside = ask(&server, &old);
    assert!(inside.line().get("connect").is_some());
    assert_eq!(ask(&server, &new).end().code, 3500);
    live.replace(key_settings("the next key")).expect("valid");
    assert!(ask(&server, &new).line().get("connect").is_some());
    assert_eq!(ask(&server, &old).end().code, 3500);
    inside.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    assert_eq!(inside.line(), json!({ "id": 2, "publish": {} }), "who is in stays in");
}
