//! Users' connections, counted over all shards by each user's home.
//!
//! ```text
//!   sign in ─▶ home here? ─yes─▶ its count ─▶ in, or refused
//!                         └─no──▶ mesh ─▶ its count ─▶ mesh ─▶ Handler::signed_in
//!   sign out ─▶ its count, or mesh; what finds no room there waits here
//! ```
//!
//! Invariant: the home counts a connection from the moment it lets it in until it hears that it is
//! gone; what it lets in after the connection was gone is signed out at once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::channels::Channels;
use super::core::{Core, Turn};
use super::guard;
use super::message::Message;
use super::requests::TooMany;
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, Peer, SignIn, SignInError};
use crate::hub::{Homes, ShardId, UserError, Users};
use crate::limits::USERS_PER_HOME_MAX;
use crate::mesh::{Class, Member, MemberId};

/// The users whose home this shard is, and what it owes to other homes.
pub(crate) struct SignIns {
    here: ShardId,
    homes: Homes,
    users: Users,
    /// By home, the sign-outs for which the mesh had no room. Where there is none for them there is
    /// none for a sign-in, so they are never more than this shard has connections.
    owed: Box<[VecDeque<Arc<str>>]>,
}

impl SignIns {
    pub(crate) fn new(here: usize, shard_count: usize) -> Self {
        Self {
            here: ShardId::new(here),
            homes: Homes::dealt(shard_count),
            users: Users::new(USERS_PER_HOME_MAX, std::hash::RandomState::new()),
            owed: (0..shard_count).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Users whose home this shard is, and of whom it counts connections.
    pub(super) fn user_count(&self) -> u32 {
        self.users.count()
    }

    /// Frees the room that a crowd has left.
    pub(super) fn shrink(&mut self) {
        self.owed.iter_mut().for_each(VecDeque::shrink_to_fit);
    }

    /// Bytes of memory behind their counts.
    pub(super) fn memory_bytes(&self) -> usize {
        self.users.memory_bytes()
    }

    fn sign_in(
        &mut self,
        channels: &mut Channels,
        connection: ConnectionId,
        user: &str,
        limit: u32,
    ) -> Result<SignIn, SignInError> {
        let home = self.homes.home_of_user(user);
        if home == self.here {
            return self.users.sign_in(user, limit).map(|()| SignIn::Done).map_err(refusal);
        }
        let Channels { mesh, requests, .. } = channels;
        self.send_owed(mesh, home);
        let is_free = self.owed[home.index()].is_empty();
        let message = Message::SignIn { user: user.into(), limit, connection };
        let asked = requests.ask(mesh, home, message, is_free);
        asked.map(|()| SignIn::Asked).map_err(|TooMany| SignInError::Busy)
    }

    fn sign_out(&mut self, mesh: &mut Member<Message>, user: &str) {
        let home = self.homes.home_of_user(user);
        if home == self.here {
            self.users.sign_out(user);
            return;
        }
        self.owed[home.index()].push_back(user.into());
        self.send_owed(mesh, home);
    }

    /// Counts a connection that another process has counted before, whatever the limit is now;
    /// false if there is no room, as there was there.
    pub(super) fn count_again(&mut self, user: &str) -> bool {
        let counted = self.users.sign_in(user, u32::MAX);
        if let Err(error) = &counted {
            tracing::error!(?error, "a connection that was taken over is not counted");
        }
        counted.is_ok()
    }

    /// Whether every sign-out has been told.
    pub(super) fn is_quiet(&self) -> bool {
        self.owed.iter().all(VecDeque::is_empty)
    }

    /// Hands on sign-outs in their order, as far as there is room.
    fn send_owed(&mut self, mesh: &mut Member<Message>, home: ShardId) {
        let owed = &mut self.owed[home.index()];
        while let Some(user) = owed.front() {
            let message = Message::SignOut { user: Arc::clone(user) };
            if mesh.send(member(home), message, Class::Notice).is_err() {
                return;
            }
            owed.pop_front();
        }
    }
}

impl<H: Handler> Core<H> {
    pub(super) fn sign_in(
        &mut self,
        connection: ConnectionId,
        user: &str,
        limit: u32,
    ) -> Result<SignIn, SignInError> {
        if self.open(connection).is_none() {
            return Err(SignInError::Gone);
        }
        let Self { sign_ins, channels, counters, .. } = self;
        let signed_in = sign_ins.sign_in(channels, connection, user, limit);
        counters.sign_ins_refused += u64::from(signed_in.is_err());
        signed_in
    }

    pub(super) fn sign_out(&mut self, user: &str) {
        self.sign_ins.sign_out(&mut self.channels.mesh, user);
    }

    /// Once a turn: what did not fit earlier.
    pub(crate) fn catch_up(&mut self) {
        self.call_off_consults();
        self.look_at_moves();
        for home in (0..self.shard_count).map(ShardId::new) {
            self.sign_ins.send_owed(&mut self.channels.mesh, home);
        }
        let Self { channels, connections, sign_ins, .. } = self;
        let is_open = |id: ConnectionId| {
            let one = connections.get(Index::new(id.index()));
            one.is_some_and(|one| one.serial == id.serial() && one.phase.is_open())
        };
        // A sign-in must not overtake the sign-out that makes room for it.
        channels.catch_up(|home| sign_ins.owed[home.index()].is_empty(), is_open);
    }
}

impl<H: Handler> Turn<'_, H> {
    /// A message of another member of the mesh about a user or a channel.
    pub(crate) fn take(&mut self, handler: &mut H, from: MemberId, message: Message) {
        match message {
            Message::SignIn { user, limit, connection } => {
                let result = self.core.sign_ins.users.sign_in(&user, limit).map_err(refusal);
                let answer = Message::SignedIn { user, connection, result };
                self.core.channels.mesh.answer(from, answer);
            }
            Message::SignedIn { user, connection, result } => {
                self.signed_in(handler, &user, connection, result);
            }
            Message::SignOut { user } => self.core.sign_ins.users.sign_out(&user),
            Message::CountAgain { user } => self.core.count_again(&user),
            Message::Entered(entered) => self.entered(handler, *entered),
            Message::Answered(answered) => self.answered(handler, *answered),
            Message::Consulted(consulted) => self.consulted(handler, *consulted),
            Message::ListChannels(list) => self.core.listings.take(from, &list),
            Message::TellUser(tell) => self.core.tellings.take(from, tell),
            Message::Move(step) => self.take_move(handler, step.id, step.step),
            message => self.core.channels.take(from, message),
        }
    }

    fn signed_in(
        &mut self,
        handler: &mut H,
        user: &str,
        connection: ConnectionId,
        result: Result<(), SignInError>,
    ) {
        self.core.counters.sign_ins_refused += u64::from(result.is_err());
        if self.core.open(connection).is_none() {
            if result.is_ok() {
                self.core.sign_out(user);
            }
            return;
        }
        self.core.called = true;
        self.core.speaks_for(connection);
        if guard(|| handler.signed_in(&mut Peer::new(self, connection), result)).is_none() {
            self.panicked(Index::new(connection.index()));
        }
        self.tell_endings(handler);
    }
}

fn refusal(error: UserError) -> SignInError {
    match error {
        UserError::AtLimit => SignInError::Limit,
        UserError::UsersFull => SignInError::HomeFull,
        UserError::IdTooLong { .. } => SignInError::User,
    }
}

fn member(shard: ShardId) -> MemberId {
    MemberId::new(shard.index())
}

#[cfg(test)]
mod tests {
    use super::super::session_rig::{Client, SessionRig, names_at, open_settings};
    use super::super::session_settings::SessionSettings;
    use crate::config::Config;
    use crate::session::Rules;
    use proptest::prelude::*;

    /// Users may have three connections.
    fn rig(shard_count: usize, mesh_slots: usize) -> SessionRig {
        let open = open_settings();
        let settings = SessionSettings {
            user_id_http_header: Some("X-User".to_owned()),
            rules: Rules { user_connection_limit: 3, ..open.rules },
            ..open
        };
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        // Clients of a rig come from this machine.
        config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
        SessionRig::new(shard_count, mesh_slots, config, &settings)
    }

    fn connect(rig: &mut SessionRig, shard: usize, user: &str) -> Client {
        rig.connect(shard, &format!("X-User: {user}\r\n"))
    }

    fn user_count(rig: &mut SessionRig, shard: usize) -> u32 {
        rig.core(shard).sign_ins.users.count()
    }

    #[test]
    fn the_limit_holds_over_all_shards_wherever_the_next_one_lands() {
        for (home, last) in (0..4).flat_map(|home| (0..4).map(move |last| (home, last))) {
            let mut rig = rig(4, 64);
            let user = names_at(home, 4).next().expect("there are names enough");
            let others = (0..4).filter(|shard| *shard != last);
            let first: Vec<Client> = others.map(|shard| connect(&mut rig, shard, &user)).collect();
            rig.exchange();
            let late = connect(&mut rig, last, &user);
            rig.exchange();
            assert!(first.iter().all(|client| rig.is_open(*client)));
            assert!(!rig.is_open(late), "home {home}, the fourth on {last}");
            let counters = rig.counters();
            assert_eq!((counters.client_connects, counters.sign_ins_refused), (3, 1));
            assert_eq!(counters.disconnects_connection_limit, 1);

            // After one has left, one more may come, and after it none.
            rig.vanish(first[1]);
            rig.exchange();
            let next = [(); 2].map(|()| {
                let next = connect(&mut rig, last, &user);
                rig.exchange();
                next
            });
            assert_eq!(next.map(|client| rig.is_open(client)), [true, false]);
            for client in [first[0], first[2], next[0]] {
                assert_eq!(user_count(&mut rig, home), 1);
                rig.vanish(client);
                rig.exchange();
            }
            assert_eq!(user_count(&mut rig, home), 0, "nothing is left of a user that is gone");
        }
    }

    #[test]
    fn nobody_and_others_are_not_counted() {
        let mut rig = rig(2, 64);
        let clients: Vec<Client> = (0..5).map(|_| rig.connect(0, "")).collect();
        let users: Vec<String> = names_at(1, 2).take(5).collect();
        let users: Vec<Client> = users.iter().map(|user| connect(&mut rig, 0, user)).collect();
        rig.exchange();
        assert!([clients, users].concat().iter().all(|client| rig.is_open(*client)));
        assert_eq!((user_count(&mut rig, 0), user_count(&mut rig, 1)), (0, 5));
    }

    #[test]
    fn who_is_let_in_after_it_was_gone_is_signed_out_again() {
        let mut rig = rig(2, 64);
        let user = names_at(1, 2).next().expect("there are names enough");
        let client = connect(&mut rig, 0, &user);
        rig.vanish(client);
        rig.exchange();
        assert_eq!((rig.counters().client_connects, user_count(&mut rig, 1)), (0, 0));
    }

    #[test]
    fn a_full_queue_to_the_home_makes_clients_wait_and_too_many_come_back() {
        let mut rig = rig(2, 8);
        rig.core(0).channels.requests.limit(4);
        let mut users = names_at(1, 2);
        let mut ask =
            |rig: &mut SessionRig| connect(rig, 0, &users.next().expect("there are names enough"));
        let mut asked = Vec::new();
        let refused = loop {
            let client = ask(&mut rig);
            if !rig.is_open(client) {
                break client;
            }
            asked.push(client);
            assert!(asked.len() <= 8 + 4, "the queue has an end");
        };
        let counters = rig.counters();
        assert_eq!((counters.sign_ins_refused, counters.disconnects_too_many_requests), (1, 1));
        rig.exchange();
        assert!(asked.iter().all(|client| rig.is_open(*client)) && !rig.is_open(refused));
        assert_eq!(rig.counters().client_connects, asked.len() as u64);
        let again = ask(&mut rig);
        rig.exchange();
        assert!(rig.is_open(again));
    }

    #[test]
    fn sign_outs_wait_for_room_and_other_homes_do_not() {
        let mut rig = rig(3, 8);
        let users: Vec<String> = names_at(1, 3).take(12).collect();
        // In portions that the queue holds.
        let mut clients = Vec::new();
        for user in &users {
            clients.push(connect(&mut rig, 0, user));
            rig.exchange();
        }
        for client in clients {
            rig.vanish(client);
        }
        let owed = |rig: &mut SessionRig| rig.core(0).sign_ins.owed[1].len();
        assert!(owed(&mut rig) > 0, "more than the queue holds");
        let [at_home, elsewhere] = [1, 2].map(|home| {
            let user = names_at(home, 3).next().expect("there are names enough");
            connect(&mut rig, 0, &user)
        });
        assert_eq!(rig.core(0).channels.requests.count(), 1, "behind the sign-outs");
        rig.exchange();
        assert_eq!([at_home, elsewhere].map(|client| rig.is_open(client)), [true, true]);
        assert_eq!((owed(&mut rig), user_count(&mut rig, 1), user_count(&mut rig, 2)), (0, 1, 1));
    }

    /// What happens next, somewhere.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Connect { shard: usize, user: usize },
        Vanish { number: usize },
        Exchange,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            9 => (0..3_usize, 0..4_usize).prop_map(|(shard, user)| Step::Connect { shard, user }),
            9 => (0..6_usize).prop_map(|number| Step::Vanish { number }),
            2 => Just(Step::Exchange),
        ]
    }

    proptest! {
        /// Small queues, so that sign-ins are refused and sign-outs wait at any time.
        #[test]
        fn homes_count_exactly_who_is_there(steps in proptest::collection::vec(step(), 0..90)) {
            let mut rig = rig(3, 2);
            let users: Vec<String> = names_at(0, 3).take(2).chain(names_at(1, 3).take(2)).collect();
            let mut clients: Vec<(Client, usize)> = Vec::new();
            for step in steps.into_iter().chain([Step::Exchange]) {
                match step {
                    Step::Connect { shard, user } => {
                        clients.push((connect(&mut rig, shard, &users[user]), user));
                    }
                    Step::Vanish { number } if number < clients.len() => {
                        rig.vanish(clients.swap_remove(number).0);
                    }
                    Step::Vanish { .. } => {}
                    Step::Exchange => {
                        rig.exchange();
                        clients.retain(|(client, _)| rig.is_open(*client));
                        for (number, name) in users.iter().enumerate() {
                            let there = clients.iter().filter(|(_, user)| *user == number).count();
                            let home = rig.core(number / 2);
                            let counted = home.sign_ins.users.connections_of(name);
                            prop_assert_eq!(counted as usize, there, "{}", name);
                            prop_assert!(there <= 3);
                        }
                    }
                }
            }
        }
    }
}
