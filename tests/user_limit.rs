//! Connections of one user, over all shards of a server.
//!
//! Setup: four shards behind what stands for a proxy that names the user, and a limit of three.
//! Claims: of many that come at once three are let in and the others told 3504; after one has
//! left one more may come; who has no user is not counted; a header that names two users, or none
//! that can be one, is refused; and a header that no trusted proxy has written names nobody.

use longwire::config::Cidr;
use longwire::session::{ChannelOptions, Rules};
use longwire::{Running, SessionSettings};
use session::{Client, End, PATIENCE, config, serve, settings};
use std::time::Instant;

#[path = "support/session.rs"]
mod session;

const LIMIT: u32 = 3;

fn server() -> Running {
    behind(vec!["127.0.0.1".parse().unwrap()])
}

fn behind(trusted_proxies: Vec<Cidr>) -> Running {
    let without_namespace = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_publish_for_client: true,
        ..ChannelOptions::default()
    };
    let rules = Rules {
        allow_anonymous_connect_without_token: true,
        user_connection_limit: LIMIT,
        without_namespace,
        ..Rules::default()
    };
    let user_id_http_header = Some("X-User-ID".to_owned());
    let mut config = config(4);
    config.trusted_proxies = trusted_proxies;
    serve(config, &SessionSettings { rules, user_id_http_header, ..settings() })
}

#[test]
fn whom_no_trusted_proxy_names_is_no_user() {
    let server = behind(vec!["192.0.2.1".parse().unwrap()]);
    let mut asked: Vec<Client> = (0..=LIMIT).map(|_| ask(&server, "ann")).collect();
    assert!(asked.iter_mut().all(|client| client.next().is_ok()));
}

/// A client of a user that has asked to be connected.
fn ask(server: &Running, user: &str) -> Client {
    let mut client = Client::dial_with(server.address(), &[("x-user-id", user)]);
    client.send(r#"{"id":1,"connect":{}}"#);
    client
}

fn limit_end() -> End {
    End { code: 3504, reason: "connection limit".to_owned() }
}

#[test]
fn of_many_at_once_as_many_are_let_in_as_the_limit_says() {
    let server = server();
    let mut asked: Vec<Client> = (0..20).map(|_| ask(&server, "ann")).collect();
    let results: Vec<_> = asked.iter_mut().map(Client::next).collect();
    let connected = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(connected, LIMIT as usize, "{results:?}");
    assert!(
        results.iter().filter_map(|result| result.as_ref().err()).all(|end| *end == limit_end())
    );
    let counters = server.snapshot().unwrap().counters;
    assert_eq!((counters.disconnects_connection_limit, counters.sign_ins_refused), (17, 17));

    // Another user is another's, and nobody is nobody's.
    ask(&server, "bob").line();
    for _ in 0..=LIMIT {
        Client::connect(server.address());
    }

    // The home hears a moment later that one has left: until then the next is told 3504.
    let mut inside =
        asked.into_iter().zip(results).filter_map(|(one, told)| told.ok().map(|_| one));
    drop(inside.next());
    let _still_there: Vec<Client> = inside.collect();
    let deadline = Instant::now() + PATIENCE;
    let _next = loop {
        let mut next = ask(&server, "ann");
        match next.next() {
            Ok(_) => break next,
            Err(end) => assert_eq!(end, limit_end()),
        }
        assert!(Instant::now() < deadline, "one more may come");
    };
    assert_eq!(ask(&server, "ann").end(), limit_end());
}

#[test]
fn a_user_may_do_what_users_may_and_others_see_who_it_is() {
    let server = server();
    let mut listener = ask(&server, "ann");
    listener.line();
    listener.send(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert!(listener.line().get("subscribe").is_some());
    let mut speaker = ask(&server, "bob");
    speaker.line();
    speaker.send(r#"{"id":2,"publish":{"channel":"a","data":7}}"#);
    assert!(speaker.line().get("publish").is_some());
    assert_eq!(listener.line()["push"]["pub"]["info"]["user"], "bob");
    let mut nobody = Client::connect(server.address());
    assert_eq!(nobody.ask(r#""subscribe":{"channel":"a"}"#)["error"]["code"], 103);
}

#[test]
fn a_header_that_names_no_one_user_is_refused() {
    let server = server();
    let long = "x".repeat(256);
    let status = |headers: &[(&str, &str)]| session::upgrade_status(server.address(), headers);
    assert_eq!(status(&[("X-User-ID", &long[1..])]), 101);
    assert_eq!(status(&[("X-User-ID", "")]), 101, "nobody");
    assert_eq!(status(&[("X-User-ID", &long)]), 400);
    assert_eq!(status(&[("X-User-ID", "eve"), ("x-user-id", "ann")]), 400);
    assert_eq!(server.snapshot().unwrap().counters.upgrades_refused, 2);
}
