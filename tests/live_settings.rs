//! Settings of sessions that are replaced while a server goes by them.
//!
//! Setup: a server that follows `LiveSettings`, clients of tungstenite. Claims: rules and limits
//! hold from the next message on, also for those who are connected; origins from the next upgrade
//! on, on every shard; what no server could go by is refused and changes nothing.

use longwire::session::Rules;
use longwire::ws::handshake::{AllowedOrigins, MissingOrigin};
use longwire::{Limits, LiveSettings, Origins, Running, Server, SessionSettings, Sessions};
use session::{Client, End, config, settings};

#[path = "support/session.rs"]
mod session;

fn serve(shards: u32, live: &LiveSettings, settings: &SessionSettings) -> Running {
    let mut config = config(shards);
    settings.configure(&mut config);
    Server::start(config, Sessions::following(live)).expect("it starts")
}

fn end(code: u16, reason: &str) -> End {
    End { code, reason: reason.to_owned() }
}

#[test]
fn new_settings_hold_for_those_who_are_connected_and_those_who_come() {
    let open = settings();
    let closed = SessionSettings { rules: Rules::default(), ..open.clone() };
    let wrong = SessionSettings { path: String::new(), ..open.clone() };
    let live = LiveSettings::new(open.clone()).unwrap();
    let server = serve(2, &live, &open);
    let mut client = Client::connect(server.address());
    let publish = r#""publish":{"channel":"a","data":1}"#;
    assert!(client.ask(publish).get("publish").is_some());
    live.replace(closed).unwrap();
    assert_eq!(client.ask(publish)["error"]["code"], 103);
    live.replace(wrong).unwrap_err();
    assert_eq!(client.ask(publish)["error"]["code"], 103, "what is not valid is not taken");
    let mut late = Client::dial(server.address());
    late.send(r#"{"id":1,"connect":{}}"#);
    assert_eq!(late.end(), end(3501, "bad request"));
}

/// A connected client that makes the shard take what is in force now.
fn looked_at(server: &Running) -> Client {
    let mut client = Client::connect(server.address());
    client.ask(r#""rpc":{}"#);
    client
}

#[test]
fn limits_hold_for_those_who_are_connected() {
    let narrow = SessionSettings {
        limits: Limits { message_bytes_max: 4096, ..settings().limits },
        output_bytes_max: 1024,
        rules: Rules { channel_limit: 1, ..settings().rules },
        ..settings()
    };
    let live = LiveSettings::new(narrow.clone()).unwrap();
    let server = serve(1, &live, &narrow);
    let many: Vec<String> = (10..74).map(|id| format!(r#"{{"id":{id},"rpc":{{}}}}"#)).collect();
    let (many, long) =
        (many.join("\n"), format!(r#"{{"id":2,"rpc":{{"data":"{}"}}}}"#, "x".repeat(5000)));
    let refused = |frame: &str| {
        let mut client = looked_at(&server);
        client.send(frame);
        loop {
            if let Err(end) = client.next() {
                return end.code;
            }
        }
    };
    let mut client = looked_at(&server);
    client.subscribe("a");
    assert_eq!(client.ask(r#""subscribe":{"channel":"b"}"#)["error"]["code"], 106);
    assert_eq!((refused(&many), refused(&long)), (3008, 1009));

    live.replace(settings()).unwrap();
    client.subscribe("b");
    client.send(&many);
    for id in 10..74 {
        assert_eq!(client.line()["id"], id);
    }
    client.send(&long);
    assert_eq!(client.line()["id"], 2);

    live.replace(narrow).unwrap();
    assert_eq!(client.ask(r#""subscribe":{"channel":"c"}"#)["error"]["code"], 106);
    assert_eq!((refused(&many), refused(&long)), (3008, 1009));
}

#[test]
fn origins_hold_from_the_next_upgrade_on_whichever_shard_it_comes_to() {
    let page = "https://example.com";
    let listed = AllowedOrigins::new([page], MissingOrigin::Allow).unwrap();
    let open = SessionSettings {
        limits: Limits { origins: Origins::Allowed(listed), ..settings().limits },
        ..settings()
    };
    let live = LiveSettings::new(settings()).unwrap();
    let server = serve(2, &live, &settings());
    let upgrade_from =
        |address, origin: &str| session::upgrade_status(address, &[("Origin", origin)]);
    let address = server.address();
    let same_host = format!("http://{address}");
    for (now, expected) in [(settings(), (403, 101)), (open, (101, 403)), (settings(), (403, 101))]
    {
        live.replace(now).unwrap();
        for _ in 0..8 {
            assert_eq!((upgrade_from(address, page), upgrade_from(address, &same_host)), expected);
        }
    }
    // Who is no browser's page names no origin, and is let in.
    Client::connect(address);
    assert_eq!(server.snapshot().unwrap().counters.upgrades_refused, 24);
}
