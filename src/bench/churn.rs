//! The runs that open connections and close them again: one opening handshake is one message.
//!
//! ```text
//!   free ─▶ being opened ─▶ (standing, the oldest leaves when there are enough) ─▶ closing ─▶ free
//! ```
//!
//! A slot goes round: open, handshake, close, free. In a closed loop all slots do so all the
//! time; with a rate a handshake starts when it is due, or is owed until a slot is free, and its
//! time runs from when it was due.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::BenchError;
use super::clients::{Clients, Heard, Listener, Speaker};
use super::latency::Latency;
use super::meter::Meter;
use super::plan::{Pace, Plan, Schedule};
use super::report::Findings;
use super::tally::Tally;
use crate::limits;
use crate::sys::clock;

struct Churn {
    /// Connections that are to stand; 0: each is closed as soon as it does.
    hold: usize,
    /// Those that do, the oldest first, each with its life: some may have been ended meanwhile.
    standing: VecDeque<(u32, u32)>,
    broken: u64,
    /// Slots that can be opened.
    free: Vec<u32>,
    /// When the attempt of each slot was due.
    due: Vec<Duration>,
    measuring: bool,
    connected: u64,
    messages: u64,
    corrupt: u64,
    latency: Latency,
}

impl Listener for Churn {
    fn hear(
        &mut self,
        slot: u32,
        heard: Heard<'_>,
        now: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()> {
        match heard {
            Heard::Open => {
                self.connected += 1;
                if self.measuring {
                    self.messages += 1;
                    self.latency.record(now.saturating_sub(self.due[slot as usize]));
                }
                self.standing.push_back((slot, speaker.life(slot)));
                if self.standing.len() > self.hold
                    && let Some((oldest, life)) = self.standing.pop_front()
                    && speaker.life(oldest) == life
                {
                    speaker.close(oldest)?;
                }
            }
            Heard::Free => self.free.push(slot),
            // Nobody has asked for a message.
            Heard::Message(..) => self.corrupt += 1,
            Heard::Failed => {}
            Heard::Broken(_) => self.broken += 1,
        }
        Ok(())
    }
}

/// Runs `plan` to its end.
pub(super) fn measure(plan: &Plan) -> Result<Findings, BenchError> {
    let mut meter = Meter::new(plan.server_pid)?;
    let mut clients = Clients::new(plan.terms(clock::now()))?;
    let slots = plan.sockets();
    let mut churn = Churn {
        hold: plan.hold as usize,
        standing: VecDeque::new(),
        broken: 0,
        free: (0..slots).collect(),
        due: vec![Duration::ZERO; slots as usize],
        measuring: false,
        connected: 0,
        messages: 0,
        corrupt: 0,
        latency: Latency::default(),
    };
    let mut attempts = fill(plan, &mut clients, &mut churn)?;
    let begun = clients.now();
    let mut mark = begun + plan.warm_up;
    let filled = attempts;
    loop {
        let now = clients.now();
        if now >= mark && churn.measuring {
            break;
        }
        if now >= mark {
            meter.start(now)?;
            churn.measuring = true;
            mark = now + plan.measured;
        }
        let next = open_due(plan, (begun, filled), &mut attempts, &mut clients, &mut churn);
        let wait = next.min(mark).saturating_sub(clients.now()).min(limits::BENCH_WAIT_MAX);
        clients.turn(wait, &mut churn)?;
    }
    meter.stop(clients.now())?;
    churn.measuring = false;
    finish(plan, &mut clients, &mut churn)?;
    Ok(Findings {
        kind: plan.kind,
        bare: plan.bare,
        measured: meter.measured(),
        connected: churn.connected,
        failures: std::mem::take(&mut clients.failures),
        messages: churn.messages,
        tally: Tally { corrupt: churn.corrupt, broken: churn.broken, ..Tally::default() },
        latency: churn.latency.summary(),
        probe_latency: None,
        generator_time: meter.generator_time(),
        server: meter.server_cost(),
    })
}

/// Opens those that are to stand; returns how many were tried. It ends because every attempt has a
/// deadline.
fn fill(plan: &Plan, clients: &mut Clients, churn: &mut Churn) -> io::Result<u64> {
    let mut attempts = 0;
    while attempts < u64::from(plan.hold) || clients.opening_count() > 0 {
        while attempts < u64::from(plan.hold)
            && clients.opening_count() < limits::BENCH_OPENING_MAX
            && let Some(slot) = churn.free.pop()
        {
            if !clients.open(slot, plan.sources.address(attempts)) {
                churn.free.push(slot);
            }
            attempts += 1;
        }
        clients.turn(limits::BENCH_WAIT_MAX, churn)?;
    }
    Ok(attempts)
}

/// Opens every free slot whose attempt is due, `attempts` beginning with those before the schedule.
/// Returns when to look again.
fn open_due(
    plan: &Plan,
    (begun, filled): (Duration, u64),
    attempts: &mut u64,
    clients: &mut Clients,
    churn: &mut Churn,
) -> Duration {
    let now = clients.now();
    // Slots that fail to open go back behind those not tried in this round.
    for _ in 0..churn.free.len() {
        let due = match plan.pace {
            Pace::Window(_) => now,
            Pace::Rate(rate) => begun + Schedule::new(rate).due(*attempts - filled),
        };
        if due > now {
            return due;
        }
        let Some(slot) = churn.free.pop() else { break };
        churn.due[slot as usize] = due;
        if !clients.open(slot, plan.sources.address(*attempts)) {
            churn.free.push(slot);
            *attempts += 1;
            break;
        }
        *attempts += 1;
    }
    now + limits::BENCH_WAIT_MAX
}

/// Lets the handshakes under way end, so that none is counted as neither open nor failed.
fn finish(plan: &Plan, clients: &mut Clients, churn: &mut Churn) -> io::Result<()> {
    let deadline = clients.now() + plan.drain_deadline;
    while clients.opening_count() > 0 && clients.now() < deadline {
        clients.turn(limits::BENCH_WAIT_MAX, churn)?;
    }
    Ok(())
}
