//! Claim: a crowd that reads the same is given one list; the budget takes from the streams that are
//! published to least; what makes room for another is known to be lost.

use longwire::hub::{
    AskedEpoch, Epoch, Position, Recover, Recovery, Retention, Since, StreamBounds, StreamError,
    Streams,
};
use std::hash::RandomState;
use std::sync::Arc;

/// A publication: its epoch and offset, so that one in a wrong place is seen.
pub(crate) type Frame = (Epoch, u64);

pub(crate) const ALL: u64 = u64::MAX;

pub(crate) fn streams(streams_max: u32, bytes_max: usize) -> Streams<Frame> {
    Streams::new(StreamBounds { streams_max, bytes_max }, 7, RandomState::new())
}

/// What a frame of so many bytes is charged for.
pub(crate) fn charge(frame_bytes: usize) -> usize {
    frame_bytes + Streams::<Frame>::PLACE_BYTES
}

fn publish(streams: &mut Streams<Frame>, channel: &str, bytes: usize, keep: Retention, now_s: u32) {
    let stream = streams.open(channel, keep.meta_ttl_s, now_s).unwrap();
    let Position { offset, epoch } = streams.next(stream);
    streams.append(stream, (epoch, offset), bytes, keep, now_s);
}

const LONG: Retention = Retention { publications_max: 100, ttl_s: 1000, meta_ttl_s: 1000 };

#[test]
fn a_crowd_that_comes_back_to_one_place_reads_one_list() {
    let mut streams = streams(10, 1 << 20);
    for _ in 0..100 {
        publish(&mut streams, "news", 100, LONG, 0);
    }
    let since = Since { offset: 40, epoch: AskedEpoch::Any };
    let recover = Recover::Missed { since, publications_max: 300 };
    let id = streams.open("news", 9, 0).unwrap();
    let Recovery::Whole(first) = streams.recover(id, recover, ALL) else { panic!("it is kept") };
    assert!(first.iter().map(|&(_, offset)| offset).eq(41..=100));
    for _ in 0..10_000 {
        let Recovery::Whole(list) = streams.recover(id, recover, ALL) else { panic!("it is kept") };
        assert!(Arc::ptr_eq(&first, &list));
    }
    assert_eq!((streams.counters().reads, streams.counters().reads_repeated), (10_001, 10_000));
    assert_eq!(Arc::strong_count(&first), 2, "one is here, one is kept");
    publish(&mut streams, "news", 100, LONG, 0);
    assert_eq!(Arc::strong_count(&first), 1, "a list goes with what it holds");
    let Recovery::Whole(second) = streams.recover(id, recover, ALL) else { panic!("it is kept") };
    assert_eq!(second.len(), 61);
}

#[test]
fn lists_of_many_streams_do_not_pile_up() {
    let count = u32::try_from(2 * longwire::limits::READS_KEPT_MAX).unwrap();
    let mut streams = streams(count, 1 << 20);
    let mut lists = Vec::new();
    for channel in 0..count {
        let channel = channel.to_string();
        publish(&mut streams, &channel, 1, LONG, 0);
        let id = streams.open(&channel, 9, 0).unwrap();
        lists.push(streams.read(id, None, 10, false).unwrap());
    }
    let kept = lists.iter().filter(|list| Arc::strong_count(list) > 1).count();
    assert_eq!(kept, longwire::limits::READS_KEPT_MAX);
}

#[test]
fn the_budget_is_the_newest_publications_of_the_streams_published_to_last() {
    let mut streams = streams(10, 4 * charge(100));
    for channel in ["a", "b", "a", "c", "a", "b"] {
        publish(&mut streams, channel, 100, LONG, 0);
    }
    // When the fifth comes, `b` is the one published to longest ago; when the sixth comes, `c` is.
    let kept = |streams: &mut Streams<Frame>, channel| {
        let id = streams.open(channel, 9, 0).unwrap();
        let list = streams.read(id, None, 100, false).unwrap();
        list.iter().map(|(_, offset)| *offset).collect::<Vec<_>>()
    };
    assert_eq!(kept(&mut streams, "a"), [1, 2, 3]);
    assert_eq!(kept(&mut streams, "b"), [2]);
    assert!(kept(&mut streams, "c").is_empty());
    assert_eq!(streams.counters().publications_evicted, 2);
    publish(&mut streams, "a", 5 * charge(100), LONG, 0);
    assert!(kept(&mut streams, "a").is_empty(), "nothing is kept behind a hole");
    assert_eq!(kept(&mut streams, "b"), [2], "others do not pay for what cannot be kept");
    assert_eq!(streams.counters().publications_oversized, 1);
}

#[test]
fn a_stream_that_makes_room_for_another_comes_back_with_a_new_epoch() {
    let mut streams = streams(2, 1 << 20);
    publish(&mut streams, "a", 10, LONG, 0);
    publish(&mut streams, "b", 10, LONG, 0);
    let a = streams.open("a", 9, 0).unwrap();
    let before = streams.position(a, ALL);
    streams.open("c", 9, 0).unwrap();
    assert_eq!(streams.counters().streams_evicted, 1);
    let a = streams.open("a", 9, 0).unwrap();
    assert_eq!(streams.position(a, ALL), before, "`b` was the one used longest ago");
    let b = streams.open("b", 9, 0).unwrap();
    assert_eq!(streams.position(b, ALL).offset, 0);
    let since = Since { offset: 1, epoch: AskedEpoch::Is(before.epoch) };
    let a = streams.open("a", 9, 0).unwrap();
    let recover = Recover::Missed { since, publications_max: 9 };
    assert_eq!(streams.recover(a, recover, ALL), Recovery::Whole([].into()));
    streams.open("c", 9, 0).unwrap();
    streams.open("d", 9, 0).unwrap();
    let a = streams.open("a", 9, 0).unwrap();
    assert_eq!(streams.recover(a, recover, ALL), Recovery::Lost);
}

#[test]
fn a_sweep_looks_at_no_more_streams_than_it_may() {
    let mut streams = streams(100, 1 << 20);
    let brief = Retention { publications_max: 9, ttl_s: 5, meta_ttl_s: 50 };
    for channel in 0..100 {
        publish(&mut streams, &channel.to_string(), 10, brief, 0);
    }
    assert_eq!((streams.expire(5, 1000), streams.next_expiry_s()), (0, Some(6)));
    assert_eq!((streams.expire(6, 30), streams.bytes()), (30, 70 * charge(10)));
    let late = streams.open("99", 50, 6).unwrap();
    assert!(streams.read(late, None, 9, false).unwrap().is_empty(), "not shown, if not swept");
    assert_eq!((streams.expire(6, 1000), streams.bytes()), (70, 0));
    assert_eq!((streams.count(), streams.expire(50, 1000)), (100, 0));
    assert_eq!((streams.expire(51, 1000), streams.count()), (99, 1), "one was used since");
    assert_eq!((streams.expire(57, 1000), streams.count()), (1, 0));
    assert_eq!(streams.next_expiry_s(), None);
}

#[test]
fn a_gap_is_repaired_from_what_is_kept_or_not_at_all() {
    let mut streams = streams(2, 1 << 20);
    let keep = Retention { publications_max: 5, ..LONG };
    for _ in 0..10 {
        publish(&mut streams, "a", 10, keep, 0);
    }
    let id = streams.open("a", 9, 0).unwrap();
    let repair = |after, up_to, max| {
        let (first, frames) = streams.repair(id, after, up_to, max)?;
        Some((first, frames.map(|(_, offset)| *offset).collect::<Vec<_>>()))
    };
    assert_eq!(repair(7, 10, 9), Some((8, vec![8, 9, 10])));
    assert_eq!(repair(5, 9, 2), Some((6, vec![6, 7])));
    assert_eq!(repair(4, 10, 9), None, "the fifth is gone");
    assert_eq!(repair(10, 10, 9), None, "there is nothing to repair");
}

#[test]
fn a_name_too_long_costs_no_other_stream_its_place() {
    let mut streams = streams(1, 1 << 20);
    streams.open("a", 9, 0).unwrap();
    let long = "x".repeat(256);
    let refused = streams.open(&long, 9, 0);
    assert_eq!(refused, Err(StreamError::NameTooLong { bytes: 256 }));
    assert_eq!((streams.count(), streams.counters().streams_evicted), (1, 0));
}

/// Members follow a stream by its epoch: it may not change under them.
#[test]
fn a_stream_with_members_outlives_its_time_and_the_crowd() {
    let mut streams = streams(2, 1 << 20);
    let retention = Retention { publications_max: 5, ttl_s: 10, meta_ttl_s: 20 };
    let kept = streams.open("kept", 20, 0).unwrap();
    streams.append(kept, (*b"whatever", 1), 1, retention, 0);
    streams.pin(kept, 20);
    let epoch = streams.position(kept, u64::MAX).epoch;
    for second in 0..100 {
        streams.open(&second.to_string(), 1, second).unwrap();
        assert!(streams.expire(second, 100) <= 2, "no stream is looked at for ever");
    }
    let kept = streams.find("kept").expect("it is pinned");
    let position = streams.position(kept, u64::MAX);
    assert_eq!((position.epoch, position.offset), (epoch, 1));
    assert_eq!(streams.bytes(), 0, "what it keeps has its time still");
    streams.unpin("kept", 100);
    streams.expire(120, 100);
    assert!(streams.find("kept").is_some(), "its time begins when the members have left");
    streams.expire(121, 100);
    assert!(streams.find("kept").is_none());
}

#[test]
fn a_home_full_of_streams_with_members_refuses_another() {
    let mut streams = streams(1, 1 << 20);
    let only = streams.open("a", 9, 0).unwrap();
    streams.pin(only, 9);
    assert_eq!(streams.open("b", 9, 0), Err(StreamError::AllPinned));
    streams.unpin("a", 0);
    assert!(streams.open("b", 9, 0).is_ok());
}
