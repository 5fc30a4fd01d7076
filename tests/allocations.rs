//! Messages cost no allocation.
//!
//! Setup: one shard, and an allocator that counts what its thread asks for. Claim: once the queues
//! of the shard have grown to their size, 10,000 echoes allocate nothing at all.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::{Client, config, message};
use longwire::config::Executor;
use longwire::{Config, Handler, Message, Peer, Request, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn note() {
    if IS_SHARD.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: it was allocated by `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: it was allocated by `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        peer.send(message).expect("this client reads");
    }
}

#[test]
fn ten_thousand_echoes_allocate_nothing() {
    const CLIENTS: usize = 50;
    const WINDOW: usize = 20;
    const ROUNDS: usize = 10;
    // What grows doubles, so it is done with after a few; what each message costs never is.
    const ATTEMPTS: usize = 30;
    let make = |_shard| {
        IS_SHARD.set(true);
        Echo
    };
    let config = Config { executor: Executor::Thread, ..config(1, 100) };
    let server = Server::start(config, make).expect("starts");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address())).collect();
    let window = message("20 bytes of payload!").repeat(WINDOW);
    let mut ten_thousand = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            for client in &mut clients {
                client.write(&window);
            }
            for client in &mut clients {
                (0..WINDOW).for_each(|_| assert_eq!(client.text(), "20 bytes of payload!"));
            }
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let allocated: Vec<_> = (0..ATTEMPTS).map(|_| ten_thousand()).take_while(|&n| n > 0).collect();
    assert!(allocated.len() < ATTEMPTS, "allocations of each 10,000: {allocated:?}");
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "it counts");
}
