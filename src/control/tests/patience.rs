//! How long a client is waited for. Time is stopped, and jumps to the next deadline when nothing
//! else can happen.

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{read_answer, read_answers, settings, stage};
use crate::limits::{
    HTTP_BODY_TIMEOUT, HTTP_HEAD_TIMEOUT, HTTP_IDLE_TIMEOUT, HTTP_WRITE_TIMEOUT, LINGER_PERIOD_MAX,
};

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_told_and_ended() {
    for head_timeout in [HTTP_HEAD_TIMEOUT, 10 * HTTP_HEAD_TIMEOUT] {
        let mut settings = settings();
        settings.head_timeout = head_timeout;
        let stage = stage(settings);
        let since = Instant::now();
        let mut client = stage.connect(b"GET /health HTTP/1.1\r\nHo").await;
        let answer = read_answer(&mut client).await;
        assert_eq!((answer.status, answer.closes()), (408, true));
        assert_eq!(read_answers(&mut client).await, []);
        assert!(since.elapsed() >= head_timeout);
    }
}

/// A byte now and then does not buy more time.
#[tokio::test(start_paused = true)]
async fn a_head_in_drops_has_the_time_of_a_head() {
    let stage = stage(settings());
    let since = Instant::now();
    let mut client = stage.connect(b"GET /health HTTP/1.1\r\nX: ").await;
    let dripping = async {
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(HTTP_HEAD_TIMEOUT / 10).await;
        }
    };
    tokio::time::timeout(2 * HTTP_HEAD_TIMEOUT, dripping).await.expect("the site ends it");
    assert!(since.elapsed() <= HTTP_HEAD_TIMEOUT + 2 * LINGER_PERIOD_MAX, "{:?}", since.elapsed());
}

/// The time of a head begins with its own first byte, also where that came with the end of the
/// head before it.
#[tokio::test(start_paused = true)]
async fn each_head_has_a_time_of_its_own() {
    let stage = stage(settings());
    let head = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let (half, rest) = head.split_at(20);
    let mut client = stage.connect(half.as_bytes()).await;
    let both = format!("{rest}{half}");
    for piece in [&both, &both, &both, rest] {
        tokio::time::sleep(HTTP_HEAD_TIMEOUT * 3 / 4).await;
        client.write_all(piece.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut client).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_ended_when_it_idles() {
    let stage = stage(settings());
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = stage.connect(request).await;
    for _ in 0..3 {
        assert_eq!(read_answer(&mut client).await.status, 200);
        tokio::time::sleep(HTTP_IDLE_TIMEOUT / 10 * 9).await;
        client.write_all(&request[..20]).await.unwrap();
        tokio::time::sleep(HTTP_HEAD_TIMEOUT * 3 / 4).await;
        client.write_all(&request[20..]).await.unwrap();
    }
    assert_eq!(read_answer(&mut client).await.status, 200);
    let since = Instant::now();
    assert_eq!(read_answers(&mut client).await, [], "ended without a word");
    let idle = since.elapsed().as_secs_f64() / HTTP_IDLE_TIMEOUT.as_secs_f64();
    assert!((0.9..1.1).contains(&idle), "{idle}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_told_and_ended() {
    let stage = stage(settings());
    let since = Instant::now();
    let head = "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{";
    let mut client = stage.connect(head.as_bytes()).await;
    let answers = read_answers(&mut client).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].status, answers[0].closes()), (408, true));
    assert!(since.elapsed() >= HTTP_BODY_TIMEOUT);
}

/// A client that asks and does not read is not waited for either.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_ended() {
    let mut settings = settings();
    settings.dev = true;
    let stage = stage(settings);
    let since = Instant::now();
    let requests = "GET /dev/centrifuge.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let mut client = stage.connect(requests.as_bytes()).await;
    // The answers fill the socket; only the site's end of it makes a write fail.
    let mut ended = false;
    for _ in 0..1000 {
        tokio::time::sleep(HTTP_WRITE_TIMEOUT / 10).await;
        ended = client.write_all(b"G").await.is_err();
        if ended {
            break;
        }
    }
    assert!(ended, "the site still holds the connection");
    assert!(since.elapsed() <= 3 * HTTP_WRITE_TIMEOUT, "{:?}", since.elapsed());
}
