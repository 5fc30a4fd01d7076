//! The supervisor's watchdog: it hears that all is well as long as every shard answers.
//!
//! ```text
//!   a third of its period ─▶ Count ─▶ shards ─▶ all have answered ─▶ WATCHDOG=1
//! ```
//!
//! A shard that hangs, or the control thread, is silence, which the supervisor ends. Shards that
//! stand still for another process answer.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Snapshot;
use super::notify::{self, News};

/// What the supervisor waits for, if it does.
pub(super) struct Watchdog {
    /// Between two looks.
    period: Option<Duration>,
    next: Instant,
    /// The answer to the last question.
    answer: Option<Receiver<Snapshot>>,
}

impl Watchdog {
    /// As the environment says: `WATCHDOG_USEC`, for this process if `WATCHDOG_PID` is its number
    /// or is not there.
    pub(super) fn of_this_process(now: Instant) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let usec = number("WATCHDOG_USEC").filter(|&usec| is_ours && usec > 0);
        Self::new(usec.map(Duration::from_micros), now)
    }

    fn new(patience: Option<Duration>, now: Instant) -> Self {
        Self { period: patience.map(|patience| patience / 3), next: now, answer: None }
    }

    /// When to look next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.period.map(|_| self.next)
    }

    /// Says that all is well if the last question was answered, and has it asked again: whom to
    /// answer, if it is time.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Sender<Snapshot>> {
        self.look(now, || notify::tell(News::Alive))
    }

    fn look(&mut self, now: Instant, tell: impl FnOnce()) -> Option<Sender<Snapshot>> {
        let period = self.period.filter(|_| self.next <= now)?;
        self.next = now + period;
        if self.answer.take().is_some_and(|answer| answer.try_recv().is_ok()) {
            tell();
        }
        let (sender, answer) = bounded(1);
        self.answer = Some(answer);
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_are_passed_on_and_only_when_it_is_time() {
        let start = crate::sys::clock::now();
        let mut told = 0;
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(9)), start);
        let first = watchdog.look(start, || told += 1).expect("asked at once");
        assert!(watchdog.look(start + Duration::from_secs(2), || told += 1).is_none());
        first.send(Snapshot::default()).unwrap();
        let at = start + Duration::from_secs(3);
        let silent = watchdog.look(at, || told += 1).expect("asked again");
        let _unheard = watchdog.look(at + Duration::from_secs(3), || told += 1).expect("and again");
        assert!(silent.send(Snapshot::default()).is_err(), "too late");
        assert_eq!(told, 1);
        assert_eq!(Watchdog::new(None, start).deadline(), None);
    }
}
