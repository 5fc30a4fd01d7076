//! What does an inbound message cost between the receive buffer and the handler?
//!
//! Text of 20 B and 1 KiB, 16 messages an arrival: whole, in fragments of a quarter, and with
//! arrivals that cut every message. Each round asserts the number and the length of the messages.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::{
    Assembler, Event, MessageKind, MessageLimits, OpCode, Role, encode_header, mask,
};

const MESSAGES: usize = 16;

/// Masking by zero changes nothing and costs the same: each round finds the bytes as they were.
const KEY: [u8; 4] = [0; 4];

fn messages(len: usize, fragments: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..MESSAGES {
        for index in 0..fragments {
            let opcode = if index == 0 { OpCode::Text } else { OpCode::Continuation };
            let fin = index + 1 == fragments;
            bytes.extend_from_slice(&encode_header(fin, opcode, len / fragments, Some(KEY)));
            let start = bytes.len();
            bytes.resize(start + len / fragments, b'x');
            mask(&mut bytes[start..], KEY, 0);
        }
    }
    bytes
}

/// Feeds `bytes` in arrivals of `arrival_bytes`; how many messages came out, and their length.
fn parse(assembler: &mut Assembler, bytes: &mut [u8], arrival_bytes: usize) -> (usize, usize) {
    let limits = MessageLimits::for_message_bytes(64 * 1024);
    let (mut count, mut len) = (0, 0);
    for arrival in bytes.chunks_mut(arrival_bytes) {
        let mut at = 0;
        loop {
            let step =
                assembler.next(Role::Server, &limits, &mut arrival[at..]).expect("legal frames");
            at += step.consumed;
            match step.event {
                Some(Event::Message { kind: MessageKind::Text, payload }) => {
                    count += 1;
                    len += payload.len();
                }
                Some(event) => unreachable!("{event:?} was not sent"),
                None => break,
            }
        }
    }
    (count, len)
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame_parse");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for len in [20, 1024] {
        for (name, fragments, arrival_bytes) in [
            ("whole", 1, usize::MAX),
            ("in 4 fragments", 4, usize::MAX),
            ("cut by every arrival", 1, len),
        ] {
            let mut bytes = messages(len, fragments);
            let mut assembler = Assembler::new();
            group.bench_function(format!("{len} B, {name}"), |bencher| {
                bencher.iter(|| {
                    let parsed = parse(&mut assembler, &mut bytes, arrival_bytes);
                    assert_eq!(parsed, (MESSAGES, MESSAGES * len));
                });
            });
            assert!(assembler.is_idle());
        }
    }
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);
