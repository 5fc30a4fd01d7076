//! Servers of sessions that ask back ends.
#![allow(dead_code)] // each property uses a part of it

use std::net::SocketAddr;
use std::time::Duration;

use longwire::backend::{Proxies, Proxy};
use longwire::control::{Settings, Site};
use longwire::session::{Hooks, Rules};
use longwire::{Config, Running, Server, SessionSettings, Sessions};

use super::session;

/// A server whose clients may do everything, with these hooks and back ends.
pub(crate) fn serve(hooks: Hooks, proxies: Vec<(&str, Proxy)>) -> Running {
    serve_as(session::config(2), hooks, proxies).0
}

/// The same, and where its metrics are.
pub(crate) fn serve_as(
    config: Config,
    hooks: Hooks,
    proxies: Vec<(&str, Proxy)>,
) -> (Running, SocketAddr) {
    serve_by(config, Rules { hooks, ..session::settings().rules }, proxies)
}

/// The same with these rules.
pub(crate) fn serve_by(
    config: Config,
    rules: Rules,
    proxies: Vec<(&str, Proxy)>,
) -> (Running, SocketAddr) {
    serve_with(config, SessionSettings { rules, ..session::settings() }, proxies)
}

/// The same with these settings.
pub(crate) fn serve_with(
    mut config: Config,
    settings: SessionSettings,
    proxies: Vec<(&str, Proxy)>,
) -> (Running, SocketAddr) {
    settings.configure(&mut config);
    let make = Sessions::for_shards(settings).expect("the settings are valid");
    let mut site = Settings::default();
    site.internal_listen = Some("127.0.0.1:0".parse().expect("an address"));
    let proxies = proxies.into_iter().map(|(name, proxy)| (name.to_owned(), proxy));
    site.proxies = Proxies(proxies.collect());
    let site = Site::new(site).expect("a port is free");
    let internal = site.internal_address().expect("it listens");
    (Server::start_site(config, site, make).expect("it starts"), internal)
}

/// A back end at this URL, which has so long for an answer.
pub(crate) fn proxy(url: String, timeout: Duration) -> Proxy {
    Proxy { endpoints: vec![url], timeout, ..Proxy::default() }
}
