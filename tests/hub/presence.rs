//! Claim: presence tells who is in a channel as a map would, in at most 64 bytes for each, and the
//! same list to all who ask between two changes.

use longwire::hub::{Presence, PresenceError, PresenceStats};
use longwire::limits::{CHANNEL_NAME_BYTES_MAX, PRESENCE_LISTS_KEPT_MAX};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::sync::Arc;

/// As on a shard: one pointer to who it is, and one to what is said of it in the channel.
type Shown = (Arc<String>, Option<Arc<[u8]>>);

fn presence(entries_max: u32) -> Presence<u64, (Arc<str>, u32)> {
    Presence::new(entries_max, |(user, _)| user, |_| true, RandomState::new())
}

proptest! {
    #[test]
    fn it_tells_what_a_map_tells(
        steps in prop::collection::vec((0..5_usize, 0..30_u64, 0..4_u8), 0..400),
    ) {
        const ENTRIES_MAX: u32 = 40;
        let mut presence = presence(ENTRIES_MAX);
        let mut model: BTreeMap<usize, BTreeMap<u64, (Arc<str>, u32)>> = BTreeMap::new();
        for (number, (channel, key, step)) in (0_u32..).zip(steps) {
            let name = channel.to_string();
            let count: usize = model.values().map(BTreeMap::len).sum();
            let there = model.entry(channel).or_default();
            if step < 3 {
                let shown = (Arc::from((key % 4).to_string()), number);
                let added = presence.add(&name, key, shown.clone());
                if count < ENTRIES_MAX as usize || there.contains_key(&key) {
                    prop_assert_eq!(added, Ok(()));
                    there.insert(key, shown);
                } else {
                    prop_assert_eq!(added, Err(PresenceError::Full { entries_max: ENTRIES_MAX }));
                }
            } else {
                prop_assert_eq!(presence.remove(&name, key), there.remove(&key));
            }
            let mut list = presence.list(&name).to_vec();
            list.sort();
            let mut expected: Vec<_> = there.values().cloned().collect();
            expected.sort();
            prop_assert_eq!(list, expected);
            let users: BTreeSet<&str> = there.values().map(|(user, _)| &**user).collect();
            let expected = PresenceStats {
                clients: u32::try_from(there.len()).unwrap(),
                users: u32::try_from(users.len()).unwrap(),
            };
            prop_assert_eq!(presence.stats(&name), expected);
            let count: usize = model.values().map(BTreeMap::len).sum();
            prop_assert_eq!(presence.count() as usize, count);
        }
        for (channel, there) in model {
            for key in there.into_keys() {
                prop_assert!(presence.remove(&channel.to_string(), key).is_some());
            }
        }
        prop_assert_eq!((presence.count(), presence.memory_bytes()), (0, 0));
    }
}

#[test]
fn all_who_ask_between_two_changes_are_given_one_list() {
    let mut presence = presence(100_000);
    for key in 0..10_000 {
        presence.add("lobby", key, (Arc::from("ann"), 0)).unwrap();
    }
    let first = presence.list("lobby");
    for _ in 0..1000 {
        assert_eq!(presence.stats("lobby"), PresenceStats { clients: 10_000, users: 1 });
        assert!(Arc::ptr_eq(&first, &presence.list("lobby")));
    }
    presence.add("another", 1, (Arc::from("bob"), 0)).unwrap();
    assert!(Arc::ptr_eq(&first, &presence.list("lobby")));
    assert_eq!(presence.remove("lobby", 10_000), None);
    assert!(Arc::ptr_eq(&first, &presence.list("lobby")), "nobody left");
    presence.remove("lobby", 0).unwrap();
    assert_eq!(Arc::strong_count(&first), 1, "a list goes with the first change");
    assert_eq!(presence.list("lobby").len(), 9_999);
    presence.add("lobby", 1, (Arc::from("bob"), 7)).unwrap();
    assert_eq!(presence.stats("lobby"), PresenceStats { clients: 9_999, users: 2 });
}

#[test]
fn lists_of_many_channels_do_not_pile_up() {
    let mut presence = presence(1000);
    let mut lists = Vec::new();
    for channel in 0..1000 {
        let name = channel.to_string();
        presence.add(&name, channel, (Arc::from(""), 0)).unwrap();
        lists.push(presence.list(&name));
    }
    let kept = lists.iter().filter(|list| Arc::strong_count(list) > 1).count();
    assert_eq!(kept, PRESENCE_LISTS_KEPT_MAX);
}

#[test]
fn who_is_not_noted_is_counted_and_changes_nothing() {
    let mut presence = presence(1);
    let long = "x".repeat(CHANNEL_NAME_BYTES_MAX + 1);
    let bytes = long.len();
    let shown = || (Arc::from(""), 0);
    assert_eq!(presence.add(&long, 1, shown()), Err(PresenceError::NameTooLong { bytes }));
    presence.add("a", 1, shown()).unwrap();
    let full = Err(PresenceError::Full { entries_max: 1 });
    assert_eq!((presence.add("a", 2, shown()), presence.add("b", 2, shown())), (full, full));
    assert_eq!(presence.add("a", 1, shown()), Ok(()), "it is there already");
    assert_eq!((presence.count(), presence.refused()), (1, 3));
    assert_eq!((presence.list("a").len(), presence.list("b").len()), (1, 0));
}

#[test]
fn an_entry_takes_at_most_64_bytes_in_a_crowd_and_alone() {
    assert_eq!(size_of::<(u64, Shown)>(), 32);
    let shown: Shown = (Arc::new(String::new()), None);
    for (channels, each) in [(1, 10_000), (1000, 100), (10_000, 10), (100_000, 1)] {
        let mut presence: Presence<u64, Shown> =
            Presence::new(1 << 20, |(user, _)| user, |_| true, RandomState::new());
        let mut name_bytes = 0;
        for channel in 0..channels {
            let name = format!("user:{channel:010}");
            name_bytes += name.len();
            (0..each).for_each(|key| presence.add(&name, key, shown.clone()).unwrap());
        }
        let bytes = presence.memory_bytes() - name_bytes;
        let count = presence.count();
        let per_entry = f64::from(u32::try_from(bytes).unwrap()) / f64::from(count);
        println!("{channels} channels of {each}: {per_entry:.1} bytes each");
        assert!(per_entry <= 64.0, "{channels} channels of {each}: {per_entry:.1} bytes each");
    }
}
