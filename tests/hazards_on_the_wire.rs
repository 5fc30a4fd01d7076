//! Known failures of servers like this one, tried at the socket.
//!
//! Setup: raw bytes from clients that mean harm, and one that echoes beside them. Claim: each gets
//! the refusal of its rule and nothing more; what is kept for it follows what it sent, never what
//! it declared; the server serves on. The classes, with where else each is tested:
//!
//! |    | class                         | here                       | and                       |
//! |----|-------------------------------|----------------------------|---------------------------|
//! |  1 | frame length overflow         | `declared_lengths_…`       | `ws/frame.rs`             |
//! |  2 | allocation by declared length | `memory_follows_…`         | `ws/assemble.rs`          |
//! |  3 | unbounded output              | `slow_reader.rs`           |                           |
//! |  4 | size and time of the head     | `a_head_…`, `a_slow_head_…`| `ws/handshake/scan.rs`    |
//! |  5 | count of headers              | `a_head_…`                 | `ws/handshake/scan.rs`    |
//! |  6 | quadratic header lists        | `a_list_of_nothing_…`      | `ws/handshake/server.rs`  |
//! |  7 | endless fragments             | `endless_fragments_…`      | `ws/assemble.rs`          |
//! |  8 | flood of empty frames         | `empty_frames_…`           | `shard/ready.rs`          |
//! | 11 | one peer ends the process     | `nonsense_…`, `an_ended_…` | `ws/fuzz.rs`              |
//! | 12 | flood of pings                | `a_flood_of_pings_…`       |                           |
//! | 13 | text that is none             | `bad_text_…`               | `ws/utf8.rs`              |
//! | 14 | races around Close            | `close_codes.rs`           | `shard/phase.rs`          |
//! | 15 | masking                       | `an_unmasked_frame_…`      | `ws/assemble.rs`          |
//! | 16 | smuggled requests             | `a_second_request_…`       | `ws/handshake/server.rs`  |

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use longwire::limits::{
    FRAGMENTS_MAX, FRAME_COST_BYTES, HEAD_BYTES_MAX, HEAD_LINE_BYTES_MAX, HEAD_LINES_MAX,
    PONGS_PER_READ_MAX, RECEIVE_BUFFER_BYTES, TURN_SHARE_BYTES,
};
use longwire::ws::{OpCode, encode_message};
use longwire::{Cause, Limits, Route, Routes};
use peer::{Client, Heard, KEY, Scene, config, fragments, frame, request};

/// Sends frames that break a rule; the code and reason of the Close that answers them.
fn failed_with(scene: &Scene, bytes: &[u8]) -> (u16, String) {
    let mut client = scene.client();
    // The server may have heard enough before all of it is written.
    let _refused = client.write(bytes);
    let close = loop {
        match client.next() {
            Heard::Close(Some(close)) => break close,
            Heard::Pong(_) => {}
            other => panic!("{other:?} instead of a Close"),
        }
    };
    assert_eq!(client.next(), Heard::End);
    drop(client);
    scene.wait_until_empty();
    assert_eq!(scene.last_end(), (Cause::Violation, close.0, close.1.clone()));
    close
}

/// Sends a head, and a request behind it that would be good; the status of the only answer.
fn refused_with(scene: &Scene, head: &[u8]) -> (u16, String) {
    let mut stream = scene.connect();
    stream.write_all(head).unwrap();
    let answer = only_answer(&mut stream);
    drop(stream);
    scene.wait_until(|now| now.connections == now.open);
    answer
}

/// The one answer of a connection that is closed behind it, also to what comes then.
fn only_answer(stream: &mut TcpStream) -> (u16, String) {
    stream.write_all(&request("/second")).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    (answer["HTTP/1.1 ".len()..][..3].parse().unwrap(), answer)
}

/// A good request with these lines as well.
fn request_with(lines: &str) -> Vec<u8> {
    let mut head = request("/");
    head.truncate(head.len() - 2);
    head.extend_from_slice(lines.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

/// It still serves, and a client that asks gets its answer.
fn assert_serves(scene: &Scene) {
    let mut client = scene.client();
    client.text("anybody?");
    assert_eq!(client.next(), Heard::Text("anybody?".into()));
    client.close(1000, "");
    assert_eq!(client.next(), Heard::Close(Some((1000, String::new()))));
}

#[test]
fn declared_lengths_are_refused_from_the_header_alone() {
    let scene = Scene::new(config());
    let declared = |opcode: u8, length: u64| {
        [&[0x80 | opcode, 0x80 | 127][..], &length.to_be_bytes(), &KEY].concat()
    };
    for (length, code) in
        [(u64::MAX, 1002), (1 << 63, 1002), ((1 << 63) - 1, 1009), (1 << 40, 1009), (1 << 21, 1009)]
    {
        assert_eq!(failed_with(&scene, &declared(2, length)).0, code, "of {length:#x}");
        // A first fragment, and one that makes the message too long: no sum overflows.
        let first = frame(false, OpCode::Binary, &[0; 100]);
        let mut next = declared(0, length);
        next[0] = 0;
        assert_eq!(failed_with(&scene, &[first, next].concat()).0, code, "then {length:#x}");
    }
    assert_serves(&scene);
}

#[test]
fn memory_follows_what_arrived_and_not_what_was_declared() {
    let scene = Scene::new(config());
    let frame = frame(true, OpCode::Binary, &vec![0; 1 << 20]);
    let mut clients: Vec<_> = (0..50).map(|_| scene.client()).collect();
    for client in &mut clients {
        assert!(client.write(&frame[..114]));
    }
    let arrived = scene.wait_until(|now| now.counters.frames_received == 50);
    assert!(arrived.partial_bytes >= 50 * 100, "{}", arrived.partial_bytes);
    assert!(arrived.partial_bytes <= 50 * 512, "{} for 50 MiB", arrived.partial_bytes);
    drop(clients);
    scene.wait_until_empty();
}

#[test]
fn a_head_over_a_limit_is_refused_with_431_and_one_at_it_is_not() {
    let scene = Scene::new(config());
    let own_bytes = request("/").len();
    let own_lines = request("/").split(|byte| *byte == b'\n').count() - 3;
    let filled = |bytes: usize| {
        // Lines far below their own limit; the last one makes up the length.
        let line = format!("X: {}\r\n", "x".repeat(1000));
        let mut lines = line.repeat((bytes - own_bytes) / line.len() - 1);
        let rest = bytes - own_bytes - lines.len() - "X: \r\n".len();
        lines.extend(["X: ", &"x".repeat(rest), "\r\n"]);
        request_with(&lines)
    };
    assert_eq!(filled(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    Client::asked(written(&scene, &filled(HEAD_BYTES_MAX)));
    assert_eq!(refused_with(&scene, &filled(HEAD_BYTES_MAX + 1)).0, 431);

    let line = |bytes: usize| request_with(&format!("X: {}\r\n", "x".repeat(bytes - 5)));
    Client::asked(written(&scene, &line(HEAD_LINE_BYTES_MAX)));
    assert_eq!(refused_with(&scene, &line(HEAD_LINE_BYTES_MAX + 1)).0, 431);

    let lines = |count: usize| request_with(&"X: x\r\n".repeat(count - own_lines));
    Client::asked(written(&scene, &lines(HEAD_LINES_MAX)));
    assert_eq!(refused_with(&scene, &lines(HEAD_LINES_MAX + 1)).0, 431);

    // Without an end, in small parts: refused when the limit is passed, not when it ends.
    let mut stream = scene.connect();
    for part in filled(HEAD_BYTES_MAX + 1)[..=HEAD_BYTES_MAX].chunks(997) {
        stream.write_all(part).unwrap();
    }
    assert_eq!(only_answer(&mut stream).0, 431);
    assert_serves(&scene);
}

fn written(scene: &Scene, bytes: &[u8]) -> TcpStream {
    let mut stream = scene.connect();
    stream.write_all(bytes).unwrap();
    stream
}

/// The deadline is the head's, however often a byte of it arrives.
#[test]
fn a_slow_head_is_refused_with_408() {
    let mut config = config();
    config.handshake_timeout = Duration::from_millis(200);
    let scene = Scene::new(config);
    let mut stream = scene.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    while scene.snapshot().counters.handshake_timeouts == 0 {
        stream.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(only_answer(&mut stream).0, 408);
    drop(stream);
    // Who says nothing at all is told the same.
    let mut silent = scene.connect();
    scene.wait_until(|now| now.counters.handshake_timeouts == 2);
    assert_eq!(only_answer(&mut silent).0, 408);
    drop(silent);
    scene.wait_until_empty();
}

#[test]
fn a_list_of_nothing_costs_nothing() {
    let scene = Scene::new(config());
    for filler in [" ", ",", ", ", "\t,"] {
        let list = filler.repeat(3000 / filler.len());
        let head = request_with(&format!("Sec-WebSocket-Protocol: a{list}b\r\n"));
        let mut stream = written(&scene, &head);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let expected: &[u8] = if filler == " " { b"HTTP/1.1 400" } else { b"HTTP/1.1 101" };
        assert_eq!(answer, expected, "{filler:?}");
    }
    assert_serves(&scene);
}

#[test]
fn endless_fragments_are_refused_by_count_and_by_size() {
    // Of at most the default size: as many fragments as the limit itself says.
    let scene = Scene::with_routes(config(), Routes::any);
    let first = frame(false, OpCode::Text, b"");
    let empty = frame(false, OpCode::Continuation, b"");
    let last = frame(true, OpCode::Continuation, b"");
    let allowed = FRAGMENTS_MAX as usize;
    let mut client = scene.client();
    assert!(client.write(&[&first[..], &empty.repeat(allowed - 2), &last].concat()));
    assert_eq!(client.next(), Heard::Text(String::new()));
    drop(client);
    scene.wait_until_empty();
    let endless = [first, empty.repeat(10 * allowed)].concat();
    assert_eq!(failed_with(&scene, &endless).0, 1008);
    let endless = fragments(OpCode::Binary, &vec![1; 200_000], 1000);
    assert_eq!(failed_with(&scene, &endless).0, 1009);
    assert_serves(&scene);
}

/// Frames cost a share of the turn besides their bytes, so that a flood of the smallest ones
/// waits for the turns that it takes from the others.
#[test]
fn empty_frames_are_paid_for_in_turns() {
    let scene = Scene::new(config());
    let mut witness = scene.client();
    let mut flooder = scene.client();
    let before = scene.snapshot().counters;
    let flood = frame(true, OpCode::Pong, b"").repeat(10_000);
    let writer = thread::spawn(move || {
        for _ in 0..50 {
            assert!(flooder.write(&flood));
        }
        flooder
    });
    while !writer.is_finished() {
        witness.text("between");
        assert_eq!(witness.next(), Heard::Text("between".into()));
    }
    let after = scene.wait_until(|now| now.counters.pongs_received == 500_000).counters;
    let turns = after.turns - before.turns;
    let bytes = after.received_bytes - before.received_bytes;
    let frames = after.frames_received - before.frames_received;
    let cost = bytes + frames * FRAME_COST_BYTES as u64;
    // The last read of each may still owe.
    let read = RECEIVE_BUFFER_BYTES + RECEIVE_BUFFER_BYTES / 6 * FRAME_COST_BYTES;
    let paid = turns * TURN_SHARE_BYTES as u64 + 2 * read as u64;
    assert!(cost <= paid, "{frames} frames in {turns} turns cost {cost}, {paid} was paid");
}

#[test]
fn a_flood_of_pings_is_answered_by_few_pongs_and_the_last() {
    const PINGS: u32 = 5000;
    let scene = Scene::new(config());
    let mut client = scene.client();
    let pings = (0..PINGS).flat_map(|number| frame(true, OpCode::Ping, &number.to_be_bytes()));
    assert!(client.write(&pings.collect::<Vec<_>>()));
    let last = (PINGS - 1).to_be_bytes().to_vec();
    let mut answered = 1;
    loop {
        let Heard::Pong(payload) = client.next() else { panic!("only pongs are due") };
        if payload == last {
            break;
        }
        answered += 1;
    }
    let counters = scene.snapshot().counters;
    assert_eq!(counters.pongs_sent, answered);
    assert_eq!(counters.pongs_sent + counters.pongs_coalesced, u64::from(PINGS));
    assert!(counters.pongs_coalesced > 0, "{answered} pongs");
    // How many reads the flood came in is the machine's business: a turn has one at most.
    let reads = counters.turns;
    assert!(answered <= reads * (u64::from(PONGS_PER_READ_MAX) + 1), "{answered} in {reads} turns");
}

#[test]
fn bad_text_is_refused_however_it_is_cut() {
    let scene = Scene::new(config());
    let bad: [&[u8]; 5] =
        [b"\xff", b"ab\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x82"];
    for text in bad {
        for fragment_bytes in [1, 2, 3, 100] {
            let bytes = fragments(OpCode::Text, text, fragment_bytes);
            assert_eq!(failed_with(&scene, &bytes).0, 1007, "{}", text.escape_ascii());
        }
    }
    // Refused at the byte that makes it bad: the message never ends.
    assert_eq!(failed_with(&scene, &frame(false, OpCode::Text, b"\xff")).0, 1007);
    let mut client = scene.client();
    for fragment_bytes in [1, 2, 3] {
        assert!(client.write(&fragments(OpCode::Text, "1 € = 𝄞".as_bytes(), fragment_bytes)));
        assert_eq!(client.next(), Heard::Text("1 € = 𝄞".into()));
    }
    assert!(scene.record().messages.len() == 3, "no bad text was handed on");
}

#[test]
fn an_unmasked_frame_is_refused_with_1002() {
    let scene = Scene::new(config());
    let mut unmasked = Vec::new();
    encode_message(&mut unmasked, OpCode::Text, b"from a client?");
    assert_eq!(failed_with(&scene, &unmasked).0, 1002);
    let mut ping = Vec::new();
    encode_message(&mut ping, OpCode::Ping, b"");
    assert_eq!(failed_with(&scene, &ping).0, 1002);
    assert_eq!(scene.record().messages, []);
    // A Pong holds what the Ping held, not what stood in the buffer before.
    let mut client = scene.client();
    client.binary(&[0xaa; 1000]);
    assert_eq!(client.next(), Heard::Binary(vec![0xaa; 1000]));
    for length in [0, 1, 124, 125] {
        let payload = vec![7; length];
        assert!(client.write(&frame(true, OpCode::Ping, &payload)));
        assert_eq!(client.next(), Heard::Pong(payload));
    }
}

#[test]
fn nonsense_costs_the_connection_that_sends_it_only() {
    let scene = Scene::new(config());
    // Reserved bits and opcodes, control frames that are cut or long, messages that interrupt.
    let mut nonsense: Vec<Vec<u8>> = Vec::new();
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x8b, 0x8f, 0x08, 0x09, 0x80] {
        nonsense.push([&[first, 0x80][..], &KEY].concat());
    }
    nonsense.push([&[0x89, 0xfe, 0, 126][..], &KEY].concat());
    nonsense.push([&[0x82, 0xfe, 0, 125][..], &KEY].concat());
    nonsense.push(frame(false, OpCode::Text, b"a").repeat(2));
    for bytes in nonsense {
        assert_eq!(failed_with(&scene, &bytes).0, 1002, "{}", bytes.escape_ascii());
    }
    for bytes in [&b"\x00\x00\x00\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"\n\n"] {
        assert_eq!(refused_with(&scene, bytes).0, 400, "{}", bytes.escape_ascii());
    }
    assert_serves(&scene);
}

/// The class of rustls' RUSTSEC-2024-0336: an end that is looked at for ever.
#[test]
fn an_ended_stream_is_not_looked_at_for_ever() {
    let mut config = config();
    config.send_buffer_bytes = Some(16 * 1024);
    let scene = Scene::new(config);
    // One has ended its half while our output waits for it, one keeps its own after a Close.
    let mut unread = scene.small_client(16 * 1024);
    unread.text("!flood 10 60000");
    scene.wait_until(|now| now.backlog_bytes > 0);
    unread.end();
    let mut lingering = scene.client();
    lingering.close(1000, "");
    assert_eq!(lingering.next(), Heard::Close(Some((1000, String::new()))));
    assert_eq!(lingering.next(), Heard::End);
    let turns = scene.snapshot().counters.turns;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(10));
        scene.snapshot();
    }
    let turns = scene.snapshot().counters.turns - turns;
    assert!(turns < 20 * 20, "{turns} turns for 20 snapshots");
}

#[test]
fn a_second_request_behind_a_refused_one_is_never_answered() {
    let routes = || {
        let own = Limits::default();
        Routes::new().route(Route::new("/").limits(own.clone())).route(Route::new("/second"))
    };
    let scene = Scene::with_routes(config(), routes);
    let edited = |from: &str, to: &str| {
        let good = String::from_utf8(request("/")).unwrap();
        assert!(good.contains(from), "{good}");
        good.replacen(from, to, 1).into_bytes()
    };
    let cases = [
        (400, request_with("Content-Length: 5\r\n")),
        (400, request_with("Content-Length: 0\r\nContent-Length: 5\r\n")),
        (400, request_with("Transfer-Encoding: chunked\r\n")),
        (400, request_with("Transfer-Encoding : chunked\r\n")),
        (400, request_with("Transfer-Encoding: identity\r\nContent-Length: 5\r\n")),
        (400, request_with("X: folded\r\n Content-Length: 5\r\n")),
        (400, edited("HTTP/1.1", "HTTP/1.0")),
        (400, edited("Host: 127.0.0.1\r\n", "")),
        (400, edited("Connection: Upgrade", "Connection: keep-alive")),
        (403, request_with("Origin: https://elsewhere.example\r\n")),
        (404, request("/nothing/here")),
        (405, edited("GET ", "POST ")),
        (426, edited("Upgrade: websocket", "Upgrade: h2c")),
        (426, edited("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12")),
        (431, request_with(&"X: x\r\n".repeat(HEAD_LINES_MAX))),
    ];
    let count = cases.len() as u64;
    for (status, head) in cases {
        let (answered, answer) = refused_with(&scene, &head);
        assert_eq!(answered, status, "to {}", head.escape_ascii());
        assert_eq!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), status == 426, "{answer}");
    }
    let last = scene.wait_until_empty();
    assert_eq!((last.counters.upgrades_refused, scene.record().opened), (count, 0));
    // What is refused on each of them would be served.
    Client::open(scene.connect(), "/second");
}

#[test]
fn a_full_server_says_503_and_closes() {
    let mut config = config();
    config.shard_capacity = Some(2);
    let scene = Scene::new(config);
    let seated = [scene.client(), scene.client()];
    for number in 1..=3 {
        assert_eq!(refused_with(&scene, &request("/")).0, 503);
        assert_eq!(scene.snapshot().counters.refused_full, number);
    }
    drop(seated);
    scene.wait_until_empty();
    assert_serves(&scene);
}
