//! The client protocol's Protobuf format on real sockets, beside clients of JSON.
//!
//! Setup: a server of `Sessions`, clients of either format on each of its shards. Claims: a frame
//! of Protobuf is served like one of JSON; members of one channel hear the same in either format,
//! in one order; each publication is translated once, at its channel's home, and never where all
//! members speak the same format; bytes that are no JSON reach those who can read them.

use longwire::{Counters, Running, SessionSettings};
use protobuf::{Fields, command, connect, field, publish, subscribe, unsubscribe};
use serde_json::{Value, json};
use session::{End, config, one_on_each, serve, settings};
use std::time::Duration;

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;

const SHARDS: usize = 2;

fn end(code: u16, reason: &str) -> End {
    End { code, reason: reason.to_owned() }
}

fn counters(server: &Running) -> Counters {
    server.snapshot().expect("it runs").counters
}

/// Clients of Protobuf, at least one on each shard.
fn protobuf_on_each(server: &Running) -> Vec<protobuf::Client> {
    let (mut clients, mut shards) = (Vec::new(), [false; SHARDS]);
    while shards.contains(&false) {
        assert!(clients.len() < 64 * SHARDS, "one shard gets no connection");
        let before = server.snapshot().expect("it runs").shard_connections;
        clients.push(protobuf::Client::connect(server.address()));
        let after = server.snapshot().expect("it runs").shard_connections;
        let changed = before.iter().zip(&after).position(|(before, after)| before != after);
        shards[changed.expect("it is on one of them")] = true;
    }
    clients
}

/// Members of the channel "both", of each format on each shard.
fn members(server: &Running) -> (Vec<session::Client>, Vec<protobuf::Client>) {
    let mut json: Vec<_> = one_on_each(server, SHARDS).into_iter().flatten().collect();
    let mut protobuf = protobuf_on_each(server);
    for client in &mut json {
        client.subscribe("both");
    }
    for client in &mut protobuf {
        client.subscribe("both");
    }
    (json, protobuf)
}

/// All members hear this publication, and nothing else before it but the publisher's own reply.
fn all_hear(json: &mut [session::Client], protobuf: &mut [protobuf::Client], data: &Value) {
    for client in json {
        let mut line = client.line();
        if line["id"].is_number() {
            line = client.line();
        }
        assert_eq!(line["push"]["pub"]["data"], *data, "{line}");
        assert_eq!(line["push"]["channel"], "both");
    }
    for client in protobuf {
        let mut reply = client.reply();
        if reply.number(1) > 0 {
            reply = client.reply();
        }
        let push = reply.message(4).expect("a push");
        assert_eq!(push.text(2), "both");
        let publication = push.message(4).expect("a publication");
        assert_eq!(publication.bytes(4), Some(data.to_string().as_bytes()));
        let client = publication.message(5).expect("who published").text(2).len();
        assert_eq!(client, 36);
    }
}

#[test]
fn members_of_both_formats_hear_the_same_and_each_publication_is_translated_once() {
    let server = serve(config(2), &settings());
    let (mut json, mut protobuf) = members(&server);
    let mut number = 0;
    let mut round = |is_json: bool, place: usize| {
        number += 1;
        let data = json!({ "number": number });
        if is_json {
            let client = &mut json[place];
            client.command(&format!(r#""publish":{{"channel":"both","data":{data}}}"#));
        } else {
            protobuf[place].send(&publish(9, "both", data.to_string().as_bytes()));
        }
        all_hear(&mut json, &mut protobuf, &data);
    };
    // The shards find out who is there, and tell the home before they publish the second.
    round(false, 0);
    round(true, 0);
    let before = counters(&server);
    assert!(before.publications_translated > 0, "by the shards, until the home knows");
    for place in [0, 1, 0, 1] {
        round(true, place);
        round(false, place);
    }
    let after = counters(&server);
    let translated = after.publications_translated - before.publications_translated;
    assert_eq!(translated, 8, "one by one, however many members and shards there are");
    assert_eq!((after.publications_missed, after.publications_unreadable), (0, 0));
}

#[test]
fn both_formats_hear_one_order_of_many_publications_at_once() {
    const ROUNDS: usize = 20;
    const BATCH: usize = 10;
    let server = serve(config(2), &settings());
    let (mut json, mut protobuf) = members(&server);
    let mut speakers =
        (session::Client::connect(server.address()), protobuf::Client::connect(server.address()));
    let large = "x".repeat(300);
    for round in 0..ROUNDS {
        let data = |place| json!(format!("{round} {place} {large}")).to_string();
        let lines = (0..BATCH).map(|place| {
            let data = data(place);
            format!(r#"{{"id":9,"publish":{{"channel":"both","data":{data}}}}}"#)
        });
        speakers.0.send(&lines.collect::<Vec<_>>().join("\n"));
        let frame = (0..BATCH).flat_map(|place| publish(9, "both", data(place).as_bytes()));
        speakers.1.send(&frame.collect::<Vec<_>>());
        for _ in 0..BATCH {
            assert_eq!(speakers.0.line(), json!({ "id": 9, "publish": {} }));
            assert!(speakers.1.reply().message(8).is_some(), "it was taken");
        }
    }
    let text =
        |line: &Value| line["push"]["pub"]["data"].as_str().expect("a publication").to_owned();
    let sequence: Vec<_> = (0..2 * ROUNDS * BATCH).map(|_| text(&json[0].line())).collect();
    for client in &mut json[1..] {
        for data in &sequence {
            assert_eq!(client.line()["push"]["pub"]["data"], **data);
        }
    }
    for client in &mut protobuf {
        for data in &sequence {
            assert_eq!(client.publication(), json!(data).to_string().as_bytes());
        }
    }
    assert_eq!(counters(&server).publications_missed, 0);
}

#[test]
fn nothing_is_translated_where_all_speak_the_same_format() {
    let server = serve(config(2), &settings());
    let mut json: Vec<_> = one_on_each(&server, SHARDS).into_iter().flatten().collect();
    for client in &mut json {
        client.subscribe("json");
    }
    let mut protobuf = protobuf_on_each(&server);
    for client in &mut protobuf {
        client.subscribe("protobuf");
    }
    for number in 0..20 {
        json[0].command(&format!(r#""publish":{{"channel":"json","data":{number}}}"#));
        protobuf[0].send(&publish(9, "protobuf", &[0xff, number]));
    }
    for client in &mut json {
        let data = (0..).find_map(|_| client.line()["push"]["pub"]["data"].as_u64());
        assert_eq!(data, Some(0));
    }
    for client in &mut protobuf {
        let mut reply = client.reply();
        while reply.message(4).is_none() {
            reply = client.reply();
        }
        let publication = reply.message(4).and_then(|push| push.message(4)).expect("one");
        assert_eq!(publication.bytes(4), Some(&[0xff, 0][..]), "bytes, JSON or not");
    }
    let counters = counters(&server);
    assert_eq!((counters.publications_translated, counters.publications_unreadable), (0, 0));
}

#[test]
fn who_reads_json_is_told_3506_when_bytes_are_published_that_are_none() {
    let server = serve(config(2), &settings());
    let (json, mut protobuf) = members(&server);
    let count = json.len() as u64;
    for data in [&b"\x00\xff"[..], b"{}"] {
        protobuf[0].send(&publish(9, "both", data));
        for client in &mut protobuf {
            let mut reply = client.reply();
            if reply.number(1) > 0 {
                reply = client.reply();
            }
            let publication = reply.message(4).and_then(|push| push.message(4)).expect("one");
            assert_eq!(publication.bytes(4), Some(data));
        }
    }
    for mut client in json {
        assert_eq!(client.end(), end(3506, "inappropriate protocol"));
    }
    let counters = counters(&server);
    assert_eq!(counters.publications_unreadable, count);
    assert_eq!(counters.disconnects_inappropriate_protocol, count);
}

#[test]
fn commands_of_one_frame_and_of_the_next_are_answered_in_order() {
    let server = serve(config(2), &settings());
    for _ in 0..4 {
        let mut client = protobuf::Client::dial(server.address());
        let mut frame = connect(1);
        for id in 2..=20 {
            frame.extend(subscribe(id, &format!("channel-{id}")));
        }
        client.send(&frame);
        client.send(&[unsubscribe(21, "channel-2"), command(22, 13, b"")].concat());
        client.send(&publish(23, "elsewhere", b"1"));
        // What each id is answered with: a field of the reply, and in it an error's code.
        let kinds = [(1..=1, 5), (2..=20, 6), (21..=21, 7), (22..=22, 2), (23..=23, 8)];
        for (ids, field) in kinds {
            for id in ids {
                let reply = client.reply();
                assert_eq!(reply.number(1), id);
                let result = reply.message(field).unwrap_or_else(|| panic!("{id}: {reply:?}"));
                if field == 2 {
                    assert_eq!((result.number(1), result.text(2)), (108, "not available"));
                }
            }
        }
    }
}

#[test]
fn replies_are_packed_sixteen_to_a_message() {
    let server = serve(config(1), &settings());
    let mut client = protobuf::Client::connect(server.address());
    client.message_replies.clear();
    let frame: Vec<u8> = (2..42).flat_map(|id| command(id, 13, b"")).collect();
    client.send(&frame);
    for id in 2..42 {
        assert_eq!(client.reply().number(1), id);
    }
    assert_eq!(client.message_replies, [16, 16, 8]);
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let server = serve(config(1), &settings());
    let whole = subscribe(2, "a");
    let cases: [&[u8]; 6] = [
        b"",                            // an empty message
        &whole[..whole.len() - 1],      // a command that is cut
        b"{\"id\":2,\"rpc\":{}}",       // JSON
        &command(2, 11, b""),           // asks for nothing known
        &[4, 8, 2, 0x28, 1],            // a subscribe that is a number
        &command(2, 5, &field(1, b"")), // a channel without a name
    ];
    let count = cases.len() as u64;
    for case in cases {
        let mut client = protobuf::Client::connect(server.address());
        client.send(case);
        assert_eq!(client.next(), Err(end(3501, "bad request")), "{case:?}");
    }
    assert_eq!(counters(&server).disconnects_bad_request, count);
}

#[test]
fn a_ping_is_one_zero_byte_and_so_is_its_answer() {
    let settings = SessionSettings {
        ping_interval: Some(Duration::from_secs(4)),
        pong_timeout: Duration::from_millis(3900),
        ..settings()
    };
    let server = serve(config(1), &settings);
    let mut client = protobuf::Client::dial(server.address());
    client.send(&connect(1));
    let result = client.reply().message(5).expect("connected");
    assert_eq!((result.number(7), result.number(8)), (4, 1));
    for _ in 0..2 {
        assert_eq!(client.reply(), Fields::default(), "a ping");
        client.send(&[0]);
    }
    client.send(&command(2, 13, b""));
    assert_eq!(client.reply().number(1), 2, "the second pong was taken as well");
    client.send(&[0, 0]); // another ping may have left meanwhile, but not two
    let told = loop {
        match client.next() {
            Ok(reply) => assert_eq!(reply, Fields::default()),
            Err(told) => break told,
        }
    };
    assert_eq!(told, end(3501, "bad request"), "a pong that answers no ping");
}
