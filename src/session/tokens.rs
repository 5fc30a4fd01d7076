//! What tokens come to in a session: whose it is, what it may be in, and what is wrong (14).

use std::time::Duration;

use super::command::Refusal;
use super::state::{Session, Terms};
use crate::limits::CONNECTION_LIFE_MAX;
use crate::protocol::{Disconnect, DisconnectCode, ErrorCode, Format, ReplyError};
use crate::token::{
    Check, ConnectionToken, SignedClaims, SubscriptionToken, TokenError, TokenRules,
};

impl Session {
    /// What a connection token says, if it is to be believed and fits this connection.
    pub(super) fn connection_token(
        &mut self,
        token: &str,
        terms: &Terms,
    ) -> Result<ConnectionToken, TokenError> {
        let rules = &terms.rules.token;
        let claims = signed_claims(token, rules, terms)?;
        let mut token = rules.connection(&claims, terms.now)?;
        if !self.user().is_empty() && token.user != self.user() {
            return Err(TokenError::OtherUser);
        }
        // Members that read JSON are sent it as it stands.
        if self.format() == Format::Json && !token.is_all_json() {
            return Err(TokenError::InfoNotJson);
        }
        token.expires = end_of(token.expires, terms);
        Ok(token)
    }

    /// What a subscription token says, if it is to be believed, and is for this client and this
    /// channel.
    pub(super) fn subscription_token(
        &mut self,
        token: &str,
        channel: &str,
        terms: &Terms,
    ) -> Result<SubscriptionToken, TokenError> {
        let rules = terms.rules.subscription_token.as_ref().unwrap_or(&terms.rules.token);
        let claims = signed_claims(token, rules, terms)?;
        let mut token = rules.subscription(&claims, terms.now)?;
        if token.claimed.channel != channel {
            return Err(TokenError::OtherChannel);
        }
        if token.user != self.user() {
            return Err(TokenError::OtherUser);
        }
        if !token.client.is_empty() && token.client != self.client_id(terms).to_string() {
            return Err(TokenError::OtherClient);
        }
        if self.format() == Format::Json && !token.is_all_json() {
            return Err(TokenError::InfoNotJson);
        }
        token.expires = end_of(token.expires, terms);
        Ok(token)
    }
}

fn signed_claims(
    token: &str,
    rules: &TokenRules,
    terms: &Terms,
) -> Result<SignedClaims, TokenError> {
    match rules.check(token, terms.now)? {
        Check::Signed(claims) => Ok(claims),
        Check::Ask => Err(TokenError::Unavailable),
    }
}

/// When what a token is for expires: a year ahead at most, and never where nobody needs a token.
pub(super) fn end_of(expires: Option<Duration>, terms: &Terms) -> Option<Duration> {
    let latest = terms.now + CONNECTION_LIFE_MAX;
    expires.map(|end| end.min(latest)).filter(|_| !terms.rules.insecure)
}

/// What a client is told whose connection token will not do, if it cannot bring another one.
pub(super) fn disconnect(error: TokenError) -> Disconnect {
    let code = match error {
        TokenError::Expired => DisconnectCode::Expired,
        TokenError::OtherChannels => DisconnectCode::InsufficientState,
        TokenError::Unavailable => DisconnectCode::Internal,
        _ => DisconnectCode::InvalidToken,
    };
    Disconnect { code, reason: error.reason() }
}

/// What a client is told that cannot connect with this token.
pub(super) fn not_connected(error: TokenError) -> Refusal {
    match error {
        TokenError::Expired => ErrorCode::TokenExpired.into(),
        TokenError::Unavailable => unavailable(),
        error => Refusal::Close(disconnect(error)),
    }
}

/// The same for a subscription. Who brings the token of somebody else is not asked for another.
pub(super) fn not_subscribed(error: TokenError) -> Refusal {
    match error {
        TokenError::Expired => ErrorCode::TokenExpired.into(),
        TokenError::Unavailable => unavailable(),
        TokenError::OtherChannel | TokenError::OtherUser | TokenError::OtherClient => {
            Refusal::Close(disconnect(error))
        }
        error => Refusal::Reply(ReplyError {
            code: ErrorCode::PermissionDenied,
            message: error.reason(),
        }),
    }
}

/// It may work in a moment.
pub(super) fn unavailable() -> Refusal {
    let message = TokenError::Unavailable.reason();
    Refusal::Reply(ReplyError { code: ErrorCode::Internal, message })
}

#[cfg(test)]
mod tests {
    use super::super::options::ChannelOptions;
    use super::super::rig::{CLIENT, KEY, Rig, signed, signed_with};
    use super::super::{Entered, Membership, Rules};
    use crate::token::{HmacKey, TokenRules};
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1_000_000);
    const HEADER: &str = r#"{"alg":"HS256"}"#;

    fn rules() -> Rules {
        let token = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
        Rules { token, ..Rules::default() }
    }

    /// Ann's client, where nobody may subscribe without a token.
    fn ann(rules: Rules) -> Rig {
        let mut rig = Rig::new(rules);
        rig.terms.now = NOW;
        let token = signed(r#"{"sub":"ann"}"#);
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        assert_eq!(rig.lines().len(), 1);
        rig
    }

    fn subscribe(rig: &mut Rig, channel: &str, token: &str) {
        rig.frame(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"{channel}","token":"{token}"}}}}"#
        ));
    }

    /// The error of the only reply, or the code of the close.
    fn refusal(rig: &mut Rig) -> (u64, String) {
        if let Some(why) = rig.closed {
            return (why.code.code().into(), why.reason.to_owned());
        }
        let lines = rig.lines();
        let reply: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        let error = &reply["error"];
        (error["code"].as_u64().unwrap_or(0), error["message"].to_string())
    }

    #[test]
    fn a_token_opens_channels_that_are_closed_otherwise() {
        for channel in ["$a", "a", "a#bob"] {
            let mut rig = ann(rules());
            subscribe(
                &mut rig,
                channel,
                &signed(&format!(r#"{{"sub":"ann","channel":"{channel}"}}"#)),
            );
            rig.joined(Ok(()));
            assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#], "{channel}");
            assert_eq!(rig.members[channel], Membership::default());
        }
        let mut rig = ann(rules());
        rig.frame(r#"{"id":2,"subscribe":{"channel":"$a"}}"#);
        assert_eq!(refusal(&mut rig).0, 103);
    }

    #[test]
    fn what_is_wrong_with_a_token_decides_what_its_client_is_told() {
        for (claims, code) in [
            (r#"{"sub":"ann","channel":"a","exp":1000000}"#, 109),
            (r#"{"sub":"ann","channel":"a","nbf":1000001}"#, 109),
            (r#"{"sub":"ann","channel":"a","expire_at":1000000}"#, 110),
            (r#"{"sub":"ann"}"#, 103),
            (r#"{"sub":1,"channel":"a"}"#, 103),
            (r#"{"sub":"ann","channel":"a","b64info":"/w=="}"#, 103),
            (r#"{"sub":"ann","channel":"b"}"#, 3500),
            (r#"{"sub":"bob","channel":"a"}"#, 3500),
            (r#"{"channel":"a"}"#, 3500),
            (r#"{"sub":"ann","channel":"a","client":"other"}"#, 3500),
        ] {
            let mut rig = ann(rules());
            subscribe(&mut rig, "a", &signed(claims));
            assert_eq!(refusal(&mut rig).0, code, "{claims}");
            assert_eq!((rig.joining.len(), rig.session.channel_count), (0, 0), "{claims}");
        }
        let forged = signed_with(b"other", HEADER, r#"{"sub":"ann","channel":"a"}"#);
        for token in [forged.as_str(), "t", "a.b.c"] {
            let mut rig = ann(rules());
            subscribe(&mut rig, "a", token);
            let (code, message) = refusal(&mut rig);
            assert!(code == 103 && message.contains("invalid token"), "{code} {message}");
        }
        let mut rig = ann(rules());
        let own = format!(r#"{{"sub":"ann","channel":"a","client":"{CLIENT}"}}"#);
        subscribe(&mut rig, "a", &signed(&own));
        assert_eq!(rig.joining_names(), ["a"]);
    }

    #[test]
    fn a_connection_token_opens_no_channel_and_a_subscription_token_no_connection() {
        let mut rig = Rig::new(rules());
        let token = signed(r#"{"sub":"ann","channel":"a"}"#);
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        assert_eq!(refusal(&mut rig).0, 3500);
        let mut rig = ann(rules());
        subscribe(&mut rig, "a", &signed(r#"{"sub":"ann","channels":["a"]}"#));
        assert_eq!(refusal(&mut rig).0, 103);
    }

    #[test]
    fn subscription_tokens_may_have_keys_of_their_own() {
        let own = TokenRules { key: HmacKey::new(b"own"), ..TokenRules::default() };
        let rules = Rules { subscription_token: Some(own), ..rules() };
        let claims = r#"{"sub":"ann","channel":"a"}"#;
        let mut rig = ann(rules.clone());
        subscribe(&mut rig, "a", &signed(claims));
        assert_eq!(refusal(&mut rig).0, 103, "of the other key");
        subscribe(&mut rig, "a", &signed_with(b"own", HEADER, claims));
        assert_eq!(rig.joining_names(), ["a"]);
    }

    #[test]
    fn what_a_token_says_of_the_client_is_shown_told_and_overrides() {
        let mut rig = ann(rules());
        let claims = r#"{"sub":"ann","channel":"a","info":{"n":1},"data":[2],
            "override":{"presence":{"value":true},"join_leave":{"value":true}}}"#;
        subscribe(&mut rig, "a", &signed(claims));
        let entry = &rig.joining[0].1;
        assert!(entry.is_present && entry.is_announced, "{entry:?}");
        assert_eq!(rig.entry_texts.1, r#"{"n":1}"#);
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{"data":[2]}}"#]);
        let there = ChannelOptions { presence: true, ..ChannelOptions::default() };
        let mut rig = ann(Rules { without_namespace: there, ..rules() });
        let claims = r#"{"sub":"ann","channel":"a","override":{"presence":{"value":false}}}"#;
        subscribe(&mut rig, "a", &signed(claims));
        assert!(!rig.joining[0].1.is_present);
        rig.entered_at(0, Ok(Entered::default()));
        assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#]);
    }
}
