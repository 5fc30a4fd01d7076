//! Members that read in their own ways, when the server's binary is replaced.
//!
//! Setup: `longwire serve` as a process of its own, its successors started by it; a client that
//! takes deltas, and one that stops to read until publications wait for it, and older ones give
//! way. Claims: deltas go on to be what the client can apply; what waits for a slow client is sent
//! by whoever serves when it reads again, in its order, once, and up to the last.

#[path = "support/openmetrics.rs"]
mod openmetrics;
#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

use std::io::{Read, Write};
use std::time::Instant;

use longwire::protocol::fossil;
use serde_json::{Value, json};

use session::{Client, PATIENCE, Patient};
use successors::Succession;

/// Of some length, and much like the others.
fn document(number: u64) -> Value {
    let rows: Vec<String> = (0..200_u64).map(|row| format!("{:x}", row * 2_654_435_761)).collect();
    json!({ "number": number, "rows": rows, "end": number * 7 })
}

const WITH_DELTAS: &str = "[client]\ninsecure = true\n[channel.without_namespace]\n\
                           history_size = 10\nhistory_ttl = \"10m\"\nforce_recovery = true\n\
                           allowed_delta_types = [\"fossil\"]\ndelta_publish = true\n";

#[test]
fn who_takes_deltas_goes_on_to_get_what_it_can_apply() {
    let mut server = Succession::start(2, WITH_DELTAS);
    let mut client = Client::connect(server.address);
    let reply = client.ask(r#""subscribe":{"channel":"news","delta":"fossil"}"#);
    assert_eq!(reply["subscribe"]["delta"], true, "{reply}");
    let (mut last, mut deltas) = (Vec::new(), 0);
    let mut number = 0;
    for shards in [2, 3, 1, 2] {
        if number > 0 {
            server.upgrade_to(shards);
        }
        let before = deltas;
        for _ in 0..3 {
            number += 1;
            server.publish("news", &document(number).to_string());
            let publication = &client.line()["push"]["pub"];
            let data = publication["data"].as_str().unwrap_or_else(|| panic!("{publication}"));
            if publication["delta"] == true {
                last = fossil::decode(&last, data.as_bytes()).expect("it has the base");
                deltas += 1;
            } else {
                last = data.as_bytes().to_vec();
            }
            let heard: Value = serde_json::from_slice(&last).expect("a document");
            assert_eq!(heard, document(number));
        }
        assert!(deltas > before, "none of three was a delta");
    }
    drop(client);
    server.stop();
}

const WITH_PATIENCE: &str = "[client]\ninsecure = true\nqueue_max_size = \"256KiB\"\n\
                             [channel.without_namespace]\noverflow = \"drop_oldest\"\n";

/// How many publications have given way to later ones.
fn dropped(server: &Succession) -> f64 {
    let mut stream = Patient::connect(server.internal_address());
    let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    openmetrics::read(body)["longwire_overflow_dropped_oldest_total"]
}

#[test]
fn what_waits_for_a_slow_client_is_sent_by_whoever_serves_then() {
    let mut server = Succession::start(2, WITH_PATIENCE);
    let mut slow = Client::connect(server.address);
    slow.subscribe("news");
    let fill = "x".repeat(16_000);
    let mut last = 0;
    let mut publish = |server: &Succession| -> u64 {
        last += 1;
        server.publish("news", &format!(r#"{{"number":{last},"fill":"{fill}"}}"#));
        last
    };
    // More than all buffers between them hold.
    let began = Instant::now();
    while dropped(&server) < 10.0 {
        for _ in 0..100 {
            publish(&server);
        }
        assert!(began.elapsed() < 2 * PATIENCE, "everything finds room");
    }
    server.upgrade_to(3);
    server.upgrade_to(1);
    let last = publish(&server);
    let mut heard: Vec<u64> = Vec::new();
    while heard.last() != Some(&last) {
        let line = slow.line();
        heard.push(line["push"]["pub"]["data"]["number"].as_u64().expect("a number"));
    }
    assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    assert!(heard.ends_with(&[last - 2, last - 1, last]), "{heard:?} up to {last}");
    let next = publish(&server);
    assert_eq!(slow.line()["push"]["pub"]["data"]["number"], json!(next));
    drop(slow);
    server.stop();
}
