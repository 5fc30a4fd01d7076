//! The channels that a connection token puts its bearer into: its claims `channels` and `subs`
//! (13, 14).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::claims::{Claims, bytes};
use super::options::ChannelOptions;
use super::token::TokenError;
use crate::limits::{CHANNEL_NAME_BYTES_MAX, CONNECTION_INFO_BYTES_MAX};

/// One channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) channel: String,
    /// What others are shown of the client there; empty for nothing.
    pub(super) info: Vec<u8>,
    /// What the client is told of it; empty for nothing.
    pub(super) data: Vec<u8>,
    pub(super) overrides: Overrides,
}

/// Options of the channel that are others for this client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Overrides {
    presence: Option<Override>,
    join_leave: Option<Override>,
    force_push_join_leave: Option<Override>,
    force_recovery: Option<Override>,
    force_positioning: Option<Override>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Override {
    #[serde(default)]
    value: bool,
}

/// What `subs` says of one channel.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Subscription<'a> {
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<Overrides>,
}

impl Claimed {
    /// One of which nothing more is said.
    pub(super) fn plain(channel: String) -> Self {
        Self { channel, ..Self::default() }
    }
}

impl Claims<'_> {
    /// The channels in the order of their names. Where there is `subs`, `channels` says nothing.
    pub(super) fn subscriptions(&self) -> Result<Vec<Claimed>, TokenError> {
        let names: Option<BTreeSet<String>> = self.claim("channels")?;
        let subscriptions: Option<BTreeMap<String, Option<Subscription<'_>>>> =
            self.claim("subs")?;
        let claimed: Vec<Claimed> = if let Some(map) = subscriptions.filter(|map| !map.is_empty()) {
            let read = |(channel, said): (String, Option<Subscription<'_>>)| {
                said.unwrap_or_default().read(channel)
            };
            map.into_iter().map(read).collect::<Result<_, _>>()?
        } else {
            let names = names.unwrap_or_default().into_iter();
            names.map(Claimed::plain).collect()
        };
        let is_name = |name: &str| (1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len());
        if claimed.iter().any(|claimed| !is_name(&claimed.channel)) {
            return Err(TokenError::ChannelName);
        }
        Ok(claimed)
    }
}

impl Subscription<'_> {
    fn read(self, channel: String) -> Result<Claimed, TokenError> {
        let info = bytes(self.info, self.b64info)?;
        let data = bytes(self.data, self.b64data)?;
        if info.len() > CONNECTION_INFO_BYTES_MAX {
            return Err(TokenError::InfoTooLong);
        }
        Ok(Claimed { channel, info, data, overrides: self.overrides.unwrap_or_default() })
    }
}

impl Overrides {
    /// The options as they are for this client.
    pub(super) fn of(self, options: ChannelOptions) -> ChannelOptions {
        let set = |by: Option<Override>, option: bool| by.map_or(option, |by| by.value);
        ChannelOptions {
            presence: set(self.presence, options.presence),
            join_leave: set(self.join_leave, options.join_leave),
            force_push_join_leave: set(self.force_push_join_leave, options.force_push_join_leave),
            force_recovery: set(self.force_recovery, options.force_recovery),
            force_positioning: set(self.force_positioning, options.force_positioning),
            ..options
        }
    }
}

/// By what a session remembers which channels its token has put it into: a hash, 0 for none. It is
/// compared with those of the same user's next token only.
pub(super) fn fingerprint(claimed: &[Claimed]) -> u32 {
    if claimed.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for Claimed { channel, .. } in claimed {
        channel.hash(&mut hasher);
    }
    let half = u32::try_from(hasher.finish() >> 32).expect("32 bits");
    half.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Claimed>, TokenError> {
        Claims::read(text.as_bytes())?.subscriptions()
    }

    fn names(text: &str) -> Vec<String> {
        read(text).expect("they are valid").into_iter().map(|claimed| claimed.channel).collect()
    }

    #[test]
    fn channels_are_named_once_and_subs_win() {
        assert_eq!(names("{}"), [""; 0]);
        assert_eq!(names(r#"{"channels":["b","a","b"],"subs":{}}"#), ["a", "b"]);
        assert_eq!(names(r#"{"channels":["b"],"subs":{"c":{},"a":null}}"#), ["a", "c"]);
        for wrong in [r#"{"channels":[""]}"#, r#"{"subs":{"":{}}}"#] {
            assert_eq!(read(wrong), Err(TokenError::ChannelName), "{wrong}");
        }
        for wrong in [
            r#"{"channels":"a"}"#,
            r#"{"subs":["a"]}"#,
            r#"{"subs":{"a":{"info":1,"b64info":"!"}}}"#,
        ] {
            assert_eq!(read(wrong), Err(TokenError::Claims), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_of_a_channel_stands_as_it_came() {
        let claims = r#"{"subs":{"a":{"info":{"n": 1},"b64data":"eyJhIjoxfQ==","data":2}}}"#;
        let claimed = &read(claims).unwrap()[0];
        assert_eq!((&*claimed.info, &*claimed.data), (&br#"{"n": 1}"#[..], &br#"{"a":1}"#[..]));
        let long = format!(r#"{{"subs":{{"a":{{"info":"{}"}}}}}}"#, "x".repeat(70_000));
        assert_eq!(read(&long), Err(TokenError::InfoTooLong));
    }

    #[test]
    fn options_are_overridden_both_ways_and_others_stay() {
        let options = ChannelOptions { presence: true, allow_recovery: true, ..Default::default() };
        let claims = r#"{"subs":{"a":{"override":{"presence":{"value":false},
            "join_leave":{"value":true},"force_recovery":{"value":true}}}}}"#;
        let overrides = read(claims).unwrap()[0].overrides;
        let expected =
            ChannelOptions { presence: false, join_leave: true, force_recovery: true, ..options };
        assert_eq!(overrides.of(options), expected);
        assert_eq!(Overrides::default().of(options), options);
    }

    #[test]
    fn a_fingerprint_tells_channels_apart_and_not_what_is_said_of_them() {
        let of = |claims| fingerprint(&read(claims).unwrap());
        assert_eq!(of("{}"), 0);
        assert_eq!(of(r#"{"channels":["a","b"]}"#), of(r#"{"subs":{"b":{"info":1},"a":{}}}"#));
        assert_ne!(of(r#"{"channels":["a","b"]}"#), of(r#"{"channels":["a"]}"#));
        assert_ne!(of(r#"{"channels":["ab"]}"#), of(r#"{"channels":["a","b"]}"#));
    }
}
