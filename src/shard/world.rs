//! Whole shards under a seed: sessions, hubs, homes, the mesh and the cores as they are shipped, in
//! simulated time, without threads or sockets' events.
//!
//! Clients come, drop without a word and come back, do not read for a while, publish and subscribe
//! where they like; queues between the shards are far too small, and some shard is always late.
//! Claims, for every client: replies in the order of its commands; no publication before the
//! subscribe reply or after the unsubscribe reply; each publication in order, with no gap that it
//! was not told about and none twice, across its connections; one epoch and one publication for
//! each offset, whoever reads it. In the end everybody who is subscribed has seen everything, and
//! when all have left, nothing is left.
//!
//! `LONGWIRE_SEEDS` says how many worlds there are, `LONGWIRE_SEED` replays one.

mod client;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::client::{Client, Place, Truth};
use super::connection::Flags;
use super::core::{Core, Effect, Turn};
use super::listeners::Newcomer;
use super::session_rig::open_settings;
use super::session_settings::SessionSettings;
use super::sessions::Sessions;
use super::{Channels, Jobs, Seats, Settings};
use crate::address::SocketPeer;
use crate::config::Config;
use crate::handler::{ConnectionId, Handler};
use crate::metrics::Counters;
use crate::ring::{Batch, Operation, Received, Token};
use crate::session::{ChannelOptions, Retention};
use crate::sys::bell::Bell;
use crate::sys::clock;
use crate::ws::{OpCode, encode_header};

/// Worlds of one run, unless it is said.
const SEEDS: u64 = 150;
const STEPS: u32 = 400;
const SHARDS: usize = 3;
const CLIENTS: usize = 9;
const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// A generator of pseudo-random numbers (`SplitMix64`), the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % bound as u64).expect("below the bound")
    }

    fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

struct World {
    shards: Vec<(Core<Sessions>, Sessions)>,
    clients: Vec<Client>,
    /// The clients' ends of the sockets, so that they stay open.
    ends: Vec<UnixStream>,
    truth: Truth,
    random: Random,
    now: Instant,
    next_data: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        let settings = settings(&mut random);
        settings.configure(&mut config);
        let slots = random.one_of(&[8, 16, 64]);
        let now = clock::now();
        let make = Sessions::for_shards(settings).expect("they are valid");
        let seats = Arc::new(Seats::new(SHARDS, 100, 100));
        let hasher = std::hash::RandomState::new();
        let members = crate::mesh::build_with_slots(SHARDS, slots).expect("a mesh");
        let shards = members.into_iter().enumerate().map(|(number, mesh)| {
            let mut sessions = make(number);
            let routes = sessions.routes();
            let settings =
                Settings::new(&config, number, SHARDS, Arc::clone(&seats), None, 0, &routes);
            let channels = Channels::new(number, SHARDS, 1000, mesh, now, &hasher);
            let bell = Arc::new(Bell::new().expect("a bell"));
            let jobs = Jobs::new(crossbeam_channel::bounded(1).0, 1, bell);
            let core = Core::new(settings, routes, channels, jobs, now, |_| SocketPeer::Local);
            (core, sessions)
        });
        Self {
            shards: shards.collect(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            ends: Vec::new(),
            truth: Truth::default(),
            random,
            now,
            next_data: 0,
        }
    }

    /// Something happens, somewhere.
    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.below(40) as u64);
        let who = self.random.below(CLIENTS);
        match self.random.below(24) {
            0..11 => {
                let (shard, budget) = (self.random.below(SHARDS), 1 + self.random.below(12));
                self.turn(shard, budget);
            }
            11 if self.random.is_one_in(3) => self.vanish(who),
            12 if self.random.is_one_in(2) => self.clients[who].is_stuck = true,
            13..15 => self.unstick(who),
            15..22 if self.can_speak(who) => {
                let commands = self.commands(who);
                if !commands.is_empty() {
                    self.say(who, &commands.join("\n"));
                }
            }
            _ => self.dial(who),
        }
        self.reap();
    }

    /// What a client says in one frame: mostly one command, sometimes a burst of them.
    fn commands(&mut self, who: usize) -> Vec<String> {
        let Self { clients, random, truth, next_data, .. } = self;
        let client = &mut clients[who];
        let count = if random.is_one_in(4) { 2 + random.below(6) } else { 1 };
        let command = |_| {
            let channel = random.below(CHANNELS.len());
            match random.below(8) {
                0..3 => client.change(channel, random.is_one_in(3), truth),
                3 => Some(client.ask(channel)),
                _ => {
                    *next_data += 1;
                    Some(client.publish(channel, *next_data))
                }
            }
        };
        (0..count).filter_map(command).collect()
    }

    // --- Clients ----------------------------------------------------------------------------

    /// Connects a client that is not connected.
    fn dial(&mut self, who: usize) {
        if self.clients[who].place.is_some() {
            return;
        }
        let shard = self.random.below(SHARDS);
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        self.ends.push(theirs);
        let core = &mut self.shards[shard].0;
        core.set_now(self.now);
        let _taken = core.admit(Newcomer { socket: ours.into(), proxied: false });
        let mut effects = Vec::new();
        core.take_effects(&mut effects);
        let Some((serial, Effect::Watch(index))) = effects.pop() else { panic!("{effects:?}") };
        self.clients[who].place = Some(Place { shard, index, serial });
        self.bytes(who, HEAD);
        let text = self.clients[who].connect();
        self.say(who, &text);
    }

    /// Whether the client is connected, and the server reads what it says.
    fn can_speak(&mut self, who: usize) -> bool {
        let Some(place) = self.clients[who].place else { return false };
        let connection = self.shards[place.shard].0.connections.get(place.index);
        connection.is_some_and(|one| !one.flags.has(Flags::PAUSED))
    }

    fn say(&mut self, who: usize, text: &str) {
        let mut bytes = encode_header(true, OpCode::Text, text.len(), Some([0; 4])).to_vec();
        bytes.extend_from_slice(text.as_bytes());
        self.bytes(who, &bytes);
    }

    fn bytes(&mut self, who: usize, bytes: &[u8]) {
        let Place { shard, index, .. } = self.clients[who].place.expect("it is connected");
        let mut bytes = bytes.to_vec();
        self.act(shard, |turn, sessions| {
            turn.received(sessions, index, Received::Bytes(bytes.len()), &mut bytes);
        });
    }

    /// The client reads again, from a socket that has room.
    fn unstick(&mut self, who: usize) {
        self.clients[who].is_stuck = false;
        let Some(Place { shard, index, serial }) = self.clients[who].place else { return };
        let token = Token::new(Operation::Writable, serial, index.as_u32());
        let core = &mut self.shards[shard].0;
        let connection = core.connections.get(index);
        if connection.is_some_and(|one| one.flags.has(Flags::WRITE_WATCHED)) {
            core.poll_ended(token, i32::from(libc::POLLOUT));
            self.act(shard, |turn, _| turn.writable(token));
        }
    }

    /// The client is gone without a word.
    fn vanish(&mut self, who: usize) {
        let Some(Place { shard, index, serial }) = self.clients[who].place else { return };
        self.clients[who].forget_connection();
        if self.shards[shard].0.living(index, serial).is_some() {
            let reset = Received::Failed(libc::ECONNRESET);
            self.act(shard, |turn, sessions| {
                turn.received(sessions, index, reset, &mut []);
            });
        }
    }

    /// Clients whose connection the server has ended notice.
    fn reap(&mut self) {
        for who in 0..CLIENTS {
            let Some(Place { shard, index, serial }) = self.clients[who].place else { continue };
            let id = ConnectionId::new(index.as_u32(), serial);
            let is_open = self.shards[shard].0.open(id).is_some();
            if !is_open || self.clients[who].is_closed {
                self.vanish(who);
            }
        }
    }

    // --- Shards -----------------------------------------------------------------------------

    /// A shard takes so many messages, and does as much else; returns how much it did.
    fn turn(&mut self, shard: usize, budget: usize) -> usize {
        let mut count = 0;
        self.act(shard, |turn, sessions| {
            while count < budget
                && let Some(received) = turn.core.channels.mesh.receive()
            {
                turn.take(sessions, received.from, received.message.checked());
                count += 1;
            }
            turn.core.catch_up();
            count += turn.announce(sessions, 1000);
            count += turn.fan_out(sessions, budget);
        });
        count
    }

    /// Does something on a shard, and carries out what it came to.
    fn act(&mut self, shard: usize, step: impl FnOnce(&mut Turn<'_, Sessions>, &mut Sessions)) {
        let Self { shards, clients, truth, random, now, .. } = self;
        let (core, sessions) = &mut shards[shard];
        core.set_now(*now);
        let mut batch = Batch::new(1 << 14);
        let mut turn = Turn { core, batch: &mut batch };
        step(&mut turn, sessions);
        turn.tell_endings(sessions);
        let mut sends = Vec::new();
        turn.flush(&mut sends);
        for send in sends {
            let index = send.index;
            let place = Place { shard, index, serial: turn.core.serial(index) };
            let client = clients.iter_mut().find(|client| client.place == Some(place));
            let Some(client) = client else { continue }; // to the void
            let length = send.piece.len();
            let taken = match client.is_stuck {
                true => 0,
                false if random.is_one_in(30) => random.below(length),
                false => length,
            };
            client.read(&turn.batch.bytes(send.piece)[..taken], truth);
            if taken < length {
                let result = i32::try_from(taken).expect("small");
                turn.send_failed(send.token, if taken == 0 { -libc::EAGAIN } else { result });
            }
        }
        turn.settle();
        turn.tell_endings(sessions);
        carry_out(core);
        core.channels.mesh.flush(|_| {});
    }

    /// Everybody reads, and the shards go on until nobody has anything.
    fn settle(&mut self) {
        let mut quiet_rounds = 0;
        while quiet_rounds < 3 {
            self.now += 2 * crate::limits::JOINS_TICK;
            let mut count = 0;
            for who in 0..CLIENTS {
                self.unstick(who);
            }
            for shard in 0..SHARDS {
                count += self.turn(shard, 1000);
            }
            self.reap();
            let is_busy = self
                .shards
                .iter()
                .any(|(core, _)| core.channels.has_work() || core.backlog_bytes > 0);
            quiet_rounds = if count == 0 && !is_busy { quiet_rounds + 1 } else { 0 };
        }
    }

    fn check_all_was_seen(&mut self) {
        for (number, name) in CHANNELS.iter().enumerate() {
            let tops = self.shards.iter().filter_map(|(core, _)| {
                let streams = &core.channels.home.streams;
                streams.find(name).map(|stream| streams.position(stream, u64::MAX).offset)
            });
            let top = tops.max();
            for (who, client) in self.clients.iter().enumerate() {
                assert!(!client.is_in(number) || client.seen(number) == top, "{who} in {name}");
            }
        }
        let entries = (0..CHANNELS.len())
            .map(|channel| self.clients.iter().filter(|client| client.is_in(channel)).count());
        let entries: usize = entries.sum();
        let memberships = self.shards.iter();
        let memberships = memberships.map(|(core, _)| core.channels.fanout.membership_count());
        assert_eq!(memberships.sum::<u32>() as usize, entries);
        let present = self.shards.iter().map(|(core, _)| core.channels.home.attendance.count());
        let present = present.sum::<u32>() as usize;
        assert!(present == 0 || present == entries, "{present} of {entries}");
    }

    fn check_nothing_is_left(&mut self) {
        for (core, _) in &self.shards {
            let Channels { fanout, home, .. } = &core.channels;
            assert_eq!((fanout.channel_count(), fanout.membership_count()), (0, 0));
            assert_eq!((fanout.queue_bytes(), home.order.channel_count()), (0, 0));
            assert_eq!((home.attendance.count(), core.connection_count()), (0, 0));
            assert_eq!((core.backlog_bytes, core.partial_bytes), (0, 0));
        }
    }
}

/// What clients send first.
const HEAD: &[u8] = b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Clients may do everything; what is kept, told and borne differs.
fn settings(random: &mut Random) -> SessionSettings {
    let open = open_settings();
    let publications_max = random.one_of(&[3, 40, 1000]);
    let is_attended = random.is_one_in(2);
    let options = ChannelOptions {
        history: Some(Retention { publications_max, ttl_s: 6000, meta_ttl_s: 60_000 }),
        presence: is_attended,
        join_leave: is_attended,
        force_push_join_leave: is_attended && random.is_one_in(2),
        ..ChannelOptions::default()
    };
    let rules = crate::session::Rules { without_namespace: options, ..open.rules };
    let output_bytes_max = random.one_of(&[3000, 1 << 20]);
    SessionSettings { output_bytes_max, rules, ..open }
}

/// The loop's part: polls end with their sockets, slots are freed.
fn carry_out(core: &mut Core<Sessions>) {
    let mut effects = Vec::new();
    core.take_effects(&mut effects);
    for (serial, effect) in effects {
        let (Effect::Shut(index) | Effect::Detach(index)) = effect else { continue };
        if core.serial(index) == serial {
            let armed: Vec<Operation> = core.armed(index).collect();
            for operation in armed {
                core.poll_ended(Token::new(operation, serial, index.as_u32()), -libc::ECANCELED);
            }
        }
    }
    core.release();
    while core.ready_count() > 0 {
        core.next_ready();
    }
}

/// One world from its beginning to its end.
fn live(seed: u64) -> (Truth, Counters) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.check_all_was_seen();
    for who in 0..CLIENTS {
        world.vanish(who);
    }
    world.settle();
    world.check_nothing_is_left();
    let mut counters = Counters::default();
    for (core, _) in &world.shards {
        counters += &core.counted().counters;
    }
    (world.truth, counters)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn every_subscriber_of_every_world_is_told_the_truth() {
    if let Some(seed) = number_from("LONGWIRE_SEED") {
        live(seed);
        return;
    }
    let (mut recovered, mut lost, mut counters) = (0, 0, Counters::default());
    for seed in 0..number_from("LONGWIRE_SEEDS").unwrap_or(SEEDS) {
        let lived = std::panic::catch_unwind(|| live(seed));
        let lived = lived.unwrap_or_else(|_| panic!("replay it with LONGWIRE_SEED={seed}"));
        recovered += lived.0.recovered;
        lost += lived.0.lost;
        counters += &lived.1;
    }
    // Worlds without trouble would say nothing.
    let troubles = [
        ("recovered", recovered),
        ("lost", lost),
        ("sent again", counters.publications_resent),
        ("gaps", counters.gaps_sent),
        ("told of gaps", counters.unsubscribes_insufficient_state),
        ("cut for overflow", counters.output_overflows),
        ("come again", counters.errors_internal),
    ];
    for (trouble, count) in troubles {
        assert!(count > 0, "{trouble}: never, of {troubles:?}");
    }
}
