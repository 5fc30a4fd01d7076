//! What a server has counted, when its binary is replaced.
//!
//! Setup: `longwire serve` as a process of its own, its successors started by it; clients, of whom
//! some stay and some leave. Claims: no counter of a shard goes down between two scrapes with an
//! upgrade in between; those that are counted twice, on coming and on going, say how many are there.

#[path = "support/openmetrics.rs"]
mod openmetrics;
#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use session::{Client, PATIENCE, Patient};
use successors::Succession;

fn scrape(internal: SocketAddr) -> BTreeMap<String, f64> {
    let began = Instant::now();
    loop {
        let (head, body) = look(internal);
        if head.starts_with("HTTP/1.1 200") {
            return openmetrics::read(&body);
        }
        // A process that leaves may have taken the connection, and says so.
        assert!(head.starts_with("HTTP/1.1 503") && began.elapsed() < PATIENCE, "{head}");
    }
}

/// Head and body of the answer.
fn look(internal: SocketAddr) -> (String, String) {
    let mut stream = Patient::connect(internal);
    let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// Counters of the shards and of the thread beside them. Those of the HTTP API begin anew with each
/// process, and say so by that.
fn counters(samples: &BTreeMap<String, f64>) -> impl Iterator<Item = (&String, f64)> {
    let is_counter = |name: &str| {
        let name = name.split('{').next().expect("a name");
        ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
    };
    let is_new = |name: &str| {
        ["longwire_http_requests", "longwire_http_request_", "longwire_http_streams_opened"]
            .iter()
            .chain(&["longwire_http_refusals", "longwire_http_evictions", "longwire_api_"])
            .chain(&["longwire_emulation_unknown_sessions"])
            .any(|start| name.starts_with(start))
    };
    let all = samples.iter().map(|(name, value)| (name, *value));
    all.filter(move |(name, _)| is_counter(name) && !is_new(name))
}

/// Scrapes until as many clients are there.
fn wait_for_clients(internal: SocketAddr, count: f64) -> BTreeMap<String, f64> {
    let began = Instant::now();
    loop {
        let samples = scrape(internal);
        let clients = samples["longwire_node_num_clients"];
        if clients.total_cmp(&count).is_eq() {
            return samples;
        }
        assert!(began.elapsed() < PATIENCE, "{clients} clients, and not {count}");
    }
}

#[test]
fn no_counter_goes_down_and_clients_are_as_many_as_there_are() {
    let mut server = Succession::start(2, "[client]\ninsecure = true\n");
    let internal = server.internal_address();
    let mut clients: Vec<Client> = (0..7).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.subscribe("all");
    }
    server.publish("all", "1");
    for client in &mut clients {
        client.line();
    }
    let mut before = wait_for_clients(internal, 7.0);
    let mut left = 7.0;
    for (shards, round) in [3, 1, 2].into_iter().zip(1..) {
        server.upgrade_to(shards);
        let after = scrape(internal);
        for (name, value) in counters(&before) {
            let now = after.get(name).copied();
            assert!(now.is_some_and(|now| now >= value), "{name} was {value}, and is {now:?}");
        }
        let committed = after["longwire_handovers_committed_total"];
        assert!(committed.total_cmp(&f64::from(round)).is_eq(), "{committed}");
        drop(clients.pop());
        left -= 1.0;
        before = wait_for_clients(internal, left);
        let ended = before["longwire_client_ends_total"];
        assert!(ended.total_cmp(&f64::from(round)).is_eq(), "{ended} have left");
    }
    drop(clients);
    server.stop();
}
