//! The storm: all are dropped at once, and come back as the SDKs do.

use super::run::Thread;
use crate::bench::BenchError;
use crate::limits;

impl Thread<'_, '_> {
    /// Drops all but the publishers at once, publishes meanwhile, and begins each again when it
    /// comes back by itself.
    pub(super) fn storm(&mut self) -> Result<(), BenchError> {
        let audience = self.crowd.audience();
        let publishers = self.plan.publishers_of(self.share).count;
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
            self.come_back();
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
