//! Claim: a membership takes at most 24 bytes, whatever the number; and what joined and left
//! leaves no memory behind but the spare queues, whose number is fixed.

use super::{drain, fanout, settle};
use longwire::hub::{Fanout, FanoutBounds, MemberId};
use longwire::limits::BACKLOGS_SPARE_MAX;

fn bytes_each(fanout: &Fanout<u32>, count: u32) -> f64 {
    let bytes = u32::try_from(fanout.memory_bytes()).unwrap();
    f64::from(bytes) / f64::from(count)
}

#[test]
fn a_membership_takes_at_most_24_bytes() {
    for count in [10_000, 65_537, 262_145] {
        let mut fanout = fanout::<u32>(1, FanoutBounds::default());
        fanout.join("lobby", MemberId(0)).unwrap();
        for member in 1..count {
            fanout.join("lobby", MemberId(member)).unwrap();
        }
        let each = bytes_each(&fanout, count);
        println!("{count} members: {each:.2} bytes each");
        assert!(each <= 24.0, "{count} members: {each:.2} bytes each");
    }
}

#[test]
fn a_channel_of_one_member_takes_at_most_128_bytes() {
    let count = 100_000;
    let mut fanout = fanout::<u32>(1, FanoutBounds::default());
    for member in 0..count {
        fanout.join(&format!("user:{member:010}"), MemberId(member)).unwrap();
    }
    settle(&mut fanout, 1);
    let each = bytes_each(&fanout, count);
    println!("{each:.2} bytes a channel of one, 15 of them its name");
    assert!(each <= 128.0, "{each:.2} bytes each");
}

#[test]
fn memory_returns_when_all_have_left() {
    let mut fanout = fanout::<u32>(2, FanoutBounds::default());
    assert_eq!(fanout.memory_bytes(), 0);
    for member in 0..20_000 {
        for channel in [member % 7, 10 + member % 1000, 5000 + member] {
            fanout.join(&format!("{channel}"), MemberId(member)).unwrap();
        }
    }
    for channel in 10..1010 {
        let id = fanout.find(&format!("{channel}")).unwrap();
        fanout.deliver(id, 1, 100).unwrap();
    }
    for _ in 0..5000 {
        fanout.next();
    }
    for member in 0..20_000 {
        assert_eq!(fanout.leave_all(MemberId(member), |_, _| {}), 3);
    }
    settle(&mut fanout, 2);
    drain(&mut fanout);
    assert_eq!((fanout.channel_count(), fanout.membership_count()), (0, 0));
    let spare_bytes = fanout.memory_bytes();
    assert!(spare_bytes <= BACKLOGS_SPARE_MAX * 1024, "{spare_bytes} bytes left");
}

#[test]
fn a_channel_that_shrank_gives_places_back() {
    let mut fanout = fanout::<u32>(1, FanoutBounds::default());
    for member in 0..100_000 {
        fanout.join("lobby", MemberId(member)).unwrap();
    }
    for member in 10..100_000 {
        fanout.leave_all(MemberId(member), |_, _| {});
    }
    assert!(fanout.memory_bytes() <= 64 * 1024, "{} bytes", fanout.memory_bytes());
}
