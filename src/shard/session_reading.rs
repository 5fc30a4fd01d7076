//! What clients say, command by command, and what of it has to wait for an answer.

#![forbid(unsafe_code)]

use super::sessions::Sessions;
use crate::handler::Peer;
use crate::protocol::Commands;
use crate::session::{Deferred, Membership};
use crate::sys::clock;

impl Sessions {
    /// Reads commands until one has to wait or the session is over.
    pub(super) fn read(&mut self, peer: &mut Peer<'_, Self>, commands: &mut Commands<'_>) {
        while peer.state().is_some_and(|session| !session.is_busy()) {
            let unread = commands.clone();
            let Some(command) = commands.next() else { return };
            let name = command.as_ref().ok().and_then(|command| command.request.channel());
            let membership = name.and_then(|name| peer.tag(name)).map(Membership::of_bits);
            if command.as_ref().is_ok_and(|command| command.request.is_dated()) {
                self.terms.now = clock::since_epoch();
            }
            let Some(session) = peer.state() else { return };
            let command = command.as_ref().map_err(|malformed| *malformed);
            if !session.command(command, membership, &self.terms, &mut self.effects) {
                *commands = unread;
                return;
            }
            peer.shard().counters().client_commands += 1;
            self.obey(peer);
        }
    }

    /// Reads on after an answer has come.
    pub(super) fn resume(&mut self, peer: &mut Peer<'_, Self>, mut deferred: Deferred) {
        if let Some(rest) = deferred.rest() {
            let mut commands = Commands::resume(self.effects.outbox.format(), rest);
            self.read(peer, &mut commands);
            let left = commands.rest().map_or(0, <[u8]>::len);
            deferred.read_to(left);
            if let Some(session) = peer.state() {
                session.defer_again(deferred);
            }
            // What stopped the reading may have a question.
            self.obey(peer);
        }
        self.hold(peer);
    }

    /// Does what an answer has come to, and ends the step.
    pub(super) fn go_on(&mut self, peer: &mut Peer<'_, Self>, deferred: Deferred) {
        self.obey(peer);
        self.resume(peer, deferred);
        self.flush(peer);
    }

    /// Charges the shard's budget with what waits for answers.
    pub(super) fn hold(&mut self, peer: &mut Peer<'_, Self>) {
        let held_bytes = peer.state().map_or(0, |session| session.held_bytes());
        if !peer.hold(held_bytes)
            && let Some(session) = peer.state()
        {
            session.crowded_out(&mut self.effects);
            peer.shard().counters().deferred_budget_closes += 1;
            self.obey(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session_rig::{Client, SessionRig, names_at, open_settings};
    use crate::config::Config;
    use crate::session::Retention;

    /// More than a third of what the shard of [`small_budget`] may hold.
    const WAITING_BYTES: usize = 24 * 1024;

    fn small_budget() -> SessionRig {
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        config.partial_bytes_max = 2 * 64 * 1024;
        SessionRig::new(2, 16, config, &open_settings())
    }

    /// Subscribes to a channel whose home is the other shard, and publishes there behind it.
    fn subscribe_and_go_on(rig: &mut SessionRig, client: Client, channel: &str) {
        let data = "x".repeat(WAITING_BYTES);
        rig.frame(
            client,
            &format!(
                "{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}\n\
                 {{\"id\":3,\"publish\":{{\"channel\":\"{channel}\",\"data\":\"{data}\"}}}}"
            ),
        );
    }

    /// Homes that are here answer at once, and the answers must not lie within each other.
    #[test]
    fn a_client_may_be_put_into_as_many_channels_as_a_frame_can_name() {
        let mut settings = open_settings();
        settings.rules.channel_limit = u16::MAX;
        let mut rig = SessionRig::new(1, 16, Config::new(([127, 0, 0, 1], 0).into()), &settings);
        let client = rig.dial(0, "");
        let subs: Vec<String> = (0..6000).map(|number| format!("\"{number}\":{{}}")).collect();
        rig.frame(client, &format!(r#"{{"id":1,"connect":{{"subs":{{{}}}}}}}"#, subs.join(",")));
        assert!(rig.is_open(client));
        let counters = rig.counters();
        assert_eq!((counters.client_connects, counters.client_subscribes), (1, 6000));
    }

    #[test]
    fn what_waits_for_a_home_counts_against_the_budget_of_the_shard() {
        let mut rig = small_budget();
        let clients: Vec<Client> = (0..4).map(|_| rig.connect(0, "")).collect();
        for (client, channel) in clients.iter().zip(names_at(1, 2)) {
            subscribe_and_go_on(&mut rig, *client, &channel);
        }
        // Two have room, and who comes later may come back.
        assert_eq!([0, 1, 2, 3].map(|at| rig.is_open(clients[at])), [true, true, false, false]);
        let counters = rig.counters();
        let crowded = (counters.deferred_budget_closes, counters.disconnects_too_many_requests);
        assert_eq!(crowded, (2, 2));
        let held = rig.core(0).partial_bytes;
        assert!((2 * WAITING_BYTES..=64 * 1024).contains(&held), "{held}");

        rig.frame(clients[0], ""); // malformed, so it is closed
        assert!(rig.core(0).partial_bytes < held, "what a client had goes with it");
        rig.exchange();
        assert_eq!(rig.core(0).partial_bytes, 0, "what is answered does not wait");
        let counters = rig.counters();
        assert_eq!((counters.client_publishes, counters.client_subscribes), (1, 1));
    }

    /// Queues of two slots, and one request under way at a time: all the others wait for room.
    #[test]
    fn a_full_mesh_makes_clients_wait_and_refuses_nobody() {
        let mut settings = open_settings();
        let options = &mut settings.rules.without_namespace;
        options.history = Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
        options.force_positioning = true;
        let config = Config::new(([127, 0, 0, 1], 0).into());
        let mut rig = SessionRig::new(2, 2, config, &settings);
        let clients: Vec<Client> = (0..8).map(|_| rig.connect(0, "")).collect();
        for client in &clients {
            let subscribe =
                |name: String| format!(r#"{{"id":2,"subscribe":{{"channel":"{name}"}}}}"#);
            let frame: Vec<String> = names_at(1, 2).take(100).map(subscribe).collect();
            rig.frame(*client, &frame.join("\n"));
        }
        assert_eq!(rig.counters().client_subscribes, 0, "their homes are elsewhere");
        rig.exchange();
        let counters = rig.counters();
        assert_eq!((counters.client_subscribes, counters.joins_refused), (800, 0));
        assert!(counters.errors_internal == 0 && clients.iter().all(|one| rig.is_open(*one)));
    }
}
