//! `info`: what this node is and how much it holds.

use serde::Serialize;
use tokio::time::Instant;

use super::failure::{ApiError, Code, Failure};
use super::pace::Metrics;
use crate::control::debug::resident_bytes;
use crate::control::routes::Context;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub(in crate::control) struct Identity {
    /// Unique among all processes.
    pub(in crate::control) uid: String,
    pub(in crate::control) name: String,
    pub(in crate::control) version: String,
    pub(in crate::control) since: Instant,
}

#[derive(Serialize)]
pub(super) struct Info {
    nodes: [Node; 1],
}

#[derive(Serialize)]
struct Node {
    uid: String,
    name: String,
    version: String,
    num_clients: u64,
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    uptime: u64,
    metrics: Metrics,
    process: Process,
}

#[derive(Serialize)]
struct Process {
    cpu: f64,
    rss: u64,
}

pub(super) async fn info(context: &Context) -> Result<Info, Failure> {
    let Some(snapshot) = context.asks.snapshot().await else {
        return Err(ApiError::new(Code::Internal, "a shard does not answer, try again").into());
    };
    let identity = &context.identity;
    let metrics = context.pace.look(&snapshot.counters);
    let node = Node {
        uid: identity.uid.clone(),
        name: identity.name.clone(),
        version: identity.version.clone(),
        num_clients: snapshot.clients(),
        num_users: snapshot.users,
        num_subs: snapshot.subscriptions,
        num_channels: snapshot.channels,
        uptime: identity.since.elapsed().as_secs(),
        process: Process { cpu: metrics.cpu, rss: resident_bytes() },
        metrics,
    };
    Ok(Info { nodes: [node] })
}
