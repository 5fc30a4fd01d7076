//! `client`: who may connect, and what one client may cost.

use std::time::Duration;

use crate::config::section::{DAY_MS, section};
use crate::config::setting::{Bytes, Item, Period};
use crate::limits::{
    CONNECTION_CHANNELS_DEFAULT, CONNECTIONS_MAX, MESSAGE_PING_INTERVAL_DEFAULT,
    MESSAGE_PONG_TIMEOUT_DEFAULT, OUTPUT_BYTES_DEFAULT, STALE_CLOSE_DELAY_DEFAULT,
};

section! {
    /// Who may connect, and what one client may cost.
    pub struct Client in "client." {
        /// Pages that may connect, as browsers name them: scheme, host, port. An asterisk means
        /// every page of the web, and an empty list those of the host they connect to. A client
        /// that is no browser sends no origin, and may connect.
        allowed_origins: Vec<Origin> = Vec::new();
        /// Whether a client without a token is let in, as the user with the empty name.
        allow_anonymous_connect_without_token: bool = false;
        /// Whether everybody may do everything, without a token. For development.
        insecure: bool = false;
        /// Time between two pings to a client, which is told it in whole seconds.
        ping_interval: Period = Period::Every(MESSAGE_PING_INTERVAL_DEFAULT), in 1_000..=DAY_MS;
        /// Time for the answer to a ping, less than the time between two.
        pong_timeout: Duration = MESSAGE_PONG_TIMEOUT_DEFAULT, in 1..=DAY_MS;
        /// Time for a new connection to authenticate itself.
        stale_close_delay: Duration = STALE_CLOSE_DELAY_DEFAULT, in 1..=DAY_MS;
        /// Channels that one client may be subscribed to.
        channel_limit: u16 = CONNECTION_CHANNELS_DEFAULT, in 1..=65_535;
        /// Unsent bytes of one client, beyond which it is disconnected as slow.
        queue_max_size: Bytes = Bytes(OUTPUT_BYTES_DEFAULT), in 1024..=u32::MAX as u64 / 2;
        /// Connections of the whole process, as `max_connections`; 0 sets no limit here.
        connection_limit: u32 = 0, in 0..=CONNECTIONS_MAX as u64;
    }
}

/// An origin as it was written. Whether it can match is known to those who match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

impl Item for Origin {
    const WHAT: &str = "origins: https://example.com, null, or * for all";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}
