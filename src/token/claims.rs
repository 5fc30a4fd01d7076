//! What a token claims (14), once its signature is known to be right.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::error::TokenError;
use super::expected::Expected;
use super::revoked::{Revoked, TokenMarks};
use super::subscriptions::Claimed;

use crate::limits::{CONNECTION_INFO_BYTES_MAX, TOKEN_ID_BYTES_MAX, USER_ID_BYTES_MAX};

/// What a connection is told by its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionToken {
    /// The user; empty for nobody.
    pub user: String,
    /// When the connection expires, since the Unix epoch, if it does.
    pub expires: Option<Duration>,
    /// What others are shown of the connection; empty for nothing.
    pub info: Vec<u8>,
    /// What back ends are told of it, and nobody else; empty for nothing.
    pub meta: Vec<u8>,
    /// The channels that it puts the client into, in the order of their names.
    pub subscriptions: Vec<Claimed>,
    /// The token's own name; empty if it has none.
    pub id: String,
    /// When it was issued, if it says so.
    pub issued: Option<Duration>,
}

/// What a subscription is told by its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionToken {
    /// The user; empty for nobody.
    pub user: String,
    /// The one client that it is for; empty for all of the user.
    pub client: String,
    /// When the subscription expires, since the Unix epoch, if it does.
    pub expires: Option<Duration>,
    /// The channel, and what is said of the client there.
    pub claimed: Claimed,
    /// The token's own name; empty if it has none.
    pub id: String,
    /// When it was issued, if it says so.
    pub issued: Option<Duration>,
}

/// The claims of one token by their names. A claim that is `null` is not there.
pub(super) struct Claims<'a>(BTreeMap<String, &'a RawValue>);

/// Whom a token is for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> Claims<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json).map(Self).map_err(|_| TokenError::Claims)
    }

    pub(super) fn claim<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, TokenError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|_| TokenError::Claims)
    }

    /// Whether it is a connection token: one that names a channel is for that alone.
    pub(super) fn check_is_of_connection(&self) -> Result<(), TokenError> {
        match self.claim::<IgnoredAny>("channel")? {
            Some(_) => Err(TokenError::Channel),
            None => Ok(()),
        }
    }

    /// Whether it is none of those that are not to be believed any more.
    pub(super) fn check_is_not_revoked(
        &self,
        user_claim: &str,
        revoked: &Revoked,
        now: Duration,
    ) -> Result<(), TokenError> {
        if revoked.is_empty() {
            return Ok(());
        }
        let channel: Option<String> = self.claim("channel")?;
        let (id, user, issued) = (self.id()?, self.user(user_claim)?, self.time("iat")?);
        let channel = channel.unwrap_or_default();
        let marks = TokenMarks { id: &id, user: &user, channel: &channel, issued };
        if revoked.holds(&marks, now) { Err(TokenError::Revoked) } else { Ok(()) }
    }

    /// Whether it is from the right issuer and for this server.
    pub(super) fn check_origin(
        &self,
        audience: &Expected,
        issuer: &Expected,
    ) -> Result<(), TokenError> {
        let names: Option<Audience> = self.claim("aud")?;
        let is_ours = match &names {
            None => audience.is_met(std::iter::empty()),
            Some(Audience::One(name)) => audience.is_met(std::iter::once(&**name)),
            Some(Audience::Several(names)) => audience.is_met(names.iter().map(String::as_str)),
        };
        if !is_ours {
            return Err(TokenError::Audience);
        }
        let from: Option<String> = self.claim("iss")?;
        if issuer.is_met(from.iter().map(String::as_str)) {
            Ok(())
        } else {
            Err(TokenError::Issuer)
        }
    }

    /// Whether it is valid at this time. A token that is not valid yet is of a server whose clock
    /// is ahead, so that a new one may do, as for one that is not valid any more.
    pub(super) fn check_time(&self, now: Duration) -> Result<(), TokenError> {
        let is_over = self.time("exp")?.is_some_and(|end| end <= now);
        let is_early = self.time("nbf")?.is_some_and(|begin| begin > now);
        self.time("iat")?;
        if is_over || is_early { Err(TokenError::Expired) } else { Ok(()) }
    }

    /// What it says of the connection, with the user in this claim.
    pub(super) fn connection(&self, user_claim: &str) -> Result<ConnectionToken, TokenError> {
        let meta: Option<&RawValue> = self.claim("meta")?;
        Ok(ConnectionToken {
            user: self.user(user_claim)?,
            expires: self.expires()?,
            info: short(bytes(self.claim("info")?, self.claim("b64info")?)?)?,
            meta: short(meta.map_or_else(Vec::new, |meta| meta.get().into()))?,
            subscriptions: self.subscriptions()?,
            id: self.id()?,
            issued: self.time("iat")?,
        })
    }

    /// What it says of a subscription, with the user in this claim.
    pub(super) fn subscription(&self, user_claim: &str) -> Result<SubscriptionToken, TokenError> {
        let client: Option<String> = self.claim("client")?;
        Ok(SubscriptionToken {
            user: self.user(user_claim)?,
            client: client.unwrap_or_default(),
            expires: self.expires()?,
            claimed: self.channel()?,
            id: self.id()?,
            issued: self.time("iat")?,
        })
    }

    fn user(&self, user_claim: &str) -> Result<String, TokenError> {
        let user: String = self.claim(user_claim)?.unwrap_or_default();
        if user.len() > USER_ID_BYTES_MAX { Err(TokenError::UserTooLong) } else { Ok(user) }
    }

    fn id(&self) -> Result<String, TokenError> {
        let id: String = self.claim("jti")?.unwrap_or_default();
        if id.len() > TOKEN_ID_BYTES_MAX { Err(TokenError::IdTooLong) } else { Ok(id) }
    }

    /// When that expires which it is for: what `expire_at` says, where 0 is never, or else `exp`.
    fn expires(&self) -> Result<Option<Duration>, TokenError> {
        match self.claim::<i64>("expire_at")? {
            Some(0) => Ok(None),
            Some(seconds) => Ok(Some(Duration::from_secs(seconds.max(0).unsigned_abs()))),
            None => self.time("exp"),
        }
    }

    /// Seconds since the Unix epoch, which may have a fraction (RFC 7519 §2). What lies before it
    /// has passed as well as the epoch has.
    fn time(&self, name: &str) -> Result<Option<Duration>, TokenError> {
        let seconds: Option<f64> = self.claim(name)?;
        Ok(seconds
            .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
    }
}

impl SubscriptionToken {
    /// Whether all that it says of the subscription is JSON, or nothing.
    pub fn is_all_json(&self) -> bool {
        [&self.claimed.info, &self.claimed.data].into_iter().all(|bytes| is_json(bytes))
    }
}

impl ConnectionToken {
    /// Whether all that it says of the connection is JSON, or nothing.
    pub fn is_all_json(&self) -> bool {
        let claimed = self.subscriptions.iter();
        let said = claimed.flat_map(|claimed| [&claimed.info, &claimed.data]);
        said.chain([&self.info]).all(|bytes| is_json(bytes))
    }
}

fn is_json(bytes: &[u8]) -> bool {
    bytes.is_empty() || serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// What is kept with each connection has a bound.
pub(super) fn short(said: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if said.len() > CONNECTION_INFO_BYTES_MAX { Err(TokenError::InfoTooLong) } else { Ok(said) }
}

/// What a token says in JSON, or in base64, which counts for more.
pub(super) fn bytes(
    json: Option<&RawValue>,
    base64: Option<String>,
) -> Result<Vec<u8>, TokenError> {
    match base64.filter(|text| !text.is_empty()) {
        Some(text) => STANDARD.decode(text).map_err(|_| TokenError::Claims),
        None => Ok(json.map_or_else(Vec::new, |json| json.get().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Result<ConnectionToken, TokenError> {
        Claims::read(text.as_bytes())?.connection("sub")
    }

    #[test]
    fn the_connection_expires_with_the_token_or_when_it_says() {
        let at = |seconds| Some(Duration::from_secs(seconds));
        for (text, expires) in [
            ("{}", None),
            (r#"{"exp":1000001}"#, at(1_000_001)),
            (r#"{"exp":1000001,"expire_at":2000000}"#, at(2_000_000)),
            (r#"{"expire_at":2000000}"#, at(2_000_000)),
            (r#"{"exp":1000001,"expire_at":0}"#, None),
            (r#"{"exp":1000001,"expire_at":null}"#, at(1_000_001)),
            (r#"{"expire_at":-5}"#, at(0)),
        ] {
            assert_eq!(claims(text).map(|token| token.expires), Ok(expires), "{text}");
        }
    }

    #[test]
    fn what_is_said_of_a_connection_stands_as_it_came() {
        for (text, info) in [
            ("{}", ""),
            (r#"{"info":null}"#, ""),
            (r#"{"info":{"name": "Ann"}}"#, r#"{"name": "Ann"}"#),
            (r#"{"b64info":"eyJhIjoxfQ=="}"#, r#"{"a":1}"#),
            (r#"{"b64info":"eyJhIjoxfQ==","info":2}"#, r#"{"a":1}"#),
            (r#"{"b64info":"","info":2}"#, "2"),
            (r#"{"meta":{"a":1},"jti":"x","other":[]}"#, ""),
        ] {
            assert_eq!(claims(text).map(|token| token.info), Ok(info.into()), "{text}");
        }
        let long = |bytes| claims(&format!(r#"{{"info":"{}"}}"#, "x".repeat(bytes - 2)));
        assert!(long(CONNECTION_INFO_BYTES_MAX).is_ok());
        assert_eq!(long(CONNECTION_INFO_BYTES_MAX + 1), Err(TokenError::InfoTooLong));
    }
}
