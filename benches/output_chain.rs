//! What does the output of one connection cost, from its pieces to the one that is sent?
//!
//! Sizes: 512 connections a turn, messages of 22 bytes. One message is an echo; four side by side
//! are an echo of four in one read; four frames are what fan-out joins.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ring::{Frame, Ring, RingSize};
use longwire::shard::output::Output;

const CONNECTIONS: u32 = 512;
const MESSAGE: [u8; 22] = [b'm'; 22];

fn chains(criterion: &mut Criterion) {
    let size = RingSize { submissions: 8, completions: 16 };
    let mut ring = Ring::new(size, 1 << 20).expect("io_uring");
    let mut output = Output::default();
    let frame: Frame = MESSAGE.as_slice().into();
    let mut group = criterion.benchmark_group("output_chain");
    group.throughput(Throughput::Elements(CONNECTIONS.into()));
    for (name, count, is_shared) in
        [("one message", 1, false), ("four side by side", 4, false), ("four frames", 4, true)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for index in 0..CONNECTIONS {
                    let chain = output.begin(index);
                    for _ in 0..count {
                        let piece = if is_shared {
                            ring.batch().share(frame.clone())
                        } else {
                            ring.batch().copy(&[&MESSAGE]).expect("fits")
                        };
                        output.push(chain, piece);
                    }
                }
                for chain in 0..CONNECTIONS {
                    let piece = output.joined(chain, ring.batch()).expect("it has pieces");
                    assert_eq!(ring.batch().bytes(black_box(piece)).len(), count * MESSAGE.len());
                }
                output.clear();
                ring.recycle();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chains);
criterion_main!(benches);
