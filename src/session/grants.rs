//! What a subscription gets beside the publications: a position, recovery, news of others (10).

use super::options::{ChannelOptions, Retention};
use super::rules::Rules;

/// What a client asks for beside being in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) positioned: bool,
    pub(super) recoverable: bool,
    pub(super) join_leave: bool,
    pub(super) delta: bool,
}

/// What it gets of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Its position in the stream is known; the stream is kept so.
    pub(super) retention: Option<Retention>,
    /// It may recover what it misses.
    pub(super) is_recoverable: bool,
    /// It hears who comes and goes.
    pub(super) hears_joins: bool,
    /// It gets publications as deltas: it is told when it has missed one.
    pub(super) takes_deltas: bool,
}

impl Rules {
    /// What a subscription of `user` gets of what it wishes for, and of what it gets without
    /// asking (10). What it may not have it is not told of.
    pub(super) fn grant(&self, options: ChannelOptions, user: &str, wishes: Wishes) -> Grant {
        let sees_history = self.may_see_history(options, user, true);
        let sees_presence = self.may_see_presence(options, user, true);
        let is_recoverable = options.force_recovery
            || (wishes.recoverable && (options.allow_recovery || sees_history));
        let is_positioned = is_recoverable
            || options.force_positioning
            || (wishes.positioned && (options.allow_positioning || sees_history));
        let hears_joins = options.join_leave
            && (options.force_push_join_leave || (wishes.join_leave && sees_presence));
        let retention = options.history.filter(|_| is_positioned);
        Grant {
            retention,
            is_recoverable: is_recoverable && options.history.is_some(),
            hears_joins,
            takes_deltas: wishes.delta && options.allow_delta && retention.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_gets_what_is_forced_and_what_it_may_wish_for() {
        let history = Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
        let kept = ChannelOptions { history, ..ChannelOptions::default() };
        let all = Wishes { positioned: true, recoverable: true, join_leave: true, delta: true };
        let none = Wishes::default();
        let joins = ChannelOptions { join_leave: true, ..kept };
        let see = ChannelOptions { allow_presence_for_subscriber: true, ..joins };
        for (options, wishes, grant) in [
            (kept, all, (false, false, false)),
            (ChannelOptions { allow_positioning: true, ..kept }, all, (true, false, false)),
            (ChannelOptions { allow_positioning: true, ..kept }, none, (false, false, false)),
            (ChannelOptions { allow_recovery: true, ..kept }, all, (true, true, false)),
            (ChannelOptions { allow_history_for_client: true, ..kept }, all, (true, true, false)),
            (ChannelOptions { force_positioning: true, ..kept }, none, (true, false, false)),
            (ChannelOptions { force_recovery: true, ..kept }, none, (true, true, false)),
            (
                ChannelOptions { force_recovery: true, history: None, ..kept },
                all,
                (false, false, false),
            ),
            (joins, all, (false, false, false)),
            (see, all, (false, false, true)),
            (see, none, (false, false, false)),
            (ChannelOptions { join_leave: false, ..see }, all, (false, false, false)),
            (ChannelOptions { force_push_join_leave: true, ..joins }, none, (false, false, true)),
        ] {
            let granted = rules(options).grant(options, "42", wishes);
            let got = (granted.retention.is_some(), granted.is_recoverable, granted.hears_joins);
            assert_eq!(got, grant, "{options:?} {wishes:?}");
        }
    }

    #[test]
    fn deltas_are_for_those_who_know_their_position() {
        let history = Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
        let options = ChannelOptions { history, allow_delta: true, ..ChannelOptions::default() };
        let positioned = ChannelOptions { force_positioning: true, ..options };
        let wishes = Wishes { delta: true, ..Wishes::default() };
        let granted = |options, wishes| rules(options).grant(options, "42", wishes).takes_deltas;
        assert!(granted(positioned, wishes));
        assert!(!granted(positioned, Wishes::default()), "nobody has asked");
        assert!(!granted(options, wishes), "it would not be told of a gap");
        assert!(!granted(ChannelOptions { allow_delta: false, ..positioned }, wishes));
        assert!(!granted(ChannelOptions { history: None, ..positioned }, wishes));
    }

    fn rules(without_namespace: ChannelOptions) -> Rules {
        Rules { without_namespace, ..Rules::default() }
    }
}
