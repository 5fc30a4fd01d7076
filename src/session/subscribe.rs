//! Subscribing, from the command to its reply (10, 15).

use std::sync::Arc;
use std::time::Duration;

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects, Unsubscribed};
use super::entry::{Entered, Entrant, Entry, Membership, Recover, Since};
use super::grants::{Grant, Wishes};
use super::lifetimes::ttl_s;
use super::losses;
use super::options::{ChannelOptions, RecoveryMode};
use super::rules::Rules;
use super::state::{Phase, Session, Terms};
use super::tokens::{end_of, not_subscribed};
use super::under_way::{Awaited, Entering, Taken};
use super::vouching::moment;
use crate::backend::{self, Event};
use crate::filter::{Filter, Reading};
use crate::protocol::{
    DisconnectCode, ErrorCode, Reply, ReplyError, Subscribe, SubscribeResult, UnsubscribeCode,
};
use crate::token::Claimed;

/// How a client is to enter a channel, as far as it is decided without the channel's home.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    pub(super) options: ChannelOptions,
    pub(super) grant: Grant,
    /// The place that the client recovers from, if it recovers.
    pub(super) since: Option<(u64, &'a str)>,
    pub(super) is_server_side: bool,
    /// Whoever else is in the channel gives way.
    pub(super) replaces_others: bool,
    /// What others are shown of it there; empty for nothing.
    pub(super) channel_info: &'a [u8],
    /// What it wants of the publications, if not all.
    pub(super) filter: Option<Arc<Filter>>,
    /// It is of somebody for whom something can be retained.
    pub(super) has_user: bool,
}

/// What a client wants of a channel, beside being in it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    wishes: Wishes,
    /// The place that it recovers from, if it recovers.
    since: Option<(u64, Box<str>)>,
    must_recover: bool,
    /// What it wants of the publications, if not all.
    filter: Option<Arc<Filter>>,
}

impl Wanted {
    fn of(request: &Subscribe<'_>, filter: Option<Arc<Filter>>) -> Self {
        Self {
            wishes: Wishes {
                positioned: request.positioned,
                recoverable: request.recoverable,
                join_leave: request.join_leave,
                // What a filter holds back is no base for what it lets pass.
                delta: !request.delta.is_empty() && filter.is_none(),
            },
            since: request.recover.then(|| (request.offset, (*request.epoch).into())),
            must_recover: request.must_recover(),
            filter,
        }
    }
}

/// That a client may be in a channel.
#[derive(Default)]
struct Permit {
    /// The channel's options as they are for it.
    options: ChannelOptions,
    /// When that ends, if it does.
    expires: Option<Duration>,
    /// What its token says of it there.
    said: Claimed,
    /// The name of that token; empty for none.
    token_id: String,
}

impl Session {
    /// The checks stand in the order of the reference (10): a client sees the first that fails.
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        request: &Subscribe<'_>,
        is_member: bool,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let name = &*request.channel;
        if let Some(proxy) = terms.rules.asks_to_subscribe(request) {
            let options = self.check_subscribe(request, is_member, true, &terms.rules)?;
            let wanted = Wanted::of(request, self.tags_filter(request, options)?);
            let data = request.data.bytes().to_vec();
            let event = Event::Subscribe { channel: name.to_owned(), data };
            let question = self.call(proxy, event, terms);
            self.channel_count += 1;
            let slot = self.begin().await_answer(id, name, Awaited::Subscribe(Box::new(wanted)));
            effects.push(Effect::Consult { slot, question: question.into() });
            return Ok(());
        }
        let permit = self.permit(request, is_member, terms)?;
        let wanted = Wanted::of(request, self.tags_filter(request, permit.options)?);
        self.channel_count += 1;
        let entering = self.enter(name, &wanted, &permit, terms, effects);
        self.begin().await_answer(id, name, Awaited::Entry(Box::new(entering)));
        Ok(())
    }

    /// Asks a channel's home to let the client in; returns what its answer is waited for with.
    fn enter(
        &mut self,
        channel: &str,
        wanted: &Wanted,
        permit: &Permit,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Entering {
        let Permit { options, expires, said, token_id } = permit;
        let plan = Plan {
            options: *options,
            grant: terms.rules.grant(*options, self.user(), wanted.wishes),
            since: wanted.since.as_ref().map(|(offset, epoch)| (*offset, &**epoch)),
            is_server_side: false,
            replaces_others: false,
            channel_info: &said.info,
            filter: wanted.filter.clone(),
            has_user: !self.user().is_empty(),
        };
        let entrant = Entrant { must_recover: wanted.must_recover, ..plan.entrant() };
        let reading = plan.reading();
        self.set_channel_info(channel, plan.channel_info);
        self.rest_in(channel, token_id, effects);
        effects.enter(channel, &plan, &terms.rules);
        Entering { entrant, expires: *expires, data: said.data.as_slice().into(), reading }
    }

    /// The back end has said that the client may be in the channel, and as what.
    pub(super) fn subscribe_as(
        &mut self,
        taken: Taken,
        wanted: &Wanted,
        result: backend::SubscribeResult,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let under_way = self.under_way_mut().expect("it was taken from");
        let channel = under_way.channel_of(taken.slot).to_owned();
        let expires = end_of(moment(result.expire_at), terms);
        let refused = match terms.rules.named(&channel) {
            Err(code) => Some(code),
            _ if [&result.info, &result.data].iter().any(|said| self.cannot_be_said(said)) => {
                Some(ErrorCode::Internal)
            }
            _ if expires.is_some_and(|end| end <= terms.now) => Some(ErrorCode::Expired),
            Ok(_) => None,
        };
        if let Some(code) = refused {
            self.channel_count -= 1;
            return self.answer(taken, &Reply::Error(code.into()), effects);
        }
        let options = terms.rules.named(&channel).expect("seen above");
        let options = options.overridden(result.overrides);
        let backend::SubscribeResult { info, data, .. } = result;
        let said = Claimed { info, data, ..Claimed::default() };
        let permit = Permit { options, expires, said, token_id: String::new() };
        let entering = self.enter(&channel, wanted, &permit, terms, effects);
        let under_way = self.under_way_mut().expect("it was taken from");
        under_way.await_more(taken.slot, Awaited::Entry(Box::new(entering)));
        Deferred::default()
    }

    /// Whether the client may be in the channel, and as what.
    fn permit(
        &mut self,
        request: &Subscribe<'_>,
        is_member: bool,
        terms: &Terms,
    ) -> Result<Permit, Refusal> {
        let options = self.check_subscribe(request, is_member, false, &terms.rules)?;
        if request.token.is_empty() {
            return Ok(Permit { options, ..Permit::default() });
        }
        let token = self.subscription_token(&request.token, &request.channel, terms);
        let token = token.map_err(not_subscribed)?;
        if token.expires.is_some_and(|end| end <= terms.now) {
            return Err(ErrorCode::Expired.into());
        }
        let said = token.claimed;
        let options = options.overridden(said.overrides);
        Ok(Permit { options, expires: token.expires, said, token_id: token.id })
    }

    fn check_subscribe(
        &self,
        request: &Subscribe<'_>,
        is_member: bool,
        is_asked_about: bool,
        rules: &Rules,
    ) -> Result<ChannelOptions, Refusal> {
        let name = &*request.channel;
        if !matches!(&*request.delta, "" | "fossil") {
            return Err(DisconnectCode::BadRequest.into());
        }
        if name.len() > rules.channel_bytes_max {
            return Err(ErrorCode::BadRequest.into());
        }
        if is_member {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if self.channel_count >= rules.channel_limit {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let options = *rules.named(name)?;
        if request.kind != 0 {
            let message = "permission denied: only stream subscriptions are served";
            return Err(Refusal::Reply(ReplyError { code: ErrorCode::PermissionDenied, message }));
        }
        let is_decided_here = request.token.is_empty() && !is_asked_about;
        if is_decided_here && !rules.may_subscribe(options, self.user(), name) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        Ok(options)
    }

    /// The filter by tags that a subscribe names.
    fn tags_filter(
        &self,
        request: &Subscribe<'_>,
        options: ChannelOptions,
    ) -> Result<Option<Arc<Filter>>, Refusal> {
        if request.tags_filter.is_empty() {
            return Ok(None);
        }
        let refused = |message| Refusal::Reply(ReplyError { code: ErrorCode::BadRequest, message });
        if !options.allow_tags_filter {
            return Err(refused("bad request: filters by tags are not allowed here"));
        }
        let filter = self.format().tags_filter(request.tags_filter.bytes());
        let filter = filter.map_err(|_| refused("bad request: the filter by tags is invalid"))?;
        Ok(Some(Arc::new(filter)))
    }

    /// How the client wants to read a channel that it is about to enter.
    pub fn reading(&self, channel: &str) -> Reading {
        self.under_way().and_then(|under_way| under_way.reading(channel)).unwrap_or_default()
    }

    /// The home of a channel has answered, or there was no asking it. Returns what was deferred
    /// meanwhile, to be read now.
    pub fn entered(
        &mut self,
        channel: &str,
        result: Result<Entered<'_>, ErrorCode>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        if self.is_closed() {
            return Deferred::default();
        }
        if self.phase == Phase::Entering {
            return self.entered_by_server(channel, result, terms, effects);
        }
        let slot = self.under_way().and_then(|under_way| under_way.awaited_entry(channel));
        let mut taken = self.take(slot.expect("its entry is under way"));
        let entering = match &mut taken.awaited {
            Awaited::Entry(entering) => entering,
            Awaited::PutIn(put_in) => {
                return self.was_put_into(taken.slot, put_in, channel, result, terms, effects);
            }
            _ => unreachable!("no other command about the channel was begun"),
        };
        let Entering { entrant, expires, data, .. } = std::mem::take(&mut **entering);
        let lost = result.as_ref().map_or(0, |entered| entered.lost);
        let mut told = losses::told(lost, channel, &data);
        let reply = match &result {
            Ok(entered) if entrant.is_unrecoverable(entered) => {
                self.leave(channel, None, effects);
                told.message = (lost > 0).then(|| losses::message(lost, channel));
                Reply::Error(ErrorCode::UnrecoverablePosition.into())
            }
            Ok(entered) => {
                if expires.is_some() {
                    self.set_end(channel, expires, false);
                    self.await_expiry(terms, effects);
                }
                // Where a back end decides, the client need not bring anything.
                let is_asked = terms.rules.asks_to_stay(channel).is_some();
                let ttl_s = ttl_s(expires, terms).filter(|_| !is_asked);
                Reply::Subscribe(SubscribeResult { ttl_s, ..entrant.result(entered, &told.data) })
            }
            Err(code) => {
                self.channel_count -= 1;
                self.set_channel_info(channel, &[]);
                self.rest_in(channel, "", effects);
                Reply::Error((*code).into())
            }
        };
        match told.message {
            None => self.answer(taken, &reply, effects),
            Some(message) => self.answer_and_say(&taken, &reply, &message, effects),
        }
    }

    /// The client is out of a channel, unless the server has put it there.
    pub(super) fn unsubscribe(
        &mut self,
        name: &str,
        membership: Option<Membership>,
        effects: &mut Effects,
    ) -> Result<Reply<'static>, Refusal> {
        if let Some(membership) = membership {
            if membership.is_server_side {
                return Err(ErrorCode::PermissionDenied.into());
            }
            self.leave(name, Some(Unsubscribed::ByClient), effects);
        }
        Ok(Reply::Unsubscribe)
    }

    /// The client missed publications of a channel that it is in. Where its position is known it
    /// comes back to recover them; elsewhere it was promised at most one of each.
    pub fn missed(&mut self, channel: &str, membership: Membership, effects: &mut Effects) {
        if self.is_closed() || !membership.is_positioned {
            return;
        }
        if membership.is_server_side {
            self.close(DisconnectCode::InsufficientState, effects);
            return;
        }
        self.unsubscribed(channel, UnsubscribeCode::InsufficientState, effects);
    }
}

impl Rules {
    /// Who decides whether a client may subscribe, if it is a back end: it does not where a token
    /// does, or the channel's own name.
    fn asks_to_subscribe(&self, request: &Subscribe<'_>) -> Option<&str> {
        let name = &*request.channel;
        let lists_users = self.naming.is_user_limited(name)
            && self.options(name).is_ok_and(|options| options.allow_user_limited_channels);
        let is_decided = !request.token.is_empty() || self.naming.is_private(name) || lists_users;
        self.hooks.subscribe.of(self.naming.namespace(name)).filter(|_| !is_decided)
    }
}

impl<'a> Plan<'a> {
    /// The place that the client recovers from, if it may. In the mode of a cache it may be made
    /// to, from before the beginning.
    pub(super) fn recovers_from(&self) -> Option<(u64, &'a str)> {
        let is_cache = self.options.recovery_mode == RecoveryMode::Cache;
        let automatic = (is_cache && self.options.auto_cache_recover).then_some((0, ""));
        self.since.or(automatic).filter(|_| self.grant.is_recoverable)
    }

    pub(super) fn entrant(&self) -> Entrant {
        let since = self.recovers_from();
        Entrant {
            is_positioned: self.grant.retention.is_some(),
            is_recoverable: self.grant.is_recoverable,
            is_recovering: since.is_some(),
            must_recover: false,
            asked_offset: since.map_or(0, |(offset, _)| offset),
            takes_deltas: self.grant.takes_deltas,
        }
    }

    fn reading(&self) -> Reading {
        match &self.filter {
            Some(filter) => Reading::Selected(Arc::clone(filter)),
            None if self.grant.takes_deltas => Reading::Deltas,
            None => Reading::Whole,
        }
    }
}

impl Effects {
    /// Asks the home of a channel to let the client in.
    pub(super) fn enter(&mut self, channel: &str, plan: &Plan<'_>, rules: &Rules) {
        let options = &plan.options;
        let recover = plan.recovers_from().map(|(offset, epoch)| {
            let since = Since { offset, epoch: self.text(epoch.as_bytes()) };
            match options.recovery_mode {
                RecoveryMode::Cache => Recover::Latest { since },
                RecoveryMode::Stream => {
                    Recover::Missed { since, publications_max: rules.recovery_publications_max }
                }
            }
        });
        let info = plan.channel_info;
        let entry = Entry {
            stream: plan.grant.retention,
            recover,
            is_present: options.presence || options.join_leave,
            is_listed: options.presence,
            channel_info: (!info.is_empty()).then(|| self.text(info)),
            is_announced: options.join_leave,
            hears_joins: plan.grant.hears_joins,
            replaces_others: plan.replaces_others,
            overflow: options.overflow,
            reading: plan.reading(),
            acknowledged: options.acknowledged.filter(|_| plan.has_user),
            membership: Membership {
                is_positioned: plan.grant.retention.is_some(),
                is_server_side: plan.is_server_side,
            },
        };
        self.push_entry(channel, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{Overflow, Retention};
    use super::super::rig::{KEY, Rig, signed};
    use super::super::{Position, Recovered};
    use super::*;
    use crate::limits::RECOVERY_PUBLICATIONS_DEFAULT;
    use crate::token::{HmacKey, TokenRules};

    const AT_NINE: Position<'_> = Position { offset: 9, epoch: "abcdefgh" };
    const HISTORY: Retention = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };

    /// A client where channels have these options.
    fn rig(options: ChannelOptions) -> Rig {
        let mut rig = Rig::open();
        rig.terms.rules.without_namespace = options;
        rig.terms.rules.insecure = false;
        rig
    }

    fn recoverable() -> ChannelOptions {
        ChannelOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            history: Some(HISTORY),
            allow_recovery: true,
            ..ChannelOptions::default()
        }
    }

    /// What the home of a channel is asked for a subscribe with these fields.
    fn asked(options: ChannelOptions, fields: &str) -> (Rig, Entry) {
        let mut rig = rig(options);
        rig.frame(&format!(r#"{{"id":2,"subscribe":{{"channel":"a"{fields}}}}}"#));
        let entry = rig.joining[0].1.clone();
        (rig, entry)
    }

    const RECOVER: &str = r#","recoverable":true,"recover":true,"offset":5,"epoch":"abcdefgh""#;

    #[test]
    fn a_plain_subscription_asks_for_nothing() {
        let plain = ChannelOptions { allow_recovery: false, ..recoverable() };
        for fields in ["", RECOVER, r#","positioned":true,"join_leave":true"#] {
            let (mut rig, entry) = asked(plain, fields);
            assert_eq!(entry, Entry::default(), "{fields}");
            rig.joined(Ok(()));
            assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#]);
        }
    }

    #[test]
    fn the_home_is_asked_for_what_the_options_and_the_client_say() {
        let (_, entry) = asked(recoverable(), r#","recoverable":true"#);
        assert_eq!((entry.stream, entry.recover), (Some(HISTORY), None));
        assert!(entry.membership.is_positioned && !entry.membership.is_server_side);
        let (rig, entry) = asked(recoverable(), RECOVER);
        assert!(
            matches!(
                entry.recover,
                Some(Recover::Missed { since: Since { offset: 5, .. }, publications_max })
                    if publications_max == RECOVERY_PUBLICATIONS_DEFAULT
            ),
            "{entry:?}"
        );
        assert_eq!(rig.entry_texts.0, "abcdefgh");
        let there = ChannelOptions { presence: true, overflow: Overflow::Latest, ..recoverable() };
        let (_, entry) = asked(there, "");
        assert!(entry.is_present && !entry.is_announced && !entry.hears_joins);
        assert_eq!(entry.overflow, Overflow::Latest);
        let told = ChannelOptions { join_leave: true, force_push_join_leave: true, ..there };
        let (_, entry) = asked(told, "");
        assert!(entry.is_present && entry.is_announced && entry.hears_joins);
    }

    #[test]
    fn a_cache_brings_the_latest_whether_asked_or_not() {
        let cache = ChannelOptions { recovery_mode: RecoveryMode::Cache, ..recoverable() };
        let offset = |entry: &Entry| match &entry.recover {
            Some(Recover::Latest { since }) => Some(since.offset),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(offset(&asked(cache, RECOVER).1), Some(5));
        assert_eq!(offset(&asked(cache, r#","recoverable":true"#).1), None);
        let auto = ChannelOptions { auto_cache_recover: true, force_recovery: true, ..cache };
        let (mut rig, entry) = asked(auto, "");
        assert_eq!((offset(&entry), &*rig.entry_texts.0), (Some(0), ""));
        let list = br#"{"data":7,"offset":9}"#;
        let recovered = Some(Recovered { is_whole: true, publications: list });
        rig.entered_at(0, Ok(Entered { position: Some(AT_NINE), recovered, lost: 0 }));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""publications":[{"data":7,"offset":9}]"#), "{lines:?}");
        assert!(lines[0].contains(r#""recovered":true"#), "{lines:?}");
        let stream = ChannelOptions { recovery_mode: RecoveryMode::Stream, ..auto };
        assert_eq!(asked(stream, "").1.recover, None, "only a cache does");
    }

    #[test]
    fn the_example_of_a_recovery_is_answered_as_the_reference_does() {
        let (mut rig, _) = asked(recoverable(), RECOVER);
        let list = br#"{"data":{},"offset":6}"#;
        let recovered = Some(Recovered { is_whole: true, publications: list });
        rig.entered_at(
            0,
            Ok(Entered { position: Some(Position { offset: 6, epoch: "E" }), recovered, lost: 0 }),
        );
        let reply = concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":"#,
            r#"[{"data":{},"offset":6}],"recovered":true,"offset":5,"positioned":true,"#,
            r#""was_recovering":true}}"#
        );
        assert_eq!(rig.lines(), [reply]);
    }

    #[test]
    fn who_cannot_recover_begins_anew_or_is_refused_if_it_wants_to_be() {
        let gap = Entered {
            position: Some(AT_NINE),
            recovered: Some(Recovered { is_whole: false, publications: b"" }),
            lost: 0,
        };
        let (mut rig, _) = asked(recoverable(), RECOVER);
        rig.entered_at(0, Ok(gap));
        let reply = concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"abcdefgh","offset":9,"#,
            r#""positioned":true,"was_recovering":true}}"#
        );
        assert_eq!((rig.lines(), rig.members.len()), (vec![reply.to_owned()], 1));

        let (mut rig, _) = asked(recoverable(), &format!(r#"{RECOVER},"flag":2"#));
        rig.entered_at(0, Ok(gap));
        let lines = rig.lines();
        assert!(lines[0].contains("\"code\":112"), "{lines:?}");
        assert_eq!((rig.members.len(), rig.session.channel_count), (0, 0));
    }

    /// Ann's client, which subscribes with a token that has this data for it and is refused where
    /// it cannot recover.
    fn with_data(data: &str) -> Rig {
        let mut rig = rig(recoverable());
        rig.terms.rules.token = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
        let token = signed(&format!(r#"{{"sub":"","channel":"a","info":{{}},"data":{data}}}"#));
        let fields = format!(r#"{RECOVER},"flag":2,"token":"{token}""#);
        rig.frame(&format!(r#"{{"id":2,"subscribe":{{"channel":"a"{fields}}}}}"#));
        rig.frame(r#"{"id":3,"rpc":{"method":"nothing"}}"#);
        rig
    }

    #[test]
    fn who_has_lost_something_is_told_with_the_data_or_behind_it() {
        let whole = Some(Recovered { is_whole: true, publications: b"" });
        let entered = Entered { position: Some(AT_NINE), recovered: whole, lost: 3 };
        let mut rig = with_data(r#"{"n":1}"#);
        rig.entered_at(0, Ok(entered));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""data":{"n":1,"lw_lost":3}"#), "{lines:?}");
        assert!(lines[1].starts_with(r#"{"id":3"#), "{lines:?}");

        let message = r#"{"push":{"message":{"data":{"channel":"a","lw_lost":3}}}}"#;
        let mut rig = with_data("[1]");
        rig.entered_at(0, Ok(entered));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""data":[1]"#), "{lines:?}");
        assert!(lines[1] == message && lines[2].starts_with(r#"{"id":3"#), "{lines:?}");

        let mut rig = with_data("{}");
        let gap = Some(Recovered { is_whole: false, publications: b"" });
        rig.entered_at(0, Ok(Entered { recovered: gap, ..entered }));
        let lines = rig.lines();
        assert!(lines[0].contains("\"code\":112") && lines[1] == message, "{lines:?}");
    }

    #[test]
    fn who_missed_something_comes_back_for_it_where_its_position_is_known() {
        let (mut rig, _) = asked(recoverable(), r#","positioned":true,"recoverable":true"#);
        rig.entered_at(0, Ok(Entered { position: Some(AT_NINE), recovered: None, lost: 0 }));
        rig.lines();
        rig.missed("a");
        let push = concat!(
            r#"{"push":{"channel":"a","unsubscribe":"#,
            r#"{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(rig.lines(), [push]);
        assert_eq!((rig.members.len(), rig.session.channel_count), (0, 0));

        let (mut rig, _) = asked(recoverable(), "");
        rig.joined(Ok(()));
        rig.lines();
        rig.missed("a");
        assert_eq!((rig.lines(), rig.members.len()), (vec![], 1), "it was promised nothing");
    }
}
