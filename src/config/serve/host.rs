//! Keys outside of any section: the machine's side of the server.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::cidr::Cidr;
use crate::config::listen::Listen;
use crate::config::section::{DAY_MS, section};
use crate::config::setting::Bytes;
use crate::limits::{
    BACKLOG_BYTES_DEFAULT, BALANCE_DIFFERENCE_DEFAULT, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT_DEFAULT,
    PARTIAL_BYTES_DEFAULT, SHARDS_MAX,
};

section! {
    /// What stands outside of any section.
    pub struct Host in "" {
        /// Public addresses, in place of `http_server.address` and `http_server.port`. An
        /// address with `?proxy_protocol` takes connections of a proxy that sends PROXY headers.
        listen: Vec<Listen> = Vec::new();
        /// Proxies that are believed what they say of a client's address, in X-Forwarded-For,
        /// X-Real-IP or a PROXY header, and have to set or remove each of them. Nobody is by
        /// default.
        trusted_proxies: Vec<Cidr> = Vec::new();
        /// Shards, one thread and one descriptor table each. By default one per usable core, more
        /// only where the limit of descriptors makes it necessary.
        shards: Option<NonZeroU32> = None, in 1..=SHARDS_MAX as u64;
        /// Connections of the whole process; more are answered with 503. By default what the limit
        /// of descriptors allows.
        max_connections: Option<NonZeroU32> = None, in 1..=CONNECTIONS_MAX as u64;
        /// Connections that a shard has more than the emptiest one, and by an eighth of what it
        /// has, before some of it move there while they are idle, which no client notices. They
        /// also do from a shard that has hardly a seat left, and from a core that is much busier
        /// than another. 0 moves none.
        balance_difference: u32 = BALANCE_DIFFERENCE_DEFAULT, in 0..=CONNECTIONS_MAX as u64;
        /// Time for a request head to arrive whole.
        handshake_timeout: Duration = HANDSHAKE_TIMEOUT_DEFAULT, in 1..=DAY_MS;
        /// Unsent bytes of all connections together; beyond, the slowest are cut.
        max_unsent: Bytes = Bytes(BACKLOG_BYTES_DEFAULT), in 65_536..=1 << 40;
        /// Bytes of all request heads and messages together that have not arrived whole.
        max_partial: Bytes = Bytes(PARTIAL_BYTES_DEFAULT), in 65_536..=1 << 40;
    }
}
