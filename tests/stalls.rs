//! A handler that holds the loop is named, whichever of its calls does it.
//!
//! Setup: one shard with a threshold of a second, whose handler holds the loop for longer in one of its
//! calls, and a subscriber that keeps the warnings. Claims: each stall is counted once, and
//! its warning names the step of the loop it came from; calls that return at once are no stalls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::{Client, config, message, wait_for};
use longwire::{
    Closed, Config, Handler, Limits, Message, Peer, Request, Route, Routes, Server, Shard, Upgrade,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

#[path = "support/fleet.rs"]
mod fleet;

const THRESHOLD: Duration = Duration::from_secs(1);

/// The steps that the warnings named, with how often.
type Steps = Arc<Mutex<BTreeMap<String, u64>>>;

/// Keeps the step of each warning that has one.
struct Warnings(Steps);

struct StepOf(Option<String>);

impl Visit for StepOf {
    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            self.0 = Some(value.to_owned());
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut step = StepOf(None);
        event.record(&mut step);
        if let Some(step) = step.0 {
            *self.0.lock().expect("no panic").entry(step).or_default() += 1;
        }
    }
}

fn hold() {
    std::thread::sleep(THRESHOLD + THRESHOLD / 4);
}

struct Holds;

impl Handler for Holds {
    type Connection = String; // the path

    fn routes(&mut self) -> Routes {
        let limits = Limits { idle: Some(Duration::from_millis(100)), ..Limits::default() };
        let idle = Route::new("/idle").limits(limits);
        Routes::new().route(idle).route(Route::new("/*"))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        Upgrade::accept(request.path().to_owned())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        match message.as_text().expect("text") {
            "hold" => hold(),
            "hold in a job's end" => {
                let done = |_: &mut Self, peer: &mut Peer<'_, Self>, _| {
                    hold();
                    peer.send(Message::text("done")).expect("this client reads");
                };
                peer.offload(|_| (), done).expect("there is room");
            }
            "crowd" => {
                peer.join("crowded").expect("there is room");
                // More than a member may fall behind by, so that it is told what it missed.
                (0..5000).for_each(|_| {
                    let _refused_when_full = peer.publish("crowded", Message::text("more"));
                });
            }
            text => peer.send(Message::text(text)).expect("this client reads"),
        }
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, channel: &str, _count: u64) {
        hold();
        peer.leave(channel);
    }

    fn close(&mut self, _shard: &mut Shard<'_, Self>, path: String, _closed: &Closed) {
        if path != "/" {
            hold();
        }
    }
}

#[test]
fn each_step_that_held_the_loop_is_named_and_counted() {
    let steps = Steps::default();
    let subscriber = tracing_subscriber::registry().with(Warnings(Arc::clone(&steps)));
    tracing::subscriber::set_global_default(subscriber).expect("the only test here");
    let config = Config { stall_threshold: THRESHOLD, ..config(1, 100) };
    let server = Server::start(config, |_shard| Holds).expect("starts");
    let stalls = |count: u64| {
        let snapshot = wait_for(&server, "a stall", |now| now.counters.stalls >= count);
        assert_eq!(snapshot.counters.stalls, count);
    };
    let mut other = Client::connect(server.address());
    other.echo(100);
    stalls(0);
    // The job ends, and a third one's message comes, while the loop is held: both are looked at
    // in the next turn, where the job's stall is not the message's.
    let mut third = Client::connect(server.address());
    other.write(&[message("hold in a job's end"), message("hold")].concat());
    assert_eq!(third.ask_text("meanwhile"), "meanwhile");
    assert_eq!(other.text(), "done");
    stalls(2);
    let mut idle = Client::connect_to(server.address(), "/idle");
    assert_eq!(idle.closed(), Some(1001));
    stalls(3);
    other.send("crowd");
    stalls(4);
    drop((other, third, idle));
    let mut last = Client::connect_to(server.address(), "/stop");
    wait_for(&server, "it alone is there", |now| (now.connections, now.open) == (1, 1));
    server.stop();
    assert_eq!(last.closed(), Some(1001));
    drop(last);
    assert_eq!(server.join().counters.stalls, 5);
    let named = ["deadline", "fan-out", "job", "message", "stop"].map(|step| (step.to_owned(), 1));
    assert_eq!(*steps.lock().expect("no panic"), BTreeMap::from(named));
}
