//! How many bytes a second does masking move, from a chat line to a receive buffer?
//!
//! 20 B, 125 B, 1 KiB and 64 KiB, aligned and not; each result is compared with the XOR of the RFC.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::mask;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for len in [20, 125, 1024, 64 * 1024] {
        for misaligned in [0, 3] {
            let text: Vec<u8> = (0..=255).cycle().take(len + misaligned).collect();
            let mut once = text.clone();
            mask(&mut once[misaligned..], KEY, 1);
            let pad = KEY.iter().cycle().skip(1);
            let expected = text[misaligned..].iter().zip(pad).map(|(byte, pad)| byte ^ pad);
            assert!(once[misaligned..].iter().copied().eq(expected));

            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(format!("{len} B, {misaligned} off alignment"), |bencher| {
                let mut bytes = text.clone();
                bencher.iter(|| mask(black_box(&mut bytes[misaligned..]), black_box(KEY), 1));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, masking);
criterion_main!(benches);
