//! A request that is for no WebSocket is somebody else's, from its first byte on.
//!
//! Setup: servers with a site behind their shards, and plain HTTP clients. Claims: whatever
//! matches no route reaches the site whole, however it was cut on the way, and the connection
//! lives on there, while the shard's slot is free again and no peer sees a shutdown; over the
//! bound of HTTP connections, 503, until one has ended; heads that are late or too long are
//! refused by the shard; without a site it is 404 as ever; and slow HTTP clients by the hundred
//! leave WebSocket handshakes unharmed.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use fleet::{Client, config, wait_for};
use longwire::control::{Settings, Site};
use longwire::{Config, Handler, Message, Peer, Request, Route, Routes, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// Of the HTTP API.
const KEY: &str = "key";

/// What a site without a page says at `/`.
const RUNNING: &str = "longwire is running. WebSocket clients connect to /connection/websocket.\n";

/// Echoes on `/ws`, and nowhere else; asked to stand, it waits for the test twice.
struct Echo(Arc<Barrier>);

impl Handler for Echo {
    type Connection = ();

    fn routes(&mut self) -> Routes {
        Routes::new().route(Route::new("/ws"))
    }

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        if message.as_text() == Some("stand") {
            self.0.wait();
            self.0.wait();
        }
        peer.send(message).expect("this client reads");
    }
}

fn site() -> Site {
    let mut settings = Settings::default();
    settings.internal_listen = None;
    // Who is slow here is never too slow, however slow the machine is.
    settings.head_timeout = fleet::PATIENCE;
    settings.http_api.key = Some(KEY.to_owned());
    Site::new(settings).expect("no port of its own")
}

fn server(config: Config) -> Running {
    standing(config).0
}

/// A server, and the barrier that its shards stand at when they are asked to.
fn standing(config: Config) -> (Running, Arc<Barrier>) {
    let barrier = Arc::new(Barrier::new(2));
    let shared = Arc::clone(&barrier);
    let make = move |_shard| Echo(Arc::clone(&shared));
    (Server::start_site(config, site(), make).expect("starts"), barrier)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")
}

/// The status and the body of the next answer.
fn answer(client: &mut Client) -> (u16, String) {
    let head = client.head().expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    let body = client.bytes(length.expect("a length"));
    (status.expect("a status"), String::from_utf8(body).expect("text"))
}

#[test]
fn a_request_without_a_route_is_the_sites_and_the_slot_is_free_again() {
    let server = server(config(2, 100));
    let mut clients: Vec<_> = (0..20).map(|_| Client::dial(server.address())).collect();
    for client in &mut clients {
        client.write(get("/health").as_bytes());
        assert_eq!(answer(client), (200, "{}".to_owned()));
    }
    let now = wait_for(&server, "all slots are free", |now| now.connections == 0);
    assert_eq!((now.counters.http_handed_over, now.counters.released), (20, 20));
    assert_eq!((now.counters.upgrades_refused, now.timers, now.partial_bytes), (0, 0, 0));
    // Kept alive: the shards see nothing more of it, and WebSockets are served beside it.
    let mut socket = Client::connect_to(server.address(), "/ws");
    for client in &mut clients {
        client.write(get("/").as_bytes());
        assert_eq!(answer(client), (200, RUNNING.to_owned()));
        assert_eq!(socket.ask_text("still here"), "still here");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.accepted, counters.http_handed_over), (21, 20));
    socket.send_close(1000);
    assert_eq!(socket.closed(), Some(1000));
    let stopped = server.join();
    assert_eq!((stopped.shards_lost, stopped.forced), (0, false));
}

#[test]
fn nothing_is_lost_wherever_the_request_was_cut() {
    let server = server(config(1, 400));
    let mut requests = get("/health");
    requests.push_str(&get("/nowhere"));
    requests.push_str(&get("/"));
    let first = get("/health").len();
    for cut in (1..requests.len()).step_by(3).chain(first - 4..=first + 4) {
        let (early, late) = requests.split_at(cut);
        let mut client = Client::dial(server.address());
        client.write(early.as_bytes());
        if cut < first {
            // The shard has seen the first part before the second comes.
            let bytes = u64::try_from(cut).expect("small");
            wait_for(&server, "the head arrives in part", |now| now.partial_bytes == bytes);
        }
        client.write(late.as_bytes());
        assert_eq!(answer(&mut client), (200, "{}".to_owned()), "cut at {cut}");
        assert_eq!(answer(&mut client).0, 404, "cut at {cut}");
        assert_eq!(answer(&mut client), (200, RUNNING.to_owned()));
    }
}

/// A burst larger than what waits at the door: all are answered, none with 503.
#[test]
fn a_burst_of_requests_waits_for_the_control_thread() {
    // Nobody has to leave for another.
    let seats = Config { http_connections_max: 2000, ..config(1, 1100) };
    let config = Config { door_bytes: Some(16 * 1024), ..seats };
    let (server, barrier) = standing(config);
    let mut stander = Client::connect_to(server.address(), "/ws");
    let mut clients: Vec<_> = (0..900).map(|_| Client::dial(server.address())).collect();
    wait_for(&server, "all are accepted", |now| now.connections == 901);
    stander.send("stand");
    barrier.wait();
    let padding = format!("X-Padding: {}\r\n", "x".repeat(3500)).repeat(2);
    let request = format!("GET /health HTTP/1.1\r\nHost: here\r\n{padding}\r\n");
    for client in &mut clients {
        client.write(request.as_bytes());
    }
    // Now the shard finds them all at once, and more comes while they wait.
    barrier.wait();
    for client in clients.iter_mut().rev() {
        client.write(get("/").as_bytes());
    }
    for client in &mut clients {
        assert_eq!(answer(client), (200, "{}".to_owned()));
        assert_eq!(answer(client), (200, RUNNING.to_owned()));
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.http_handed_over, counters.http_refused_full), (900, 0));
}

/// Those who have a seat are at a request, or they would leave for the next.
#[test]
fn over_the_bound_of_http_connections_it_is_503_until_one_has_ended() {
    let server = server(Config { http_connections_max: 3, ..config(2, 100) });
    let body = r#"{"channel":"a","data":1}"#;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: here\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let mut seated: Vec<_> = (0..3).map(|_| Client::dial(server.address())).collect();
    for client in &mut seated {
        client.write(head.as_bytes());
    }
    wait_for(&server, "all have a seat", |now| now.counters.http_handed_over == 3);
    for refused in 1..=3 {
        let mut client = Client::dial(server.address());
        client.write(get("/health").as_bytes());
        let head = client.head().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        client.end();
        assert_eq!(server.snapshot().expect("it runs").counters.http_refused_full, refused);
    }
    let mut socket = Client::connect_to(server.address(), "/ws");
    socket.echo(1);
    seated[0].write(body.as_bytes());
    assert_eq!(answer(&mut seated[0]), (200, r#"{"result":{}}"#.to_owned()));
    drop(seated.swap_remove(0));
    // Its seat comes back once the control thread has seen its end.
    let deadline = std::time::Instant::now() + fleet::PATIENCE;
    loop {
        let mut client = Client::dial(server.address());
        client.write(get("/health").as_bytes());
        let head = client.head().expect("an answer");
        if head.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "a seat comes back");
    }
}

#[test]
fn a_late_head_is_refused_by_the_shard() {
    let timeout = Duration::from_millis(200);
    let server = server(Config { handshake_timeout: timeout, ..config(1, 100) });
    let mut late = Client::dial(server.address());
    late.write(b"GET /health HTTP/1.1\r\nHost: he");
    assert!(late.head().expect("an answer").starts_with("HTTP/1.1 408 "));
    late.end();
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.http_handed_over, counters.upgrades_refused), (0, 1));
}

#[test]
fn a_long_head_is_refused_by_the_shard() {
    let server = server(config(1, 100));
    let long = format!("GET /health HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(8000));
    let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    for head in [long, many] {
        let mut client = Client::dial(server.address());
        client.write(head.as_bytes());
        assert!(client.head().expect("an answer").starts_with("HTTP/1.1 431 "));
        client.end();
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.http_handed_over, counters.upgrades_refused), (0, 2));
}

#[test]
fn a_full_server_still_answers_for_its_health() {
    let server = server(config(2, 2));
    let mut seated: Vec<_> = (0..2).map(|_| Client::connect_to(server.address(), "/ws")).collect();
    for _ in 0..3 {
        let mut probe = Client::dial(server.address());
        probe.write(get("/health").as_bytes());
        assert_eq!(answer(&mut probe), (200, "{}".to_owned()));
        let mut refused = Client::dial(server.address());
        refused.ask("/ws");
        let head = refused.head().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    for client in &mut seated {
        client.echo(1);
    }
}

#[test]
fn without_a_site_it_is_404_as_ever() {
    let make = |_shard| Echo(Arc::new(Barrier::new(2)));
    let with_none = Server::start(config(1, 100), make).expect("starts");
    let with_no_seats = server(Config { http_connections_max: 0, ..config(1, 100) });
    for server in [with_none, with_no_seats] {
        let mut client = Client::dial(server.address());
        client.write(fleet::request("/health").as_bytes());
        assert!(client.head().expect("an answer").starts_with("HTTP/1.1 404 "));
        assert_eq!(server.snapshot().expect("it runs").counters.http_handed_over, 0);
    }
}

#[test]
fn five_hundred_slow_http_clients_leave_websocket_handshakes_unharmed() {
    let server = server(Config { handshake_timeout: fleet::PATIENCE, ..config(2, 2000) });
    // Half of them never finish their first head, and half never finish their second request.
    let request = get("/health");
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..500 {
        let mut client = Client::dial(server.address());
        if number % 2 == 0 {
            client.write(request.as_bytes());
            assert_eq!(answer(&mut client).0, 200);
        }
        // As far as somewhere in its path, which then goes on for ever.
        client.write(&request.as_bytes()[..5 + number % 7]);
        slow.push(client.stream);
    }
    let mut sockets = Vec::new();
    for round in 0..100 {
        let mut socket = Client::connect_to(server.address(), "/ws");
        socket.echo(1);
        sockets.push(socket);
        for stream in slow.iter_mut().skip(round % 5).step_by(5) {
            stream.write_all(b"x").expect("it is not refused meanwhile");
        }
    }
    let now = wait_for(&server, "the handed over have left", |now| now.connections == 350);
    assert_eq!((now.open, now.counters.opened, now.counters.http_handed_over), (100, 100, 250));
    assert_eq!((now.counters.upgrades_refused, now.counters.refused_full), (0, 0));
    assert!(now.partial_bytes < 250 * 200, "{}", now.partial_bytes);
}
