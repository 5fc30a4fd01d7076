//! What do insert, get and remove cost in a slab that holds 15,000 or 1,000,000 connections?
//!
//! The entry is as large as an idle connection's (96 B). Time is per entry.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::shard::slab::{Index, Slab};

type Entry = [u64; 11];

fn full(count: u32) -> (Slab<Entry>, Vec<Index>) {
    let mut slab = Slab::new(count);
    let indexes = (0..count).map(|n| slab.insert([u64::from(n); 11]).expect("below the bound"));
    let indexes = indexes.collect();
    (slab, indexes)
}

/// The places in an order that no cache follows: a walk by a large odd stride.
fn shuffled(indexes: &[Index]) -> Vec<Index> {
    let stride = 7_368_787 % indexes.len(); // a prime
    (0..indexes.len()).map(|n| indexes[n * stride % indexes.len()]).collect()
}

fn slab(c: &mut Criterion) {
    for count in [15_000_u32, 1_000_000] {
        let mut group = c.benchmark_group(format!("slab/{count}"));
        group.throughput(Throughput::Elements(u64::from(count))).sample_size(10);
        group.bench_function("insert", |b| b.iter_with_large_drop(|| full(count)));
        let (mut slab, indexes) = full(count);
        let indexes = shuffled(&indexes);
        group.bench_function("get", |b| {
            b.iter(|| {
                let values =
                    indexes.iter().map(|&index| slab.get(index).map_or(0, |entry| entry[0]));
                let sum: u64 = values.sum();
                assert_eq!(black_box(sum), u64::from(count) * u64::from(count - 1) / 2);
            });
        });
        group.bench_function("remove_and_insert", |b| {
            b.iter(|| {
                for &index in &indexes {
                    let entry = slab.remove(index);
                    assert_eq!(slab.insert(entry), Ok(index));
                }
            });
        });
        group.finish();
        assert_eq!(slab.len(), count);
        assert_eq!(slab.chunk_count(), count.div_ceil(4096) as usize);
    }
}

criterion_group!(benches, slab);
criterion_main!(benches);
