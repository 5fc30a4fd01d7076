//! Requests of the HTTP API while the server's binary is replaced.
//!
//! Setup: `longwire serve` as a process of its own, its successors started by it; back ends that
//! publish, one of them slowly, and a session that listens; processes held at a step of the upgrade.
//! Claims: who has begun a request is answered by the process that has taken it, whoever carries it
//! out; every publication is made once; a process that stands still says so to whoever asks whether
//! it is ready; a client with a stream is told to come back.
use over::Over;

#[path = "support/http.rs"]
mod http;
#[path = "support/over.rs"]
mod over;
#[path = "support/session.rs"]
mod session;
#[path = "support/streams.rs"]
mod streams;
#[path = "support/successors.rs"]
mod successors;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use session::{Client, Patient};
use successors::Succession;
use successors::steps::poll;

const KEPT: &str = "[client]\ninsecure = true\n[channel.without_namespace]\nhistory_size = 100000\nhistory_ttl = \"10m\"\n";

/// A connection of a back end.
struct BackEnd(Patient);

/// What it was answered.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Value,
}

impl BackEnd {
    fn connect(address: SocketAddr) -> Self {
        Self(Patient::connect(address))
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    /// A publication whose body will come later, once the process that has taken the request has
    /// said that it waits for it.
    fn announce(&mut self, body: &str) {
        self.send(&head(body, "Expect: 100-continue\r\n"));
        assert_eq!(self.status(), 100);
    }

    fn publish(&mut self, body: &str) -> Answer {
        self.send(&format!("{}{body}", head(body, "")));
        self.answer()
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads a head, and returns it.
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect(&head);
            head.push(byte[0].into());
        }
        head
    }

    fn status(&mut self) -> u16 {
        status_of(&self.head())
    }

    fn answer(&mut self) -> Answer {
        let head = self.head();
        let length = head.to_lowercase().split("content-length: ").nth(1).map(|rest| {
            let end = rest.find('\r').unwrap();
            rest[..end].parse::<usize>().unwrap()
        });
        let mut body = vec![0; length.expect(&head)];
        self.0.read_exact(&mut body).unwrap();
        Answer { status: status_of(&head), body: serde_json::from_slice(&body).unwrap() }
    }
}

fn head(body: &str, headers: &str) -> String {
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: key\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
}

fn status_of(head: &str) -> u16 {
    head["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

fn publication(channel: &str, data: impl std::fmt::Display) -> String {
    format!(r#"{{"channel":"{channel}","data":{data}}}"#)
}

/// The answer to a publication that has got this place.
fn is_placed(answer: &Answer, offset: u64) {
    assert_eq!(
        (answer.status, &answer.body["result"]["offset"]),
        (200, &json!(offset)),
        "{answer:?}"
    );
}

#[test]
fn a_request_that_comes_slowly_is_answered_though_another_process_has_taken_over() {
    let mut server = Succession::start(2, KEPT);
    let mut listener = Client::connect(server.address);
    listener.subscribe("all");
    for (offset, shards) in (1..).zip([3, 1, 2]) {
        let mut slow = BackEnd::connect(server.address);
        let body = publication("all", offset);
        slow.announce(&body);
        slow.send(&body[..9]);
        server.upgrade_to(shards);
        slow.send(&body[9..]);
        is_placed(&slow.answer(), offset);
        assert_eq!(listener.line()["push"]["pub"]["data"], json!(offset));
    }
    drop(listener);
    server.stop();
}

#[test]
fn a_request_that_comes_while_nothing_is_served_waits_for_whoever_serves_then() {
    let mut server = Succession::start(2, KEPT);
    let mut listener = Client::connect(server.address);
    listener.subscribe("all");
    // The first time the new process dies, and the second time it takes over.
    for (offset, dies) in (1..).zip([true, false]) {
        let mut kept = BackEnd::connect(server.address);
        assert_eq!(kept.get("/health/ready").status, 200);
        let mut held = BackEnd::connect(server.address);
        let body = publication("all", offset);
        held.announce(&body);
        server.steps.hold_at("NewerHeardStill");
        let asking = server.begin(3);
        let newer = server.steps.held_at("NewerHeardStill");
        let unready = json!({"ready": false, "reasons": ["handing over"]});
        assert_eq!(kept.get("/health/ready"), Answer { status: 503, body: unready });
        held.send(&body);
        if dies {
            kill_process(newer, Signal::KILL).unwrap();
            assert!(!asking.wait_with_output().unwrap().status.success());
            // Its process serves on, and so does the connection of whoever has asked.
            assert_eq!(kept.get("/health/ready").status, 200);
        } else {
            kill_process(newer, Signal::CONT).unwrap();
            server.finish(asking);
        }
        is_placed(&held.answer(), offset);
        assert_eq!(listener.line()["push"]["pub"]["data"], json!(offset));
    }
    drop(listener);
    server.stop();
}

/// Its descriptor goes on to the control thread. (It ends there by a shutdown, which a copy would not
/// hide; that there is none is a test of `shard::copies`.)
#[test]
fn a_request_that_was_half_there_when_others_were_copied_is_answered_and_ends() {
    let mut server = Succession::start(1, KEPT);
    let mut half = BackEnd::connect(server.address);
    half.send("GET /health HTTP/1.1\r\nHost: a\r\n");
    // Who comes behind it is there, and so is it.
    let mut session = Client::connect(server.address);
    server.steps.hold_at("NewerCopied");
    let asking = server.begin(1);
    let newer = server.steps.held_at("NewerCopied");
    half.send("Connection: close\r\n\r\n");
    half.0.0.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    let read = half.0.read_to_string(&mut answer);
    kill_process(newer, Signal::CONT).unwrap();
    server.finish(asking);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    read.expect("the end, though the new process is held");
    session.subscribe("all");
    server.publish("all", "1");
    assert_eq!(session.line()["push"]["pub"]["data"], json!(1));
    drop(session);
    server.stop();
}

/// What had ended it was the end of the old process, or the client's own patience: the shard had let
/// go of its end, but its ring had not, for another thread knew it.
#[test]
fn a_stream_ends_at_once_with_a_word_by_which_its_client_comes_back() {
    let config = "[client]\ninsecure = true\n[http_stream]\nenabled = true\n";
    let mut server = Succession::start(2, config);
    // As long as this is there, so is the old process.
    let mut slow = BackEnd::connect(server.address);
    let body = publication("elsewhere", 0);
    slow.announce(&body);
    let mut client = streams::Client::connect(server.address);
    client.subscribe("all");
    server.publish("all", "1");
    assert_eq!(client.news().unwrap()["push"]["pub"]["data"], json!(1));
    server.upgrade_to(3);
    let farewell = json!({"code": 3001, "reason": "shutdown", "reconnect": true});
    assert_eq!(client.end(), farewell);
    let mut client = streams::Client::connect(server.address);
    client.subscribe("all");
    server.publish("all", "2");
    assert_eq!(client.news().unwrap()["push"]["pub"]["data"], json!(2));
    slow.send(&body);
    assert_eq!(slow.answer(), Answer { status: 200, body: json!({"result": {}}) });
    server.stop();
}

#[test]
fn every_publication_of_a_back_end_is_answered_and_made_once_through_upgrades() {
    const BACK_ENDS: usize = 12;
    let mut server = Succession::start(2, KEPT);
    let mut listener = Client::connect(server.address);
    listener.subscribe("all");
    let (is_over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = server.address;
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let (is_over, made) = (&is_over, &made);
        let publishing = |number: usize| {
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let body = publication("all", format!("[{number},{count}]"));
                    let answer = BackEnd::connect(address).publish(&body);
                    let is_made = answer.body["result"]["offset"].is_u64();
                    assert!(answer.status == 200 && is_made, "{body}: {answer:?}");
                    count += 1;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        };
        let back_ends: Vec<_> = (0..BACK_ENDS).map(publishing).collect();
        let over = Over(is_over);
        for shards in [3, 1, 2] {
            let before = made.load(Ordering::Relaxed);
            poll("they publish", || (made.load(Ordering::Relaxed) > before + 20).then_some(()));
            server.upgrade_to(shards);
        }
        drop(over);
        back_ends.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut heard = [0; BACK_ENDS];
    for offset in 1..=counts.iter().sum::<usize>() {
        let line = listener.line();
        let publication = &line["push"]["pub"];
        assert_eq!(publication["offset"], json!(offset), "{line}");
        let number = publication["data"][0].as_u64().unwrap();
        let next = &mut heard[usize::try_from(number).unwrap()];
        assert_eq!(publication["data"], json!([number, *next]));
        *next += 1;
    }
    assert_eq!(heard.to_vec(), counts);
    drop(listener);
    server.stop();
}
