//! Shards of sessions without threads or sockets' events, for tests: whoever writes the test says
//! which shard does something next, and when the mesh is emptied.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Passing;
use super::core::{Core, Effect, Turn};
use super::listeners::Newcomer;
use super::message::{Message, TellUser};
use super::moves::Mode;
use super::output::NONE;
use super::phase::Phase;
use super::session_settings::SessionSettings;
use super::sessions::Sessions;
use super::slab::Index;
use super::{Channels, Jobs, Seats, Settings};
use crate::address::SocketPeer;
use crate::config::Config;
use crate::handler::Handler;
use crate::hub::{Homes, ShardId};
use crate::mesh::{Class, MemberId};
use crate::metrics::Counters;
use crate::ring::{Batch, Operation, Received, Token};
use crate::session::Rules;
use crate::sys::bell::Bell;
use crate::sys::clock;
use crate::ws::{OpCode, encode_header};

/// Every client may do everything, and is not pinged.
pub(super) fn open_settings() -> SessionSettings {
    let rules = Rules { insecure: true, ..Rules::default() };
    SessionSettings { rules, ping_interval: None, ..SessionSettings::default() }
}

pub(super) struct SessionRig {
    shards: Vec<(Core<Sessions>, Sessions)>,
    /// Their far ends, so that they stay open.
    clients: Vec<UnixStream>,
}

/// A connected client: the shard and the place it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) index: Index,
}

impl SessionRig {
    /// `mesh_slots` is the length of each queue.
    pub(super) fn new(
        shard_count: usize,
        mesh_slots: usize,
        mut config: Config,
        settings: &SessionSettings,
    ) -> Self {
        settings.configure(&mut config);
        let make = Sessions::for_shards(settings.clone()).expect("they are valid");
        let seats = Arc::new(Seats::new(shard_count, 100, 100));
        let hasher = std::hash::RandomState::new();
        let members = crate::mesh::build_with_slots(shard_count, mesh_slots).expect("a mesh");
        let shards = members.into_iter().enumerate().map(|(number, mesh)| {
            let mut sessions = make(number);
            let routes = sessions.routes();
            let seats = Arc::clone(&seats);
            let settings = Settings::new(&config, number, shard_count, seats, None, 0, &routes);
            let channels = Channels::new(number, shard_count, 10_000, mesh, clock::now(), &hasher);
            let bell = Arc::new(Bell::new().expect("a bell"));
            let jobs = Jobs::new(crossbeam_channel::bounded(1).0, 1, bell);
            let core =
                Core::new(settings, routes, channels, jobs, clock::now(), |_| SocketPeer::Local);
            (core, sessions)
        });
        Self { shards: shards.collect(), clients: Vec::new() }
    }

    pub(super) fn core(&mut self, shard: usize) -> &mut Core<Sessions> {
        &mut self.shards[shard].0
    }

    /// What all shards have counted together.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for (core, _) in &self.shards {
            sum += &core.counters;
        }
        sum
    }

    /// A connection that has sent nothing yet.
    pub(super) fn dial_silently(&mut self, shard: usize) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        self.clients.push(theirs);
        let mut effects = Vec::new();
        let _taken = self.core(shard).admit(Newcomer::new(ours.into(), false));
        self.core(shard).take_effects(&mut effects);
        let Some((_, Effect::Watch(index))) = effects.pop() else {
            panic!("not taken: {effects:?}")
        };
        Client { shard, index }
    }

    /// A WebSocket that has sent no command yet, with these header lines in its request.
    pub(super) fn dial(&mut self, shard: usize, headers: &str) -> Client {
        let client = self.dial_silently(shard);
        let head = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.receive(client, head.as_bytes());
        client
    }

    /// A client whose connect command was sent.
    pub(super) fn connect(&mut self, shard: usize, headers: &str) -> Client {
        let client = self.dial(shard, headers);
        self.frame(client, r#"{"id":1,"connect":{}}"#);
        client
    }

    /// The client sends a message.
    pub(super) fn frame(&mut self, client: Client, text: &str) {
        let mut bytes = encode_header(true, OpCode::Text, text.len(), Some([0; 4])).to_vec();
        bytes.extend_from_slice(text.as_bytes());
        self.receive(client, &bytes);
    }

    fn receive(&mut self, client: Client, bytes: &[u8]) {
        let (core, sessions) = &mut self.shards[client.shard];
        let mut batch = Batch::new(64);
        let received = Received::Bytes(bytes.len());
        let mut turn = Turn { core, batch: &mut batch };
        turn.received(sessions, client.index, received, &mut bytes.to_vec());
    }

    /// The client is gone without a word.
    pub(super) fn vanish(&mut self, client: Client) {
        let (core, sessions) = &mut self.shards[client.shard];
        let mut batch = Batch::new(64);
        let mut turn = Turn { core, batch: &mut batch };
        turn.received(sessions, client.index, Received::End, &mut []);
    }

    pub(super) fn is_open(&mut self, client: Client) -> bool {
        let core = self.core(client.shard);
        let id = core.id(client.index);
        core.open(id).is_some()
    }

    /// Delivers on a shard to at most `budget` members; returns how many it was.
    pub(super) fn fan_out(&mut self, shard: usize, budget: usize) -> usize {
        let (core, sessions) = &mut self.shards[shard];
        let mut batch = Batch::new(64);
        Turn { core, batch: &mut batch }.fan_out(sessions, budget)
    }

    /// Has shard 0 tell a word, asked by shard 1 in the place of the control thread, to `share`
    /// connections in each turn. Returns how many were looked at in each, and what was answered.
    pub(super) fn tell_user(&mut self, tell: TellUser, share: usize) -> (Vec<usize>, Vec<u64>) {
        self.tell_user_on(0, tell, share)
    }

    /// The same of shards 0 and 1 with either of them as the one that tells it.
    pub(super) fn tell_user_on(
        &mut self,
        shard: usize,
        tell: TellUser,
        budget: usize,
    ) -> (Vec<usize>, Vec<u64>) {
        let asking = 1 - shard;
        let mesh = &mut self.core(asking).channels.mesh;
        let sent =
            mesh.send(MemberId::new(shard), Message::TellUser(Box::new(tell)), Class::Request);
        sent.expect("there is room");
        mesh.flush(|_| {});
        let (core, sessions) = &mut self.shards[shard];
        let mut batch = Batch::new(64);
        let received = core.channels.mesh.receive().expect("it was just sent");
        Turn { core, batch: &mut batch }.take(sessions, received.from, received.message);
        let mut counts = Vec::new();
        while core.tellings.has_work() {
            counts.push(Turn { core, batch: &mut batch }.tell_users(sessions, budget));
        }
        core.channels.mesh.flush(|_| {});
        let mut answers = Vec::new();
        let (core, sessions) = &mut self.shards[asking];
        while let Some(received) = core.channels.mesh.receive() {
            match received.message {
                Message::UserTold { ask, was_heard } => {
                    assert!(was_heard, "sessions take in all that they are told");
                    answers.push(ask);
                }
                message => {
                    let mut turn = Turn { core, batch: &mut batch };
                    turn.take(sessions, received.from, message);
                }
            }
        }
        core.channels.mesh.flush(|_| {});
        (counts, answers)
    }

    /// So much time passes on a shard, and what is due by then is done.
    pub(super) fn pass(&mut self, shard: usize, period: Duration) {
        self.sent(shard);
        let (core, sessions) = &mut self.shards[shard];
        core.set_now(core.now + period);
        let mut batch = Batch::new(64);
        Turn { core, batch: &mut batch }.expire(sessions, &mut 1000);
    }

    /// What a shard had to send is sent, and for a second nobody speaks.
    pub(super) fn rest(&mut self, shard: usize) {
        let core = self.core(shard);
        let later = core.now + Duration::from_secs(1);
        core.set_now(later);
        self.sent(shard);
    }

    fn sent(&mut self, shard: usize) {
        let core = self.core(shard);
        core.output.clear();
        for index in (0..core.entries_max()).map(Index::new) {
            if let Some(one) = core.connections.get_mut(index) {
                one.chain = NONE;
            }
        }
    }

    /// Offers the first connection that can move from one shard to the other, if there is one: the
    /// far end's answer waits in the mesh. `has_room`: the other has a descriptor left.
    pub(super) fn offer(&mut self, from: usize, to: usize, has_room: bool) -> bool {
        for shard in [from, to] {
            self.rest(shard);
            self.core(shard).moves.mode = Mode::On;
        }
        let core = self.core(from);
        core.moves.give_all_to(to, 100);
        core.look_at_moves();
        let Some(offer) = core.next_offer(&mut 100) else { return false };
        let socket = core.socket_ref(offer.index).expect("it lives").try_clone_to_owned();
        let socket = socket.ok().filter(|_| has_room);
        let (id, channels) =
            (Passing::moving_said(&offer.message), Passing::moving_channels(&offer.message));
        self.core(to).take_offer(id, socket, channels);
        true
    }

    /// Somebody on a shard publishes.
    pub(super) fn publish(&mut self, shard: usize, channel: &str) {
        let payload = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":1}}}}}}"#);
        let mut frame = encode_header(true, OpCode::Text, payload.len(), None).to_vec();
        frame.extend_from_slice(payload.as_bytes());
        let published = self.core(shard).channels.publish(channel, frame.into(), None);
        published.expect("there is room");
    }

    /// The polls of a shard's connections that have gone end, and their slots are free.
    pub(super) fn release(&mut self, shard: usize) {
        let core = self.core(shard);
        for index in (0..core.entries_max()).map(Index::new) {
            if core.phase(index) == Some(Phase::Retiring) {
                let token = Token::new(Operation::Readable, core.serial(index), index.as_u32());
                core.poll_ended(token, -libc::ECANCELED);
            }
        }
        core.release();
    }

    /// Hands over what the shards have for each other, until nobody has anything.
    pub(super) fn exchange(&mut self) {
        for (core, _) in &mut self.shards {
            core.catch_up();
            core.channels.mesh.flush(|_| {});
        }
        while (0..self.shards.len()).map(|shard| self.take_messages(shard)).sum::<usize>() > 0 {}
    }

    /// A shard takes what the others have for it; returns how much that was.
    pub(super) fn take_messages(&mut self, shard: usize) -> usize {
        let (core, sessions) = &mut self.shards[shard];
        let (mut batch, mut count) = (Batch::new(64), 0);
        while let Some(received) = core.channels.mesh.receive() {
            let mut turn = Turn { core, batch: &mut batch };
            turn.take(sessions, received.from, received.message);
            count += 1;
        }
        core.catch_up();
        Turn { core, batch: &mut batch }.take_arrivals(sessions);
        count += Turn { core, batch: &mut batch }.announce(sessions, 1000);
        core.channels.mesh.flush(|_| {});
        count
    }
}

/// The first names whose home is `shard`, among `shard_count`.
pub(super) fn names_at(shard: usize, shard_count: usize) -> impl Iterator<Item = String> {
    let homes = Homes::dealt(shard_count);
    let names = (0..).map(|number| format!("name-{number}"));
    names.filter(move |name| homes.home_of_channel(name) == ShardId::new(shard))
}
