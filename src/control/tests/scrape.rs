//! `/metrics`, read by a strict reader of the text format, and the rest of the internal port.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Settings, Shards, Snapshot, Stage, settings, stage_with};
use crate::limits::INTERNAL_CONNECTIONS_MAX;
use crate::metrics::Class;

#[path = "../../../tests/support/openmetrics.rs"]
mod openmetrics;

pub(super) fn internal() -> Settings {
    let mut settings = settings();
    settings.internal_listen = Some("127.0.0.1:0".parse().unwrap());
    settings.version = "1.2.3 \"q\"".to_owned();
    settings
}

pub(super) async fn fetch(stage: &Stage, path: &str) -> (u16, String) {
    let mut client = tokio::net::TcpStream::connect(stage.internal.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    let (answer, rest) = super::split_answer(&text).unwrap();
    assert_eq!(rest, "");
    (answer.status, answer.body)
}

fn held() -> Snapshot {
    let mut snapshot = Snapshot {
        shard_connections: vec![2, 1],
        open: 3,
        channels: 6,
        subscriptions: 8,
        users: 7,
        streams: 17,
        stream_bytes: 18,
        present: 19,
        mailboxes: 20,
        mailbox_bytes: 21,
        backlog_bytes: 77,
        ..Snapshot::default()
    };
    snapshot.memory[Class::Slab] = 320;
    snapshot.counters.opened = 5;
    snapshot.counters.client_connects = 4;
    snapshot.counters.client_ends = 2;
    snapshot.counters.disconnects_stale = 2;
    snapshot.counters.received_bytes = 1000;
    snapshot.counters.stall_us = 2_500_000;
    snapshot.counters.messages_sent_bytes = 30;
    snapshot.counters.deliveries_bytes = 12;
    snapshot.details.closes.sent(1001);
    snapshot.details.closes.sent(4000);
    snapshot.details.command_seconds.observe(Duration::from_micros(8), 2);
    snapshot.details.command_seconds.observe(Duration::from_secs(5), 1);
    snapshot
}

#[tokio::test]
async fn a_scrape_tells_everything_that_is_counted() {
    let stage = stage_with(internal(), Shards::Answer(Box::new(held())));
    stage.post("/api/publish", "", r#"{"channel":"a","data":1}"#).await;
    stage.post("/api/publish", "", r#"{"channel":"full","data":1}"#).await;
    stage.get("/nowhere?secret=1").await;
    stage.answer("GET / HTTP/1.1\r\n\r\n").await;
    let (status, text) = fetch(&stage, "/metrics").await;
    assert_eq!(status, 200);
    let samples = openmetrics::read(&text);
    for (name, value) in [
        ("longwire_shard_connections{shard=\"1\"}", 1.0),
        ("longwire_connections_open", 3.0),
        ("longwire_backlog_bytes", 77.0),
        ("longwire_memory_bytes{class=\"slab\"}", 320.0),
        ("longwire_memory_bytes{class=\"kernel_rings\"}", 0.0),
        ("longwire_opened_total", 5.0),
        ("longwire_received_bytes_total", 1000.0),
        ("longwire_stall_seconds_total", 2.5),
        ("longwire_node_num_clients", 2.0),
        ("longwire_client_connections_inflight{transport=\"websocket\"}", 2.0),
        ("longwire_node_build{version=\"1.2.3 \\\"q\\\"\"}", 1.0),
        ("longwire_client_connections_accepted_total{transport=\"websocket\"}", 4.0),
        ("longwire_client_num_server_disconnects_total{code=\"3502\"}", 2.0),
        ("longwire_channels", 6.0),
        ("longwire_node_num_channels", 6.0),
        ("longwire_subscriptions", 8.0),
        ("longwire_node_num_subscriptions", 8.0),
        ("longwire_users", 7.0),
        ("longwire_streams", 17.0),
        ("longwire_stream_bytes", 18.0),
        ("longwire_present", 19.0),
        ("longwire_mailboxes", 20.0),
        ("longwire_mailbox_bytes", 21.0),
        ("longwire_node_num_users", 7.0),
        ("longwire_transport_messages_sent_size_total{transport=\"websocket\"}", 42.0),
        ("longwire_transport_outgoing_close_count_total{code=\"1001\"}", 1.0),
        ("longwire_transport_outgoing_close_count_total{code=\"other\"}", 1.0),
        ("longwire_client_command_duration_seconds_count", 3.0),
        ("longwire_client_command_duration_seconds_sum", 5.000_008),
        ("longwire_client_command_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("longwire_http_connections{port=\"internal\"}", 1.0),
        ("longwire_http_requests_total{route=\"/api/publish\",status=\"200\"}", 2.0),
        ("longwire_http_requests_total{route=\"other\",status=\"404\"}", 1.0),
        ("longwire_http_refusals_total{status=\"400\"}", 1.0),
        ("longwire_api_command_duration_seconds_count{protocol=\"http\",method=\"publish\"}", 2.0),
        (
            "longwire_api_command_errors_total{protocol=\"http\",method=\"publish\",error=\"100\"}",
            1.0,
        ),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
    }
    let bounded = "longwire_client_command_duration_seconds_bucket{le=\"2.5\"}";
    assert_eq!(samples.get(bounded), Some(&2.0), "{text}");
    assert!(samples["process_resident_memory_bytes"] > 0.0);
    for (name, _) in held().counters.iter() {
        let base = name.strip_suffix("_us").map(|name| format!("{name}_seconds"));
        let name = format!("longwire_{}_total", base.as_deref().unwrap_or(name));
        assert!(samples.contains_key(&name), "{name} in\n{text}");
    }
    assert!(!text.contains("nowhere") && !text.contains("secret"), "a path is no label");
}

/// A zero would say that there is nobody, where nobody was counted.
#[tokio::test]
async fn users_have_the_common_name_only_while_some_are_counted() {
    let stage = stage_with(internal(), Shards::Answer(Box::default()));
    let (_, text) = fetch(&stage, "/metrics").await;
    let samples = openmetrics::read(&text);
    assert_eq!(samples.get("longwire_users"), Some(&0.0));
    assert!(!samples.contains_key("longwire_node_num_users"), "{text}");
}

#[tokio::test]
async fn the_internal_port_shows_what_the_public_one_does_not() {
    let stage = stage_with(internal(), Shards::Answer(Box::new(held())));
    let (status, text) = fetch(&stage, "/debug").await;
    assert_eq!(status, 200);
    assert!(text.contains("connections: shard 1"), "{text}");
    for (path, status) in
        [("/health", 200), ("/health/ready", 200), ("/", 200), ("/api/publish", 404), ("/x", 404)]
    {
        assert_eq!(fetch(&stage, path).await.0, status, "{path}");
    }
}

/// Those who come when every place is taken wait for one, and get it.
#[tokio::test]
async fn connections_to_the_internal_port_are_bounded() {
    let stage = stage_with(internal(), Shards::Answer(Box::new(held())));
    let address = stage.internal.unwrap();
    let mut clients = Vec::new();
    for _ in 0..=INTERNAL_CONNECTIONS_MAX {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let mut last = clients.pop().unwrap();
    let mut byte = [0; 1];
    for client in &mut clients {
        assert_eq!(client.read(&mut byte).await.unwrap(), 1, "everyone with a place is answered");
    }
    assert!(last.try_read(&mut byte).is_err(), "the last one has no place");
    drop(clients.pop());
    assert_eq!(last.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test]
async fn a_busy_internal_port_is_known_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.internal_listen = Some(taken.local_addr().unwrap());
    let error = super::Site::new(settings).expect_err("the port is taken").to_string();
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
}
