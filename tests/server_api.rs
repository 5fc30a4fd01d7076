//! The server API against a whole server: what is published has a place, what is kept can be
//! asked for, and who is there.
//!
//! Setup: three shards, so that channels have homes on each, and channels `kept:…` that keep what
//! is published and show who is there. Claims: a publication is answered with its place when it
//! has it; the same key makes it once, and a version that is no newer makes none; a batch keeps
//! the order of each channel; history and presence are what clients see.

use longwire::Running;
use longwire::control::{ChannelKind, Channels, Kept};
use longwire::session::{ChannelOptions, Retention};
use serde_json::{Value, json};
use session::{Client, config, settings};

#[path = "support/api.rs"]
mod api;
#[path = "support/session.rs"]
mod session;

const CHANNELS: [&str; 6] = ["kept:a", "kept:b", "kept:c", "kept:d", "kept:e", "kept:f"];

fn server() -> Running {
    let history = Retention { publications_max: 50, ttl_s: 600, meta_ttl_s: 600 };
    let kept =
        ChannelOptions { history: Some(history), presence: true, ..ChannelOptions::default() };
    let mut settings = settings();
    settings.rules.namespaces = [("kept".to_owned(), kept)].into();
    let kept = Kept { publications_max: 50, ttl_s: 600, meta_ttl_s: 600 };
    let keeping = ChannelKind { kept: Some(kept), has_presence: true, ..ChannelKind::default() };
    let namespaces = [("kept".to_owned(), keeping)].into();
    api::serve(config(3), &settings, Channels { namespaces, ..Channels::default() })
}

fn result(server: &Running, method: &str, body: &Value) -> Value {
    let answer = api::command(server.address(), method, body);
    assert!(answer.get("result").is_some(), "{method} {body}: {answer}");
    answer["result"].clone()
}

fn offsets(history: &Value) -> Vec<u64> {
    let publications = history["publications"].as_array().expect("a list");
    publications.iter().map(|one| one["offset"].as_u64().expect("a number")).collect()
}

#[test]
fn a_publication_is_answered_with_its_place_and_history_has_it() {
    let server = server();
    for channel in CHANNELS {
        let mut client = Client::connect(server.address());
        client.subscribe(channel);
        for offset in 1..=3 {
            let body = json!({ "channel": channel, "data": { "n": offset }, "tags": { "k": "v" } });
            let placed = result(&server, "publish", &body);
            assert_eq!(placed["offset"], offset, "{placed}");
            assert_eq!(placed["epoch"].as_str().map(str::len), Some(8), "{placed}");
            assert_eq!(client.line()["push"]["pub"]["offset"], offset);
        }
        let history = |fields: Value| {
            let mut body = fields;
            body["channel"] = channel.into();
            result(&server, "history", &body)
        };
        let all = history(json!({ "limit": -1 }));
        assert_eq!((offsets(&all), &all["offset"]), (vec![1, 2, 3], &json!(3)));
        let first = json!({ "data": { "n": 1 }, "tags": { "k": "v" }, "offset": 1 });
        let published = &all["publications"][0];
        assert!(
            first
                .as_object()
                .expect("fields")
                .iter()
                .all(|(name, value)| { published[name] == *value }),
            "{published}"
        );
        assert_eq!(offsets(&history(json!({}))), [0; 0]);
        let since = json!({ "offset": 1, "epoch": all["epoch"] });
        assert_eq!(offsets(&history(json!({ "limit": 1, "since": since }))), [2]);
        assert_eq!(offsets(&history(json!({ "limit": 2, "reverse": true }))), [3, 2]);
        result(&server, "history_remove", &json!({ "channel": channel }));
        let none = history(json!({ "limit": -1 }));
        assert_eq!((offsets(&none), &none["offset"]), (vec![], &json!(3)));
        assert_eq!(none["epoch"], all["epoch"]);
        let unkept = json!({ "channel": channel, "data": 1, "skip_history": true });
        assert_eq!(result(&server, "publish", &unkept), json!({}));
    }
    let counters = server.join().counters;
    assert_eq!((counters.published, counters.publications_kept), (24, 18));
}

#[test]
fn a_key_makes_one_publication_and_a_version_only_news() {
    let server = server();
    for channel in CHANNELS {
        let keyed = json!({ "channel": channel, "data": 1, "idempotency_key": "k" });
        let same: Vec<Value> = (0..3).map(|_| result(&server, "publish", &keyed)).collect();
        assert!(same.iter().all(|one| *one == same[0] && one["offset"] == 1), "{same:?}");
        let publish = |version: u64, epoch: &str| {
            let body = json!({
                "channel": channel, "data": version, "version": version, "version_epoch": epoch,
            });
            result(&server, "publish", &body)["offset"].as_u64().expect("a place")
        };
        let versions = [(5, ""), (5, ""), (4, ""), (6, ""), (1, "b"), (6, "b"), (2, "b")];
        let at = versions.map(|(version, epoch)| publish(version, epoch));
        assert_eq!(at, [2, 2, 2, 3, 4, 5, 5]);
    }
    assert_eq!(server.join().counters.publications_outdated, 3 * CHANNELS.len() as u64);
}

#[test]
fn a_batch_keeps_the_order_of_each_channel() {
    let server = server();
    let publish = |number: u64| {
        let channel = CHANNELS[usize::try_from(number).expect("small") % CHANNELS.len()];
        json!({ "publish": { "channel": channel, "data": number } })
    };
    for round in 0..5 {
        let commands: Vec<Value> = (100 * round..100 * (round + 1)).map(publish).collect();
        let body = json!({ "commands": commands, "parallel": round % 2 == 0 });
        let answer = api::command(server.address(), "batch", &body);
        let replies = answer["replies"].as_array().expect("a list");
        assert!(replies.len() == 100 && replies.iter().all(|one| one["publish"]["offset"] != 0));
    }
    for channel in CHANNELS {
        let all = result(&server, "history", &json!({ "channel": channel, "limit": -1 }));
        let publications = all["publications"].as_array().expect("a list");
        let data: Vec<u64> = publications.iter().filter_map(|one| one["data"].as_u64()).collect();
        assert!(data.len() == 50 && data.is_sorted(), "{channel}: {data:?}");
    }
}

#[test]
fn presence_is_who_is_there() {
    let server = server();
    for channel in CHANNELS {
        let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(server.address())).collect();
        for client in &mut clients {
            client.subscribe(channel);
        }
        let whose = json!({ "channel": channel });
        let present = result(&server, "presence", &whose);
        let present = present["presence"].as_object().expect("clients");
        assert!(present.len() == 5 && present.iter().all(|(name, who)| who["client"] == **name));
        let stats = json!({ "num_clients": 5, "num_users": 1 });
        assert_eq!(result(&server, "presence_stats", &whose), stats);
    }
    let off = api::command(server.address(), "presence", &json!({ "channel": "a" }));
    assert_eq!(off["error"]["code"], 108);
    let nowhere = json!({ "channel": "none:a" });
    for method in ["presence", "presence_stats", "history", "history_remove", "unsubscribe"] {
        assert_eq!(api::command(server.address(), method, &nowhere)["error"]["code"], 102);
    }
}

#[test]
fn channels_are_listed_with_their_members_on_all_shards() {
    let server = server();
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        for channel in CHANNELS {
            client.subscribe(channel);
        }
    }
    clients[0].subscribe("alone");
    let channels = |pattern: &str| {
        result(&server, "channels", &json!({ "pattern": pattern }))["channels"].clone()
    };
    let all = channels("");
    assert_eq!(all.as_object().map(serde_json::Map::len), Some(CHANNELS.len() + 1));
    assert!(CHANNELS.iter().all(|channel| all[channel]["num_clients"] == 12), "{all}");
    assert_eq!(channels("a*"), json!({ "alone": { "num_clients": 1 } }));
    let some = channels("kept:[ab]");
    assert_eq!(some.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(channels("x*"), json!({}));
}
