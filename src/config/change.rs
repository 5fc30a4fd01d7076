//! A configuration that is read again: what a running server takes over, and what it cannot.

use super::key::Key;

/// What differs between the configuration in force and the one that was read.
#[derive(Debug, Default)]
pub struct Changes {
    /// Keys whose new value is in force from now on.
    pub applied: Vec<&'static Key>,
    /// Keys whose new value waits for the next start.
    pub needs_restart: Vec<&'static Key>,
}

/// Keys that a running server takes over, because what they rule is asked anew each time; those of
/// channels without a namespace are, too.
const LIVE: [&str; 25] = [
    "channel.history_meta_ttl",
    "channel.max_length",
    "channel.publication_data_format",
    "client.allow_anonymous_connect_without_token",
    "client.allowed_origins",
    "client.channel_limit",
    "client.disallow_anonymous_connection_tokens",
    "client.expired_close_delay",
    "client.expired_sub_close_delay",
    "client.history_max_publication_limit",
    "client.insecure",
    "client.queue_max_size",
    "client.recovery_max_publication_limit",
    "client.stale_close_delay",
    "client.subscribe_to_user_personal_channel.enabled",
    "client.subscribe_to_user_personal_channel.personal_channel_namespace",
    "client.subscribe_to_user_personal_channel.single_connection",
    "client.user_connection_limit",
    "client.user_id_http_header",
    "http_api.error_mode",
    "http_api.insecure",
    "http_api.key",
    "http_api.key_file",
    "log.level",
    "websocket.message_size_limit",
];

/// Sections whose keys all are.
const LIVE_SECTIONS: [&str; 7] = [
    "channel.without_namespace.",
    "client.token.",
    "client.subscription_token.",
    "client.proxy.",
    "channel.proxy.",
    "rpc.",
    "proxies",
];

impl Key {
    /// Whether a running server takes a new value over.
    pub fn is_live(&self) -> bool {
        LIVE.contains(&self.path)
            || LIVE_SECTIONS.iter().any(|section| self.path.starts_with(section))
    }
}

impl Changes {
    /// Notes that a key's value has changed; true if it is to be taken over.
    pub(super) fn note(&mut self, key: &'static Key) -> bool {
        let list = if key.is_live() { &mut self.applied } else { &mut self.needs_restart };
        list.push(key);
        key.is_live()
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{other, with_flag};
    use super::super::{Serve, keys};
    use super::*;

    #[test]
    fn every_changed_key_is_told_and_only_the_live_ones_take_effect() {
        for key in keys() {
            let new = with_flag(key.path, &other(key));
            let mut running = Serve::default();
            let changes = running.adopt(&new);
            let told = [&changes.applied[..], &changes.needs_restart[..]].concat();
            assert_eq!(told.len(), 1, "{}", key.path);
            assert_eq!(told[0].path, key.path);
            assert_eq!(changes.applied.len(), usize::from(key.is_live()), "{}", key.path);
            let expected = if key.is_live() { new.clone() } else { Serve::default() };
            assert_eq!(running, expected, "{}", key.path);
            // What waits for a restart is told again; what is in force is not.
            assert_eq!(running.adopt(&new).is_empty(), key.is_live(), "{}", key.path);
        }
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        assert!(Serve::default().adopt(&Serve::default()).is_empty());
    }

    #[test]
    fn every_live_key_is_a_key() {
        for path in LIVE {
            assert!(keys().any(|key| key.path == path), "{path}");
        }
    }
}
