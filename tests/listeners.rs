//! One server, many ways in, and each client known by its own address.
//!
//! Setup: servers that listen on several addresses, of which some want a PROXY header, and on Unix
//! sockets; the handler answers with its shard, the address it was told, and the socket's peer.
//! Claims: every listener is served by every shard; where a PROXY header is wanted, none and a
//! wrong one close the connection, a right one is the address if the proxy is trusted, and the
//! request behind it is whole however the bytes were cut; forwarded addresses are believed from
//! trusted proxies only; a Unix socket is dealt to the shards in turn, has the mode that was asked
//! for, and leaves no file; a stale file is replaced, and a socket in use is not.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use fleet::{Client, config, wait_until_empty};
use longwire::config::Listen;
use longwire::{
    Config, Handler, Message, Peer, Request, Route, Routes, Running, Server, StartError, Upgrade,
};

#[path = "support/fleet.rs"]
mod fleet;

const SHARDS: u32 = 3;

/// Tells everybody who it takes them for.
struct Teller;

impl Handler for Teller {
    type Connection = String;

    fn routes(&mut self) -> Routes {
        Routes::new().route(Route::new("/"))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        let show = |address: Option<SocketAddr>| address.map_or("-".into(), |it| it.to_string());
        let peer = request.peer().map(|peer| peer.ip());
        let peer = peer.map_or("-".to_owned(), |ip| ip.to_string());
        let port = request.peer().map_or(0, |peer| peer.port());
        Upgrade::accept(format!("{peer} {port} {}", show(request.socket_peer())))
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let number = peer.shard().number();
        let text = format!("{number} {}", peer.state().expect("open"));
        peer.send(Message::text(&text)).expect("this client reads");
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        peer.send(message).expect("this client reads");
    }
}

fn start(listen: Vec<Listen>, trusted: &[&str]) -> Result<Running, StartError> {
    let mut config = Config { listen, ..config(SHARDS, 300) };
    config.trusted_proxies = trusted.iter().map(|one| one.parse().expect("a network")).collect();
    Server::start(config, |_shard| Teller)
}

fn tcp(address: &str, proxy_protocol: bool) -> Listen {
    Listen::Tcp { address: address.parse().expect("an address"), proxy_protocol }
}

/// What an open connection was told: shard, client's address, client's port, socket's peer.
fn told(client: &mut Client) -> (usize, String, u16, String) {
    let head = client.head().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let text = client.text();
    let words: Vec<_> = text.split(' ').collect();
    let [shard, peer, port, socket] = words[..] else { panic!("{text}") };
    let shard = shard.parse().expect("a number");
    (shard, peer.to_owned(), port.parse().expect("a port"), socket.to_owned())
}

/// The request head with these lines added.
fn request_with(lines: &str) -> String {
    fleet::request("/").replace("Host: here\r\n", &format!("Host: here\r\n{lines}"))
}

/// A path of this test's own.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("longwire-{}-{name}.sock", std::process::id()))
}

fn unix(name: &str, mode: u32) -> Listen {
    Listen::Unix { path: path(name), mode }
}

/// Some containers have none.
fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn every_listener_is_served_by_every_shard() {
    // One port for both families, each with a listener of its own. Somebody else may take it
    // before we do.
    let attempt = |_| {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("bound").port();
        drop(probe);
        let ipv6 = has_ipv6().then(|| format!("[::]:{port}"));
        let places = [format!("0.0.0.0:{port}"), "127.0.0.2:0".to_owned()];
        start(ipv6.iter().chain(&places).map(|place| tcp(place, false)).collect(), &[]).ok()
    };
    let server = (0..20).find_map(attempt).expect("starts");
    assert_eq!(server.address(), server.addresses()[0]);
    assert_eq!(server.addresses().len(), if has_ipv6() { 3 } else { 2 });
    for mut address in server.addresses().iter().copied() {
        if address.ip().is_unspecified() {
            let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
            address.set_ip(loopback.parse().expect("an address"));
        }
        let mut shards = BTreeSet::new();
        while shards.len() < SHARDS as usize {
            let mut client = Client::dial(address);
            client.ask("/");
            let (shard, peer, port, socket) = told(&mut client);
            assert_eq!(peer.contains(':'), address.is_ipv6(), "{peer}");
            let own = client.stream.local_addr().expect("connected");
            assert_eq!((own.port(), own.to_string()), (port, socket));
            shards.insert(shard);
        }
    }
    let last = server.join();
    assert_eq!((last.shards_lost, last.forced), (0, false));
}

#[test]
fn a_proxy_header_is_the_address_and_the_request_behind_it_is_whole() {
    let server = start(vec![tcp("127.0.0.1:0", true)], &["127.0.0.0/8"]).expect("starts");
    let line = b"PROXY TCP4 192.0.2.7 127.0.0.1 8080 80\r\n".to_vec();
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
    binary.extend([192, 0, 2, 7, 127, 0, 0, 1, 0x1f, 0x90, 0, 80, 4, 0, 0]);
    let mut received = 0;
    for header in [line, binary] {
        let mut bytes = header.clone();
        bytes.extend(fleet::request("/").as_bytes());
        bytes.extend(fleet::message("pipelined"));
        let cuts = (1..header.len() + 6).chain((header.len() + 6..bytes.len()).step_by(11));
        for cut in cuts {
            let mut client = Client::dial(server.address());
            client.write(&bytes[..cut]);
            if cut <= header.len() {
                // Seen by the shard before the rest comes, kept until it is a header.
                let kept = if cut < header.len() { cut as u64 } else { 0 };
                received += cut as u64;
                fleet::wait_for(&server, "the first part", |now| {
                    (now.counters.received_bytes, now.partial_bytes) == (received, kept)
                });
                received += (bytes.len() - cut) as u64;
            } else {
                received += bytes.len() as u64;
            }
            client.write(&bytes[cut..]);
            let (_, peer, port, socket) = told(&mut client);
            assert_eq!((&*peer, port), ("192.0.2.7", 8080), "cut at {cut}");
            assert_eq!(socket, client.stream.local_addr().expect("connected").to_string());
            assert_eq!(client.text(), "pipelined", "cut at {cut}");
        }
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.proxy_headers_refused, counters.upgrades_refused), (0, 0));
}

#[test]
fn a_proxy_that_speaks_for_itself_or_is_not_trusted_is_known_by_its_own_address() {
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let named = b"PROXY TCP4 192.0.2.7 127.0.0.1 8080 80\r\n".to_vec();
    for (trusted, headers) in [("127.0.0.0/8", vec![local, unknown]), ("10.0.0.0/8", vec![named])] {
        let server = start(vec![tcp("127.0.0.1:0", true)], &[trusted]).expect("starts");
        for header in headers {
            let mut client = Client::dial(server.address());
            client.write(&header);
            client.ask("/");
            let own = client.stream.local_addr().expect("connected");
            let (_, peer, port, socket) = told(&mut client);
            assert_eq!((peer, port), (own.ip().to_string(), own.port()));
            assert_eq!(socket, own.to_string());
        }
    }
}

#[test]
fn without_the_header_or_with_a_wrong_one_it_is_closed_without_a_word() {
    let listen = vec![tcp("127.0.0.1:0", true), tcp("127.0.0.1:0", false)];
    let server = start(listen, &["127.0.0.0/8"]).expect("starts");
    let right = b"PROXY TCP4 192.0.2.7 127.0.0.1 8080 80\r\n";
    let wrong = [
        fleet::request("/").into_bytes(),
        b"PROXY TCP4 192.0.2.7 127.0.0.1 8080\r\n".to_vec(),
        [b"x", &right[..]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
    ];
    let count = wrong.len() as u64;
    for bytes in wrong {
        let mut client = Client::dial(server.addresses()[0]);
        client.write(&bytes);
        let mut answer = Vec::new();
        // Closed with bytes unread, it may be a reset.
        let _reset = client.stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    // The header belongs to its listener: elsewhere it is no request.
    let mut client = Client::dial(server.addresses()[1]);
    client.write(right);
    client.ask("/");
    assert!(client.head().expect("an answer").starts_with("HTTP/1.1 400 "));
    client.end();
    drop(client);
    let counters = wait_until_empty(&server).counters;
    assert_eq!((counters.proxy_headers_refused, counters.opened), (count, 0));
}

#[test]
fn a_header_that_does_not_come_is_late_like_any_head() {
    let mut config = Config { listen: vec![tcp("127.0.0.1:0", true)], ..config(1, 10) };
    config.handshake_timeout = std::time::Duration::from_millis(200);
    let server = Server::start(config, |_shard| Teller).expect("starts");
    let mut client = Client::dial(server.address());
    client.write(b"PROXY TCP4 ");
    client.end();
    drop(client);
    assert_eq!(wait_until_empty(&server).counters.handshake_timeouts, 1);
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let cases = [
        ("", None),
        ("X-Forwarded-For: 192.0.2.7\r\n", Some(("192.0.2.7", 0))),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", Some(("192.0.2.7", 0))),
        ("X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 192.0.2.7\r\n", Some(("192.0.2.7", 0))),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.7:81, 127.0.0.9\r\n", Some(("192.0.2.7", 81))),
        ("X-Forwarded-For: nonsense\r\n", None),
        ("X-Real-IP: 2001:db8::7\r\n", Some(("2001:db8::7", 0))),
        ("X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n", Some(("192.0.2.7", 0))),
    ];
    for is_trusted in [true, false] {
        let trusted: &[&str] = if is_trusted { &["127.0.0.0/8"] } else { &[] };
        let server = start(vec![tcp("127.0.0.1:0", false)], trusted).expect("starts");
        for (lines, expected) in cases {
            let mut client = Client::dial(server.address());
            client.write(request_with(lines).as_bytes());
            let own = client.stream.local_addr().expect("connected");
            let (_, peer, port, socket) = told(&mut client);
            let itself = (own.ip().to_string(), own.port());
            let believed = expected.filter(|_| is_trusted);
            let expected = believed.map_or(itself, |(ip, port)| (ip.to_owned(), port));
            assert_eq!((peer, port), expected, "{lines:?}, trusted: {is_trusted}");
            assert_eq!(socket, own.to_string());
        }
    }
}

#[test]
fn a_unix_socket_is_dealt_to_the_shards_and_leaves_no_file() {
    let listen = vec![unix("dealt", 0o600), tcp("127.0.0.1:0", false)];
    let server = start(listen, &["127.0.0.1"]).expect("starts");
    let path = path("dealt");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut counts = [0; SHARDS as usize];
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = Client::dial_unix(&path);
        client.write(request_with("X-Forwarded-For: 192.0.2.7\r\n").as_bytes());
        let (shard, peer, _, socket) = told(&mut client);
        assert_eq!((&*peer, &*socket), ("192.0.2.7", "-"), "counts as loopback");
        assert_eq!(client.ask_text("still here"), "still here");
        counts[shard] += 1;
        clients.push(client);
    }
    assert_eq!(counts, [10; SHARDS as usize], "in turn");
    server.stop();
    for client in &mut clients {
        assert_eq!(client.closed(), Some(1001));
        client.send_close(1001);
    }
    let last = server.wait();
    assert_eq!(
        (last.counters.closed_shutdown, last.counters.accepted, last.forced),
        (30, 30, false)
    );
    assert!(!path.exists(), "the file goes with the server");
}

#[test]
fn a_burst_on_a_unix_socket_is_served_to_the_last_one() {
    let server = start(vec![unix("burst", 0o666)], &[]).expect("starts");
    let path = path("burst");
    let mut clients: Vec<_> = (0..250).map(|_| Client::dial_unix(&path)).collect();
    for client in &mut clients {
        client.ask("/");
    }
    for client in &mut clients {
        assert_eq!(told(client).1, "-", "nobody's word is taken, and it has no address");
    }
    assert_eq!(server.snapshot().expect("it runs").open, 250);
}

#[test]
fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
    let path = path("stale");
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "std leaves the file behind, as a killed server does");
    let first = start(vec![unix("stale", 0o660)], &[]).expect("starts");
    let error = start(vec![unix("stale", 0o660)], &[]).expect_err("it is in use");
    assert!(matches!(&error, StartError::Unix(at, _) if *at == path), "{error}");
    assert!(error.to_string().contains("ss -lxp"), "{error}");
    let mut client = Client::dial_unix(&path);
    client.ask("/");
    told(&mut client);
    client.send_close(1000);
    assert_eq!(client.closed(), Some(1000));
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "not a socket").expect("written");
    assert!(start(vec![unix("stale", 0o660)], &[]).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("it is left alone"), "not a socket");
    std::fs::remove_file(&path).expect("removed");
}
