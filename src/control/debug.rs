//! What this process holds, for a person's eyes.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::routes::Context;
use crate::metrics::Snapshot;

/// Memory by what we know of it, connections by shard, and every counter that is not zero.
pub(super) async fn debug(State(context): State<Context>) -> Response {
    let identity = &context.identity;
    let (name, version, uid) = (&identity.name, &identity.version, &identity.uid);
    let seconds = identity.since.elapsed().as_secs();
    let head = format!("{name}: longwire {version}, node {uid}, up {seconds} s\n\n");
    let Some(snapshot) = context.asks.snapshot().await else {
        let text = head + "a shard does not answer\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    (head + &describe(&snapshot, resident_bytes())).into_response()
}

fn describe(snapshot: &Snapshot, resident_bytes: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: u64| {
        let _infallible = writeln!(text, "{name:<32} {value:>14}");
    };
    line("memory: resident bytes", resident_bytes);
    line("memory: unsent output, bytes", snapshot.backlog_bytes);
    line("memory: partial input, bytes", snapshot.partial_bytes);
    line("connections", snapshot.connections());
    for (shard, connections) in snapshot.shard_connections.iter().enumerate() {
        line(&format!("connections: shard {shard}"), *connections);
    }
    line("connections: open", snapshot.open);
    line("channels", snapshot.channels);
    line("subscriptions", snapshot.subscriptions);
    line("users", snapshot.users);
    line("timers", snapshot.timers);
    line("ready", snapshot.ready);
    text.push('\n');
    for (name, value) in snapshot.counters.iter().filter(|(_, value)| *value > 0) {
        let _infallible = writeln!(text, "{name:<32} {value:>14}");
    }
    text
}

/// Resident memory of this process, as the kernel counts it; 0 where it does not say.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory() {
        assert!(resident_bytes() > 1024 * 1024);
    }

    #[test]
    fn a_snapshot_is_told_by_shard() {
        let mut snapshot = Snapshot { shard_connections: vec![3, 4], ..Snapshot::default() };
        snapshot.counters.accepted = 9;
        let text = describe(&snapshot, 1);
        let words: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        for line in ["connections 7", "connections: shard 1 4", "accepted 9"] {
            assert!(words.contains(&line.split(' ').collect()), "{line} in {text}");
        }
        assert!(!text.contains("dropped_full"), "zeros are left out: {text}");
    }
}
