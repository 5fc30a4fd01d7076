//! Who comes back is given what it missed, and nothing twice.
//!
//! Setup: channels that keep their publications, clients of either format on several shards that
//! drop their connections and come back with the last place they have seen. Claims: what was
//! missed is in the subscribe reply, in order, and what follows is delivered from there on, also
//! while publications flow; what cannot be recovered is said; clients that ask for the same are
//! answered from one encoding; history is told in pages, both ways.

use longwire::control::{ChannelKind, Channels, Kept};
use longwire::session::{ChannelOptions, RecoveryMode, Retention, Rules};
use longwire::{Counters, Running, Server, SessionSettings, Sessions};
use protobuf::{command, field, number};
use serde_json::{Value, json};
use session::{Client, PATIENCE, Patient, config, one_on_each, serve, settings};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;

/// Publications that a channel keeps.
const KEPT: u64 = 50;

fn options() -> ChannelOptions {
    let publications_max = u32::try_from(KEPT).expect("few");
    let history = Some(Retention { publications_max, ttl_s: 600, meta_ttl_s: 600 });
    ChannelOptions { history, ..ChannelOptions::default() }
}

fn server_with(shards: u32, options: ChannelOptions) -> Running {
    let rules = Rules { insecure: true, without_namespace: options, ..Rules::default() };
    serve(config(shards), &SessionSettings { rules, ..settings() })
}

fn server(shards: u32) -> Running {
    server_with(shards, options())
}

fn counters(server: &Running) -> Counters {
    server.snapshot().expect("it runs").counters
}

/// Publishes `count` numbers from `first` on, which are their places if nothing was before. A
/// publish is answered when it is on its way to its home; the history, asked of the home behind
/// it, says that it is there.
fn publish(client: &mut Client, channel: &str, first: u64, count: u64) {
    for number in first..first + count {
        let reply = client.ask(&format!(r#""publish":{{"channel":"{channel}","data":{number}}}"#));
        assert!(reply.get("publish").is_some(), "{reply}");
    }
    let reply = client.ask(&format!(r#""history":{{"channel":"{channel}"}}"#));
    assert_eq!(reply["history"]["offset"], first + count - 1, "{reply}");
}

/// Subscribes so that it may recover later; returns the result.
fn enter(client: &mut Client, channel: &str) -> Value {
    let reply = client.ask(&format!(r#""subscribe":{{"channel":"{channel}","recoverable":true}}"#));
    reply.get("subscribe").unwrap_or_else(|| panic!("{reply}")).clone()
}

/// Subscribes with the place that was seen last; returns the result.
fn recover(client: &mut Client, channel: &str, offset: u64, epoch: &str) -> Value {
    let reply = client.ask(&recovery(channel, offset, epoch));
    reply.get("subscribe").unwrap_or_else(|| panic!("{reply}")).clone()
}

fn recovery(channel: &str, offset: u64, epoch: &str) -> String {
    format!(r#""subscribe":{{"channel":"{channel}","recoverable":true,"recover":true,"#)
        + &format!(r#""offset":{offset},"epoch":"{epoch}"}}"#)
}

/// The places of publications, whose data is their place.
fn places(publications: &Value) -> Vec<u64> {
    let place = |publication: &Value| {
        assert_eq!(publication["offset"], publication["data"], "{publication}");
        publication["offset"].as_u64().expect("a place")
    };
    publications.as_array().map_or_else(Vec::new, |list| list.iter().map(place).collect())
}

fn epoch_of(result: &Value) -> String {
    let epoch = result["epoch"].as_str().unwrap_or_else(|| panic!("{result}"));
    assert!(epoch.len() == 8 && epoch.bytes().all(|byte| byte.is_ascii_alphabetic()), "{epoch}");
    epoch.to_owned()
}

#[test]
fn what_was_missed_while_away_is_in_the_reply_and_the_rest_follows() {
    let server = server(3);
    let mut publisher = Client::connect(server.address());
    for mut client in one_on_each(&server, 3).into_iter().flatten() {
        let channel = format!("ch{}", counters(&server).client_subscribes);
        let entered = enter(&mut client, &channel);
        assert_eq!((&entered["recoverable"], &entered["positioned"]), (&json!(true), &json!(true)));
        assert_eq!((entered.get("offset"), entered.get("was_recovering")), (None, None));
        let epoch = epoch_of(&entered);
        publish(&mut publisher, &channel, 1, 3);
        for place in 1..=3 {
            let push = client.line()["push"]["pub"].clone();
            assert_eq!((&push["offset"], &push["data"]), (&json!(place), &json!(place)));
            let is_first = place == 1;
            assert_eq!(push.get("epoch").is_some(), is_first, "{push}: said with the first");
        }
        drop(client);
        publish(&mut publisher, &channel, 4, 5);
        let mut back = Client::connect(server.address());
        let result = recover(&mut back, &channel, 3, &epoch);
        assert_eq!(places(&result["publications"]), [4, 5, 6, 7, 8]);
        assert_eq!((&result["recovered"], &result["offset"]), (&json!(true), &json!(3)));
        assert_eq!((&result["was_recovering"], &*epoch_of(&result)), (&json!(true), &*epoch));
        publish(&mut publisher, &channel, 9, 1);
        assert_eq!(back.line()["push"]["pub"]["offset"], 9);
    }
    let counters = counters(&server);
    assert!(counters.client_recoveries >= 3);
    assert_eq!(counters.client_recovery_failures, 0);
}

#[test]
fn what_cannot_be_recovered_is_said() {
    let server = server(2);
    let mut publisher = Client::connect(server.address());
    let epoch = epoch_of(&enter(&mut publisher, "a"));
    publish(&mut Client::connect(server.address()), "a", 1, KEPT + 1);
    let end = json!(KEPT + 1);
    for (offset, epoch) in [(0, &*epoch), (KEPT, "_"), (KEPT, "abcdefgh"), (KEPT + 2, &*epoch)] {
        let mut back = Client::connect(server.address());
        let result = recover(&mut back, "a", offset, epoch);
        assert_eq!((result.get("recovered"), result.get("publications")), (None, None));
        assert_eq!((&result["offset"], &result["was_recovering"]), (&end, &json!(true)));
        let strict =
            recovery("a", offset, epoch).replace(r#""recover":"#, r#""flag":2,"recover":"#);
        back.ask(r#""unsubscribe":{"channel":"a"}"#);
        assert_eq!(back.ask(&strict)["error"]["code"], 112, "{offset} {epoch}");
        assert_eq!(back.ask(r#""unsubscribe":{"channel":"a"}"#).get("error"), None);
    }
    // The oldest that is kept is the last that may be missing.
    let mut back = Client::connect(server.address());
    assert_eq!(places(&recover(&mut back, "a", 1, &epoch)["publications"]).len() as u64, KEPT);
    let counters = counters(&server);
    assert_eq!((counters.client_recoveries, counters.client_recovery_failures), (1, 8));
}

#[test]
fn who_comes_back_while_publications_flow_misses_none_and_hears_none_twice() {
    const ROUNDS: u64 = 12;
    let server = server(4);
    let mut publisher = Client::connect(server.address());
    let mut witness = Client::connect(server.address());
    let epoch = epoch_of(&enter(&mut witness, "a"));
    let mut back = Vec::new();
    for round in 0..ROUNDS {
        let lines: Vec<String> = (1..=10)
            .map(|place| {
                let number = 10 * round + place;
                format!(r#"{{"id":{number},"publish":{{"channel":"a","data":{number}}}}}"#)
            })
            .collect();
        publisher.send(&lines.join("\n"));
        // It comes back while these are on their way, and reads its reply at the end.
        let mut client = Client::connect(server.address());
        client.command(&recovery("a", 10 * round, &epoch));
        back.push(client);
        // What the next has seen was there to be seen.
        for place in 10 * round + 1..=10 * round + 10 {
            assert_eq!(witness.line()["push"]["pub"]["offset"], place);
        }
    }
    for (round, client) in back.iter_mut().enumerate() {
        let reply = client.line();
        assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");
        let mut heard = places(&reply["subscribe"]["publications"]);
        while heard.last().copied().unwrap_or(10 * round as u64) < 10 * ROUNDS {
            heard.push(client.line()["push"]["pub"]["offset"].as_u64().expect("a publication"));
        }
        assert!(heard.iter().copied().eq(10 * round as u64 + 1..=10 * ROUNDS), "{heard:?}");
    }
}

/// Reads until every channel has come to `last`: each first says that the client is in it, and
/// then goes on from the place that it said.
fn read_all(client: &mut Client, channels: &[String], last: u64) {
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    let mut replies = 0;
    while replies < channels.len() || places.values().any(|place| *place < last) {
        let line = client.line();
        if let Some(result) = line.get("subscribe") {
            let channel = channels[replies].clone();
            places.insert(channel, result["offset"].as_u64().unwrap_or(0));
            replies += 1;
            continue;
        }
        let channel = line["push"]["channel"].as_str().unwrap_or_else(|| panic!("{line}"));
        let place = places.get_mut(channel).unwrap_or_else(|| panic!("before its reply: {line}"));
        *place += 1;
        assert_eq!(line["push"]["pub"]["offset"], *place, "no gap, none twice");
    }
}

#[test]
fn nothing_of_a_channel_comes_before_its_reply_however_many_replies_are_awaited() {
    const ROUNDS: u64 = 40;
    let server = server(3);
    let channels: Vec<String> = (0..9).map(|number| format!("ch{number}")).collect();
    let mut publisher = Client::connect(server.address());
    let mut newcomers = Vec::new();
    for round in 1..=ROUNDS {
        let publish =
            |channel| format!(r#"{{"id":1,"publish":{{"channel":"{channel}","data":0}}}}"#);
        publisher.send(&channels.iter().map(publish).collect::<Vec<_>>().join("\n"));
        if round % 2 == 0 {
            let mut newcomer = Client::connect(server.address());
            let enter = |channel| {
                format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}","positioned":true}}}}"#)
            };
            newcomer.send(&channels.iter().map(enter).collect::<Vec<_>>().join("\n"));
            newcomers.push(newcomer);
        }
    }
    for _ in 0..ROUNDS * 9 {
        assert!(publisher.line().get("publish").is_some());
    }
    for newcomer in &mut newcomers {
        read_all(newcomer, &channels, ROUNDS);
    }
}

#[test]
fn clients_that_come_back_to_the_same_are_answered_from_one_encoding() {
    const CLIENTS: u64 = 30;
    // On one shard: builds that check themselves copy what goes from one to another.
    let server = server(1);
    let mut publisher = Client::connect(server.address());
    let epoch = epoch_of(&enter(&mut Client::connect(server.address()), "a"));
    publish(&mut publisher, "a", 1, 20);
    for _ in 0..CLIENTS {
        let mut back = Client::connect(server.address());
        let result = recover(&mut back, "a", 5, &epoch);
        assert_eq!(places(&result["publications"]), (6..=20).collect::<Vec<_>>());
    }
    let counters = counters(&server);
    assert_eq!((counters.client_lists, counters.client_lists_shared), (1, CLIENTS - 1));
}

#[test]
fn a_frame_of_subscriptions_to_many_homes_is_answered_in_order() {
    let server = server(3);
    let mut publisher = Client::connect(server.address());
    publish(&mut publisher, "ch7", 1, 2);
    let mut client = Client::dial(server.address());
    let mut lines = vec![r#"{"id":1,"connect":{}}"#.to_owned()];
    lines.extend(
        (2..=100).map(|id| format!(r#"{{"id":{id},{}}}"#, recovery(&format!("ch{id}"), 0, ""))),
    );
    client.send(&lines.join("\n"));
    for id in 1..=100 {
        let reply = client.line();
        assert_eq!(reply["id"], id, "{reply}");
        if id == 7 {
            assert_eq!(places(&reply["subscribe"]["publications"]), [1, 2]);
        }
    }
    // And each of them is a subscription.
    for id in [2, 50, 100] {
        publish(&mut publisher, &format!("ch{id}"), 1, 1);
        assert_eq!(client.line()["push"]["channel"], format!("ch{id}"));
    }
}

#[test]
fn a_client_of_protobuf_recovers_what_was_published_in_json() {
    let server = server(2);
    let mut publisher = Client::connect(server.address());
    publish(&mut publisher, "a", 1, 3);
    let mut client = protobuf::Client::connect(server.address());
    let subscribe = [field(1, b"a"), number(3, 1), number(7, 1), number(10, 1)].concat();
    client.send(&command(2, 5, &subscribe));
    let reply = client.reply();
    let result = reply.message(6).unwrap_or_else(|| panic!("{reply:?}"));
    assert_eq!((result.number(3), result.number(8), result.number(9)), (1, 1, 1));
    assert_eq!((result.number(10), result.number(12), result.text(6).len()), (1, 1, 8));
    let missed: Vec<_> = result
        .messages(7)
        .iter()
        .map(|publication| (publication.number(6), publication.text(4).to_owned()))
        .collect();
    assert_eq!(missed, [(2, "2".to_owned()), (3, "3".to_owned())]);
    publish(&mut publisher, "a", 4, 1);
    assert_eq!(client.publication(), b"4");
    client.send(&command(3, 10, &[field(1, b"a"), number(7, 2)].concat()));
    let reply = client.reply();
    let history = reply.message(10).or_else(|| reply.message(11));
    let history = history.unwrap_or_else(|| panic!("{reply:?}"));
    assert_eq!((history.messages(1).len(), history.number(3)), (2, 4));
}

/// Publishes by the HTTP API.
fn publish_of_back_end(server: &Running, channel: &str, data: u64) {
    let body = format!(r#"{{"channel":"{channel}","data":{data}}}"#);
    let mut peer = Patient::connect(server.address());
    let request = format!(
        "POST /api/publish HTTP/1.1\r\nHost: here\r\nX-API-Key: key\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    peer.write_all(request.as_bytes()).expect("the server takes it");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_a_back_end_publishes_is_kept_like_all_else() {
    let namespaces = [("kept".to_owned(), options())].into();
    let rules = Rules { insecure: true, namespaces, ..Rules::default() };
    let settings = SessionSettings { rules, ..settings() };
    let mut config = config(2);
    settings.configure(&mut config);
    let mut site = longwire::control::Settings::default();
    site.internal_listen = None;
    site.http_api.key = Some("key".to_owned());
    let kept = Kept { publications_max: 50, ttl_s: 600, meta_ttl_s: 600 };
    let keeping = ChannelKind { kept: Some(kept), ..ChannelKind::default() };
    let namespaces = [("kept".to_owned(), keeping)].into();
    site.http_api.channels = Arc::new(Channels { namespaces, ..Channels::default() });
    let site = longwire::control::Site::new(site).expect("no port of its own");
    let make = Sessions::for_shards(settings).expect("the settings are valid");
    let server = Server::start_site(config, site, make).expect("it starts");
    for channel in ["kept:a", "kept:b", "c"] {
        for data in 1..=3 {
            publish_of_back_end(&server, channel, data);
        }
    }
    let mut client = Client::connect(server.address());
    let deadline = Instant::now() + PATIENCE;
    for channel in ["kept:a", "kept:b"] {
        // They are on their way to their home when they are answered.
        let kept = loop {
            let reply = client.ask(&format!(r#""history":{{"channel":"{channel}","limit":9}}"#));
            let kept = places(&reply["history"]["publications"]);
            assert!(Instant::now() < deadline, "{reply}");
            if kept.len() == 3 {
                break kept;
            }
        };
        assert_eq!(kept, [1, 2, 3]);
    }
    assert_eq!(client.ask(r#""history":{"channel":"c","limit":9}"#)["error"]["code"], 108);
}

#[test]
fn a_cache_gives_its_latest_to_everyone() {
    let options = ChannelOptions {
        recovery_mode: RecoveryMode::Cache,
        auto_cache_recover: true,
        force_recovery: true,
        ..options()
    };
    let server = server_with(2, options);
    let mut publisher = Client::connect(server.address());
    publish(&mut publisher, "a", 1, 3);
    let mut client = Client::connect(server.address());
    let reply = client.ask(r#""subscribe":{"channel":"a"}"#);
    assert_eq!(places(&reply["subscribe"]["publications"]), [3]);
    assert_eq!(reply["subscribe"]["recovered"], true);
    let epoch = epoch_of(&reply["subscribe"]);
    let again = recover(&mut Client::connect(server.address()), "a", 3, &epoch);
    assert_eq!((&again["recovered"], again.get("publications")), (&json!(true), None));
}

#[test]
fn history_is_told_in_pages_both_ways() {
    let server = server(3);
    let mut client = Client::connect(server.address());
    for channel in ["a", "b", "c"] {
        publish(&mut client, channel, 1, 5);
        let mut history = |fields: &str| {
            let reply = client.ask(&format!(r#""history":{{"channel":"{channel}"{fields}}}"#));
            let history = &reply["history"];
            assert!(reply.get("error").is_some() || history["offset"] == 5, "{reply}");
            (places(&history["publications"]), reply["error"]["code"].as_u64())
        };
        assert_eq!(history(""), (vec![], None));
        assert_eq!(history(r#","limit":-1"#), (vec![1, 2, 3, 4, 5], None));
        assert_eq!(history(r#","limit":2,"since":{"offset":1}"#), (vec![2, 3], None));
        assert_eq!(history(r#","limit":2,"reverse":true"#), (vec![5, 4], None));
        let back = r#","limit":9,"reverse":true,"since":{"offset":4}"#;
        assert_eq!(history(back), (vec![3, 2, 1], None));
        assert_eq!(history(r#","reverse":true,"since":{"offset":0}"#), (vec![], Some(107)));
        let other = r#","limit":1,"since":{"offset":1,"epoch":"otherone"}"#;
        assert_eq!(history(other), (vec![], Some(112)));
    }
    let reply = client.ask(r#""history":{"channel":"never","limit":1}"#);
    let history = reply["history"].as_object().unwrap_or_else(|| panic!("{reply}"));
    assert_eq!((&history["publications"], &history["offset"]), (&json!([]), &json!(0)));
}
