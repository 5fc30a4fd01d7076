//! Sessions that move from a fuller shard to an emptier one miss nothing, and nobody sees them move.
//!
//! Setup: two shards, one of which has forty sessions in three channels each, while somebody goes
//! on publishing. Claims: the shards come level; every member gets each publication once, in order,
//! whether the channels keep a history or not; who is in a channel is there all the time, nobody
//! is told of a coming or going, and each who leaves then is told of once; a user's clients are
//! found by the HTTP API's words wherever they are (`shard::moves`).

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use longwire::session::{ChannelOptions, Retention, Rules};
use longwire::{Config, Running, SessionSettings, Snapshot};
use serde_json::Value;
use session::{Client, PATIENCE, config, serve, settings};
use snapshots::wait_for;

#[path = "support/session.rs"]
mod session;
#[path = "support/snapshots.rs"]
mod snapshots;

const SESSIONS: usize = 40;

const CHANNELS: [&str; 3] = ["a", "b", "c"];

fn start(options: ChannelOptions) -> Running {
    let settings = settings();
    let rules = Rules { without_namespace: options, ..settings.rules };
    let config = Config { balance_difference: Some(8), ..config(2) };
    serve(config, &SessionSettings { rules, ..settings })
}

/// Sessions that have all come to one shard; those of the other leave when the last has come. No
/// more come than are too few for the first to move meanwhile.
fn on_one_shard(server: &Running) -> Vec<Client> {
    let mut shards: [Vec<Client>; 2] = [vec![], vec![]];
    while shards[0].len() < SESSIONS {
        let before = server.snapshot().expect("it runs").counters.client_connects;
        let counts = server.snapshot().expect("it runs").shard_connections;
        let client = Client::connect(server.address());
        let after = wait_for(server, "the session", |one| one.counters.client_connects > before);
        // A move in between changes both; then nobody knows, and nobody needs to.
        let is_first = after.shard_connections[0] > counts[0];
        shards[usize::from(!is_first)].push(client);
    }
    let [ours, others] = shards;
    let open = server.snapshot().expect("it runs").open - others.len() as u64;
    drop(others);
    wait_for(server, "the others to leave", |one| one.open == open);
    ours
}

fn is_level(snapshot: &Snapshot) -> bool {
    let counts = &snapshot.shard_connections;
    counts[0].abs_diff(counts[1]) <= 1
}

/// Publishes number by number to all channels until the shards are level; how many there were.
fn publish_until_level(server: &Running) -> u64 {
    let mut publisher = Client::connect(server.address());
    let deadline = Instant::now() + PATIENCE;
    let mut count = 0;
    loop {
        let is_last = is_level(&server.snapshot().expect("it runs"));
        count += 1;
        for channel in CHANNELS {
            let data = format!(r#"{{"n":{count}}}"#);
            let publish = format!(r#""publish":{{"channel":"{channel}","data":{data}}}"#);
            let reply = publisher.ask(&publish);
            assert!(reply.get("publish").is_some(), "{reply}");
        }
        if is_last && count >= 20 {
            return count;
        }
        assert!(Instant::now() < deadline, "not level: {:#?}", server.snapshot());
        // Whoever gets something just now does not move: some of the pauses are long enough for it
        // on any machine, and most of them are not.
        let pause_ms = if count % 8 == 0 { 150 } else { count * 7 % 20 };
        thread::sleep(Duration::from_millis(pause_ms));
    }
}

fn number_of(publication: &Value) -> u64 {
    publication["data"]["n"].as_u64().unwrap_or_else(|| panic!("{publication}"))
}

/// The next publication of the channel at this place.
fn next_push(client: &mut Client) -> (usize, Value) {
    let line = client.line();
    let push = &line["push"];
    let place = CHANNELS.iter().position(|channel| push["channel"] == *channel);
    (place.unwrap_or_else(|| panic!("{line}")), push["pub"].clone())
}

fn each_gets_each_once(options: ChannelOptions) {
    let has_offsets = options.history.is_some();
    let server = start(options);
    let mut clients = on_one_shard(&server);
    for client in &mut clients {
        for channel in CHANNELS {
            client.subscribe(channel);
        }
    }
    let count = publish_until_level(&server);
    for client in &mut clients {
        let mut last = [0; CHANNELS.len()];
        for _ in 0..count * CHANNELS.len() as u64 {
            let (place, publication) = next_push(client);
            last[place] += 1;
            assert_eq!(number_of(&publication), last[place], "once and in order");
            if has_offsets {
                assert_eq!(publication["offset"], last[place]);
            }
        }
        // Nothing more, and it is served where it is.
        let reply = client.ask(r#""unsubscribe":{"channel":"a"}"#);
        assert!(reply.get("unsubscribe").is_some(), "{reply}");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert!(counters.moved_here >= SESSIONS as u64 / 4, "{counters:?}");
    assert_eq!((counters.moved_here, counters.moves_lost), (counters.moved_away, 0));
    assert_eq!((counters.publications_missed, counters.gaps_sent), (0, 0));
}

#[test]
fn every_member_gets_each_publication_once_and_in_order() {
    each_gets_each_once(ChannelOptions::default());
}

#[test]
fn the_same_where_members_know_their_position() {
    let history = Some(Retention { publications_max: 10, ttl_s: 600, meta_ttl_s: 600 });
    let options = ChannelOptions { history, force_recovery: true, ..ChannelOptions::default() };
    each_gets_each_once(options);
}

/// What a member hears of others: who came, who left.
#[derive(Default)]
struct Watched {
    came: Vec<String>,
    left: Vec<String>,
}

impl Watched {
    fn note(&mut self, line: &Value) {
        let client = |kind: &str| {
            let client = line["push"][kind]["info"]["client"].as_str();
            client.map(str::to_owned)
        };
        self.came.extend(client("join"));
        self.left.extend(client("leave"));
    }

    /// Hears on until `count` have come and gone.
    fn hear(&mut self, watcher: &mut Client, count: usize) {
        while self.came.len() + self.left.len() < count {
            self.note(&watcher.line());
        }
    }

    /// The ids of those who are in the channel, by its home.
    fn present(&mut self, watcher: &mut Client) -> BTreeSet<String> {
        let id = watcher.command(r#""presence":{"channel":"a"}"#);
        loop {
            let line = watcher.line();
            if line["id"] != id {
                self.note(&line);
                continue;
            }
            let present = line["presence"]["presence"].as_object();
            return present.unwrap_or_else(|| panic!("{line}")).keys().cloned().collect();
        }
    }
}

#[test]
fn nobody_sees_others_move_and_each_who_leaves_is_told_of_once() {
    let server = start(ChannelOptions {
        presence: true,
        join_leave: true,
        force_push_join_leave: true,
        ..ChannelOptions::default()
    });
    let (mut watcher, mut heard) = (Client::connect(server.address()), Watched::default());
    watcher.subscribe("a");
    heard.hear(&mut watcher, 1);
    let itself = heard.came.clone();
    let mut clients = on_one_shard(&server);
    for client in &mut clients {
        let id = client.command(r#""subscribe":{"channel":"a"}"#);
        // Others' comings are told in between.
        while client.line()["id"] != id {}
    }
    heard.hear(&mut watcher, 1 + SESSIONS);
    let level = wait_for(&server, "level shards", is_level);
    assert!(level.counters.moved_here > 0);
    let ids = heard.present(&mut watcher);
    assert_eq!(ids.len(), 1 + SESSIONS);

    drop(clients);
    heard.hear(&mut watcher, 1 + 2 * SESSIONS);
    assert!(heard.present(&mut watcher).into_iter().eq(itself.iter().cloned()));
    let (came, left) = (heard.came, heard.left);
    assert_eq!((came.len(), left.len()), (1 + SESSIONS, SESSIONS), "each once");
    let left: BTreeSet<_> = left.into_iter().chain(itself).collect();
    assert_eq!((came.into_iter().collect(), &left), (ids.clone(), &ids));
}
