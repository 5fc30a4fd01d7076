//! What the control thread asks of a shard for a client over HTTP.

use std::os::fd::OwnedFd;

use crate::address::Introduction;

/// A connection for a shard: the other end is the control thread's.
#[derive(Debug)]
pub struct Introduced {
    /// The shard's end.
    pub socket: OwnedFd,
    /// The client that it is for.
    pub introduction: Introduction,
}
