//! What `/metrics` says of sessions, after traffic that is known to the message.
//!
//! Setup: two shards, a site with an internal port, clients of tungstenite on both shards behind
//! what stands for a proxy that names users. Claims: the text is well formed; a channel with
//! members on both shards is one channel; memberships, users, commands, bytes and Close frames are
//! as many as there were, and what is gone is not held any more.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use longwire::control::{Settings, Site};
use longwire::session::Rules;
use longwire::{Running, Server, SessionSettings, Sessions};
use session::{Client, Patient, config, one_on_each, settings};

#[path = "support/openmetrics.rs"]
mod openmetrics;
#[path = "support/session.rs"]
mod session;

/// A message of this many bytes with the header that a server puts before it.
fn framed(payload_bytes: usize) -> usize {
    payload_bytes + if payload_bytes < 126 { 2 } else { 4 }
}

fn serve() -> (Running, SocketAddr) {
    let settings = SessionSettings {
        rules: Rules { user_connection_limit: 2, ..settings().rules },
        user_id_http_header: Some("X-User-ID".to_owned()),
        ..settings()
    };
    let mut config = config(2);
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    settings.configure(&mut config);
    let mut site = Settings::default();
    site.internal_listen = Some("127.0.0.1:0".parse().unwrap());
    let site = Site::new(site).expect("a port is free");
    let internal = site.internal_address().expect("it listens");
    let make = Sessions::for_shards(settings).expect("the settings are valid");
    (Server::start_site(config, site, make).expect("it starts"), internal)
}

/// The samples of a scrape, under their names without the prefix.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(internal: SocketAddr) -> Self {
        let mut stream = Patient::connect(internal);
        let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Self(openmetrics::read(text))
    }

    #[track_caller]
    fn value(&self, name: &str) -> f64 {
        let value = self.0.get(&format!("longwire_{name}"));
        *value.unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    #[track_caller]
    fn count(&self, name: &str) -> usize {
        self.value(name).to_string().parse().expect("a whole number")
    }

    #[track_caller]
    fn says(&self, expected: &[(&str, usize)]) {
        let said: Vec<_> = expected.iter().map(|(name, _)| (*name, self.count(name))).collect();
        assert_eq!(said, expected);
    }
}

/// A client of a user that has asked to be connected.
fn ask(server: &Running, user: &str) -> Client {
    let mut client = Client::dial_with(server.address(), &[("x-user-id", user)]);
    client.send(r#"{"id":1,"connect":{}}"#);
    client
}

#[test]
fn channels_memberships_and_users_are_counted_once() {
    let (server, internal) = serve();
    let mut members = one_on_each(&server, 2);
    for clients in &mut members {
        clients[0].subscribe("news");
    }
    members[0][0].subscribe("sport");
    let mut users: Vec<Client> = ["ann", "ann", "bob"].map(|user| ask(&server, user)).into();
    for client in &mut users {
        assert!(client.line()["connect"]["client"].is_string());
    }
    assert_eq!(ask(&server, "ann").end().code, 3504);

    let scrape = Scrape::of(internal);
    scrape.says(&[
        ("channels", 2),
        ("node_num_channels", 2),
        ("subscriptions", 3),
        ("node_num_subscriptions", 3),
        ("client_subscriptions_inflight", 3),
        ("client_subscriptions_accepted_total", 3),
        ("users", 2),
        ("node_num_users", 2),
        ("transport_outgoing_close_count_total{code=\"3504\"}", 1),
        ("transport_outgoing_close_count_total{code=\"1000\"}", 0),
        ("transport_outgoing_close_count_total{code=\"other\"}", 0),
    ]);

    let ask = r#""unsubscribe":{"channel":"news"}"#;
    assert!(members[1][0].ask(ask).get("unsubscribe").is_some());
    // Where the home is the other shard it hears of it later, but news is still a channel.
    let scrape = Scrape::of(internal);
    scrape.says(&[
        ("node_num_channels", 2),
        ("node_num_subscriptions", 2),
        ("client_subscriptions_accepted_total", 3),
    ]);
}

#[test]
fn the_time_of_every_command_is_counted_once() {
    let (server, internal) = serve();
    let mut members = one_on_each(&server, 2);
    let connects: usize = members.iter().map(Vec::len).sum();
    // Both in one message: the second waits for the home of the first, and is read later.
    for clients in &mut members {
        let [one, two] = [50, 51].map(|id| {
            let channel = format!("channel-{id}");
            format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#)
        });
        clients[0].send(&format!("{one}\n{two}"));
        assert_eq!(
            (clients[0].line()["id"].as_u64(), clients[0].line()["id"].as_u64()),
            (Some(50), Some(51))
        );
    }
    let scrape = Scrape::of(internal);
    let count = connects + 4;
    scrape.says(&[
        ("client_commands_total", count),
        ("client_command_duration_seconds_count", count),
        ("client_command_duration_seconds_bucket{le=\"+Inf\"}", count),
    ]);
    assert!(scrape.value("client_command_duration_seconds_sum") > 0.0);
}

#[test]
fn bytes_are_counted_as_they_travel() {
    let (server, internal) = serve();
    let mut members = one_on_each(&server, 2);
    for clients in &mut members {
        clients[0].subscribe("news");
    }
    let before = Scrape::of(internal);
    let publish = r#"{"id":50,"publish":{"channel":"news","data":{"text":"hello"}}}"#;
    members[0][0].send(publish);
    // The reply and the publication, and the publication on the other shard.
    let lengths = [
        members[0][0].message().len(),
        members[0][0].message().len(),
        members[1][0].message().len(),
    ];
    let after = Scrape::of(internal);
    let grown = |name: &str| {
        let name = format!("{name}_total{{transport=\"websocket\"}}");
        after.count(&name) - before.count(&name)
    };
    assert_eq!(grown("transport_messages_received_size"), publish.len());
    let sent: usize = lengths.map(framed).iter().sum();
    assert_eq!(grown("transport_messages_sent_size"), sent);
    assert_eq!((grown("transport_messages_received"), grown("transport_messages_sent")), (1, 3));
}
