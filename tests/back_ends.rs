//! A server of sessions and a back end of the test's own: what clients ask reaches it, what it
//! answers reaches them, and nobody is asked in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longwire::backend::Proxy;
use longwire::limits::BACKEND_ANSWER_BYTES_MAX;
use longwire::session::{ChannelHooks, ChannelOptions, Hooks, Retention, RpcHooks, Rules};
use longwire::{Running, SessionSettings};
use serde_json::{Value, json};

#[path = "support/backend.rs"]
mod backend;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/session.rs"]
mod session;

use backend::{Asked, BackEnd, Reply};
use hooked::{serve, serve_by};
use session::{Client, PATIENCE, config};

/// Calls without a namespace go to this back end.
fn rpc_to(backend: &BackEnd) -> Running {
    rpc_by(vec![backend.url("/rpc")], PATIENCE)
}

fn rpc_by(endpoints: Vec<String>, timeout: Duration) -> Running {
    let without_namespace = Some("rpc".to_owned());
    let rpc = RpcHooks { without_namespace, ..RpcHooks::default() };
    let hooks = Hooks { rpc, ..Hooks::default() };
    serve(hooks, vec![("rpc", Proxy { endpoints, timeout, ..Proxy::default() })])
}

/// Asks until the back end answers; returns how often it did not.
fn ask_until_answered(client: &mut Client) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    for count in 0.. {
        let reply = client.ask(r#""rpc":{"method":"again"}"#);
        if reply.get("rpc").is_some() {
            return count;
        }
        assert_eq!(reply["error"]["code"], 100, "{reply}");
        assert!(Instant::now() < deadline, "the breaker never closes");
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn a_procedure_is_called_with_who_calls_and_returns_to_its_caller() {
    let backend = BackEnd::start(|asked| {
        Reply::json(&json!({"result": {"data": {"echo": asked.body["data"]}}}))
    });
    let server = rpc_to(&backend);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let reply = client.ask(&format!(r#""rpc":{{"method":"sum","data":{{"n":{number}}}}}"#));
        assert_eq!(reply["rpc"], json!({"data": {"echo": {"n": number}}}));
        let asked = backend.asked();
        assert_eq!((&*asked.path, &*asked.headers["content-type"]), ("/rpc", "application/json"));
        let Value::Object(mut body) = asked.body else { panic!("an object") };
        assert!(body.remove("client").is_some_and(|client| client.is_string()));
        let expected = json!({
            "transport": "websocket", "protocol": "json", "encoding": "json", "user": "",
            "method": "sum", "data": {"n": number},
        });
        assert_eq!(Value::Object(body), expected);
        assert_eq!(asked.connection, 0, "one after the other they take the same connection");
    }
    drop(clients);
    let counters = server.join().counters;
    assert_eq!((counters.consults, counters.consults_unanswered), (4, 0));
}

#[test]
fn a_call_is_called_off_when_its_client_is_gone() {
    let backend = BackEnd::start(|_| Reply::Hang);
    let server = rpc_to(&backend);
    let mut client = Client::connect(server.address());
    client.command(r#""rpc":{"method":"slow"}"#);
    backend.asked();
    drop(client);
    backend.left();
    let counters = server.join().counters;
    assert_eq!((counters.consults, counters.consults_cancelled), (1, 1));
}

#[test]
fn a_back_end_that_says_nothing_of_use_costs_its_client_an_error_and_nobody_else() {
    let backend = BackEnd::start(|asked| match asked.body["method"].as_str() {
        Some("dies") => Reply::Die,
        Some("garbage") => Reply::Raw(b"\x16\x03\x01 what?\r\n\r\n".to_vec()),
        Some("no json") => Reply::Say(200, "<html>".to_owned()),
        Some("fails") => Reply::Say(500, r#"{"result":{"data":1}}"#.to_owned()),
        Some("floods") => Reply::Flood,
        Some("refuses") => {
            Reply::json(&json!({"error": {"code": 404, "message": "who?", "temporary": true}}))
        }
        _ => Reply::json(&json!({"result": {}})),
    });
    let server = rpc_to(&backend);
    let mut client = Client::connect(server.address());
    // Of five failures one behind the other the endpoint would be left alone.
    for method in ["dies", "garbage", "no json", "refuses", "fails", "floods"] {
        let reply = client.ask(&format!(r#""rpc":{{"method":"{method}"}}"#));
        let error = &reply["error"];
        if method == "refuses" {
            assert_eq!(*error, json!({"code": 404, "message": "who?", "temporary": true}));
        } else {
            assert_eq!((&error["code"], &error["temporary"]), (&json!(100), &json!(true)));
        }
    }
    assert_eq!(client.ask(r#""rpc":{"method":"works"}"#)["rpc"], json!({}));
    drop(client);
    let counters = server.join().counters;
    assert_eq!((counters.consults, counters.consults_unanswered), (7, 5));
    assert_eq!((counters.errors_internal, counters.errors_application), (5, 1));
}

/// A channel that the censor has for who says the word, and nobody else.
fn decide(asked: &Asked) -> Reply {
    let body = &asked.body;
    let verdict = match asked.path.as_str() {
        "/connect" if body["data"]["key"] == "right" => json!({"result": {
            "user": "ann", "info": {"n": 1}, "data": {"hello": true},
            "channels": ["own"], "meta": {"secret": 7},
        }}),
        "/connect" => json!({"disconnect": {"code": 4501, "reason": "wrong key"}}),
        "/subscribe" if body["channel"] == "open" => {
            json!({"result": {"data": {"rank": 1}, "info": {"c": 2}}})
        }
        "/subscribe" => json!({"error": {"code": 403, "message": "not you"}}),
        "/publish" if body["data"]["word"] == "bad" => return Reply::Say(451, String::new()),
        "/publish" => json!({"result": {"data": {"censored": body["data"]}}}),
        other => panic!("{other}"),
    };
    Reply::json(&verdict)
}

#[test]
fn a_back_end_says_who_a_client_is_where_it_may_be_and_what_it_may_say() {
    let backend = BackEnd::start(decide);
    let mut channels = [ChannelHooks::default(), ChannelHooks::default()];
    let names = ["subscribe", "publish"];
    for (hook, name) in channels.iter_mut().zip(names) {
        hook.set(None, name.to_owned());
    }
    let [subscribe, publish] = channels;
    let hooks = Hooks {
        connect: Some("connect".to_owned()),
        subscribe,
        publish,
        http_headers: vec!["cookie".to_owned()],
        emulated_headers: vec!["x-key".to_owned()],
        ..Hooks::default()
    };
    let fault = longwire::backend::Fault { code: 451, ..Default::default() };
    let proxy = |name: &str| Proxy {
        endpoints: vec![backend.url(&format!("/{name}"))],
        timeout: PATIENCE,
        http_headers: vec!["cookie".to_owned()],
        emulated_headers: vec!["x-key".to_owned()],
        static_headers: vec![("X-From".to_owned(), "longwire".to_owned())],
        has_meta: name != "connect",
        statuses: [(451, longwire::backend::Verdict::Fault(fault.clone()))].into(),
        ..Proxy::default()
    };
    let proxies = ["connect", "subscribe", "publish"].map(|name| (name, proxy(name)));
    let server = serve(hooks, proxies.into());

    let mut stranger = Client::dial(server.address());
    stranger.send(r#"{"id":1,"connect":{"data":{"key":"wrong"}}}"#);
    let end = stranger.end();
    assert_eq!((end.code, &*end.reason), (4501, "wrong key"));
    backend.asked();

    let headers = [("Cookie", "a=b"), ("X-Other", "private")];
    let mut ann = Client::dial_with(server.address(), &headers);
    ann.command(r#""connect":{"data":{"key":"right"},"headers":{"X-Key":"k"}}"#);
    let connected = ann.line();
    assert_eq!(connected["connect"]["data"], json!({"hello": true}), "{connected}");
    assert!(connected["connect"]["subs"].get("own").is_some(), "{connected}");
    let asked = backend.asked();
    let told = ["cookie", "x-key", "x-from"].map(|name| asked.headers[name].as_str());
    assert_eq!(told, ["a=b", "k", "longwire"]);
    assert!(!asked.headers.contains_key("x-other"), "{asked:?}");

    let reply = ann.ask(r#""subscribe":{"channel":"closed"}"#);
    assert_eq!(reply["error"]["code"], 403, "{reply}");
    let asked = backend.asked();
    assert_eq!((&asked.body["user"], &asked.body["meta"]), (&json!("ann"), &json!({"secret": 7})));
    let reply = ann.ask(r#""subscribe":{"channel":"open"}"#);
    assert_eq!(reply["subscribe"]["data"], json!({"rank": 1}), "{reply}");

    let reply = ann.ask(r#""publish":{"channel":"open","data":{"word":"bad"}}"#);
    assert_eq!(reply["error"]["code"], 451, "{reply}");
    ann.command(r#""publish":{"channel":"open","data":{"word":"good"}}"#);
    let mut lines = [ann.line(), ann.line()];
    lines.sort_by_key(|line| line.get("push").is_some());
    let publication = &lines[1]["push"]["pub"];
    assert_eq!(publication["data"], json!({"censored": {"word": "good"}}), "{lines:?}");
    assert_eq!(publication["info"]["user"], "ann");
    assert_eq!(
        (&publication["info"]["conn_info"], &publication["info"]["chan_info"]),
        (&json!({"n": 1}), &json!({"c": 2}))
    );
}

/// Both answers are right but for their length.
#[test]
fn an_answer_has_a_bound() {
    let backend = BackEnd::start(|asked| {
        let answer = r#"{"result":{"data":1}}"#;
        let length = BACKEND_ANSWER_BYTES_MAX + usize::from(asked.body["method"] == "long");
        Reply::Say(200, answer.to_owned() + &" ".repeat(length - answer.len()))
    });
    let server = rpc_to(&backend);
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask(r#""rpc":{"method":"short"}"#)["rpc"], json!({"data": 1}));
    assert_eq!(client.ask(r#""rpc":{"method":"long"}"#)["error"]["code"], 100);
}

#[test]
fn each_back_end_is_told_of_its_own_headers_and_no_others() {
    let backend = BackEnd::start(decide);
    let mut subscribe = ChannelHooks::default();
    subscribe.set(None, "subscribe".to_owned());
    let all = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let hooks = Hooks {
        connect: Some("connect".to_owned()),
        subscribe,
        http_headers: all(["cookie", "x-room"]),
        emulated_headers: all(["x-key", "x-door"]),
        ..Hooks::default()
    };
    let proxy = |name: &str, http: &str, emulated: &str| Proxy {
        endpoints: vec![backend.url(&format!("/{name}"))],
        timeout: PATIENCE,
        http_headers: vec![http.to_owned()],
        emulated_headers: vec![emulated.to_owned()],
        ..Proxy::default()
    };
    let proxies = vec![
        ("connect", proxy("connect", "cookie", "x-key")),
        ("subscribe", proxy("subscribe", "x-room", "x-door")),
    ];
    let server = serve(hooks, proxies);
    let headers = [("Cookie", "a=b"), ("X-Room", "7")];
    let mut client = Client::dial_with(server.address(), &headers);
    let emulated = r#"{"X-Key":"k","X-Door":"d"}"#;
    client.command(&format!(r#""connect":{{"data":{{"key":"right"}},"headers":{emulated}}}"#));
    client.line();
    client.ask(r#""subscribe":{"channel":"open"}"#);
    let names = ["cookie", "x-key", "x-room", "x-door"];
    for told in [["cookie", "x-key"], ["x-room", "x-door"]] {
        let asked = backend.asked();
        let got = names.into_iter().filter(|name| asked.headers.contains_key(*name));
        assert_eq!(got.collect::<Vec<_>>(), told, "{asked:?}");
    }
}

/// As with the HTTP API: the same key twice is one publication, and an old version is none.
#[test]
fn a_back_end_has_a_publication_made_once_or_only_if_it_is_news() {
    let backend = BackEnd::start(|asked| Reply::json(&json!({"result": asked.body["data"]})));
    let mut publish = ChannelHooks::default();
    publish.set(None, "publish".to_owned());
    let history = Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
    let rules = Rules {
        hooks: Hooks { publish, ..Hooks::default() },
        without_namespace: ChannelOptions { history, ..ChannelOptions::default() },
        ..session::settings().rules
    };
    let proxies = vec![("publish", hooked::proxy(backend.url("/"), PATIENCE))];
    let (server, _) = serve_by(config(2), rules, proxies);
    let [mut reader, mut writer] = [0, 1].map(|_| Client::connect(server.address()));
    // Homes on both shards.
    for channel in ["a", "b", "c", "d"] {
        reader.subscribe(channel);
        let mut publish = |data: &str| {
            let reply =
                writer.ask(&format!(r#""publish":{{"channel":"{channel}","data":{data}}}"#));
            assert_eq!(reply["publish"], json!({}), "{reply}");
        };
        publish(r#"{"data":1,"idempotency_key":"k"}"#);
        publish(r#"{"data":2,"idempotency_key":"k"}"#);
        publish(r#"{"data":3,"version":7}"#);
        publish(r#"{"data":4,"version":6}"#);
        publish(r#"{"data":5}"#);
        for data in [1, 3, 5] {
            let push = reader.line()["push"].clone();
            assert_eq!((&push["channel"], &push["pub"]["data"]), (&json!(channel), &json!(data)));
            assert!(push["pub"]["info"]["client"].is_string(), "{push}");
        }
    }
    let counters = server.join().counters;
    assert_eq!((counters.publications_outdated, counters.consults_unanswered), (4, 0));
}

#[test]
fn an_endpoint_that_fails_is_left_alone_and_called_again_when_it_works() {
    let works = Arc::new(AtomicBool::new(false));
    let is_working = Arc::clone(&works);
    let backend = BackEnd::start(move |_| {
        let is_working = is_working.load(Ordering::Relaxed);
        if is_working {
            Reply::json(&json!({"result": {}}))
        } else {
            Reply::Say(500, String::new())
        }
    });
    let server = rpc_to(&backend);
    let mut client = Client::connect(server.address());
    for _ in 0..8 {
        assert_eq!(client.ask(r#""rpc":{}"#)["error"]["code"], 100);
    }
    assert_eq!(backend.asked_count(), 5, "the breaker keeps the others away");
    works.store(true, Ordering::Relaxed);
    let refused = ask_until_answered(&mut client);
    assert!(refused > 0, "it is left alone for a while");
    assert_eq!(backend.asked_count(), 1, "one call has decided");
    for _ in 0..8 {
        assert_eq!(ask_until_answered(&mut client), 0);
    }
}

#[test]
fn where_one_endpoint_is_dead_the_next_answers() {
    let backend = BackEnd::start(|_| Reply::json(&json!({"result": {}})));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let dead = format!("http://{}/", dead.expect("it was bound"));
    let server = rpc_by(vec![dead, backend.url("/")], PATIENCE);
    let mut client = Client::connect(server.address());
    for _ in 0..12 {
        assert_eq!(ask_until_answered(&mut client), 0);
    }
    assert_eq!(backend.asked_count(), 12);
}

/// Or any client could have an endpoint left alone, for all, by asking for what is not there.
#[test]
fn an_endpoint_that_does_not_want_a_call_is_asked_on_and_no_other_is() {
    let refusing = BackEnd::start(|_| Reply::Say(404, String::new()));
    let other = BackEnd::start(|_| Reply::json(&json!({"result": {}})));
    let server = rpc_by(vec![refusing.url("/"), other.url("/")], PATIENCE);
    let mut client = Client::connect(server.address());
    for _ in 0..12 {
        let reply = client.ask(r#""rpc":{"method":"nothing"}"#);
        assert_eq!(reply["error"]["code"], 100, "{reply}");
    }
    assert_eq!((refusing.asked_count(), other.asked_count()), (12, 0));
}

/// Many clients ask at once, and more than one thing each, of a back end that says nothing.
#[test]
fn under_load_nothing_piles_up_behind_a_back_end_that_hangs() {
    const CLIENTS: usize = 32;
    const CALLS: usize = 8;
    let works = Arc::new(AtomicBool::new(false));
    let is_working = Arc::clone(&works);
    let backend = BackEnd::start(move |_| {
        let is_working = is_working.load(Ordering::Relaxed);
        if is_working { Reply::json(&json!({"result": {}})) } else { Reply::Hang }
    });
    let server = rpc_by(vec![backend.url("/")], Duration::from_millis(500));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        for _ in 0..CALLS {
            client.command(r#""rpc":{"method":"slow"}"#);
        }
        // What nobody is asked about is answered behind it, in its order.
        client.command(r#""publish":{"channel":"a","data":1}"#);
    }
    for client in &mut clients {
        for _ in 0..CALLS {
            assert_eq!(client.line()["error"]["code"], 100);
        }
        assert!(client.line().get("publish").is_some());
    }
    let counters = server.snapshot().expect("it runs").counters;
    let all = (CLIENTS * CALLS) as u64;
    assert_eq!((counters.consults, counters.consults_unanswered), (all, all));
    assert_eq!(counters.consults_refused, 0);
    works.store(true, Ordering::Relaxed);
    for client in &mut clients {
        ask_until_answered(client);
    }
}

/// Once a back end that was told of the header in which the proxy in front names the user was told
/// what any client had put there (as happened to others: CVE-2026-33223).
#[test]
fn no_client_tells_a_back_end_what_the_proxy_in_front_says_of_its_user() {
    let back_end = BackEnd::start(|_| Reply::json(&json!({ "result": {} })));
    let names = || vec!["x-user".to_owned(), "x-other".to_owned()];
    for (is_trusted, told) in [(false, None), (true, Some("root"))] {
        let without_namespace = Some("rpc".to_owned());
        let rpc = RpcHooks { without_namespace, ..RpcHooks::default() };
        let hooks =
            Hooks { rpc, http_headers: names(), emulated_headers: names(), ..Hooks::default() };
        let proxy = Proxy {
            http_headers: names(),
            emulated_headers: names(),
            ..hooked::proxy(back_end.url("/rpc"), PATIENCE)
        };
        let mut settings = SessionSettings {
            user_id_http_header: Some("X-User".to_owned()),
            ..session::settings()
        };
        settings.rules.hooks = hooks;
        let mut config = session::config(1);
        if is_trusted {
            config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
        }
        let (server, _) = hooked::serve_with(config, settings, vec![("rpc", proxy)]);
        let sent = [("X-User", "root"), ("X-Other", "1")];
        let mut client = Client::dial_with(server.address(), &sent);
        let reply = client.ask(r#""connect":{"headers":{"X-USER":"eve","x-other":"2"}}"#);
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client.ask(r#""rpc":{"method":"m","data":{}}"#);
        let asked = back_end.asked();
        assert_eq!(asked.headers.get("x-user").map(String::as_str), told, "{is_trusted}");
        assert_eq!(asked.headers.get("x-other").map(String::as_str), Some("2"));
        let user = asked.body["user"].as_str().unwrap_or_default();
        assert_eq!(user, told.unwrap_or_default());
    }
}
