//! Two thousand sessions through ten upgrades in a row.
//!
//! Setup: `longwire serve` as a process of its own and its successors, with two shards and with
//! three in turn; two thousand subscribers in twenty channels, every fourth over Protobuf,
//! publishers that go on all the time, clients in the middle of a message and clients that come and
//! go. Claims: nobody is disconnected; every subscriber hears every publication of its channel once
//! and in order, and every command is answered.

#[path = "support/protobuf.rs"]
mod protobuf;
#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

use session::{Client, Patient};
use successors::Succession;

const SUBSCRIBERS: usize = 2000;
const CHANNELS: usize = 20;
const PUBLISHERS: usize = 4;
/// To three shards and to two in turn.
const UPGRADES: usize = 10;
/// Publications that each publisher makes at least between two upgrades.
const PUBLICATIONS: u32 = 10;

/// Both ends of nobody's connection are here, but one descriptor for each is.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

enum Subscriber {
    Json(Client),
    Protobuf(protobuf::Client),
}

impl Subscriber {
    /// Of every channel's members each fourth is over Protobuf.
    fn new(address: SocketAddr, number: usize) -> Self {
        let channel = format!("c{}", number % CHANNELS);
        if number / CHANNELS % 4 == 3 {
            let mut client = protobuf::Client::connect(address);
            client.subscribe(&channel);
            return Self::Protobuf(client);
        }
        let mut client = Client::connect(address);
        client.subscribe(&channel);
        Self::Json(client)
    }

    /// The data of the next publication: nothing else comes.
    fn hear(&mut self) -> Value {
        match self {
            Self::Json(client) => client.line()["push"]["pub"]["data"].take(),
            Self::Protobuf(client) => serde_json::from_slice(&client.publication()).unwrap(),
        }
    }
}

/// Says that it is over when it is dropped, by a panic as well.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes numbers in its channels, one behind the other, until it is over. It hears what it
/// publishes before it goes on.
fn publish(address: SocketAddr, publisher: usize, counts: &[AtomicU32], is_over: &AtomicBool) {
    let _over = Over(is_over);
    let mut client = Client::connect(address);
    let own = (publisher..CHANNELS).step_by(PUBLISHERS);
    own.clone().for_each(|channel| client.subscribe(&format!("c{channel}")));
    while !is_over.load(Ordering::Relaxed) {
        for channel in own.clone() {
            let number = counts[channel].fetch_add(1, Ordering::Relaxed) + 1;
            let id =
                client.command(&format!(r#""publish":{{"channel":"c{channel}","data":{number}}}"#));
            let heard = [client.line(), client.line()];
            let is_reply = |line: &Value| *line == json!({"id": id, "publish": {}});
            let is_push = |line: &Value| line["push"]["pub"]["data"] == json!(number);
            assert!(heard.iter().any(is_reply) && heard.iter().any(is_push), "{heard:?}");
        }
    }
}

/// Comes, subscribes, asks for something and goes.
fn come_and_go(address: SocketAddr, count: &AtomicU32, is_over: &AtomicBool) {
    let _over = Over(is_over);
    while !is_over.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        client.subscribe("visitors");
        let reply = client.ask(r#""publish":{"channel":"elsewhere","data":{}}"#);
        assert_eq!(reply["publish"], json!({}), "{reply}");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client that has sent the first bytes of a command, and the others.
fn interrupted(address: SocketAddr, first_bytes: usize) -> (Patient, Vec<u8>) {
    let mut stream = Patient(Client::connect(address).into_stream());
    let command = br#"{"id":9,"publish":{"channel":"elsewhere","data":1}}"#;
    let length = u8::try_from(command.len()).unwrap();
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], &command[..]].concat();
    stream.write_all(&frame[..first_bytes]).unwrap();
    (stream, frame[first_bytes..].to_vec())
}

fn finish((mut stream, rest): (Patient, Vec<u8>)) {
    stream.write_all(&rest).unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
    let reply = socket.read().unwrap().into_text().unwrap();
    assert_eq!(reply.as_str(), r#"{"id":9,"publish":{}}"#);
}

/// Upgrades to two and to three shards in turn, and waits until everybody has gone on after each.
fn upgrade_all(
    server: &mut Succession,
    counts: &[AtomicU32],
    visits: &AtomicU32,
    is_over: &AtomicBool,
) {
    for shards in [3, 2].repeat(UPGRADES / 2) {
        let begun: Vec<_> =
            (1..40).step_by(3).map(|bytes| interrupted(server.address, bytes)).collect();
        server.upgrade_to(shards);
        begun.into_iter().for_each(finish);
        let now = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let (before, visited): (Vec<u32>, u32) = (counts.iter().map(now).collect(), now(visits));
        let has_gone_on = |(count, before): (&AtomicU32, &u32)| now(count) >= before + PUBLICATIONS;
        while !counts.iter().zip(&before).all(has_gone_on) || now(visits) < visited + 5 {
            assert!(!is_over.load(Ordering::Relaxed), "somebody has failed");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

#[test]
fn nobody_is_disconnected_and_nothing_is_lost_repeated_or_out_of_order() {
    raise_limit();
    let mut server = Succession::start(2, "[client]\ninsecure = true\n");
    let address = server.address;
    let mut subscribers: Vec<Subscriber> =
        (0..SUBSCRIBERS).map(|number| Subscriber::new(address, number)).collect();
    let counts: Vec<AtomicU32> = (0..CHANNELS).map(|_| AtomicU32::new(0)).collect();
    let (visits, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (counts, visits, is_over) = (&counts, &visits, &is_over);
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || publish(address, publisher, counts, is_over));
        }
        scope.spawn(move || come_and_go(address, visits, is_over));
        let _over = Over(is_over);
        upgrade_all(&mut server, counts, visits, is_over);
    });
    for channel in 0..CHANNELS {
        server.publish(&format!("c{channel}"), "\"end\"");
    }
    for (number, client) in subscribers.iter_mut().enumerate() {
        let channel = number % CHANNELS;
        let count = counts[channel].load(Ordering::Relaxed);
        let expected = (1..=count).map(|number| json!(number)).chain([json!("end")]);
        for expected in expected {
            assert_eq!(client.hear(), expected, "{number} of {channel}");
        }
    }
    drop(subscribers);
    server.stop();
}
