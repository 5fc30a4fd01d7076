//! A slow member of a channel in which it may miss some is sent what is still of use.
//!
//! Setup: a server of one shard with small socket buffers; members who read at once, and members
//! who do not read, of channels that drop the oldest of what waits, or keep the latest.
//!
//! Claims: who does not read is not cut for that, and is sent the latest of each channel, or the
//! last that have room, when it reads again; what it is not sent is counted, so that nothing is
//! lost in silence; all that waits together is within its share; who leaves gets nothing more.

#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

#[path = "support/peer.rs"]
mod peer;

use std::thread;

use longwire::limits::{SET_ASIDE_BYTES_MAX, SET_ASIDE_SHARE};
use longwire::{Config, Snapshot};
use peer::{Client, Heard, Scene, config, payload};

/// Of each side's socket; the kernel takes it twice.
const SOCKET_BYTES: usize = 32 * 1024;

const OUTPUT_BYTES: usize = 256 * 1024;

/// Far more than the kernel and a backlog hold, and all of them different.
const PUBLICATIONS: usize = 80;

const BYTES: usize = 16_000;

fn small_sockets() -> Config {
    let mut config = config();
    config.send_buffer_bytes = Some(SOCKET_BYTES);
    config.receive_buffer_bytes = Some(SOCKET_BYTES);
    config.output_bytes_max = OUTPUT_BYTES;
    config
}

fn order(client: &mut Client, order: &str, answer: &str) {
    client.text(order);
    assert_eq!(client.next(), Heard::Text(answer.into()));
}

fn reader(scene: &Scene, channels: &[&str]) -> Client {
    let mut client = scene.client();
    for channel in channels {
        order(&mut client, &format!("!join {channel}"), "joined");
    }
    client
}

fn slow(scene: &Scene, policy: &str, channels: &[&str]) -> Client {
    let mut client = scene.small_client(SOCKET_BYTES);
    for channel in channels {
        order(&mut client, &format!("!enter {channel} {policy}"), "joined");
    }
    client
}

fn publish(reader: &mut Client, channel: &str, number: usize) {
    reader.text(&format!("!publish {channel} {number} {BYTES}"));
    assert_eq!(reader.next(), Heard::Binary(payload(number, BYTES)));
}

/// The number of the next publication that a client hears.
fn next_number(client: &mut Client) -> usize {
    let Heard::Binary(heard) = client.next() else { panic!("a publication is due") };
    let number = (0..=PUBLICATIONS).find(|&number| heard == payload(number, BYTES));
    number.expect("one that was published")
}

/// What a client hears up to the publication with this number, in order and nothing twice.
fn heard_up_to(client: &mut Client, last: usize) -> Vec<usize> {
    let mut heard = vec![next_number(client)];
    while heard.last() != Some(&last) {
        heard.push(next_number(client));
    }
    assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    heard
}

fn dropped(now: &Snapshot) -> u64 {
    now.counters.overflow_dropped_oldest + now.counters.overflow_conflated
}

/// So many deliveries are made, or counted as dropped.
fn wait_for(scene: &Scene, deliveries: usize) -> Snapshot {
    scene.wait_until(|now| now.counters.deliveries + dropped(now) >= deliveries as u64)
}

#[test]
fn who_is_sent_the_latest_is_not_cut_and_misses_only_what_is_old() {
    let scene = Scene::new(small_sockets());
    let mut reader = reader(&scene, &["news"]);
    let mut slow = slow(&scene, "latest", &["news"]);
    for number in 0..PUBLICATIONS {
        publish(&mut reader, "news", number);
        assert!(scene.snapshot().backlog_bytes <= (OUTPUT_BYTES + SET_ASIDE_BYTES_MAX) as u64);
    }
    wait_for(&scene, 2 * PUBLICATIONS - 1);
    let heard = heard_up_to(&mut slow, PUBLICATIONS - 1);
    let last = wait_for(&scene, 2 * PUBLICATIONS);
    let missed = (PUBLICATIONS - heard.len()) as u64;
    assert!(missed > 0, "nothing waited: {heard:?}");
    assert_eq!(last.counters.overflow_conflated, missed);
    assert_eq!((last.counters.overflow_dropped_oldest, last.open, last.backlog_bytes), (0, 2, 0));
    publish(&mut reader, "news", 1);
    assert_eq!(next_number(&mut slow), 1, "it is a member as before");
}

#[test]
fn who_may_miss_the_oldest_is_sent_the_last_that_have_room() {
    let scene = Scene::new(small_sockets());
    let mut reader = reader(&scene, &["news"]);
    let mut slow = slow(&scene, "oldest", &["news"]);
    for number in 0..PUBLICATIONS {
        publish(&mut reader, "news", number);
    }
    let with_room = SET_ASIDE_BYTES_MAX / BYTES;
    wait_for(&scene, 2 * PUBLICATIONS - with_room);
    let heard = heard_up_to(&mut slow, PUBLICATIONS - 1);
    let last = &heard[heard.len() - with_room..];
    assert!(last.iter().copied().eq(PUBLICATIONS - with_room..PUBLICATIONS), "{heard:?}");
    let last = wait_for(&scene, 2 * PUBLICATIONS);
    assert_eq!(last.counters.overflow_dropped_oldest, (PUBLICATIONS - heard.len()) as u64);
    assert_eq!((last.counters.overflow_conflated, last.open, last.backlog_bytes), (0, 2, 0));
}

#[test]
fn the_latest_of_each_channel_waits() {
    let scene = Scene::new(small_sockets());
    let mut reader = reader(&scene, &["a", "b", "c"]);
    let mut slow = slow(&scene, "latest", &["a", "b", "c"]);
    for number in 0..PUBLICATIONS - 3 {
        publish(&mut reader, "a", number);
    }
    for (number, channel) in (PUBLICATIONS - 3..).zip(["b", "c", "b"]) {
        publish(&mut reader, channel, number);
    }
    wait_for(&scene, 2 * PUBLICATIONS - 3);
    assert!(scene.snapshot().counters.overflow_conflated > 0, "nothing waited");
    let heard = heard_up_to(&mut slow, PUBLICATIONS - 1);
    for last_of_one in [PUBLICATIONS - 4, PUBLICATIONS - 2, PUBLICATIONS - 1] {
        assert!(heard.contains(&last_of_one), "{last_of_one} of {heard:?}");
    }
}

#[test]
fn what_waits_for_many_is_within_its_share_and_nobody_is_cut() {
    const SLOW: usize = 12;
    const BUDGET: usize = 2 * OUTPUT_BYTES;
    let mut config = small_sockets();
    config.backlog_bytes_max = BUDGET;
    let scene = Scene::new(config);
    let mut reader = reader(&scene, &["news"]);
    let members: Vec<_> = (0..SLOW).map(|_| slow(&scene, "oldest", &["news"])).collect();
    for number in 0..PUBLICATIONS {
        publish(&mut reader, "news", number);
        let now = scene.snapshot();
        assert!(now.backlog_bytes <= (BUDGET + BUDGET / SET_ASIDE_SHARE) as u64);
    }
    let read_all = |mut member: Client| {
        thread::spawn(move || heard_up_to(&mut member, PUBLICATIONS).len() - 1)
    };
    let members: Vec<_> = members.into_iter().map(read_all).collect();
    let now = wait_for(&scene, (1 + SLOW) * PUBLICATIONS);
    publish(&mut reader, "news", PUBLICATIONS);
    let heard: usize = members.into_iter().map(|member| member.join().unwrap()).sum();
    assert_eq!(heard as u64 + dropped(&now), (SLOW * PUBLICATIONS) as u64);
    assert_eq!(scene.snapshot().counters.closed_overflow, 0);
}

#[test]
fn who_leaves_gets_nothing_more_of_what_waited() {
    let scene = Scene::new(small_sockets());
    let mut reader = reader(&scene, &["news"]);
    let mut slow = slow(&scene, "latest", &["news"]);
    for number in 0..PUBLICATIONS {
        publish(&mut reader, "news", number);
    }
    scene.wait_until(|now| now.counters.overflow_conflated > 0);
    // It is read when what it was sent has left; what waits is dropped by it, or sent before it.
    slow.text("!leave news");
    slow.text("and then?");
    let mut heard = slow.next();
    while heard != Heard::Text("left".into()) {
        assert!(matches!(heard, Heard::Binary(_)), "{heard:?}");
        heard = slow.next();
    }
    assert_eq!(slow.next(), Heard::Text("and then?".into()));
    publish(&mut reader, "news", 1);
    slow.text("nothing");
    assert_eq!(slow.next(), Heard::Text("nothing".into()));
    scene.wait_until(|now| now.backlog_bytes == 0);
}

/// Names of so many channels.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("c{number}")).collect()
}

/// Publishes until the first channel's members are behind, and once in each of the others. Returns
/// the most bytes that waited.
fn publish_in_all(scene: &Scene, reader: &mut Client, channels: &[&str]) -> u64 {
    let rest = channels[1..].iter().copied();
    let all = std::iter::repeat_n(channels[0], PUBLICATIONS).chain(rest);
    let mut bytes_max = 0;
    for (number, channel) in all.enumerate() {
        publish(reader, channel, number % PUBLICATIONS);
        bytes_max = bytes_max.max(scene.snapshot().backlog_bytes);
    }
    bytes_max
}

/// The last publications of so many channels are never dropped: it is too slow.
#[test]
fn who_has_too_much_waiting_that_nothing_stands_for_is_cut() {
    let names = names(2 * OUTPUT_BYTES / BYTES);
    let channels: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::new(small_sockets());
    let mut reader = reader(&scene, &channels);
    let _slow = slow(&scene, "latest", &channels);
    let bytes_max = publish_in_all(&scene, &mut reader, &channels);
    let last = scene.wait_until(|now| now.open == 1);
    assert_eq!((last.counters.output_overflows, last.counters.closed_overflow), (1, 1));
    assert!(bytes_max <= (2 * OUTPUT_BYTES + BYTES) as u64, "{bytes_max}");
}

/// Each of them has less than it may, and all together have more.
#[test]
fn what_nothing_stands_for_is_within_the_budget_of_all() {
    const SLOW: usize = 4;
    const BUDGET: usize = 2 * OUTPUT_BYTES;
    let names = names(OUTPUT_BYTES / BYTES - 2);
    let channels: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut config = small_sockets();
    config.backlog_bytes_max = BUDGET;
    let scene = Scene::new(config);
    let mut reader = reader(&scene, &channels);
    let _members: Vec<_> = (0..SLOW).map(|_| slow(&scene, "latest", &channels)).collect();
    let bytes_max = publish_in_all(&scene, &mut reader, &channels);
    let last = scene.wait_until(|now| now.counters.backlog_budget_cuts > 0);
    assert_eq!(last.counters.output_overflows, 0);
    assert!(last.open > 1, "they were not all cut");
    assert!(bytes_max <= (BUDGET + BUDGET / SET_ASIDE_SHARE) as u64, "{bytes_max}");
}
