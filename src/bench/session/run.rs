//! A run over the client protocol, step by step, on each of its threads.
//!
//! ```text
//!   memory ─▶ begin all ─▶ settle ─▶ memory ─▶ hold │ publish │ drop all and come back ─▶ balance
//! ```
//!
//! All threads take a step together; while one waits for the others it serves its sessions.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::found::Found;
use super::plan::{Scenario, SessionPlan};
use crate::bench::BenchError;
use crate::bench::clients::Clients;
use crate::bench::fleet;
use crate::bench::gate::Pass;
use crate::bench::meter::Meter;
use crate::bench::plan::{Pace, Schedule};
use crate::bench::process;
use crate::bench::sampler::Sampler;
use crate::bench::share::Share;
use crate::bench::timeline::Progress;
use crate::limits;
use crate::sys::clock;

/// Runs `plan` to its end, a thread for each share.
pub(super) fn measure(plan: &SessionPlan, shares: &[Share]) -> Result<Found, BenchError> {
    let started = clock::now();
    let published: Vec<AtomicU32> = (0..plan.channels).map(|_| AtomicU32::new(0)).collect();
    let progress = Progress::default();
    let common = Common { plan, published: &published, progress: &progress, started };
    let mut parts = fleet::run(shares, plan.memory_bytes_min, |share, pass| {
        Thread::new(&common, share, pass)?.run()
    })?
    .into_iter();
    let mut sum = parts.next().expect("there is at least one share");
    for part in parts {
        sum.add(&part);
    }
    Ok(sum)
}

/// What all threads of a run have in common.
struct Common<'a> {
    plan: &'a SessionPlan,
    /// The last number in each channel.
    published: &'a [AtomicU32],
    progress: &'a Progress,
    started: Instant,
}

/// One thread of the run.
struct Thread<'a, 'p> {
    plan: &'a SessionPlan,
    share: Share,
    clients: Clients,
    crowd: Crowd<'a>,
    meter: Meter,
    pass: &'a mut Pass<'p>,
    progress: &'a Progress,
    /// The first thread looks at all.
    sampler: Option<Sampler>,
    /// Sessions being begun at the same time, at most.
    opening_max: u32,
}

impl<'a, 'p> Thread<'a, 'p> {
    fn new(common: &Common<'a>, share: Share, pass: &'a mut Pass<'p>) -> Result<Self, BenchError> {
        let Common { plan, published, progress, started } = *common;
        let meter = Meter::new(plan.server_pid.filter(|_| share.leads()))?;
        let sampler = || Sampler::new(plan.server_pid, plan.connections);
        let all = match plan.opens {
            Pace::Window(count) => count,
            // A schedule is kept as long as any bound lets it.
            Pace::Rate(_) => limits::BENCH_OPENING_RATED_MAX,
        };
        Ok(Self {
            plan,
            share,
            clients: Clients::new(plan.terms(share, started))?,
            crowd: Crowd::new(plan, share, published),
            meter,
            pass,
            progress,
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
        self.wait_for_all()?;
        match self.plan.scenario {
            Scenario::Connect => {}
            Scenario::Idle => self.hold()?,
            Scenario::Echo | Scenario::Fanout | Scenario::Chat => self.publish()?,
            Scenario::Storm => self.storm()?,
        }
        // Nobody hangs up while others are still measured.
        self.wait_for_all()?;
        self.finish()
    }

    fn finish(self) -> Result<Found, BenchError> {
        let mut found = self.crowd.found;
        found.failures.add(&self.clients.failures);
        found.measured = self.meter.measured();
        found.generator_time = self.meter.generator_time();
        found.generator_run_time = process::own_cpu_time()?;
        found.server = self.meter.server_cost();
        found.threads = self.share.of;
        found.timeline = self.sampler.map(Sampler::into_samples).unwrap_or_default();
        Ok(found)
    }

    /// One turn of the clients.
    fn turn(&mut self, wait: Duration) -> Result<(), BenchError> {
        self.pass.check()?;
        self.clients.turn(wait.min(limits::BENCH_WAIT_MAX), &mut self.crowd)?;
        let now = self.clients.now();
        self.crowd.expire(now, self.clients.speaker())?;
        let (standing, delivered) = self.crowd.take_progress();
        self.progress.add(standing, delivered);
        if let Some(sampler) = &mut self.sampler {
            sampler.look(now, self.progress);
        }
        Ok(())
    }

    fn wait_for_all(&mut self) -> Result<(), BenchError> {
        self.pass.arrive();
        while !self.pass.is_open()? {
            self.turn(limits::BENCH_WAIT_MAX)?;
        }
        Ok(())
    }

    fn serve_until(&mut self, end: Duration) -> Result<(), BenchError> {
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

    fn begin(&mut self, slot: u32, due: Duration) {
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

    /// Publishes for the time that is measured, and waits for what is under way then.
    fn publish(&mut self) -> Result<(), BenchError> {
        let audience = self.crowd.audience();
        let publishers = self.plan.publishers_of(self.share);
        let begun = self.clients.now();
        let end = begun + self.plan.measured;
        self.meter.start(begun)?;
        self.crowd.measured_from = Some(begun);
        let mut next = 0;
        if self.plan.answers_itself() {
            self.crowd.heard_back.extend(0..publishers);
        }
        while self.clients.now() < end {
            let wait = match self.plan.publishing {
                Pace::Window(_) => self.answer()?,
                Pace::Rate(rate) => self.publish_due(begun, rate, publishers, &mut next)?,
            };
            self.turn(wait.min(end.saturating_sub(self.clients.now())))?;
        }
        self.meter.stop(self.clients.now())?;
        // From here on nobody publishes, and what there is can be counted.
        self.wait_for_all()?;
        self.balance(&audience)
    }

    /// In a closed loop, the next follows when the last has come back.
    fn answer(&mut self) -> Result<Duration, BenchError> {
        for slot in std::mem::take(&mut self.crowd.heard_back) {
            let now = self.clients.now();
            if self.crowd.is_ready(slot) {
                self.crowd.publish(slot, now, self.clients.speaker())?;
            }
        }
        Ok(limits::BENCH_WAIT_MAX)
    }

    /// By a schedule, each when it is due; a publisher with too many under way holds it up, and
    /// what is late for that is charged from when it was due.
    fn publish_due(
        &mut self,
        begun: Duration,
        rate: u64,
        publishers: u32,
        next: &mut u64,
    ) -> Result<Duration, BenchError> {
        let now = self.clients.now();
        if publishers == 0 {
            return Ok(limits::BENCH_WAIT_MAX);
        }
        let all = u64::from(self.plan.publishers);
        for _ in 0..limits::BENCH_TURN_SOCKETS_MAX {
            let slot = u32::try_from(*next % u64::from(publishers)).expect("below 32 bits");
            let round = *next / u64::from(publishers);
            let place = round * all + u64::from(self.share.first + slot);
            let due = begun + Schedule::new(rate).due(place);
            if due > now {
                return Ok(due.saturating_sub(now));
            }
            let unanswered = u64::from(self.crowd.unanswered(slot));
            if self.crowd.is_ready(slot) {
                if unanswered >= limits::BENCH_UNANSWERED_MAX {
                    return Ok(limits::BENCH_WAIT_MAX);
                }
                self.crowd.publish(slot, due, self.clients.speaker())?;
            }
            *next += 1;
        }
        Ok(Duration::ZERO)
    }

    /// Waits for what is still under way, and counts what should have come.
    fn balance(&mut self, audience: &[u32]) -> Result<(), BenchError> {
        let expected = self.crowd.expected(audience);
        let deadline = self.clients.now() + self.plan.drain_deadline;
        while self.crowd.found.tally.arrived < expected && self.clients.now() < deadline {
            self.turn(limits::BENCH_WAIT_MAX)?;
        }
        self.crowd.found.tally.expected = expected;
        self.crowd.measured_from = None;
        if self.plan.scenario == Scenario::Chat {
            self.crowd.check_chat(audience);
        }
        Ok(())
    }

    /// Drops all but the publishers at once, publishes meanwhile, and begins each again when it
    /// comes back by itself.
    fn storm(&mut self) -> Result<(), BenchError> {
        let audience = self.crowd.audience();
        let publishers = self.plan.publishers_of(self.share);
        let begun = self.clients.now();
        self.meter.start(begun)?;
        self.crowd.comes_back = true;
        for slot in audience.iter().copied().filter(|slot| *slot >= publishers) {
            self.crowd.drop_session(slot, self.clients.speaker())?;
        }
        self.crowd.heard_back.extend(0..publishers);
        let mut left = u64::from(self.plan.missed) * u64::from(publishers);
        let deadline = begun + limits::BENCH_STORM_DEADLINE;
        let wanted = audience.len() as u64;
        while (self.crowd.ready() < wanted || left > 0) && self.clients.now() < deadline {
            while self.crowd.opening() < self.opening_max
                && let Some(slot) = self.crowd.next_retry(self.clients.now())
            {
                self.begin(slot, self.clients.now());
            }
            left = self.publish_missed(left)?;
            self.turn(limits::BENCH_WAIT_MAX)?;
        }
        self.crowd.found.storm = self.clients.now().saturating_sub(begun);
        self.meter.stop(self.clients.now())?;
        self.wait_for_all()?;
        self.balance(&audience)
    }

    /// Publishes what those who are away miss; returns how many publications are left.
    fn publish_missed(&mut self, mut left: u64) -> Result<u64, BenchError> {
        for slot in std::mem::take(&mut self.crowd.heard_back) {
            if left == 0 {
                break;
            }
            left -= 1;
            let now = self.clients.now();
            if self.crowd.is_ready(slot) {
                self.crowd.publish(slot, now, self.clients.speaker())?;
            }
        }
        Ok(left)
    }
}

/// The share of all cores that was taken since then.
fn load_since((busy, all): (Duration, Duration)) -> io::Result<f64> {
    let (busy_now, all_now) = process::host_time()?;
    let (taken, there) = (busy_now.saturating_sub(busy), all_now.saturating_sub(all));
    Ok(if there.is_zero() { 0.0 } else { taken.as_secs_f64() / there.as_secs_f64() })
}
