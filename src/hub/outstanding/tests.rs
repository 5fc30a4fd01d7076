//! Mailboxes under a clock of the test's own: what is sent again when, what is lost, and that with
//! losses both ways everything arrives.

use super::*;
use proptest::prelude::*;

const POLICY: AckPolicy = AckPolicy { publications_max: 100, bytes_max: 10_000, ttl_s: 600 };
const SECOND_MS: u64 = 1000;

fn outstanding() -> Outstanding<u64, u32> {
    Outstanding::new(AckBounds::default(), 0)
}

fn user(name: &str) -> Arc<str> {
    name.into()
}

/// Publishes to channel `a`: the frame is its id.
fn publish(all: &mut Outstanding<u64, u32>, bytes: usize, now_ms: u64) -> Option<u64> {
    let id = all.next_id("a")?;
    all.retain("a", id, &id, bytes, now_ms);
    Some(id)
}

/// What is due by now: user, id and try.
fn due(all: &mut Outstanding<u64, u32>, now_ms: u64) -> Vec<(Arc<str>, u64, u32)> {
    let mut budget = usize::MAX;
    let next = || all.next_due(now_ms, &mut budget);
    std::iter::from_fn(next).map(|one| (one.user, one.frame, one.try_number)).collect()
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
        assert_eq!(due(&mut all, next_ms), [(user("ann"), id, try_number)]);
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
    all.leave("a", "ann", 1, 0);
    let ids = [publish(&mut all, 10, 0).unwrap(), publish(&mut all, 10, 5).unwrap()];
    assert_eq!(due(&mut all, 100 * SECOND_MS), []);
    for _again in 0..2 {
        all.enter("a", &ann, 2, POLICY, 100 * SECOND_MS).unwrap();
    }
    assert_eq!(due(&mut all, 100 * SECOND_MS), [], "what is recovered beside it has its time");
    let mut budget = usize::MAX;
    let first = all.next_due(101 * SECOND_MS, &mut budget).unwrap();
    assert_eq!((first.frame, first.links, first.try_number), (ids[0], vec![2], 1));
    assert_eq!(due(&mut all, 101 * SECOND_MS), [(ann, ids[1], 1)]);
}

#[test]
fn the_oldest_goes_beyond_each_bound_and_the_user_is_told_once() {
    let policy = AckPolicy { publications_max: 3, bytes_max: 100, ttl_s: 10 };
    let mut all = outstanding();
    let ann = user("ann");
    all.enter("a", &ann, 1, policy, 0).unwrap();
    let ids: Vec<u64> = (0..4).map(|_| publish(&mut all, 10, 0).unwrap()).collect();
    assert_eq!(all.enter("a", &ann, 2, policy, 0), Ok(1), "too many");
    assert_eq!(all.enter("a", &ann, 3, policy, 0), Ok(0), "it was told");
    publish(&mut all, 85, 0);
    assert_eq!(all.enter("a", &ann, 4, policy, 0), Ok(2), "too many bytes");
    let heard: Vec<u64> = due(&mut all, SECOND_MS).iter().map(|(_, id, _)| *id).collect();
    assert_eq!(heard, [ids[3], ids[3] + 1]);
    publish(&mut all, 101, 0);
    assert_eq!(all.enter("a", &ann, 5, policy, 0), Ok(3), "one of it is too large");
    publish(&mut all, 10, 5 * SECOND_MS);
    assert!(due(&mut all, 15 * SECOND_MS).is_empty(), "too old");
    assert_eq!(all.enter("a", &ann, 6, policy, 15 * SECOND_MS), Ok(1));
    assert_eq!((all.counters().lost, all.bytes()), (7, 0));
}

#[test]
fn a_mailbox_ends_when_nobody_was_there_for_its_time() {
    let policy = AckPolicy { ttl_s: 10, ..POLICY };
    let mut all = outstanding();
    let (ann, bob) = (user("ann"), user("bob"));
    all.enter("a", &ann, 1, policy, 0).unwrap();
    all.enter("a", &bob, 2, policy, 0).unwrap();
    all.leave("a", "ann", 1, 0);
    publish(&mut all, 10, 9 * SECOND_MS);
    due(&mut all, 18 * SECOND_MS);
    assert_eq!(all.mailbox_count(), 2, "it has something");
    due(&mut all, 19 * SECOND_MS);
    assert_eq!((all.mailbox_count(), all.bytes()), (1, 0), "bob is there, but has lost it");
    all.leave("a", "bob", 2, 20 * SECOND_MS);
    due(&mut all, 30 * SECOND_MS);
    assert_eq!((all.mailbox_count(), all.due_ms()), (0, None));
    assert_eq!(publish(&mut all, 10, 31 * SECOND_MS), None);
}

#[test]
fn mailboxes_connections_and_bytes_are_bounded() {
    let bounds = AckBounds { mailboxes_max: 2, bytes_max: 4000 };
    let mut all: Outstanding<u64, u32> = Outstanding::new(bounds, 0);
    let policy = AckPolicy { bytes_max: u32::MAX, ..POLICY };
    for name in ["ann", "bob"] {
        all.enter("a", &user(name), 1, policy, 0).unwrap();
    }
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
    assert_eq!(first.links.len(), if &*first.user == "ann" { ACK_LINKS_MAX } else { 1 });
    assert_eq!(all.enter("a", &user("bob"), 9, policy, 0), Ok(7));
    publish(&mut all, 5000, 0);
    assert_eq!(all.bytes(), 0, "what is more than the budget is not retained");
    budget = 0;
    publish(&mut all, 10, 0);
    assert_eq!(all.next_due(9 * SECOND_MS, &mut budget), None, "no more looks than the budget");
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
                    all.leave("a", "ann", 0, now_ms);
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
