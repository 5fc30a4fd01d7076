//! What does one message from one member to another cost?
//!
//! Batches of 64 messages of 56 bytes, then a flush, as in a shard's turn: on one thread, where
//! nothing but instructions counts, and between two threads that never sleep, where the cache
//! lines travel. Time is per message, one way.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::mesh::{self, Class, Member};

type Message = [u64; 7];

const BATCH: u64 = 64;
/// Batches of one measured iteration between threads, so that its start does not count.
const BATCHES: u64 = 256;

fn pair() -> [Member<Message>; 2] {
    let members = mesh::build(2).expect("two fit the budget");
    members.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

fn send_batch(member: &mut Member<Message>, first: u64) {
    let to = member.peers().next().expect("a mesh of two");
    for number in first..first + BATCH {
        let mut message = [number; 7];
        while let Err(mesh::Full(back)) = member.send(to, message, Class::Delivery) {
            message = back;
            member.flush(|_| {});
            thread::yield_now();
        }
    }
    member.flush(|target| unreachable!("{target:?} never sleeps"));
}

fn one_thread(c: &mut Criterion) {
    let [mut a, mut b] = pair();
    let mut group = c.benchmark_group("mesh/one_thread");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("batch_of_64", |bencher| {
        let mut first = 0;
        bencher.iter(|| {
            send_batch(&mut a, first);
            for number in first..first + BATCH {
                assert_eq!(b.receive().map(|received| received.message[6]), Some(number));
            }
            assert!(b.receive().is_none());
            b.flush(|target| unreachable!("{target:?} never sleeps"));
            first += BATCH;
        });
    });
    group.finish();
    assert_eq!(a.counters().sent, b.counters().received);
}

fn two_threads(c: &mut Criterion) {
    let [mut a, mut b] = pair();
    let is_over = AtomicBool::new(false);
    let mut group = c.benchmark_group("mesh/two_threads");
    group.throughput(Throughput::Elements(BATCH * BATCHES)).sample_size(20);
    thread::scope(|scope| {
        // Answers each message with nothing but one word at the end of an iteration.
        let echo = scope.spawn(|| {
            let mut expected = 0;
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..BATCH {
                    let Some(received) = b.receive() else { break };
                    assert_eq!(received.message[6], expected);
                    expected += 1;
                    if expected % (BATCH * BATCHES) == 0 {
                        b.send(received.from, [expected; 7], Class::Delivery)
                            .expect("one per iteration");
                    }
                }
                b.flush(|_| {});
                spin_loop();
            }
            b.counters().received
        });
        let mut first = 0;
        group.bench_function("batch_of_64", |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCHES {
                    send_batch(&mut a, first);
                    first += BATCH;
                }
                loop {
                    let end = a.receive();
                    a.flush(|_| {});
                    if let Some(received) = end {
                        assert_eq!(received.message[6], first, "all of them, in order");
                        break;
                    }
                    spin_loop();
                }
            });
        });
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(echo.join().expect("the receiver asserts"), first);
    });
    group.finish();
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
