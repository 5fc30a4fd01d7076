//! How clients are served: the protocol's rules, and what of the shards' configuration follows.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::handler::{Limits, ShardLimits};
use crate::limits::{
    MESSAGE_PING_INTERVAL_DEFAULT, MESSAGE_PONG_TIMEOUT_DEFAULT, OUTPUT_BYTES_DEFAULT,
    STALE_CLOSE_DELAY_DEFAULT,
};
use crate::session::{Rules, RulesError};
use crate::ws::handshake::is_token;

/// How clients are served. Those parts that the shards go by as well are set in their [`Config`]
/// by [`configure`](Self::configure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// The path of the WebSocket endpoint, without a slash at the end
    /// (`websocket.handler_prefix`).
    pub path: String,
    /// Bytes of a message (`websocket.message_size_limit`), origins (`client.allowed_origins`).
    pub limits: Limits,
    /// Unsent bytes of one client (`client.queue_max_size`), beyond which it is 3008.
    pub output_bytes_max: usize,
    /// The header in which a proxy in front names the user of a connection, who then needs no
    /// token (`client.user_id_http_header`). Believed of `Config::trusted_proxies` only.
    pub user_id_http_header: Option<String>,
    /// What clients may do. Its `ping_interval_s` is set from the interval here.
    pub rules: Rules,
    /// Time between two pings (`client.ping_interval`), whole seconds for the clients; `None`
    /// sends none.
    pub ping_interval: Option<Duration>,
    /// Time for a pong (`client.pong_timeout`), after which it is 3012; less than the interval.
    pub pong_timeout: Duration,
    /// Time for the connect command (`client.stale_close_delay`), after which it is 3502.
    pub stale_close_delay: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            path: "/connection/websocket".to_owned(),
            // Who is gone is found out by the pings.
            limits: Limits { idle: None, ..Limits::default() },
            output_bytes_max: OUTPUT_BYTES_DEFAULT,
            user_id_http_header: None,
            rules: Rules::default(),
            ping_interval: Some(MESSAGE_PING_INTERVAL_DEFAULT),
            pong_timeout: MESSAGE_PONG_TIMEOUT_DEFAULT,
            stale_close_delay: STALE_CLOSE_DELAY_DEFAULT,
        }
    }
}

impl SessionSettings {
    /// Sets what the shards must know: heartbeats, and the limits of one connection. Clients that
    /// have asked for Ping frames are sent those as often as the others are sent pings.
    pub fn configure(&self, config: &mut Config) {
        config.ping_interval = self.ping_interval;
        config.pong_timeout = self.pong_timeout;
        config.message_ping_interval = self.ping_interval;
        config.message_pong_timeout = self.pong_timeout;
        let limits = self.shard_limits();
        config.output_bytes_max = limits.output_bytes_max;
        config.connection_channels_max = limits.connection_channels_max;
    }

    /// What a shard goes by that can be set anew while it serves.
    pub(super) fn shard_limits(&self) -> ShardLimits {
        ShardLimits {
            message_bytes_max: self.limits.message_bytes_max,
            output_bytes_max: self.output_bytes_max,
            connection_channels_max: self.rules.channel_limit,
        }
    }

    /// Finds budgets of `config` of which a shard's share does not hold what one client may have
    /// by these settings: it would be cut by the budget, and never reach its own bound.
    pub fn check_shares(&self, config: &Config, shard_count: u32) -> Result<(), ConfigError> {
        let mut config = config.clone();
        self.configure(&mut config);
        config.validate_shares(shard_count)?;
        config.validate_messages(self.limits.message_bytes_max, shard_count)
    }

    /// The rules, as sessions go by them.
    pub(super) fn rules(&self) -> Rules {
        let ping_interval_s = self.ping_interval.map_or(0, whole_seconds);
        let mut rules = Rules { ping_interval_s, ..self.rules.clone() };
        if let Some(user) = &self.user_id_http_header {
            // No client says by itself what the proxy in front says of its user.
            rules.hooks.emulated_headers.retain(|name| !name.eq_ignore_ascii_case(user));
        }
        rules
    }

    /// Finds what no server could go by.
    pub fn validate(&self) -> Result<(), SessionSettingsError> {
        self.rules.validate().map_err(SessionSettingsError::Rules)?;
        if !self.path.starts_with('/') || self.path.ends_with('/') {
            return Err(SessionSettingsError::Path(self.path.clone()));
        }
        if let Some(name) = &self.user_id_http_header
            && !is_token(name.as_bytes())
        {
            return Err(SessionSettingsError::UserHeader(name.clone()));
        }
        let Some(interval) = self.ping_interval else { return Ok(()) };
        if self.pong_timeout >= interval {
            let pong_timeout = self.pong_timeout;
            return Err(SessionSettingsError::PongTimeout { pong_timeout, interval });
        }
        Ok(())
    }
}

/// Settings that no server could go by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionSettingsError {
    /// One of the rules.
    Rules(RulesError),
    /// The path of the endpoint.
    Path(String),
    /// The header of the user.
    UserHeader(String),
    /// The kernel gives no random bytes, of which secrets are made.
    NoRandomBytes,
    /// A pong could come after the next ping.
    PongTimeout {
        /// Time for a pong.
        pong_timeout: Duration,
        /// Time between two pings.
        interval: Duration,
    },
}

impl fmt::Display for SessionSettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(error) => error.fmt(out),
            Self::Path(path) => {
                write!(out, "the path {path:?} must begin with a slash, and not end with one")
            }
            Self::UserHeader(name) => {
                write!(out, "user_id_http_header is {name:?}, which is no name of a header")
            }
            Self::NoRandomBytes => out.write_str("the kernel gives no random bytes"),
            Self::PongTimeout { pong_timeout, interval } => write!(
                out,
                "pong_timeout is {pong_timeout:?}: it must be less than ping_interval, {interval:?}"
            ),
        }
    }
}

impl std::error::Error for SessionSettingsError {}

/// Whole seconds of an interval; a part of one counts as one.
fn whole_seconds(interval: Duration) -> u32 {
    let seconds = interval.as_secs() + u64::from(interval.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_server_could_go_by_is_named() {
        let with_path =
            |path: &str| SessionSettings { path: path.to_owned(), ..SessionSettings::default() };
        assert_eq!(SessionSettings::default().validate(), Ok(()));
        for path in ["", "connection", "/", "/connection/"] {
            let error = SessionSettingsError::Path(path.to_owned());
            assert_eq!(with_path(path).validate(), Err(error), "{path}");
        }
        for name in ["", "X User", "X-User:", "X-Übel"] {
            let user_id_http_header = Some(name.to_owned());
            let wrong = SessionSettings { user_id_http_header, ..SessionSettings::default() };
            let error = SessionSettingsError::UserHeader(name.to_owned());
            assert_eq!(wrong.validate(), Err(error), "{name}");
        }
        let interval = Duration::from_secs(8);
        let slow = SessionSettings { ping_interval: Some(interval), ..SessionSettings::default() };
        let pong_timeout = slow.pong_timeout;
        let error = SessionSettingsError::PongTimeout { pong_timeout, interval };
        assert_eq!(slow.validate(), Err(error.clone()));
        assert!(error.to_string().contains("8s"), "{error}");
        assert_eq!(SessionSettings { ping_interval: None, ..slow }.validate(), Ok(()));
    }

    #[test]
    fn clients_are_told_whole_seconds_and_shards_the_rest() {
        let settings = SessionSettings {
            ping_interval: Some(Duration::from_millis(1500)),
            pong_timeout: Duration::from_secs(1),
            rules: Rules { channel_limit: 7, ..Rules::default() },
            ..SessionSettings::default()
        };
        assert_eq!(settings.rules().ping_interval_s, 2);
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        settings.configure(&mut config);
        assert_eq!(config.message_ping_interval, Some(Duration::from_millis(1500)));
        assert_eq!(config.message_pong_timeout, Duration::from_secs(1));
        assert_eq!(config.connection_channels_max, 7);
        let silent = SessionSettings { ping_interval: None, ..settings };
        assert_eq!(silent.rules().ping_interval_s, 0);
    }
}
