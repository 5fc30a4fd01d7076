//! What tokens come to in a session: whose it is, what it may be in, and what is wrong (14).
//!
//! A command whose token is signed by a public key waits, and with it all that follow, while the
//! signature is checked elsewhere; then it is read again. So a client has one token checked at a
//! time, whatever it sends.

use std::time::Duration;

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entry::Membership;
use super::outbox::Written;
use super::state::{Phase, Session, Terms};
use super::under_way::{Awaited, SlotId};
use crate::backend::{Question, Unanswered, Verdict};
use crate::limits::CONNECTION_LIFE_MAX;
use crate::protocol::{
    Command, Disconnect, DisconnectCode, ErrorCode, Format, ReplyError, Request, UnsubscribeCode,
};
use crate::token::{
    Check, ConnectionToken, Purpose, SignedClaims, SubscriptionToken, TokenError, TokenMarks,
    TokenRules,
};

impl Session {
    /// Asks about the token of a command that was read, if its signature takes long to check. The
    /// command is to wait, and is read again with what is known then.
    pub(super) fn ask_about_token(
        &mut self,
        command: &Command<'_>,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> bool {
        let Some((purpose, token)) = self.token_of(command, membership) else { return false };
        let is_answered = self.under_way().is_some_and(|under_way| under_way.verdict.is_some());
        if is_answered || !terms.rules.tokens(purpose).asks(token) {
            return false;
        }
        let question = Question::Token { purpose, token: token.to_owned() };
        let under_way = self.begin();
        under_way.word_count = terms.word_count;
        let slot = under_way.await_answer(0, "", Awaited::Token);
        under_way.block(slot);
        effects.push(Effect::Consult { slot, question: question.into() });
        true
    }

    /// The token that decides what becomes of a command.
    fn token_of<'c>(
        &self,
        command: &'c Command<'_>,
        membership: Option<Membership>,
    ) -> Option<(Purpose, &'c str)> {
        let (purpose, token) = match (self.phase, &command.request) {
            (Phase::Waiting, Request::Connect(request)) => (Purpose::Connection, &request.token),
            (Phase::Connected, Request::Refresh(request)) => (Purpose::Connection, &request.token),
            (Phase::Connected, Request::Subscribe(request)) if membership.is_none() => {
                (Purpose::Subscription, &request.token)
            }
            (Phase::Connected, Request::SubRefresh(request)) if membership.is_some() => {
                (Purpose::Subscription, &request.token)
            }
            _ => return None,
        };
        (!token.is_empty()).then_some((purpose, &**token))
    }

    /// The token was checked, or could not be. Returns what was deferred meanwhile, its command
    /// first. Where too many are asked about, its client comes back later.
    pub(super) fn token_checked(
        &mut self,
        slot: SlotId,
        result: &Result<Verdict, Unanswered>,
        effects: &mut Effects,
    ) -> Deferred {
        let verdict = match result {
            Ok(Verdict::Token(verdict)) => verdict.result,
            Err(Unanswered::Busy) => {
                self.close(DisconnectCode::TooManyRequests, effects);
                return Deferred::default();
            }
            _ => Err(TokenError::Unavailable),
        };
        let under_way = self.under_way_mut().expect("it was asked");
        under_way.verdict = Some(verdict);
        under_way.clear_way();
        self.answer_written(slot, Written::nothing(), false, effects)
    }

    /// What was known of a token was of the command that was read.
    pub(super) fn forget_verdict(&mut self) {
        let verdict = self.under_way_mut().and_then(|under_way| under_way.verdict.take());
        if verdict.is_some() {
            self.finish();
        }
    }

    fn signed_claims(
        &self,
        token: &str,
        rules: &TokenRules,
        terms: &Terms,
    ) -> Result<SignedClaims, TokenError> {
        match rules.check(token, terms.now)? {
            Check::Signed(claims) => Ok(claims),
            Check::Ask => {
                let verdict = self.under_way().and_then(|under_way| under_way.verdict);
                rules.claims_of(token, verdict.unwrap_or(Err(TokenError::Unavailable))?)
            }
        }
    }

    /// What a connection token says, if it is to be believed and fits this connection.
    pub(super) fn connection_token(
        &mut self,
        token: &str,
        terms: &Terms,
    ) -> Result<ConnectionToken, TokenError> {
        let rules = terms.rules.tokens(Purpose::Connection);
        let claims = self.signed_claims(token, rules, terms)?;
        let mut token = rules.connection(&claims, &terms.revoked, terms.now)?;
        if !self.user().is_empty() && token.user != self.user() {
            return Err(TokenError::OtherUser);
        }
        // Members that read JSON are sent it as it stands.
        if self.format() == Format::Json && !token.is_all_json() {
            return Err(TokenError::InfoNotJson);
        }
        token.expires = end_of(token.expires, terms);
        token.issued = Some(token.issued.unwrap_or_default().max(ISSUED_LONG_AGO));
        Ok(token)
    }

    /// Closes the connection if the token that it was made with, or refreshed with since, is not
    /// to be believed any more.
    pub fn doubt(&mut self, terms: &Terms, effects: &mut Effects) {
        // Others are connected by something else than a token.
        let Some(issued) = self.issued() else { return };
        let issued = Some(issued).filter(|issued| *issued > ISSUED_LONG_AGO);
        let marks = TokenMarks { id: self.token_id(), user: self.user(), channel: "", issued };
        if terms.revoked.holds(&marks, terms.now) {
            self.close(disconnect(TokenError::Revoked), effects);
        }
    }

    /// Has the client show its token again for a channel that it is in by its own wish, or about to
    /// be.
    pub fn doubt_in(
        &mut self,
        channel: &str,
        membership: Option<Membership>,
        effects: &mut Effects,
    ) -> Deferred {
        let is_server_side = membership.is_some_and(|membership| membership.is_server_side);
        if !self.is_connected() || is_server_side || self.is_put_into_channel(channel) {
            return Deferred::default();
        }
        self.take_out(channel, membership, UnsubscribeCode::Expired, effects)
    }

    /// What a subscription token says, if it is to be believed, and is for this client and this
    /// channel.
    pub(super) fn subscription_token(
        &mut self,
        token: &str,
        channel: &str,
        terms: &Terms,
    ) -> Result<SubscriptionToken, TokenError> {
        let rules = terms.rules.tokens(Purpose::Subscription);
        let claims = self.signed_claims(token, rules, terms)?;
        let mut token = rules.subscription(&claims, &terms.revoked, terms.now)?;
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

/// When a token was issued that does not say so: before anything else.
const ISSUED_LONG_AGO: Duration = Duration::from_secs(1);

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
    use crate::backend::{Question, TokenVerdict, Unanswered, Verdict};
    use crate::token::rig::Signer;
    use crate::token::{Fingerprint, HmacKey, PublicKey, TokenError, TokenRules};
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

    /// A server that knows the public half of this key, and nothing else.
    fn public(signer: &Signer) -> Rules {
        let public_keys = vec![PublicKey::rsa(&signer.pem()).expect("a key")];
        let token = TokenRules { public_keys, ..TokenRules::default() };
        Rules { token, ..Rules::default() }
    }

    /// The control thread answers the only question.
    fn checked(rig: &mut Rig, result: Result<(), TokenError>) {
        assert_eq!(rig.consulted.len(), 1, "one at a time");
        let Question::Token { token, .. } = &rig.consulted[0].1 else { panic!("a token") };
        let result = result.map(|()| Fingerprint::of(token));
        rig.consulted_at(0, Ok(Verdict::Token(TokenVerdict { result, was_known: false })));
    }

    fn connecting(signer: &Signer, claims: &str) -> Rig {
        let mut rig = Rig::new(public(signer));
        rig.terms.now = NOW;
        let token = signer.token(claims);
        rig.frame(&format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"));
        rig
    }

    #[test]
    fn while_nobody_knows_whose_a_client_is_it_knows_since_when() {
        let signer = Signer::rsa(0, "RS256");
        let mut rig = Rig::new(public(&signer));
        (rig.terms.now, rig.terms.word_count) = (NOW, 7);
        assert_eq!(rig.session.unknown_since(), None, "it has asked for nothing");
        let token = signer.token(r#"{"sub":"ann"}"#);
        rig.frame(&format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"));
        rig.terms.word_count = 9;
        assert_eq!((rig.session.unknown_since(), rig.session.is_known()), (Some(7), false));
        checked(&mut rig, Ok(()));
        assert_eq!((rig.session.unknown_since(), rig.session.is_known()), (None, true));
    }

    #[test]
    fn a_command_waits_for_the_check_of_its_token_and_others_wait_for_it() {
        let signer = Signer::rsa(0, "RS256");
        let mut rig = connecting(&signer, r#"{"sub":"ann"}"#);
        subscribe(&mut rig, "a", &signer.token(r#"{"sub":"ann","channel":"a"}"#));
        rig.frame(r#"{"id":3,"rpc":{}}"#);
        assert_eq!((rig.has_connected, rig.lines(), rig.consulted.len()), (false, vec![], 1));
        checked(&mut rig, Ok(()));
        assert_eq!((rig.has_connected, rig.session.user()), (true, "ann"));
        assert_eq!(
            (rig.joining.len(), rig.consulted.len()),
            (0, 1),
            "the next token is asked about"
        );
        checked(&mut rig, Ok(()));
        assert_eq!(rig.joining_names(), ["a"]);
        rig.joined(Ok(()));
        let lines = rig.lines();
        assert!(lines[0].contains("\"id\":1") && lines[2].contains("\"id\":3"), "{lines:?}");
        assert_eq!(lines[1], r#"{"id":2,"subscribe":{}}"#);
        assert!(!rig.session.is_waiting() && !rig.session.is_busy());
    }

    #[test]
    fn a_signature_alone_lets_nobody_in() {
        let signer = Signer::rsa(0, "RS256");
        let code = |rig: &mut Rig| refusal(rig).0;
        let mut late = connecting(&signer, r#"{"sub":"ann","exp":1000000}"#);
        checked(&mut late, Ok(()));
        assert_eq!(code(&mut late), 109);
        let mut forged = connecting(&signer, r#"{"sub":"ann"}"#);
        checked(&mut forged, Err(TokenError::Signature));
        assert_eq!((code(&mut forged), forged.has_connected), (3500, false));
        let mut unlucky = connecting(&signer, r#"{"sub":"ann"}"#);
        checked(&mut unlucky, Err(TokenError::Unavailable));
        assert_eq!((code(&mut unlucky), unlucky.has_connected), (100, false));
        // What was said of one token is said of no other.
        let mut other = connecting(&signer, r#"{"sub":"ann"}"#);
        let result = Ok(Fingerprint::of("another"));
        other.consulted_at(0, Ok(Verdict::Token(TokenVerdict { result, was_known: true })));
        assert_eq!((code(&mut other), other.has_connected), (3500, false));
    }

    #[test]
    fn who_cannot_be_asked_about_comes_back_later() {
        let signer = Signer::rsa(0, "RS256");
        for (why, expected) in [(Unanswered::Busy, 3013), (Unanswered::Failed, 100)] {
            let mut rig = connecting(&signer, r#"{"sub":"ann"}"#);
            rig.consulted_at(0, Err(why));
            assert_eq!(refusal(&mut rig).0, expected);
        }
        let mut slow = connecting(&signer, r#"{"sub":"ann"}"#);
        slow.late();
        assert_eq!(refusal(&mut slow).0, 3004, "it did what it could");
    }

    #[test]
    fn a_token_waits_behind_replies_and_they_do_not_wait_for_it() {
        let signer = Signer::rsa(0, "RS256");
        let mut rig = connecting(&signer, r#"{"sub":"ann"}"#);
        checked(&mut rig, Ok(()));
        rig.lines();
        rig.terms.rules.without_namespace.allow_subscribe_for_client = true;
        rig.frame(r#"{"id":2,"subscribe":{"channel":"b"}}"#);
        let token = signer.token(r#"{"sub":"ann","exp":1000060}"#);
        rig.frame(&format!("{{\"id\":3,\"refresh\":{{\"token\":\"{token}\"}}}}"));
        rig.frame(r#"{"id":4,"rpc":{}}"#);
        checked(&mut rig, Ok(()));
        assert_eq!(rig.lines(), [""; 0], "the subscription is first");
        assert_eq!(rig.session.expires(), Some(Duration::from_secs(1_000_060)));
        rig.joined(Ok(()));
        let lines = rig.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], r#"{"id":3,"refresh":{"expires":true,"ttl":60}}"#);
        assert!(!rig.session.is_waiting());
    }

    #[test]
    fn a_token_that_decides_nothing_is_not_asked_about() {
        let signer = Signer::rsa(0, "RS256");
        let mut rig = connecting(&signer, r#"{"sub":"ann"}"#);
        checked(&mut rig, Ok(()));
        rig.lines();
        let other = Signer::curve("ES256").token(r#"{"sub":"ann","channel":"a"}"#);
        for token in [other.as_str(), &signed(r#"{"sub":"ann","channel":"a"}"#), "t"] {
            subscribe(&mut rig, "a", token);
            assert_eq!((rig.consulted.len(), refusal(&mut rig).0), (0, 103), "{token}");
        }
    }
}
