//! What one client of the generator costs.
//!
//! Setup: a server in this process, and a generator on a thread whose allocations are counted, with
//! two numbers of sessions. Claim: each session more takes at most 150 bytes at the most, tokens,
//! handshakes and all that is under way included. A million of them share the host with the server
//! that they measure.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use longwire::SessionSettings;
use longwire::bench::session::{Scenario, SessionArgs, SessionPlan, measure};
use longwire::limits::BENCH_CLIENT_BYTES_MAX;
use longwire::protocol::Format;
use longwire::session::{ChannelOptions, Rules};
use longwire::token::{HmacKey, TokenRules};
use session::{config, serve, settings};

#[path = "support/session.rs"]
mod session;

/// The difference of two runs; the first has already all that a run has whatever its size.
const FEW: u32 = 1500;
const MANY: u32 = 4500;

thread_local! {
    /// Bytes that this thread holds now, and has held at the most.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn note(bytes: usize, sign: i64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let _thread_ends = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + sign * bytes;
        held.set((now, most.max(now)));
    });
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

/// The most that a run of so many sessions has held.
fn most_bytes(connections: u32) -> i64 {
    let mut config = config(1);
    config.max_connections = Some(MANY);
    let rules = Rules {
        token: TokenRules { key: HmacKey::new(b"secret"), ..TokenRules::default() },
        without_namespace: ChannelOptions {
            allow_subscribe_for_client: true,
            ..ChannelOptions::default()
        },
        ..Rules::default()
    };
    let server = serve(config, &SessionSettings { rules, ..settings() });
    let args = SessionArgs {
        scenario: Scenario::Idle,
        target: server.address(),
        path: "/connection/websocket".into(),
        format: Format::Json,
        connections,
        channels: 10,
        channel_prefix: "bench-".into(),
        rate: None,
        seconds: 1,
        size: 80,
        publishers: 1,
        publish_rate: None,
        churn_rate: None,
        missed: 0,
        publications: None,
        bare: false,
        echo_connections: 0,
        echo_rate: None,
        echo_seconds: 1,
        hmac_key: Some("secret".into()),
        server_pid: None,
        server_metrics: None,
        cpu: None,
        alpha: 1.0,
        memory_bytes_min: 0,
        deadline: Duration::from_mins(1),
    };
    let plan = SessionPlan::new(&args).expect("the arguments are good");
    // Counted from here on: what fits one descriptor table runs on the calling thread.
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let summary = measure(&plan).expect("it runs");
    assert_eq!(summary.ready, u64::from(connections), "{summary}");
    HELD.get().1 - before
}

#[test]
fn a_client_takes_at_most_150_bytes() {
    let (few, many) = (most_bytes(FEW), most_bytes(MANY));
    let each = (many - few) / i64::from(MANY - FEW);
    println!("{each} bytes each; {few} and {many} in all");
    assert!(each >= 40, "{each} bytes: the count is wrong, its state alone takes more");
    assert!(each <= i64::from(BENCH_CLIENT_BYTES_MAX), "{each} bytes each");
}
