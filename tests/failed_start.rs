//! A start that fails leaves nothing behind.
//!
//! Setup: servers that cannot start, each for a reason that only its shards' threads find out, and
//! an application that takes its time to end. Claim: the cause is returned, and by then every
//! instance of the application has ended with its thread: nothing holds a port, a ring or a file
//! behind the caller's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleet::config;
use longwire::{
    Config, Handler, Limits, Message, Peer, Request, Route, Routes, Server, StartError, Upgrade,
};

#[path = "support/fleet.rs"]
mod fleet;

/// Instances that were made and that have not ended.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn make(&self) -> Greedy {
        self.0.fetch_add(1, Ordering::SeqCst);
        Greedy(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct Greedy(Alive);

impl Drop for Greedy {
    fn drop(&mut self) {
        // Long enough for a start that does not wait to return before.
        std::thread::sleep(Duration::from_millis(100));
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Greedy {
    type Connection = ();

    fn routes(&mut self) -> Routes {
        let limits = Limits { message_bytes_max: 1 << 20, ..Limits::default() };
        Routes::new().route(Route::new("/*").limits(limits))
    }

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, _peer: &mut Peer<'_, Self>, _message: Message<'_>) {}
}

#[test]
fn budgets_that_a_route_does_not_fit_into_are_refused_and_nothing_goes_on() {
    let alive = Alive::default();
    let (made, small) = (alive.clone(), Config { partial_bytes_max: 1 << 20, ..config(4, 100) });
    let error = Server::start(small, move |_shard| made.make()).expect_err("too little for each");
    let StartError::Config(error) = error else { panic!("{error}") };
    assert_eq!((error.key, error.min), ("partial_bytes_max", 4 << 20));
    assert_eq!(alive.count(), 0);
}

#[test]
fn when_one_shard_fails_the_others_end() {
    let alive = Alive::default();
    let made = alive.clone();
    let one_fails = move |shard| if shard == 3 { panic!("as asked") } else { made.make() };
    let error = Server::start(config(4, 100), one_fails).expect_err("a shard is missing");
    assert!(matches!(error, StartError::ShardLost), "{error}");
    assert_eq!(alive.count(), 0);
}

#[test]
fn what_starts_has_an_instance_on_each_shard_until_it_stops() {
    let alive = Alive::default();
    let made = alive.clone();
    let server = Server::start(config(4, 100), move |_shard| made.make()).expect("starts");
    assert_eq!(alive.count(), 4);
    server.join();
    assert_eq!(alive.count(), 0);
}
