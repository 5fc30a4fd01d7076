//! What clients are allowed: the settings that a session goes by, and the decisions they make.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::hooks::Hooks;
use super::options::ChannelOptions;
use super::patterns::Patterns;
use crate::limits::{
    CHANNEL_NAME_BYTES_MAX, CONNECTION_CHANNELS_DEFAULT, EXPIRED_CLOSE_DELAY_DEFAULT,
    HISTORY_PUBLICATIONS_DEFAULT, RECOVERY_PUBLICATIONS_DEFAULT,
};
use crate::protocol::ErrorCode;
use crate::protocol::channel::{self, Naming};
use crate::token::{Purpose, TokenRules};

/// What the clients of a server may do. The names are those of Centrifugo's configuration where
/// there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Connect without a token, as the anonymous user
    /// (`client.allow_anonymous_connect_without_token`).
    pub allow_anonymous_connect_without_token: bool,
    /// Connect anonymously and do everything that exists (`client.insecure`). For development.
    pub insecure: bool,
    /// Refuse tokens without a user (`client.disallow_anonymous_connection_tokens`).
    pub disallow_anonymous_connection_tokens: bool,
    /// How connection tokens are verified (`client.token`), and those of subscriptions as well if
    /// there are no rules for them.
    pub token: TokenRules,
    /// How subscription tokens are verified (`client.subscription_token`).
    pub subscription_token: Option<TokenRules>,
    /// Time from the expiry of a connection to its end (`client.expired_close_delay`).
    pub expired_close_delay: Duration,
    /// The same for a subscription (`client.expired_sub_close_delay`).
    pub expired_sub_close_delay: Duration,
    /// Connections that one user may have, over all shards; 0 sets no limit
    /// (`client.user_connection_limit`). Anonymous ones are nobody's.
    pub user_connection_limit: u32,
    /// Channels that one connection may be in (`client.channel_limit`).
    pub channel_limit: u16,
    /// Bytes of a channel's name in a subscribe (`channel.max_length`).
    pub channel_bytes_max: usize,
    /// Seconds between two pings, as clients are told; 0 if there are none.
    pub ping_interval_s: u32,
    /// The server's version, as clients are told.
    pub version: String,
    /// Publications of one recovery (`client.recovery_max_publication_limit`).
    pub recovery_publications_max: u32,
    /// Publications of one history reply (`client.history_max_publication_limit`).
    pub history_publications_max: u32,
    /// The characters with a meaning in the names of channels (`channel.private_prefix` …).
    pub naming: Naming,
    /// What the names of channels have to match (`channel_regex`), by namespace.
    pub patterns: Patterns,
    /// Whether, and how, users are put into a channel of their own
    /// (`client.subscribe_to_user_personal_channel`).
    pub personal_channel: Option<PersonalChannel>,
    /// What back ends decide.
    pub hooks: Hooks,
    /// Options of channels without a namespace (`channel.without_namespace`).
    pub without_namespace: ChannelOptions,
    /// Options of the channels of each namespace (`channel.namespaces`).
    pub namespaces: BTreeMap<String, ChannelOptions>,
}

/// The channels that users are put into, one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonalChannel {
    /// The namespace of these channels; empty for none.
    pub namespace: String,
    /// A user has one connection at most: the next ends those before it (3504).
    pub is_single: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allow_anonymous_connect_without_token: false,
            insecure: false,
            disallow_anonymous_connection_tokens: false,
            token: TokenRules::default(),
            subscription_token: None,
            expired_close_delay: EXPIRED_CLOSE_DELAY_DEFAULT,
            expired_sub_close_delay: EXPIRED_CLOSE_DELAY_DEFAULT,
            user_connection_limit: 0,
            channel_limit: CONNECTION_CHANNELS_DEFAULT,
            channel_bytes_max: CHANNEL_NAME_BYTES_MAX,
            ping_interval_s: 25,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recovery_publications_max: RECOVERY_PUBLICATIONS_DEFAULT,
            history_publications_max: HISTORY_PUBLICATIONS_DEFAULT,
            naming: Naming::default(),
            patterns: Patterns::default(),
            personal_channel: None,
            hooks: Hooks::default(),
            without_namespace: ChannelOptions::default(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl Rules {
    /// Finds what no server could go by.
    pub fn validate(&self) -> Result<(), RulesError> {
        let longest = CHANNEL_NAME_BYTES_MAX;
        if self.channel_limit == 0 {
            return Err(RulesError::ChannelLimit);
        }
        if !(1..=longest).contains(&self.channel_bytes_max) {
            let bytes = self.channel_bytes_max;
            return Err(RulesError::ChannelBytes { bytes, longest });
        }
        match self.namespaces.keys().find(|name| !channel::is_namespace_name(name)) {
            Some(name) => Err(RulesError::Namespace { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// How tokens for this are verified.
    pub(super) fn tokens(&self, purpose: Purpose) -> &TokenRules {
        match purpose {
            Purpose::Connection => &self.token,
            Purpose::Subscription => self.subscription_token.as_ref().unwrap_or(&self.token),
        }
    }

    /// Whether a client without a token may connect.
    pub(super) fn admits_anonymous(&self) -> bool {
        self.insecure || self.allow_anonymous_connect_without_token
    }

    /// The options of a channel, by its namespace.
    pub(super) fn options(&self, channel: &str) -> Result<&ChannelOptions, ErrorCode> {
        match self.naming.namespace(channel) {
            None => Ok(&self.without_namespace),
            Some(namespace) => self.namespaces.get(namespace).ok_or(ErrorCode::UnknownChannel),
        }
    }

    /// Whether a channel may be called so: its name matches the pattern of its namespace, or is
    /// ASCII where there is none.
    pub(super) fn is_name(&self, channel: &str) -> bool {
        match self.patterns.of(self.naming.namespace(channel)) {
            Some(pattern) => pattern.is_match(self.naming.rest(channel)),
            None => channel::is_well_formed(channel),
        }
    }

    /// The options of a channel whose name is one that its namespace allows.
    pub(super) fn named(&self, channel: &str) -> Result<&ChannelOptions, ErrorCode> {
        let options = self.options(channel)?;
        if self.is_name(channel) { Ok(options) } else { Err(ErrorCode::BadRequest) }
    }

    /// Whether `user`, empty if anonymous, may be in `channel` without a subscription token.
    pub(super) fn may_subscribe(&self, options: ChannelOptions, user: &str, name: &str) -> bool {
        if self.naming.is_private(name) {
            return false;
        }
        if self.naming.is_user_limited(name) && options.allow_user_limited_channels {
            return self.insecure || self.naming.is_for_user(name, user);
        }
        let anyone = options.allow_subscribe_for_client
            && (!user.is_empty() || options.allow_subscribe_for_anonymous);
        self.insecure || (anyone && !self.naming.is_user_limited(name))
    }

    /// Whether `user` may publish in a channel that it is in or not.
    pub(super) fn may_publish(&self, options: ChannelOptions, user: &str, is_member: bool) -> bool {
        let allowed =
            options.allow_publish_for_client || (options.allow_publish_for_subscriber && is_member);
        self.insecure || (allowed && (!user.is_empty() || options.allow_publish_for_anonymous))
    }

    /// Whether `user` may see who is in a channel that it is in or not.
    pub(super) fn may_see_presence(
        &self,
        options: ChannelOptions,
        user: &str,
        is_member: bool,
    ) -> bool {
        let allowed = options.allow_presence_for_client
            || (options.allow_presence_for_subscriber && is_member);
        self.insecure || (allowed && (!user.is_empty() || options.allow_presence_for_anonymous))
    }

    /// Whether `user` may see what was published in a channel that it is in or not.
    pub(super) fn may_see_history(
        &self,
        options: ChannelOptions,
        user: &str,
        is_member: bool,
    ) -> bool {
        let allowed =
            options.allow_history_for_client || (options.allow_history_for_subscriber && is_member);
        self.insecure || (allowed && (!user.is_empty() || options.allow_history_for_anonymous))
    }

    /// The channel of a user's own, if there is one.
    pub(super) fn personal_channel(&self, user: &str) -> Option<String> {
        let personal = self.personal_channel.as_ref().filter(|_| !user.is_empty())?;
        Some(self.naming.personal(&personal.namespace, user))
    }
}

/// A rule that no server could go by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesError {
    /// No channel at all.
    ChannelLimit,
    /// Names of channels have a bound of their own.
    ChannelBytes {
        /// What was asked for.
        bytes: usize,
        /// The most that is possible.
        longest: usize,
    },
    /// A namespace that no channel could name.
    Namespace {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for RulesError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelLimit => {
                write!(out, "channel_limit is 0: set it to 1 … {}", u16::MAX)
            }
            Self::ChannelBytes { bytes, longest } => {
                write!(out, "channel_bytes_max is {bytes}: set it to 1 … {longest}")
            }
            Self::Namespace { name } => write!(
                out,
                "the namespace {name:?} cannot be named: use two or more of A-Z, a-z, 0-9, -, _, ."
            ),
        }
    }
}

impl std::error::Error for RulesError {}

#[cfg(test)]
mod tests {
    use super::super::patterns::Pattern;
    use super::*;

    const USER: &str = "42";

    /// Whether subscribing and publishing, as a member or not, is allowed.
    fn allowed(rules: &Rules, user: &str, name: &str) -> (bool, bool, bool) {
        let options = *rules.options(name).expect("a namespace that is known");
        let publishes = [false, true].map(|is_member| rules.may_publish(options, user, is_member));
        (rules.may_subscribe(options, user, name), publishes[0], publishes[1])
    }

    fn rules(options: ChannelOptions) -> Rules {
        Rules { without_namespace: options, ..Rules::default() }
    }

    #[test]
    fn nothing_is_allowed_by_default_and_everything_when_insecure() {
        let insecure = Rules { insecure: true, ..Rules::default() };
        for user in ["", USER] {
            assert_eq!(allowed(&Rules::default(), user, "a"), (false, false, false));
            assert_eq!(allowed(&insecure, user, "a"), (true, true, true));
            assert_eq!(allowed(&insecure, user, "a#43"), (true, true, true));
            assert!(!allowed(&insecure, user, "$a").0, "private channels take a token");
        }
        assert!(insecure.admits_anonymous() && !Rules::default().admits_anonymous());
    }

    #[test]
    fn each_permission_opens_what_it_says() {
        let none = ChannelOptions::default();
        let client = ChannelOptions { allow_subscribe_for_client: true, ..none };
        let both = ChannelOptions { allow_subscribe_for_anonymous: true, ..client };
        assert_eq!(allowed(&rules(client), USER, "a"), (true, false, false));
        assert_eq!(allowed(&rules(client), "", "a"), (false, false, false));
        assert_eq!(allowed(&rules(both), "", "a"), (true, false, false));
        assert_eq!(allowed(&rules(both), USER, "a#42"), (false, false, false), "user-limited");
        let alone = ChannelOptions { allow_subscribe_for_anonymous: true, ..none };
        assert_eq!(allowed(&rules(alone), "", "a"), (false, false, false));

        let client = ChannelOptions { allow_publish_for_client: true, ..none };
        assert_eq!(allowed(&rules(client), USER, "a"), (false, true, true));
        assert_eq!(allowed(&rules(client), "", "a"), (false, false, false));
        let member = ChannelOptions { allow_publish_for_subscriber: true, ..none };
        assert_eq!(allowed(&rules(member), USER, "a"), (false, false, true));
        assert_eq!(allowed(&rules(member), "", "a"), (false, false, false));
        let both = ChannelOptions { allow_publish_for_anonymous: true, ..member };
        assert_eq!(allowed(&rules(both), "", "a"), (false, false, true));
        let alone = ChannelOptions { allow_publish_for_anonymous: true, ..none };
        assert_eq!(allowed(&rules(alone), "", "a"), (false, false, false));
    }

    #[test]
    fn user_limited_channels_are_for_those_whom_they_list() {
        let limited = ChannelOptions { allow_user_limited_channels: true, ..Default::default() };
        for (user, name, may) in [
            (USER, "a#42", true),
            (USER, "a#41,42", true),
            (USER, "a#b#42", true),
            (USER, "a#42#b", false),
            (USER, "a#4", false),
            (USER, "a#", false),
            ("", "a#42", false),
            ("", "a#", false),
        ] {
            assert_eq!(allowed(&rules(limited), user, name).0, may, "{user} {name}");
        }
        let everyone = ChannelOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            ..limited
        };
        assert!(!allowed(&rules(everyone), "", "a#42").0);
    }

    #[test]
    fn a_name_is_ascii_or_matches_the_pattern_of_its_namespace() {
        let pattern = |text| Pattern::new(text).expect("an expression");
        let patterns = Patterns {
            without_namespace: None,
            namespaces: [("ns".to_owned(), pattern("^[a-zé]+$"))].into(),
        };
        let mut rules = Rules { patterns, ..Rules::default() };
        for (name, is_name) in [
            ("a!", true),
            ("é", false),
            ("ns:é", true),
            ("$ns:é", true),
            ("ns:a!", false),
            ("ns:", false),
            ("other:a!", true),
            ("other:é", false),
        ] {
            assert_eq!(rules.is_name(name), is_name, "{name}");
        }
        rules.patterns.without_namespace = Some(pattern("^ns:a$"));
        rules.naming.namespace_boundary = '/';
        assert!(rules.is_name("ns:a") && !rules.is_name("a"), "it has no namespace here");
        assert!(Pattern::new("(").is_err() && Pattern::new("(a{500}){500}{500}").is_err());
    }

    #[test]
    fn options_are_those_of_the_namespace() {
        let open = ChannelOptions { allow_publish_for_client: true, ..ChannelOptions::default() };
        let namespaces = BTreeMap::from([("open".to_owned(), open)]);
        let rules = Rules { namespaces, ..Rules::default() };
        assert_eq!(rules.options("open:a"), Ok(&open));
        assert_eq!(rules.options("$open:a"), Ok(&open));
        assert_eq!(rules.options("open"), Ok(&ChannelOptions::default()));
        for unknown in ["other:a", ":a", "ope:n"] {
            assert_eq!(rules.options(unknown), Err(ErrorCode::UnknownChannel), "{unknown}");
        }
    }

    #[test]
    fn rules_that_no_server_could_go_by_are_named() {
        assert_eq!(Rules::default().validate(), Ok(()));
        let none = Rules { channel_limit: 0, ..Rules::default() };
        assert_eq!(none.validate(), Err(RulesError::ChannelLimit));
        for bytes in [0, 256] {
            let wrong = Rules { channel_bytes_max: bytes, ..Rules::default() };
            let error = RulesError::ChannelBytes { bytes, longest: 255 };
            assert_eq!(wrong.validate(), Err(error));
        }
        let namespaces = BTreeMap::from([("a:b".to_owned(), ChannelOptions::default())]);
        let wrong = Rules { namespaces, ..Rules::default() };
        let error = wrong.validate().expect_err("it cannot be named");
        assert!(error.to_string().contains("\"a:b\""), "{error}");
    }
}
