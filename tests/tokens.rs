//! Connection tokens on real sockets: who is let in, as whom, and for how long.
//!
//! Setup: a server with a key, clients of either format. Claims: a token that the key has signed
//! names the user to others, in both formats; forged and expired ones are told so and counted; the
//! user of the token is the one whose connections are limited; a connection ends at its expiry
//! unless it was refreshed, and a subscription, of which its client is told; a new key holds from the next connect on; what is revoked closes who came
//! with it, on every shard, and lets nobody in, until its end, whatever else is right with it.

use std::time::{Duration, Instant};

use longwire::control::Channels;
use longwire::session::{ChannelOptions, Rules};
use longwire::token::{HmacKey, TokenRules};
use longwire::{LiveSettings, Running, Server, SessionSettings, Sessions};
use protobuf::{command, field};
use serde_json::{Value, json};
use session::{Client, End, PATIENCE, config, serve, settings};
use tokens::{KEY, in_time, token, token_by};

#[path = "support/api.rs"]
mod api;
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
    // The end follows the expiry at once.
    let at_once = Duration::from_millis(1);
    let rules = Rules {
        token,
        without_namespace,
        expired_close_delay: at_once,
        expired_sub_close_delay: at_once,
        ..Rules::default()
    };
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

/// Once it ended on the server alone: its client was not told, and heard nothing more.
#[test]
fn a_subscription_ends_when_it_expires_and_its_client_is_told_so_and_stays() {
    let server = server();
    let mut client = ask(&server, &token(&json!({ "sub": "ann" })));
    assert!(client.line().get("connect").is_some());
    let mut lives_s = [1, 2, 4, 8, 16, 32].into_iter();
    let expires = loop {
        let life_s = lives_s.next().expect("a token does not expire before it arrives");
        let expires = in_time(Duration::from_secs(life_s));
        let claims = json!({ "sub": "ann", "channel": "$a", "exp": expires });
        let token = token(&claims);
        let reply = client.ask(&format!(r#""subscribe":{{"channel":"$a","token":"{token}"}}"#));
        if reply["subscribe"]["expires"] == true {
            break expires;
        }
        assert_eq!(reply["error"]["code"], 109, "{reply}");
    };
    let told = json!({ "code": 2501, "reason": "subscription expired" });
    assert_eq!(client.line()["push"], json!({ "channel": "$a", "unsubscribe": told }));
    assert!(in_time(Duration::ZERO) >= expires, "it was valid until then");
    let reply = client.ask(r#""publish":{"channel":"a","data":1}"#);
    assert_eq!(reply["publish"], json!({}), "{reply}");
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

const SHARDS: u32 = 3;

/// A server whose API revokes tokens, and that knows some users by a header.
fn revoking_server() -> Running {
    let settings =
        SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..key_settings(KEY) };
    let mut config = config(SHARDS);
    config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    api::serve(config, &settings, Channels::default())
}

/// A client that has connected with a token of these claims.
fn connected(server: &Running, claims: &Value) -> Client {
    let mut client = ask(server, &token(claims));
    let reply = client.line();
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    client
}

/// Enough of them that every shard has some.
fn connected_many(server: &Running, claims: &Value) -> Vec<Client> {
    (0..8 * SHARDS).map(|_| connected(server, claims)).collect()
}

fn call(server: &Running, method: &str, body: &Value) {
    assert_eq!(api::command(server.address(), method, body), json!({ "result": {} }), "{method}");
}

/// The client is there, and has been told nothing.
fn assert_untold(client: &mut Client) {
    let reply = client.ask(r#""unsubscribe":{"channel":"none"}"#);
    assert_eq!(reply["unsubscribe"], json!({}), "{reply}");
}

fn revoked() -> End {
    End { code: 3500, reason: "invalid token: it was revoked".to_owned() }
}

#[test]
fn a_revoked_token_closes_who_came_with_it_and_lets_nobody_in() {
    let server = revoking_server();
    let claims = json!({ "sub": "ann", "jti": "t1" });
    let gone = connected_many(&server, &claims);
    let mut others = connected_many(&server, &json!({ "sub": "ann", "jti": "t2" }));
    let mut unnamed = connected(&server, &json!({ "sub": "ann" }));
    call(&server, "revoke_token", &json!({ "uid": "t1", "expire_at": in_time(HOUR) }));
    for mut client in gone {
        assert_eq!(client.end(), revoked());
    }
    others.iter_mut().for_each(assert_untold);
    assert_untold(&mut unnamed);
    // On whatever shard it comes to, and also where a new token would be asked for.
    for _ in 0..8 * SHARDS {
        assert_eq!(ask(&server, &token(&claims)).end(), revoked());
    }
    let expired = json!({ "sub": "ann", "jti": "t1", "exp": 1 });
    assert_eq!(ask(&server, &token(&expired)).end(), revoked());
    let refresh = |claims: &Value| format!(r#""refresh":{{"token":"{}"}}"#, token(claims));
    unnamed.command(&refresh(&claims));
    assert_eq!(unnamed.end(), revoked());
    // A connection is of the token that it was last refreshed with.
    let refreshed = &mut others[0];
    let reply = refreshed.ask(&refresh(&json!({ "sub": "ann", "jti": "t3" })));
    assert_eq!(reply["refresh"], json!({}));
    call(&server, "revoke_token", &json!({ "uid": "t2" }));
    assert_untold(refreshed);
    call(&server, "revoke_token", &json!({ "uid": "t3" }));
    assert_eq!(refreshed.end(), revoked());
    for client in &mut others[1..] {
        assert_eq!(client.end(), revoked());
    }
}

#[test]
fn tokens_of_a_user_that_were_issued_before_are_revoked_together() {
    let server = revoking_server();
    let now = in_time(Duration::ZERO);
    let issued = |user: &str, at: u64| json!({ "sub": user, "iat": at });
    let old = connected_many(&server, &issued("ann", now - 10));
    let mut undated = connected(&server, &json!({ "sub": "ann" }));
    let mut new = connected_many(&server, &issued("ann", now));
    let mut others = connected_many(&server, &issued("bob", now - 10));
    let mut by_header = Client::dial_with(server.address(), &[("X-User", "ann")]);
    by_header.ask(r#""connect":{}"#);
    let before = json!({ "user": "ann", "issued_before": now, "expire_at": in_time(HOUR) });
    call(&server, "invalidate_user_tokens", &before);
    for mut client in old {
        assert_eq!(client.end(), revoked());
    }
    assert_eq!(undated.end(), revoked());
    for client in new.iter_mut().chain(&mut others).chain([&mut by_header]) {
        assert_untold(client);
    }
    assert_eq!(ask(&server, &token(&issued("ann", now - 1))).end(), revoked());
    assert_eq!(ask(&server, &token(&json!({ "sub": "ann" }))).end(), revoked());
    assert_untold(&mut connected(&server, &issued("ann", now)));
}

#[test]
fn a_revoked_subscription_token_opens_no_channel_any_more_and_ends_what_it_has_opened() {
    let server = revoking_server();
    let now = in_time(Duration::ZERO);
    let mut clients = connected_many(&server, &json!({ "sub": "ann", "channels": ["given"] }));
    let of = |channel: &str, issued: u64| {
        token(&json!({ "sub": "ann", "channel": channel, "jti": "s1", "iat": issued }))
    };
    let subscribe = |channel: &str, token: &str| {
        format!(r#""subscribe":{{"channel":"{channel}","token":"{token}"}}"#)
    };
    for client in &mut clients {
        for channel in ["$a", "$b"] {
            let reply = client.ask(&subscribe(channel, &of(channel, now - 10)));
            assert_eq!(reply["subscribe"], json!({}), "{reply}");
        }
    }
    let before = |channel: &str| json!({ "user": "ann", "channel": channel, "issued_before": now });
    call(&server, "invalidate_user_tokens", &before("$a"));
    call(&server, "invalidate_user_tokens", &before("given"));
    for client in &mut clients {
        // It is to show its token again, which will not do; another will.
        let push = client.line()["push"].clone();
        assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!("$a"), &json!(2501)));
        let reply = client.ask(&subscribe("$a", &of("$a", now - 10)));
        let expected = json!({ "code": 103, "message": "invalid token: it was revoked" });
        assert_eq!(reply["error"], expected, "{reply}");
        let reply = client.ask(&subscribe("$a", &of("$a", now)));
        assert_eq!(reply["subscribe"], json!({}), "{reply}");
    }
    call(&server, "revoke_token", &json!({ "uid": "s1" }));
    for client in &mut clients {
        for _channel in ["$a", "$b"] {
            let push = client.line()["push"].clone();
            assert_eq!(push["unsubscribe"]["code"], 2501, "{push}");
        }
        let reply = client.ask(&subscribe("$c", &of("$c", now)));
        assert_eq!(reply["error"]["code"], 103, "{reply}");
        let other = token(&json!({ "sub": "ann", "channel": "$b", "jti": "s2" }));
        let reply = client.ask(&subscribe("$b", &other));
        assert_eq!(reply["subscribe"], json!({}), "{reply}");
        let token = of("$b", now);
        client.command(&format!(r#""sub_refresh":{{"channel":"$b","token":"{token}"}}"#));
        assert_eq!(client.end(), revoked());
    }
}
