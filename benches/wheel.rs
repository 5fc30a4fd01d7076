//! What does one deadline cost, from its schedule to its end, with 1,000,000 connections?
//!
//! Each connection pings every 25 s; one turn of the loop here is one tick, in which the due
//! ones fire and are scheduled again. Time is per node.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::shard::slab::Slab;
use longwire::shard::wheel::{Node, Wheel, ticks_in};

const COUNT: u32 = 1_000_000;
const INTERVAL: Duration = Duration::from_secs(25);

/// An entry as large as an idle connection's (96 B), with its node inside.
struct Entry {
    node: Node,
    _rest: [u8; 76],
}

impl AsMut<Node> for Entry {
    fn as_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

fn wheel(c: &mut Criterion) {
    let start = Instant::now();
    let interval = ticks_in(INTERVAL);
    let mut nodes = Slab::new(COUNT);
    let mut wheel = Wheel::new(start);
    let mut indexes = Vec::new();
    for phase in (0..interval).cycle().take(COUNT as usize) {
        let entry = Entry { node: Node::default(), _rest: [0; 76] };
        let index = nodes.insert(entry).unwrap_or_else(|_| unreachable!("below the bound"));
        wheel.schedule(&mut nodes, index, wheel.tick_of(start).plus(1 + phase));
        indexes.push(index);
    }

    let mut group = c.benchmark_group("wheel/1000000");
    group.throughput(Throughput::Elements(u64::from(COUNT))).sample_size(10);
    group.bench_function("schedule", |b| {
        let mut round = 0;
        b.iter(|| {
            round += 1;
            for (&index, phase) in indexes.iter().zip((0..interval).cycle()) {
                let tick = wheel.tick_of(start).plus(1 + (phase + round) % interval);
                wheel.schedule(&mut nodes, index, tick);
            }
        });
    });
    let mut now = start;
    group.bench_function("expire_and_schedule", |b| {
        b.iter(|| {
            let mut fired = 0;
            let end = now + INTERVAL;
            while now < end {
                now = wheel.next_deadline().expect("all are scheduled");
                let mut looks = u32::MAX;
                while let Some(index) = wheel.expire(&mut nodes, now, &mut looks) {
                    fired += 1;
                    let entry = nodes.get(index).expect("it fired");
                    let next = entry.node.deadline().plus(interval);
                    wheel.schedule(&mut nodes, index, next);
                }
            }
            // An interval is 391 ticks, and the loop may end within the first of the next one.
            assert!(fired >= COUNT && fired <= COUNT + 2 * COUNT.div_ceil(interval), "{fired}");
        });
    });
    group.throughput(Throughput::Elements(u64::from(COUNT / 100)));
    group.bench_function("emptiest_near", |b| {
        b.iter(|| {
            let from = wheel.tick_of(now);
            let first = wheel.emptiest_near(from, interval);
            let phases = (0..COUNT / 100).map(|_| wheel.emptiest_near(black_box(from), interval));
            assert!(phases.into_iter().all(|phase| phase == first));
        });
    });
    group.finish();
    assert_eq!(wheel.len(), COUNT);
}

criterion_group!(benches, wheel);
criterion_main!(benches);
