//! Whole servers under a seed: thousands of clients against the shipped session, hub, mesh and
//! core, in simulated time, with queues of a few places, shards that are slow, readers that do not
//! read, and connections that drop and come back.
//!
//! Claims, for every subscriber: publications come in order; none is missing without its being
//! told, but where some may be, and there the last comes; none comes twice; none comes before its
//! subscribe reply. Every command has one reply, in order. All clients agree on what stands at
//! each place of a stream. Who hears of others hears of each coming and going once, in turns. When
//! everything has calmed down, everybody has everything, whoever is in a channel is present there,
//! and of the connections of a user who may have one there is one. Nothing grows beyond its bound,
//! and when all have left nothing is left of them. At any moment another process takes over, with
//! another number of shards, or nothing becomes of that: for all of it that is no event.
//!
//! `LONGWIRE_SEEDS` says how many servers there are; `LONGWIRE_SEED` replays one.

mod client;
mod hearing;
mod ledger;
mod network;
mod scenario;
mod subscription;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use self::client::Client;
use self::ledger::{Counts, Ledger};
use self::network::{Budget, Network};
use self::scenario::{BY_SERVER, CHANNELS, OWED, Scenario, USERS};
use self::wire::Form;
use super::carried::Unfit;
use crate::handler;
use crate::limits::{JOINS_TICK, SET_ASIDE_FRAMES_MAX};
use crate::mesh::planted::refuse_one_in;
use crate::session::random::Random;

/// Servers of one run, unless `LONGWIRE_SEEDS` says how many.
const SEEDS: u64 = 1500;
/// Things that happen in each.
const STEPS: usize = 300;
/// Publications of a back end in a row: more than may wait for a client that is slow.
const BURST: usize = 2 * SET_ASIDE_FRAMES_MAX;
/// Longer than what is not acknowledged waits to be sent again.
const AGAIN: Duration = Duration::from_secs(90);
/// Longer than any stream lives without its members.
const EVER: Duration = Duration::from_secs(700);

/// A server, its clients, and what they have seen.
struct World {
    random: Random,
    network: Network,
    clients: Vec<Client>,
    ledger: Ledger,
    /// The shard that seldom has a turn, if there is one.
    slow: Option<usize>,
    published: u64,
    /// By namespace, how publications are kept.
    kept: BTreeMap<String, handler::Retention>,
    /// A user has one connection at most.
    is_single: bool,
    /// Others take over from it.
    is_upgraded: bool,
}

impl World {
    /// A crowd of so many clients; 0 for a few.
    fn new(seed: u64, crowd: u64) -> Self {
        let mut random = Random::new(seed);
        let Scenario { mut shape, settings, kept } = Scenario::new(&mut random, crowd > 0);
        let few = 2 + random.below(12) as u64;
        // Where hardly any stream or request has a place, who is put into several channels would
        // never be connected.
        let has_places = shape.streams.streams_max >= 100 && shape.requests_max >= 100;
        let has_users = crowd == 0 && has_places && random.one_in(2);
        if crowd > 0 {
            shape.streams.streams_max = 100;
        }
        refuse_one_in(shape.refusals_one_in, seed);
        let client = |number| {
            let form = random.one_of(&[Form::Json, Form::Json, Form::Protobuf]);
            let user = (has_users && random.one_in(2)).then(|| random.one_of(&USERS));
            Client::new(number, user, form)
        };
        let clients = (1..=if crowd > 0 { crowd } else { few }).map(client).collect();
        let personal = settings.rules.personal_channel.as_ref();
        Self {
            clients,
            slow: random.one_in(2).then(|| random.below(shape.shard_count)),
            network: Network::new(shape, seed, &settings),
            is_upgraded: random.one_in(3),
            is_single: personal.is_some_and(|personal| personal.is_single),
            random,
            ledger: Ledger::default(),
            published: 0,
            kept,
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let Self { random, network, ledger, .. } = self;
        // In a crowd a handshake takes so many turns that it would be late.
        let is_long = self.clients.len() < 100 && random.one_in(100);
        network.advance(Duration::from_millis(random.below(if is_long { 3000 } else { 3 }) as u64));
        let index = random.below(self.clients.len());
        let client = &mut self.clients[index];
        match random.below(20) {
            0..8 => self.turn(),
            8..12 => {
                client.read(1 + random.below(8192), network, ledger);
            }
            12..18 if client.is_connected() => client.act(&CHANNELS, random, network, ledger),
            12..18 if client.is_replaced && !random.one_in(8) => {}
            12..18 => client.connect(random.below(network.shard_count()), network, ledger),
            18 => {
                if random.one_in(3) {
                    client.drop_line(random.one_in(2), network);
                }
            }
            _ if self.is_upgraded && random.one_in(4) => self.upgrade(),
            _ => self.publish(),
        }
        self.network.check_bounds(self.clients.len() * (CHANNELS.len() + BY_SERVER.len()));
    }

    fn turn(&mut self) {
        let Self { random, network, slow, .. } = self;
        let shard = random.below(network.shard_count());
        if *slow == Some(shard) && !random.one_in(8) {
            return;
        }
        let budget = Budget {
            messages: 1 + random.below(16),
            reads: 1 + random.below(8),
            read_bytes: 1 + random.below(2048),
            deliveries: 1 + random.below(16),
        };
        network.turn(shard, budget);
    }

    /// Another process takes over, with another number of shards; sometimes nothing becomes of it.
    fn upgrade(&mut self) {
        // In a crowd it takes so many turns that handshakes would be late.
        let pause_ms = if self.clients.len() < 100 { 10 } else { 2 };
        self.network.freeze();
        for round in 0.. {
            assert!(round < 100_000, "it never stands still");
            if self.network.has_settled() {
                break;
            }
            let Self { random, network, ledger, clients, .. } = self;
            network.advance(Duration::from_millis(random.below(pause_ms) as u64));
            let index = random.below(clients.len());
            let client = &mut clients[index];
            match random.below(16) {
                0..3 => _ = client.read(1 + random.below(8192), network, ledger),
                3 if client.is_connected() => client.act(&CHANNELS, random, network, ledger),
                4 if random.one_in(4) => client.drop_line(random.one_in(2), network),
                _ => self.turn(),
            }
        }
        let Self { random, network, ledger, slow, .. } = self;
        if random.one_in(8) {
            ledger.counts.upgrades_given_up += 1;
            return network.thaw();
        }
        let shard_count = 1 + random.below(3);
        match network.hand_over(shard_count, random) {
            Ok(()) => {
                ledger.counts.upgrades += 1;
                *slow = slow.filter(|shard| *shard < shard_count);
            }
            Err(Unfit::Channels) => {
                ledger.counts.upgrades_refused += 1;
                network.thaw();
            }
            Err(why) => panic!("it must fit there: {why:?}"),
        }
    }

    /// A back end publishes, sometimes much in one channel.
    fn publish(&mut self) {
        let all = [&CHANNELS[..], &BY_SERVER[..]].concat();
        let channel = self.random.one_of(&all);
        let retention = self.kept.get(channel.split_once(':').map_or("", |(name, _)| name));
        let keep = retention.map(|&kept| kept.into());
        let count = if self.random.one_in(8) { BURST } else { 1 };
        for _ in 0..count {
            self.published += 1;
            let number = self.published;
            let text = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":{number}}}}}}}"#);
            let _refused_if_full = self.network.publish(channel, text.as_bytes(), keep);
            if count > 1 {
                self.turn();
            }
        }
    }

    /// Everybody connects and reads, until nothing happens any more.
    fn calm_down(&mut self) {
        refuse_one_in(0, 0);
        let mut calm_rounds = 0;
        for round in 0.. {
            assert!(round < 10_000, "it never calms down: {:?}", self.ledger.counts);
            calm_rounds = if self.is_calm_round() { calm_rounds + 1 } else { 0 };
            // What is under way between two shards is nobody's work for a round or two.
            if calm_rounds > 4 {
                return;
            }
            if calm_rounds > 0 {
                // What waits to be told together with more is told.
                self.network.advance(JOINS_TICK);
            }
        }
    }

    /// Everybody does what there is to do; true if there was nothing.
    fn is_calm_round(&mut self) -> bool {
        let Self { random, network, clients, ledger, .. } = self;
        let mut is_calm = true;
        let is_crowd = clients.len() >= 100;
        let mut is_coming = false;
        for client in clients {
            if !client.is_connected() && !client.is_replaced {
                is_coming = true;
                // As the official ones, at a time of its own: a few that come back in one tick, and
                // tell each other of it, can be too much for all of them, every time. Where there
                // are many they are not told.
                if is_crowd || random.one_in(4) {
                    client.connect(random.below(network.shard_count()), network, ledger);
                }
            }
            is_calm &= !client.read(usize::MAX, network, ledger);
        }
        for shard in 0..network.shard_count() {
            network.turn(shard, Budget::ALL);
        }
        if is_coming && !is_crowd {
            network.advance(JOINS_TICK);
        }
        is_calm && !is_coming && !network.is_busy()
    }

    /// Everybody leaves.
    fn empty(&mut self) {
        let Self { random, network, clients, .. } = self;
        for client in clients {
            client.drop_line(random.one_in(2), network);
        }
        // What they leave behind, what is told of their going, and what nobody uses any more.
        network.settle();
        network.advance(JOINS_TICK);
        network.settle();
        network.check_empty();
        network.advance(EVER);
        network.settle();
        network.check_streams_gone();
    }

    /// Everybody has everything, and whoever is in a channel is present there.
    fn judge(&mut self) {
        for client in &self.clients {
            assert!(client.is_connected() || client.is_replaced);
            assert!(client.waits_for().is_empty(), "without a reply: {:?}", client.waits_for());
            for (channel, subscription) in client.inside() {
                let Some(position) = &subscription.position else { continue };
                let top = self.network.top(channel);
                assert_eq!(Some(position), top.as_ref(), "{channel}: it has not everything");
            }
        }
        // Those channels whose positions are known are also those whose members are.
        let inside = self.clients.iter().flat_map(Client::inside);
        let positions = inside.filter(|(_, subscription)| subscription.position.is_some());
        assert_eq!(self.network.present_count(), positions.count());
        self.judge_users();
        self.judge_joins();
        let counters = self.network.counters();
        let dropped = counters.overflow_dropped_oldest + counters.overflow_conflated;
        assert!(self.ledger.counts.skipped <= dropped, "{dropped} were dropped");
    }

    /// Who may have one connection has one. It may have none where others of its own were lost:
    /// what one of them asked for may come to the home behind what the next asked for, and then
    /// ends the living.
    fn judge_users(&self) {
        for user in USERS {
            let own = || self.clients.iter().filter(move |client| client.user == Some(user));
            let connected = own().filter(|client| client.is_connected()).count();
            if !self.is_single {
                assert_eq!(connected, own().count(), "{user} may have several");
                continue;
            }
            let least = usize::from(own().count() > 0 && !own().any(|one| one.has_lost_line));
            assert!((least..=1).contains(&connected), "{user} has {connected}");
        }
    }

    /// Whoever is told who comes and goes knows who is there, as far as that was told and could
    /// be heard.
    fn judge_joins(&self) {
        if self.network.counters().joins_dropped > 0 {
            return;
        }
        assert_eq!(self.ledger.contradictions, [""; 0]);
        for client in &self.clients {
            for (channel, subscription) in client.inside() {
                let others = self.clients.iter().filter_map(|other| {
                    let there = other.inside().find(|(name, _)| *name == channel)?.1;
                    Some((other.id.as_deref().expect("it is connected"), there))
                });
                let others: BTreeMap<_, _> = others.collect();
                for known in subscription.known() {
                    assert!(others.contains_key(known), "{channel}: {known} is long gone");
                }
                let is_told = self.network.tells_joins(channel);
                for (id, there) in others {
                    let must_know = is_told && there.asked_at > subscription.answered_at;
                    let knows = subscription.knows_of(id);
                    assert!(knows != Some(false), "{channel}: {id} is said to have left");
                    assert!(knows.is_some() || !must_know, "{channel}: {id} came unheard");
                }
            }
        }
    }

    /// What users have not acknowledged comes until they have, and then no more.
    fn settle_owed(&mut self) {
        let owed = &mut self.ledger.owed;
        if owed.heard.is_empty() {
            return;
        }
        owed.settled = std::mem::take(&mut owed.answered);
        for _ in 0..2 {
            self.network.advance(AGAIN);
            self.calm_down();
            let Self { clients, network, ledger, .. } = self;
            for client in clients {
                client.acknowledge(network, ledger);
            }
            self.calm_down();
            let owed = &mut self.ledger.owed;
            owed.settled.append(&mut owed.answered);
        }
        let has_user = |user| {
            let own = self.clients.iter().filter(|client| client.user == Some(user));
            own.flat_map(Client::inside).any(|(channel, _)| channel == OWED)
        };
        let owed = &self.ledger.owed;
        for (user, id) in owed.heard.difference(&owed.said) {
            assert!(!has_user(user), "{user} was never asked again for {id}");
        }
        assert_eq!(self.network.lost_count(), 0, "nothing was to be given up");
    }

    /// Everybody asks who is where it is.
    fn look_around(&mut self) {
        let Self { clients, network, .. } = self;
        for client in clients {
            let there = client.inside().filter(|(_, one)| one.position.is_some());
            let there: Vec<&'static str> = there.map(|(channel, _)| channel).collect();
            for channel in there {
                client.ask_who_is_there(channel, network);
            }
        }
        self.calm_down();
    }
}

/// One server's life; returns how much happened in it.
fn live(seed: u64, crowd: u64, steps: usize) -> Counts {
    let mut world = World::new(seed, crowd);
    for _ in 0..steps {
        world.step();
    }
    world.calm_down();
    world.judge();
    if crowd == 0 {
        world.look_around();
        world.judge();
        world.settle_owed();
    }
    world.empty();
    let counters = world.network.counters();
    let counts = &mut world.ledger.counts;
    counts.resent = counters.publications_resent;
    counts.gaps = counters.gaps_sent;
    counts.overflows = counters.output_overflows;
    counts.temporary_errors = counters.errors_internal;
    counts.dropped_oldest = counters.overflow_dropped_oldest;
    counts.conflated = counters.overflow_conflated;
    counts.evicted = counters.publications_evicted;
    counts.streams_evicted = counters.streams_evicted;
    counts.joins_dropped = counters.joins_dropped;
    *counts
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::hub::planted::{Fault, with};

    /// Lives under these seeds, or under the one that is to be replayed; the first that fails
    /// ends it.
    fn live_all(seeds: Range<u64>, live: impl Fn(u64) -> Counts + Sync) -> Result<Counts, u64> {
        let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
        let work = || {
            let mut counts = Counts::default();
            while failed.load(Ordering::Relaxed) == u64::MAX {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    break;
                }
                match std::panic::catch_unwind(AssertUnwindSafe(|| live(seed))) {
                    Ok(lived) => counts += lived,
                    Err(_) => _ = failed.fetch_min(seed, Ordering::Relaxed),
                }
            }
            counts
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut counts = Counts::default();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                counts += worker.join().expect("panics are caught");
            }
        });
        match failed.into_inner() {
            u64::MAX => Ok(counts),
            seed => Err(seed),
        }
    }

    fn must_live(seeds: u64, live: impl Fn(u64) -> Counts + Sync) -> Counts {
        let seeds = match std::env::var("LONGWIRE_SEED") {
            Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("a number"),
            Err(_) => 0..seeds,
        };
        let counts = live_all(seeds, live);
        let counts = counts.unwrap_or_else(|seed| panic!("replay with LONGWIRE_SEED={seed}"));
        println!("{counts:?}");
        counts
    }

    #[test]
    fn nobody_misses_anything_without_being_told_whatever_happens() {
        let seeds = std::env::var("LONGWIRE_SEEDS").map(|seeds| seeds.parse().expect("a number"));
        let counts = must_live(seeds.unwrap_or(SEEDS), |seed| live(seed, 0, STEPS));
        if std::env::var("LONGWIRE_SEED").is_ok() {
            return; // one server need not have had all troubles
        }
        // Worlds without trouble would say nothing.
        assert_eq!(counts.missing(), [""; 0], "{counts:?}");
    }

    #[test]
    fn thousands_of_sessions_on_one_server_do_not_either() {
        let counts = must_live(2, |seed| live(seed, 2000, 20_000));
        assert!(counts.recovered > 0, "{counts:?}");
    }

    /// Each of them is found by what clients see, whatever the seeds are.
    #[test]
    fn faults_are_found() {
        for fault in [Fault::RecoveryOffByOne, Fault::EpochKept, Fault::LeaveToldTwice] {
            let found = live_all(0..1000, |seed| with(fault, || live(seed, 0, STEPS)));
            assert!(found.is_err(), "a thousand servers did not notice {fault:?}");
        }
    }
}
