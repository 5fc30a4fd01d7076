//! How long a connection and its subscriptions last, and what prolongs them (14).
//!
//! Each that expires has a delay in which its client may bring a new token. One alarm is set for
//! whatever ends first; one that comes too early, because that has been prolonged or left since,
//! ends nothing and is set anew.

use std::time::Duration;

use super::command::{Outcome, Refusal};
use super::effects::{Effect, Effects, Unsubscribed};
use super::entry::Membership;
use super::state::{Session, Terms};
use super::tokens::{disconnect, unavailable};
use super::under_way::SlotId;
use crate::protocol::{
    DisconnectCode, ErrorCode, Push, Refresh, RefreshResult, Reply, SubRefresh, UnsubscribeCode,
};
use crate::token::TokenError;

/// A subscription that ends unless it is prolonged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expiring {
    pub(super) channel: Box<str>,
    /// When, in seconds since the Unix epoch.
    pub(super) expires_s: u32,
    /// The question of this number is open whether it goes on; 0 for none.
    pub(super) asked: u32,
    /// The client has not asked for it, and cannot prolong it.
    pub(super) is_server_side: bool,
}

impl Session {
    pub(super) fn refresh(
        &mut self,
        request: &Refresh<'_>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if request.token.is_empty() || terms.rules.hooks.refresh.is_some() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let token = self.connection_token(&request.token, terms);
        let token = match token {
            Err(TokenError::Unavailable) => return Err(unavailable()),
            token => token.map_err(|error| Refusal::Close(disconnect(error)))?,
        };
        if token.user != self.user() {
            return Err(Refusal::Close(disconnect(TokenError::OtherUser)));
        }
        if token.expires.is_some_and(|end| end <= terms.now) {
            return Err(DisconnectCode::Expired.into());
        }
        if !self.is_put_into(&token) {
            return Err(Refusal::Close(disconnect(TokenError::OtherChannels)));
        }
        if self.rest_on(&token, effects) {
            effects.push(Effect::ShowAnew);
        }
        self.await_expiry(terms, effects);
        Ok(Outcome::Reply(Reply::Refresh(RefreshResult { ttl_s: self.ttl_s(terms) })))
    }

    /// A token that has expired already ends the subscription as its expiry would: the client
    /// subscribes again, and brings a new one.
    pub(super) fn sub_refresh(
        &mut self,
        request: &SubRefresh<'_>,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let channel = &*request.channel;
        let Membership { is_server_side, .. } = membership.ok_or(ErrorCode::PermissionDenied)?;
        if is_server_side || terms.rules.asks_to_stay(channel).is_some() {
            return Err(DisconnectCode::BadRequest.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let token = match self.subscription_token(&request.token, channel, terms) {
            Err(TokenError::Unavailable) => return Err(unavailable()),
            Err(TokenError::Expired) => {
                self.end_subscription(channel, effects);
                return Err(ErrorCode::TokenExpired.into());
            }
            token => token.map_err(|error| Refusal::Close(disconnect(error)))?,
        };
        if token.expires.is_some_and(|end| end <= terms.now) {
            self.end_subscription(channel, effects);
            return Err(ErrorCode::Expired.into());
        }
        self.set_end(channel, token.expires, false);
        self.rest_in(channel, &token.id, effects);
        self.renew_channel_info(channel, &token.claimed.info, effects);
        self.await_expiry(terms, effects);
        let ttl_s = ttl_s(token.expires, terms);
        Ok(Outcome::Reply(Reply::SubRefresh(RefreshResult { ttl_s })))
    }

    /// Sets the alarm for what ends first, or takes it back.
    pub(super) fn await_expiry(&self, terms: &Terms, effects: &mut Effects) {
        effects.push(Effect::Alarm { after: self.until_expiry(terms) });
    }

    /// How long it is until something ends, if anything does.
    pub(crate) fn until_expiry(&self, terms: &Terms) -> Option<Duration> {
        let own = self.expires().map(|end| end + own_delay(terms));
        let others = self.expiring().iter().map(|one| one.end() + one.delay(terms));
        let first = others.chain(own).min();
        first.map(|end| end.saturating_sub(terms.now))
    }

    /// Ends what has expired, and sets the alarm for what is next.
    pub(super) fn end_expired(&mut self, terms: &Terms, effects: &mut Effects) {
        let has_ended = |end: Duration, delay: Duration| end + delay <= terms.now;
        if self.expires().is_some_and(|end| has_ended(end, own_delay(terms))) {
            match &terms.rules.hooks.refresh {
                Some(proxy) => self.ask_to_go_on(proxy, terms, effects),
                None => return self.close(DisconnectCode::Expired, effects),
            }
        }
        let over = |one: &&Expiring| has_ended(one.end(), one.delay(terms));
        while let Some(one) = self.expiring().iter().find(over) {
            let (channel, is_server_side) = (one.channel.clone(), one.is_server_side);
            match terms.rules.asks_to_stay(&channel) {
                Some(proxy) => self.ask_to_stay(&channel, proxy, terms, effects),
                None => self.end_stay(&channel, is_server_side, effects),
            }
            if self.is_closed() {
                return;
            }
        }
        if self.expires().is_some() || !self.expiring().is_empty() {
            self.await_expiry(terms, effects);
        }
    }

    pub(super) fn end_subscription(&mut self, channel: &str, effects: &mut Effects) {
        self.unsubscribed(channel, UnsubscribeCode::Expired, effects);
    }

    /// The server ends a subscription, and tells the client.
    pub(super) fn unsubscribed(
        &mut self,
        channel: &str,
        code: UnsubscribeCode,
        effects: &mut Effects,
    ) {
        self.leave(channel, Some(Unsubscribed::ByServer(code)), effects);
        self.push(channel, &Push::Unsubscribe(code), effects);
    }

    /// The client is not in a channel any more.
    pub(super) fn leave(
        &mut self,
        channel: &str,
        why: Option<Unsubscribed>,
        effects: &mut Effects,
    ) {
        self.channel_count -= 1;
        self.set_end(channel, None, false);
        self.set_channel_info(channel, &[]);
        self.rest_in(channel, "", effects);
        effects.leave(channel, why);
    }

    /// Notes when a subscription ends, if it does.
    pub(super) fn set_end(&mut self, channel: &str, end: Option<Duration>, is_server_side: bool) {
        if end.is_none() && self.expiring().is_empty() {
            return;
        }
        let all = &mut self.more().expiring;
        all.retain(|one| *one.channel != *channel);
        if let Some(end) = end {
            let expires_s = u32::try_from(end.as_secs()).unwrap_or(u32::MAX);
            all.push(Expiring { channel: channel.into(), expires_s, asked: 0, is_server_side });
        }
        self.finish();
    }

    /// A subscription goes on until then, while it is asked whether it goes on further; returns the
    /// number of the question.
    pub(super) fn await_stay(&mut self, channel: &str, end: Duration) -> u32 {
        let more = self.more();
        more.stays_asked = more.stays_asked % (SlotId::SUB_REFRESHES - 1) + 1;
        let number = more.stays_asked;
        let one = more.expiring.iter_mut().find(|one| *one.channel == *channel);
        let one = one.expect("it was seen to expire");
        one.expires_s = u32::try_from(end.as_secs()).unwrap_or(u32::MAX);
        one.asked = number;
        number
    }

    /// The subscription that this question is about, and whether the server has made it; it is not
    /// open any more.
    pub(super) fn take_awaited_stay(&mut self, number: u32) -> Option<(Box<str>, bool)> {
        self.expiring().iter().find(|one| one.asked == number)?;
        let one = self.more().expiring.iter_mut().find(|one| one.asked == number)?;
        one.asked = 0;
        Some((one.channel.clone(), one.is_server_side))
    }

    /// What the client is told of the end of its connection.
    pub(super) fn ttl_s(&self, terms: &Terms) -> Option<u32> {
        ttl_s(self.expires(), terms)
    }
}

/// Time from the expiry of a connection to its end: none where a back end decides.
fn own_delay(terms: &Terms) -> Duration {
    let delay = terms.rules.expired_close_delay;
    if terms.rules.hooks.refresh.is_some() { Duration::ZERO } else { delay }
}

impl Expiring {
    /// Time from its expiry to its end: none where a back end decides.
    fn delay(&self, terms: &Terms) -> Duration {
        match terms.rules.asks_to_stay(&self.channel) {
            Some(_) => Duration::ZERO,
            None => terms.rules.expired_sub_close_delay,
        }
    }

    fn end(&self) -> Duration {
        Duration::from_secs(self.expires_s.into())
    }
}

/// Whole seconds until then, and at least one, since 0 is not written.
pub(super) fn ttl_s(end: Option<Duration>, terms: &Terms) -> Option<u32> {
    let life = end?.saturating_sub(terms.now);
    Some(u32::try_from(life.as_secs()).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::rig::{KEY, Rig, signed};
    use super::*;
    use crate::token::{HmacKey, TokenRules};

    const NOW: Duration = Duration::from_secs(1_000_000);
    const DELAY: Duration = Duration::from_secs(25);
    const MINUTE: Duration = Duration::from_mins(1);

    /// Ann's client, and its connection for as long.
    fn ann(claims: &str) -> Rig {
        let token = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
        let mut rig = Rig::new(Rules { token, ..Rules::default() });
        rig.terms.now = NOW;
        let token = signed(claims);
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        assert_eq!(rig.lines().len(), 1);
        rig
    }

    /// In a channel for so many seconds, or for ever.
    fn enter(rig: &mut Rig, channel: &str, life_s: Option<u64>) -> String {
        let end = life_s.map(|life| format!(r#","exp":{}"#, rig.terms.now.as_secs() + life));
        let end = end.unwrap_or_default();
        let token = signed(&format!(r#"{{"sub":"ann","channel":"{channel}"{end}}}"#));
        rig.frame(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"{channel}","token":"{token}"}}}}"#
        ));
        rig.joined(Ok(()));
        rig.lines().remove(0)
    }

    fn refresh(rig: &mut Rig, channel: &str, claims: &str) -> Vec<String> {
        let token = signed(claims);
        rig.frame(&format!(
            r#"{{"id":3,"sub_refresh":{{"channel":"{channel}","token":"{token}"}}}}"#
        ));
        rig.lines()
    }

    const EXPIRED: &str =
        r#"{"push":{"channel":"a","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#;

    #[test]
    fn a_subscription_that_nobody_prolongs_ends_when_its_delay_is_over_too() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        let reply = enter(&mut rig, "a", Some(60));
        assert_eq!(reply, r#"{"id":2,"subscribe":{"expires":true,"ttl":60}}"#);
        assert_eq!(rig.alarm, Some(MINUTE + DELAY));
        enter(&mut rig, "b", None);
        rig.terms.now += Duration::from_millis(84_999);
        rig.late();
        assert_eq!((rig.lines(), rig.alarm), (vec![], Some(Duration::from_millis(1))));
        rig.terms.now += Duration::from_millis(1);
        rig.late();
        assert_eq!(rig.lines(), [EXPIRED]);
        assert_eq!((rig.members.len(), rig.session.channel_count, rig.closed), (1, 1, None));
        assert_eq!(rig.session.expiring(), []);
    }

    #[test]
    fn whatever_ends_first_sets_the_alarm() {
        let mut rig = ann(r#"{"sub":"ann","exp":1000050}"#);
        enter(&mut rig, "b", Some(60));
        assert_eq!(rig.alarm, Some(Duration::from_secs(50) + DELAY));
        enter(&mut rig, "a", Some(10));
        assert_eq!(rig.alarm, Some(Duration::from_secs(10) + DELAY));
        rig.terms.now += Duration::from_secs(10) + DELAY;
        rig.late();
        assert_eq!(
            (rig.lines(), rig.alarm),
            (vec![EXPIRED.to_owned()], Some(Duration::from_secs(40)))
        );
        rig.terms.now += Duration::from_secs(50);
        rig.late();
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::Expired));
    }

    #[test]
    fn a_new_token_moves_the_end_of_its_subscription() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        enter(&mut rig, "a", Some(60));
        rig.terms.now += MINUTE;
        let lines = refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a","exp":1000160}"#);
        assert_eq!(lines, [r#"{"id":3,"sub_refresh":{"expires":true,"ttl":100}}"#]);
        assert_eq!(rig.alarm, Some(Duration::from_secs(100) + DELAY));
        rig.terms.now += DELAY;
        rig.late();
        assert_eq!(rig.members.len(), 1);
        let lines = refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a"}"#);
        assert_eq!((&*lines[0], rig.alarm), (r#"{"id":3,"sub_refresh":{}}"#, None));
        rig.terms.now += 10 * MINUTE;
        rig.late();
        assert_eq!((rig.members.len(), rig.lines()), (1, vec![]));
    }

    #[test]
    fn a_new_token_says_what_others_are_shown_from_now_on() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        enter(&mut rig, "a", Some(60));
        refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a","info":{"n":1}}"#);
        assert_eq!(rig.shown_anew_in, ["a"]);
        assert_eq!(rig.session.shown_in("a", &rig.terms).channel_info, b"{\"n\":1}");
        // The same again, and nothing at all, change nothing.
        refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a","info":{"n":1}}"#);
        refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a"}"#);
        assert_eq!(rig.shown_anew_in.len(), 1);
        assert_eq!(rig.session.shown_in("a", &rig.terms).channel_info, b"{\"n\":1}");
    }

    #[test]
    fn a_new_token_that_has_expired_ends_the_subscription_and_one_that_is_wrong_the_connection() {
        for (claims, code) in [
            (r#"{"sub":"ann","channel":"a","exp":1000000}"#, 109),
            (r#"{"sub":"ann","channel":"a","expire_at":1000000}"#, 110),
        ] {
            let mut rig = ann(r#"{"sub":"ann"}"#);
            enter(&mut rig, "a", Some(60));
            let lines = refresh(&mut rig, "a", claims);
            assert_eq!(lines[0], EXPIRED);
            assert!(lines[1].contains(&format!("\"code\":{code}")), "{lines:?}");
            assert_eq!((rig.members.len(), rig.session.channel_count), (0, 0));
        }
        for claims in [
            r#"{"sub":"ann","channel":"b"}"#,
            r#"{"sub":"bob","channel":"a"}"#,
            r#"{"sub":"ann"}"#,
            r#"{"sub":"ann","channel":"a","client":"other"}"#,
        ] {
            let mut rig = ann(r#"{"sub":"ann"}"#);
            enter(&mut rig, "a", Some(60));
            assert_eq!(refresh(&mut rig, "a", claims), [""; 0]);
            assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::InvalidToken));
        }
    }

    #[test]
    fn only_who_is_in_a_channel_of_its_own_accord_prolongs_it() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        let lines = refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a"}"#);
        assert!(lines[0].contains("\"code\":103"), "{lines:?}");
        enter(&mut rig, "a", None);
        rig.frame(r#"{"id":3,"sub_refresh":{"channel":"a"}}"#);
        let lines = rig.lines();
        assert!(lines[0].contains("\"code\":107"), "{lines:?}");
        let mut rig = Rig::new(rig.terms.rules.clone());
        rig.terms.now = NOW;
        let token = signed(r#"{"sub":"ann","channels":["a"]}"#);
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        rig.joined(Ok(()));
        rig.lines();
        refresh(&mut rig, "a", r#"{"sub":"ann","channel":"a"}"#);
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::BadRequest));
    }

    #[test]
    fn who_has_left_is_not_told_that_it_has_expired() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        enter(&mut rig, "a", Some(60));
        rig.frame(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        rig.lines();
        assert_eq!(rig.session.expiring(), []);
        rig.terms.now += 10 * MINUTE;
        rig.late();
        assert_eq!((rig.lines(), rig.closed), (vec![], None));
        enter(&mut rig, "a", Some(60));
        assert_eq!(rig.session.expiring().len(), 1);
    }

    #[test]
    fn a_subscription_that_the_server_made_ends_the_connection_as_it_expires() {
        let mut rig = ann(r#"{"sub":"ann"}"#);
        rig.session.set_end("s", Some(NOW), true);
        rig.terms.now += DELAY;
        rig.late();
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::SubscriptionExpired));
    }
}
