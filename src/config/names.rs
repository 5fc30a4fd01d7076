//! Names: which are keys, which are sections, and what was meant by those that are neither.

use super::key::{Key, VARIABLE_PREFIX, variable};
use super::keys;

/// What a path in a file stands for.
pub(super) enum Name {
    /// A key.
    Key(&'static Key),
    /// A section; the first of its keys.
    Section(&'static Key),
    /// Neither.
    Unknown,
}

impl Name {
    pub(super) fn of(path: &str) -> Self {
        if let Some(key) = keys().find(|key| key.path == path) {
            return Self::Key(key);
        }
        match keys().find(|key| key.path.starts_with(path) && is_below(key.path, path)) {
            Some(first) => Self::Section(first),
            None => Self::Unknown,
        }
    }
}

fn is_below(path: &str, section: &str) -> bool {
    !section.is_empty() && path[section.len()..].starts_with('.')
}

/// How alike two names must be for one to be a slip of the other; 1 is equal.
///
/// At 0.6 a name of ten letters may have four of them wrong, and strangers are not yet friends.
const LIKENESS_MIN: f64 = 0.6;

/// The key or section that was meant by a path, perhaps.
pub(super) fn nearest_path(path: &str) -> Option<&'static str> {
    // The right name in the wrong section is the commonest slip.
    let last = path.rsplit('.').next().unwrap_or(path);
    let namesake = keys().find(|key| key.path.rsplit('.').next() == Some(last));
    namesake.map(|key| key.path).or_else(|| nearest(path, keys().flat_map(paths)))
}

/// The variable that was meant, perhaps.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    let bare = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name).to_ascii_lowercase();
    let alike =
        |path: &&str| strsim::normalized_damerau_levenshtein(&path.replace('.', "_"), &bare);
    let best = keys().map(|key| key.path).max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= LIKENESS_MIN).then(|| variable(best))
}

/// A key's path and the sections above it.
fn paths(key: &'static Key) -> impl Iterator<Item = &'static str> {
    let above = key.path.match_indices('.').map(|(at, _)| &key.path[..at]);
    above.chain([key.path])
}

pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let alike = |other: &str| strsim::normalized_damerau_levenshtein(other, name);
    let best = known.max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(best) >= LIKENESS_MIN).then_some(best)
}

/// Whether a path is Centrifugo's, for a part of it that longwire does not have.
pub(super) fn is_foreign(path: &str) -> bool {
    let is_at = |name: &&str| {
        path.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FOREIGN.iter().any(is_at) || path.starts_with("uni_")
}

/// Centrifugo 6's sections and keys that mean nothing here yet. To say so is kinder than to guess
/// at a slip of the pen.
const FOREIGN: [&str; 48] = [
    "admin",
    "broker",
    "channel.proxy.map_publish",
    "channel.proxy.map_remove",
    "channel.proxy.shared_poll_refresh",
    "channel.proxy.subscribe_stream",
    "channel.without_namespace.allow_channel_compaction",
    "channel.without_namespace.batch_flush_latest",
    "channel.without_namespace.batch_max_delay",
    "channel.without_namespace.batch_max_size",
    "channel.without_namespace.cache_empty_proxy_enabled",
    "channel.without_namespace.cache_empty_proxy_name",
    "channel.without_namespace.client_publish_debounce_interval",
    "channel.without_namespace.keep_latest_publication",
    "channel.without_namespace.map",
    "channel.without_namespace.map_clients_presence_channel_prefix",
    "channel.without_namespace.map_users_presence_channel_prefix",
    "channel.without_namespace.publish_cel",
    "channel.without_namespace.shared_poll",
    "channel.without_namespace.shared_position_sync",
    "channel.without_namespace.state_events",
    "channel.without_namespace.state_proxy",
    "channel.without_namespace.subscribe_cel",
    "channel.without_namespace.subscribe_stream_proxy_bidirectional",
    "channel.without_namespace.subscribe_stream_proxy_enabled",
    "channel.without_namespace.subscribe_stream_proxy_name",
    "channel.without_namespace.subscription_type",
    "client.concurrency",
    "client.connection_rate_limit",
    "client.presence_update_interval",
    "consumers",
    "controller",
    "debug",
    "engine",
    "graphite",
    "grpc_api",
    "http_server.http3",
    "http_server.tls",
    "http_server.tls_autocert",
    "map_broker",
    "nats",
    "opentelemetry",
    "presence_manager",
    "redis",
    "rpc.ping",
    "swagger",
    "usage_stats",
    "websocket.compression",
];

/// Whether a variable is not a setting though it begins as ours do.
///
/// Kubernetes gives every container the addresses of each service: one that is called `longwire`
/// makes `LONGWIRE_SERVICE_HOST`, `LONGWIRE_PORT`, `LONGWIRE_PORT_8000_TCP_ADDR` and more.
pub(super) fn is_of_others(variable: &str) -> bool {
    let name = variable.strip_prefix(VARIABLE_PREFIX).unwrap_or(variable);
    // The file itself, and what a build is told of its commit.
    let is_ours = name == "CONFIG" || name == "COMMIT";
    is_ours || name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        for (slip, meant) in [
            ("client.ping_intervall", Some("client.ping_interval")),
            ("clients.ping_interval", Some("client.ping_interval")),
            ("ping_interval", Some("client.ping_interval")),
            ("client.pingInterval", Some("client.ping_interval")),
            ("clinet", Some("client")),
            ("chanel.without_namespace", Some("channel.without_namespace")),
            ("shard", Some("shards")),
            ("completely.different", None),
            ("", None),
        ] {
            assert_eq!(nearest_path(slip), meant, "{slip}");
        }
    }

    #[test]
    fn no_foreign_name_is_one_of_ours() {
        for name in FOREIGN {
            assert!(matches!(Name::of(name), Name::Unknown), "{name}");
        }
        for key in keys() {
            assert!(!is_foreign(key.path), "{}", key.path);
        }
    }

    #[test]
    fn no_key_has_a_variable_that_kubernetes_makes() {
        for key in keys() {
            assert!(!is_of_others(&key.variable()), "{}", key.path);
        }
    }
}
