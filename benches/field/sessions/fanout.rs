//! CPU of the server for each delivery of a publication to many sessions, beside the raw broadcast
//! of frames of the same length, in turns; then with several publications in flight.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use clap::Args;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::server::Server;
use super::wire::Wire;
use super::{Bench, median};

#[derive(Args)]
pub(crate) struct FanOutArgs {
    /// Sessions in the channel
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// Pairs of runs
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Publications of one run, one after the other
    #[arg(long, default_value_t = 40)]
    publications: u32,
    /// Publications in flight in the last run
    #[arg(long, default_value_t = 16)]
    in_flight: u32,
    /// Characters that are published
    #[arg(long, default_value_t = 64)]
    characters: usize,
}

/// The bars: times the raw fan-out, and microseconds of a delivery with many in flight.
const RATIO_MAX: f64 = 1.1;
const IN_FLIGHT_US_MAX: f64 = 0.7;

/// One server with its members and somebody who publishes.
struct Side {
    server: Server,
    /// Deliveries so far, to all members.
    heard: Rc<Cell<u64>>,
    news: Rc<Notify>,
    members: JoinSet<io::Result<()>>,
    publisher: Wire,
    kind: Kind,
    characters: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Raw,
    Session,
}

pub(crate) async fn run(bench: &Bench, args: &FanOutArgs) -> io::Result<bool> {
    let mut raw = Side::new(bench, args, Kind::Raw).await?;
    let mut sessions = Side::new(bench, args, Kind::Session).await?;
    let (mut raw_us, mut sessions_us) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        raw_us.push(raw.publish(args.publications, 1).await?);
        sessions_us.push(sessions.publish(args.publications, 1).await?);
    }
    let ratios: Vec<f64> = raw_us.iter().zip(&sessions_us).map(|(raw, one)| one / raw).collect();
    let ratio = median(ratios.clone());
    println!("raw broadcast, CPU for a delivery: {:.2} us {raw_us:.2?}", median(raw_us.clone()));
    println!("sessions: {:.2} us {sessions_us:.2?}", median(sessions_us.clone()));
    println!("sessions / raw: {ratio:.2} {ratios:.2?} (at most {RATIO_MAX})");
    let mut burst_us = Vec::new();
    for _ in 0..args.rounds {
        burst_us.push(sessions.publish(args.publications, args.in_flight).await?);
    }
    let burst = median(burst_us.clone());
    let in_flight = args.in_flight;
    println!("{in_flight} in flight: {burst:.2} us {burst_us:.2?} (at most {IN_FLIGHT_US_MAX})");
    Ok(ratio <= RATIO_MAX && burst <= IN_FLIGHT_US_MAX)
}

impl Side {
    async fn new(bench: &Bench, args: &FanOutArgs, kind: Kind) -> io::Result<Self> {
        let server = bench.on_server_core(|| match kind {
            Kind::Raw => Server::start_raw(&bench.binary),
            Kind::Session => Server::start(&bench.binary, &[("LONGWIRE_SHARDS", "1")]),
        })?;
        let (heard, news) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let mut members = JoinSet::new();
        for _ in 0..args.sessions {
            let mut wire = connect(&server, kind).await?;
            if kind == Kind::Session {
                let reply = wire.ask(r#"{"id":2,"subscribe":{"channel":"many"}}"#).await?;
                assert_eq!(reply, br#"{"id":2,"subscribe":{}}"#);
            }
            members.spawn_local(listen(wire, Rc::clone(&heard), Rc::clone(&news)));
        }
        let publisher = connect(&server, kind).await?;
        let characters = args.characters;
        Ok(Self { server, heard, news, members, publisher, kind, characters })
    }

    /// Publishes so often, with so many in flight; microseconds of the server's CPU for a delivery.
    async fn publish(&mut self, count: u32, in_flight: u32) -> io::Result<f64> {
        let (cpu, heard) = (self.server.cpu_seconds()?, self.heard.get());
        let member_count = self.members.len() as u64;
        let mut deliveries = 0;
        for _ in 0..count.div_ceil(in_flight) {
            self.say(in_flight).await?;
            deliveries += u64::from(in_flight) * member_count;
            while self.heard.get() < heard + deliveries {
                self.news.notified().await;
            }
        }
        let cpu = self.server.cpu_seconds()? - cpu;
        #[expect(clippy::cast_precision_loss, reason = "millions")]
        Ok(1e6 * cpu / deliveries as f64)
    }

    /// Publishes several at once, and waits for what the publisher itself is told.
    async fn say(&mut self, count: u32) -> io::Result<()> {
        let data = "x".repeat(self.characters);
        if self.kind == Kind::Raw {
            let message = pushed(&data);
            for _ in 0..count {
                self.publisher.say(&message).await?;
            }
            for _ in 0..count {
                self.publisher.message().await?; // it is a member itself
            }
            return Ok(());
        }
        let publish =
            |id| format!(r#"{{"id":{id},"publish":{{"channel":"many","data":"{data}"}}}}"#);
        let lines: Vec<String> = (1..=count).map(publish).collect();
        self.publisher.say(&lines.join("\n")).await?;
        let mut replies = 0;
        while replies < count as usize {
            replies += self.publisher.message().await?.split(|byte| *byte == b'\n').count();
        }
        Ok(())
    }
}

/// What members of the channel are sent of it: raw messages are as long.
fn pushed(data: &str) -> String {
    let client = "00000000-0000-4000-8000-000000000000";
    format!(
        r#"{{"push":{{"channel":"many","pub":{{"data":"{data}","info":{{"user":"","client":"{client}"}}}}}}}}"#
    )
}

async fn connect(server: &Server, kind: Kind) -> io::Result<Wire> {
    match kind {
        Kind::Raw => Wire::open(server.address, "/").await,
        Kind::Session => Wire::session(server.address).await,
    }
}

/// Counts what a member is sent.
async fn listen(mut wire: Wire, heard: Rc<Cell<u64>>, news: Rc<Notify>) -> io::Result<()> {
    loop {
        let message = wire.message().await?;
        assert!(message.starts_with(br#"{"push":"#), "nobody pings here");
        heard.set(heard.get() + 1);
        news.notify_one();
    }
}
