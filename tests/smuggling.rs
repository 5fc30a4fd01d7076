//! A head means the same to everybody who reads it, or it is refused (hazard 16).
//!
//! Setup: a server with a site, whose shards upgrade at `/ws` and hand everything else over;
//! clients that put a request behind each head, where only a confused reader finds it.
//! Claims: what two readers could frame differently gets one refusal and the end of the
//! connection, at either path, with an upgrade and without, as the first request and as a later
//! one, and however it was cut on the way; nothing behind it is answered; a connection that has
//! served other requests upgrades no more; what follows a right upgrade is frames and no request.

use std::io::Write;

use fleet::{Client, config};
use longwire::control::{Settings, Site};
use longwire::{Handler, Message, Peer, Request, Route, Routes, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// Accepts at `/ws`.
struct Silent;

impl Handler for Silent {
    type Connection = ();

    fn routes(&mut self) -> Routes {
        Routes::new().route(Route::new("/ws"))
    }

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, _peer: &mut Peer<'_, Self>, _message: Message<'_>) {}
}

fn server() -> Running {
    let mut settings = Settings::default();
    settings.internal_listen = None;
    let site = Site::new(settings).expect("no port of its own");
    Server::start_site(config(1, 100), site, |_shard| Silent).expect("starts")
}

/// A request that must never be answered.
const SMUGGLED: &str = "GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n";

/// A request that is always answered.
const PLAIN: &str = "GET /health HTTP/1.1\r\nHost: here\r\n\r\n";

/// The lines of an upgrade that nothing is wrong with.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The end of a head that somebody reads differently than somebody else, and the body that one of
/// them finds behind it.
const AMBIGUOUS: [(&str, u16); 22] = [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Content-Length: 0\r\nContent-Length: 44\r\n\r\n", 400),
    ("Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    ("Content-Length: 0, 0\r\n\r\n", 400),
    ("Content-Length: +0\r\n\r\n", 400),
    ("Content-Length : 0\r\n\r\n", 400),
    ("Content-Length: 0\n\r\n", 400),
    ("Content-Length: 99999999999999999999999\r\n\r\n", 413),
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: identity\r\n\r\n", 400),
    ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("X: y\n\n", 400),
    ("X: y\nY: z\r\n\r\n", 400),
    ("X: y\r\n folded: z\r\n\r\n", 400),
    ("Host: there\r\n\r\n", 400),
    ("X: a\0b\r\n\r\n", 400),
    ("X: a\rb\r\n\r\n", 400),
];

/// The statuses of all answers until the server's end of the connection.
fn answers(client: &mut Client) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Some(head) = client.head() {
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map(|(_, length)| length.parse().expect("a number"));
        client.bytes(length.expect("a length"));
        statuses.push(status.expect("a status"));
    }
    statuses
}

/// What the server answers to these bytes.
fn answers_to(server: &Running, bytes: &str) -> Vec<u16> {
    let mut client = Client::dial(server.address());
    client.write(bytes.as_bytes());
    answers(&mut client)
}

/// The same, where the shard has read the first part before the second comes.
fn answers_to_parts(server: &Running, first: &str, second: &str) -> Vec<u16> {
    let mut client = Client::dial(server.address());
    let before = server.snapshot().expect("it runs").counters.received_bytes;
    client.write(first.as_bytes());
    let seen = before + first.len() as u64;
    fleet::wait_for(server, "the first part", |now| now.counters.received_bytes >= seen);
    // Where the first part was refused already, this may find nobody.
    let _refused_before = client.stream.write_all(second.as_bytes());
    answers(&mut client)
}

fn request(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: here\r\n{lines}{SMUGGLED}")
}

/// To the shard, whatever speaks of a body is an upgrade with a body, however long.
#[test]
fn an_ambiguous_head_for_a_websocket_is_refused_once() {
    let server = server();
    for (lines, _) in AMBIGUOUS {
        for upgrade in ["", UPGRADE] {
            let bad = request("GET", "/ws", &format!("{upgrade}{lines}"));
            assert_eq!(answers_to(&server, &bad), [400], "{lines:?} after {upgrade:?}");
        }
    }
    let counters = server.snapshot().expect("it runs").counters;
    let refused = AMBIGUOUS.len() as u64 * 2;
    assert_eq!((counters.upgrades_refused, counters.opened), (refused, 0));
    assert_eq!(counters.http_handed_over, 0);
}

#[test]
fn an_ambiguous_head_for_the_site_is_refused_once() {
    let server = server();
    for (lines, status) in AMBIGUOUS {
        for (method, upgrade) in [("GET", ""), ("POST", ""), ("GET", UPGRADE)] {
            let bad = request(method, "/health", &format!("{upgrade}{lines}"));
            let what = format!("{method} {lines:?} after {upgrade:?}");
            assert_eq!(answers_to(&server, &bad), [status], "{what}");
        }
    }
    assert_eq!(server.snapshot().expect("it runs").counters.opened, 0);
}

/// The site reads what the shard has not: behind a first request, for whatever path.
#[test]
fn an_ambiguous_head_behind_another_request_is_refused_once() {
    let server = server();
    for (lines, status) in AMBIGUOUS {
        for (path, upgrade) in [("/health", ""), ("/ws", ""), ("/ws", UPGRADE)] {
            let bad = request("GET", path, &format!("{upgrade}{lines}"));
            let what = format!("{path} {lines:?} after {upgrade:?}");
            // In one piece, and when the first was answered.
            assert_eq!(answers_to(&server, &format!("{PLAIN}{bad}")), [200, status], "{what}");
            let mut client = Client::dial(server.address());
            client.write(PLAIN.as_bytes());
            let head = client.head().expect("an answer");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(client.bytes(2), b"{}");
            client.write(bad.as_bytes());
            assert_eq!(answers(&mut client), [status], "{what}, later");
        }
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.opened, counters.upgrades_refused), (0, 0));
    assert_eq!(counters.http_handed_over, AMBIGUOUS.len() as u64 * 6);
}

/// Half of the head is read by the shard before the rest comes, and half of that by the site.
#[test]
fn where_a_head_was_cut_changes_nothing() {
    let server = server();
    for (lines, status) in [AMBIGUOUS[0], AMBIGUOUS[3], AMBIGUOUS[16]] {
        for (path, upgrade, expected) in [("/health", "", status), ("/ws", UPGRADE, 400)] {
            let bad = request("GET", path, &format!("{upgrade}{lines}"));
            let end = bad.len() - SMUGGLED.len();
            for cut in (1..end).step_by(7).chain(end - 6..=end) {
                let (first, second) = bad.split_at(cut);
                let statuses = answers_to_parts(&server, first, second);
                assert_eq!(statuses, [expected], "{bad:?} cut at {cut}");
            }
        }
    }
    assert_eq!(server.snapshot().expect("it runs").counters.opened, 0);
}

/// RFC 9110 §15.5.20: only a shard upgrades, and what it has handed over does not come back.
#[test]
fn a_connection_that_has_served_other_requests_upgrades_no_more() {
    let server = server();
    let upgrade = request("GET", "/ws", &format!("{UPGRADE}\r\n"));
    assert_eq!(answers_to(&server, &format!("{PLAIN}{upgrade}")), [200, 421]);
    let body = format!(
        "POST /api/publish HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n",
        upgrade.len()
    );
    // A body is a body, whatever it looks like, and who sends it has no key.
    assert_eq!(answers_to(&server, &format!("{body}{upgrade}{upgrade}")), [401, 421]);
    assert_eq!(server.snapshot().expect("it runs").counters.opened, 0);
    // What it is sent back for.
    let mut socket = Client::connect_to(server.address(), "/ws");
    socket.send_close(1000);
    assert_eq!(socket.closed(), Some(1000));
}

#[test]
fn a_refused_upgrade_is_the_last_word() {
    let server = server();
    for (lines, status) in [
        (UPGRADE.replace("13", "12"), 426),
        (UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c"), 426),
        (UPGRADE.replace("Connection: Upgrade", "Connection: close"), 400),
        (UPGRADE.replace("dGhl", "dGh"), 400),
        (format!("{UPGRADE}Content-Length: {}\r\n", SMUGGLED.len()), 400),
        (format!("{UPGRADE}Transfer-Encoding: chunked\r\n"), 400),
    ] {
        let refused = request("GET", "/ws", &format!("{lines}\r\n"));
        assert_eq!(answers_to(&server, &refused), [status], "{lines:?}");
    }
    assert_eq!(server.snapshot().expect("it runs").counters.opened, 0);
}

#[test]
fn what_follows_an_upgrade_is_frames_and_no_request() {
    let server = server();
    let mut client = Client::dial(server.address());
    client.write(request("GET", "/ws", &format!("{UPGRADE}\r\n")).as_bytes());
    assert!(client.head().expect("an answer").starts_with("HTTP/1.1 101 "));
    // "G" is a frame with reserved bits.
    assert_eq!(client.closed(), Some(1002));
    client.end();
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.opened, counters.http_handed_over), (1, 0));
}
