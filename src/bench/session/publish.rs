//! Those steps of a run in which somebody publishes.
//!
//! ```text
//!   how many copies? ─▶ publish: answers │ a schedule │ rounds ─▶ what is under way ─▶ balance
//! ```
//!
//! Who echoes beside a run does so as long as any other thread has not done its part.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::floor::Floor;
use super::plan::{Publishers, Scenario};
use super::run::Thread;
use crate::bench::BenchError;
use crate::bench::plan::{Pace, Schedule};
use crate::limits;

impl Thread<'_, '_> {
    /// Publishes as the plan says, and waits for what is under way then.
    pub(super) fn publish(&mut self) -> Result<(), BenchError> {
        let audience = self.crowd.audience();
        self.common.copies.fetch_add(self.crowd.copies(&audience), Ordering::AcqRel);
        self.wait_for_all()?;
        let begun = self.clients.now();
        let floor_time = self.common.floor.map(Floor::cpu_time);
        self.meter.start(begun)?;
        self.crowd.measured_from = Some(begun);
        let publishers = self.plan.publishers_of(self.share);
        if self.plan.is_beside(self.share) {
            self.echo_beside(begun)?;
        } else {
            match self.plan.publications {
                Some(count) => self.publish_rounds(count, publishers.count)?,
                None => self.publish_until(begun + self.plan.measured, begun, publishers)?,
            }
            self.common.publishing.fetch_sub(1, Ordering::AcqRel);
        }
        self.meter.stop(self.clients.now())?;
        if let (Some(floor), Some(before)) = (self.common.floor, floor_time) {
            self.crowd.found.floor_time = floor.cpu_time().saturating_sub(before);
        }
        // From here on nobody publishes, and what there is can be counted.
        self.wait_for_all()?;
        self.balance(&audience)
    }

    /// Behind an idle run: some sessions echo among those that stand idle.
    pub(super) fn echo_among_idle(&mut self) -> Result<(), BenchError> {
        let Some(echo) = self.plan.echo else { return Ok(()) };
        let audience = self.crowd.audience();
        self.wait_for_all()?;
        let begun = self.clients.now();
        if self.plan.is_beside(self.share) {
            self.crowd.measured_from = Some(begun);
            self.echo_beside(begun)?;
        } else {
            self.serve_until(begun + echo.time)?;
            self.common.publishing.fetch_sub(1, Ordering::AcqRel);
        }
        self.wait_for_all()?;
        self.balance(&audience)
    }

    /// Echoes by its schedule until all other threads have done their part.
    fn echo_beside(&mut self, begun: Duration) -> Result<(), BenchError> {
        let publishers = self.plan.publishers_of(self.share);
        let mut next = 0;
        while self.common.publishing.load(Ordering::Acquire) > 0 {
            let wait = self.publish_due(begun, publishers, &mut next)?;
            self.turn(wait)?;
        }
        self.crowd.found.echoed = self.clients.now().saturating_sub(begun);
        Ok(())
    }

    fn publish_until(
        &mut self,
        end: Duration,
        begun: Duration,
        publishers: Publishers,
    ) -> Result<(), BenchError> {
        let mut next = 0;
        if self.plan.answers_itself(self.share) {
            self.crowd.heard_back.extend(0..publishers.count);
        }
        while self.clients.now() < end {
            let wait = match publishers.pace {
                Pace::Window(_) => self.answer()?,
                Pace::Rate(_) => self.publish_due(begun, publishers, &mut next)?,
            };
            self.turn(wait.min(end.saturating_sub(self.clients.now())))?;
        }
        Ok(())
    }

    /// One publication after the other, each when all copies of the one before have come, or none
    /// has for a while.
    fn publish_rounds(&mut self, count: u32, publishers: u32) -> Result<(), BenchError> {
        // A thread that is late to begin has copies of the first, too.
        self.crowd.measured_from = Some(Duration::ZERO);
        let copies = self.common.copies.load(Ordering::Acquire);
        for round in 1..=u64::from(count) {
            for slot in 0..publishers {
                self.say(slot, self.clients.now())?;
            }
            let (mut known, mut since) = (0, self.clients.now());
            while known < round * copies {
                self.turn(limits::BENCH_WAIT_MAX)?;
                let (delivered, now) = (self.common.progress.delivered(), self.clients.now());
                if delivered > known {
                    (known, since) = (delivered, now);
                } else if now.saturating_sub(since) > self.plan.drain_deadline {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next publication of this session; by a plain loop where there is no server.
    fn say(&mut self, slot: u32, due: Duration) -> Result<(), BenchError> {
        if !self.crowd.is_ready(slot) {
            return Ok(());
        }
        if let Some(floor) = self.common.floor {
            let (channel, data) = self.crowd.next_parcel(slot, due);
            let user = self.plan.user(self.share.first + slot);
            floor.publish(self.plan.format, &user, &channel, &data);
            return Ok(());
        }
        Ok(self.crowd.publish(slot, due, self.clients.speaker())?)
    }

    /// In a closed loop, the next follows when the last has come back.
    fn answer(&mut self) -> Result<Duration, BenchError> {
        for slot in std::mem::take(&mut self.crowd.heard_back) {
            self.say(slot, self.clients.now())?;
        }
        Ok(limits::BENCH_WAIT_MAX)
    }

    /// By a schedule, each when it is due; a publisher with too many under way holds it up, and
    /// what is late for that is charged from when it was due.
    fn publish_due(
        &mut self,
        begun: Duration,
        publishers: Publishers,
        next: &mut u64,
    ) -> Result<Duration, BenchError> {
        let Publishers { count, before, all, pace: Pace::Rate(rate) } = publishers else {
            return Ok(limits::BENCH_WAIT_MAX);
        };
        if count == 0 {
            return Ok(limits::BENCH_WAIT_MAX);
        }
        let now = self.clients.now();
        for _ in 0..limits::BENCH_TURN_SOCKETS_MAX {
            let slot = u32::try_from(*next % u64::from(count)).expect("below 32 bits");
            let round = *next / u64::from(count);
            let place = round * u64::from(all) + u64::from(before + slot);
            let due = begun + Schedule::new(rate).due(place);
            if due > now {
                return Ok(due.saturating_sub(now));
            }
            let unanswered = u64::from(self.crowd.unanswered(slot));
            if self.crowd.is_ready(slot) {
                if unanswered >= limits::BENCH_UNANSWERED_MAX {
                    return Ok(limits::BENCH_WAIT_MAX);
                }
                self.say(slot, due)?;
            }
            *next += 1;
        }
        Ok(Duration::ZERO)
    }

    /// Waits for what is still under way, and counts what should have come.
    pub(super) fn balance(&mut self, audience: &[u32]) -> Result<(), BenchError> {
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
}
