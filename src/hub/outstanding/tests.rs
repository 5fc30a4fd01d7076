//! Mailboxes under a clock of the test's own: what is sent again when, what is lost, and that with
//! losses both ways everything arrives.

use super::*;
use crate::limits::ACK_LINKS_MAX;
use proptest::prelude::*;

const POLICY: AckPolicy = AckPolicy { publications_max: 100, bytes_max: 10_000, ttl_s: 600 };
const SECOND_MS: u64 = 1000;

fn outstanding() -> Outstanding<u64, u32> {
    Outstanding::new(AckBounds::default(), 0)
}

pub(super) fn user(name: &str) -> Arc<str> {
    name.into()
}

/// Publishes to channel `a`: the frame is its id.
pub(super) fn publish(all: &mut Outstanding<u64, u32>, bytes: usize, now_ms: u64) -> Option<u64> {
    let id = all.next_id("a")?;
    all.retain("a", id, &id, bytes, now_ms);
    all.take_in(usize::MAX);
    Some(id)
}

/// A connection is cut off: its user may come back.
fn cut_off(all: &mut Outstanding<u64, u32>, user: &str, link: u32, now_ms: u64) {
    assert!(all.channels["a"].users.contains_key(user));
    all.leave("a", link, false, now_ms);
}

/// What is due by now: its user's last connection, id and try.
pub(super) fn due(all: &mut Outstanding<u64, u32>, now_ms: u64) -> Vec<(u32, u64, u32)> {
    let mut budget = usize::MAX;
    let next = || all.next_due(now_ms, &mut budget);
    std::iter::from_fn(next).map(|one| (one.links[0], one.frame, one.try_number)).collect()
}

#[test]
fn the_longer_nobody_acknowledges_the_longer_it_takes_and_never_less_than_at_first() {
    for id in 0..50 {
        for try_count in 0..70 {
            let whole_ms = SECOND_MS << try_count.min(20);
            let whole_ms = whole_ms.min(60 * SECOND_MS);
            let delay_ms = delay_ms(try_count, id);
            assert!((whole_ms * 3 / 4..=whole_ms).contains(&delay_ms), "{try_count}: {delay_ms}");
        }
    }
}

#[test]
fn what_is_published_where_nobody_has_a_mailbox_is_retained_for_nobody() {
    let mut all = outstanding();
    assert_eq!(publish(&mut all, 10, 0), None);
    assert_eq!(all.enter("b", &user("ann"), 1, POLICY, 0), Ok(0));
    assert_eq!(publish(&mut all, 10, 0), None);
    assert_eq!((all.bytes(), all.counters()), (0, AckCounters::default()));
}

#[test]
fn each_try_waits_twice_as_long_up_to_a_minute() {
    let mut all = outstanding();
    all.enter("a", &user("ann"), 1, POLICY, 0).unwrap();
    let id = publish(&mut all, 10, 0).unwrap();
    let (mut now_ms, mut waits) = (0, Vec::new());
    for try_number in 1..=9 {
        let next_ms = all.due_ms().unwrap();
        assert_eq!(due(&mut all, next_ms - 1), []);
        assert_eq!(due(&mut all, next_ms), [(1, id, try_number)]);
        waits.push(next_ms - now_ms);
        now_ms = next_ms;
    }
    for (wait_ms, whole_s) in waits.into_iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
        let whole_ms = whole_s * SECOND_MS;
        assert!((whole_ms * 3 / 4..=whole_ms).contains(&wait_ms), "{wait_ms} of {whole_ms}");
    }
    all.acknowledge("a", "ann", &[id + 1, id, id]);
    assert_eq!(due(&mut all, now_ms + 60 * SECOND_MS), []);
    assert_eq!((all.counters().acknowledged, all.bytes()), (1, 0));
}

#[test]
fn nothing_is_sent_while_nobody_is_there_and_all_of_it_soon_after() {
    let mut all = outstanding();
    let ann = user("ann");
    all.enter("a", &ann, 1, POLICY, 0).unwrap();
    cut_off(&mut all, "ann", 1, 0);
    let ids = [publish(&mut all, 10, 0).unwrap(), publish(&mut all, 10, 5).unwrap()];
    assert_eq!(due(&mut all, 100 * SECOND_MS), []);
    for _again in 0..2 {
        all.enter("a", &ann, 2, POLICY, 100 * SECOND_MS).unwrap();
    }
    assert_eq!(due(&mut all, 100 * SECOND_MS), [], "what is recovered beside it has its time");
    let mut budget = usize::MAX;
    let first = all.next_due(101 * SECOND_MS, &mut budget).unwrap();
    assert_eq!((first.frame, first.links, first.try_number), (ids[0], vec![2], 1));
    assert_eq!(due(&mut all, 101 * SECOND_MS), [(2, ids[1], 1)]);
}

#[test]
fn the_oldest_goes_beyond_each_bound_and_the_user_is_told_until_it_says_something() {
    let policy = AckPolicy { publications_max: 3, bytes_max: 100, ttl_s: 10 };
    let mut all = outstanding();
    let ann = user("ann");
    all.enter("a", &ann, 1, policy, 0).unwrap();
    let ids: Vec<u64> = (0..4).map(|_| publish(&mut all, 10, 0).unwrap()).collect();
    assert_eq!(all.enter("a", &ann, 2, policy, 0), Ok(1), "too many");
    assert_eq!(all.enter("a", &ann, 3, policy, 0), Ok(1), "who knows whether it has heard");
    all.acknowledge("a", "bob", &[]);
    assert_eq!(all.enter("a", &ann, 3, policy, 0), Ok(1), "that was another");
    all.acknowledge("a", "ann", &[]);
    assert_eq!(all.enter("a", &ann, 3, policy, 0), Ok(0), "it has heard");
    publish(&mut all, 85, 0);
    assert_eq!(all.enter("a", &ann, 4, policy, 0), Ok(2), "too many bytes");
    all.acknowledge("a", "ann", &[]);
    let heard: Vec<u64> = due(&mut all, SECOND_MS).iter().map(|(_, id, _)| *id).collect();
    assert_eq!(heard, [ids[3], ids[3] + 1]);
    publish(&mut all, 101, 0);
    assert_eq!(all.enter("a", &ann, 5, policy, 0), Ok(3), "one of it is too large");
    publish(&mut all, 10, 5 * SECOND_MS);
    assert!(due(&mut all, 15 * SECOND_MS).is_empty(), "too old");
    assert_eq!(all.enter("a", &ann, 6, policy, 15 * SECOND_MS), Ok(4), "and three as before");
    assert_eq!((all.counters().lost, all.bytes()), (7, 0));
}

#[test]
fn a_mailbox_ends_when_nobody_was_there_for_its_time() {
    let policy = AckPolicy { ttl_s: 10, ..POLICY };
    let mut all = outstanding();
    let (ann, bob) = (user("ann"), user("bob"));
    all.enter("a", &ann, 1, policy, 0).unwrap();
    all.enter("a", &bob, 2, policy, 0).unwrap();
    cut_off(&mut all, "ann", 1, 0);
    publish(&mut all, 10, 9 * SECOND_MS);
    due(&mut all, 18 * SECOND_MS);
    assert_eq!(all.mailbox_count(), 2, "it has something");
    publish(&mut all, 10, 18 * SECOND_MS);
    due(&mut all, 19 * SECOND_MS);
    assert_eq!(all.mailbox_count(), 1, "it took nothing more: there is an end to it");
    cut_off(&mut all, "bob", 2, 20 * SECOND_MS);
    due(&mut all, 30 * SECOND_MS);
    assert_eq!((all.mailbox_count(), all.bytes(), all.due_ms()), (0, 0, None));
    assert_eq!(publish(&mut all, 10, 31 * SECOND_MS), None);
    assert!(all.away.is_empty() && !all.is_behind());
}

#[test]
fn who_leaves_for_good_takes_nothing_more() {
    let mut all = outstanding();
    let ann = user("ann");
    all.enter("a", &ann, 1, POLICY, 0).unwrap();
    all.enter("a", &ann, 2, POLICY, 0).unwrap();
    all.leave("a", 1, true, 0);
    assert_eq!(all.mailbox_count(), 1, "another connection is there");
    let id = publish(&mut all, 10, 0).unwrap();
    all.leave("a", 2, true, 0);
    assert_eq!(all.mailbox_count(), 1, "it has something");
    publish(&mut all, 10, 0);
    assert_eq!(all.counters().retained, 1);
    all.acknowledge("a", "ann", &[id]);
    assert_eq!(due(&mut all, 0), []);
    assert_eq!((all.mailbox_count(), all.bytes()), (0, 0), "it is empty");
    all.enter("a", &ann, 3, POLICY, 0).unwrap();
    all.leave("a", 3, true, 0);
    assert_eq!((all.mailbox_count(), all.due_ms()), (0, None), "nobody has to look at it");
}

/// Also where one of its devices was cut off, and another has left: the first may come back.
#[test]
fn who_was_cut_off_is_waited_for_whatever_its_other_connections_do() {
    let mut all = outstanding();
    let ann = user("ann");
    all.enter("a", &ann, 1, POLICY, 0).unwrap();
    all.enter("a", &ann, 2, POLICY, 0).unwrap();
    cut_off(&mut all, "ann", 1, 0);
    all.leave("a", 2, true, 0);
    let id = publish(&mut all, 10, SECOND_MS).unwrap();
    all.enter("a", &ann, 3, POLICY, SECOND_MS).unwrap();
    assert_eq!(due(&mut all, 2 * SECOND_MS), [(3, id, 1)]);
}

#[test]
fn a_user_has_so_many_mailboxes_that_it_is_not_there_for() {
    let bounds = AckBounds { away_max: 3, ..AckBounds::default() };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    let (ann, bob) = (user("ann"), user("bob"));
    all.enter("bob's", &bob, 99, POLICY, 0).unwrap();
    all.leave("bob's", 99, false, 0);
    for link in 0..10 {
        let channel = link.to_string();
        all.enter(&channel, &ann, link, POLICY, 0).unwrap();
        let id = all.next_id(&channel).unwrap();
        all.retain(&channel, id, &id, 10, 0);
        all.leave(&channel, link, false, 0);
    }
    assert_eq!(all.mailbox_count(), 4, "bob's is not touched");
    assert_eq!(all.counters().lost, 7);
    assert_eq!(all.enter("0", &ann, 0, POLICY, 0), Ok(1), "it is told, though the mailbox is new");
    all.acknowledge("0", "ann", &[]);
    assert_eq!(all.enter("0", &ann, 0, POLICY, 0), Ok(0), "it has heard");
    assert_eq!(all.enter("9", &ann, 9, POLICY, 0), Ok(0));
}

#[test]
fn what_was_lost_is_told_though_the_mailbox_has_ended() {
    let bounds = AckBounds { losses_max: 2, ..AckBounds::default() };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    let policy = AckPolicy { ttl_s: 10, ..POLICY };
    for (name, link) in [("ann", 1), ("bob", 2), ("cleo", 3)] {
        all.enter("a", &user(name), link, policy, 0).unwrap();
        cut_off(&mut all, name, link, 0);
    }
    publish(&mut all, 10, 0);
    publish(&mut all, 10, 0);
    due(&mut all, 10 * SECOND_MS);
    assert_eq!((all.mailbox_count(), all.counters().lost), (0, 6));
    assert_eq!(all.counters().untold, 2, "so many are remembered");
    let now_ms = 100 * SECOND_MS;
    let told = ["ann", "bob", "cleo"].map(|name| all.enter("a", &user(name), 1, policy, now_ms));
    assert_eq!(told, [Ok(0), Ok(2), Ok(2)]);
}

#[test]
fn mailboxes_connections_and_bytes_are_bounded() {
    let bounds = AckBounds { mailboxes_max: 2, bytes_max: 4000, ..AckBounds::default() };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    let policy = AckPolicy { bytes_max: u32::MAX, ..POLICY };
    all.enter("a", &user("ann"), 1, policy, 0).unwrap();
    all.enter("a", &user("bob"), 99, policy, 0).unwrap();
    assert_eq!(all.enter("a", &user("cleo"), 1, policy, 0), Err(MailboxesFull));
    for link in 2..20 {
        all.enter("a", &user("ann"), link, policy, 0).unwrap();
    }
    for _ in 0..10 {
        publish(&mut all, 1000, 0);
        assert!(all.bytes() <= 4000, "each is charged for once, whoever has it");
    }
    let mut budget = usize::MAX;
    let first = all.next_due(SECOND_MS, &mut budget).unwrap();
    assert_eq!(first.links.len(), if first.links[0] == 99 { 1 } else { ACK_LINKS_MAX });
    assert_eq!(all.enter("a", &user("bob"), 9, policy, 0), Ok(7));
    all.acknowledge("a", "bob", &[]);
    publish(&mut all, 5000, 0);
    assert_eq!(all.enter("a", &user("bob"), 9, policy, 0), Ok(1), "it is more than the budget");
    assert_eq!((all.counters().lost, all.counters().unretained), (14, 2));
    assert!(all.bytes() > 0, "and pushes nothing else out");
    budget = 0;
    assert_eq!(all.next_due(9 * SECOND_MS, &mut budget), None, "no more looks than the budget");
}

#[test]
fn a_publication_to_a_crowd_is_taken_a_few_at_a_time() {
    let mut all = outstanding();
    for link in 0..1000 {
        all.enter("a", &user(&link.to_string()), link, POLICY, 0).unwrap();
    }
    let retain = |all: &mut Outstanding<u64, u32>| {
        let id = all.next_id("a").unwrap();
        all.retain("a", id, &id, 10, 0);
        id
    };
    let ids = [retain(&mut all), retain(&mut all)];
    assert_eq!(all.counters().retained, 0);
    // Who says something meanwhile is looked at at once: its acknowledgement is not too early.
    all.acknowledge("a", "999", &ids);
    assert_eq!((all.counters().retained, all.counters().acknowledged), (2, 2));
    let mut turns = 0;
    while all.is_behind() {
        let before = all.counters().retained;
        all.take_in(100);
        turns += 1;
        assert!(all.counters().retained - before <= 100, "no more than the budget");
        if turns == 10 {
            // Behind those who were looked at already: they take it in a second pass.
            retain(&mut all);
        }
    }
    assert_eq!(all.counters().retained, 3000);
    assert!(turns > 30, "{turns}");
    let once = all.bytes();
    for link in 0..1000 {
        all.acknowledge("a", &link.to_string(), &[ids[0], ids[1], ids[1] + 1]);
    }
    assert_eq!((all.bytes(), all.counters().acknowledged), (0, 3000), "of {once}");
}

#[test]
fn channels_take_turns_and_one_that_is_too_far_behind_retains_no_more() {
    let bounds = AckBounds { behind_max: 4, ..AckBounds::default() };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    for link in 0..100 {
        all.enter("crowd", &user(&link.to_string()), link, POLICY, 0).unwrap();
    }
    all.enter("few", &user("0"), 0, POLICY, 0).unwrap();
    for _ in 0..6 {
        let id = all.next_id("crowd").unwrap();
        all.retain("crowd", id, &id, 10, 0);
    }
    let id = all.next_id("few").unwrap();
    all.retain("few", id, &id, 10, 0);
    all.take_in(10);
    assert_eq!(all.counters().retained, 8, "of the crowd");
    all.take_in(10);
    assert_eq!(all.counters().retained, 8 + 1 + 8, "and of the few");
    while all.is_behind() {
        all.take_in(10);
    }
    assert_eq!((all.counters().retained, all.counters().unretained), (401, 200));
    assert_eq!(all.enter("crowd", &user("0"), 0, POLICY, 0), Ok(2), "it is told");
}

/// Once a channel gave up only its own publications: one that had filled the budget kept all others
/// from retaining anything.
#[test]
fn what_was_retained_for_longest_gives_way_in_whatever_channel_it_is() {
    let bounds = AckBounds { bytes_max: 4000, ..AckBounds::default() };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    for channel in ["a", "b", "c"] {
        all.enter(channel, &user("ann"), 1, POLICY, 0).unwrap();
    }
    let retain = |all: &mut Outstanding<u64, u32>, channel: &str| {
        let id = all.next_id(channel).unwrap();
        all.retain(channel, id, &id, 100, 0);
        all.take_in(usize::MAX);
        id
    };
    let first = retain(&mut all, "b");
    while all.counters().lost == 0 {
        retain(&mut all, "a");
    }
    let held = |all: &Outstanding<u64, u32>, channel: &str| {
        all.channels[channel].users["ann"].ids().collect::<Vec<_>>()
    };
    assert!(held(&all, "b").is_empty(), "it was the oldest: {first}");
    let of_a = held(&all, "a");
    let id = retain(&mut all, "c");
    assert_eq!((held(&all, "c"), held(&all, "a")), (vec![id], of_a[1..].to_vec()));
    assert_eq!((all.counters().lost, all.counters().unretained), (2, 0));
    check(&all);
}

proptest! {
    /// A client that loses three of ten publications, and three of ten acknowledgements, and comes
    /// and goes, hears every publication, and gives each to its application once.
    #[test]
    fn a_lossy_client_gets_everything_once(
        seed in any::<u64>(), count in 1..60_u64, is_away in any::<[bool; 8]>(),
    ) {
        let mut random = seed;
        let mut is_lost = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % 10 < 3
        };
        let mut all = outstanding();
        let (ann, policy) = (user("ann"), AckPolicy { ttl_s: 100_000, ..POLICY });
        all.enter("a", &ann, 0, policy, 0).unwrap();
        let mut given: Vec<u64> = Vec::new();
        let mut published = Vec::new();
        let mut hear = |all: &mut Outstanding<u64, u32>, id: u64, is_there: bool| {
            if !is_there || is_lost() {
                return;
            }
            if !given.contains(&id) {
                given.push(id);
            }
            if !is_lost() {
                all.acknowledge("a", "ann", &[id]);
            }
        };
        let mut is_there = true;
        for second in 0..4000_u64 {
            let now_ms = second * SECOND_MS;
            if second % 8 == 0 {
                let stays_away = is_away[usize::try_from(second / 8 % 8).unwrap()] && second < 200;
                if is_there && stays_away {
                    cut_off(&mut all, "ann", 0, now_ms);
                }
                if !is_there && !stays_away {
                    all.enter("a", &ann, 0, policy, now_ms).unwrap();
                }
                is_there = !stays_away;
            }
            if second < count {
                let id = publish(&mut all, 10, now_ms).unwrap();
                published.push(id);
                hear(&mut all, id, is_there);
            }
            for (_, id, _) in due(&mut all, now_ms) {
                hear(&mut all, id, is_there);
            }
        }
        given.sort_unstable();
        prop_assert_eq!(given, published);
        prop_assert_eq!(all.counters().lost, 0);
        prop_assert!(all.counters().acknowledged <= count);
    }
}

proptest! {
    /// Whatever users, publishers and time do, in channels of small bounds: nothing is charged for
    /// that is not there, everything is acknowledged, lost or still there, and in the end nothing
    /// is left.
    #[test]
    fn the_books_are_right_whatever_happens(
        steps in prop::collection::vec((0..8_u8, 0..3_u32, 0..4_u32, 0..2000_u64), 1..200),
    ) {
        let bounds = AckBounds {
            mailboxes_max: 5, bytes_max: 1200, away_max: 2, behind_max: 3, losses_max: 3,
        };
        let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
        let policy = AckPolicy { publications_max: 4, bytes_max: 300, ttl_s: 3 };
        let mut now_ms = 0;
        let mut links = BTreeSet::new();
        let mut sent = Vec::new();
        let mut told = 0;
        for (step, channel, link, number) in steps {
            let (name, who) = (channel.to_string(), user(&(link % 3).to_string()));
            match step {
                0 | 1 => if let Ok(lost) = all.enter(&name, &who, link, policy, now_ms) {
                    links.insert((channel, link));
                    // Until the user says something it is told the same again.
                    if step == 1 {
                        all.acknowledge(&name, &who, &[]);
                        told += lost;
                    }
                },
                2 => if links.remove(&(channel, link)) {
                    all.leave(&name, link, number % 2 == 0, now_ms);
                },
                3 | 4 => if let Some(id) = all.next_id(&name) {
                    let bytes = usize::try_from(number % 120).unwrap();
                    all.retain(&name, id, &id, bytes, now_ms);
                    sent.push(id);
                },
                5 => all.acknowledge(&name, &who, &sent[sent.len() - sent.len().min(2)..]),
                6 => all.take_in(usize::try_from(number % 5).unwrap()),
                _ => now_ms += number,
            }
            due(&mut all, now_ms);
            check(&all);
        }
        for (channel, link) in links {
            all.leave(&channel.to_string(), link, true, now_ms);
        }
        all.take_in(usize::MAX);
        due(&mut all, now_ms + 20 * SECOND_MS);
        check(&all);
        prop_assert_eq!((all.mailbox_count(), all.bytes(), all.looks.len()), (0, 0, 0));
        prop_assert!(all.away.is_empty() && all.walks.is_empty() && all.channels.is_empty());
        let counted = all.counters();
        prop_assert_eq!(counted.retained, counted.acknowledged + counted.lost);
        prop_assert!(told <= counted.lost + counted.unretained);
    }
}

/// What is kept beside the mailboxes says of them what they say.
pub(super) fn check(all: &Outstanding<u64, u32>) {
    let mut bytes = 0;
    let (mut mailboxes, mut places, mut away) = (0, 0, 0);
    for channel in all.channels.values() {
        bytes += channel.log.charge();
        let floor_id = channel.log.floor_id();
        for mailbox in channel.users.values() {
            mailboxes += 1;
            places += mailbox.ids().filter(|id| *id >= floor_id).count();
            away += usize::from(mailbox.links.is_empty());
            assert_eq!(mailbox.links.is_empty(), mailbox.away.is_some());
        }
        let links: usize = channel.users.values().map(|mailbox| mailbox.links.len()).sum();
        assert_eq!(links, channel.links.len());
        assert_eq!(channel.log.behind_count() > 0, channel.log.last_id() > channel.log.taken_id());
    }
    let first = |(name, channel): (&Arc<str>, &Channel<u64, u32>)| {
        channel.log.first().map(|age| (age, Arc::clone(name)))
    };
    let firsts: BTreeSet<_> = all.channels.iter().filter_map(first).collect();
    assert_eq!(all.oldest.all(), &firsts, "the oldest of each channel is known");
    assert_eq!(all.bytes, bytes + places * mailbox::PLACE_BYTES);
    assert_eq!((all.mailbox_count, all.away.count()), (mailboxes, away));
    assert!(all.bytes <= all.bounds.bytes_max && mailboxes <= all.bounds.mailboxes_max);
}
