//! What a session costs: connected, subscribed, and present in its channel.
//!
//! Setup: one shard whose thread counts the bytes it allocates and frees, and 4,000 idle sessions,
//! of nobody and of users. Claims: at most 250 bytes of user memory each, in all, before they
//! subscribe. With a user of 24 bytes and one subscription each, at most 320 in channels of 16, and
//! 480 in one of its own; where they are present there, at most 128 more, and 160 alone, with the
//! channel's name once more.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use longwire::session::ChannelOptions;
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

/// The count is one for all tests of this process, so they follow one another.
static ALONE: Mutex<()> = Mutex::new(());

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

/// Bytes that each of many idle sessions takes; `user` names the user of each, or nobody, and
/// `channel` the channel that it subscribes to, if it does.
fn bytes_each(
    user: fn(u32) -> String,
    channel: Option<fn(u32) -> String>,
    options: ChannelOptions,
) -> i64 {
    let mut config = config(1);
    config.max_connections = Some(SESSIONS);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a block")];
    let mut settings = settings();
    settings.user_id_http_header = Some("X-User-ID".to_owned());
    settings.rules.user_connection_limit = 3;
    settings.rules.without_namespace = options;
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
        if let Some(channel) = channel {
            client.subscribe(&channel(number));
        }
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
    let _alone = ALONE.lock();
    let options = ChannelOptions::default;
    let nobodys = bytes_each(|_| String::new(), None, options());
    // Each has a user of its own, of 36 bytes, whose connections are counted.
    let users = bytes_each(|number| format!("{number:036}"), None, options());
    println!("{nobodys} bytes each, {users} of a user");
    let entry = "the count is wrong, an entry of the slab takes more";
    assert!(nobodys >= 64, "{nobodys} bytes each: {entry}");
    assert!(users >= nobodys + 2 * 36, "{users} bytes each: a user's name is there twice");
    assert!(users <= BYTES_EACH_MAX, "{users} bytes each");
}

#[test]
fn a_subscription_and_presence_take_what_they_may() {
    let _alone = ALONE.lock();
    let user = |number| format!("{number:024}");
    let of_many: fn(u32) -> String = |number| format!("news{:04}", number % 250);
    let personal: fn(u32) -> String = |number| format!("user{number:06}");
    let plain = ChannelOptions::default();
    let present = ChannelOptions { presence: true, ..plain };
    for (channel, bytes_max, more_max) in [(of_many, 320, 128), (personal, 480, 160)] {
        let subscribed = bytes_each(user, Some(channel), plain);
        let there = bytes_each(user, Some(channel), present);
        println!("{subscribed} bytes each, {} more if present", there - subscribed);
        assert!(subscribed <= bytes_max, "{subscribed} bytes each");
        assert!(there - subscribed >= 64, "{there} bytes each, and nobody is there");
        assert!(there - subscribed <= more_max, "{} more if present", there - subscribed);
    }
}
