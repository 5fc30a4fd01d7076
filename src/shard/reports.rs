//! What the application reports to the control thread, without an answer.
//!
//! ```text
//!   report ─▶ room? ─no─▶ Full, counted
//!               └─yes─▶ waits for the end of the turn ─▶ mesh, many in one message
//! ```
//!
//! Invariants: reports arrive in their order; those that wait are bounded in number and bytes, and
//! lesser ones, of which clients make as many as they like, leave half of that to the others; a
//! shard that stops waits until they have left, or its time is over and they are counted.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::core::Core;
use super::message::Message;
use crate::handler::{Handler, ReportError};
use crate::limits::{
    REPORT_OVERHEAD_BYTES, REPORTS_BYTES_MAX, REPORTS_LESSER_BYTES_MAX, REPORTS_LESSER_MAX,
    REPORTS_PER_MESSAGE_MAX, REPORTS_PER_SHARD_MAX,
};
use crate::mesh::{Class, Full, Member, MemberId};

/// The reports of one shard that have not left.
#[derive(Default)]
pub(super) struct Reports {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    lesser_count: usize,
    lesser_bytes: usize,
}

struct Waiting {
    report: Box<[u8]>,
    is_lesser: bool,
}

impl Reports {
    fn add(&mut self, report: Box<[u8]>, is_lesser: bool) -> Result<(), ReportError> {
        let bytes = self.bytes + charge(&report);
        if is_lesser {
            let lesser_bytes = self.lesser_bytes + charge(&report);
            if self.lesser_count >= REPORTS_LESSER_MAX || lesser_bytes > REPORTS_LESSER_BYTES_MAX {
                return Err(ReportError::Full);
            }
        }
        if self.waiting.len() >= REPORTS_PER_SHARD_MAX || bytes > REPORTS_BYTES_MAX {
            return Err(ReportError::Full);
        }
        self.waiting.push_back(Waiting { report, is_lesser });
        self.count_in(self.waiting.len() - 1);
        Ok(())
    }

    /// One that waits takes its room.
    fn count_in(&mut self, index: usize) {
        let Waiting { report, is_lesser } = &self.waiting[index];
        let bytes = charge(report);
        self.bytes += bytes;
        if *is_lesser {
            self.lesser_count += 1;
            self.lesser_bytes += bytes;
        }
    }

    /// The first has left.
    fn take_first(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        let bytes = charge(&first.report);
        self.bytes -= bytes;
        if first.is_lesser {
            self.lesser_count -= 1;
            self.lesser_bytes -= bytes;
        }
        Some(first)
    }

    /// Sends them, as far as there is room: the mesh wakes this shard when there is more.
    fn send(&mut self, mesh: &mut Member<Message>, control: MemberId) {
        while !self.waiting.is_empty() {
            let first = std::iter::from_fn(|| self.take_first()).take(REPORTS_PER_MESSAGE_MAX);
            let (some, are_lesser): (Vec<_>, Vec<_>) =
                first.map(|one| (one.report, one.is_lesser)).unzip();
            match mesh.send(control, Message::Reported(some.into()), Class::Delivery) {
                Ok(()) => {}
                Err(Full(Message::Reported(some))) => {
                    for (report, is_lesser) in some.into_iter().zip(are_lesser).rev() {
                        self.waiting.push_front(Waiting { report, is_lesser });
                        self.count_in(0);
                    }
                    return;
                }
                Err(Full(other)) => unreachable!("{other:?} was not sent"),
            }
        }
    }
}

fn charge(report: &[u8]) -> usize {
    report.len() + REPORT_OVERHEAD_BYTES
}

impl<H: Handler> Core<H> {
    pub(super) fn report(&mut self, report: Box<[u8]>, is_lesser: bool) -> Result<(), ReportError> {
        let reported = self.reports.add(report, is_lesser);
        match reported {
            Ok(()) => self.counters.reports += 1,
            Err(_) => self.counters.reports_refused += 1,
        }
        reported
    }

    /// Once a turn, behind all that may report.
    pub(super) fn send_reports(&mut self) {
        if !self.reports.waiting.is_empty() {
            let control = self.control();
            self.reports.send(&mut self.channels.mesh, control);
        }
    }

    /// Whether all have left.
    pub(super) fn has_reported(&self) -> bool {
        self.reports.waiting.is_empty()
    }

    /// There is no time left for those that wait: they were not reported.
    pub(super) fn give_up_reports(&mut self) {
        let lost = self.reports.waiting.len() as u64;
        self.counters.reports -= lost;
        self.counters.reports_refused += lost;
        self.reports = Reports::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    /// A shard's end of the mesh, and that of the control thread.
    fn ends(slots: usize) -> (Member<Message>, Member<Message>) {
        let mut members = mesh::build_with_slots(2, slots).expect("a mesh");
        let control = members.pop().expect("two");
        (members.pop().expect("two"), control)
    }

    fn received(shard: &mut Member<Message>, control: &mut Member<Message>) -> Vec<Box<[u8]>> {
        shard.flush(|_| {});
        let mut all = Vec::new();
        while let Some(received) = control.receive() {
            let Message::Reported(some) = received.message else { panic!("{received:?}") };
            assert!(some.len() <= REPORTS_PER_MESSAGE_MAX);
            all.extend(some);
        }
        control.flush(|_| {});
        all
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_in_bytes() {
        for bytes in [1, REPORTS_BYTES_MAX / 100] {
            let mut all = Reports::default();
            let taken = (0..2 * REPORTS_PER_SHARD_MAX)
                .take_while(|_| all.add(vec![0; bytes].into(), false).is_ok())
                .count();
            let expected = REPORTS_PER_SHARD_MAX.min(REPORTS_BYTES_MAX / (bytes + charge(&[])));
            assert_eq!((taken, all.waiting.len()), (expected, expected), "{bytes} bytes each");
        }
    }

    #[test]
    fn lesser_reports_leave_room_for_others() {
        for bytes in [1, REPORTS_BYTES_MAX / 100] {
            let report = || -> Box<[u8]> { vec![0; bytes].into() };
            let mut all = Reports::default();
            let taken =
                (0..REPORTS_PER_SHARD_MAX).take_while(|_| all.add(report(), true).is_ok()).count();
            let room = REPORTS_LESSER_MAX.min(REPORTS_LESSER_BYTES_MAX / charge(&report()));
            assert_eq!((taken, all.add(report(), false)), (room, Ok(())), "{bytes} bytes each");
            while all.add(report(), false).is_ok() {}
            all.take_first();
            assert_eq!(all.add(report(), true), Ok(()), "what has left gives its room back");
        }
    }

    #[test]
    fn a_full_queue_delays_and_neither_loses_nor_turns_round() {
        const COUNT: u32 = 2560; // 40 messages
        let (mut shard, mut control) = ends(16);
        let mut all = Reports::default();
        for number in 0..COUNT {
            assert_eq!(all.add(number.to_le_bytes().into(), number % 3 == 0), Ok(()));
        }
        let mut seen = Vec::new();
        for _ in 0..20 {
            all.send(&mut shard, MemberId::new(1));
            let left: usize = all.waiting.iter().map(|one| charge(&one.report)).sum();
            assert_eq!(all.bytes, left, "what has left takes no room");
            seen.extend(received(&mut shard, &mut control));
        }
        let expected: Vec<Box<[u8]>> =
            (0..COUNT).map(|number| number.to_le_bytes().into()).collect();
        assert!(seen == expected);
        assert_eq!((all.bytes, all.waiting.len()), (0, 0));
        assert_eq!((all.lesser_bytes, all.lesser_count), (0, 0));
    }
}
