//! A server of sessions and a back end of the test's own: what clients ask reaches it, what it
//! answers reaches them, and nobody is asked in vain.

use longwire::backend::{Proxies, Proxy};
use longwire::control::{Settings, Site};
use longwire::session::{Hooks, RpcHooks, Rules};
use longwire::{Running, Server, SessionSettings, Sessions};
use serde_json::{Value, json};

#[path = "support/backend.rs"]
mod backend;
#[path = "support/session.rs"]
mod session;

use backend::{BackEnd, Reply};
use session::{Client, PATIENCE, config};

/// A server whose clients may do everything, with these hooks and back ends.
fn serve(hooks: Hooks, proxies: Vec<(&str, Proxy)>) -> Running {
    let settings = SessionSettings {
        rules: Rules { hooks, ..session::settings().rules },
        ..session::settings()
    };
    let mut config = config(2);
    settings.configure(&mut config);
    let make = Sessions::for_shards(settings).expect("the settings are valid");
    let mut site = Settings::default();
    site.internal_listen = None;
    let proxies = proxies.into_iter().map(|(name, proxy)| (name.to_owned(), proxy));
    site.proxies = Proxies(proxies.collect());
    let site = Site::new(site).expect("no port of its own");
    Server::start_site(config, site, make).expect("it starts")
}

/// Calls without a namespace go to this back end.
fn rpc_to(backend: &BackEnd) -> Running {
    let without_namespace = Some("rpc".to_owned());
    let rpc = RpcHooks { without_namespace, ..RpcHooks::default() };
    let hooks = Hooks { rpc, ..Hooks::default() };
    let endpoints = vec![backend.url("/rpc")];
    serve(hooks, vec![("rpc", Proxy { endpoints, timeout: PATIENCE, ..Proxy::default() })])
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
    for method in ["dies", "garbage", "no json", "fails", "floods"] {
        let reply = client.ask(&format!(r#""rpc":{{"method":"{method}"}}"#));
        assert_eq!(
            (&reply["error"]["code"], &reply["error"]["temporary"]),
            (&json!(100), &json!(true))
        );
    }
    let reply = client.ask(r#""rpc":{"method":"refuses"}"#);
    assert_eq!(reply["error"], json!({"code": 404, "message": "who?", "temporary": true}));
    assert_eq!(client.ask(r#""rpc":{"method":"works"}"#)["rpc"], json!({}));
    drop(client);
    let counters = server.join().counters;
    assert_eq!((counters.consults, counters.consults_unanswered), (7, 5));
    assert_eq!((counters.errors_internal, counters.errors_application), (5, 1));
}
