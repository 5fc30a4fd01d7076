//! More connections than seats: who is kept, who is sent off, and that everybody is answered.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::scrape::{fetch, internal};
use super::{SEATS, Stage, read_answer, read_answers, settings, stage};
use crate::limits::{HTTP_HEAD_TIMEOUT, HTTP_NEWCOMERS_SHARE, HTTP_PRESSED_SHARE};

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

/// Connections that are kept without a word about it.
const AT_EASE: usize = SEATS - SEATS / HTTP_PRESSED_SHARE - 1;

/// Connections that idle side by side.
const IDLE_MAX: usize = SEATS - SEATS / HTTP_NEWCOMERS_SHARE;

/// So many connections that have been answered and were kept, in their order.
async fn idle(stage: &Stage, count: usize) -> Vec<UnixStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = stage.connect(REQUEST).await;
        assert!(!read_answer(&mut client).await.closes());
        clients.push(client);
    }
    clients
}

/// So many connections of which each has sent half a request.
async fn served(stage: &Stage, count: usize) -> Vec<UnixStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(stage.connect(HALF).await);
    }
    clients
}

const HALF: &[u8] = b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n{";
const OTHER_HALF: &[u8] = br#""channel":"a","data":1}"#;

/// Whether the site keeps it, which a request on it shows.
async fn is_kept(client: &mut UnixStream) -> bool {
    let mut byte = [0];
    client.write_all(REQUEST).await.is_ok() && matches!(client.read(&mut byte).await, Ok(1))
}

#[tokio::test]
async fn under_pressure_each_answer_is_the_last() {
    let stage = stage(settings());
    let mut kept = idle(&stage, AT_EASE).await;
    let mut pressed = stage.connect(REQUEST).await;
    assert!(read_answer(&mut pressed).await.closes());
    assert_eq!(read_answers(&mut pressed).await, []);
    assert!(is_kept(&mut kept[0]).await, "those who are there stay until they ask again");
}

/// Clients that keep their connections and say nothing take no seat from those who ask.
#[tokio::test]
async fn who_idles_longest_leaves_for_those_who_come() {
    let stage = stage(internal());
    let mut idle = idle(&stage, AT_EASE).await;
    // It asks again, and is not the one that idles longest any more.
    idle[0].write_all(REQUEST).await.unwrap();
    read_answer(&mut idle[0]).await;
    // It asks again, too, and is not answered yet.
    idle[1].write_all(&[REQUEST, HALF].concat()).await.unwrap();
    read_answer(&mut idle[1]).await;
    let mut served = served(&stage, IDLE_MAX - AT_EASE).await;
    let mut last = stage.connect(REQUEST).await;
    assert_eq!(read_answer(&mut last).await.status, 200);
    assert_eq!(read_answers(&mut idle[2]).await, [], "ended, and without a word");
    assert!(is_kept(&mut idle[0]).await && is_kept(&mut idle[3]).await);
    served.push(idle.swap_remove(1));
    for client in &mut served {
        client.write_all(OTHER_HALF).await.unwrap();
        assert_eq!(read_answer(client).await.status, 200, "nobody is ended within a request");
    }
    let (_, metrics) = fetch(&stage, "/metrics").await;
    assert!(metrics.contains("\nlongwire_http_evictions_total 1\n"), "{metrics}");
}

/// Half a head is no request, or a byte now and then would hold a seat.
#[tokio::test(start_paused = true)]
async fn half_a_request_holds_no_seat() {
    let stage = stage(settings());
    let mut idle = idle(&stage, 2).await;
    idle[0].write_all(&REQUEST[..9]).await.unwrap();
    // Time stands still until everybody waits: the site has read it then.
    tokio::time::sleep(HTTP_HEAD_TIMEOUT / 2).await;
    let _served = served(&stage, SEATS - 2).await;
    assert_eq!(read_answers(&mut idle[0]).await, []);
}
