//! Claim: what happens in a channel within a tick is told together and in order, no more than may
//! be, and never so that somebody who left seems to be there; a crowd costs what each in it costs.

use longwire::hub::{JoinBatch, JoinBounds, JoinEvent, Joins};
use longwire::limits::JOINS_PER_TICK_MAX;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::RandomState;

const PER_CHANNEL_MAX: usize = 6;
const EVENTS_MAX: usize = 10;

fn joins<K: Copy + Eq>() -> Joins<K, u64> {
    let bounds = JoinBounds { per_channel_max: PER_CHANNEL_MAX, events_max: EVENTS_MAX };
    Joins::new(bounds, RandomState::new())
}

/// Whom a listener believes to be there, against who is.
#[derive(Default)]
struct Channel {
    there: BTreeSet<u8>,
    shown: BTreeSet<u8>,
    /// Those whose leave no tick had room for, and whose join was told in an earlier one.
    forgotten: BTreeSet<u8>,
    told: u64,
}

impl Channel {
    fn hear(&mut self, batch: JoinBatch<u8, u64>, last: &mut u64) {
        assert!((1..=PER_CHANNEL_MAX).contains(&batch.events.len()));
        for JoinEvent { key, present, has_come } in batch.events {
            assert!(present > *last, "in the order in which they happened");
            *last = present;
            self.told += 1;
            if has_come {
                self.shown.insert(key);
            } else {
                self.shown.remove(&key);
            }
        }
    }
}

proptest! {
    #[test]
    fn who_left_is_not_shown_but_for_a_leave_without_room(
        steps in prop::collection::vec((0..3_usize, 0..12_u8, 0..12_u8), 0..400),
    ) {
        let mut joins = joins();
        let mut channels: [Channel; 3] = Default::default();
        let (mut added, mut number) = (0, 0);
        for (channel, key, step) in steps {
            if step == 0 {
                let mut told = BTreeSet::new();
                while let Some(batch) = joins.next() {
                    let channel: usize = batch.channel.parse().unwrap();
                    prop_assert!(told.insert(channel), "a channel waits once");
                    channels[channel].hear(batch, &mut 0);
                }
                prop_assert_eq!((joins.count(), joins.is_empty()), (0, true));
                for channel in &mut channels {
                    let untrue: BTreeSet<u8> =
                        channel.shown.difference(&channel.there).copied().collect();
                    prop_assert!(untrue.is_subset(&channel.forgotten), "{:?}", untrue);
                }
                continue;
            }
            let (name, channel) = (channel.to_string(), &mut channels[channel]);
            let has_come = channel.there.insert(key);
            if !has_come {
                channel.there.remove(&key);
            }
            added += 1;
            number += 1;
            let dropped = joins.dropped();
            joins.add(&name, JoinEvent { key, present: number, has_come });
            // A leave that was dropped alone: what it contradicts was told in an earlier tick.
            if !has_come && joins.dropped() == dropped + 1 && channel.shown.contains(&key) {
                channel.forgotten.insert(key);
            }
            prop_assert!(joins.count() <= EVENTS_MAX);
        }
        let waiting = joins.count() as u64;
        let told: u64 = channels.iter().map(|channel| channel.told).sum();
        prop_assert_eq!(told + waiting + joins.dropped(), added);
    }
}

#[test]
fn a_join_whose_leave_has_no_room_is_not_told_either() {
    let mut joins = joins();
    for key in 0..6 {
        joins.add("a", JoinEvent { key, present: 0, has_come: true });
    }
    joins.add("a", JoinEvent { key: 3, present: 0, has_come: false });
    assert_eq!((joins.dropped(), joins.count()), (2, 5));
    joins.add("a", JoinEvent { key: 4, present: 0, has_come: false });
    let batch = joins.next().unwrap();
    let events: Vec<_> = batch.events.iter().map(|event| (event.key, event.has_come)).collect();
    assert_eq!(events, [(0, true), (1, true), (2, true), (4, true), (5, true), (4, false)]);
    assert!(joins.next().is_none());
}

#[test]
fn channels_are_told_of_in_the_order_in_which_they_began_to_wait() {
    let mut joins = joins();
    for channel in ["a", "b", "a", "c", "b"] {
        joins.add(channel, JoinEvent { key: 1, present: 0, has_come: true });
    }
    let order: Vec<_> = std::iter::from_fn(|| joins.next()).map(|one| one.channel).collect();
    assert_eq!(order.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
}

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// Counts how often two keys are compared.
#[derive(Clone, Copy, Debug, Eq)]
struct Counted(u32);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

#[test]
fn a_crowd_of_ten_thousand_that_leaves_is_one_message_and_no_search() {
    let mut joins = Joins::new(JoinBounds::default(), RandomState::new());
    for key in 0..10_000 {
        joins.add("lobby", JoinEvent { key: Counted(key), present: (), has_come: false });
    }
    let batch = joins.next().unwrap();
    assert_eq!(batch.events.len(), JOINS_PER_TICK_MAX);
    assert!(joins.next().is_none());
    assert_eq!(joins.dropped() + batch.events.len() as u64, 10_000);
    assert_eq!(COMPARED.get(), 0);
}

#[test]
fn a_crowd_of_ten_thousand_that_comes_and_goes_costs_a_batch_each_at_most() {
    let mut joins = Joins::new(JoinBounds::default(), RandomState::new());
    for has_come in [true, false] {
        for key in 0..10_000 {
            joins.add("lobby", JoinEvent { key: Counted(key), present: (), has_come });
        }
    }
    assert!(COMPARED.get() <= 10_000 * JOINS_PER_TICK_MAX as u64);
    let told = joins.next().map_or(0, |batch| batch.events.len());
    assert_eq!(told as u64 + joins.dropped(), 20_000);
}
