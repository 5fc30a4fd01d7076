//! Claim: a home learns of a shard's first and last member, each change once; changes that undo
//! each other are never sent; what could not be sent waits in bounded room; and a publication held
//! back while its channel's change waits always reaches its own publisher.

use super::{fanout, settle};
use longwire::hub::{
    Answer, Fanout, FanoutBounds, Homes, JoinError, MemberId, Order, ShardId, Told,
};
use std::hash::RandomState;

const CONFIRMED: Told = Told::Answered(Answer::Confirmed);

fn changes(fanout: &mut Fanout<u32>, shard_count: usize) -> Vec<(String, bool)> {
    let mut changes = Vec::new();
    for home in 0..shard_count {
        fanout.drain_changes(ShardId::new(home), |change| {
            changes.push((change.channel.to_owned(), change.on));
            CONFIRMED
        });
    }
    changes
}

#[test]
fn only_first_and_last_members_are_told() {
    let mut fanout = fanout(1, FanoutBounds::default());
    let id = fanout.join("a", MemberId(0)).unwrap();
    assert_eq!(changes(&mut fanout, 1), [("a".into(), true)]);
    fanout.join("a", MemberId(1)).unwrap();
    fanout.leave(id, MemberId(0));
    assert_eq!(changes(&mut fanout, 1), []);
    fanout.leave(id, MemberId(1));
    assert_eq!(changes(&mut fanout, 1), [("a".into(), false)]);
    assert_eq!(fanout.channel_count(), 0);
}

#[test]
fn changes_that_undo_each_other_are_never_sent_and_take_no_room() {
    let bounds = FanoutBounds { channels_max: 2, ..FanoutBounds::default() };
    let mut fanout = fanout(1, bounds);
    fanout.join("known", MemberId(0)).unwrap();
    settle(&mut fanout, 1);
    for round in 0..100 {
        fanout.leave_all(MemberId(0), |_, _| {});
        assert!(fanout.is_pending("known"));
        fanout.join("known", MemberId(0)).unwrap();
        fanout.join(&round.to_string(), MemberId(1)).unwrap();
        fanout.leave_all(MemberId(1), |_, _| {});
        assert!(!fanout.is_pending("known") && !fanout.has_changes(ShardId::new(0)));
        assert_eq!(fanout.channel_count(), 1);
    }
    assert_eq!(changes(&mut fanout, 1), []);
}

#[test]
fn a_change_that_was_not_sent_keeps_its_channel_and_so_the_bound_holds() {
    let bounds = FanoutBounds { channels_max: 1, ..FanoutBounds::default() };
    let mut fanout = fanout::<u32>(1, bounds);
    fanout.join("a", MemberId(0)).unwrap();
    settle(&mut fanout, 1);
    fanout.leave_all(MemberId(0), |_, _| {});
    fanout.drain_changes(ShardId::new(0), |_| Told::NoRoom);
    assert!(fanout.is_pending("a"));
    assert_eq!(fanout.join("b", MemberId(0)), Err(JoinError::ChannelsFull { channels_max: 1 }));
    assert_eq!(fanout.counters().joins_refused, 1);
    settle(&mut fanout, 1);
    assert!(fanout.join("b", MemberId(0)).is_ok());
}

#[test]
fn a_home_without_room_does_not_hold_up_the_others() {
    let homes = Homes::dealt(4);
    let mut fanout = fanout::<u32>(4, FanoutBounds::default());
    for number in 0..100 {
        fanout.join(&format!("channel {number}"), MemberId(number)).unwrap();
    }
    fanout.drain_changes(ShardId::new(0), |_| Told::NoRoom);
    for home in 1..4 {
        fanout.drain_changes(ShardId::new(home), |change| {
            assert_eq!(homes.home_of_channel(change.channel).index(), home);
            CONFIRMED
        });
    }
    let waiting = (0..4).filter(|&home| fanout.has_changes(ShardId::new(home)));
    assert_eq!(waiting.collect::<Vec<_>>(), [0]);
}

#[test]
fn a_full_shard_refuses_memberships_and_counts_it() {
    let bounds = FanoutBounds { memberships_max: 1, ..FanoutBounds::default() };
    let mut fanout = fanout::<u32>(1, bounds);
    let id = fanout.join("a", MemberId(0)).unwrap();
    assert_eq!(
        fanout.join("a", MemberId(1)),
        Err(JoinError::MembershipsFull { memberships_max: 1 })
    );
    assert_eq!(fanout.join("a", MemberId(0)), Err(JoinError::AlreadyMember(id)));
    assert_eq!(fanout.counters().joins_refused, 1);
}

#[test]
fn a_publication_held_back_while_the_change_waits_reaches_its_publisher() {
    let mut order = Order::new(1, 10, RandomState::new());
    let mut fanout = fanout(1, FanoutBounds::default());
    let home = ShardId::new(0);
    let id = fanout.join("a", MemberId(0)).unwrap();
    // No room for the change: whoever published now would publish to nobody.
    fanout.drain_changes(home, |_| Told::NoRoom);
    assert!(fanout.is_pending("a"));
    assert_eq!(order.publish("a", None), None);
    fanout.drain_changes(home, |change| {
        order.interested(change.channel, home).unwrap();
        CONFIRMED
    });
    assert!(!fanout.is_pending("a"));
    let published = order.publish("a", None).expect("the home knows");
    assert!(published.targets.contains(home));
    fanout.deliver(id, 7, 1).unwrap();
    assert_eq!(fanout.next().unwrap().frames, [7]);
}
