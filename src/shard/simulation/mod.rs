//! Whole servers under a seed: thousands of clients against the shipped session, hub, mesh and
//! core, in simulated time, with queues of a few places, shards that are slow, readers that do not
//! read, and connections that drop and come back.
//!
//! Claims, for every subscriber: publications come in order; none is missing without its being
//! told; none comes twice; none comes before its subscribe reply. Every command has one reply, in
//! order. All clients agree on what stands at each place of a stream. When everything has calmed
//! down, everybody has everything. Nothing grows beyond its bound.
//!
//! `LONGWIRE_SEEDS` says how many servers there are; `LONGWIRE_SEED` replays one.

mod client;
mod ledger;
mod network;

use std::collections::BTreeMap;
use std::time::Duration;

use self::client::Client;
use self::ledger::{Counts, Ledger};
use self::network::{Budget, Network};
use super::session_settings::SessionSettings;
use crate::handler;
use crate::session::random::Random;
use crate::session::{ChannelOptions, Retention, Rules};

/// Servers of one run, unless `LONGWIRE_SEEDS` says how many.
const SEEDS: u64 = 1000;
/// Things that happen in each.
const STEPS: usize = 300;

/// Without positions; with positions and room for all; with room for few; and who is there.
const CHANNELS: [&str; 5] = ["a", "b", "kept:a", "kept:b", "brief:a"];

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
}

impl World {
    /// A crowd of so many clients; 0 for a few.
    fn new(seed: u64, crowd: u64) -> Self {
        let mut random = Random::new(seed);
        let shard_count = 1 + random.below(3);
        let mesh_slots = random.one_of(&[4, 8, 64]);
        let few = 2 + random.below(12) as u64;
        let room_bytes = random.one_of(&[256, 4096, 65_536]);
        let rules = rules(&mut random);
        let kept = |(name, options): (&String, &ChannelOptions)| {
            let Retention { publications_max, ttl_s, meta_ttl_s } = options.history?;
            Some((name.clone(), handler::Retention { publications_max, ttl_s, meta_ttl_s }))
        };
        let kept = rules.namespaces.iter().filter_map(kept).collect();
        let settings = SessionSettings {
            rules,
            ping_interval: None,
            output_bytes_max: random.one_of(&[3000, 1 << 20]),
            ..SessionSettings::default()
        };
        let network = Network::new(shard_count, mesh_slots, room_bytes, &settings);
        Self {
            clients: (1..=if crowd > 0 { crowd } else { few }).map(Client::new).collect(),
            slow: random.one_in(2).then(|| random.below(shard_count)),
            random,
            network,
            ledger: Ledger::default(),
            published: 0,
            kept,
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let Self { random, network, ledger, .. } = self;
        network.advance(Duration::from_millis(random.below(3) as u64));
        let index = random.below(self.clients.len());
        let client = &mut self.clients[index];
        match random.below(20) {
            0..8 => self.turn(),
            8..12 => {
                client.read(1 + random.below(8192), network, ledger);
            }
            12..18 if client.is_connected() => client.act(&CHANNELS, random, network),
            12..18 => client.connect(random.below(network.shard_count()), network, ledger),
            18 => {
                if random.one_in(3) {
                    client.drop_line(random.one_in(2), network);
                }
            }
            _ => self.publish(),
        }
        self.network.check_bounds();
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

    /// A back end publishes.
    fn publish(&mut self) {
        self.published += 1;
        let number = self.published;
        let channel = self.random.one_of(&CHANNELS);
        let text = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":{number}}}}}}}"#);
        let retention = self.kept.get(channel.split_once(':').map_or("", |(name, _)| name));
        let _refused_if_full = self.network.publish(channel, text.as_bytes(), retention.copied());
    }

    /// Everybody connects and reads, until nothing happens any more.
    fn calm_down(&mut self) {
        let Self { random, network, clients, ledger, .. } = self;
        let mut calm_rounds = 0;
        for round in 0.. {
            assert!(round < 10_000, "it never calms down");
            let mut is_calm = true;
            for client in &mut *clients {
                if !client.is_connected() {
                    client.connect(random.below(network.shard_count()), network, ledger);
                    is_calm = false;
                }
                is_calm &= !client.read(usize::MAX, network, ledger);
            }
            for shard in 0..network.shard_count() {
                network.turn(shard, Budget::ALL);
            }
            // What is under way between two shards is nobody's work for a round or two.
            calm_rounds = if is_calm && !network.is_busy() { calm_rounds + 1 } else { 0 };
            if calm_rounds > 4 {
                return;
            }
        }
    }

    /// Everybody leaves.
    fn empty(&mut self) {
        let Self { random, network, clients, .. } = self;
        for client in clients {
            client.drop_line(random.one_in(2), network);
        }
        let mut idle_rounds = 0;
        for round in 0.. {
            assert!(round < 10_000, "it never empties");
            idle_rounds = if network.is_busy() { 0 } else { idle_rounds + 1 };
            if idle_rounds > 64 {
                break;
            }
            for shard in 0..network.shard_count() {
                network.turn(shard, Budget::ALL);
            }
        }
        network.check_empty();
    }

    /// Everybody has everything, and whoever is in a channel is present there.
    fn judge(&mut self) {
        for client in &self.clients {
            assert!(client.is_connected());
            assert!(client.waits_for().is_empty(), "without a reply: {:?}", client.waits_for());
            for (channel, position) in client.positions() {
                let top = self.network.top(channel);
                assert_eq!(Some(position.offset), top, "{channel}: it has not everything");
            }
        }
        // Those channels whose positions are known are also those whose members are.
        let positions = self.clients.iter().map(|client| client.positions().count());
        assert_eq!(self.network.present_count(), positions.sum::<usize>());
    }
}

/// Everybody may do everything.
fn rules(random: &mut Random) -> Rules {
    let retention = |publications_max| Retention { publications_max, ttl_s: 600, meta_ttl_s: 600 };
    let keeping = |publications_max| ChannelOptions {
        history: Some(retention(publications_max)),
        force_recovery: true,
        presence: true,
        ..ChannelOptions::default()
    };
    let kept = keeping(10_000);
    let brief = keeping(1 + u32::try_from(random.below(8)).expect("it is small"));
    let namespaces = [("kept".to_owned(), kept), ("brief".to_owned(), brief)].into();
    Rules { insecure: true, namespaces, ..Rules::default() }
}

/// One server's life; returns how much happened in it.
fn live(seed: u64, crowd: u64, steps: usize) -> Counts {
    let mut world = World::new(seed, crowd);
    for _ in 0..steps {
        world.step();
    }
    world.calm_down();
    world.judge();
    world.empty();
    let counters = world.network.counters();
    let counts = &mut world.ledger.counts;
    counts.resent = counters.publications_resent;
    counts.gaps = counters.gaps_sent;
    counts.overflows = counters.output_overflows;
    counts.temporary_errors = counters.errors_internal;
    *counts
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::hub::planted::with_recovery_off_by_one;

    /// Lives under these seeds, or under the one that is to be replayed; the first that fails
    /// ends it.
    fn live_all(seeds: u64, live: impl Fn(u64) -> Counts + Sync) -> Result<Counts, u64> {
        let seeds = match std::env::var("LONGWIRE_SEED") {
            Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("a number"),
            Err(_) => 0..seeds,
        };
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
        assert!(counts.recovered > 0 && counts.recoveries > counts.recovered, "{counts:?}");
        // Worlds without trouble would say nothing.
        let Counts { lost_positions, resent, gaps, overflows, temporary_errors, .. } = counts;
        let troubles = [lost_positions, resent, gaps, overflows, temporary_errors];
        assert!(troubles.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn thousands_of_sessions_on_one_server_do_not_either() {
        let counts = must_live(2, |seed| live(seed, 2000, 20_000));
        assert!(counts.recovered > 0, "{counts:?}");
    }

    #[test]
    fn recovery_that_is_off_by_one_is_found() {
        let found = live_all(1000, |seed| with_recovery_off_by_one(|| live(seed, 0, STEPS)));
        assert!(found.is_err(), "a thousand servers did not notice");
    }
}
