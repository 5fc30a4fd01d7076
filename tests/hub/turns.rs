//! Claim: frames queued together leave together, bounded in size; queues are bounded and say what
//! they lost; channels share the turns, so a large one does not keep a small one waiting.

use super::{drain, fanout};
use longwire::hub::{ChannelId, Fanout, FanoutBounds, MemberId, QueueFull, Runs};
use longwire::limits::{FANOUT_LONG_MIN, FANOUT_SKIPS_MAX};
use std::collections::HashMap;

fn fill(fanout: &mut Fanout<u32>, channel: &str, members: std::ops::Range<u32>) -> ChannelId {
    let joined = members.map(|member| fanout.join(channel, MemberId(member)).unwrap());
    joined.last().unwrap()
}

#[test]
fn all_that_is_queued_when_a_run_starts_is_one_delivery_per_member() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let id = fill(&mut fanout, "a", 0..3);
    for frame in 0..16 {
        assert_eq!(fanout.deliver(id, frame, 20), Ok(3));
    }
    let first = fanout.next().unwrap();
    assert_eq!((first.frames.len(), first.member), (16, MemberId(0)));
    fanout.deliver(id, 16, 20).unwrap();
    let all: Vec<u32> = (0..16).collect();
    let expected: Vec<_> = [1, 2].map(|member| (member, all.clone(), 0)).into();
    let deliveries = drain(&mut fanout);
    assert_eq!(deliveries[..2], expected, "what came within the run waits for the next");
    assert_eq!(deliveries[2..], [0, 1, 2].map(|member| (member, vec![16], 0)));
    assert_eq!(fanout.counters().runs, 2);
}

#[test]
fn only_equal_frames_have_equal_chains() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let id = fill(&mut fanout, "a", 0..2);
    fanout.deliver(id, 1, 1).unwrap();
    fill(&mut fanout, "a", 2..4);
    fanout.deliver(id, 2, 1).unwrap();
    let mut chains = Vec::new();
    while let Some(delivery) = fanout.next() {
        chains.push((delivery.chain, delivery.frames.to_vec()));
    }
    let frames: Vec<_> = chains.iter().map(|(_, frames)| frames.clone()).collect();
    assert_eq!(frames, [vec![1, 2], vec![1, 2], vec![2], vec![2]]);
    assert_eq!(chains[0].0, chains[1].0);
    assert_eq!(chains[2].0, chains[3].0);
    assert_ne!(chains[1].0, chains[2].0);
    fanout.deliver(id, 2, 1).unwrap();
    assert_ne!(fanout.next().unwrap().chain, chains[3].0, "equal frames of another run");
}

#[test]
fn a_run_holds_no_more_than_its_bytes_and_frames_but_always_one() {
    let bounds = FanoutBounds { run_bytes_max: 100, run_frames_max: 3, ..FanoutBounds::default() };
    let mut fanout = fanout(1, bounds);
    let id = fill(&mut fanout, "a", 0..1);
    for (frame, bytes) in [(0, 60), (1, 40), (2, 1), (3, 500), (4, 0), (5, 0), (6, 0), (7, 0)] {
        fanout.deliver(id, frame, bytes).unwrap();
    }
    let runs: Vec<_> = drain(&mut fanout).into_iter().map(|(_, frames, _)| frames).collect();
    assert_eq!(runs, [vec![0, 1], vec![2], vec![3], vec![4, 5, 6], vec![7]]);
}

#[test]
fn a_full_channel_loses_what_follows_and_its_members_are_told_in_place() {
    let bounds = FanoutBounds { channel_queue_frames_max: 2, ..FanoutBounds::default() };
    let mut fanout = fanout(1, bounds);
    let id = fill(&mut fanout, "a", 0..1);
    assert_eq!([0, 1].map(|frame| fanout.deliver(id, frame, 1)), [Ok(1); 2]);
    assert_eq!([2, 3, 4].map(|f| fanout.deliver(id, f, 1)), [Err(QueueFull::Channel); 3]);
    let late = fill(&mut fanout, "a", 1..2);
    assert_eq!(late, id);
    assert_eq!(fanout.next().unwrap().frames, [0, 1]);
    let told = drain(&mut fanout);
    assert_eq!(told, [(0, vec![], 3)], "the late member missed nothing");
    fanout.deliver(id, 5, 1).unwrap();
    fanout.miss(id, 7);
    fanout.deliver(id, 6, 1).unwrap();
    let told = drain(&mut fanout);
    let expected = [(0, vec![5], 0), (1, vec![5], 0), (0, vec![6], 7), (1, vec![6], 7)];
    assert_eq!(told, expected, "a gap stands between the frames it was between");
    assert_eq!(fanout.counters().channel_full, 3);
}

#[test]
fn bytes_are_bounded_per_channel_and_per_shard() {
    let bounds = FanoutBounds {
        channel_queue_bytes_max: 1000,
        shard_queue_bytes_max: 3000,
        ..FanoutBounds::default()
    };
    let mut fanout = fanout(1, bounds);
    let ids: Vec<_> = (0..4).map(|c: u32| fill(&mut fanout, &c.to_string(), c..c + 1)).collect();
    assert_eq!(fanout.deliver(ids[0], 0, 5000), Ok(1), "an empty hub takes any frame");
    assert_eq!(fanout.deliver(ids[1], 0, 0), Err(QueueFull::Shard));
    drain(&mut fanout);
    for id in &ids[..2] {
        assert_eq!(
            [600, 400, 1].map(|bytes| fanout.deliver(*id, 0, bytes).is_ok()),
            [true, true, false]
        );
    }
    assert_eq!(fanout.deliver(ids[2], 0, 500), Err(QueueFull::Shard));
    assert!(fanout.queue_bytes() <= 3000);
    let counters = fanout.counters();
    assert_eq!((counters.channel_full, counters.shard_full), (2, 2));
    drain(&mut fanout);
    assert_eq!(fanout.queue_bytes(), 0);
    assert_eq!(fanout.deliver(ids[3], 0, 500), Ok(1));
}

#[test]
fn a_large_channel_does_not_keep_a_small_one_waiting() {
    let bounds = FanoutBounds::default();
    let mut fanout = fanout(1, bounds);
    let large = fill(&mut fanout, "large", 0..10_000);
    let small = fill(&mut fanout, "small", 10_000..10_010);
    fanout.deliver(large, 0, 1).unwrap();
    fanout.next().unwrap();
    fanout.deliver(small, 0, 1).unwrap();
    let served: Vec<_> =
        (0..bounds.share as usize + 9).map_while(|_| fanout.next().map(|d| d.channel)).collect();
    assert_eq!(served.iter().filter(|&&id| id == small).count(), 10);
}

#[test]
fn channels_have_equal_shares_however_often_they_are_published_to() {
    let bounds = FanoutBounds { share: 8, ..FanoutBounds::default() };
    let mut fanout = fanout(1, bounds);
    let ids: Vec<_> =
        (0..5).map(|c| fill(&mut fanout, &c.to_string(), 100 * c..100 * c + 100)).collect();
    let mut served = HashMap::<_, u32>::new();
    for _ in 0..5 * 8 * 10 {
        for id in &ids {
            let _ = fanout.deliver(*id, 0, 1);
        }
        *served.entry(fanout.next().unwrap().channel).or_default() += 1;
    }
    assert!(ids.iter().all(|id| served[id] == 80), "{served:?}");
}

#[test]
fn a_channel_emptied_in_its_run_gives_its_turn_and_bytes_back() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let gone = fill(&mut fanout, "gone", 0..10);
    let stays = fill(&mut fanout, "stays", 10..12);
    fanout.deliver(gone, 0, 1).unwrap();
    let bytes = fanout.queue_bytes();
    fanout.deliver(stays, 1, 1).unwrap();
    assert_eq!(fanout.next().unwrap().channel, gone);
    for member in 0..10 {
        fanout.leave_all(MemberId(member), |_, _| {});
    }
    assert_eq!(fanout.queue_bytes(), bytes, "only what waits in the other channel");
    // Back under the same name before its old turn came up: it is the same channel, without frames.
    let back = fill(&mut fanout, "gone", 0..1);
    assert_eq!(drain(&mut fanout), [(10, vec![1], 0), (11, vec![1], 0)]);
    fanout.deliver(back, 2, 1).unwrap();
    assert_eq!(drain(&mut fanout), [(0, vec![2], 0)]);
}

#[test]
fn passing_over_channels_that_emptied_is_bounded_within_a_turn() {
    let mut fanout = fanout(1, FanoutBounds::default());
    for member in 0..1000 {
        let id = fill(&mut fanout, &member.to_string(), member..member + 1);
        super::settle(&mut fanout, 1);
        fanout.deliver(id, 0, 1).unwrap();
    }
    for member in 0..1000 {
        fanout.leave_all(MemberId(member), |_, _| {});
    }
    super::settle(&mut fanout, 1);
    let mut turns = 0;
    while fanout.has_work() {
        let before = fanout.channel_count();
        assert_eq!(fanout.next(), None);
        assert!(before - fanout.channel_count() <= FANOUT_SKIPS_MAX);
        turns += 1;
    }
    assert_eq!((fanout.channel_count(), turns), (0, 1000_u32.div_ceil(FANOUT_SKIPS_MAX)));
}

#[test]
fn channels_of_many_members_are_passed_over_while_they_may_not() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let long = fill(&mut fanout, "long", 0..FANOUT_LONG_MIN);
    let short = fill(&mut fanout, "short", 0..FANOUT_LONG_MIN - 1);
    fanout.deliver(long, 1, 1).unwrap();
    assert_eq!(fanout.next_of(Runs::Short), None);
    assert!(fanout.has_work() && fanout.has_long_work() && !fanout.has_short_work());
    // Half of it, then others come.
    for _ in 0..FANOUT_LONG_MIN / 2 {
        assert_eq!(fanout.next_of(Runs::All).unwrap().channel, long);
    }
    fanout.deliver(short, 2, 1).unwrap();
    let mut served = 0;
    while let Some(delivery) = fanout.next_of(Runs::Short) {
        assert_eq!((delivery.channel, delivery.frames), (short, [2].as_slice()));
        served += 1;
    }
    assert_eq!(served, FANOUT_LONG_MIN - 1);
    assert!(fanout.has_long_work() && !fanout.has_short_work());
    let rest = drain(&mut fanout);
    let members = rest.iter().map(|(member, frames, _)| (*member, frames.as_slice()));
    assert!(members.eq((FANOUT_LONG_MIN / 2..FANOUT_LONG_MIN).map(|one| (one, [1].as_slice()))));
    assert!(!fanout.has_work() && !fanout.has_long_work());
}

/// A channel that was short when it began to wait was served as a short one, however long it was
/// when its turn came.
#[test]
fn a_channel_that_grows_while_it_waits_is_long_when_its_turn_comes() {
    let mut fanout = fanout(2, FanoutBounds::default());
    let grows = fill(&mut fanout, "grows", 0..1);
    let stays = fill(&mut fanout, "stays", 0..1);
    for id in [grows, stays] {
        fanout.deliver(id, 1, 1).unwrap();
    }
    assert!(!fanout.has_long_work());
    fill(&mut fanout, "grows", 1..FANOUT_LONG_MIN);
    let served: Vec<_> =
        std::iter::from_fn(|| Some(fanout.next_of(Runs::Short)?.channel)).collect();
    assert_eq!(served, [stays]);
    assert!(fanout.has_long_work() && !fanout.has_short_work());
    fanout.deliver(grows, 2, 1).unwrap();
    let frames: usize = drain(&mut fanout).iter().map(|(_, frames, _)| frames.len()).sum();
    assert_eq!(frames, 1 + FANOUT_LONG_MIN as usize);
}
