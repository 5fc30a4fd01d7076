//! Clients over HTTP for tests: a stream, and requests beside it.
#![allow(dead_code)] // each property uses a part of it

use std::net::SocketAddr;
use std::time::Duration;

use longwire::control::{Endpoint, Settings, Site, Streaming};
use longwire::session::{ChannelOptions, Rules};
use longwire::{Config, LiveSettings, Running, Server, SessionSettings, Sessions, Snapshot};
use serde_json::{Value, json};

use super::http::{Answer, ask};
use super::session::PATIENCE;

pub(crate) const LINES: &str = "/connection/http_stream";
pub(crate) const EVENTS: &str = "/connection/sse";
pub(crate) const BESIDE: &str = "/emulation";

pub(crate) const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

/// Everything is allowed, and nobody is pinged.
pub(crate) fn settings() -> SessionSettings {
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
    let stale_close_delay = PATIENCE;
    SessionSettings { rules, ping_interval: None, stale_close_delay, ..SessionSettings::default() }
}

pub(crate) fn config() -> Config {
    let mut config = super::session::config(2);
    config.close_timeout = PATIENCE;
    config
}

/// A server with both kinds of streams.
pub(crate) fn serve() -> Running {
    serve_with(config(), &settings(), |_| {})
}

pub(crate) fn serve_with(
    mut config: Config,
    settings: &SessionSettings,
    change: impl FnOnce(&mut Streaming),
) -> Running {
    settings.configure(&mut config);
    let settings = LiveSettings::new(settings.clone()).expect("the settings are valid");
    let mut site = Settings::default();
    site.internal_listen = None;
    site.streaming.node = settings.node();
    site.streaming.http_stream = Some(Endpoint::new(LINES));
    site.streaming.sse = Some(Endpoint::new(EVENTS));
    change(&mut site.streaming);
    let site = Site::new(site).expect("no port to take");
    Server::start_site(config, site, Sessions::following(&settings)).expect("it starts")
}

/// One client with a stream of lines.
pub(crate) struct Client {
    address: SocketAddr,
    pub(crate) stream: Answer,
    text: String,
    pub(crate) session: String,
    pub(crate) node: String,
}

impl Client {
    /// Asks for a stream with these headers and this first frame.
    pub(crate) fn open(address: SocketAddr, headers: &[(&str, &str)], frame: &str) -> Self {
        let stream = ask(address, "POST", LINES, headers, frame.as_bytes());
        assert_eq!(stream.status, 200);
        let (session, node) = Default::default();
        Self { address, stream, text: String::new(), session, node }
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    pub(crate) fn connect_with(address: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let mut client = Self::open(address, headers, CONNECT);
        let reply = client.line().expect("a reply");
        let name = |key: &str| reply["connect"][key].as_str().expect(key).to_owned();
        (client.session, client.node) = (name("session"), name("node"));
        client
    }

    /// The next reply or push; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<Value> {
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

    /// The next that is no ping.
    pub(crate) fn news(&mut self) -> Option<Value> {
        loop {
            let line = self.line()?;
            if line != json!({}) {
                return Some(line);
            }
        }
    }

    /// Says commands beside the stream; the status of the answer.
    pub(crate) fn say(&self, frame: &str) -> u16 {
        let body = json!({ "session": self.session, "node": self.node, "data": frame });
        ask(self.address, "POST", BESIDE, &[], body.to_string().as_bytes()).status
    }

    pub(crate) fn subscribe(&mut self, channel: &str) {
        let command = json!({ "id": 2, "subscribe": { "channel": channel } });
        assert_eq!(self.say(&command.to_string()), 204);
        assert_eq!(self.news().expect("a reply"), json!({ "id": 2, "subscribe": {} }));
    }

    /// What the stream ends with, and that it ends.
    pub(crate) fn end(&mut self) -> Value {
        let farewell = self.news().expect("a word before the end");
        assert_eq!(self.line(), None);
        assert!(self.stream.is_closed(), "the connection ends with the stream");
        farewell["push"]["disconnect"].clone()
    }
}

/// What the server has counted as soon as this holds of it.
pub(crate) fn until(server: &Running, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let looks = PATIENCE.as_millis() / 5;
    for _ in 0..looks {
        let snapshot = server.snapshot().expect("it runs");
        if holds(&snapshot) {
            return snapshot;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not in time: {:?}", server.snapshot());
}

/// Clients that have connected and are still here.
pub(crate) fn connected(counted: &Snapshot) -> u64 {
    counted.counters.client_connects - counted.counters.client_ends
}
