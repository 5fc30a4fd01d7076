//! What does one delivery cost in the hub, before any byte is written?
//!
//! 10,000 members of one channel, runs of 1 and of 16 frames; then 10,000 channels of one member
//! each. Each round asserts that every member got every frame.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use longwire::hub::{ChannelId, Fanout, FanoutBounds, Homes, MemberId};
use std::hash::RandomState;
use std::hint::black_box;
use std::rc::Rc;

const MEMBERS: u32 = 10_000;

fn fanout(channel_of: impl Fn(u32) -> u32) -> (Fanout<Rc<[u8]>>, Vec<ChannelId>) {
    let bounds = FanoutBounds::default();
    let mut fanout = Fanout::new(Homes::dealt(1), MEMBERS, bounds, RandomState::new());
    let join = |member| {
        let channel = channel_of(member).to_string();
        fanout.join(&channel, MemberId(member)).expect("there is room")
    };
    let mut channels: Vec<ChannelId> = (0..MEMBERS).map(join).collect();
    channels.dedup();
    (fanout, channels)
}

/// Queues `frames` to each channel and hands out all deliveries; returns how many frames went out.
fn round(fanout: &mut Fanout<Rc<[u8]>>, channels: &[ChannelId], frames: &[Rc<[u8]>]) -> usize {
    for &channel in channels {
        for frame in frames {
            fanout.deliver(channel, Rc::clone(frame), frame.len()).expect("there is room");
        }
    }
    let mut sent = 0;
    while fanout.has_work() {
        sent += fanout.next().map_or(0, |delivery| black_box(delivery).frames.len());
    }
    sent
}

fn delivery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout_plan");
    group.throughput(Throughput::Elements(u64::from(MEMBERS)));
    for frame_count in [1, 16] {
        let frames = vec![Rc::from([0_u8; 100]); frame_count];
        let (mut hub, channels) = fanout(|_| 0);
        group.bench_function(format!("10000 members of one channel, {frame_count} a run"), |b| {
            b.iter(|| {
                let sent = round(&mut hub, &channels, &frames);
                assert_eq!(sent, MEMBERS as usize * frame_count);
            });
        });
    }
    let frames = [Rc::from([0_u8; 100])];
    let (mut hub, channels) = fanout(|member| member);
    group.bench_function("10000 channels of one member, 1 a run", |b| {
        b.iter(|| assert_eq!(round(&mut hub, &channels, &frames), MEMBERS as usize));
    });
    group.bench_function("10000 joins and leaves", |b| {
        b.iter_batched(
            || {
                let bounds = FanoutBounds::default();
                Fanout::<Rc<[u8]>>::new(Homes::dealt(1), MEMBERS, bounds, RandomState::new())
            },
            |mut hub| {
                for member in 0..MEMBERS {
                    hub.join("lobby", MemberId(member)).expect("there is room");
                }
                let left: u32 =
                    (0..MEMBERS).map(|member| hub.leave_all(MemberId(member), |_, _| {})).sum();
                assert_eq!(left, MEMBERS);
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, delivery);
criterion_main!(benches);
