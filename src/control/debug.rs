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

/// Memory by class, beside what the kernel counts for this process.
pub(super) async fn memory(State(context): State<Context>) -> Response {
    let Some(snapshot) = context.asks.snapshot().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response();
    };
    describe_memory(&snapshot, private_bytes()).into_response()
}

fn describe_memory(snapshot: &Snapshot, private_bytes: u64) -> String {
    let connections = snapshot.connections();
    let mut text = format!("{:<32} {:>14} {:>14}\n", "class", "bytes", "per connection");
    let mut line = |name: &str, bytes: u64| {
        // Of a server without connections there is nothing to divide.
        let each = bytes.checked_div(connections).map_or("-".to_owned(), |each| each.to_string());
        let _infallible = writeln!(text, "{name:<32} {bytes:>14} {each:>14}");
    };
    for (class, bytes) in snapshot.memory.iter() {
        line(class.name(), bytes);
    }
    let explained = snapshot.memory.user_bytes();
    line("all of the process", explained);
    line("private memory of the process", private_bytes);
    line("code, stacks, rounding", private_bytes.saturating_sub(explained));
    let _infallible = writeln!(text, "{:<32} {connections:>14}", "connections");
    text
}

fn describe(snapshot: &Snapshot, resident_bytes: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: u64| {
        let _infallible = writeln!(text, "{name:<32} {value:>14}");
    };
    line("memory: resident bytes", resident_bytes);
    for (class, bytes) in snapshot.memory.iter() {
        line(&format!("memory: {}, bytes", class.name()), bytes);
    }
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

/// Memory that is this process's alone; 0 where the kernel does not say.
fn private_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kibibytes =
        private.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Class;

    #[test]
    fn a_process_knows_its_memory() {
        assert!(resident_bytes() > 1024 * 1024);
        // Not compared: other tests of this process take and give back memory meanwhile.
        assert!(private_bytes() > 0);
    }

    #[test]
    fn memory_is_told_by_class_and_for_each_connection() {
        let mut snapshot = Snapshot { shard_connections: vec![3, 1], ..Snapshot::default() };
        snapshot.memory[Class::Slab] = 400;
        snapshot.memory[Class::Users] = 80;
        snapshot.memory[Class::Sockets] = 16_000;
        let text = describe_memory(&snapshot, 1000);
        let words: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "slab 400 100",
            "kernel_sockets 16000 4000",
            "all of the process 480 120",
            "code, stacks, rounding 520 130",
            "connections 4",
        ] {
            assert!(words.iter().any(|one| one == line), "{line} in {text}");
        }
        let text = describe_memory(&Snapshot::default(), 0);
        assert!(text.lines().any(|line| line.ends_with('-')), "{text}");
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
