//! Subscriptions that expire, where a back end says whether they go on (19).
//!
//! As with connections, one that expires is given a minute while the back end is asked, and is
//! asked about again at the end of it if there is no answer. Where a back end is asked, no client
//! prolongs a subscription by a token.

use super::effects::{Effect, Effects};
use super::rules::Rules;
use super::state::{Session, Terms};
use super::tokens::end_of;
use super::under_way::SlotId;
use super::vouching::moment;
use crate::backend::{Event, RefreshResult, Unanswered, Verdict};
use crate::limits::REFRESH_RETRY_PERIOD;
use crate::protocol::DisconnectCode;

impl Rules {
    /// Who says whether subscriptions to this channel go on, if it is a back end.
    pub(super) fn asks_to_stay(&self, channel: &str) -> Option<&str> {
        self.hooks.sub_refresh.of(self.naming.namespace(channel))
    }
}

impl Session {
    /// Asks whether a subscription goes on that has expired.
    pub(super) fn ask_to_stay(
        &mut self,
        channel: &str,
        proxy: &str,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let question = self.call(proxy, Event::SubRefresh { channel: channel.to_owned() }, terms);
        let number = self.await_stay(channel, terms.now + REFRESH_RETRY_PERIOD);
        let slot = SlotId::sub_refresh(number);
        effects.push(Effect::Consult { slot, question: question.into() });
    }

    /// The back end has said whether a subscription goes on, or has not. One that has ended
    /// meanwhile, or was asked about again, is not meant.
    pub(super) fn stay_as(
        &mut self,
        number: u32,
        result: Result<Verdict, Unanswered>,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let Some((channel, is_server_side)) = self.take_awaited_stay(number) else { return };
        match result {
            Ok(Verdict::SubRefresh(Some(result))) => {
                self.stay(&channel, is_server_side, &result, terms, effects);
            }
            Ok(Verdict::SubRefresh(None)) => self.end_stay(&channel, is_server_side, effects),
            Ok(Verdict::Disconnect(end)) => self.close_as(&end, effects),
            // It has its minute.
            Ok(_) | Err(_) => {}
        }
    }

    fn stay(
        &mut self,
        channel: &str,
        is_server_side: bool,
        result: &RefreshResult,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let expires = end_of(moment(result.expire_at), terms);
        if expires.is_some_and(|end| end <= terms.now) {
            return self.end_stay(channel, is_server_side, effects);
        }
        self.set_end(channel, expires, is_server_side);
        if let Some(info) = &result.info
            && !self.cannot_be_said(info)
        {
            self.renew_channel_info(channel, info, effects);
        }
        self.await_expiry(terms, effects);
    }

    /// A subscription has expired for good: with it the connection, if the server has made it.
    pub(super) fn end_stay(&mut self, channel: &str, is_server_side: bool, effects: &mut Effects) {
        if is_server_side {
            self.close(DisconnectCode::SubscriptionExpired, effects);
        } else {
            self.end_subscription(channel, effects);
        }
    }

    /// From now on others are shown this of it in a channel that it is in. What is empty says
    /// nothing.
    pub(super) fn renew_channel_info(&mut self, channel: &str, info: &[u8], effects: &mut Effects) {
        if info.is_empty() || info == self.channel_info(channel) {
            return;
        }
        self.set_channel_info(channel, info);
        effects.show_anew_in(channel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::hooks::Hooks;
    use super::super::rig::Rig;
    use super::*;
    use crate::backend::{self, Question, SubscribeResult};

    const NOW: Duration = Duration::from_secs(1_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    /// A client that a back end has let into the channel for a minute, which is over just now.
    fn expired() -> Rig {
        let mut hooks = Hooks::default();
        hooks.subscribe.set(None, "gate".to_owned());
        hooks.sub_refresh.set(None, "stay".to_owned());
        let mut rig = Rig::new(Rules {
            hooks,
            allow_anonymous_connect_without_token: true,
            ..Rules::default()
        });
        rig.terms.now = NOW;
        rig.frame("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
        let expire_at = (NOW + MINUTE).as_secs();
        let result = SubscribeResult { expire_at, info: b"1".to_vec(), ..Default::default() };
        rig.consulted_at(0, Ok(Verdict::Subscribe(result)));
        rig.joined(Ok(()));
        let lines = rig.lines();
        assert_eq!(lines[1], r#"{"id":2,"subscribe":{}}"#, "the client need not do anything");
        assert_eq!(rig.alarm, Some(MINUTE));
        rig.terms.now += MINUTE;
        rig.late();
        let Question::Call(call) = &rig.consulted[0].1 else { panic!("a call") };
        let event = Event::SubRefresh { channel: "a".to_owned() };
        assert_eq!((&*call.proxy, &call.event), ("stay", &event));
        assert_eq!((rig.alarm, rig.lines()), (Some(REFRESH_RETRY_PERIOD), vec![]));
        rig
    }

    fn on(expire_at: u64, info: Option<&str>) -> Verdict {
        let info = info.map(|info| info.as_bytes().to_vec());
        Verdict::SubRefresh(Some(RefreshResult { expire_at, info, meta: None }))
    }

    const EXPIRED: &str =
        r#"{"push":{"channel":"a","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#;

    #[test]
    fn a_subscription_goes_on_for_as_long_as_the_back_end_says() {
        let mut rig = expired();
        let end = (NOW + 2 * MINUTE).as_secs();
        rig.consulted_at(0, Ok(on(end, Some("2"))));
        assert_eq!((rig.alarm, rig.lines(), rig.members.len()), (Some(MINUTE), vec![], 1));
        assert_eq!(rig.shown_anew_in, ["a"]);
        let shown = rig.session.shown_in("a", &rig.terms);
        assert_eq!(shown.channel_info, b"2");
        rig.terms.now += MINUTE;
        rig.late();
        rig.consulted_at(0, Ok(on(0, Some("2"))));
        assert_eq!((rig.alarm, rig.shown_anew_in.len()), (None, 1), "for ever, and as before");
    }

    #[test]
    fn a_subscription_ends_when_the_back_end_says_so_or_disconnects() {
        for over in [Verdict::SubRefresh(None), on(1, None)] {
            let mut rig = expired();
            rig.consulted_at(0, Ok(over));
            assert_eq!((rig.lines(), rig.members.len()), (vec![EXPIRED.to_owned()], 0));
        }
        let mut rig = expired();
        let end = backend::Disconnect { code: 4501, reason: "out".to_owned() };
        rig.consulted_at(0, Ok(Verdict::Disconnect(end)));
        assert_eq!(rig.closed_as, Some((4501, "out".to_owned())));
    }

    #[test]
    fn without_an_answer_it_has_a_minute_and_is_asked_about_again() {
        let mut rig = expired();
        rig.consulted_at(0, Err(Unanswered::Failed));
        assert_eq!((rig.lines(), rig.members.len()), (vec![], 1));
        rig.terms.now += REFRESH_RETRY_PERIOD;
        rig.late();
        assert_eq!(rig.consulted.len(), 1);
        // An answer to the first question, which comes behind the second, says nothing.
        rig.terms.now += REFRESH_RETRY_PERIOD;
        rig.late();
        rig.consulted_at(0, Ok(Verdict::SubRefresh(None)));
        assert_eq!((rig.lines(), rig.members.len()), (vec![], 1));
        rig.consulted_at(0, Ok(Verdict::SubRefresh(None)));
        assert_eq!(rig.lines(), [EXPIRED]);
    }

    #[test]
    fn who_has_left_meanwhile_is_not_meant_and_clients_prolong_nothing() {
        let mut rig = expired();
        rig.frame(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        rig.lines();
        rig.consulted_at(0, Ok(Verdict::SubRefresh(None)));
        assert_eq!((rig.lines(), rig.closed), (vec![], None));
        let mut rig = expired();
        rig.frame(r#"{"id":3,"sub_refresh":{"channel":"a","token":"t"}}"#);
        assert_eq!(rig.closed, Some(DisconnectCode::BadRequest.into()));
    }

    #[test]
    fn one_that_the_server_has_made_takes_the_connection_with_it() {
        let mut rig = expired();
        rig.session.set_end("s", Some(rig.terms.now), true);
        rig.late();
        let slot = rig.consulted.len() - 1;
        rig.consulted_at(slot, Ok(Verdict::SubRefresh(None)));
        assert_eq!(rig.closed, Some(DisconnectCode::SubscriptionExpired.into()));
    }
}
