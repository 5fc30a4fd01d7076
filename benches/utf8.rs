//! What does it cost to know that a text is UTF-8, whole and in pieces?
//!
//! 20 B, 1 KiB and 64 KiB of ASCII and of Cyrillic; in pieces of 99 bytes, which cut characters.
//! Each round asserts the verdict.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::utf8::{Utf8Progress, validate};

fn validation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, letters) in [("ASCII", "the quick brown fox "), ("Cyrillic", "съешь ещё этих ")]
    {
        for len in [20, 1024, 64 * 1024] {
            let mut text: Vec<u8> = letters.bytes().cycle().take(len - len % 2).collect();
            // The cut may have parted a character.
            let valid = text.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            text[valid..].fill(b'.');
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(format!("{len} B of {name}, whole"), |bencher| {
                bencher.iter(|| assert_eq!(validate(black_box(&text)), Ok(())));
            });
            if len < 100 {
                continue;
            }
            group.bench_function(format!("{len} B of {name}, in pieces of 99 B"), |bencher| {
                bencher.iter(|| {
                    let mut progress = Utf8Progress::default();
                    for piece in black_box(&text).chunks(99) {
                        assert_eq!(progress.push(piece), Ok(()));
                    }
                    assert_eq!(progress.finish(), Ok(()));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, validation);
criterion_main!(benches);
