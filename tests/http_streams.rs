//! Clients that cannot have a WebSocket: sessions over streams and requests beside them.
//!
//! Setup: a server of two shards in this process, with both kinds of stream, and raw HTTP. Claims:
//! what is said to `/emulation` is answered in the stream, in either format and form; every way
//! that a session ends ends its stream, and every way that a stream ends ends its session; whoever
//! names no session of this node is told what the SDKs go by; pages of other hosts are kept out.

#[path = "support/http.rs"]
mod http;
#[path = "support/patient.rs"]
mod patient;

use std::net::SocketAddr;

use http::{Answer, ask};
use longwire::control::{Endpoint, Settings, Site, Streaming};
use longwire::session::{ChannelOptions, Rules};
use longwire::{Config, LiveSettings, Running, Server, SessionSettings, Sessions};
use serde_json::{Value, json};

const STREAM: &str = "/connection/http_stream";
const EVENTS: &str = "/connection/sse";

fn open_settings() -> SessionSettings {
    let without_namespace = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..ChannelOptions::default()
    };
    let rules = Rules {
        allow_anonymous_connect_without_token: true,
        without_namespace,
        ..Rules::default()
    };
    let (ping_interval, stale_close_delay) = (None, patient::PATIENCE);
    SessionSettings { rules, ping_interval, stale_close_delay, ..SessionSettings::default() }
}

/// A server with streams.
fn serve() -> Running {
    serve_with(open_settings(), |_| {})
}

fn serve_with(settings: SessionSettings, change: impl FnOnce(&mut Streaming)) -> Running {
    let mut config = Config { shards: Some(2), ..Config::new(([127, 0, 0, 1], 0).into()) };
    config.max_connections = Some(1000);
    // Busy machines are slow: only who is meant to time out does.
    config.handshake_timeout = patient::PATIENCE;
    settings.configure(&mut config);
    let settings = LiveSettings::new(settings).expect("the settings are valid");
    let mut site = Settings::default();
    site.internal_listen = None;
    site.streaming.node = settings.node();
    site.streaming.http_stream = Some(Endpoint::new(STREAM));
    site.streaming.sse = Some(Endpoint::new(EVENTS));
    change(&mut site.streaming);
    let site = Site::new(site).expect("no port to take");
    Server::start_site(config, site, Sessions::following(&settings)).expect("it starts")
}

/// One client with a stream of lines.
struct Client {
    address: SocketAddr,
    stream: Answer,
    text: String,
    session: String,
    node: String,
}

impl Client {
    /// Begins a session with these commands.
    fn open(address: SocketAddr, frame: &str) -> Self {
        let stream = ask(address, "POST", STREAM, &[], frame.as_bytes());
        assert_eq!(stream.status, 200);
        let (session, node) = Default::default();
        Self { address, stream, text: String::new(), session, node }
    }

    fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address, r#"{"id":1,"connect":{}}"#);
        let reply = client.line().expect("a reply");
        let name = |key: &str| reply["connect"][key].as_str().expect(key).to_owned();
        (client.session, client.node) = (name("session"), name("node"));
        client
    }

    /// The next reply or push; `None` at the end of the stream.
    fn line(&mut self) -> Option<Value> {
        while !self.text.contains('\n') {
            let Some(chunk) = self.stream.chunk() else {
                assert_eq!(self.text, "", "a stream ends with a whole line");
                return None;
            };
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        let (line, rest) = self.text.split_once('\n').expect("there is one");
        let value = serde_json::from_str(line).expect("a reply");
        self.text = rest.to_owned();
        Some(value)
    }

    /// Says commands beside the stream; the status of the answer.
    fn say(&self, frame: &str) -> u16 {
        let body = json!({ "session": self.session, "node": self.node, "data": frame });
        ask(self.address, "POST", "/emulation", &[], body.to_string().as_bytes()).status
    }
}

#[test]
fn what_is_said_beside_a_stream_is_answered_in_it() {
    let server = serve();
    let mut client = Client::connect(server.address());
    assert_eq!((client.session.len(), client.node.len()), (32, 15));
    assert_eq!(client.say(r#"{"id":2,"subscribe":{"channel":"a"}}"#), 204);
    assert_eq!(client.line().unwrap(), json!({ "id": 2, "subscribe": {} }));
    let publish = |id| format!(r#"{{"id":{id},"publish":{{"channel":"a","data":"\u00e9"}}}}"#);
    assert_eq!(client.say(&format!("{}\n{}\n", publish(3), publish(4))), 204);
    let lines: Vec<Value> = (0..4).map(|_| client.line().unwrap()).collect();
    for id in [3, 4] {
        assert!(lines.contains(&json!({ "id": id, "publish": {} })), "{lines:?}");
    }
    let heard = lines.iter().filter(|line| line["push"]["pub"]["data"] == "é");
    assert_eq!(heard.count(), 2, "{lines:?}");
    drop(client);
    let counted = server.join();
    assert_eq!((counted.counters.introduced, counted.counters.client_connects), (1, 1));
}
