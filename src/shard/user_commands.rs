//! What back ends have done to users' clients on this shard.

#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::value::RawValue;

use super::sessions::Sessions;
use crate::handler::{ConnectionId, Peer, Shard, Whom, Word};
use crate::protocol::{
    DisconnectCode, OptionsForUser, Term, UserAction, UserCommand, UserSubscription,
};
use crate::session::{Deferred, Membership};
use crate::sys::clock;
use crate::token::{Claimed, Override, Overrides, Revoked};

impl Sessions {
    /// Does it to those of the connections that are meant.
    pub(super) fn command_users(
        &mut self,
        shard: &mut Shard<'_, Self>,
        word: Word<'_>,
        connections: &[ConnectionId],
    ) {
        let Some(command) = UserCommand::decode(word.bytes) else {
            tracing::error!(whom = ?word.whom, "a user command is none of this version");
            return;
        };
        for connection in connections {
            let mut peer = shard.peer(*connection);
            let is_meant = peer.state().is_some_and(|session| {
                let client = session.shown(&self.terms).client;
                let name = session.transport().is_emulated();
                let name = name.then(|| session.secret_name(&self.terms));
                let is_it = match word.whom {
                    Whom::User(user) => session.user() == user,
                    Whom::Marked(_) => true,
                };
                is_it && command.clients.holds(client, name.as_deref())
            });
            if is_meant {
                self.act_on(&mut peer, &command.action);
                peer.shard().counters().user_commands += 1;
            }
        }
    }

    fn act_on(&mut self, peer: &mut Peer<'_, Self>, action: &UserAction) {
        self.begin(peer);
        self.terms.now = clock::since_epoch();
        let mut deferred = Deferred::default();
        match action {
            UserAction::Disconnect { code, reason } => {
                tracing::info!(connection = %peer.id(), code, reason, "disconnected");
                return peer.close(*code, reason);
            }
            UserAction::Subscribe(subscription) => self.put_into(peer, subscription),
            UserAction::Unsubscribe { channel } => {
                let membership = peer.tag(channel).map(Membership::of_bits);
                let Some(session) = peer.state() else { return };
                deferred = session.put_out(channel, membership, &self.terms, &mut self.effects);
            }
            UserAction::RevokeToken { id, .. } => {
                self.doubt(peer);
                deferred = self.doubt_subscriptions(peer, id);
            }
            UserAction::RevokeTokens { channel, .. } if channel.is_empty() => self.doubt(peer),
            UserAction::RevokeTokens { channel, .. } => {
                let membership = peer.tag(channel).map(Membership::of_bits);
                let Some(session) = peer.state() else { return };
                deferred = session.doubt_in(channel, membership, &mut self.effects);
            }
            UserAction::Refresh { expired, expires_s, info } => {
                let expires = (*expires_s > 0).then(|| Duration::from_secs(*expires_s));
                let expires = if *expired { Some(Duration::ZERO) } else { expires };
                let info = info.as_ref().map(|info| info.get().as_bytes());
                let Some(session) = peer.state() else { return };
                session.be_refreshed(expires, info, &self.terms, &mut self.effects);
            }
        }
        self.go_on(peer, deferred);
    }

    /// The client's token may be one of those that were just revoked.
    fn doubt(&mut self, peer: &mut Peer<'_, Self>) {
        if let Some(session) = peer.state() {
            session.doubt(&self.terms, &mut self.effects);
        }
    }

    /// The same for tokens that its subscriptions rest on.
    fn doubt_subscriptions(&mut self, peer: &mut Peer<'_, Self>, token_id: &str) -> Deferred {
        let channels = peer.state().map(|session| session.channels_by(token_id));
        let tags = channels.into_iter().flatten().map(|channel| (peer.tag(&channel), channel));
        let memberships = tags.map(|(tag, channel)| (channel, tag.map(Membership::of_bits)));
        let memberships: Vec<_> = memberships.collect();
        let Some(session) = peer.state() else { return Deferred::default() };
        session.doubt_subscriptions(token_id, &memberships, &self.terms, &mut self.effects)
    }

    /// It has just come out whose client it is, if it has: what was said of its user since it asked
    /// to be let in is meant for it, too.
    pub(super) fn catch_up(&mut self, peer: &mut Peer<'_, Self>, since: u64) {
        let Some(session) = peer.state().filter(|session| session.is_known()) else { return };
        let user = session.user().to_owned();
        let Ok(words) = self.recent_words.since(since, &user) else {
            peer.shard().counters().user_commands_forgotten += 1;
            return peer.close(DisconnectCode::Internal.code(), DisconnectCode::Internal.text());
        };
        let connection = peer.id();
        for bytes in words {
            let word = Word { whom: Whom::User(&user), bytes: &bytes };
            self.command_users(&mut peer.shard(), word, &[connection]);
        }
    }

    /// Notes a word before any connection is told of it: which tokens it revokes, or what it has
    /// done to clients of whom it will come out later that they are the user's.
    pub(super) fn note(&mut self, word: Word<'_>) {
        let at = Duration::from_secs;
        let end = |term: Term| if term.until_s == 0 { Revoked::FOR_EVER } else { at(term.until_s) };
        let revoked = &mut self.terms.revoked;
        let noted = match UserCommand::decode(word.bytes).map(|command| command.action) {
            Some(UserAction::RevokeToken { id, term }) => {
                revoked.revoke(&id, end(term), at(term.since_s))
            }
            Some(UserAction::RevokeTokens { channel, issued_before_s, term }) => {
                let Whom::User(user) = word.whom else { unreachable!("it is said of a user") };
                let whose = (user, &*channel);
                revoked.revoke_before(whose, at(issued_before_s), end(term), at(term.since_s))
            }
            _ => {
                if let Whom::User(user) = word.whom {
                    let wait_max = self.settings.stale_close_delay;
                    self.recent_words.note(user, word.bytes, clock::now(), wait_max);
                    self.terms.word_count = self.recent_words.count();
                }
                Ok(())
            }
        };
        noted.expect("whoever says it has the same list, and has looked");
    }

    fn put_into(&mut self, peer: &mut Peer<'_, Self>, subscription: &UserSubscription) {
        let UserSubscription { channel, info, data, since, expires_s, options } = subscription;
        let membership = peer.tag(channel).map(Membership::of_bits);
        let bytes = |json: &Option<Box<RawValue>>| {
            json.as_ref().map(|json| json.get().as_bytes().to_vec()).unwrap_or_default()
        };
        let claimed = Claimed {
            channel: channel.clone(),
            info: bytes(info),
            data: bytes(data),
            overrides: overrides(*options),
        };
        let since = since.as_ref().map(|(offset, epoch)| (*offset, epoch.as_str()));
        let Some(session) = peer.state() else { return };
        let expires = (*expires_s > 0).then(|| Duration::from_secs(*expires_s));
        session.put_into(&claimed, (since, expires), membership, &self.terms, &mut self.effects);
    }
}

fn overrides(options: OptionsForUser) -> Overrides {
    let set = |option: Option<bool>| option.map(|value| Override { value });
    Overrides {
        presence: set(options.presence),
        join_leave: set(options.join_leave),
        force_push_join_leave: set(options.force_push_join_leave),
        force_recovery: set(options.force_recovery),
        force_positioning: set(options.force_positioning),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::message::TellUser;
    use super::super::session_rig::{Client, SessionRig, names_at, open_settings};
    use super::super::session_settings::SessionSettings;
    use crate::config::Config;
    use crate::handler::Whom;
    use crate::hub::{Homes, ShardId};
    use crate::protocol::{Selection, UserAction, UserCommand, UserSubscription};
    use crate::session::{PersonalChannel, Retention, Rules};

    fn rig() -> SessionRig {
        rig_of(open_settings())
    }

    /// Two shards, one of which stands for the control thread.
    fn rig_of(settings: SessionSettings) -> SessionRig {
        let settings =
            SessionSettings { user_id_http_header: Some("X-User".to_owned()), ..settings };
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
        SessionRig::new(2, 64, config, &settings)
    }

    fn connect(rig: &mut SessionRig, shard: usize, user: &str) -> Client {
        rig.connect(shard, &format!("X-User: {user}\r\n"))
    }

    fn disconnect(rig: &mut SessionRig, user: &str, share: usize) -> (Vec<usize>, Vec<u64>) {
        let action = UserAction::disconnect();
        let word = UserCommand { clients: Selection::default(), action }.encode();
        rig.tell_user(
            TellUser { ask: 7, whom: Whom::User(user.into()), word: Arc::from(word) },
            share,
        )
    }

    #[test]
    fn a_walk_has_a_share_of_each_turn_and_is_answered_after_the_last() {
        let mut rig = rig();
        let of_ann: Vec<Client> = (0..5).map(|_| connect(&mut rig, 0, "ann")).collect();
        let others = [connect(&mut rig, 0, "bob"), connect(&mut rig, 0, "")];
        // Others may stand in the same list of the roster, and are passed over.
        let (shares, answered) = disconnect(&mut rig, "ann", 2);
        assert!(shares.len() >= 3 && shares.iter().all(|share| (1..=2).contains(share)));
        assert_eq!(answered, [7]);
        assert!(of_ann.iter().all(|client| !rig.is_open(*client)));
        assert!(others.iter().all(|client| rig.is_open(*client)));
        assert_eq!(rig.counters().user_commands, 5);
        let (_, answered) = disconnect(&mut rig, "ann", 2);
        assert_eq!(answered, [7], "nobody is there, and it is answered all the same");
        disconnect(&mut rig, "", 9);
        assert_eq!(others.map(|client| rig.is_open(client)), [true, false]);
    }

    /// Of so many some share a list of the roster.
    #[test]
    fn a_command_means_its_user_and_nobody_else() {
        let mut rig = rig();
        let user = |number: usize| format!("user-{number}");
        let all: Vec<Client> = (0..60).map(|number| connect(&mut rig, 0, &user(number))).collect();
        for number in 0..all.len() {
            disconnect(&mut rig, &user(number), 100);
            let are_open: Vec<bool> = all.iter().map(|client| rig.is_open(*client)).collect();
            let expected: Vec<bool> = (0..all.len()).map(|other| other > number).collect();
            assert_eq!(are_open, expected, "{}", user(number));
        }
    }

    /// A connection that is not let in yet is told too: or a user that was put out in the moment
    /// would come in.
    #[test]
    fn who_is_about_to_come_in_is_put_out_too() {
        let open = open_settings();
        let rules = Rules { user_connection_limit: 1, ..open.rules.clone() };
        let mut rig = rig_of(SessionSettings { rules, ..open });
        let user = names_at(1, 2).next().expect("there are names enough");
        let client = connect(&mut rig, 0, &user);
        assert_eq!(rig.counters().client_connects, 0, "its home has not answered");
        disconnect(&mut rig, &user, 9);
        assert!(!rig.is_open(client));
    }

    /// In a channel that keeps nothing it is a member while it waits for its reply; in others it is
    /// not, and the home's answer to the first subscribe is still to come.
    #[test]
    fn who_is_put_out_on_its_way_in_is_told_so_and_may_come_back() {
        for positioned in [false, true] {
            let mut open = open_settings();
            let options = &mut open.rules.without_namespace;
            options.history = Some(Retention { publications_max: 1, ttl_s: 9, meta_ttl_s: 9 });
            options.force_positioning = positioned;
            let mut rig = rig_of(open);
            let client = connect(&mut rig, 0, "ann");
            let channel = names_at(1, 2).next().expect("there are names enough");
            let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#);
            rig.frame(client, &subscribe);
            let action = UserAction::Unsubscribe { channel };
            let word = UserCommand { clients: Selection::default(), action }.encode();
            rig.tell_user(
                TellUser { ask: 7, whom: Whom::User("ann".into()), word: Arc::from(word) },
                9,
            );
            assert_eq!(rig.counters().errors_permission_denied, 1, "the subscribe is answered");
            rig.frame(client, &subscribe);
            rig.exchange();
            let counters = rig.counters();
            assert_eq!((counters.client_replies, counters.errors_permission_denied), (3, 1));
            assert_eq!((counters.client_subscribes, counters.errors_already_subscribed), (1, 0));
            assert!(rig.is_open(client));
        }
    }

    /// A client that waits for the home of its user, and then for that of its own channel.
    #[test]
    fn what_is_done_to_a_client_that_connects_is_so_when_it_is_connected() {
        let homes = Homes::dealt(2);
        let away = |user: &String| {
            let own = homes.home_of_channel(&format!("#{user}"));
            [own, homes.home_of_user(user)] == [ShardId::new(1); 2]
        };
        let user = names_at(1, 2).find(away).expect("there are names enough");
        let own = format!("#{user}");
        let other = names_at(1, 2).next().expect("there are names enough");
        let open = open_settings();
        for (limit, unsubscribes) in [(0, true), (3, true), (0, false), (3, false)] {
            let personal = PersonalChannel { namespace: String::new(), is_single: false };
            let rules = Rules {
                personal_channel: Some(personal),
                user_connection_limit: limit,
                ..open.rules.clone()
            };
            let mut rig = rig_of(SessionSettings { rules, ..open.clone() });
            let client = connect(&mut rig, 0, &user);
            let subscription =
                UserSubscription { channel: other.clone(), ..UserSubscription::default() };
            let action = if unsubscribes {
                UserAction::Unsubscribe { channel: own.clone() }
            } else {
                UserAction::Subscribe(Box::new(subscription))
            };
            let word = UserCommand { clients: Selection::default(), action }.encode();
            let tell =
                TellUser { ask: 7, whom: Whom::User(user.as_str().into()), word: Arc::from(word) };
            assert_eq!(rig.counters().client_connects, 0, "its homes have not answered");
            rig.tell_user(tell, 9);
            rig.exchange();
            assert!(rig.is_open(client));
            assert_eq!(rig.counters().client_connects, 1);
            let is_in =
                [&own, &other].map(|channel| rig.core(0).channels.is_member(client.index, channel));
            let expected = if unsubscribes { [false, false] } else { [true, true] };
            assert_eq!(is_in, expected, "limit {limit}");
        }
    }
}
