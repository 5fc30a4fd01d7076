//! Subscribing, from the command to its reply (10, 15).

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::Effects;
use super::entry::{Entered, Entrant, Entry, Membership, Recover, Since};
use super::options::{ChannelOptions, RecoveryMode};
use super::rules::{Grant, Rules, Wishes};
use super::state::{Phase, Session, Terms};
use super::under_way::{Awaited, Taken};
use crate::protocol::{
    DisconnectCode, ErrorCode, Push, Reply, ReplyError, SubRefresh, Subscribe, UnsubscribeCode,
    channel,
};

/// How a client is to enter a channel, as far as it is decided without the channel's home.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub(super) options: ChannelOptions,
    pub(super) grant: Grant,
    /// The place that the client recovers from, if it recovers.
    pub(super) since: Option<(u64, &'a str)>,
    pub(super) is_server_side: bool,
    /// What others are shown of it there; empty for nothing.
    pub(super) channel_info: &'a [u8],
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
        let options = self.check_subscribe(request, is_member, &terms.rules)?;
        let wishes = Wishes {
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
        };
        let plan = Plan {
            options,
            grant: terms.rules.grant(options, self.user(), wishes),
            since: request.recover.then_some((request.offset, &*request.epoch)),
            is_server_side: false,
            channel_info: &[],
        };
        let entrant = Entrant { must_recover: request.must_recover(), ..plan.entrant() };
        self.channel_count += 1;
        self.begin().await_answer(id, &request.channel, Awaited::Entry(entrant));
        effects.enter(&request.channel, &plan, &terms.rules);
        Ok(())
    }

    fn check_subscribe(
        &self,
        request: &Subscribe<'_>,
        is_member: bool,
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
        let options = *rules.options(name)?;
        if !channel::is_well_formed(name) {
            return Err(ErrorCode::BadRequest.into());
        }
        if request.kind != 0 {
            let message = "permission denied: only stream subscriptions are served";
            return Err(Refusal::Reply(ReplyError { code: ErrorCode::PermissionDenied, message }));
        }
        if !request.token.is_empty() {
            return Err(no_subscription_tokens());
        }
        if !rules.may_subscribe(options, self.user(), name) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if !request.tags_filter.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        Ok(options)
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
        if self.phase == Phase::Entering {
            return self.entered_by_server(channel, result, terms, effects);
        }
        let slot = self.under_way().and_then(|under_way| under_way.find(channel));
        let taken = self.take(slot.expect("its entry is under way"));
        let Taken { awaited: Awaited::Entry(entrant), .. } = taken else {
            unreachable!("no other command about the channel was begun")
        };
        let reply = match &result {
            Ok(entered) if entrant.is_unrecoverable(entered) => {
                self.channel_count -= 1;
                effects.leave(channel);
                Reply::Error(ErrorCode::UnrecoverablePosition.into())
            }
            Ok(entered) => Reply::Subscribe(entrant.result(entered, &[])),
            Err(code) => {
                self.channel_count -= 1;
                Reply::Error((*code).into())
            }
        };
        self.answer(taken, &reply, effects)
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
            self.channel_count -= 1;
            effects.leave(name);
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
        self.channel_count -= 1;
        effects.leave(channel);
        self.push(channel, &Push::Unsubscribe(UnsubscribeCode::InsufficientState), effects);
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
            channel_info: (!info.is_empty()).then(|| self.text(info)),
            is_announced: options.join_leave,
            hears_joins: plan.grant.hears_joins,
            overflow: options.overflow,
            membership: Membership {
                is_positioned: plan.grant.retention.is_some(),
                is_server_side: plan.is_server_side,
            },
        };
        self.push_entry(channel, entry);
    }
}

pub(super) fn no_subscription_tokens() -> Refusal {
    let message = "permission denied: this server does not verify subscription tokens yet";
    Refusal::Reply(ReplyError { code: ErrorCode::PermissionDenied, message })
}

pub(super) fn refuse_sub_refresh(request: &SubRefresh<'_>) -> Refusal {
    if request.token.is_empty() {
        return DisconnectCode::BadRequest.into();
    }
    no_subscription_tokens()
}
