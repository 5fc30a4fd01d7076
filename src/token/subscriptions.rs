//! The channels that a token is about: those that a connection token puts its bearer into, by its
//! claims `channels` and `subs`, and the one of a subscription token (13, 14).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::claims::{Claims, bytes, short};
use super::error::TokenError;
use crate::limits::CHANNEL_NAME_BYTES_MAX;

/// One channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Its name.
    pub channel: String,
    /// What others are shown of the client there; empty for nothing.
    pub info: Vec<u8>,
    /// What the client is told of it; empty for nothing.
    pub data: Vec<u8>,
    /// Options that are others there.
    pub overrides: Overrides,
}

/// Options of the channel that are others for this client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Overrides {
    /// It is seen there by others.
    pub presence: Option<Override>,
    /// Others are told that it comes and goes.
    pub join_leave: Option<Override>,
    /// It is told of others that come and go.
    pub force_push_join_leave: Option<Override>,
    /// It may recover what it misses.
    pub force_recovery: Option<Override>,
    /// Its position is known.
    pub force_positioning: Option<Override>,
}

/// What one option is for this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Override {
    /// On or off.
    #[serde(default)]
    pub value: bool,
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
    pub fn plain(channel: String) -> Self {
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
        if claimed.iter().any(|claimed| !is_name(&claimed.channel)) {
            return Err(TokenError::ChannelName);
        }
        Ok(claimed)
    }

    /// The channel of a subscription token.
    pub(super) fn channel(&self) -> Result<Claimed, TokenError> {
        let name: String = self.claim("channel")?.unwrap_or_default();
        if !is_name(&name) {
            return Err(TokenError::ChannelName);
        }
        let said = Subscription {
            info: self.claim("info")?,
            b64info: self.claim("b64info")?,
            data: self.claim("data")?,
            b64data: self.claim("b64data")?,
            overrides: self.claim("override")?,
        };
        said.read(name)
    }
}

fn is_name(name: &str) -> bool {
    (1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len())
}

impl Subscription<'_> {
    fn read(self, channel: String) -> Result<Claimed, TokenError> {
        let info = short(bytes(self.info, self.b64info)?)?;
        let data = bytes(self.data, self.b64data)?;
        Ok(Claimed { channel, info, data, overrides: self.overrides.unwrap_or_default() })
    }
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
}
