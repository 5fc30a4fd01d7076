//! What a server is configured with: valid by type where it can be, checked once where not.
//!
//! ```text
//!  file, environment, flags ─▶ Raw (all optional) ─▶ Serve (valid by type) ─▶ longwire serve
//!  a program's own numbers ─────────────────────────────────────▶ Config ─▶ Server::run
//! ```
#![forbid(unsafe_code)]

pub mod centrifugo;
mod change;
mod cidr;
mod fault;
mod format;
pub mod fuzz;
mod key;
mod listen;
pub mod measure;
mod names;
mod raw;
mod section;
pub mod serve;
mod setting;
mod template;
#[cfg(test)]
mod tests;
mod value;

pub use change::Changes;
pub use cidr::{Cidr, CidrError};
pub use fault::{Fault, Source};
pub use format::Format;
pub use key::{Key, Kind, VARIABLE_PREFIX};
pub use listen::{Listen, ListenError, UNIX_MODE_DEFAULT};
pub use raw::Raw;
pub use serve::{Serve, keys};
pub use setting::{Bytes, Item, Period, Port, Secret, Setting};
pub use template::template;
pub use value::{Entry, Malformed, Value};

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::{
    BACKLOG_BYTES_DEFAULT, BALANCE_DIFFERENCE_DEFAULT, CLOSE_TIMEOUT_DEFAULT,
    COMPLETION_ENTRIES_MAX, COMPLETION_ENTRIES_TEST_MIN, CONNECTION_CHANNELS_DEFAULT,
    CONNECTIONS_MAX, DRAIN_DEFAULT, HANDSHAKE_TIMEOUT_DEFAULT, HEAD_BYTES_MAX,
    HTTP_CONNECTIONS_DEFAULT, LISTENERS_MAX, MESH_SLOTS_MAX, MESSAGE_PING_INTERVAL_DEFAULT,
    MESSAGE_PONG_TIMEOUT_DEFAULT, OFFLOAD_QUEUE_DEFAULT, OFFLOAD_THREADS_DEFAULT,
    OUTPUT_BYTES_DEFAULT, PARTIAL_BYTES_DEFAULT, PING_INTERVAL_DEFAULT, PONG_TIMEOUT_DEFAULT,
    SHARDS_MAX, STALL_DEFAULT, WRITE_TIMEOUT_DEFAULT,
};

/// The configuration of a [`Server`](crate::Server). Every field has a default but `listen`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: Vec<Listen>,
    /// Proxies whose word about a client's address is taken; those on a Unix socket count as
    /// `127.0.0.1`.
    pub trusted_proxies: Vec<Cidr>,
    /// Shards; by default one for each core that the process may use, or more where the limit of
    /// descriptors asks for it.
    pub shards: Option<u32>,
    /// Connections of the whole server; beyond it, 503. By default as many as the limit of
    /// descriptors allows.
    pub max_connections: Option<u32>,
    /// Seats of one shard, for tests of what happens when they are taken; by default as many as
    /// `max_connections` and the descriptor limit give.
    pub shard_capacity: Option<u32>,
    /// Connections that a shard has more than the emptiest one, and by an eighth of what it has,
    /// before some of it move there while they are idle, if the handler lets them
    /// ([`Handler::is_movable`](crate::Handler::is_movable)). They also do from a shard that has
    /// hardly a seat left, and from a core that is much busier than another. `None` moves none.
    pub balance_difference: Option<u32>,
    /// Time for the request head to arrive whole.
    pub handshake_timeout: Duration,
    /// Time between two pings to a connection; `None` sends none.
    pub ping_interval: Option<Duration>,
    /// Time for the answer to the last of the pings in a row that may be missed.
    pub pong_timeout: Duration,
    /// Time between two heartbeats by message, to connections that were accepted with one; `None`
    /// sends none.
    pub message_ping_interval: Option<Duration>,
    /// Time for the answer to a heartbeat by message (3012 after it).
    pub message_pong_timeout: Duration,
    /// Time in which a peer with unsent output must take some of it.
    pub write_timeout: Duration,
    /// Time for a peer to finish the close handshake.
    pub close_timeout: Duration,
    /// Time for all connections to close when the server stops.
    pub drain_timeout: Duration,
    /// Unsent bytes of one connection, beyond which it is cut.
    pub output_bytes_max: usize,
    /// Unsent bytes of all connections together.
    pub backlog_bytes_max: usize,
    /// Bytes of all request heads and messages together that have not arrived whole.
    pub partial_bytes_max: usize,
    /// Channels that one connection may be in.
    pub connection_channels_max: u16,
    /// Connections that a site may serve HTTP at the same time, beyond which 503; 0 hands none
    /// over to it.
    pub http_connections_max: u32,
    /// Bytes of requests that wait between shards and site, for tests of what happens when there
    /// is no room; [`DOOR_BYTES`](crate::limits::DOOR_BYTES) by default.
    pub door_bytes: Option<usize>,
    /// Threads of the off-load pool; 0 makes none, and every job is refused.
    pub offload_threads: usize,
    /// Jobs that wait for a thread of the pool, beyond which they are refused.
    pub offload_queue: usize,
    /// Time in a single call of the handler that counts as a stall.
    pub stall_threshold: Duration,
    /// Slots of each queue between two shards; by default what the memory budget gives.
    pub mesh_slots: Option<usize>,
    /// Entries of each shard's completion queue; by default as many as its connections, bounded.
    pub completion_entries: Option<u32>,
    /// `SO_SNDBUF` of the connections; the kernel's own tuning by default.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` of the connections; the kernel's own tuning by default.
    pub receive_buffer_bytes: Option<usize>,
    /// Gives back to the system what the allocator keeps of freed memory. A shard calls it on its
    /// own thread some seconds after many connections have left; without it, that is left to the
    /// allocator. The binary's is [`give_back`](crate::sys::memory::give_back).
    pub give_back: Option<fn()>,
    /// What runs the threads of the shards.
    pub executor: Executor,
}

/// What runs a shard's one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Executor {
    /// A glommio executor, pinned to a core.
    #[default]
    Glommio,
    /// A plain thread, pinned to a core. For comparison.
    Thread,
}

impl Config {
    /// The defaults, for this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen: vec![Listen::tcp(listen)],
            trusted_proxies: Vec::new(),
            shards: None,
            max_connections: None,
            shard_capacity: None,
            balance_difference: Some(BALANCE_DIFFERENCE_DEFAULT),
            handshake_timeout: HANDSHAKE_TIMEOUT_DEFAULT,
            ping_interval: Some(PING_INTERVAL_DEFAULT),
            pong_timeout: PONG_TIMEOUT_DEFAULT,
            message_ping_interval: Some(MESSAGE_PING_INTERVAL_DEFAULT),
            message_pong_timeout: MESSAGE_PONG_TIMEOUT_DEFAULT,
            write_timeout: WRITE_TIMEOUT_DEFAULT,
            close_timeout: CLOSE_TIMEOUT_DEFAULT,
            drain_timeout: DRAIN_DEFAULT,
            output_bytes_max: OUTPUT_BYTES_DEFAULT,
            backlog_bytes_max: BACKLOG_BYTES_DEFAULT,
            partial_bytes_max: PARTIAL_BYTES_DEFAULT,
            connection_channels_max: CONNECTION_CHANNELS_DEFAULT,
            http_connections_max: HTTP_CONNECTIONS_DEFAULT,
            door_bytes: None,
            offload_threads: OFFLOAD_THREADS_DEFAULT,
            offload_queue: OFFLOAD_QUEUE_DEFAULT,
            stall_threshold: STALL_DEFAULT,
            mesh_slots: None,
            completion_entries: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            give_back: None,
            executor: Executor::default(),
        }
    }

    /// Finds what no server could run with, before anything is started.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let in_range = |key, value: u64, min: u64, max: u64| {
            let valid = (min..=max).contains(&value);
            if valid { Ok(()) } else { Err(ConfigError { key, value, min, max }) }
        };
        in_range("listen (addresses)", self.listen.len() as u64, 1, LISTENERS_MAX as u64)?;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let day = milliseconds(Duration::from_hours(24));
        if let Some(shards) = self.shards {
            in_range("shards", shards.into(), 1, SHARDS_MAX.into())?;
        }
        if let Some(connections) = self.max_connections {
            in_range("max_connections", connections.into(), 1, CONNECTIONS_MAX.into())?;
        }
        if let Some(capacity) = self.shard_capacity {
            in_range("shard_capacity", capacity.into(), 1, 10_000_000)?;
        }
        if let Some(difference) = self.balance_difference {
            in_range("balance_difference", difference.into(), 1, CONNECTIONS_MAX.into())?;
        }
        in_range("handshake_timeout (ms)", milliseconds(self.handshake_timeout), 1, day)?;
        if let Some(interval) = self.ping_interval {
            in_range("ping_interval (ms)", milliseconds(interval), 64, day)?;
        }
        in_range("pong_timeout (ms)", milliseconds(self.pong_timeout), 1, day)?;
        if let Some(interval) = self.message_ping_interval {
            in_range("message_ping_interval (ms)", milliseconds(interval), 64, day)?;
        }
        let pong_timeout = milliseconds(self.message_pong_timeout);
        in_range("message_pong_timeout (ms)", pong_timeout, 1, day)?;
        in_range("write_timeout (ms)", milliseconds(self.write_timeout), 1, day)?;
        in_range("close_timeout (ms)", milliseconds(self.close_timeout), 1, day)?;
        in_range("drain_timeout (ms)", milliseconds(self.drain_timeout), 0, day)?;
        let bytes_max = u64::from(u32::MAX / 2);
        in_range("output_bytes_max", self.output_bytes_max as u64, 1024, bytes_max)?;
        let stall_us = u64::try_from(self.stall_threshold.as_micros()).unwrap_or(u64::MAX);
        in_range("stall_threshold (us)", stall_us, 1, day * 1000)?;
        if let Some(slots) = self.mesh_slots {
            in_range("mesh_slots", slots as u64, 2, MESH_SLOTS_MAX as u64)?;
        }
        if let Some(entries) = self.completion_entries {
            let (min, max) = (COMPLETION_ENTRIES_TEST_MIN.into(), COMPLETION_ENTRIES_MAX.into());
            in_range("completion_entries", entries.into(), min, max)?;
        }
        in_range("offload_threads", self.offload_threads as u64, 0, 1024)?;
        in_range("offload_queue", self.offload_queue as u64, 1, 1 << 20)?;
        in_range("connection_channels_max", self.connection_channels_max.into(), 1, u16::MAX.into())
    }

    /// Finds budgets of which a shard's share does not hold what a single connection may: it would
    /// be cut by the budget, and never reach its own bound.
    pub(crate) fn validate_shares(&self, shard_count: u32) -> Result<(), ConfigError> {
        let key = "backlog_bytes_max";
        share_holds(key, self.backlog_bytes_max, self.output_bytes_max, shard_count)?;
        share_holds("partial_bytes_max", self.partial_bytes_max, HEAD_BYTES_MAX, shard_count)
    }

    /// The same for messages of the longest that a route takes, which arrive in parts.
    pub(crate) fn validate_messages(
        &self,
        message_bytes_max: usize,
        shard_count: u32,
    ) -> Result<(), ConfigError> {
        share_holds("partial_bytes_max", self.partial_bytes_max, message_bytes_max, shard_count)
    }
}

fn share_holds(
    key: &'static str,
    budget: usize,
    one: usize,
    shard_count: u32,
) -> Result<(), ConfigError> {
    let (value, min) = (budget as u64, (one as u64).saturating_mul(shard_count.into()));
    if value >= min { Ok(()) } else { Err(ConfigError { key, value, min, max: u64::MAX }) }
}

/// A value that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, with its unit.
    pub key: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, min, max } = self;
        if *max == u64::MAX {
            return write!(out, "{key} is {value}: set it to {min} or more");
        }
        write!(out, "{key} is {value}: set it to {min} … {max}")
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod validity {
    use super::*;

    fn config(change: impl Fn(&mut Config)) -> Config {
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        change(&mut config);
        config
    }

    fn refused_key(change: impl Fn(&mut Config)) -> &'static str {
        config(change).validate().expect_err("out of range").key
    }

    #[test]
    fn the_defaults_are_valid_for_as_many_shards_as_there_may_be() {
        let config = config(|_| ());
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.validate_shares(SHARDS_MAX), Ok(()));
        let message_bytes_max = crate::limits::MESSAGE_BYTES_DEFAULT;
        assert_eq!(config.validate_messages(message_bytes_max, SHARDS_MAX), Ok(()));
    }

    #[test]
    fn what_no_ring_mesh_or_clock_takes_is_refused_by_its_name() {
        assert_eq!(refused_key(|one| one.mesh_slots = Some(1)), "mesh_slots");
        assert_eq!(refused_key(|one| one.mesh_slots = Some(MESH_SLOTS_MAX + 1)), "mesh_slots");
        assert_eq!(refused_key(|one| one.completion_entries = Some(0)), "completion_entries");
        let too_many = Some(COMPLETION_ENTRIES_MAX + 1);
        assert_eq!(refused_key(|one| one.completion_entries = too_many), "completion_entries");
        let never = |one: &mut Config| one.stall_threshold = Duration::ZERO;
        assert_eq!(refused_key(never), "stall_threshold (us)");
    }

    #[test]
    fn a_budget_whose_share_is_less_than_one_connection_may_hold_is_refused_with_what_is_enough() {
        let config = config(|one| {
            (one.output_bytes_max, one.backlog_bytes_max) = (1000, 3999);
            one.partial_bytes_max = 4 * HEAD_BYTES_MAX;
        });
        assert_eq!(config.validate_shares(3), Ok(()));
        let error = config.validate_shares(4).expect_err("999 bytes each");
        assert_eq!((error.key, error.min), ("backlog_bytes_max", 4000));
        assert!(error.to_string().ends_with("set it to 4000 or more"), "{error}");
        assert_eq!(config.validate_messages(HEAD_BYTES_MAX, 4), Ok(()));
        let error = config.validate_messages(HEAD_BYTES_MAX + 1, 4).expect_err("one too long");
        assert_eq!((error.key, error.min), ("partial_bytes_max", 4 * HEAD_BYTES_MAX as u64 + 4));
    }
}
