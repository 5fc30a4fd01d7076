//! The time that each step takes, and the name of one that held the loop.

use std::time::Duration;

use super::event_loop::Loop;
use super::slab::Index;
use super::starvation::Verdict;
use crate::handler::Handler;
use crate::sys::clock;

impl<H: Handler> Loop<H> {
    /// Looks at the time after a step that may have called the handler, if it did. Time since the
    /// last look counts as the step's: what lies between calls nothing and is bounded.
    pub(super) fn time(&mut self, step: &'static str) {
        if !std::mem::take(&mut self.core.called) {
            return;
        }
        let period = self.core.step_to(clock::now());
        self.core.time_commands(period);
        self.judge(step, None, period);
    }

    /// Counts and names a step that ends now and held the loop.
    pub(super) fn judge(&mut self, step: &'static str, index: Option<Index>, period: Duration) {
        match self.starvation.judge(period, self.core.now) {
            Verdict::Short => {}
            Verdict::Held(period) => self.stalled(step, index, period),
            Verdict::Starved => self.core.counters().starved_steps += 1,
        }
    }

    /// Names the step, and the connection and its route where the step is about a single one.
    #[cold]
    fn stalled(&mut self, step: &'static str, index: Option<Index>, period: Duration) {
        let counters = self.core.counters();
        counters.stalls += 1;
        counters.stall_us += u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let connection = index.map(|index| tracing::field::display(self.core.id(index)));
        let route = index.map(|index| self.core.route_of(index));
        tracing::warn!(
            shard = self.core.number,
            step,
            connection,
            route,
            ?period,
            "the handler held the loop; slow work belongs into `offload`"
        );
    }
}
