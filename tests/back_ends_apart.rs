//! Back ends that fail while a thousand clients ask: each hook by itself, and one beside another.
//!
//! Setup: a server of sessions and back ends of the test's own, which hang, die, talk nonsense or
//! answer 500 when they are told to. Claims: every client gets its error, and nobody waits for ever;
//! what hangs is called as often as there is room for it, and keeps no other back end's clients
//! waiting; when it works again, its clients are served; and no metric tells a URL.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longwire::limits::BACKEND_CALLS_MAX;
use longwire::session::{ChannelHooks, Hooks, RpcHooks};
use longwire::sys::rlimit;
use serde_json::json;

#[path = "support/backend.rs"]
mod backend;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/openmetrics.rs"]
mod openmetrics;
#[path = "support/session.rs"]
mod session;

use backend::{BackEnd, Reply};
use hooked::{proxy, serve_as};
use session::{Client, PATIENCE, Patient, config};

/// What a back end does to those who ask it.
const FAULTS: [&str; 4] = ["hang", "die", "garbage", "500"];
const WORKS: usize = FAULTS.len();

/// A back end that does what the number says.
fn moody(mood: &Arc<AtomicUsize>) -> BackEnd {
    let mood = Arc::clone(mood);
    BackEnd::start(move |_| match FAULTS.get(mood.load(Ordering::Relaxed)) {
        Some(&"hang") => Reply::Hang,
        Some(&"die") => Reply::Die,
        Some(&"garbage") => Reply::Raw(b"\x16\x03\x01 what?\r\n\r\n".to_vec()),
        Some(_) => Reply::Say(500, String::new()),
        None => Reply::json(&json!({"result": {"user": "ann"}})),
    })
}

/// What is scraped, as it is and by its samples.
fn scrape(internal: SocketAddr) -> (String, std::collections::BTreeMap<String, f64>) {
    let mut stream = Patient::connect(internal);
    let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, text) = answer.split_once("\r\n\r\n").expect("a head");
    (text.to_owned(), openmetrics::read(text))
}

#[test]
fn a_back_end_that_hangs_keeps_nobody_from_another() {
    const CLIENTS: usize = 40;
    const CALLS: usize = 8;
    let slow = BackEnd::start(|_| Reply::Hang);
    let fast = BackEnd::start(|_| Reply::json(&json!({"result": {}})));
    let rpc = RpcHooks {
        without_namespace: Some("fast".to_owned()),
        namespaces: [("slow".to_owned(), Some("slow".to_owned()))].into(),
        ..RpcHooks::default()
    };
    let proxies = vec![
        ("slow", proxy(slow.url("/?key=secret"), 4 * PATIENCE)),
        ("fast", proxy(fast.url("/?key=secret"), PATIENCE)),
    ];
    let hooks = Hooks { rpc, ..Hooks::default() };
    let (server, internal) = serve_as(config(2), hooks, proxies);
    let mut waiting: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    for client in &mut waiting {
        for _ in 0..CALLS {
            client.command(r#""rpc":{"method":"slow:a"}"#);
        }
    }
    for _ in 0..BACKEND_CALLS_MAX {
        slow.asked();
    }
    let mut client = Client::connect(server.address());
    for _ in 0..20 {
        assert!(client.ask(r#""rpc":{"method":"b"}"#).get("rpc").is_some());
    }
    assert_eq!(slow.asked_count(), 0, "it is called as often as there is room for it");
    let (text, samples) = scrape(internal);
    let of = |name: &str, proxy: &str| {
        samples[&format!("longwire_proxy_{name}{{proxy=\"{proxy}\",endpoint=\"1\"}}")]
    };
    assert_eq!((of("calls_inflight", "slow"), of("calls_total", "fast")), (128.0, 20.0));
    assert!(!text.contains("secret") && !text.contains("http://"), "{text}");
    drop(waiting);
    for _ in 0..BACKEND_CALLS_MAX {
        slow.left();
    }
    let counters = server.join().counters;
    assert_eq!(counters.consults_cancelled, (CLIENTS * CALLS) as u64);
}

/// Asks for something until there is no error, as SDKs do; returns how often there was one.
fn insist(mut ask: impl FnMut() -> serde_json::Value) -> usize {
    let deadline = Instant::now() + PATIENCE;
    for count in 0.. {
        let reply = ask();
        if reply.get("error").is_none() {
            return count;
        }
        assert_eq!(
            (&reply["error"]["code"], &reply["error"]["temporary"]),
            (&json!(100), &json!(true))
        );
        assert!(Instant::now() < deadline, "it is never asked again");
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn a_thousand_clients_that_connect_and_subscribe_hear_of_each_fault_and_come_back() {
    const CLIENTS: u32 = 1000;
    rlimit::raise_nofile(2 * u64::from(CLIENTS) + 1000).expect("readable");
    let moods = [WORKS, WORKS].map(|mood| Arc::new(AtomicUsize::new(mood)));
    let [who, gate] = moods.each_ref().map(moody);
    let mut subscribe = ChannelHooks::default();
    subscribe.set(None, "gate".to_owned());
    let hooks = Hooks { connect: Some("who".to_owned()), subscribe, ..Hooks::default() };
    let timeout = Duration::from_secs(1);
    let proxies =
        vec![("who", proxy(who.url("/"), timeout)), ("gate", proxy(gate.url("/"), timeout))];
    let mut config = config(2);
    config.max_connections = Some(2 * CLIENTS);
    let (server, internal) = serve_as(config, hooks, proxies);
    let address = server.address();
    let connect = || {
        let mut client = Client::dial(address);
        client.command(r#""connect":{}"#);
        client
    };
    for (fault, name) in FAULTS.iter().enumerate() {
        moods[0].store(fault, Ordering::Relaxed);
        let count = if fault == 0 { CLIENTS } else { CLIENTS / 20 };
        let mut clients: Vec<_> = (0..count).map(|_| connect()).collect();
        for client in &mut clients {
            let error = client.line()["error"].clone();
            assert_eq!((&error["code"], &error["temporary"]), (&json!(100), &json!(true)));
        }
        assert!(who.asked_count() < CLIENTS as usize / 2, "{name}: it is left alone");
    }
    moods[0].store(WORKS, Ordering::Relaxed);
    let mut clients = Vec::new();
    insist(|| {
        let mut client = connect();
        client.line()
    });
    for _ in 0..CLIENTS {
        insist(|| {
            let mut client = connect();
            let reply = client.line();
            clients.push(client);
            reply
        });
    }
    let mut clients = clients.split_off(clients.len() - CLIENTS as usize);
    for (fault, name) in FAULTS.iter().enumerate() {
        moods[1].store(fault, Ordering::Relaxed);
        for client in &mut clients {
            client.command(r#""subscribe":{"channel":"a"}"#);
        }
        for client in &mut clients {
            assert_eq!(client.line()["error"]["code"], 100, "{name}");
        }
        assert!(gate.asked_count() < CLIENTS as usize / 2, "{name}: it is left alone");
    }
    moods[1].store(WORKS, Ordering::Relaxed);
    for client in &mut clients {
        insist(|| client.ask(r#""subscribe":{"channel":"a"}"#));
    }
    let (_, samples) = scrape(internal);
    for proxy in ["who", "gate"] {
        let of = |name: &str| {
            samples[&format!("longwire_proxy_{name}{{proxy=\"{proxy}\",endpoint=\"1\"}}")]
        };
        assert_eq!((of("breaker_state"), of("calls_inflight")), (0.0, 0.0), "{proxy}");
        assert!(of("breaker_opened_total") >= 1.0, "{proxy}");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.consults_refused, 0);
    assert_eq!(counters.client_subscribes, u64::from(CLIENTS));
}
