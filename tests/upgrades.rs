//! What an application sees of a request, and what it may answer, before the 101.
//!
//! Setup: a server with a route for users, middleware around all routes and around that one, and a
//! handler that notes what it saw; clients by tungstenite, which check the answers themselves.
//! Claims: path, parameters, query, headers, sub-protocols and peer are there; a chosen
//! sub-protocol and extra headers reach the client; a refusal carries its status and headers; the
//! steps of a chain run outside in before the upgrade and inside out after the close.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longwire::{
    Accept, ClosedConnection, Config, Handler, Message, Middleware, Peer, Refuse, Request, Route,
    Routes, Running, Server, Upgrade,
};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::Response;
use tungstenite::{Error, Message as Sent};

const PATIENCE: Duration = Duration::from_secs(30);

struct Users {
    notes: Sender<String>,
}

/// A link that notes its steps, and refuses who asks for it.
struct Link {
    name: &'static str,
    notes: Sender<String>,
}

impl Middleware for Link {
    fn before_upgrade(&mut self, request: &Request<'_>) -> ControlFlow<Refuse> {
        self.notes.send(format!("{} before", self.name)).unwrap();
        if request.query() == Some(self.name) {
            return ControlFlow::Break(Refuse::status(429).header("Retry-After", "7"));
        }
        ControlFlow::Continue(())
    }

    fn after_close(&mut self, connection: &ClosedConnection<'_>) {
        let note = format!("{} after {} {}", self.name, connection.route, connection.closed.code);
        self.notes.send(note).unwrap();
    }
}

impl Handler for Users {
    type Connection = String;

    fn routes(&mut self) -> Routes {
        let link = |name| Link { name, notes: self.notes.clone() };
        Routes::new()
            .middleware(link("outer"))
            .route(Route::new("/user/:id").middleware(link("inner")))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        let id = request.param("id").unwrap_or("nobody").to_owned();
        if id == "mallory" {
            return Refuse::status(401).header("WWW-Authenticate", "Bearer").into();
        }
        let agent = request.header("x-agent").map(String::from_utf8_lossy);
        let offered: Vec<_> = request.protocols().collect();
        let is_loopback = request.peer().is_some_and(|peer| peer.ip().is_loopback());
        self.notes
            .send(format!(
                "{} {} {:?} {:?} {offered:?} {is_loopback}",
                request.path(),
                request.route(),
                request.query(),
                agent
            ))
            .unwrap();
        let mut accept = Accept::new(id).header("X-Served-By", "longwire");
        if let Some(last) = offered.last() {
            accept = accept.protocol(*last);
        }
        accept.into()
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, _message: Message<'_>) {
        let id = peer.state().unwrap().clone();
        peer.send(Message::text(&id)).unwrap();
    }
}

fn server() -> (Running, Receiver<String>) {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap());
    (config.shards, config.max_connections) = (Some(1), Some(100));
    let (notes, journal) = channel();
    let notes = Arc::new(Mutex::new(notes));
    let make = move |_shard| Users { notes: notes.lock().unwrap().clone() };
    (Server::start(config, make).unwrap(), journal)
}

fn next(journal: &Receiver<String>) -> String {
    journal.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn the_whole_request_is_seen_and_the_whole_answer_arrives() {
    let (server, journal) = server();
    let mut request =
        format!("ws://{}/user/42?token=x", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("X-Agent", "test".parse().unwrap());
    request.headers_mut().insert("Sec-WebSocket-Protocol", "first, second".parse().unwrap());
    let (mut client, response) = tungstenite::connect(request).unwrap();
    assert_eq!(next(&journal), "outer before");
    assert_eq!(next(&journal), "inner before");
    let seen = r#"/user/42 /user/:id Some("token=x") Some("test") ["first", "second"] true"#;
    assert_eq!(next(&journal), seen);
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "second");
    assert_eq!(response.headers()["X-Served-By"], "longwire");
    client.send(Sent::text("who am I?")).unwrap();
    assert_eq!(client.read().unwrap(), Sent::text("42"));
    client.close(None).unwrap();
    while client.read().is_ok() {}
    assert_eq!(next(&journal), "inner after /user/:id 1005");
    assert_eq!(next(&journal), "outer after /user/:id 1005");
}

/// The answer to a request for `path`, which is refused.
fn refused(server: &Running, path: &str) -> Response<Option<Vec<u8>>> {
    match tungstenite::connect(format!("ws://{}{path}", server.address())) {
        Err(Error::Http(response)) => *response,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_refusal_names_its_status_and_headers_and_has_no_step_after() {
    let (server, journal) = server();
    let response = refused(&server, "/user/mallory");
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["WWW-Authenticate"], "Bearer");
    assert_eq!(response.headers()["Connection"], "close");
    for (link, heard) in [("outer", 1), ("inner", 2)] {
        let response = refused(&server, &format!("/user/7?{link}"));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["Retry-After"], "7");
        drop(journal.try_iter().take(heard).collect::<Vec<_>>());
    }
    assert_eq!(refused(&server, "/nowhere").status(), 404);
    let counters = server.join().counters;
    assert_eq!((counters.opened, counters.upgrades_refused), (0, 4));
    assert!(journal.try_iter().all(|note| note.ends_with("before")));
}
