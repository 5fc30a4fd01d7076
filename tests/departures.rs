//! A back end that is told who is gone, without being asked for anything.
//!
//! Setup: a server of sessions and a back end of the test's own. Claims: each end is told, in its order for each client, with its code; what
//! is not taken comes again under the same ids; a storm of ends, also that of the server's own end,
//! is told whole; and where nobody takes anything, what is lost is counted and nobody waits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longwire::backend::{Departures, EVENTS};
use longwire::session::Hooks;
use longwire::sys::{fdtable, rlimit};
use longwire::{Config, Running};
use serde_json::{Value, json};

#[path = "support/backend.rs"]
mod backend;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/session.rs"]
mod session;

use backend::{Asked, BackEnd, Reply};
use hooked::{proxy, serve_as};
use session::{Client, PATIENCE, config};

/// Tells this back end who is gone.
fn serve(config: Config, url: String) -> Running {
    let events = Departures { disconnect: true, unsubscribe: true };
    let hooks = Hooks { events, ..Hooks::default() };
    serve_as(config, hooks, vec![(EVENTS, proxy(url, PATIENCE))]).0
}

/// The events of one POST.
fn events(asked: &Asked) -> Vec<Value> {
    asked.body["events"].as_array().expect("a list").clone()
}

/// So many events, in the order in which they came.
fn told(backend: &BackEnd, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(events(&backend.asked()));
    }
    assert_eq!((all.len(), backend.asked_count()), (count, 0), "no more than there were");
    all
}

fn ids(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["id"].as_str().expect("a text")).collect()
}

#[test]
fn who_leaves_a_channel_and_who_is_gone_is_told_in_order() {
    let backend = BackEnd::start(|_| Reply::Say(204, String::new()));
    let who = BackEnd::start(|_| Reply::json(&json!({"result": {"user": "ann"}})));
    let events = Departures { disconnect: true, unsubscribe: true };
    let hooks = Hooks { connect: Some("who".to_owned()), events, ..Hooks::default() };
    let proxies = vec![
        ("who", proxy(who.url("/"), PATIENCE)),
        (EVENTS, proxy(backend.url("/events?key=1"), PATIENCE)),
    ];
    let (server, _) = serve_as(config(2), hooks, proxies);
    let mut client = Client::dial(server.address());
    client.command(r#""connect":{}"#);
    let name = client.line()["connect"]["client"].clone();
    for channel in ["news", "sport"] {
        client.subscribe(channel);
    }
    client.ask(r#""unsubscribe":{"channel":"news"}"#);
    drop(client);
    let all = told(&backend, 2);
    let expected = [
        json!({"type": "unsubscribe", "client": name, "user": "ann", "channel": "news",
               "code": 0, "reason": "client unsubscribed"}),
        json!({"type": "disconnect", "client": name, "user": "ann",
               "code": 3000, "reason": "connection closed"}),
    ];
    assert_eq!(ids(&all).len(), 2);
    for (event, expected) in all.iter().zip(expected) {
        let Value::Object(mut event) = event.clone() else { panic!("{event}") };
        assert!(event.remove("id").is_some());
        assert!(event.remove("time").and_then(|time| time.as_u64()) > Some(1_700_000_000_000));
        assert_eq!(Value::Object(event), expected);
    }
    // Who never connected was never there.
    drop(Client::dial(server.address()));
    let counters = server.join().counters;
    assert_eq!((counters.reports, counters.events_delivered, counters.events_lost), (2, 2, 0));
    assert_eq!(backend.asked_count(), 0);
}

#[test]
fn events_that_are_not_taken_come_again_under_the_same_ids() {
    static POSTS: AtomicUsize = AtomicUsize::new(0);
    let backend = BackEnd::start(|_| match POSTS.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Say(500, String::new()),
        1 => Reply::Die,
        _ => Reply::Say(200, "anything".to_owned()),
    });
    let server = serve(config(2), backend.url("/"));
    drop(Client::connect(server.address()));
    let first = events(&backend.asked());
    let clients: Vec<_> = (0..3).map(|_| Client::connect(server.address())).collect();
    drop(clients);
    let second = events(&backend.asked());
    assert_eq!((first.len(), &second[0]), (1, &first[0]));
    let third = events(&backend.asked());
    assert_eq!(third[..second.len()], second);
    let mut all = third;
    while all.len() < 4 {
        all.extend(events(&backend.asked()));
    }
    assert_eq!((all.len(), ids(&all).len()), (4, 4));
    let counters = server.join().counters;
    assert_eq!(
        (counters.events_delivered, counters.events_retries, counters.events_lost),
        (4, 2, 0)
    );
}

#[test]
fn where_nobody_takes_them_they_are_counted_and_the_end_waits_no_longer_than_it_may() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let dead = format!("http://{}/", dead.expect("it was bound"));
    let mut config = config(2);
    config.drain_timeout = Duration::from_secs(1);
    let server = serve(config, dead);
    let clients: Vec<_> = (0..7).map(|_| Client::connect(server.address())).collect();
    drop(clients);
    let last = server.join();
    assert_eq!((last.counters.reports, last.counters.events_lost), (7, 7));
    assert_eq!((last.counters.events_delivered, last.forced), (0, false));
    assert!(last.counters.events_retries > 0);
}

#[test]
fn the_ends_that_the_end_of_the_server_makes_are_told_before_it() {
    let backend = BackEnd::start(|_| Reply::Say(200, String::new()));
    let server = serve(config(2), backend.url("/"));
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(server.address())).collect();
    server.stop();
    for client in &mut clients {
        assert_eq!(client.end().code, 3001);
    }
    drop(clients);
    let last = server.wait();
    let all = told(&backend, 100);
    assert_eq!(ids(&all).len(), 100);
    assert!(all.iter().all(|event| event["code"] == 3001 && event["reason"] == "shutdown"));
    assert_eq!((last.counters.events_delivered, last.counters.events_lost), (100, 0));
    assert!(!last.forced);
}

/// The queues between the threads have room for few messages.
#[test]
fn ten_thousand_leave_at_once_and_each_is_told_once() {
    const CLIENTS: u32 = 10_000;
    rlimit::raise_nofile(u64::from(CLIENTS) + 1000).expect("readable");
    let backend = BackEnd::start(|_| Reply::Say(200, String::new()));
    let mut config = config(2);
    (config.max_connections, config.mesh_slots) = (Some(CLIENTS + 100), Some(64));
    let server = serve(config, backend.url("/"));
    let address = server.address();
    let mut staying = Client::connect(address);
    let crowd = std::thread::spawn(move || {
        fdtable::unshare_keeping(&[]).expect("a table of its own");
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| Client::connect(address).into_stream()).collect();
        // Forgotten, so that the kernel closes them all when the table goes with the thread.
        clients.into_iter().for_each(std::mem::forget);
    });
    crowd.join().expect("no client failed");
    staying.subscribe("here");
    let count = CLIENTS as usize;
    let all = told(&backend, count);
    assert_eq!(ids(&all).len(), count);
    let clients: BTreeSet<_> = all.iter().map(|event| event["client"].as_str()).collect();
    assert_eq!(clients.len(), count);
    assert!(all.iter().all(|event| event["type"] == "disconnect"));
    assert!(staying.ask(r#""unsubscribe":{"channel":"here"}"#).get("unsubscribe").is_some());
    assert_eq!(told(&backend, 1)[0]["channel"], "here");
    drop(staying);
    let counters = server.join().counters;
    let expected = u64::from(CLIENTS) + 2;
    assert_eq!((counters.reports, counters.reports_refused), (expected, 0));
    assert_eq!((counters.events_delivered, counters.events_lost), (expected, 0));
}
