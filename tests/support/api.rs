//! A server with its API for tests, and a back end that uses it.
#![allow(dead_code)] // each property uses a part of it

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use longwire::backend::Proxies;
use longwire::control::{Channels, Site};
use longwire::{Config, Running, Server, SessionSettings, Sessions};
use serde_json::Value;

use super::session::Patient;

/// A server whose API may be used with the key `key`, for these channels.
pub(crate) fn serve(config: Config, settings: &SessionSettings, channels: Channels) -> Running {
    serve_with(config, settings, channels, Proxies::default())
}

/// The same with back ends that it asks.
pub(crate) fn serve_with(
    mut config: Config,
    settings: &SessionSettings,
    channels: Channels,
    proxies: Proxies,
) -> Running {
    settings.configure(&mut config);
    let mut site = longwire::control::Settings::default();
    site.proxies = proxies;
    site.internal_listen = None;
    site.http_api.key = Some("key".to_owned());
    site.http_api.channels = Arc::new(channels);
    let site = Site::new(site).expect("no port of its own");
    let make = Sessions::for_shards(settings.clone()).expect("the settings are valid");
    Server::start_site(config, site, make).expect("it starts")
}

/// The answer to one command, which is given as an error or a result of status 200.
pub(crate) fn command(address: SocketAddr, method: &str, body: &Value) -> Value {
    let (status, answer) = post(address, &format!("/api/{method}"), &body.to_string());
    assert_eq!(status, 200, "{method}: {answer}");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{method}: {error}: {answer}"))
}

/// The status and the body of one answer.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    post_with(address, path, "", body)
}

/// The same with more header lines.
pub(crate) fn post_with(
    address: SocketAddr,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut peer = Patient::connect(address);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nX-API-Key: key\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    peer.write_all(request.as_bytes()).expect("the server takes it");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{head}")), body.to_owned())
}
