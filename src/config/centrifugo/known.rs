//! What Centrifugo 6 has and longwire may not have, each with what it means to be without it.
//!
//! A key that is one of longwire's own never comes here, so nothing is to be taken out of the table
//! when one becomes so. A row stands for all that is below its path, unless a longer one does.

use super::note::Reason;
use super::{File, known_paths};
use crate::config::key::{Key, Kind};
use crate::config::names::nearest;
use crate::config::value::Value;

/// One row.
pub(super) struct Known {
    pub(super) path: &'static str,
    when: When,
    /// What it means to be without it, or why that means nothing.
    says: &'static str,
}

/// When it says anything at all.
enum When {
    /// Never: nothing is lost without it.
    Never,
    /// If it has another value than these, which it has by default.
    Not(&'static [&'static str]),
    /// If this key is `true`.
    On(&'static str),
    /// If a part of the server is told to use this.
    Used(&'static str),
}

/// The keys by which a store is chosen.
const STORES: [&str; 5] =
    ["engine.type", "broker.type", "presence_manager.type", "map_broker.type", "controller.type"];

/// Why one of longwire's keys is left alone where it is given nothing: that is its default, or
/// would open what has no authentication. `None` if it is a value like others, or no value.
pub(super) fn empty(key: &Key) -> Option<&'static str> {
    if key.path.starts_with("http_server.internal_") {
        return Some("metrics and debug pages stay on 127.0.0.1: they have no authentication");
    }
    let default = (key.default)();
    let is_text = matches!(key.kind, Kind::Text(_));
    (!is_text || default == Value::Text(String::new())).then_some("it is empty, as by default")
}

/// Why a key is not taken over.
pub(super) fn reason(file: &File<'_>, path: &str, value: &Value) -> Reason {
    let rows = KNOWN.iter().filter(|known| is_in(path, known.path));
    let Some(Known { when, says, .. }) = rows.max_by_key(|known| known.path.len()) else {
        let known = known_paths().chain(crate::config::keys().map(|key| key.path));
        return Reason::Unknown(nearest(path, known));
    };
    let is_at_rest = |values: &[&str]| match value {
        Value::Text(text) => values.contains(&&**text),
        Value::List(items) => items.is_empty(),
        Value::Tables(tables) => tables.is_empty(),
        _ => false,
    };
    match *when {
        When::Never => Reason::Idle(says),
        When::Not(values) if is_at_rest(values) => Reason::Idle("it has its default"),
        When::On(switch) if !file.is_on(switch) => Reason::Idle("this part of Centrifugo is off"),
        When::Used(store) if !STORES.iter().any(|path| file.is(path, store)) => {
            Reason::Idle("nothing was told to use it")
        }
        _ => Reason::Missing(says),
    }
}

fn is_in(path: &str, row: &str) -> bool {
    path.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

const fn idle(path: &'static str, says: &'static str) -> Known {
    Known { path, when: When::Never, says }
}

const fn unless(path: &'static str, values: &'static [&'static str], says: &'static str) -> Known {
    Known { path, when: When::Not(values), says }
}

const fn part(path: &'static str, switch: &'static str, says: &'static str) -> Known {
    Known { path, when: When::On(switch), says }
}

const fn store(path: &'static str, kind: &'static str, says: &'static str) -> Known {
    Known { path, when: When::Used(kind), says }
}

const OFF: &[&str] = &["false"];
const ZERO: &[&str] = &["0", "0s"];
const EMPTY: &[&str] = &[""];

const TLS: &str = "longwire takes connections in the clear: let a proxy in front of it terminate \
                   TLS, and name it in trusted_proxies";
const HTTP2: &str = "WebSockets are served over HTTP/1.1 only";
const ALONE: &str = "longwire is one process that keeps all in its own memory: several nodes would \
                     not hear of each other, and history does not outlive the process";
const GRPC: &str = "there is no gRPC: back ends use the HTTP API";
const UNI: &str = "clients of this transport cannot connect: they need WebSocket and an SDK";
const MAP: &str =
    "subscriptions of this type are refused (103): only stream subscriptions are served";
const PAID: &str = "it is of the paid edition, and not served";
const ASKED: &str = "back ends are not asked that way: `longwire default-config` has what there is";
const ASKED_BY: &str = "the back end of that name is not asked";
const KEY: &str = "tokens that only this key verifies are refused (3500)";
const SUB_TOKEN: &str = "subscription tokens are not verified that way: who brings one is refused";
const OBSERVED: &str = "nothing is sent there: scrape /metrics of the internal port";
const LOOP: &str = "sizes of Go's buffers: a shard reads into one buffer of its own";

/// Sorted by section, as Centrifugo's documentation is.
pub(super) const KNOWN: &[Known] = &[
    unless("http_server.tls", &["false", ""], TLS),
    part("http_server.tls.cert_pem", "http_server.tls.enabled", TLS),
    part("http_server.tls.key_pem", "http_server.tls.enabled", TLS),
    part("http_server.tls.client_ca_pem", "http_server.tls.enabled", TLS),
    part("http_server.tls.server_ca_pem", "http_server.tls.enabled", TLS),
    part("http_server.tls_autocert", "http_server.tls_autocert.enabled", TLS),
    unless("http_server.tls_external", OFF, TLS),
    part("http_server.internal_tls", "http_server.internal_tls.enabled", TLS),
    part("http_server.http3", "http_server.http3.enabled", HTTP2),
    unless("http_server.h2c_external", OFF, HTTP2),
    // client
    unless("client.token.jwks", EMPTY, KEY),
    part("client.subscription_token", "client.subscription_token.enabled", SUB_TOKEN),
    unless(
        "client.insecure_skip_token_signature_verify",
        OFF,
        "signatures are always verified: sign the tokens of tests too",
    ),
    idle(
        "client.presence_update_interval",
        "presence ends with the connection and need not be kept up",
    ),
    unless(
        "client.concurrency",
        &["0", "1"],
        "commands of one client are answered in order: those of one that waits for a back end wait",
    ),
    idle(
        "client.channel_position_check_delay",
        "positions are checked with every publication: nothing can be lost between",
    ),
    idle("client.channel_position_max_time_lag", "there is no broker that could lag"),
    unless(
        "client.connection_rate_limit",
        ZERO,
        "the rate of new connections is not limited: set a limit in the proxy in front",
    ),
    unless(
        "client.connect_include_server_time",
        OFF,
        "connect replies do not have the time of the server",
    ),
    part("client.proxy.connect", "client.proxy.connect.enabled", ASKED),
    part("client.proxy.refresh", "client.proxy.refresh.enabled", ASKED),
    unless("client.proxy", EMPTY, ASKED),
    unless(
        "client.connect_code_to_unidirectional_disconnect",
        OFF,
        "there are no unidirectional transports",
    ),
    // channel
    unless("channel.proxy", EMPTY, ASKED),
    unless("channel.without_namespace.subscription_type", &["stream", ""], MAP),
    unless("channel.without_namespace.map", EMPTY, MAP),
    unless("channel.without_namespace.map_clients_presence_channel_prefix", EMPTY, MAP),
    unless("channel.without_namespace.map_users_presence_channel_prefix", EMPTY, MAP),
    unless("channel.without_namespace.shared_poll", EMPTY, MAP),
    unless("channel.without_namespace.subscribe_stream_proxy_enabled", OFF, GRPC),
    unless("channel.without_namespace.subscribe_stream_proxy_name", &["", "default"], ASKED_BY),
    unless("channel.without_namespace.subscribe_stream_proxy_bidirectional", OFF, GRPC),
    unless("channel.without_namespace.shared_position_sync", OFF, PAID),
    unless("channel.without_namespace.keep_latest_publication", OFF, PAID),
    unless("channel.without_namespace.allow_channel_compaction", OFF, PAID),
    unless("channel.without_namespace.client_publish_debounce_interval", ZERO, PAID),
    unless("channel.without_namespace.batch_max_size", ZERO, PAID),
    unless("channel.without_namespace.batch_max_delay", ZERO, PAID),
    unless("channel.without_namespace.batch_flush_latest", OFF, PAID),
    unless("channel.without_namespace.publish_cel", EMPTY, PAID),
    unless("channel.without_namespace.subscribe_cel", EMPTY, PAID),
    unless("channel.without_namespace.state_proxy", EMPTY, PAID),
    unless("channel.without_namespace.state_events", EMPTY, PAID),
    unless("channel.without_namespace.cache_empty_proxy_enabled", OFF, PAID),
    unless("channel.without_namespace.cache_empty_proxy_name", &["", "default"], PAID),
    // back ends
    unless("rpc.proxy", EMPTY, ASKED),
    unless("rpc.without_namespace", EMPTY, ASKED),
    unless("rpc.namespaces", EMPTY, ASKED),
    part("rpc.ping", "rpc.ping.enabled", "there is no RPC that does nothing"),
    unless("proxies", EMPTY, ASKED),
    // stores
    unless("engine.type", &["", "memory"], ALONE),
    store("engine.redis", "redis", ALONE),
    unless("engine", EMPTY, ALONE),
    part("broker", "broker.enabled", ALONE),
    part("presence_manager", "presence_manager.enabled", ALONE),
    part("map_broker", "map_broker.enabled", ALONE),
    part("controller", "controller.enabled", ALONE),
    store("redis", "redis", ALONE),
    store("nats", "nats", ALONE),
    // transports
    unless("websocket.disabled", OFF, "WebSocket is what longwire serves: it cannot be turned off"),
    unless(
        "websocket.compression",
        OFF,
        "messages are not compressed: more bytes, and the same to the application",
    ),
    idle("websocket.compression_min_size", "messages are not compressed"),
    idle("websocket.compression_level", "messages are not compressed"),
    idle("websocket.compression_preparation_cache_size", "messages are not compressed"),
    idle("websocket.read_buffer_size", LOOP),
    idle("websocket.write_buffer_size", LOOP),
    idle("websocket.use_write_buffer_pool", LOOP),
    part("http_stream", "http_stream.enabled", "its endpoint is served as longwire has it"),
    part("sse", "sse.enabled", "its endpoint is served as longwire has it"),
    unless("emulation", EMPTY, "its path is /emulation"),
    part("uni_websocket", "uni_websocket.enabled", UNI),
    part("uni_sse", "uni_sse.enabled", UNI),
    part("uni_http_stream", "uni_http_stream.enabled", UNI),
    part("uni_grpc", "uni_grpc.enabled", UNI),
    part("webtransport", "webtransport.enabled", UNI),
    // server API
    unless(
        "http_api.disabled",
        OFF,
        "the API is served on the public port: leave http_api.key empty, and nobody is let in",
    ),
    unless("http_api.handler_prefix", &["", "/api"], "its path is /api"),
    unless(
        "http_api.external",
        OFF,
        "the API is served on the public port already, and only there",
    ),
    part("grpc_api", "grpc_api.enabled", GRPC),
    // pages and figures
    part("admin", "admin.enabled", "there is no admin page: see /metrics and /debug"),
    idle("prometheus", "figures are always at /metrics of the internal port"),
    idle("health", "/health is always served"),
    part("swagger", "swagger.enabled", "there is no page for it"),
    idle("debug", "/debug is always served, on the internal port"),
    unless("log.file", EMPTY, "the log goes to standard error: let the supervisor write it"),
    idle("log", "the log has a level and a format"),
    idle("node", "there is one node: it is known by its address"),
    idle("shutdown", "when it stops, all clients are told 3001 at once"),
    unless("pid_file", EMPTY, "no file is written: the supervisor knows the process"),
    unless("consumers", EMPTY, "nothing is consumed: publish by the HTTP API"),
    part("graphite", "graphite.enabled", OBSERVED),
    part("opentelemetry", "opentelemetry.enabled", OBSERVED),
    idle("usage_stats", "nothing is ever sent about its use"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn no_row_speaks_of_a_key_of_ours() {
        for key in crate::config::keys().filter(|key| !matches!(key.kind, Kind::Tables(_))) {
            let row = KNOWN.iter().find(|known| known.path == key.path);
            assert!(row.is_none(), "{} is taken over, and needs no word", key.path);
        }
    }

    /// What each row says of a value that nobody has by default, with everything switched on.
    #[test]
    fn each_row_says_what_is_lost_and_nothing_at_rest() {
        let mut paths = BTreeSet::new();
        for Known { path, when, says } in KNOWN {
            assert!(paths.insert(path), "{path} twice");
            assert!(says.len() > 10 && !says.ends_with('.'), "{path}: {says}");
            let (on, redis, nats) = (text("true"), text("redis"), text("nats"));
            let mut all = BTreeMap::from([("engine.type", &redis), ("broker.type", &nats)]);
            let nothing = File(BTreeMap::new());
            let strange = text("strange");
            match *when {
                When::Never => {
                    assert_eq!(reason(&nothing, path, &strange), Reason::Idle(says), "{path}");
                    continue;
                }
                When::Not(values) => {
                    let quiet = values.iter().map(|value| reason(&nothing, path, &text(value)));
                    assert!(quiet.into_iter().all(|one| matches!(one, Reason::Idle(_))), "{path}");
                }
                When::On(switch) => {
                    all.insert(switch, &on);
                    let quiet = reason(&nothing, path, &strange);
                    assert!(matches!(quiet, Reason::Idle(_)), "{path}");
                }
                When::Used(_) => {
                    let quiet = reason(&nothing, path, &strange);
                    assert!(matches!(quiet, Reason::Idle(_)), "{path}");
                }
            }
            assert_eq!(reason(&File(all), path, &strange), Reason::Missing(says), "{path}");
        }
    }

    #[test]
    fn the_longest_row_speaks_and_a_stranger_is_one() {
        let nothing = File(BTreeMap::new());
        let at = |path: &str, value: &str| reason(&nothing, path, &text(value));
        assert!(matches!(at("engine.type", "memory"), Reason::Idle(_)));
        assert!(matches!(at("engine.type", "redis"), Reason::Missing(_)));
        assert!(matches!(at("engine.redis.address", "x"), Reason::Idle(_)));
        assert_eq!(at("engines", "x"), Reason::Unknown(Some("engine")));
        assert_eq!(at("zebra", "x"), Reason::Unknown(None));
    }
}
