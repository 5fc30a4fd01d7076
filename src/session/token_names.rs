//! The names of the tokens that a session and its subscriptions rest on, so that it is found when
//! one of them is revoked.
//!
//! Invariant: the shard knows a session by exactly these names. Who has none takes no room for
//! them.

use super::deferred::Deferred;
use super::effects::Effects;
use super::entry::Membership;
use super::state::{Session, Terms};
use crate::protocol::UnsubscribeCode;
use crate::token::{ConnectionToken, TokenMarks};

/// Those of subscriptions that the client has begun, or is about to, by a token with a name.
#[derive(Debug, Default)]
pub(super) struct SubscriptionTokens(Vec<SubscriptionTokenName>);

#[derive(Debug)]
struct SubscriptionTokenName {
    channel: Box<str>,
    name: Box<str>,
}

impl Session {
    /// Takes over what its token says, and by which name it is revoked. Returns whether others are
    /// shown something else now.
    pub(super) fn rest_on(&mut self, token: &ConnectionToken, effects: &mut Effects) -> bool {
        let before = Box::<str>::from(self.token_id());
        let was_known = self.rests_on(&token.id);
        let is_shown_anew = self.set_token(token);
        self.change_names(&before, (&token.id, was_known), effects);
        is_shown_anew
    }

    /// The subscription to this channel rests on the token of this name; on none that has one, if
    /// it is empty.
    pub(super) fn rest_in(&mut self, channel: &str, name: &str, effects: &mut Effects) {
        let before = self.subscription_token_name(channel);
        if before == name {
            return;
        }
        let (before, was_known) = (Box::<str>::from(before), self.rests_on(name));
        let SubscriptionTokens(all) = self.subscription_tokens_mut();
        all.retain(|one| *one.channel != *channel);
        if !name.is_empty() {
            all.push(SubscriptionTokenName { channel: channel.into(), name: name.into() });
        }
        self.change_names(&before, (name, was_known), effects);
        self.finish();
    }

    /// The channels that it is in, or about to enter, by the token of this name.
    pub fn channels_by(&self, name: &str) -> Vec<Box<str>> {
        let all = self.subscription_tokens().filter(|one| *one.name == *name);
        all.map(|one| one.channel.clone()).collect()
    }

    /// Ends the subscriptions to these channels, [which](Self::channels_by) rest on a token that is
    /// not to be believed any more: the client may bring another one. Returns what is to be read
    /// now.
    pub fn doubt_subscriptions(
        &mut self,
        name: &str,
        channels: &[(Box<str>, Option<Membership>)],
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let marks = TokenMarks { id: name, ..TokenMarks::default() };
        if !self.is_connected() || !terms.revoked.holds(&marks, terms.now) {
            return Deferred::default();
        }
        let mut deferred = Deferred::default();
        for (channel, membership) in channels {
            let now = self.take_out(channel, *membership, UnsubscribeCode::Expired, effects);
            // What is deferred is one whole, which goes on once.
            if !now.is_empty() {
                deferred = now;
            }
        }
        deferred
    }

    /// Something rests on another token now: the shard finds it by that name, and by the one before
    /// only if something else rests on it.
    fn change_names(&self, before: &str, (now, was_known): (&str, bool), effects: &mut Effects) {
        if !before.is_empty() && !self.rests_on(before) {
            effects.unmark(before);
        }
        if !now.is_empty() && !was_known {
            effects.mark(now);
        }
    }

    fn rests_on(&self, name: &str) -> bool {
        self.token_id() == name || self.subscription_tokens().any(|one| *one.name == *name)
    }

    /// The name of the token that a subscription rests on; empty for none.
    fn subscription_token_name(&self, channel: &str) -> &str {
        let mut all = self.subscription_tokens();
        all.find(|one| *one.channel == *channel).map_or("", |one| &one.name)
    }

    /// Channels, and the names of the tokens by which it is in them.
    pub(super) fn token_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.subscription_tokens().map(|one| (&*one.channel, &*one.name))
    }

    fn subscription_tokens(&self) -> impl Iterator<Item = &SubscriptionTokenName> {
        let all = self.more_ref().and_then(|more| more.subscription_tokens.as_deref());
        all.into_iter().flat_map(|SubscriptionTokens(all)| all)
    }

    fn subscription_tokens_mut(&mut self) -> &mut SubscriptionTokens {
        self.more().subscription_tokens.get_or_insert_default()
    }
}

impl SubscriptionTokens {
    /// Those of another process; `None` if a name is no text.
    pub(super) fn taken_over(names: Vec<(String, Vec<u8>)>) -> Option<Self> {
        let token = |(channel, name): (String, _)| {
            let name = String::from_utf8(name).ok()?;
            Some(SubscriptionTokenName { channel: channel.into(), name: name.into() })
        };
        names.into_iter().map(token).collect::<Option<_>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::rig::{KEY, Rig, signed};
    use crate::token::{HmacKey, Revoked, TokenRules};
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// A client that has connected with a token of these claims.
    fn connected(claims: &str) -> Rig {
        let token = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
        let mut rig = Rig::new(Rules { token, ..Rules::default() });
        rig.terms.now = NOW;
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, signed(claims)));
        assert_eq!(rig.lines().len(), 1);
        rig
    }

    /// Sends a command with a token for a channel.
    fn ask(rig: &mut Rig, command: &str, channel: &str, id: &str) {
        let claims = format!(r#"{{"sub":"ann","channel":"{channel}","jti":"{id}"}}"#);
        let token = signed(&claims);
        rig.frame(&format!(
            r#"{{"id":2,"{command}":{{"channel":"{channel}","token":"{token}"}}}}"#
        ));
    }

    fn enter(rig: &mut Rig, channel: &str, id: &str) {
        ask(rig, "subscribe", channel, id);
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#]);
    }

    fn revoke(rig: &mut Rig, id: &str) {
        rig.terms.revoked.revoke(id, Revoked::FOR_EVER, NOW).expect("room");
        let channels = rig.session.channels_by(id);
        let channels: Vec<_> =
            channels.into_iter().map(|name| (name.clone(), rig.membership(&name))).collect();
        rig.session.doubt(&rig.terms, &mut rig.effects);
        let deferred = rig.session.doubt_subscriptions(id, &channels, &rig.terms, &mut rig.effects);
        rig.end_step(deferred);
    }

    fn marks(rig: &Rig) -> Vec<&str> {
        rig.marks.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_session_is_found_by_the_names_of_all_tokens_that_it_rests_on_and_no_others() {
        let mut rig = connected(r#"{"sub":"ann","jti":"c"}"#);
        enter(&mut rig, "a", "s");
        enter(&mut rig, "b", "s");
        enter(&mut rig, "d", "c");
        assert_eq!(marks(&rig), ["c", "s"]);
        ask(&mut rig, "sub_refresh", "a", "t");
        assert_eq!(marks(&rig), ["c", "s", "t"]);
        rig.frame(r#"{"id":3,"unsubscribe":{"channel":"b"}}"#);
        assert_eq!(marks(&rig), ["c", "t"]);
        let token = signed(r#"{"sub":"ann","jti":"e"}"#);
        rig.frame(&format!(r#"{{"id":4,"refresh":{{"token":"{token}"}}}}"#));
        assert_eq!(marks(&rig), ["c", "e", "t"], "a channel rests on the first one still");
        rig.frame(r#"{"id":5,"unsubscribe":{"channel":"d"}}"#);
        ask(&mut rig, "sub_refresh", "a", "");
        assert_eq!(marks(&rig), ["e"]);
        assert!(rig.session.more_ref().is_some_and(|more| more.subscription_tokens.is_none()));
    }

    #[test]
    fn who_may_not_enter_is_not_found_by_what_it_brought() {
        let mut rig = connected(r#"{"sub":"ann"}"#);
        ask(&mut rig, "subscribe", "a", "s");
        assert_eq!(marks(&rig), ["s"], "the token may be revoked before the home has answered");
        rig.joined(Err(crate::protocol::ErrorCode::TooManyRequests));
        assert_eq!(marks(&rig), [""; 0]);
        assert!(rig.session.more_ref().is_none());
    }

    #[test]
    fn subscriptions_by_a_revoked_token_end_and_no_others() {
        let mut rig = connected(r#"{"sub":"ann","jti":"c"}"#);
        enter(&mut rig, "a", "s");
        enter(&mut rig, "b", "t");
        ask(&mut rig, "subscribe", "d", "s");
        rig.frame(r#"{"id":3,"publish":{"channel":"d","data":1}}"#);
        revoke(&mut rig, "s");
        let lines = rig.lines();
        let out = |channel: &str| {
            format!(r#"{{"push":{{"channel":"{channel}","unsubscribe":{{"code":2501,"#)
                + r#""reason":"subscription expired"}}}"#
        };
        assert_eq!(lines[0], out("a"));
        assert!(lines[1].starts_with(r#"{"id":2,"error":{"code":103,"#), "{lines:?}");
        assert!(lines[2].starts_with(r#"{"id":3,"#), "what was deferred is read: {lines:?}");
        assert_eq!((rig.members.len(), rig.session.channel_count, rig.closed), (1, 1, None));
        assert_eq!(marks(&rig), ["c", "t"]);
        revoke(&mut rig, "s");
        assert_eq!(rig.lines(), [""; 0]);
        revoke(&mut rig, "c");
        assert!(rig.closed.is_some());
    }
}
