//! Runs over connections that stand: idle, echo and fan-out.
//!
//! ```text
//!   memory ─▶ connect all ─▶ settle ─▶ memory ─▶ warm up ─▶ measure ─▶ drain
//!                                                   CPU ─▶│◀── CPU
//! ```

use std::io;
use std::time::Duration;

use super::BenchError;
use super::clients::{Clients, Heard, Listener, Speaker};
use super::meter::Meter;
use super::plan::Plan;
use super::report::Findings;
use super::traffic::Traffic;
use crate::limits;
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
            Heard::Broken { corrupt } => {
                self.traffic.tally.corrupt += u64::from(corrupt);
                self.traffic.leave(slot);
            }
            Heard::Free => {}
        }
        Ok(())
    }
}

/// Runs `plan` to its end.
pub(super) fn measure(plan: &Plan) -> Result<Findings, BenchError> {
    let mut meter = Meter::new(plan.server_pid)?;
    let mut clients = Clients::new(plan)?;
    let mut talk = Conversation { traffic: Traffic::new(plan), payload: Vec::new(), connected: 0 };
    meter.before_connections()?;
    connect_all(plan, &mut clients, &mut talk)?;
    let settled = clients.now() + limits::BENCH_SETTLE;
    while clients.now() < settled {
        clients.turn(limits::BENCH_WAIT_MAX, &mut talk)?;
    }
    meter.after_connections()?;
    if talk.connected > 0 {
        flow(plan, &mut clients, &mut talk, &mut meter)?;
    }
    let Conversation { traffic, connected, .. } = talk;
    Ok(Findings {
        kind: plan.kind,
        bare: plan.bare,
        measured: meter.measured(),
        connected,
        failures: std::mem::take(&mut clients.failures),
        messages: traffic.messages,
        latency: traffic.latency.summary(),
        probe_latency: traffic.probe_latency.summary(),
        tally: traffic.tally,
        generator_time: meter.generator_time(),
        server: meter.server_cost(),
    })
}

/// Opens every connection of the plan, a bounded number at a time. It ends because every attempt
/// has a deadline.
fn connect_all(
    plan: &Plan,
    clients: &mut Clients,
    talk: &mut Conversation,
) -> Result<(), BenchError> {
    let mut next = 0;
    while next < plan.sockets() || clients.opening_count() > 0 {
        while next < plan.sockets() && clients.opening_count() < limits::BENCH_OPENING_MAX {
            if !clients.open(next, plan.source(u64::from(next))) {
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
) -> Result<(), BenchError> {
    let mut origins = Vec::new();
    let begun = clients.now();
    let mut mark = begun + plan.warm_up;
    let mut measuring = false;
    talk.traffic.begin(begun, &mut origins);
    loop {
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
