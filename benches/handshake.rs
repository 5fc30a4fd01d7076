//! What does one opening handshake cost the server, from the bytes of the head to those of the 101?
//!
//! The head that a browser sends (about 530 bytes), in one arrival and in ten; and a refusal.
//! Each round asserts the accept key, or the status.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::handshake::{HeadScanner, Refusal, RequestHead, check_upgrade};

const HEAD: &str = "GET /connection/websocket?token=eyJhbGciOiJIUzI1NiJ9.e30 HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// Appends the answer to `head`, which comes in so many arrivals.
fn answer(head: &[u8], arrivals: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut scanner = HeadScanner::default();
    let mut end = None;
    for arrival in 1..=arrivals {
        end = scanner.scan(&head[..head.len() * arrival / arrivals])?;
    }
    let end = end.expect("the head is whole");
    let head = RequestHead::parse(&head[..end])?;
    check_upgrade(&head)?.accept(out, None, []).expect("no headers to refuse");
    Ok(())
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(1024);
    for arrivals in [1, 10] {
        group.bench_function(format!("{} B in {arrivals} arrivals", HEAD.len()), |bencher| {
            bencher.iter(|| {
                out.clear();
                answer(HEAD.as_bytes(), arrivals, &mut out).expect("a legal request");
                assert_eq!(&out[97..125], b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            });
        });
    }
    let old = HEAD.replace("Version: 13", "Version: 8");
    group.bench_function("refused by its version", |bencher| {
        bencher.iter(|| {
            out.clear();
            let refusal = answer(old.as_bytes(), 1, &mut out).expect_err("an old version");
            refusal.write(&mut out);
            assert!(out.starts_with(b"HTTP/1.1 426 "));
        });
    });
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
