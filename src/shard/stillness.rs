//! The time of a shard, and that by which its connections are due: none of it passes while nothing
//! is served.
//!
//! ```text
//!   now     ──┬──────────┬───────▶    what is dated, kept or told by the clock
//!             │ stands   │
//!   served  ──┴──────────┴──▶         the wheel: pings, answers, idle times, alarms
//! ```
//!
//! Invariant: the time by which connections are due never goes back, and once it goes on it has
//! fallen behind by no more than [`STILL_MAX`] for each time that the shard stood still.

use std::time::{Duration, Instant};

use super::core::Core;
use super::wheel::{Tick, ticks_in};
use crate::handler::Handler;
use crate::limits::{STILL_MAX, WENT_ON_TERM};

/// How long a shard has stood still.
#[derive(Default)]
pub(super) struct Stillness {
    is_now: bool,
    all: Duration,
    /// What of it is of this time, which is not over.
    present: Duration,
    /// When deadlines had to go on, for it was too long.
    went_on: Option<Tick>,
}

impl Stillness {
    /// What has not passed for deadlines so far.
    pub(super) fn all(&self) -> Duration {
        self.all
    }

    /// Until when whoever has so much time to answer has it once more, if it went on without
    /// anybody being heard.
    pub(super) fn patient_until(&self, patience_ticks: u32) -> Option<Tick> {
        self.went_on.map(|at| at.plus(patience_ticks))
    }

    /// Whether time went on without anybody being heard after this tick: who was to be heard of has
    /// all of its time once more.
    pub(super) fn went_on_since(&self, tick: Tick) -> bool {
        self.went_on.is_some_and(|at| tick.is_before(at))
    }

    /// Who was to be heard of then has been by now, or was given up.
    fn forget(&mut self, now: Tick) {
        self.went_on = self.went_on.filter(|at| now.since(*at) < ticks_in(WENT_ON_TERM));
    }

    fn pass(&mut self, period: Duration) {
        if self.is_now {
            self.all += period;
            self.present += period;
        }
    }

    /// Begins or ends; true if a part of it has passed after all.
    fn set(&mut self, is_now: bool) -> bool {
        if is_now == self.is_now {
            return false;
        }
        self.is_now = is_now;
        let passed = std::mem::take(&mut self.present).saturating_sub(STILL_MAX);
        self.all -= passed;
        !passed.is_zero()
    }
}

impl<H: Handler> Core<H> {
    /// Moves time forward; everything in the turn happens at this time.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.step_to(now);
        self.tick = self.wheel.tick_of(self.served());
        self.stillness.forget(self.tick);
        self.channels.home.pass_time(now);
    }

    /// The same while all of another process is taken over: nothing of it expires by that.
    pub(super) fn set_now_of_taking_over(&mut self, now: Instant) {
        self.step_to(now);
        self.tick = self.wheel.tick_of(self.served());
        self.channels.home.set_now(now);
    }

    /// Moves time forward within a turn; returns by how much.
    pub(super) fn step_to(&mut self, now: Instant) -> Duration {
        let period = now.saturating_duration_since(self.now);
        self.stillness.pass(period);
        self.now = now;
        period
    }

    /// Whether nothing is served from now on. What is due for connections, and what they are
    /// awaited for, is as far away afterwards as it was before: neither do all pings of that time
    /// leave at once, nor has anybody less time to answer one. Where it was longer than
    /// [`STILL_MAX`], the rest of it has passed, but not for those who are to be heard of.
    pub(super) fn stand_still(&mut self, is_now: bool) {
        if self.stillness.set(is_now) {
            self.tick = self.wheel.tick_of(self.served());
            self.stillness.went_on = Some(self.tick);
        }
    }

    /// The time by which connections are due.
    pub(super) fn served(&self) -> Instant {
        let served = self.now.checked_sub(self.stillness.all());
        served.expect("it has stood still since it was made")
    }
}
