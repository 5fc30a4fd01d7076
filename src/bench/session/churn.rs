//! The churn: so many sessions a second leave and come anew, while the others stand.

use std::time::Duration;

use super::run::Thread;
use crate::bench::BenchError;
use crate::bench::plan::Schedule;
use crate::limits;

impl Thread<'_, '_> {
    /// Lets the sessions leave in turn, each when it is due, and begins each anew at once; one that
    /// does not come to stand is begun again as the SDKs do.
    pub(super) fn churn(&mut self) -> Result<(), BenchError> {
        let begun = self.clients.now();
        let end = begun + self.plan.measured;
        self.meter.start(begun)?;
        self.crowd.comes_back = true;
        let mut next = 0;
        while self.clients.now() < end {
            let wait = self.leave_due(begun, &mut next)?;
            self.come_back();
            self.turn(wait.min(end.saturating_sub(self.clients.now())))?;
        }
        self.meter.stop(self.clients.now())?;
        // Who is away comes back, or has failed at it once more.
        let deadline = self.clients.now() + self.plan.deadline + self.plan.drain_deadline;
        while self.crowd.away() > 0 && self.clients.now() < deadline {
            self.come_back();
            self.turn(limits::BENCH_WAIT_MAX)?;
        }
        Ok(())
    }

    /// Drops the sessions that are due to leave, and says when to look again. Who is not there when
    /// it is its turn is passed over.
    fn leave_due(&mut self, begun: Duration, next: &mut u64) -> Result<Duration, BenchError> {
        let (count, of) = (u64::from(self.share.count), u64::from(self.share.of));
        let now = self.clients.now();
        for _ in 0..limits::BENCH_TURN_SOCKETS_MAX {
            let place = *next * of + u64::from(self.share.number);
            let due = begun + Schedule::new(self.plan.churn_rate).due(place);
            if due > now {
                return Ok(due.saturating_sub(now));
            }
            let slot = u32::try_from(*next % count).expect("below 32 bits");
            if self.crowd.is_ready(slot) {
                self.crowd.found.left += 1;
                self.crowd.drop_session(slot, self.clients.speaker())?;
            }
            *next += 1;
        }
        Ok(Duration::ZERO)
    }

    /// Begins those whose time it is to come back.
    pub(super) fn come_back(&mut self) {
        while self.crowd.opening() < self.opening_max
            && let Some(slot) = self.crowd.next_retry(self.clients.now())
        {
            self.begin(slot, self.clients.now());
        }
    }
}
