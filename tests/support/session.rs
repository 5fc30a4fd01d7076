//! A client of the protocol for tests: tungstenite, JSON lines, every wait with a deadline.
#![allow(dead_code)] // each property uses a part of it

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};

use longwire::session::Rules;
use longwire::{Config, Running, Server, SessionSettings, Sessions};
use serde_json::Value;
use tungstenite::http::Request;
use tungstenite::{HandshakeError, Message, WebSocket};

#[path = "patient.rs"]
mod patient;

pub(crate) use patient::{PATIENCE, Patient};

/// How a connection ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// A request for the endpoint, with these headers beside what it must have.
fn request(address: SocketAddr, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .uri(format!("ws://{address}/connection/websocket"))
        .header("Host", address.to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// The status of the answer to a request with these headers.
pub(crate) fn upgrade_status(address: SocketAddr, headers: &[(&str, &str)]) -> u16 {
    let response = match tungstenite::client(request(address, headers), Patient::connect(address)) {
        Ok((_, response)) => response.status(),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => response.status(),
        Err(error) => panic!("{headers:?}: {error}"),
    };
    response.as_u16()
}

/// One client.
pub(crate) struct Client {
    socket: WebSocket<Patient>,
    lines: VecDeque<Value>,
    /// Lines of each message received.
    pub(crate) message_lines: Vec<usize>,
    next_id: u64,
}

impl Client {
    /// Connects the WebSocket, and says nothing.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        Self::dial_path(address, "/connection/websocket")
    }

    pub(crate) fn dial_path(address: SocketAddr, path: &str) -> Self {
        let stream = Patient::connect(address);
        let url = format!("ws://{address}{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("upgrades");
        Self { socket, lines: VecDeque::new(), message_lines: Vec::new(), next_id: 1 }
    }

    /// The same with headers, as a proxy in front adds them.
    pub(crate) fn dial_with(address: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let stream = Patient::connect(address);
        let (socket, _) = tungstenite::client(request(address, headers), stream).expect("upgrades");
        Self { socket, lines: VecDeque::new(), message_lines: Vec::new(), next_id: 1 }
    }

    /// Connects, and begins a session.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::dial(address);
        client.send(r#"{"id":1,"connect":{}}"#);
        let reply = client.line();
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client.next_id = 2;
        client
    }

    /// Only the socket of it, which takes no memory of this process.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into_inner().0
    }

    pub(crate) fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).expect("the server takes it");
    }

    /// Sends one command; `id` is added to it. Returns the id.
    pub(crate) fn command(&mut self, request: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&format!(r#"{{"id":{id},{request}}}"#));
        id
    }

    /// Sends one command and returns its reply, which must be the next that comes.
    pub(crate) fn ask(&mut self, request: &str) -> Value {
        let id = self.command(request);
        let reply = self.line();
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    /// Is in the channel, or fails.
    pub(crate) fn subscribe(&mut self, channel: &str) {
        let reply = self.ask(&format!(r#""subscribe":{{"channel":"{channel}"}}"#));
        assert!(reply.get("subscribe").is_some(), "{reply}");
    }

    /// Is in a channel that is kept; returns the offset of its last publication.
    pub(crate) fn recoverable(&mut self, channel: &str) -> u64 {
        let reply = self.ask(&format!(r#""subscribe":{{"channel":"{channel}"}}"#));
        assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
        reply["subscribe"]["offset"].as_u64().unwrap_or(0)
    }

    /// The next object the server sends.
    pub(crate) fn line(&mut self) -> Value {
        self.next().unwrap_or_else(|end| panic!("closed: {end:?}"))
    }

    /// The end of the connection, and nothing before it.
    pub(crate) fn end(&mut self) -> End {
        self.next().map_or_else(|end| end, |line| panic!("not closed: {line}"))
    }

    /// The next message, whatever it is.
    pub(crate) fn message(&mut self) -> Message {
        self.socket.read().unwrap_or_else(|error| panic!("nothing was heard: {error}"))
    }

    /// The next object, or the end of the connection.
    pub(crate) fn next(&mut self) -> Result<Value, End> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let lines: Vec<Value> = text
                        .as_str()
                        .split('\n')
                        .map(|line| serde_json::from_str(line).expect("JSON on each line"))
                        .collect();
                    self.message_lines.push(lines.len());
                    self.lines.extend(lines);
                }
                Ok(Message::Close(frame)) => {
                    let frame = frame.expect("the server gives a code");
                    return Err(End { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Ok(other) => panic!("not a message of the protocol: {other:?}"),
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }
}

/// Everything is allowed, and nobody is pinged in between.
pub(crate) fn settings() -> SessionSettings {
    SessionSettings {
        rules: Rules { insecure: true, ..Rules::default() },
        ping_interval: None,
        stale_close_delay: PATIENCE,
        ..SessionSettings::default()
    }
}

pub(crate) fn config(shards: u32) -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().expect("an address"));
    config.shards = Some(shards);
    config.max_connections = Some(1000);
    config.ping_interval = None;
    // Busy machines are slow: only who is meant to time out does.
    config.handshake_timeout = PATIENCE;
    config.write_timeout = PATIENCE;
    config
}

pub(crate) fn serve(mut config: Config, settings: &SessionSettings) -> Running {
    settings.configure(&mut config);
    let make = Sessions::for_shards(settings.clone()).expect("the settings are valid");
    Server::start(config, make).expect("it starts")
}

/// A session on each shard, in their order, and those that were opened on the way.
pub(crate) fn one_on_each(server: &Running, shard_count: usize) -> Vec<Vec<Client>> {
    let mut clients: Vec<Vec<Client>> = (0..shard_count).map(|_| Vec::new()).collect();
    for _ in 0..64 * shard_count {
        let before = server.snapshot().expect("it runs").shard_connections;
        let client = Client::connect(server.address());
        let after = server.snapshot().expect("it runs").shard_connections;
        let changed = before.iter().zip(&after).position(|(before, after)| before != after);
        clients[changed.expect("it is on one of them")].push(client);
        if clients.iter().all(|list| !list.is_empty()) {
            return clients;
        }
    }
    panic!("one shard gets no connection");
}
