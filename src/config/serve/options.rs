//! `channel.without_namespace`: what clients may do in a channel, and what is kept of it. The
//! keys of a namespace are the same.

use std::time::Duration;

use regex::RegexBuilder;

use super::proxy::DEFAULT_PROXY;

use crate::config::key::Kind;
use crate::config::section::{YEAR_MS, section};
use crate::config::setting::{Bytes, Item, Seconds, Setting, words};
use crate::config::value::Value;
use crate::limits::{ACK_BYTES_PER_HOME_MAX, CHANNEL_REGEX_BYTES_MAX, HISTORY_SIZE_MAX};

section! {
    /// What clients may do in a channel, and what is kept of it.
    pub struct WithoutNamespace in "channel.without_namespace." {
        /// Whether any client with a user's name may subscribe.
        allow_subscribe_for_client: bool = false;
        /// Whether clients without a user's name are meant, too.
        allow_subscribe_for_anonymous: bool = false;
        /// Whether any client with a user's name may publish.
        allow_publish_for_client: bool = false;
        /// Whether a client that is subscribed may publish.
        allow_publish_for_subscriber: bool = false;
        /// Whether clients without a user's name are meant, too, by the two keys above.
        allow_publish_for_anonymous: bool = false;
        /// Whether it is known who is subscribed.
        presence: bool = false;
        /// Whether any client with a user's name may ask who is subscribed.
        allow_presence_for_client: bool = false;
        /// Whether a client that is subscribed may ask it.
        allow_presence_for_subscriber: bool = false;
        /// Whether clients without a user's name are meant, too, by the two keys above.
        allow_presence_for_anonymous: bool = false;
        /// Whether those who ask for it, and may ask who is subscribed, are told who comes and
        /// who leaves.
        join_leave: bool = false;
        /// Whether every subscriber is told it, with `join_leave`.
        force_push_join_leave: bool = false;
        /// Publications that are kept of a channel at most; 0 keeps none. All channels share a
        /// budget of memory, beyond which the channels that were published to longest ago lose
        /// their oldest.
        history_size: u32 = 0, in 0..=HISTORY_SIZE_MAX as u64;
        /// Time for which they are kept after the last one, in whole seconds.
        history_ttl: Seconds = Seconds(0), in 0..=YEAR_MS;
        /// Time for which the position of a channel that nobody uses is known, in whole seconds;
        /// 0 is `channel.history_meta_ttl`.
        history_meta_ttl: Seconds = Seconds(0), in 0..=YEAR_MS;
        /// Whether any client with a user's name may read what is kept.
        allow_history_for_client: bool = false;
        /// Whether a client that is subscribed may read it.
        allow_history_for_subscriber: bool = false;
        /// Whether clients without a user's name are meant, too, by the two keys above.
        allow_history_for_anonymous: bool = false;
        /// Whether every subscription knows its position, so that it is told when it has missed
        /// something. Needs history.
        force_positioning: bool = false;
        /// Whether those do that ask for it.
        allow_positioning: bool = false;
        /// Whether every subscription is sent what it missed when its client comes back. Needs
        /// history.
        force_recovery: bool = false;
        /// Whether those are that ask for it.
        allow_recovery: bool = false;
        /// What is sent to a client that comes back: all that it missed, or the latest only.
        force_recovery_mode: RecoveryMode = RecoveryMode::Stream;
        /// Whether every subscription begins with the latest publication, in the mode `cache`.
        auto_cache_recover: bool = false;
        /// The kinds of deltas in which subscriptions that ask for it get publications: what they
        /// differ by from the one before. There is one kind, `fossil`. Those get it that know
        /// their position, so with history and positioning or recovery.
        allowed_delta_types: Vec<DeltaType> = Vec::new();
        /// Whether deltas are made of everything that is published, and not only where the
        /// publisher says so.
        delta_publish: bool = false;
        /// Whether subscriptions may name a filter by the tags of publications.
        allow_tags_filter: bool = false;
        /// Whether what is published is retained for each user who has subscribed until it is
        /// acknowledged, and sent again until then. Without filters by tags and deltas.
        acknowledged: bool = false;
        /// Publications that are retained so for a user in a channel at most; the oldest goes
        /// first, and the user is told.
        acknowledged_size: u32 = 100, in 1..=ACKNOWLEDGED_SIZE_MAX;
        /// Bytes of them at most.
        acknowledged_bytes: Bytes = Bytes(1024 * 1024), in 1024..=ACKNOWLEDGED_BYTES_MAX;
        /// Time for which each is, and for which a user whose connection was cut off is waited
        /// for, in whole seconds.
        acknowledged_ttl: Seconds = Seconds(3_600), in 1_000..=YEAR_MS;
        /// Whether channels with a list of users in their name are open to those users.
        allow_user_limited_channels: bool = false;
        /// What the name of a channel must match, without its namespace and the colon. Without
        /// it, names are ASCII.
        channel_regex: Pattern = Pattern(String::new());
        /// What may be published: any value, an object of JSON, or any bytes, none as well.
        /// Nothing is `channel.publication_data_format`.
        publication_data_format: DataFormat = DataFormat::NotEmpty;
        /// Whether a back end is asked who may subscribe.
        subscribe_proxy_enabled: bool = false;
        /// Which: the name of one of `proxies`, or default for `channel.proxy.subscribe`.
        subscribe_proxy_name: String = DEFAULT_PROXY.to_owned();
        /// Whether a back end is asked what clients may publish.
        publish_proxy_enabled: bool = false;
        /// Which: the name of one of `proxies`, or default for `channel.proxy.publish`.
        publish_proxy_name: String = DEFAULT_PROXY.to_owned();
        /// Whether a back end is asked whether subscriptions go on that expire, and clients need
        /// not bring tokens.
        sub_refresh_proxy_enabled: bool = false;
        /// Which: the name of one of `proxies`, or default for `channel.proxy.sub_refresh`.
        sub_refresh_proxy_name: String = DEFAULT_PROXY.to_owned();
        /// What becomes of publications for a client that does not read as fast as they come: it
        /// is disconnected as slow, loses the oldest that wait, or gets the latest only. It is not
        /// told what it has missed by that, not even where it recovers: only offsets show it.
        overflow: Overflow = Overflow::Disconnect;
    }
}

impl WithoutNamespace {
    /// Whether publications are kept.
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && self.history_ttl != Seconds(0)
    }
}

/// What a client that comes back is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryMode {
    /// All that it missed.
    Stream,
    /// The latest publication.
    Cache,
}

words!(RecoveryMode { "stream" => Stream, "cache" => Cache });

/// A kind of delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaType {
    /// That of the version control system Fossil, which all SDKs know.
    Fossil,
}

impl Item for DeltaType {
    const WHAT: &str = "kinds of deltas: fossil";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "fossil" => Ok(Self::Fossil),
            _ => Err("there is no such kind of delta".to_owned()),
        }
    }

    fn write(&self) -> String {
        "fossil".to_owned()
    }
}

/// What may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// Anything but nothing.
    NotEmpty,
    /// A value in JSON.
    Json,
    /// An object in JSON.
    JsonObject,
    /// Any bytes, none as well.
    Binary,
}

words!(DataFormat {
    "" => NotEmpty,
    "json" => Json,
    "json_object" => JsonObject,
    "binary" => Binary,
});

/// What becomes of publications for a client that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is disconnected when its output is at its bound.
    Disconnect,
    /// A few of the last wait for it; older ones are dropped.
    DropOldest,
    /// Only the latest waits.
    Latest,
}

words!(Overflow { "disconnect" => Disconnect, "drop_oldest" => DropOldest, "latest" => Latest });

/// A regular expression that can be compiled; empty for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub(super) String);

impl Pattern {
    /// The expression, if there is one.
    pub fn text(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl Setting for Pattern {
    const KIND: Kind = Kind::Text("a regular expression such as ^[a-z]+$, or nothing");

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.text()?;
        match RegexBuilder::new(text).size_limit(CHANNEL_REGEX_BYTES_MAX).build() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(format!("it takes more than {CHANNEL_REGEX_BYTES_MAX} bytes of memory"))
            }
            Err(_) => Err("this is no regular expression".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// For how long a position is known by default: a client may be away for a month.
pub(super) const HISTORY_META_TTL: Seconds = Seconds(720 * 3_600);

const _: () = assert!(HISTORY_META_TTL.0 as u64 * 1_000 <= YEAR_MS);

/// More in one mailbox would take a client minutes to acknowledge.
const ACKNOWLEDGED_SIZE_MAX: u64 = 10_000;

/// A sixteenth of what a home retains for all.
const ACKNOWLEDGED_BYTES_MAX: u64 = ACK_BYTES_PER_HOME_MAX as u64 / 16;

impl From<Seconds> for Duration {
    fn from(Seconds(seconds): Seconds) -> Self {
        Self::from_secs(seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<Pattern, String> {
        Pattern::read(&Value::Text(text.to_owned()))
    }

    #[test]
    fn an_expression_that_is_none_or_too_large_is_refused() {
        assert_eq!(pattern("^[a-z]+$").unwrap().text(), Some("^[a-z]+$"));
        assert_eq!(pattern("").unwrap().text(), None);
        assert!(pattern("[").unwrap_err().contains("no regular expression"));
        assert!(pattern("(a{500}){500}{500}").unwrap_err().contains("bytes of memory"));
    }
}
