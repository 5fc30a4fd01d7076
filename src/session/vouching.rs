//! Clients whom a back end vouches for: connects without a token, and connections that expire (19).
//!
//! A connection that expires is given a minute while the back end is asked. If there is no answer
//! it is asked again at the end of it.

use std::time::Duration;

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entrances::HeldChannels;
use super::options::{ChannelOptions, RecoveryMode};
use super::state::{Phase, Session, Terms};
use super::tokens::end_of;
use super::under_way::{Awaited, SlotId, Taken};
use crate::backend::{ConnectResult, Event, RefreshResult, Unanswered, Verdict};
use crate::limits::{REFRESH_RETRY_PERIOD, USER_ID_BYTES_MAX};
use crate::protocol::{Connect, DisconnectCode, ErrorCode, Format, Reply};
use crate::token::{Claimed, ConnectionToken};

impl Session {
    /// Asks who a client is.
    pub(super) fn ask_who(
        &mut self,
        id: u32,
        request: &Connect<'_>,
        proxy: &str,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let event = Event::Connect {
            data: request.data.bytes().to_vec(),
            name: (*request.name).to_owned(),
            version: (*request.version).to_owned(),
            channels: request.subs.iter().map(|(name, _)| name.to_owned()).collect(),
        };
        let question = self.call(proxy, event, terms);
        self.phase = Phase::SigningIn;
        let under_way = self.begin();
        under_way.word_count = terms.word_count;
        let slot = under_way.await_answer(id, "", Awaited::Connect(HeldChannels::of(request)));
        under_way.block(slot);
        effects.push(Effect::Consult { slot, question: question.into() });
    }

    /// The back end has said who a client is, or that it is nobody.
    pub(super) fn connect_as(
        &mut self,
        taken: Taken,
        mut held: HeldChannels,
        result: Option<ConnectResult>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let id = taken.id;
        for (channel, sub) in result.iter().flat_map(|result| &result.subs) {
            let is_cache = |options: &ChannelOptions| {
                options.overridden(sub.overrides).recovery_mode == RecoveryMode::Cache
            };
            if sub.recovers_cache && terms.rules.options(channel).is_ok_and(is_cache) {
                held.recover_latest(channel);
            }
        }
        let connected = self.take_over(result, terms).and_then(|(claimed, data)| {
            let mut entrances = self.plan_entrances(claimed, &held, &terms.rules)?;
            entrances.data = data;
            Ok(entrances)
        });
        match connected {
            Ok(entrances) => {
                self.under_way_mut().expect("it was taken from").leave_first();
                self.begin_with(id, entrances, terms, effects);
                self.read_on()
            }
            Err(Refusal::Reply(error)) => self.refuse(taken, &Reply::Error(error), effects),
            Err(Refusal::Close(why)) => {
                self.close(why, effects);
                Deferred::default()
            }
        }
    }

    /// Takes over what a back end says; returns the channels that the client is put into, and what
    /// it is told.
    fn take_over(
        &mut self,
        result: Option<ConnectResult>,
        terms: &Terms,
    ) -> Result<(Vec<Claimed>, Vec<u8>), Refusal> {
        let Some(result) = result else {
            let is_let_in = terms.rules.admits_anonymous();
            let nobody = || Ok((Vec::new(), Vec::new()));
            return if is_let_in { nobody() } else { Err(DisconnectCode::BadRequest.into()) };
        };
        let expires = end_of(moment(result.expire_at), terms);
        let claimed = result.subs.iter().map(|(channel, sub)| Claimed {
            channel: channel.clone(),
            info: sub.info.clone(),
            data: sub.data.clone(),
            overrides: sub.overrides,
        });
        let token = ConnectionToken {
            user: result.user,
            expires,
            info: result.info,
            meta: result.meta,
            subscriptions: claimed.collect(),
            id: String::new(),
            issued: None,
        };
        let is_sayable = self.format() == Format::Protobuf || token.is_all_json();
        if token.user.len() > USER_ID_BYTES_MAX || !is_sayable || self.cannot_be_said(&result.data)
        {
            return Err(ErrorCode::Internal.into());
        }
        if token.expires.is_some_and(|end| end <= terms.now) {
            return Err(ErrorCode::Expired.into());
        }
        self.set_token(&token);
        for (channel, sub) in &result.subs {
            self.set_end(channel, end_of(moment(sub.expire_at), terms), true);
        }
        Ok((token.subscriptions, result.data))
    }

    /// Asks whether a connection goes on that has expired.
    pub(super) fn ask_to_go_on(&mut self, proxy: &str, terms: &Terms, effects: &mut Effects) {
        let question = self.call(proxy, Event::Refresh, terms);
        self.set_expiry(Some(terms.now + REFRESH_RETRY_PERIOD));
        effects.push(Effect::Consult { slot: SlotId::REFRESH, question: question.into() });
        self.await_expiry(terms, effects);
    }

    /// The back end has said whether a connection goes on, or has not.
    pub(super) fn go_on_as(
        &mut self,
        result: Result<Verdict, Unanswered>,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        match result {
            Ok(Verdict::Refresh(Some(result))) => self.prolong(result, terms, effects),
            Ok(Verdict::Refresh(None)) => self.close(DisconnectCode::Expired, effects),
            Ok(Verdict::Disconnect(end)) => self.close_as(&end, effects),
            // It has its minute.
            Ok(_) | Err(_) => {}
        }
    }

    fn prolong(&mut self, result: RefreshResult, terms: &Terms, effects: &mut Effects) {
        let expires = end_of(moment(result.expire_at), terms);
        if expires.is_some_and(|end| end <= terms.now) {
            return self.close(DisconnectCode::Expired, effects);
        }
        self.set_expiry(expires);
        let info = result.info.filter(|info| !self.cannot_be_said(info) && **info != *self.info());
        if let Some(info) = info {
            let user = self.user().to_owned();
            self.show(&user, &info);
            effects.push(Effect::ShowAnew);
        }
        if let Some(meta) = result.meta {
            self.set_meta(&meta);
        }
        self.finish();
        self.await_expiry(terms, effects);
    }
}

/// A time as back ends say it.
pub(super) fn moment(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::hooks::Hooks;
    use super::super::options::Retention;
    use super::super::rig::Rig;
    use super::*;
    use crate::backend::{self, Question, SubscribeResult};

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn rig() -> Rig {
        let hooks = Hooks {
            connect: Some("who".to_owned()),
            refresh: Some("on".to_owned()),
            ..Hooks::default()
        };
        let mut rig = Rig::new(Rules { hooks, ..Rules::default() });
        rig.terms.now = NOW;
        rig.frame(concat!(
            "{\"id\":1,\"connect\":{\"data\":{\"k\":1},\"name\":\"js\",\"subs\":{\"s\":{}}}}\n",
            "{\"id\":2,\"presence\":{\"channel\":\"a\"}}",
        ));
        assert_eq!((rig.has_connected, rig.lines()), (false, vec![]));
        rig
    }

    fn ann(expire_at: u64) -> ConnectResult {
        let sub = SubscribeResult { data: b"5".to_vec(), ..SubscribeResult::default() };
        ConnectResult {
            user: "ann".to_owned(),
            expire_at,
            info: b"{\"n\":1}".to_vec(),
            data: b"[1]".to_vec(),
            meta: b"{\"m\":2}".to_vec(),
            subs: [("own".to_owned(), sub)].into(),
        }
    }

    fn connect(rig: &mut Rig, result: Option<ConnectResult>) {
        rig.consulted_at(0, Ok(Verdict::Connect(result.map(Box::new))));
    }

    #[test]
    fn a_client_is_who_the_back_end_says() {
        let mut rig = rig();
        let Question::Call(call) = &rig.consulted[0].1 else { panic!("a call") };
        assert_eq!((&*call.proxy, &*call.caller.user), ("who", ""));
        let event = Event::Connect {
            data: br#"{"k":1}"#.to_vec(),
            name: "js".to_owned(),
            version: String::new(),
            channels: vec!["s".to_owned()],
        };
        assert_eq!(call.event, event);
        connect(&mut rig, Some(ann(1_000_060)));
        assert_eq!(rig.joining_names(), ["own"]);
        rig.joined(Ok(()));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""data":[1],"subs":{"own":{"data":5}}"#), "{lines:?}");
        assert!(!lines[0].contains("ttl"), "the client need not bring anything: {lines:?}");
        assert!(lines[1].contains("\"id\":2"), "{lines:?}");
        assert_eq!((rig.session.user(), rig.session.meta()), ("ann", &b"{\"m\":2}"[..]));
        assert_eq!(rig.alarm, Some(Duration::from_mins(1)));
    }

    #[test]
    fn what_a_cache_has_is_sent_to_whom_the_back_end_says() {
        for (recovery_mode, recovers_cache) in [
            (RecoveryMode::Cache, true),
            (RecoveryMode::Cache, false),
            (RecoveryMode::Stream, true),
        ] {
            let mut rig = rig();
            let history = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };
            rig.terms.rules.without_namespace = ChannelOptions {
                history: Some(history),
                force_recovery: true,
                recovery_mode,
                ..ChannelOptions::default()
            };
            let mut result = ann(0);
            result.subs.get_mut("own").expect("it is there").recovers_cache = recovers_cache;
            connect(&mut rig, Some(result));
            let recovers = rig.joining[0].1.recover.is_some();
            let expected = recovery_mode == RecoveryMode::Cache && recovers_cache;
            assert_eq!(recovers, expected, "{recovery_mode:?} {recovers_cache}");
        }
    }

    #[test]
    fn nobody_is_let_in_where_nobody_may_be() {
        let mut strangers = rig();
        connect(&mut strangers, None);
        assert_eq!(strangers.closed, Some(DisconnectCode::BadRequest.into()));
        let mut open = rig();
        open.terms.rules.allow_anonymous_connect_without_token = true;
        connect(&mut open, None);
        assert!(open.has_connected && open.session.user().is_empty());
    }

    #[test]
    fn who_is_refused_is_told_so_and_not_listened_to() {
        let fault = backend::Fault { code: 1000, message: "no".to_owned(), temporary: false };
        let broken = ConnectResult { data: b"{".to_vec(), ..ann(0) };
        let long = ConnectResult { user: "u".repeat(USER_ID_BYTES_MAX + 1), ..ann(0) };
        let connect = |result: ConnectResult| Ok(Verdict::Connect(Some(Box::new(result))));
        for (verdict, code) in [
            (Err(Unanswered::Failed), 100),
            (Ok(Verdict::Fault(fault)), 1000),
            (connect(broken), 100),
            (connect(long), 100),
            (connect(ann(NOW.as_secs())), 110),
        ] {
            let mut rig = rig();
            rig.consulted_at(0, verdict);
            let lines = rig.lines();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(&format!("\"code\":{code}")), "{lines:?}");
            rig.frame(r#"{"id":3,"rpc":{}}"#);
            assert_eq!((rig.lines(), rig.has_connected), (vec![], false));
        }
    }

    /// Ann's client, whose connection expires just now.
    fn expired() -> Rig {
        let mut rig = rig();
        connect(&mut rig, Some(ann(1_000_060)));
        rig.joined(Ok(()));
        rig.lines();
        rig.terms.now += Duration::from_mins(1);
        rig.late();
        let Question::Call(call) = &rig.consulted[0].1 else { panic!("a call") };
        assert_eq!((&*call.proxy, &call.event), ("on", &Event::Refresh));
        assert_eq!((&*call.caller.user, &*call.caller.meta), ("ann", &b"{\"m\":2}"[..]));
        rig
    }

    #[test]
    fn a_connection_goes_on_for_as_long_as_the_back_end_says() {
        let mut rig = expired();
        let info = Some(b"7".to_vec());
        let on = RefreshResult { expire_at: 1_000_100, info, meta: Some(b"8".to_vec()) };
        rig.consulted_at(0, Ok(Verdict::Refresh(Some(on))));
        assert_eq!((rig.session.info(), rig.session.meta()), (&b"7"[..], &b"8"[..]));
        assert_eq!((rig.alarm, rig.lines()), (Some(Duration::from_secs(40)), vec![]));
        rig.terms.now += Duration::from_secs(40);
        rig.late();
        let for_ever = RefreshResult { expire_at: 0, info: None, meta: None };
        rig.consulted_at(0, Ok(Verdict::Refresh(Some(for_ever))));
        assert_eq!((rig.alarm, rig.session.info(), rig.closed), (None, &b"7"[..], None));
    }

    #[test]
    fn a_connection_ends_when_the_back_end_says_so_and_waits_while_it_says_nothing() {
        let past = RefreshResult { expire_at: 1, info: None, meta: None };
        for over in [None, Some(past)] {
            let mut rig = expired();
            rig.consulted_at(0, Ok(Verdict::Refresh(over)));
            assert_eq!(rig.closed, Some(DisconnectCode::Expired.into()));
        }
        let mut rig = expired();
        for _ in 0..3 {
            rig.consulted_at(0, Err(Unanswered::Failed));
            assert_eq!((rig.alarm, rig.closed), (Some(REFRESH_RETRY_PERIOD), None));
            rig.terms.now += REFRESH_RETRY_PERIOD;
            rig.late();
        }
        assert_eq!(rig.consulted.len(), 1);
    }

    #[test]
    fn where_a_back_end_refreshes_clients_do_not() {
        let mut rig = expired();
        rig.frame(r#"{"id":3,"refresh":{"token":"t"}}"#);
        assert_eq!(rig.closed, Some(DisconnectCode::BadRequest.into()));
    }
}
