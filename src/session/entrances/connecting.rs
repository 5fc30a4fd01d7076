//! What a back end does to a client that is about to be connected (20).
//!
//! ```text
//!   connect ─▶ its user is known ─▶ let in ─▶ its channels' homes ─▶ connect reply
//!                     └─── put into a channel, put out of one ───▲
//! ```
//!
//! Invariant: the connect reply tells of the channels that the client is in by then, whoever has
//! decided that, and of no others.

use std::time::Duration;

use super::super::deferred::Deferred;
use super::super::effects::Effects;
use super::super::grants::Wishes;
use super::super::state::{Phase, Session, Terms};
use super::super::under_way::UnderWay;
use super::Entrance;
use crate::protocol::DisconnectCode;
use crate::token::Claimed;

impl Session {
    /// Whether it is known whose client it is, and it has yet to be let in, or into its channels.
    pub(in crate::session) fn is_connecting(&self) -> bool {
        // In the first of these phases a back end may have been asked, and not said, who it is.
        matches!(self.phase, Phase::SigningIn | Phase::Entering)
            && self.under_way().is_some_and(UnderWay::has_plan)
    }

    /// Puts a client that is connecting into one channel more, as it connects.
    pub(in crate::session) fn plan_to_put_into(
        &mut self,
        claimed: &Claimed,
        (since, expires): (Option<(u64, &str)>, Option<Duration>),
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let channel = claimed.channel.as_str();
        let Ok(options) = terms.rules.options(channel) else { return };
        let options = options.overridden(claimed.overrides);
        let entrance = Entrance {
            options,
            grant: terms.rules.grant(options, self.user(), Wishes::default()),
            since: since.map(|(offset, epoch)| (offset, epoch.into())),
            info: claimed.info.clone(),
            data: claimed.data.clone(),
            replaces_others: false,
            has_user: !self.user().is_empty(),
            answer: None,
        };
        let is_entering = self.phase == Phase::Entering;
        let plan = self.under_way_mut().and_then(UnderWay::planned);
        let (_, plan) = plan.expect("it is connecting");
        if plan.list.contains_key(channel) {
            return;
        }
        if plan.list.len() >= terms.rules.channel_limit.into() {
            return self.close(DisconnectCode::ChannelLimit, effects);
        }
        if is_entering {
            effects.enter(channel, &entrance.plan(), &terms.rules);
        }
        plan.list.insert(channel.into(), entrance);
        self.set_end(channel, expires, true);
        if is_entering {
            self.channel_count += 1;
            self.set_channel_info(channel, &claimed.info);
        }
    }

    /// Has a client that is connecting not be in a channel.
    pub(in crate::session) fn plan_to_put_out(
        &mut self,
        channel: &str,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let plan = self.under_way_mut().and_then(UnderWay::planned);
        let (slot, plan) = plan.expect("it is connecting");
        if !plan.strike_out(channel) {
            return Deferred::default();
        }
        let are_answered = plan.are_answered();
        if self.phase == Phase::SigningIn {
            self.set_end(channel, None, true);
            return Deferred::default();
        }
        self.leave(channel, None, effects);
        if are_answered { self.have_entered(slot, terms, effects) } else { Deferred::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rig::{KEY, Rig, signed};
    use super::super::super::{ChannelOptions, Rules};
    use super::*;
    use crate::token::{HmacKey, TokenRules};
    use serde_json::{Value, json};

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// Ann's client, whose token puts it into these channels, and who may have so many connections.
    fn connecting(channels: &str, user_connection_limit: u32) -> Rig {
        let rules = Rules {
            token: TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() },
            without_namespace: ChannelOptions { presence: true, ..ChannelOptions::default() },
            channel_limit: 3,
            user_connection_limit,
            ..Rules::default()
        };
        let mut rig = Rig::new(rules);
        rig.terms.now = NOW;
        let token = signed(&format!(r#"{{"sub":"ann","channels":{channels}}}"#));
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        assert!(!rig.has_connected);
        rig
    }

    fn put_into(rig: &mut Rig, channel: &str, expires: Option<Duration>) {
        let membership = rig.membership(channel);
        let said = Claimed { info: b"7".to_vec(), data: b"8".to_vec(), ..Claimed::default() };
        let claimed = Claimed { channel: channel.to_owned(), ..said };
        rig.session.put_into(&claimed, (None, expires), membership, &rig.terms, &mut rig.effects);
        rig.end_step(Deferred::default());
    }

    fn put_out(rig: &mut Rig, channel: &str) {
        let membership = rig.membership(channel);
        let deferred = rig.session.put_out(channel, membership, &rig.terms, &mut rig.effects);
        rig.end_step(deferred);
    }

    /// The homes let the client in; returns what it is told of its channels as it connects.
    fn subs(rig: &mut Rig) -> Value {
        while !rig.joining.is_empty() {
            assert!(!rig.has_connected, "it is told of all of them at once");
            rig.joined(Ok(()));
        }
        assert!(rig.has_connected && !rig.is_held && !rig.session.is_waiting());
        let lines = rig.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let reply: Value = serde_json::from_str(&lines[0]).expect("JSON");
        reply["connect"]["subs"].clone()
    }

    #[test]
    fn who_waits_to_be_let_in_comes_into_the_channels_that_were_decided_meanwhile() {
        let mut rig = connecting(r#"["a","b"]"#, 3);
        put_into(&mut rig, "c", None);
        put_into(&mut rig, "a", None);
        put_out(&mut rig, "b");
        put_out(&mut rig, "nowhere");
        assert_eq!(rig.joining_names(), [""; 0], "it is not let in yet");
        rig.signed_in(Ok(()));
        assert_eq!(rig.joining_names(), ["a", "c"]);
        assert_eq!(rig.entry_texts.1, "7", "what others are shown of it there");
        assert_eq!(subs(&mut rig), json!({ "a": {}, "c": { "data": 8 } }));
        assert_eq!((rig.members.len(), rig.session.channel_count), (2, 2));
        assert!(rig.members.values().all(|membership| membership.is_server_side));
        let mut rig = connecting(r#"["a"]"#, 3);
        put_out(&mut rig, "a");
        rig.signed_in(Ok(()));
        assert!(rig.has_connected, "no home is to be asked");
    }

    #[test]
    fn who_is_on_its_way_into_channels_is_put_into_others_and_out_of_them() {
        let mut rig = connecting(r#"["a","b"]"#, 0);
        put_into(&mut rig, "c", None);
        put_into(&mut rig, "c", None);
        assert_eq!(rig.joining_names(), ["a", "b", "c"]);
        rig.joined_at(0, Ok(()));
        put_out(&mut rig, "a");
        put_out(&mut rig, "b");
        assert!(!rig.has_connected && rig.lines().is_empty());
        assert_eq!((rig.joining_names(), rig.members.len()), (vec!["c"], 0));
        assert_eq!(subs(&mut rig), json!({ "c": { "data": 8 } }));
        assert_eq!(rig.session.channel_count, 1);
    }

    #[test]
    fn who_is_put_out_of_the_last_channel_that_it_waits_for_is_connected() {
        let mut rig = connecting(r#"["a","b"]"#, 0);
        rig.frame(r#"{"id":2,"rpc":{}}"#);
        rig.joined_at(1, Ok(()));
        put_out(&mut rig, "a");
        assert!(rig.has_connected && !rig.is_held);
        let lines = rig.lines();
        assert!(lines[0].contains(r#""subs":{"b":{}}"#) && lines[1].contains("\"id\":2"));
        assert_eq!((rig.members.len(), rig.session.channel_count), (1, 1));
        put_out(&mut rig, "b");
        assert!(rig.lines()[0].contains("\"code\":2000"), "now it is told so");
    }

    #[test]
    fn one_channel_too_many_ends_the_connect() {
        for limit in [0, 3] {
            let mut rig = connecting(r#"["a","b","c"]"#, limit);
            put_into(&mut rig, "b", None);
            assert_eq!(rig.closed, None, "it is on its way there");
            put_into(&mut rig, "d", None);
            assert_eq!(rig.closed, Some(DisconnectCode::ChannelLimit.into()));
        }
    }

    #[test]
    fn what_ends_or_is_shown_of_a_client_is_so_when_it_is_connected() {
        let mut rig = connecting(r#"["a"]"#, 0);
        let late = rig.alarm;
        let refresh = |rig: &mut Rig, seconds| {
            let expires = Some(Duration::from_secs(seconds));
            rig.session.be_refreshed(expires, Some(b"[1]"), &rig.terms, &mut rig.effects);
            rig.end_step(Deferred::default());
        };
        refresh(&mut rig, 1_000_060);
        put_into(&mut rig, "b", Some(NOW + Duration::from_secs(5)));
        assert_eq!((rig.alarm, rig.shown_anew), (late, 1), "it may still be too late to connect");
        subs(&mut rig);
        assert_eq!(rig.session.info(), b"[1]");
        let first = Duration::from_secs(5) + rig.terms.rules.expired_sub_close_delay;
        assert_eq!(rig.alarm, Some(first));
        let mut rig = connecting(r#"["a"]"#, 3);
        refresh(&mut rig, 1_000_000);
        assert_eq!(rig.closed, Some(DisconnectCode::Expired.into()));
    }
}
