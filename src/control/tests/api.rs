//! The server API, as a back end sees it.

use std::sync::Arc;

use super::super::{ChannelKind, Channels, Kept, Question};
use super::{HttpApi, Shards, Snapshot, settings, stage, stage_with};
use crate::limits::BROADCAST_CHANNELS_MAX;
use crate::protocol::DataFormat;

fn keyed() -> super::Settings {
    let mut settings = settings();
    settings.http_api = HttpApi { key: Some("secret".to_owned()), ..HttpApi::default() };
    settings
}

const KEY: &str = "X-API-Key: secret\r\n";

#[tokio::test]
async fn a_publication_becomes_a_push() {
    let mut stage = stage(keyed());
    for (body, channel, text) in [
        (
            r#"{"channel":"news","data":{"a": [1.50, "ü"]}}"#,
            "news",
            r#"{"push":{"channel":"news","pub":{"data":{"a": [1.50, "ü"]}}}}"#,
        ),
        (
            r#"{"channel":"a\"b","data":null,"unknown":1,"skip_history":true}"#,
            "a\"b",
            r#"{"push":{"channel":"a\"b","pub":{"data":null}}}"#,
        ),
        (
            r#"{"channel":"news","b64data":"eyJhIjoxfQ==","tags":{"k":"v"}}"#,
            "news",
            r#"{"push":{"channel":"news","pub":{"data":{"a":1},"tags":{"k":"v"}}}}"#,
        ),
        (
            "{\"channel\":\"news\",\"data\":{\n\"a\":\r\n1}}",
            "news",
            "{\"push\":{\"channel\":\"news\",\"pub\":{\"data\":{\"a\":1}}}}",
        ),
    ] {
        let answer = stage.post("/api/publish", KEY, body).await;
        assert_eq!((answer.status, &*answer.body), (200, r#"{"result":{}}"#), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(stage.published(), [(channel.to_owned(), text.to_owned())], "{body}");
    }
}

#[tokio::test]
async fn a_command_that_makes_no_sense_is_an_error_in_the_body() {
    let mut settings = keyed();
    let json = ChannelKind { data_format: DataFormat::Json, ..ChannelKind::default() };
    let namespaces = [("json".to_owned(), json)].into();
    settings.http_api.channels = Arc::new(Channels { namespaces, ..Channels::default() });
    let mut stage = stage(settings);
    let long = format!(r#"{{"channel":"{}","data":1}}"#, "c".repeat(256));
    for (method, body, code) in [
        ("publish", "{}", 107),
        ("publish", r#"{"channel":"a"}"#, 107),
        ("publish", r#"{"data":1}"#, 107),
        ("publish", r#"{"channel":"","data":1}"#, 107),
        ("publish", r#"{"channel":"ü","data":1}"#, 107),
        ("publish", &long, 107),
        ("publish", r#"{"channel":"ns:a","data":1}"#, 102),
        ("publish", r#"{"channel":"a","b64data":"?"}"#, 107),
        ("publish", r#"{"channel":"json:a","b64data":"bm8ganNvbg=="}"#, 107),
        ("history", r#"{"channel":"a"}"#, 108),
        ("history", r#"{"channel":"ns:a"}"#, 102),
        ("history_remove", r#"{"channel":"a"}"#, 108),
        ("history", r#"{"channel":"full","limit":1}"#, 108),
        ("presence", r#"{"channel":"a"}"#, 108),
        ("presence_stats", r#"{"channel":"a"}"#, 108),
        ("presence", r#"{"channel":""}"#, 107),
        ("rpc", r#"{"method":"x"}"#, 104),
        ("rpc", "{}", 107),
        ("publish", r#"{"channel":"full","data":1}"#, 100),
        ("broadcast", "{}", 107),
        ("broadcast", r#"{"channels":[],"data":1}"#, 107),
        ("broadcast", r#"{"channels":["a"]}"#, 107),
    ] {
        let answer = stage.post(&format!("/api/{method}"), KEY, body).await;
        assert_eq!(answer.status, 200, "{body}");
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error["error"]["code"], code, "{body}: {}", answer.body);
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
        stage.published.try_recv().ok();

        let mode = format!("{KEY}X-Centrifugo-Error-Mode: transport\r\n");
        let answer = stage.post(&format!("/api/{method}"), &mode, body).await;
        let status = match code {
            100 => 500,
            102 | 104 => 404,
            _ => 400,
        };
        assert_eq!(answer.status, status, "{body}");
        let plain: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(plain, error["error"], "{body}");
        stage.published.try_recv().ok();
    }
    assert_eq!(stage.published(), [], "nothing else was published");
}

#[tokio::test]
async fn what_is_no_command_is_a_bad_request() {
    let mut stage = stage(keyed());
    for body in [
        "",
        "null",
        "[]",
        "{",
        r#"{"channel":1,"data":1}"#,
        r#"{"channel":"a","data":{]}"#,
        r#"{"channel":"a","data":1} x"#,
        r#"{"channel":"a","channel":"b","data":1}"#,
    ] {
        let answer = stage.post("/api/publish", KEY, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{body}");
    }
    assert_eq!(stage.published(), []);
}

#[tokio::test]
async fn a_broadcast_answers_for_each_channel_in_order() {
    let mut stage = stage(keyed());
    let body = r#"{"channels":["a","full","","b"],"data":"x"}"#;
    let answer = stage.post("/api/broadcast", KEY, body).await;
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let responses = answer["result"]["responses"].as_array().unwrap();
    let codes: Vec<_> = responses.iter().map(|response| &response["error"]["code"]).collect();
    assert_eq!(codes, [&serde_json::Value::Null, &100.into(), &107.into(), &().into()]);
    assert_eq!(responses[0]["result"], serde_json::json!({}));
    let channels: Vec<String> = stage.published().into_iter().map(|(channel, _)| channel).collect();
    assert_eq!(channels, ["a", "full", "b"]);
}

#[tokio::test]
async fn a_configured_namespace_can_be_published_to() {
    let mut settings = keyed();
    let namespaces = [("ns".to_owned(), ChannelKind::default())].into();
    settings.http_api.channels = Arc::new(Channels { namespaces, ..Channels::default() });
    let stage = stage(settings);
    for (channel, part) in
        [("ns:a", r#"{"result":{}}"#), ("$ns:a", r#"{"result":{}}"#), ("other:a", "102")]
    {
        let body = format!(r#"{{"channel":"{channel}","data":1}}"#);
        let answer = stage.post("/api/publish", KEY, &body).await;
        assert!(answer.body.contains(part), "{channel}: {}", answer.body);
    }
}

/// Far more than one slice, and every channel has its message and its answer.
#[tokio::test]
async fn a_large_broadcast_reaches_every_channel_in_order() {
    let mut stage = stage(keyed());
    let names: Vec<String> = (0..500).map(|number| format!("c{number}")).collect();
    let data = "x".repeat(20_000);
    let body = serde_json::json!({ "channels": names, "data": data }).to_string();
    let answer = stage.post("/api/broadcast", KEY, &body).await;
    assert_eq!(answer.body.matches(r#"{"result":{}}"#).count(), 500);
    let published = stage.published();
    assert!(published.iter().map(|(channel, _)| channel).eq(&names));
    assert!(published.iter().all(|(_, text)| text.contains(&data)));
}

/// A broadcast is bounded by its channels, and by what its messages would take together.
#[tokio::test]
async fn a_broadcast_has_a_bound() {
    let mut stage = stage(keyed());
    let many = vec!["\"c\""; BROADCAST_CHANNELS_MAX + 1].join(",");
    let large = vec!["\"c\""; 1000].join(",");
    for (channels, data) in [(many, "1".to_owned()), (large, format!("\"{}\"", "x".repeat(70_000)))]
    {
        let body = format!(r#"{{"channels":[{channels}],"data":{data}}}"#);
        let answer = stage.post("/api/broadcast", KEY, &body).await;
        assert!(answer.body.contains(r#""code":107"#), "{}", answer.body);
        assert_eq!(stage.published(), []);
    }
}

#[tokio::test]
async fn who_may_ask_and_how() {
    let mut stage = stage(keyed());
    let body = r#"{"channel":"a","data":1}"#;
    for headers in ["", "X-API-Key: wrong\r\n", "Authorization: Bearer secret\r\n"] {
        for method in ["publish", "info", "nonsense"] {
            let answer = stage.post(&format!("/api/{method}"), headers, body).await;
            assert_eq!(answer.status, 401, "{method} {headers}");
        }
    }
    let get = stage.get("/api/publish").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(stage.published(), []);
    for (path, headers) in [
        ("/api/publish", KEY),
        ("/api/publish", "Authorization: apikey secret\r\n"),
        ("/api/publish?api_key=secret", ""),
    ] {
        assert_eq!(stage.post(path, headers, body).await.status, 200, "{path} {headers}");
        assert_eq!(stage.published().len(), 1);
    }
}

/// A key that was changed is another from the next request on, and one that was taken away lets
/// nobody in.
#[tokio::test]
async fn the_key_can_be_changed_while_the_site_serves() {
    let stage = stage(keyed());
    assert_eq!(stage.post("/api/info", KEY, "{}").await.status, 200);
    stage.live.set_http_api(HttpApi { key: Some("other".to_owned()), ..HttpApi::default() });
    assert_eq!(stage.post("/api/info", KEY, "{}").await.status, 401);
    assert_eq!(stage.post("/api/info", "X-API-Key: other\r\n", "{}").await.status, 200);
    stage.live.set_http_api(HttpApi::default());
    assert_eq!(stage.post("/api/info", "X-API-Key: \r\n", "{}").await.status, 401);
}

/// Not the open connections: some have not said who they are, and some have left.
#[tokio::test]
async fn info_counts_clients_that_have_connected_and_are_there() {
    let mut held =
        Snapshot { open: 9, channels: 5, subscriptions: 6, users: 2, ..Snapshot::default() };
    (held.counters.client_connects, held.counters.client_ends) = (7, 4);
    let stage = stage_with(keyed(), Shards::Answer(Box::new(held)));
    let info = stage.post("/api/info", KEY, "{}").await.body;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let node = &info["result"]["nodes"][0];
    for (name, number) in
        [("num_clients", 3), ("num_channels", 5), ("num_subs", 6), ("num_users", 2)]
    {
        assert_eq!(node[name], number, "{name} in {info}");
    }
    let metrics = &node["metrics"];
    assert_eq!(metrics["items"], serde_json::json!({ "client_connects": 7, "client_ends": 4 }));
    assert!(metrics["interval"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{info}");
    let process = &node["process"];
    assert!(process["cpu"].is_f64() && process["rss"].as_u64() > Some(0), "{info}");
}

#[tokio::test]
async fn a_method_that_is_not_there_yet_is_told_from_one_that_never_was() {
    let stage = stage(keyed());
    for (method, code, part) in [
        ("map_publish", 108, "map_publish is not in this version"),
        ("nonsense", 104, "no such method"),
    ] {
        let answer = stage.post(&format!("/api/{method}"), KEY, "{}").await;
        assert_eq!(answer.status, 404);
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error["error"]["code"], code);
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_key_never_stands_in_a_description_of_the_settings() {
    let settings = keyed();
    assert!(!format!("{settings:?}").contains("secret"));
}

/// A site whose channels `kept:…` keep what is published, and show who is there.
fn keeping() -> super::Settings {
    let mut settings = keyed();
    let kept = Some(Kept { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
    let keeping = ChannelKind { kept, has_presence: true, ..ChannelKind::default() };
    let namespaces = [("kept".to_owned(), keeping)].into();
    settings.http_api.channels = Arc::new(Channels { namespaces, ..Channels::default() });
    settings
}

#[tokio::test]
async fn what_is_kept_is_answered_with_its_place_and_once_under_one_key() {
    let mut stage = stage(keeping());
    let placed = r#"{"result":{"offset":7,"epoch":"e"}}"#;
    let body = r#"{"channel":"kept:a","data":1,"idempotency_key":"k"}"#;
    for _ in 0..3 {
        assert_eq!(stage.post("/api/publish", KEY, body).await.body, placed);
    }
    assert_eq!(stage.published().len(), 1);
    let body = r#"{"channels":["kept:a","kept:b","a"],"data":1,"idempotency_key":"k"}"#;
    let answer = stage.post("/api/broadcast", KEY, body).await.body;
    let all = format!(r#"{{"result":{{"responses":[{placed},{placed},{{"result":{{}}}}]}}}}"#);
    assert_eq!(answer, all);
    let channels: Vec<String> = stage.published().into_iter().map(|(channel, _)| channel).collect();
    assert_eq!(channels, ["kept:b", "a"]);
}

#[tokio::test]
async fn channels_are_asked_and_their_homes_answer() {
    let mut stage = stage(keeping());
    let kept = Kept { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };
    let history = |since: Option<(u64, &str)>, publications_max, is_reverse| Question::History {
        since: since.map(|(offset, epoch)| (offset, epoch.to_owned())),
        publications_max,
        is_reverse,
        kept,
    };
    let list = r#"{"publications":[{"data":1,"offset":9}],"epoch":"e","offset":9}"#;
    for (method, fields, question, result) in [
        ("history", "", history(None, 0, false), list),
        ("history", r#","limit":-1"#, history(None, u32::MAX, false), list),
        (
            "history",
            r#","limit":5,"since":{"offset":3,"epoch":"e"},"reverse":true"#,
            history(Some((3, "e")), 5, true),
            list,
        ),
        ("history_remove", "", Question::RemoveHistory, "{}"),
        ("presence", "", Question::Presence, r#"{"presence":{"c":{"user":"u","client":"c"}}}"#),
        ("presence_stats", "", Question::PresenceStats, r#"{"num_clients":3,"num_users":2}"#),
    ] {
        let body = format!(r#"{{"channel":"kept:a"{fields}}}"#);
        let answer = stage.post(&format!("/api/{method}"), KEY, &body).await;
        assert_eq!(answer.body, format!(r#"{{"result":{result}}}"#), "{method} {fields}");
        let asked = stage.questions.try_recv().expect("the home was asked");
        assert_eq!(asked, ("kept:a".to_owned(), question), "{method} {fields}");
    }
    let over = r#"{"channel":"kept:a","limit":1,"since":{"offset":1,"epoch":"over"}}"#;
    let mode = format!("{KEY}X-Centrifugo-Error-Mode: transport\r\n");
    let answer = stage.post("/api/history", &mode, over).await;
    assert!(answer.status == 416 && answer.body.contains(r#""code":112"#), "{answer:?}");
    let nowhere = r#"{"channel":"kept:a","reverse":true,"since":{"offset":0}}"#;
    assert!(stage.post("/api/history", KEY, nowhere).await.body.contains(r#""code":107"#));
}

#[tokio::test]
async fn a_batch_is_carried_out_in_order_and_answered_for_each() {
    let mut stage = stage(keeping());
    for parallel in [false, true] {
        let body = format!(
            r#"{{"parallel":{parallel},"commands":[{{"publish":{{"channel":"a","data":1}}}},
            {{"publish":{{"channel":"kept:a","data":2}}}},{{"publish":{{"channel":"","data":3}}}},
            {{"disconnect":{{"user":"ann"}}}},{{"presence_stats":{{"channel":"kept:a"}}}},
            {{"nonsense":{{}}}},{{"batch":{{}}}},{{}},{{"publish":[]}}]}}"#
        );
        let answer = stage.post("/api/batch", KEY, &body).await.body;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let replies = answer["replies"].as_array().unwrap();
        assert_eq!(replies[0], serde_json::json!({ "publish": {} }));
        assert_eq!(replies[1], serde_json::json!({ "publish": { "offset": 7, "epoch": "e" } }));
        assert_eq!(replies[3], serde_json::json!({ "disconnect": {} }));
        assert_eq!(replies[4]["presence_stats"]["num_users"], 2);
        let codes: Vec<_> = [2, 5, 6, 7, 8].map(|at| replies[at]["error"]["code"].clone()).into();
        assert_eq!(codes, [107, 104, 107, 107, 107]);
        let published: Vec<String> = stage.published().into_iter().map(|(name, _)| name).collect();
        assert_eq!(published, ["a", "kept:a"]);
    }
}

#[tokio::test]
async fn commands_without_a_path_say_what_they_are() {
    let mut stage = stage(keeping());
    let body = "{\"method\":\"publish\",\"params\":{\"channel\":\"a\",\"data\":1}}\n\
                {\"method\":\"presence_stats\",\"params\":{\"channel\":\"kept:a\"}}\
                {\"method\":\"nonsense\"}";
    let answer = stage.post("/api", KEY, body).await.body;
    let lines: Vec<&str> = answer.split('\n').collect();
    let stats = r#"{"result":{"num_clients":3,"num_users":2}}"#;
    assert_eq!(lines[..2], [r#"{"result":{}}"#, stats]);
    assert!(lines[2].contains(r#""code":104"#), "{answer}");
    assert_eq!(stage.published().len(), 1);
    assert_eq!(stage.post("/api", "", body).await.status, 401);
    assert_eq!(stage.post("/api", KEY, "").await.status, 400);
}

#[tokio::test]
async fn channels_are_listed_by_a_pattern_that_has_a_meaning() {
    let stage = stage(keeping());
    let answer = stage.post("/api/channels", KEY, r#"{"pattern":"a*"}"#).await;
    assert_eq!(answer.body, r#"{"result":{"channels":{"a*":{"num_clients":3}}}}"#);
    for pattern in ["[a", "{", &"a".repeat(2000)] {
        let body = format!(r#"{{"pattern":"{pattern}"}}"#);
        let answer = stage.post("/api/channels", KEY, &body).await;
        assert!(answer.body.contains(r#""code":107"#), "{pattern}: {}", answer.body);
    }
}
