//! Hazard 16 over the wire: what stands behind an ambiguous request is never taken for another.

use tokio::io::AsyncWriteExt as _;

use super::{read_answer, read_answers, settings, stage};
use crate::limits::{HEAD_BYTES_MAX, HTTP_BODY_BYTES_MAX};

/// A request that must never be answered: it stands where only a confused reader finds it.
const SMUGGLED: &str = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";

/// Each of these is refused with one answer, whatever stands behind it, as the first request of a
/// connection and as a later one.
const REFUSED: [(&str, u16); 19] = [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("Content-Length: 0\r\nContent-Length: 40\r\n\r\n", 400),
    ("Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    ("Content-Length: 0, 0\r\n\r\n", 400),
    ("Content-Length: +0\r\n\r\n", 400),
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: identity\r\n\r\n", 400),
    ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("Content-Length: 0\n\r\n", 400),
    ("X: y\n\n", 400),
    ("X: y\r\n folded: z\r\n\r\n", 400),
    ("Host: b\r\n\r\n", 400),
    ("X: a\0b\r\n\r\n", 400),
    ("X: a\rb\r\n\r\n", 400),
    ("Content-Length: 99999999999999999999999\r\n\r\n", 413),
];

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_nothing_behind_it_is_read() {
    let stage = stage(settings());
    for (lines, status) in REFUSED {
        let bad = format!("POST /health HTTP/1.1\r\nHost: a\r\n{lines}{SMUGGLED}");
        let answers = stage.answers(bad.as_bytes()).await;
        assert_eq!(answers.len(), 1, "{lines:?}: {answers:?}");
        assert_eq!(answers[0].status, status, "{lines:?}");
        assert!(answers[0].closes(), "{lines:?}");

        let later = format!("GET /health HTTP/1.1\r\nHost: a\r\n\r\n{bad}");
        let answers = stage.answers(later.as_bytes()).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, status], "{lines:?}: the answer before it is not lost");
    }
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_connection() {
    let stage = stage(settings());
    for chunks in [
        "5\r\nab\r\n0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
        "2 \r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "2\r\nabcd\r\n0\r\n\r\n",
        "-2\r\n",
        "ffffffffffffffff1\r\nab",
    ] {
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {chunks}{SMUGGLED}"
        );
        let answers = stage.answers(request.as_bytes()).await;
        assert_eq!(answers.len(), 1, "{chunks:?}: {answers:?}");
        assert_eq!(answers[0].status, 400, "{chunks:?}");
        assert!(answers[0].closes(), "{chunks:?}");
    }
}

/// The bytes of a body are a body, whatever they look like.
#[tokio::test]
async fn a_request_within_a_body_is_no_request() {
    let stage = stage(settings());
    let length = SMUGGLED.len();
    let plain = format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
    );
    let chunked = format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         {length:x};name=value\r\n{SMUGGLED}\r\n0\r\nTrailer: x\r\n\r\n"
    );
    for request in [plain, chunked] {
        let two = request + "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let answers = stage.answers(two.as_bytes()).await;
        let seen: Vec<_> = answers.iter().map(|answer| (answer.status, &*answer.body)).collect();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!((seen[0].0, seen[1]), (400, (200, "{}")), "not JSON, then the next request");
    }
}

#[tokio::test]
async fn every_split_of_pipelined_requests_is_answered_alike() {
    let stage = stage(settings());
    let requests = "POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\n{\"c\r\n1A\r\nhannel\":\"news\",\"data\":[1]}\r\n0\r\n\r\n\
                    POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}\
                    GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut whole = None;
    for cut in 0..=requests.len() {
        let (head, tail) = requests.split_at(cut);
        // What a shard has read, and what is still in the socket.
        let mut client = stage.connect(head.as_bytes()).await;
        client.write_all(tail.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let answers = read_answers(&mut client).await;
        let seen: Vec<_> =
            answers.iter().map(|answer| (answer.status, answer.body.clone())).collect();
        assert_eq!(seen.len(), 3, "cut at {cut}: {seen:?}");
        assert_eq!(whole.get_or_insert_with(|| seen.clone()), &seen, "cut at {cut}");
    }
    assert_eq!(whole.unwrap()[0], (200, r#"{"result":{}}"#.to_owned()));
}

/// RFC 9110 §15.5.20: only a shard can upgrade, and this connection has left its shard.
#[tokio::test]
async fn an_upgrade_on_a_kept_connection_is_sent_back_for_a_new_one() {
    let stage = stage(settings());
    let upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = stage.connect(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(read_answer(&mut client).await.status, 200);
    client.write_all(format!("{upgrade}{SMUGGLED}").as_bytes()).await.unwrap();
    let answers = read_answers(&mut client).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].status, answers[0].closes()), (421, true));

    let answers = stage.answers(format!("{upgrade}{SMUGGLED}").as_bytes()).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].status, answers[0].closes()), (404, true), "no shard knew the path");
}

#[tokio::test]
async fn heads_and_bodies_over_their_limits_are_refused() {
    let stage = stage(settings());
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(stage.answer(&head).await.status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(64));
    assert_eq!(stage.answer(&many).await.status, 431);
    let declared = format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        HTTP_BODY_BYTES_MAX + 1
    );
    assert_eq!(stage.answer(&declared).await.status, 413);
    assert_eq!(stage.answer("GET / HTTP/2.0\r\nHost: a\r\n\r\n").await.status, 505);
    assert_eq!(stage.answer("GET / HTTP/1.1\r\n\r\n").await.status, 400);
}

/// A chunked body does not say how long it will be: it is cut off where it is too long.
#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused() {
    let stage = stage(settings());
    let head = b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = stage.connect(head).await;
    let (mut input, mut output) = client.split();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let sending = async {
        // The site stops reading soon after the limit; then writing fails, or waits for ever.
        for _ in 0..=HTTP_BODY_BYTES_MAX / 0x10000 {
            if output.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 12];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut input, &mut answer);
    tokio::select! {
        read = reading => assert_eq!(read.unwrap(), 12),
        () = sending => panic!("the connection ended without an answer"),
    }
    assert_eq!(answer, b"HTTP/1.1 413");
}
