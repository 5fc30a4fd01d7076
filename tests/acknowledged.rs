//! Where publications are acknowledged, a client that loses some of them gets all, and gives each to
//! its application once.
//!
//! Setup: two shards, a channel whose publications are acknowledged, and a client of a user that
//! throws away three of ten publications, and does not send three of ten acknowledgements; also one
//! that is away while something is published. Claims: every publication carries `lw_id`, one that is
//! sent again `lw_try` too, and no offset; all of them arrive, and none is sent again once it was
//! acknowledged; what is acknowledged twice, or was never published, is acknowledged all the same;
//! who has lost some is told how many with its next subscribe, and that is not forgotten with what
//! was retained; and however many names a client subscribes to, nothing is left of it in the end.

use std::collections::BTreeMap;
use std::time::Instant;

use longwire::session::{AckPolicy, ChannelOptions, Retention, Rules};
use longwire::{Running, SessionSettings};
use serde_json::{Value, json};
use session::{Client, PATIENCE, config, serve, settings};

#[path = "support/session.rs"]
mod session;

const POLICY: AckPolicy = AckPolicy { publications_max: 5, bytes_max: 100_000, ttl_s: 600 };

fn server() -> Running {
    server_with(POLICY)
}

fn server_with(policy: AckPolicy) -> Running {
    let options = ChannelOptions {
        acknowledged: Some(policy),
        history: Some(Retention { publications_max: 100, ttl_s: 600, meta_ttl_s: 600 }),
        allow_recovery: true,
        ..ChannelOptions::default()
    };
    let rules = Rules { insecure: true, without_namespace: options, ..Rules::default() };
    let settings =
        SessionSettings { rules, user_id_http_header: Some("X-User".to_owned()), ..settings() };
    let mut config = config(2);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    serve(config, &settings)
}

/// A client of this user.
fn connect(server: &Running, user: &str) -> Client {
    let mut client = Client::dial_with(server.address(), &[("X-User", user)]);
    let id = client.command(r#""connect":{}"#);
    assert_eq!(client.line()["id"], id);
    client
}

fn publish(server: &Running, numbers: std::ops::Range<u64>) {
    let mut publisher = connect(server, "bob");
    for number in numbers {
        let reply = publisher.ask(&format!(r#""publish":{{"channel":"news","data":{number}}}"#));
        assert!(reply.get("publish").is_some(), "{reply}");
    }
}

fn acknowledge(client: &mut Client, ids: &[String]) -> u64 {
    let data = json!({ "channel": "news", "ids": ids });
    client.command(&format!(r#""rpc":{{"method":"longwire.ack","data":{data}}}"#))
}

/// The reply to a command, whatever is sent again before it.
fn reply_to(client: &mut Client, id: u64) -> Value {
    loop {
        let line = client.line();
        if line["id"] == id {
            return line;
        }
        assert!(line["push"].get("pub").is_some(), "{line}");
    }
}

fn tag(publication: &Value, name: &str) -> Option<String> {
    publication["tags"][name].as_str().map(str::to_owned)
}

#[test]
fn a_client_that_loses_three_of_ten_both_ways_gets_all_and_gives_each_on_once() {
    const COUNT: u64 = 5;
    let server = server();
    let mut client = connect(&server, "ann");
    client.subscribe("news");
    publish(&server, 0..COUNT);
    // Which of what it hears it throws away: first the publication, then the acknowledgement.
    let mut random = 7_u64;
    let mut is_lost = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % 10 < 3
    };
    let mut given: BTreeMap<String, u64> = BTreeMap::new();
    let mut acknowledged = 0;
    let mut sent_again = 0;
    while acknowledged < COUNT {
        let line = client.line();
        let Some(publication) = line["push"].get("pub") else {
            assert_eq!(line["rpc"]["data"], json!({}), "{line}");
            acknowledged += 1;
            continue;
        };
        let id = tag(publication, "lw_id").unwrap_or_else(|| panic!("{line}"));
        let again = tag(publication, "lw_try");
        assert_eq!(again.is_some(), publication["offset"].is_null(), "{line}");
        sent_again += u64::from(again.is_some());
        if is_lost() {
            continue;
        }
        let number = publication["data"].as_u64().expect("a number");
        // What it has given on, it does not give on again.
        assert_eq!(*given.entry(id.clone()).or_insert(number), number);
        if !is_lost() {
            acknowledge(&mut client, &[id]);
        }
    }
    assert_eq!(given.values().copied().collect::<Vec<_>>(), (0..COUNT).collect::<Vec<_>>());
    assert!(sent_again > 0, "the seed loses some");
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.acks_retained, counters.acks_acknowledged), (COUNT, COUNT));
    assert_eq!(counters.acks_lost, 0);
}

#[test]
fn what_was_published_while_the_user_was_away_comes_when_it_is_back() {
    let server = server();
    let mut client = connect(&server, "ann");
    client.subscribe("news");
    drop(client);
    publish(&server, 0..2);
    let mut client = connect(&server, "ann");
    client.subscribe("news");
    let mut heard: Vec<Value> = (0..2).map(|_| client.line()["push"]["pub"].clone()).collect();
    heard.sort_by_key(|publication| publication["data"].as_u64());
    for (publication, number) in heard.iter().zip(0..) {
        assert_eq!(publication["data"], json!(number));
        assert!(tag(publication, "lw_try").is_some() && publication["offset"].is_null());
    }
    let ids: Vec<String> = heard.iter().filter_map(|one| tag(one, "lw_id")).collect();
    for ids in [ids.clone(), ids, vec!["no number".to_owned(), "ffff".to_owned()], Vec::new()] {
        let id = acknowledge(&mut client, &ids);
        let reply = reply_to(&mut client, id);
        assert_eq!(reply["rpc"]["data"], json!({}), "{reply}");
    }
    assert_eq!(server.snapshot().expect("it runs").counters.acks_acknowledged, 2);
}

#[test]
fn who_has_lost_some_is_told_how_many_until_it_says_that_it_has_heard() {
    let server = server();
    let subscribe = r#""subscribe":{"channel":"news"}"#;
    let mut client = connect(&server, "ann");
    assert_eq!(client.ask(subscribe)["subscribe"]["data"], Value::Null);
    drop(client);
    publish(&server, 0..8);
    let told = |client: &mut Client| client.ask(subscribe)["subscribe"]["data"].clone();
    for _reply_may_be_lost in 0..2 {
        let mut client = connect(&server, "ann");
        assert_eq!(told(&mut client), json!({ "lw_lost": 3 }), "five are retained");
        assert_eq!(told(&mut connect(&server, "bob")), Value::Null);
    }
    let mut client = connect(&server, "ann");
    assert_eq!(told(&mut client), json!({ "lw_lost": 3 }));
    let id = acknowledge(&mut client, &[]);
    assert_eq!(reply_to(&mut client, id)["rpc"], json!({ "data": {} }));
    assert_eq!(told(&mut connect(&server, "ann")), Value::Null);
    assert_eq!(server.snapshot().expect("it runs").counters.acks_lost, 3);
}

/// Looks at the server until it has so many mailboxes.
fn wait_for_mailboxes(server: &Running, count: u64) {
    let began = Instant::now();
    loop {
        let now = server.snapshot().expect("it runs");
        if now.mailboxes == count {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} mailboxes: {now:?}", now.mailboxes);
    }
}

/// Once a mailbox ended only when something was sent again to a connection that had left, and one
/// that was empty never: a client that subscribed to ever new names filled its channels' homes.
#[test]
fn who_comes_and_goes_quietly_leaves_nothing_behind() {
    const NAMES: u64 = 64;
    let server = server();
    let mut client = connect(&server, "ann");
    for name in 0..NAMES {
        client.subscribe(&format!("name-{name}"));
    }
    wait_for_mailboxes(&server, NAMES);
    for name in 0..NAMES {
        let reply = client.ask(&format!(r#""unsubscribe":{{"channel":"name-{name}"}}"#));
        assert!(reply.get("unsubscribe").is_some(), "{reply}");
    }
    wait_for_mailboxes(&server, 0);
    assert_eq!(server.snapshot().expect("it runs").mailbox_bytes, 0);
}

/// Who is cut off is waited for, but for no longer than what is published is retained.
#[test]
fn who_is_cut_off_leaves_nothing_behind_when_its_time_is_over() {
    const NAMES: u64 = 64;
    let server = server_with(AckPolicy { ttl_s: 2, ..POLICY });
    let mut client = connect(&server, "ann");
    for name in 0..NAMES {
        client.subscribe(&format!("name-{name}"));
    }
    client.subscribe("news");
    wait_for_mailboxes(&server, NAMES + 1);
    publish(&server, 0..1);
    drop(client);
    wait_for_mailboxes(&server, 0);
    let now = server.snapshot().expect("it runs");
    assert_eq!((now.mailbox_bytes, now.counters.acks_lost), (0, 1));
    let reply = connect(&server, "ann").ask(r#""subscribe":{"channel":"news"}"#);
    assert_eq!(reply["subscribe"]["data"], json!({ "lw_lost": 1 }), "it is not forgotten");
}

#[test]
fn what_cannot_be_acknowledged_is_refused() {
    let server = server();
    let mut anonymous = Client::connect(server.address());
    let mut client = connect(&server, "ann");
    let call = |client: &mut Client, data: &str| {
        let reply = client.ask(&format!(r#""rpc":{{"method":"longwire.ack","data":{data}}}"#));
        reply["error"]["code"].as_u64()
    };
    for data in ["{}", "[]", r#"{"channel":"news"}"#, r#"{"channel":"","ids":[]}"#] {
        assert_eq!(call(&mut client, data), Some(107), "{data}");
    }
    let many = json!({ "channel": "news", "ids": vec!["1"; 1001] }).to_string();
    assert_eq!(call(&mut client, &many), Some(107));
    let elsewhere = r#"{"channel":"unknown:a","ids":[]}"#;
    assert_eq!(call(&mut client, elsewhere), Some(102));
    let of_nobody = r#"{"channel":"news","ids":[]}"#;
    assert_eq!(call(&mut anonymous, of_nobody), Some(108));
    assert_eq!(call(&mut client, of_nobody), None);
}
