//! What a back end does to a client that is connected: it puts the client into a channel, or out
//! of one, and says anew who it is and for how long (13, 20).

use std::time::Duration;

use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entrances::not_entered;
use super::entry::{Entered, Entrant, Membership};
use super::grants::Wishes;
use super::losses;
use super::state::{Session, Terms};
use super::subscribe::Plan;
use super::under_way::{Awaited, SlotId, Taken};
use crate::protocol::{DisconnectCode, ErrorCode, Push, Reply, Subscription, UnsubscribeCode};
use crate::token::Claimed;

/// A subscription that a back end has begun, until the channel's home has answered.
#[derive(Debug)]
pub(super) struct PutIn {
    entrant: Entrant,
    /// What the client is told of it.
    data: Box<[u8]>,
    /// When it ends, if it does.
    expires: Option<Duration>,
}

impl Session {
    /// Puts the client into a channel until it `expires`, and has it recover what came after
    /// `since`. Nothing is done where it is in it, or on its way in, or that time is over. A
    /// subscribe of its own that a back end is asked about comes too late.
    pub fn put_into(
        &mut self,
        claimed: &Claimed,
        (since, expires): (Option<(u64, &str)>, Option<Duration>),
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let channel = claimed.channel.as_str();
        let is_entering = self.awaited_entry(channel).is_some();
        let is_over = expires.is_some_and(|end| end <= terms.now);
        if membership.is_some() || is_entering || is_over {
            return;
        }
        if self.is_connecting() {
            return self.plan_to_put_into(claimed, (since, expires), terms, effects);
        }
        // The back end was told of a namespace that is not there.
        let Ok(options) = terms.rules.options(channel) else { return };
        if !self.is_connected() {
            return;
        }
        self.overrule(channel, ErrorCode::AlreadySubscribed);
        if self.channel_count >= terms.rules.channel_limit {
            return self.close(DisconnectCode::ChannelLimit, effects);
        }
        let options = options.overridden(claimed.overrides);
        let plan = Plan {
            options,
            grant: terms.rules.grant(options, self.user(), Wishes::default()),
            since,
            is_server_side: true,
            replaces_others: false,
            channel_info: &claimed.info,
            filter: None,
            has_user: !self.user().is_empty(),
        };
        let data = claimed.data.as_slice().into();
        let put_in = PutIn { entrant: plan.entrant(), data, expires };
        self.channel_count += 1;
        self.begin().await_answer(0, channel, Awaited::PutIn(put_in));
        self.set_channel_info(channel, plan.channel_info);
        self.set_channel_info(channel, &claimed.info);
        effects.enter(channel, &plan, &terms.rules);
    }

    /// Whether the answer of this channel's home is that to a back end's subscription: what it
    /// recovers is then told in pushes.
    pub fn is_put_into_channel(&self, channel: &str) -> bool {
        self.under_way().is_some_and(|under_way| under_way.awaits_put_in(channel))
    }

    /// The home has answered: the client is told that it is in the channel, and what it recovers.
    pub(super) fn was_put_into(
        &mut self,
        slot: SlotId,
        put_in: &PutIn,
        channel: &str,
        result: Result<Entered<'_>, ErrorCode>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let entered = match result {
            Ok(entered) => entered,
            Err(code) => {
                self.close(not_entered(code), effects);
                return Deferred::default();
            }
        };
        if put_in.expires.is_some() {
            self.set_end(channel, put_in.expires, true);
            self.await_expiry(terms, effects);
        }
        let told = losses::told(entered.lost, channel, &put_in.data);
        let result = put_in.entrant.result(&entered, &told.data);
        let push = Push::Subscribe(Subscription {
            recoverable: result.recoverable,
            epoch: result.epoch,
            offset: result.offset,
            positioned: result.positioned,
            data: result.data,
        });
        let mut written = effects.outbox.write_push(channel, &push);
        if let Some(message) = told.message {
            written = effects.outbox.followed_by_message(written, &message);
        }
        let written = written.followed_by(effects.outbox.format(), result.publications);
        self.answer_written(slot, written, true, effects)
    }

    /// Puts the client out of a channel, also one that it is on its way into.
    pub fn put_out(
        &mut self,
        channel: &str,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        if self.is_connecting() {
            return self.plan_to_put_out(channel, terms, effects);
        }
        if !self.is_connected() {
            return Deferred::default();
        }
        self.overrule(channel, ErrorCode::PermissionDenied);
        self.take_out(channel, membership, UnsubscribeCode::Server, effects)
    }

    /// The client is not in a channel any more, nor on its way into it.
    pub(super) fn take_out(
        &mut self,
        channel: &str,
        membership: Option<Membership>,
        why: UnsubscribeCode,
        effects: &mut Effects,
    ) -> Deferred {
        let push = Push::Unsubscribe(why);
        // On its way into a channel that keeps nothing it is a member already.
        let Some(slot) = self.awaited_entry(channel) else {
            if membership.is_some() {
                self.unsubscribed(channel, why, effects);
            }
            return Deferred::default();
        };
        let taken = self.take(slot);
        self.leave(channel, None, effects);
        if let Taken { awaited: Awaited::Entry(..), .. } = taken {
            return self.answer(taken, &Reply::Error(ErrorCode::PermissionDenied.into()), effects);
        }
        let written = effects.outbox.write_push(channel, &push);
        self.answer_written(slot, written, false, effects)
    }

    /// Says anew when the connection expires, never without a time, and what others are shown of
    /// it, unless nothing is said of that.
    pub fn be_refreshed(
        &mut self,
        expires: Option<Duration>,
        info: Option<&[u8]>,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        if expires.is_some_and(|end| end <= terms.now) {
            return self.close(DisconnectCode::Expired, effects);
        }
        if !self.is_connected() && !self.is_connecting() {
            return;
        }
        self.set_expiry(expires);
        if let Some(info) = info {
            let user = self.user().to_owned();
            if info != self.info() {
                self.show(&user, info);
                effects.push(Effect::ShowAnew);
            }
        }
        // Until then the alarm is that of a client which takes too long to connect.
        if self.is_connected() {
            self.await_expiry(terms, effects);
        }
        self.finish();
    }

    /// What a back end is asked about a subscribe is decided.
    fn overrule(&mut self, channel: &str, code: ErrorCode) {
        let under_way = self.under_way_mut();
        let was_asked = under_way.is_some_and(|under_way| under_way.overrule(channel, code));
        self.channel_count -= u16::from(was_asked);
    }

    /// The place of an entry into this channel that is under way.
    fn awaited_entry(&self, channel: &str) -> Option<SlotId> {
        self.under_way()?.awaited_entry(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Retention;
    use super::super::rig::Rig;
    use super::super::{ChannelOptions, Position, Recovered};
    use super::*;
    use crate::backend::{self, Fault, SubscribeResult, Unanswered, Verdict};

    /// A connected client, where channels have a history.
    fn rig() -> Rig {
        let mut rig = Rig::open();
        let history = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };
        rig.terms.rules.without_namespace = ChannelOptions {
            history: Some(history),
            force_recovery: true,
            ..ChannelOptions::default()
        };
        rig
    }

    fn put_into(rig: &mut Rig, channel: &str, since: Option<(u64, &str)>) {
        put_into_until(rig, channel, since, None);
    }

    fn put_into_until(
        rig: &mut Rig,
        channel: &str,
        since: Option<(u64, &str)>,
        expires: Option<Duration>,
    ) {
        let membership = rig.membership(channel);
        let claimed = Claimed {
            channel: channel.to_owned(),
            data: b"{\"d\":1}".to_vec(),
            ..Claimed::default()
        };
        rig.session.put_into(&claimed, (since, expires), membership, &rig.terms, &mut rig.effects);
        rig.end_step(Deferred::default());
    }

    fn put_out(rig: &mut Rig, channel: &str) {
        let membership = rig.membership(channel);
        let deferred = rig.session.put_out(channel, membership, &rig.terms, &mut rig.effects);
        rig.end_step(deferred);
    }

    const AT_NINE: Entered<'_> = Entered {
        position: Some(Position { offset: 9, epoch: "abcdefgh" }),
        recovered: None,
        lost: 0,
    };

    #[test]
    fn a_client_is_put_in_once_and_told_where_it_is() {
        let mut rig = rig();
        put_into(&mut rig, "a", None);
        put_into(&mut rig, "a", None);
        assert_eq!(rig.lines(), [""; 0]);
        assert_eq!(rig.joining_names(), ["a"]);
        rig.entered_at(0, Ok(AT_NINE));
        let push = concat!(
            r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"epoch":"abcdefgh","#,
            r#""offset":9,"positioned":true,"data":{"d":1}}}}"#
        );
        assert_eq!(rig.lines(), [push]);
        put_into(&mut rig, "a", None);
        assert_eq!((rig.joining.len(), rig.session.channel_count), (0, 1));
        let leave = r#"{"id":7,"unsubscribe":{"channel":"a"}}"#;
        rig.frame(leave);
        assert!(rig.lines()[0].contains("\"code\":103"), "it cannot leave by itself");
    }

    #[test]
    fn what_it_recovers_follows_in_pushes() {
        let mut rig = rig();
        put_into(&mut rig, "a", Some((7, "abcdefgh")));
        assert!(rig.session.is_put_into_channel("a"));
        let pushes = "{\"push\":8}\n{\"push\":9}";
        let recovered = Some(Recovered { is_whole: true, publications: pushes.as_bytes() });
        rig.entered_at(0, Ok(Entered { recovered, ..AT_NINE }));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""offset":7,"#), "{lines:?}");
        assert_eq!(lines[1..], ["{\"push\":8}", "{\"push\":9}"]);
    }

    #[test]
    fn what_its_user_has_lost_is_said_of_a_subscription_that_a_back_end_begins_too() {
        let mut rig = rig();
        put_into(&mut rig, "a", Some((7, "abcdefgh")));
        let pushes = "{\"push\":8}\n{\"push\":9}";
        let recovered = Some(Recovered { is_whole: true, publications: pushes.as_bytes() });
        rig.entered_at(0, Ok(Entered { recovered, lost: 2, ..AT_NINE }));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""data":{"d":1,"lw_lost":2}"#), "{lines:?}");
        let claimed = Claimed { data: b"7".to_vec(), ..Claimed::plain("b".to_owned()) };
        rig.session.put_into(&claimed, (None, None), None, &rig.terms, &mut rig.effects);
        rig.end_step(Deferred::default());
        rig.entered_at(0, Ok(Entered { recovered, lost: 2, ..AT_NINE }));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""data":7"#), "{lines:?}");
        let message = r#"{"push":{"message":{"data":{"channel":"b","lw_lost":2}}}}"#;
        assert_eq!(lines[1..], [message, "{\"push\":8}", "{\"push\":9}"]);
    }

    #[test]
    fn a_full_client_and_a_full_home_end_the_connection() {
        let mut rig = rig();
        rig.terms.rules.channel_limit = 1;
        put_into(&mut rig, "a", None);
        put_into(&mut rig, "b", None);
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::ChannelLimit));
        let mut rig = self::rig();
        put_into(&mut rig, "a", None);
        rig.entered_at(0, Err(ErrorCode::Internal));
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::Internal));
    }

    /// Nobody brings a token for it: its end is that of the connection, as in the reference.
    #[test]
    fn a_subscription_ends_when_the_back_end_says() {
        let mut rig = rig();
        rig.terms.now = Duration::from_secs(1000);
        let now = rig.terms.now;
        put_into_until(&mut rig, "a", None, Some(now));
        assert_eq!(rig.joining.len(), 0, "it would be over");
        let end = Duration::from_secs(1060);
        put_into_until(&mut rig, "a", None, Some(end));
        rig.entered_at(0, Ok(AT_NINE));
        let delay = rig.terms.rules.expired_sub_close_delay;
        assert_eq!(rig.alarm, Some(Duration::from_mins(1) + delay));
        rig.terms.now = end + delay;
        rig.session.late(&rig.terms, &mut rig.effects);
        rig.end_step(Deferred::default());
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::SubscriptionExpired));
    }

    #[test]
    fn a_client_is_put_out_whoever_put_it_in_and_on_its_way_in_too() {
        let out = concat!(
            r#"{"push":{"channel":"a","unsubscribe":"#,
            r#"{"code":2000,"reason":"server unsubscribe"}}}"#
        );
        let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
        let mut rig = rig();
        put_out(&mut rig, "a");
        assert_eq!(rig.lines(), [""; 0], "it is not in it");
        put_into(&mut rig, "a", None);
        rig.entered_at(0, Ok(AT_NINE));
        put_out(&mut rig, "a");
        assert_eq!(rig.lines()[1..], [out]);
        rig.frame(subscribe);
        rig.entered_at(0, Ok(AT_NINE));
        put_out(&mut rig, "a");
        assert_eq!(rig.lines()[1..], [out]);
        assert_eq!((rig.members.len(), rig.session.channel_count), (0, 0));

        rig.frame(subscribe);
        put_out(&mut rig, "a");
        let lines = rig.lines();
        assert!(lines[0].starts_with(r#"{"id":2,"error":{"code":103"#), "{lines:?}");
        put_into(&mut rig, "a", None);
        put_out(&mut rig, "a");
        assert_eq!(rig.lines(), [out]);
        assert!(rig.session.channel_count == 0 && !rig.session.is_waiting());
    }

    /// A client that subscribes where a back end is asked whether it may.
    fn asking() -> Rig {
        let mut rig = rig();
        rig.terms.rules.hooks.subscribe.set(None, "may".to_owned());
        rig.frame(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        assert_eq!((rig.consulted.len(), rig.joining.len()), (1, 0));
        rig
    }

    fn verdicts() -> [Result<Verdict, Unanswered>; 3] {
        let fault = Fault { code: 403, message: "no".to_owned(), temporary: false };
        let yes = Verdict::Subscribe(SubscribeResult::default());
        [Ok(yes), Ok(Verdict::Fault(fault)), Err(Unanswered::Failed)]
    }

    #[test]
    fn who_is_put_in_while_another_back_end_thinks_about_it_is_in() {
        for verdict in verdicts() {
            let mut rig = asking();
            put_into(&mut rig, "a", None);
            assert_eq!(rig.joining_names(), ["a"]);
            rig.entered_at(0, Ok(AT_NINE));
            rig.consulted_at(0, verdict);
            let lines = rig.lines();
            assert!(lines[0].starts_with(r#"{"id":2,"error":{"code":105"#), "{lines:?}");
            assert!(lines[1].starts_with(r#"{"push":{"channel":"a","subscribe":"#), "{lines:?}");
            assert_eq!((rig.closed, rig.joining.len(), rig.session.channel_count), (None, 0, 1));
            assert!(!rig.is_held && !rig.session.is_waiting());
        }
        let mut rig = asking();
        rig.terms.rules.channel_limit = 1;
        put_into(&mut rig, "a", None);
        assert_eq!(rig.closed, None, "it takes the place of its own subscribe");
    }

    #[test]
    fn who_is_put_out_while_another_back_end_thinks_about_it_is_out() {
        for verdict in verdicts() {
            let mut rig = asking();
            put_out(&mut rig, "a");
            rig.consulted_at(0, verdict);
            let lines = rig.lines();
            assert!(lines[0].starts_with(r#"{"id":2,"error":{"code":103"#), "{lines:?}");
            assert_eq!((lines.len(), rig.joining.len(), rig.session.channel_count), (1, 0, 0));
            rig.frame(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
            assert_eq!(rig.consulted.len(), 1, "it may ask again");
        }
        let mut rig = asking();
        put_out(&mut rig, "a");
        let end = backend::Disconnect { code: 4500, reason: "away".to_owned() };
        rig.consulted_at(0, Ok(Verdict::Disconnect(end)));
        assert_eq!(rig.closed_as, Some((4500, "away".to_owned())));
    }

    #[test]
    fn an_order_of_news_and_replies_is_kept() {
        let mut rig = rig();
        rig.frame(r#"{"id":2,"subscribe":{"channel":"b"}}"#);
        put_into(&mut rig, "a", None);
        rig.frame(r#"{"id":3,"history":{"channel":"a"}}"#);
        rig.entered_at(1, Ok(AT_NINE));
        assert!(rig.is_held, "it does not know yet that it is in a");
        assert_eq!(rig.lines(), [""; 0]);
        rig.entered_at(0, Ok(AT_NINE));
        let lines = rig.lines();
        assert!(lines[0].contains("\"id\":2") && lines[1].contains("\"push\""), "{lines:?}");
        assert!(!rig.is_held);
    }

    #[test]
    fn a_refresh_says_when_the_connection_ends() {
        let mut rig = rig();
        let refresh = |rig: &mut Rig, expires: Option<u64>, info: Option<&[u8]>| {
            let expires = expires.map(Duration::from_secs);
            rig.session.be_refreshed(expires, info, &rig.terms, &mut rig.effects);
            rig.end_step(Deferred::default());
        };
        rig.terms.now = Duration::from_secs(1000);
        refresh(&mut rig, Some(1060), Some(b"{\"n\":1}"));
        let delay = rig.terms.rules.expired_close_delay;
        assert_eq!(rig.alarm, Some(Duration::from_mins(1) + delay));
        assert_eq!((rig.session.info(), rig.shown_anew), (&b"{\"n\":1}"[..], 1));
        refresh(&mut rig, None, None);
        assert_eq!((rig.alarm, rig.session.info()), (None, &b"{\"n\":1}"[..]));
        refresh(&mut rig, None, Some(b"{\"n\":1}"));
        assert_eq!(rig.shown_anew, 1, "it says the same");
        refresh(&mut rig, Some(1000), None);
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::Expired));
    }
}
