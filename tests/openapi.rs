//! The description of the server API against a server: it says what is so.
//!
//! Setup: a server of two shards with its API, and the document that it serves to its operator.
//! Claims: every operation of the document takes its example, and answers as its schema says, no
//! field more and none less than it may have, errors that the status tells included; an operation
//! that the server has not is not there.

use std::collections::BTreeSet;

use longwire::Running;
use longwire::control::{ChannelKind, Channels, Kept};
use serde_json::{Value, json};
use session::{Client, config, settings};

#[path = "support/api.rs"]
mod api;
#[path = "support/session.rs"]
mod session;

fn server() -> Running {
    let kept = Kept { publications_max: 50, ttl_s: 600, meta_ttl_s: 600 };
    let keeping = ChannelKind { kept: Some(kept), has_presence: true, ..ChannelKind::default() };
    let namespaces = [("kept".to_owned(), keeping)].into();
    let mut settings = settings();
    settings.rules.namespaces = [(
        "kept".to_owned(),
        longwire::session::ChannelOptions { presence: true, ..Default::default() },
    )]
    .into();
    api::serve(config(2), &settings, Channels { namespaces, ..Channels::default() })
}

fn document() -> Value {
    serde_json::from_str(include_str!("../src/control/assets/openapi.json")).expect("JSON")
}

/// What of the document a value breaks; the part of JSON Schema that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let place = name.strip_prefix('#').expect("a place in the document");
        let schema = document.pointer(place).unwrap_or_else(|| panic!("{name} is not there"));
        return faults(document, schema, value, at);
    }
    if let Some(all) = schema["oneOf"].as_array() {
        let fits = all.iter().filter(|one| faults(document, one, value, at).is_empty()).count();
        return if fits == 1 { vec![] } else { vec![format!("{at}: {fits} fit {value}")] };
    }
    let is_type = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some(other) => panic!("{at}: {other}"),
    };
    if !is_type {
        return vec![format!("{at}: {value} is no {}", schema["type"])];
    }
    let mut found = Vec::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        if value.get(name).is_none() {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let others = &schema["additionalProperties"];
        match schema["properties"].get(name) {
            Some(schema) => found.extend(faults(document, schema, field, &at)),
            None if *others == json!(false) => found.push(format!("{at}: not in the document")),
            None => found.extend(faults(document, others, field, &at)),
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(faults(document, &schema["items"], item, &format!("{at}[]")));
    }
    found
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let (server, document) = (server(), document());
    let mut client = Client::connect(server.address());
    client.subscribe("kept:news");
    let mut succeeded = BTreeSet::new();
    let paths = document["paths"].as_object().expect("paths");
    // What is published comes first, so that it is there to be asked for.
    let order = |path: &&String| !path.ends_with("publish") && !path.ends_with("broadcast");
    let mut names: Vec<&String> = paths.keys().collect();
    names.sort_by_key(order);
    for path in names {
        let operation = &paths[path]["post"];
        let request = &operation["requestBody"]["content"]["application/json"];
        let example = &request["example"];
        assert_eq!(faults(&document, &request["schema"], example, path), [""; 0]);
        let (status, body) = api::post(server.address(), path, &example.to_string());
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(faults(&document, schema, &answer, path), [""; 0], "{body}");
        if answer.get("error").is_none() {
            succeeded.insert(path.as_str());
        }
        // What it must have is asked for, and what is wrong is an error as described.
        let (_, body) = api::post(server.address(), path, r#"{"channel":"nowhere:x","user":"u"}"#);
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(faults(&document, schema, &answer, path), [""; 0], "{body}");
    }
    let without: Vec<&str> =
        paths.keys().map(String::as_str).filter(|path| !succeeded.contains(path)).collect();
    assert_eq!(without, ["/api/rpc"], "all others succeed");
    assert_eq!(api::post(server.address(), "/api/none", "{}").0, 404);
}

/// Where errors are told by the status, there are more statuses than those of the result and the key.
#[test]
fn an_error_that_the_status_tells_is_described_for_every_operation() {
    let (server, document) = (server(), document());
    let paths = document["paths"].as_object().expect("paths");
    let mut statuses = BTreeSet::new();
    for (path, item) in paths {
        let headers = "X-Centrifugo-Error-Mode: transport\r\n";
        let command = r#"{"channel":"nowhere:x","data":1,"user":"u"}"#;
        let (status, body) = api::post_with(server.address(), path, headers, command);
        let responses = &item["post"]["responses"];
        if status == 200 || status == 400 {
            continue; // it has no use for the channel, or wants more
        }
        assert!(responses.get(status.to_string()).is_none(), "{path}: {status}");
        let schema = &responses["default"]["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{path}: {status} is not described");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(faults(&document, schema, &answer, path), [""; 0], "{body}");
        statuses.insert(status);
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [404], "the namespace is not there");
}

/// The judge of this test is not blind.
#[test]
fn what_is_not_as_described_is_found() {
    let document = document();
    let answers = &document["paths"]["/api/presence_stats"]["post"]["responses"]["200"];
    let schema = &answers["content"]["application/json"]["schema"];
    for (answer, is_right) in [
        (json!({ "result": { "num_clients": 1, "num_users": 1 } }), true),
        (json!({ "error": { "code": 107, "message": "m" } }), true),
        (json!({ "result": { "num_clients": 1 } }), false),
        (json!({ "result": { "num_clients": 1, "num_users": "1" } }), false),
        (json!({ "result": { "num_clients": 1, "num_users": 1, "more": 1 } }), false),
        (json!({ "error": { "code": 107 } }), false),
        (json!([]), false),
    ] {
        assert_eq!(faults(&document, schema, &answer, "").is_empty(), is_right, "{answer}");
    }
}
