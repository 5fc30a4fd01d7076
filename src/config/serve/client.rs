//! `client`: who may connect, and what one client may cost.

use std::time::Duration;

use crate::config::key::Kind;
use crate::config::section::{DAY_MS, section};
use crate::config::setting::{Bytes, Item, Period, Setting};
use crate::config::value::Value;
use crate::limits::{
    CONNECTION_CHANNELS_DEFAULT, CONNECTIONS_MAX, EXPIRED_CLOSE_DELAY_DEFAULT,
    HISTORY_PUBLICATIONS_DEFAULT, HISTORY_SIZE_MAX, MESSAGE_PING_INTERVAL_DEFAULT,
    MESSAGE_PONG_TIMEOUT_DEFAULT, OUTPUT_BYTES_DEFAULT, RECOVERY_PUBLICATIONS_DEFAULT,
    STALE_CLOSE_DELAY_DEFAULT,
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
        /// Whether a client whose token names no user is turned away.
        disallow_anonymous_connection_tokens: bool = false;
        /// Whether everybody may do everything, without a token. For development.
        insecure: bool = false;
        /// Time between two pings to a client, which is told it in whole seconds.
        ping_interval: Period = Period::Every(MESSAGE_PING_INTERVAL_DEFAULT), in 1_000..=DAY_MS;
        /// Time for the answer to a ping, less than the time between two.
        pong_timeout: Duration = MESSAGE_PONG_TIMEOUT_DEFAULT, in 1..=DAY_MS;
        /// Time for a new connection to authenticate itself.
        stale_close_delay: Duration = STALE_CLOSE_DELAY_DEFAULT, in 1..=DAY_MS;
        /// Time that a client whose token has expired has to bring a new one.
        expired_close_delay: Duration = EXPIRED_CLOSE_DELAY_DEFAULT, in 1..=DAY_MS;
        /// Time that a client whose subscription has expired has to bring a new token for it.
        expired_sub_close_delay: Duration = EXPIRED_CLOSE_DELAY_DEFAULT, in 1..=DAY_MS;
        /// Channels that one client may be subscribed to.
        channel_limit: u16 = CONNECTION_CHANNELS_DEFAULT, in 1..=65_535;
        /// Publications that a client is sent at most when it comes back: one that has missed
        /// more begins anew.
        recovery_max_publication_limit: u32 = RECOVERY_PUBLICATIONS_DEFAULT,
            in 1..=HISTORY_SIZE_MAX as u64;
        /// Publications that a client gets at most of a channel's history by one command.
        history_max_publication_limit: u32 = HISTORY_PUBLICATIONS_DEFAULT,
            in 1..=HISTORY_SIZE_MAX as u64;
        /// Connections that one user may have, over all shards; 0 sets no limit. Clients without a
        /// user's name are not counted, nor are those who connected while it was 0.
        user_connection_limit: u32 = 0, in 0..=CONNECTIONS_MAX as u64;
        /// Header in which a proxy in front names the user of a connection, which then needs no
        /// token. Empty for none. Believed of `trusted_proxies` only, which have to remove it from
        /// what clients send.
        user_id_http_header: HeaderName = HeaderName(String::new());
        /// Unsent bytes of one client, beyond which it is disconnected as slow.
        queue_max_size: Bytes = Bytes(OUTPUT_BYTES_DEFAULT), in 1024..=u32::MAX as u64 / 2;
        /// Connections of the whole process, as `max_connections`; 0 sets no limit here.
        connection_limit: u32 = 0, in 0..=CONNECTIONS_MAX as u64;
    }
}

/// An origin as it was written. Whether it can match is known to those who match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

/// The name of a header; empty for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name, if there is one.
    pub fn name(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }

    /// Whether a header can be called so (RFC 9110 §5.1).
    pub(super) fn is_name(text: &str) -> bool {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(is_token)
    }
}

impl Setting for HeaderName {
    const KIND: Kind = Kind::Text("the name of a header such as X-User-ID, or nothing");

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.text()?;
        if !text.is_empty() && !Self::is_name(text) {
            return Err("a header's name is letters, digits and -._ and the like".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

impl Item for Origin {
    const WHAT: &str = "origins: https://example.com, null, or * for all";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}
