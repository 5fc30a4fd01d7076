//! Pages, health, ids, the end: what a request is answered with when nothing is wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt as _;

use super::{
    Arrival, Shards, Side, Snapshot, read_answer, read_answers, settings, stage, stage_with,
};
use crate::address::{OtherEnd, SocketPeer};
use crate::limits::HTTP_STOP_TIMEOUT;

#[tokio::test]
async fn health_is_an_empty_object() {
    let stage = stage(settings());
    let answer = stage.get("/health").await;
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(stage.get("/health/live").await.status, 200);
    let ready = stage.get("/health/ready").await;
    assert_eq!((ready.status, &*ready.body), (200, r#"{"ready":true,"reasons":[]}"#));
}

#[tokio::test]
async fn readiness_says_why_not() {
    let held = Snapshot { shard_connections: vec![2, 1], ..Snapshot::default() };
    let mut full = settings();
    full.connections_max = 3;
    let stage = stage_with(full, Shards::Answer(Box::new(held)));
    stage.stop.send(true).unwrap();
    let ready = stage.get("/health/ready").await;
    let reasons = r#"["the server is stopping","every connection is taken"]"#;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, format!(r#"{{"ready":false,"reasons":{reasons}}}"#));
    assert!(ready.closes(), "a stopping server keeps no connection");
}

/// The shards would not say so in time: they stand still, and are busy with that.
#[tokio::test]
async fn readiness_says_that_another_process_takes_over_without_asking_the_shards() {
    let stage = stage_with(settings(), Shards::Mute);
    stage.crossing.set(Side::Still);
    let ready = stage.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, r#"{"ready":false,"reasons":["handing over"]}"#);
    assert_eq!(stage.get("/health/live").await.status, 200, "the process lives");
}

#[tokio::test(start_paused = true)]
async fn a_mute_shard_is_told_in_time() {
    let stage = stage_with(settings(), Shards::Mute);
    let ready = stage.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, r#"{"ready":false,"reasons":["a shard does not answer"]}"#);
    assert_eq!(stage.get("/health/live").await.status, 200, "the process lives");
    let publish = stage.post("/api/publish", "", r#"{"channel":"a","data":1}"#).await;
    assert!(publish.body.contains(r#""code":100"#), "{publish:?}");
    assert!(stage.post("/api/info", "", "{}").await.body.contains(r#""code":100"#));
}

#[tokio::test]
async fn unknown_paths_are_not_found_and_operators_pages_not_public() {
    let stage = stage(settings());
    for path in ["/x", "/metrics", "/debug", "/dev/app.js", "/dev/counters", "/health/"] {
        assert_eq!(stage.get(path).await.status, 404, "{path}");
    }
    let root = stage.get("/").await;
    assert_eq!(
        (root.status, root.header("content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    assert_eq!(root.body.lines().count(), 1);
}

#[tokio::test]
async fn the_page_of_dev_needs_nothing_from_elsewhere() {
    let mut settings = settings();
    settings.dev = true;
    settings.websocket_path = "/ws".to_owned();
    let held = Snapshot { shard_connections: vec![2, 1], open: 3, ..Snapshot::default() };
    let stage = stage_with(settings, Shards::Answer(Box::new(held)));
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", "open to everybody"),
        ("/dev/app.css", "text/css; charset=utf-8", ".banner"),
        ("/dev/app.js", "text/javascript; charset=utf-8", "new Centrifuge"),
        ("/dev/settings.js", "text/javascript; charset=utf-8", r#"WEBSOCKET_PATH = "/ws";"#),
        ("/dev/centrifuge.js", "text/javascript; charset=utf-8", "globalThis.Centrifuge"),
        ("/dev/centrifuge.LICENSE", "text/plain; charset=utf-8", "MIT License"),
    ] {
        let answer = stage.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        assert!(answer.body.contains(part), "{path} has {part}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let page = stage.get("/").await.body;
    assert!(!page.contains("://") && !page.contains("<script>") && !page.contains("<style"));
    let counters = stage.get("/dev/counters").await;
    let counters: serde_json::Value = serde_json::from_str(&counters.body).unwrap();
    assert_eq!((&counters["shards"], &counters["open"]), (&[2, 1].into(), &3.into()));
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let stage = stage(settings());
    let given = "GET /health HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc-123\r\n\r\n";
    assert_eq!(stage.answer(given).await.header("x-request-id"), Some("abc-123"));
    let made = stage.get("/health").await;
    let made = made.header("x-request-id").unwrap();
    assert_eq!(made.len(), 32);
    assert_ne!(Some(made), stage.get("/health").await.header("x-request-id"));
}

#[tokio::test]
async fn connections_are_kept_as_the_client_asks() {
    let stage = stage(settings());
    let one = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(stage.answers(one.repeat(50).as_bytes()).await.len(), 50);
    let last = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(stage.answers(format!("{last}{one}").as_bytes()).await.len(), 1);
    let old = "GET /health HTTP/1.0\r\n\r\n";
    let mut client = stage.connect(old.as_bytes()).await;
    assert_eq!(read_answers(&mut client).await.len(), 1, "the site closes");
    // A HEAD's answer states the length of what it leaves out.
    let mut client = stage.connect(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.shutdown().await.unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
}

/// A seat is given back when its connection has ended, not before and not never.
#[tokio::test]
async fn a_seat_is_given_back_with_its_connection() {
    struct Seat(Arc<AtomicBool>);
    impl Drop for Seat {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let stage = stage(settings());
    let back = Arc::new(AtomicBool::new(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (mut client, accepted) = tokio::try_join!(connecting, listener.accept()).unwrap();
    let arrival = Arrival {
        socket: accepted.0.into_std().unwrap().into(),
        other_end: OtherEnd::itself(SocketPeer::Internet(accepted.1)),
        bytes: b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        seat: Box::new(Seat(Arc::clone(&back))),
    };
    stage.arrivals.send(arrival).await.unwrap();
    let mut answer = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(!back.load(Ordering::SeqCst), "the connection is kept");
    client.shutdown().await.unwrap();
    while !back.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_site_answers_what_was_asked_and_ends() {
    let stage = stage(settings());
    let mut idle = stage.connect(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(read_answer(&mut idle).await.status, 200);
    let half = b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n{";
    let mut asking = stage.connect(half).await;
    stage.stop.send(true).unwrap();
    assert_eq!(read_answers(&mut idle).await, [], "idle connections end at once");
    asking.write_all(br#""channel":"a","data":1}"#).await.unwrap();
    let answers = read_answers(&mut asking).await;
    assert_eq!((answers.len(), answers[0].status), (1, 200));
    assert!(answers[0].closes());
    drop(stage.arrivals);
    tokio::time::timeout(HTTP_STOP_TIMEOUT, stage.serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_does_not_keep_the_site() {
    let stage = stage(settings());
    let half = b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n{";
    let _asking = stage.connect(half).await;
    stage.stop.send(true).unwrap();
    drop(stage.arrivals);
    let since = tokio::time::Instant::now();
    stage.serving.await.unwrap();
    assert!(since.elapsed() <= HTTP_STOP_TIMEOUT + HTTP_STOP_TIMEOUT / 2);
}
