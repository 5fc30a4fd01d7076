//! Runs over connections that stand: idle, echo and fan-out.
//!
//! ```text
//!   memory ─▶ connect all ─▶ settle ─▶ memory ─▶ warm up ─▶ measure ─▶ drain
//!                                                   CPU ─▶│◀── CPU
//! ```

use std::io;
use std::time::Duration;

use super::BenchError;
use super::clients::{Break, Clients, Heard, Listener, Speaker};
use super::failures::Failures;
use super::fleet;
use super::gate::Pass;
use super::meter::Meter;
use super::plan::Plan;
use super::report::{Findings, ServerCost};
use super::share::Share;
use super::traffic::Traffic;
use crate::limits;
use crate::sys::clock;
use crate::ws::MessageKind;

/// Answers arrivals by what the traffic makes of them.
struct Conversation {
    traffic: Traffic,
    payload: Vec<u8>,
    connected: u64,
}

impl Conversation {
    /// Sends all that `origin` may send now.
    fn send(&mut self, origin: u32, now: Duration, speaker: &mut Speaker) -> io::Result<()> {
        while self.traffic.may_send(origin) {
            self.payload.clear();
            self.traffic.payload(origin, now, &mut self.payload);
            speaker.text(origin, &self.payload)?;
        }
        Ok(())
    }
}

impl Listener for Conversation {
    fn hear(
        &mut self,
        slot: u32,
        heard: Heard<'_>,
        now: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()> {
        match heard {
            Heard::Open => self.connected += 1,
            Heard::Failed => self.traffic.never_stood(slot),
            Heard::Message(MessageKind::Text, payload) => {
                if let Some(origin) = self.traffic.arrive(slot, payload, now) {
                    self.send(origin, now, speaker)?;
                }
            }
            // We send text only.
            Heard::Message(MessageKind::Binary, _) => self.traffic.tally.corrupt += 1,
            Heard::Broken(how) => {
                self.traffic.tally.corrupt += u64::from(how == Break::Corrupt);
                self.traffic.leave(slot);
            }
            Heard::Free => {}
        }
        Ok(())
    }
}

/// What one thread has found.
struct Part {
    measured: Duration,
    connected: u64,
    failures: Failures,
    traffic: Traffic,
    generator_time: Duration,
    server: Option<ServerCost>,
}

/// Runs `plan` to its end, a thread for each share.
pub(super) fn measure(plan: &Plan, shares: &[Share]) -> Result<Findings, BenchError> {
    // What one descriptor table holds takes no host's memory.
    let memory_bytes_min = if shares.len() > 1 { limits::BENCH_MEMORY_BYTES_MIN } else { 0 };
    let mut parts = fleet::run(shares, memory_bytes_min, |share, pass| {
        // Probes go with runs that are not shared.
        let plan = if share.of == 1 { plan.clone() } else { plan.share(share) };
        measure_share(&plan, share, pass)
    })?
    .into_iter();
    let mut sum = parts.next().expect("there is at least one share");
    for part in parts {
        sum.add(&part);
    }
    let Part { traffic, .. } = sum;
    Ok(Findings {
        kind: plan.kind,
        bare: plan.bare,
        measured: sum.measured,
        connected: sum.connected,
        failures: sum.failures,
        messages: traffic.messages,
        latency: traffic.latency.summary(),
        probe_latency: traffic.probe_latency.summary(),
        tally: traffic.tally,
        generator_time: sum.generator_time,
        server: sum.server,
    })
}

impl Part {
    fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.failures.add(&other.failures);
        self.traffic.messages += other.traffic.messages;
        self.traffic.tally.add(&other.traffic.tally);
        self.traffic.latency.add(&other.traffic.latency);
        self.generator_time += other.generator_time;
    }
}

/// Runs one thread's share. The first thread also reads what the run costs the server.
fn measure_share(plan: &Plan, share: Share, pass: &mut Pass<'_>) -> Result<Part, BenchError> {
    let mut meter = Meter::new(plan.server_pid.filter(|_| share.leads()))?;
    let mut clients = Clients::new(plan.terms(clock::now()))?;
    let mut talk = Conversation { traffic: Traffic::new(plan), payload: Vec::new(), connected: 0 };
    meter.before_connections()?;
    wait_for_all(&mut clients, &mut talk, pass)?;
    connect_all(plan, share, &mut clients, &mut talk, pass)?;
    wait_for_all(&mut clients, &mut talk, pass)?;
    let settled = clients.now() + limits::BENCH_SETTLE;
    while clients.now() < settled {
        clients.turn(limits::BENCH_WAIT_MAX, &mut talk)?;
    }
    meter.after_connections()?;
    if talk.connected > 0 {
        flow(plan, &mut clients, &mut talk, &mut meter, pass)?;
    }
    // Nobody hangs up while others are still measured.
    wait_for_all(&mut clients, &mut talk, pass)?;
    Ok(Part {
        measured: meter.measured(),
        connected: talk.connected,
        failures: std::mem::take(&mut clients.failures),
        traffic: talk.traffic,
        generator_time: meter.generator_time(),
        server: meter.server_cost(),
    })
}

/// Serves the clients until all threads have come as far.
fn wait_for_all(
    clients: &mut Clients,
    talk: &mut Conversation,
    pass: &mut Pass<'_>,
) -> Result<(), BenchError> {
    pass.arrive();
    while !pass.is_open()? {
        clients.turn(limits::BENCH_WAIT_MAX, talk)?;
    }
    Ok(())
}

/// Opens every connection of the plan, a bounded number at a time. It ends because every attempt
/// has a deadline.
fn connect_all(
    plan: &Plan,
    share: Share,
    clients: &mut Clients,
    talk: &mut Conversation,
    pass: &Pass<'_>,
) -> Result<(), BenchError> {
    let opening_max = (limits::BENCH_OPENING_MAX / share.of).max(limits::BENCH_OPENING_MIN);
    let mut next = 0;
    while next < plan.sockets() || clients.opening_count() > 0 {
        pass.check()?;
        while next < plan.sockets() && clients.opening_count() < opening_max {
            let source = plan.sources.address(u64::from(plan.first + next));
            if !clients.open(next, source) {
                talk.traffic.never_stood(next);
            }
            next += 1;
        }
        clients.turn(limits::BENCH_WAIT_MAX, talk)?;
    }
    Ok(())
}

/// Lets messages flow: warm-up, measurement, and then what is still under way.
fn flow(
    plan: &Plan,
    clients: &mut Clients,
    talk: &mut Conversation,
    meter: &mut Meter,
    pass: &Pass<'_>,
) -> Result<(), BenchError> {
    let mut origins = Vec::new();
    let begun = clients.now();
    let mut mark = begun + plan.warm_up;
    let mut measuring = false;
    talk.traffic.begin(begun, &mut origins);
    loop {
        pass.check()?;
        let now = clients.now();
        if now >= mark && measuring {
            meter.stop(now)?;
            talk.traffic.end(now);
            break;
        }
        if now >= mark {
            meter.start(now)?;
            talk.traffic.measure(now);
            measuring = true;
            mark = now + plan.measured;
        }
        talk.traffic.due(now, limits::BENCH_TURN_SOCKETS_MAX, &mut origins);
        for origin in origins.drain(..) {
            talk.send(origin, now, clients.speaker())?;
        }
        let next = talk.traffic.next_due().map_or(mark, |due| due.min(mark));
        let wait = next.saturating_sub(clients.now()).min(limits::BENCH_WAIT_MAX);
        clients.turn(wait, talk)?;
    }
    let deadline = clients.now() + plan.drain_deadline;
    while talk.traffic.is_outstanding() && clients.now() < deadline {
        clients.turn(limits::BENCH_WAIT_MAX, talk)?;
    }
    Ok(())
}
