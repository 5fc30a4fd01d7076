//! Slow work leaves the loop, and panics stay with whom they happened to.
//!
//! Setup: one shard, so that everybody shares a loop; jobs wait at gates that the test opens.
//! Claims: others echo while all threads of the pool are busy; jobs of those who left are
//! cancelled; a full pool, a panicked job and a panicked handler cost their connection at most.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use fleet::{Client, config, wait_for, wait_until_empty};
use longwire::{Cancelled, Config, Handler, JobPanicked, Message, OffloadError, Peer, Request};
use longwire::{Closed, Running, Server, Shard, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

/// What the test and the jobs share.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    running: AtomicU64,
    ran: AtomicU64,
    done: AtomicU64,
    saw_cancel: AtomicBool,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().expect("no panic") = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().expect("no panic");
        drop(self.opened.wait_while(open, |open| !*open).expect("no panic"));
    }
}

struct Slow {
    gate: Arc<Gate>,
}

impl Handler for Slow {
    type Connection = String; // the path

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        assert_ne!(request.path(), "/panic-upgrade");
        Upgrade::accept(request.path().to_owned())
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        assert_ne!(peer.state().expect("open"), "/panic-open");
        if peer.state().expect("open") == "/panic-missed" {
            peer.join("crowded").expect("there is room");
        }
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let gate = Arc::clone(&self.gate);
        match message.as_text().expect("text") {
            "wait" => {
                let job = move |cancelled: &Cancelled| {
                    gate.running.fetch_add(1, Ordering::SeqCst);
                    gate.pass();
                    gate.saw_cancel.fetch_or(cancelled.is_cancelled(), Ordering::SeqCst);
                    gate.ran.fetch_add(1, Ordering::SeqCst);
                };
                let done = |slow: &mut Self, peer: &mut Peer<'_, Self>, _: Result<(), _>| {
                    slow.gate.done.fetch_add(1, Ordering::SeqCst);
                    peer.send(Message::text("done")).expect("this client reads");
                };
                if let Err(error) = peer.offload(job, done) {
                    assert_eq!(error, OffloadError::Full);
                    peer.send(Message::text("full")).expect("this client reads");
                }
            }
            "panic in a job" => {
                let done = |_: &mut Self, peer: &mut Peer<'_, Self>, result| {
                    assert_eq!(result, Err::<(), _>(JobPanicked));
                    peer.send(Message::text("it panicked")).expect("this client reads");
                };
                peer.offload(|_| panic!("as asked"), done).expect("there is room");
            }
            "panic" => panic!("as asked"),
            "crowd" => (0..5000).for_each(|_| {
                let _refused_when_full = peer.publish("crowded", Message::text("more"));
            }),
            "stall" => std::thread::sleep(std::time::Duration::from_millis(50)),
            text => peer.send(Message::text(text)).expect("this client reads"),
        }
    }

    fn close(&mut self, _shard: &mut Shard<'_, Self>, path: String, _closed: &Closed) {
        assert_ne!(path, "/panic-close");
    }

    fn missed(&mut self, _peer: &mut Peer<'_, Self>, _channel: &str, _count: u64) {
        panic!("as asked");
    }
}

fn server(threads: usize, queue: usize) -> (Running, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let shared = Arc::clone(&gate);
    let make = move |_shard| Slow { gate: Arc::clone(&shared) };
    let config = Config { offload_threads: threads, offload_queue: queue, ..config(1, 100) };
    (Server::start(config, make).expect("starts"), gate)
}

fn wait_until_running(server: &Running, gate: &Gate, count: u64) {
    wait_for(server, "jobs on the pool", |_| gate.running.load(Ordering::SeqCst) == count);
}

#[test]
fn others_echo_while_the_pool_is_busy() {
    let (server, gate) = server(4, 100);
    let mut waiting: Vec<_> = (0..30).map(|_| Client::connect(server.address())).collect();
    for client in &mut waiting {
        client.send("wait");
    }
    wait_until_running(&server, &gate, 4);
    let mut others: Vec<_> = (0..3).map(|_| Client::connect(server.address())).collect();
    for client in &mut others {
        client.echo(1000);
    }
    assert_eq!(gate.ran.load(Ordering::SeqCst), 0, "all echoes were faster than any job");
    gate.open();
    for client in &mut waiting {
        assert_eq!(client.text(), "done");
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.jobs_started, counters.jobs_cancelled), (30, 0));
}

#[test]
fn a_full_pool_says_so_and_jobs_of_those_who_left_are_cancelled() {
    let (server, gate) = server(1, 1);
    let mut runs = Client::connect(server.address());
    runs.send("wait");
    wait_until_running(&server, &gate, 1);
    let mut waits = Client::connect(server.address());
    waits.send("wait");
    wait_for(&server, "a job in the queue", |now| now.counters.jobs_started == 2);
    let mut third = Client::connect(server.address());
    assert_eq!(third.ask_text("wait"), "full");
    drop((runs, waits));
    let counters = wait_for(&server, "cancelled", |now| now.counters.jobs_cancelled == 2).counters;
    assert_eq!((counters.jobs_started, counters.jobs_refused), (2, 1));
    gate.open();
    wait_for(&server, "the running one", |_| gate.ran.load(Ordering::SeqCst) == 1);
    // The cancelled one keeps its place until the pool's thread comes by and drops it.
    let deadline = Instant::now() + fleet::PATIENCE;
    let answer = loop {
        let answer = third.ask_text("wait");
        if answer != "full" || Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!(answer, "done");
    assert!(gate.saw_cancel.load(Ordering::SeqCst), "the running one could see it");
    let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
    assert_eq!((count(&gate.ran), count(&gate.done)), (2, 1), "the waiting one never ran");
}

#[test]
fn a_panic_costs_one_connection() {
    let (server, _gate) = server(1, 10);
    let address = server.address();
    let mut other = Client::connect(address);
    assert_eq!(other.ask_text("panic in a job"), "it panicked");
    let mut refused = Client::dial(address);
    refused.ask("/panic-upgrade");
    assert!(refused.head().expect("an answer").starts_with("HTTP/1.1 500 "));
    assert_eq!(Client::connect_to(address, "/panic-open").closed(), Some(1011));
    let mut panics = Client::connect(address);
    panics.send("panic");
    assert_eq!(panics.closed(), Some(1011));
    let mut misses = Client::connect_to(address, "/panic-missed");
    other.send("crowd");
    assert_eq!(misses.closed(), Some(1011));
    Client::connect_to(address, "/panic-close").reset();
    wait_for(&server, "all five", |now| now.counters.handler_panics == 5);
    other.send("stall");
    other.echo(100);
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.closed_panic, 3);
    assert!(counters.stalls > 0, "the handler held the loop");
    drop((other, refused, panics, misses));
    wait_until_empty(&server);
    assert_eq!(server.join().shards_lost, 0);
}
