//! What a token is for: each purpose may have keys of its own.

use serde::{Deserialize, Serialize};

/// What a client brings a token for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To connect, or to stay connected.
    Connection,
    /// To be in a channel.
    Subscription,
}
