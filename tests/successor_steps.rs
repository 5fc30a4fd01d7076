//! Either process of an upgrade is killed, or stopped, at each step of it.
//!
//! Setup: `longwire raw echo`, clients that stay through many upgrades, each with a request under
//! way and one in the middle of a frame; a process stops itself at the step that a seed names, is
//! killed there, goes on, or stays so. Claims: as long as the new process has not said that it
//! serves, its end, or its silence, leaves the old one serving with nothing lost; from then on the
//! old one's does the same to the new. If the one that serves is killed, so are its connections,
//! and the other does not stay behind.
//!
//! `LONGWIRE_SEED=n cargo test --test successor_steps` runs one seed. Builds without debug
//! assertions have no steps to be held at.
#![cfg(debug_assertions)]

use std::io::{Read, Write};

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::WebSocket;

use successor::{
    Asking, Patient, Server, Setup, has_ended, hear, poll, say, serving, state_of, wait_for,
};

#[path = "support/successor.rs"]
mod successor;

/// The steps of both, and whether the new process has said before that it serves.
const STEPS: [(&str, bool); 19] = [
    ("OlderStarted", false),
    ("OlderHeardBuilt", false),
    ("OlderCopying", false),
    ("OlderCopied", false),
    ("OlderFroze", false),
    ("OlderSettled", false),
    ("OlderEnding", false),
    ("OlderHeardCommitted", true),
    ("OlderLeaving", true),
    ("NewerHeardOffer", false),
    ("NewerReady", false),
    ("NewerSaidBuilt", false),
    ("NewerHasWays", false),
    ("NewerTaking", false),
    ("NewerCopied", false),
    ("NewerHeardStill", false),
    ("NewerTook", false),
    ("NewerCommitted", true),
    ("NewerServing", true),
];

/// What becomes of the process that is held at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    GoesOn,
    StaysStopped,
}

/// Splitmix64: neighbouring seeds have nothing in common.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn pick<T: Copy>(from: &[T], random: u64) -> T {
    let count = u64::try_from(from.len()).unwrap();
    from[usize::try_from(random % count).unwrap()]
}

/// A server, and its clients as long as they have not lost it.
struct World {
    server: Server,
    clients: Vec<WebSocket<Patient>>,
    /// In the middle of a frame whose last byte is its number.
    beginner: Patient,
    number: u8,
}

/// A masked frame of one byte, under a key that changes nothing.
fn frame(byte: u8) -> [u8; 7] {
    [0x82, 0x81, 0, 0, 0, 0, byte]
}

/// To who is silent while somebody is stopped.
const PING: [u8; 2] = [0x89, 0];

impl World {
    fn new(setup: &Setup) -> Self {
        let server = Server::start_with(2, setup);
        let clients = (0..4).map(|_| server.connect()).collect();
        let mut beginner = server.connect();
        let beginner = {
            beginner.flush().unwrap();
            Patient(beginner.get_ref().0.try_clone().unwrap())
        };
        Self { server, clients, beginner, number: 0 }
    }

    /// What is under way while somebody is held: requests, and the first half of a frame.
    fn begin(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.beginner.write_all(&frame(self.number)[..4]).unwrap();
    }

    /// The rest of it, and somebody new.
    fn speak(&mut self) -> Late {
        for socket in &mut self.clients {
            say(socket, &self.number.to_string());
        }
        self.beginner.write_all(&frame(self.number)[4..]).unwrap();
        Late(self.server.stream())
    }

    /// All of it is answered, once; by whoever serves now.
    fn expect_answers(&mut self, late: Late) {
        for socket in &mut self.clients {
            assert_eq!(hear(socket), self.number.to_string());
        }
        let mut answer = [0; 3];
        self.beginner.read_exact(&mut answer[..2]).unwrap();
        while answer[..2] == PING {
            self.beginner.read_exact(&mut answer[..2]).unwrap();
        }
        self.beginner.read_exact(&mut answer[2..]).unwrap();
        assert_eq!(answer, [0x82, 1, self.number]);
        late.expect_service(&self.server.address);
    }

    /// The connections have ended, as those of a process do that was killed.
    fn expect_end(mut self) {
        for socket in &mut self.clients {
            while let Ok(message) = socket.read() {
                assert!(!message.is_close(), "nobody was there to close");
            }
        }
        let mut rest = Vec::new();
        let _reset = self.beginner.read_to_end(&mut rest);
        self.server.wait_for_the_end();
    }
}

/// A connection that waits in a listener's queue.
struct Late(Patient);

impl Late {
    fn expect_service(self, address: &str) {
        let mut socket = tungstenite::client(format!("ws://{address}/"), self.0).unwrap().0;
        say(&mut socket, "late");
        assert_eq!(hear(&mut socket), "late");
    }
}

/// One upgrade of which one process comes to its fate at one step. The world goes on, or is gone.
fn upgrade(
    mut world: World,
    (step, is_committed): (&str, bool),
    fate: Fate,
    shards: u32,
) -> Option<World> {
    world.server.hold_at(step);
    world.server.next_has(shards);
    world.begin();
    let mut asking = world.server.ask();
    let newer = asking.started();
    let Some(held) = world.server.held_in_time(step, &mut asking) else {
        let late = world.speak();
        expect_refusal(asking, newer, " in time");
        world.expect_answers(late);
        return Some(world);
    };
    let is_newer = step.starts_with("Newer");
    assert_eq!(held == newer, is_newer, "{held:?} at {step}");
    let late = world.speak();
    match fate {
        Fate::Killed => kill(held),
        Fate::GoesOn => kill_process(held, Signal::CONT).unwrap(),
        Fate::StaysStopped => {}
    }
    let has_end = fate == Fate::Killed && is_newer == is_committed;
    if has_end {
        drop(asking);
        world.expect_end();
        return None;
    }
    if fate == Fate::GoesOn {
        let (said, succeeded) = asking.end();
        assert!(succeeded, "{said}");
        assert_eq!(serving(&said), newer);
    } else if !is_committed {
        let why = if fate == Fate::Killed { "ended before it took over" } else { " in time" };
        expect_refusal(asking, newer, why);
    }
    if is_committed || fate == Fate::GoesOn {
        world.server.pid = newer;
        // Whatever the old one says: it is not needed.
        wait_for(&world.server.lines, "serving");
    }
    world.expect_answers(late);
    if fate == Fate::StaysStopped && is_committed {
        assert_eq!(state_of(held), Some('T'), "it had nothing to do with it");
        kill(held);
    }
    Some(world)
}

/// The old process gives the new one up, and does not leave it behind.
fn expect_refusal(asking: Asking, newer: Pid, why: &str) {
    let (said, succeeded) = asking.end();
    assert!(!succeeded && said.contains(why), "{said}");
    poll("the new process is gone", || has_ended(newer).then_some(()));
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

/// The seeds from `first` on, or the one that is asked for.
fn seeds(first: u64, count: u64) -> Vec<u64> {
    match std::env::var("LONGWIRE_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (first..first + count).collect(),
    }
}

fn run(seeds: Vec<u64>, setup: &Setup, cases: &[((&str, bool), Fate)]) {
    let mut world = None;
    for seed in seeds {
        let random = mix(seed);
        let (step, fate) = pick(cases, random);
        let shards = pick(&[1, 2, 3], random >> 32);
        println!("seed {seed}: {} at {fate:?}, {shards} shards", step.0);
        let now = world.take().unwrap_or_else(|| World::new(setup));
        world = upgrade(now, step, fate, shards);
    }
    if let Some(world) = world {
        world.server.stop();
    }
}

/// Every step with each of these fates.
fn cases(fates: &[Fate]) -> Vec<((&'static str, bool), Fate)> {
    STEPS.iter().flat_map(|step| fates.iter().map(|fate| (*step, *fate))).collect()
}

#[test]
fn whoever_is_killed_or_held_for_a_while_loses_nothing_of_what_it_does_not_serve() {
    run(seeds(0, 160), &Setup::default(), &cases(&[Fate::Killed, Fate::GoesOn]));
}

#[test]
fn whoever_stays_stopped_is_not_waited_for() {
    // Of the old process before the commit nobody but its supervisor can say that it hangs, and the
    // new one is what serves after it.
    let stopped = cases(&[Fate::StaysStopped])
        .into_iter()
        .filter(|((step, is_committed), _)| step.starts_with("Newer") != *is_committed);
    let setup = Setup {
        flags: &["--upgrade-ready-timeout", "3s", "--upgrade-freeze-timeout", "2s"],
        ..Setup::default()
    };
    run(seeds(160, 40), &setup, &stopped.collect::<Vec<_>>());
}
