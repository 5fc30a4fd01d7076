//! A run over the client protocol, step by step, on each of its threads.
//!
//! ```text
//!   memory ─▶ begin all ─▶ settle ─▶ memory ─▶ hold │ publish │ drop all and come back ─▶ balance
//! ```
//!
//! All threads take a step together; while one waits for the others it serves its sessions.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::floor::{self, Floor};
use super::found::Found;
use super::plan::{Scenario, SessionPlan};
use crate::bench::BenchError;
use crate::bench::classes;
use crate::bench::clients::Clients;
use crate::bench::fleet;
use crate::bench::gate::Pass;
use crate::bench::meter::Meter;
use crate::bench::plan::{Pace, Schedule};
use crate::bench::process;
use crate::bench::sampler::Sampler;
use crate::bench::share::Share;
use crate::bench::terms::Terms;
use crate::bench::timeline::Progress;
use crate::limits;
use crate::sys::{clock, cpu};

/// Runs `plan` to its end, a thread for each share.
pub(super) fn measure(plan: &SessionPlan, shares: &[Share]) -> Result<Found, BenchError> {
    let published: Vec<AtomicU32> = (0..plan.channel_count()).map(|_| AtomicU32::new(0)).collect();
    let publishing = shares.iter().filter(|share| !plan.is_beside(**share)).count();
    let common = Common {
        plan,
        published: &published,
        progress: &Progress::default(),
        copies: &AtomicU64::new(0),
        publishing: &AtomicUsize::new(publishing),
        floor: None,
        started: clock::now(),
    };
    if plan.bare {
        floor::with(shares, |floor| measure_with(shares, &Common { floor: Some(floor), ..common }))
    } else {
        measure_with(shares, &common)
    }
}

fn measure_with(shares: &[Share], common: &Common<'_>) -> Result<Found, BenchError> {
    let plan = common.plan;
    let parts = fleet::run(shares, plan.memory_bytes_min, |share, pass| {
        Thread::new(common, share, pass)?.run()
    })?;
    let mut sum = Found { threads: u32::try_from(shares.len()).unwrap_or(0), ..Found::default() };
    for (share, part) in shares.iter().zip(parts) {
        if plan.is_beside(*share) { sum.add_beside(part) } else { sum.add(part) }
    }
    Ok(sum)
}

/// What all threads of a run have in common.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    plan: &'a SessionPlan,
    /// The last number in each channel.
    published: &'a [AtomicU32],
    pub(super) progress: &'a Progress,
    /// Copies that one publication of each publisher makes.
    pub(super) copies: &'a AtomicU64,
    /// Threads that have not done what the run is about.
    pub(super) publishing: &'a AtomicUsize,
    /// Who sends, where there is no server.
    pub(super) floor: Option<&'a Floor<'a>>,
    started: Instant,
}

/// One thread of the run.
pub(super) struct Thread<'a, 'p> {
    pub(super) plan: &'a SessionPlan,
    pub(super) common: &'a Common<'a>,
    pub(super) share: Share,
    pub(super) clients: Clients,
    pub(super) crowd: Crowd<'a>,
    pub(super) meter: Meter,
    pass: &'a mut Pass<'p>,
    /// The first thread looks at all.
    sampler: Option<Sampler>,
    /// Sessions being begun at the same time, at most.
    pub(super) opening_max: u32,
}

impl<'a, 'p> Thread<'a, 'p> {
    fn new(
        common: &'a Common<'a>,
        share: Share,
        pass: &'a mut Pass<'p>,
    ) -> Result<Self, BenchError> {
        let Common { plan, published, started, .. } = *common;
        let target = common.floor.map_or(plan.target, Floor::address);
        // Whoever echoes beside them is in a hurry.
        let gathers = plan.scenario == Scenario::Fanout
            && !plan.is_beside(share)
            && share.of as usize > cpu::usable_count()?;
        let meter = Meter::new(plan.server_pid.filter(|_| share.leads()))?;
        let sampler = || Sampler::new(plan.server_pid, plan.sessions());
        let all = match plan.opens {
            Pace::Window(count) => count,
            // A schedule is kept as long as any bound lets it.
            Pace::Rate(_) => limits::BENCH_OPENING_RATED_MAX,
        };
        Ok(Self {
            plan,
            common,
            share,
            clients: Clients::new(Terms { target, gathers, ..plan.terms(share, started) })?,
            crowd: Crowd::new(plan, share, published),
            meter,
            pass,
            sampler: share.leads().then(sampler).transpose()?,
            opening_max: (all / share.of).max(limits::BENCH_OPENING_MIN),
        })
    }

    fn run(mut self) -> Result<Found, BenchError> {
        self.meter.before_connections()?;
        self.wait_for_all()?;
        let begun = self.clients.now();
        let before = process::host_time()?;
        self.begin_all(begun)?;
        self.crowd.found.ramp_load = load_since(before)?;
        self.crowd.found.ramp = self.clients.now().saturating_sub(begun);
        self.crowd.found.ready = self.crowd.stood();
        self.wait_for_all()?;
        self.serve_until(self.clients.now() + limits::BENCH_SETTLE)?;
        self.meter.after_connections()?;
        self.ask_for_classes()?;
        self.wait_for_all()?;
        match self.plan.scenario {
            Scenario::Connect => {}
            Scenario::Idle => {
                self.hold()?;
                self.echo_among_idle()?;
            }
            Scenario::Echo | Scenario::Fanout | Scenario::Chat => self.publish()?,
            Scenario::Churn => self.churn()?,
            Scenario::Storm => self.storm()?,
        }
        // Nobody hangs up while others are still measured.
        self.wait_for_all()?;
        Ok(self.finish())
    }

    /// The first thread asks the server what its memory is for.
    fn ask_for_classes(&mut self) -> Result<(), BenchError> {
        if let Some(url) = self.plan.server_metrics.as_ref().filter(|_| self.share.leads()) {
            let said = classes::read(url);
            let said = said.map_err(|error| BenchError::Classes { url: url.clone(), error });
            self.crowd.found.classes = said?;
        }
        Ok(())
    }

    fn finish(self) -> Found {
        let mut found = self.crowd.found;
        found.failures.add(&self.clients.failures);
        found.measured = self.meter.measured();
        found.generator_time = self.meter.generator_time();
        found.generator_run_time = clock::thread_cpu_time();
        found.server = self.meter.server_cost();
        found.busiest = self.meter.busiest();
        found.timeline = self.sampler.map(Sampler::into_samples).unwrap_or_default();
        found
    }

    /// One turn of the clients.
    pub(super) fn turn(&mut self, wait: Duration) -> Result<(), BenchError> {
        self.pass.check()?;
        self.clients.turn(wait.min(limits::BENCH_WAIT_MAX), &mut self.crowd)?;
        let now = self.clients.now();
        self.crowd.expire(now, self.clients.speaker())?;
        let (standing, delivered) = self.crowd.take_progress();
        // Echoes beside the run are none of its deliveries.
        let delivered = if self.plan.is_beside(self.share) { 0 } else { delivered };
        self.common.progress.add(standing, delivered);
        if let Some(sampler) = &mut self.sampler {
            sampler.look(now, self.common.progress);
        }
        Ok(())
    }

    pub(super) fn wait_for_all(&mut self) -> Result<(), BenchError> {
        self.pass.arrive();
        while !self.pass.is_open()? {
            self.turn(limits::BENCH_WAIT_MAX)?;
        }
        Ok(())
    }

    pub(super) fn serve_until(&mut self, end: Duration) -> Result<(), BenchError> {
        while self.clients.now() < end {
            self.turn(end.saturating_sub(self.clients.now()))?;
        }
        Ok(())
    }

    /// Begins every session when it is due. It ends because every attempt has a deadline.
    fn begin_all(&mut self, begun: Duration) -> Result<(), BenchError> {
        let mut next = 0;
        while next < self.share.count || self.crowd.opening() > 0 {
            let mut wait = limits::BENCH_WAIT_MAX;
            while next < self.share.count && self.crowd.opening() < self.opening_max {
                let now = self.clients.now();
                let due = self.due(begun, next, now);
                if due > now {
                    wait = due.saturating_sub(now);
                    break;
                }
                self.begin(next, due);
                next += 1;
            }
            self.turn(wait)?;
        }
        Ok(())
    }

    /// When a session is due to begin; those of one number on all threads follow each other.
    fn due(&self, begun: Duration, slot: u32, now: Duration) -> Duration {
        let Pace::Rate(rate) = self.plan.opens else { return now };
        let place = u64::from(slot) * u64::from(self.share.of) + u64::from(self.share.number);
        begun + Schedule::new(rate).due(place)
    }

    pub(super) fn begin(&mut self, slot: u32, due: Duration) {
        self.crowd.begin(slot, due);
        let source = self.plan.sources.address(u64::from(self.share.first + slot));
        if !self.clients.open(slot, source) {
            self.crowd.not_begun(slot, self.clients.now());
        }
    }

    /// Leaves the sessions alone, but for their pings.
    fn hold(&mut self) -> Result<(), BenchError> {
        let now = self.clients.now();
        self.meter.start(now)?;
        self.crowd.measured_from = Some(now);
        self.serve_until(now + self.plan.measured)?;
        self.meter.stop(self.clients.now())?;
        self.crowd.count_pings(self.plan.measured);
        self.crowd.measured_from = None;
        Ok(())
    }
}

/// The share of all cores that was taken since then.
fn load_since((busy, all): (Duration, Duration)) -> io::Result<f64> {
    let (busy_now, all_now) = process::host_time()?;
    let (taken, there) = (busy_now.saturating_sub(busy), all_now.saturating_sub(all));
    Ok(if there.is_zero() { 0.0 } else { taken.as_secs_f64() / there.as_secs_f64() })
}
