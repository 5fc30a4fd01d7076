//! What a connected session costs before it subscribes.
//!
//! Setup: one shard whose thread counts the bytes it allocates and frees, and 4,000 sessions,
//! connected and idle, of nobody and of users. Claim: at most 250 bytes of user memory each, in all.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};

use longwire::{Server, Sessions};
use session::{Client, config, settings};

#[path = "support/session.rs"]
mod session;

const SESSIONS: u32 = 4000;
const BYTES_EACH_MAX: i64 = 250;

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that the shard's thread has allocated and not freed.
static BYTES: AtomicI64 = AtomicI64::new(0);

struct Counting;

fn note(bytes: usize, sign: i64) {
    if IS_SHARD.try_with(Cell::get).unwrap_or(false) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        BYTES.fetch_add(sign * bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(layout.size(), -1);
        // SAFETY: it was allocated by `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), -1);
        note(size, 1);
        // SAFETY: it was allocated by `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that each of many idle sessions takes; `user` names the user of each, or nobody.
fn bytes_each(user: fn(u32) -> String) -> i64 {
    let mut config = config(1);
    config.max_connections = Some(SESSIONS);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a block")];
    let mut settings = settings();
    settings.user_id_http_header = Some("X-User-ID".to_owned());
    settings.rules.user_connection_limit = 3;
    settings.configure(&mut config);
    let sessions = Sessions::for_shards(settings).expect("the settings are valid");
    let make = move |shard| {
        IS_SHARD.set(true);
        sessions(shard)
    };
    let server = Server::start(config, make).expect("it starts");
    server.snapshot().expect("it runs");
    let before = BYTES.load(Ordering::Relaxed);
    let connect = |number| {
        let mut client = Client::dial_with(server.address(), &[("X-User-ID", &user(number))]);
        client.send(r#"{"id":1,"connect":{}}"#);
        assert!(client.line().get("connect").is_some());
        client.into_stream()
    };
    let streams: Vec<TcpStream> = (0..SESSIONS).map(connect).collect();
    let snapshot = server.snapshot().expect("it runs");
    assert_eq!(snapshot.counters.client_connects, u64::from(SESSIONS));
    let each = (BYTES.load(Ordering::Relaxed) - before) / i64::from(SESSIONS);
    drop(streams);
    each
}

#[test]
fn a_connected_session_takes_at_most_250_bytes_before_it_subscribes() {
    let nobodys = bytes_each(|_| String::new());
    // Each has a user of its own, of 36 bytes, whose connections are counted.
    let users = bytes_each(|number| format!("{number:036}"));
    println!("{nobodys} bytes each, {users} of a user");
    let entry = "the count is wrong, an entry of the slab takes more";
    assert!(nobodys >= 64, "{nobodys} bytes each: {entry}");
    assert!(users >= nobodys + 2 * 36, "{users} bytes each: a user's name is there twice");
    assert!(users <= BYTES_EACH_MAX, "{users} bytes each");
}
