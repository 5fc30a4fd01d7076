//! Whose turn it is among members that share a core.
//!
//! Where there are more members than cores, long work that all of them have at once, such as a
//! publication to everybody, would make every one of them wait for all others: whoever has a word
//! to answer, too. So one member of a core does long work at a time, for one turn, and passes the
//! core on to the next that waits; the others sleep, and are on the core at once when they wake.
//!
//! Invariants: one member at most holds the core; whoever waits is passed it, for who holds it
//! looks once more after it has let go; what is passed is taken, used or not, and passed on.
#![forbid(unsafe_code)]

use super::atomics::{AtomicU64, Ordering, fence};
use super::members::{MemberId, MemberSet, WORDS};

/// Nobody holds the core.
const FREE: u64 = 0;

/// One per core, in cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Rota {
    /// The number of who holds the core, plus one.
    holder: AtomicU64,
    waiting: [AtomicU64; WORDS],
}

/// What became of leaving the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It stood there, and does no more.
    Out,
    /// The core had been passed to it already, and it holds it.
    Holds,
    /// The core is being passed to it this moment.
    Awaited,
}

impl Rota {
    pub(super) fn new() -> Self {
        let waiting = std::array::from_fn(|_| AtomicU64::new(0));
        Self { holder: AtomicU64::new(FREE), waiting }
    }

    /// For who does not stand in line: true if `member` holds the core now. If not, it does stand
    /// there, once, until the core [is passed](Self::is_held_by) to it or it [leaves](Self::leave).
    pub(super) fn ask(&self, member: MemberId) -> bool {
        let (word, bit) = member.place();
        self.waiting[word].fetch_or(bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.take(member) {
            self.claim(member);
            return true;
        }
        false
    }

    /// For who holds the core: lets go of it. Who holds it now, if anybody, is to be woken.
    pub(super) fn pass(&self, member: MemberId) -> Option<MemberId> {
        loop {
            // One round at most finds nobody: who has left meanwhile is not claimed.
            while let Some(next) = self.next_after(member) {
                if self.claim(next) {
                    self.holder.store(held_by(next), Ordering::Release);
                    return Some(next);
                }
            }
            self.holder.store(FREE, Ordering::Release);
            fence(Ordering::SeqCst);
            // Whoever has come in between has seen it held, and does not look again.
            if self.next_after(member).is_none() || !self.take(member) {
                return None;
            }
        }
    }

    /// For who stands in line, and has no use for the core any more.
    pub(super) fn leave(&self, member: MemberId) -> Left {
        if self.claim(member) {
            Left::Out
        } else if self.is_held_by(member) {
            Left::Holds
        } else {
            Left::Awaited
        }
    }

    /// For who stands in line: whether it has been passed the core.
    pub(super) fn is_held_by(&self, member: MemberId) -> bool {
        self.holder.load(Ordering::Acquire) == held_by(member)
    }

    fn take(&self, member: MemberId) -> bool {
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        self.holder.compare_exchange(FREE, held_by(member), success, failure).is_ok()
    }

    /// Takes a member out of the line; false if it is not there.
    fn claim(&self, member: MemberId) -> bool {
        let (word, bit) = member.place();
        self.waiting[word].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Who waits, the next in the order of numbers first.
    fn next_after(&self, member: MemberId) -> Option<MemberId> {
        let load = |word: usize| self.waiting[word].load(Ordering::Relaxed);
        let waiting = MemberSet(std::array::from_fn(load));
        waiting.first_from(member.as_usize() + 1).or_else(|| waiting.first_from(0))
    }
}

fn held_by(member: MemberId) -> u64 {
    member.as_usize() as u64 + 1
}

#[cfg(test)]
#[cfg(not(longwire_loom))]
mod tests {
    use super::*;

    const fn id(number: usize) -> MemberId {
        MemberId::new(number)
    }

    #[test]
    fn the_core_goes_round_among_those_who_wait() {
        let rota = Rota::new();
        assert!(rota.ask(id(1)));
        assert!(!rota.ask(id(0)) && !rota.ask(id(70)) && !rota.ask(id(2)));
        assert!(rota.is_held_by(id(1)));
        assert_eq!(rota.pass(id(1)), Some(id(2)));
        assert!(rota.is_held_by(id(2)) && !rota.ask(id(1)));
        assert_eq!(rota.pass(id(2)), Some(id(70)));
        assert_eq!(rota.pass(id(70)), Some(id(0)));
        assert_eq!(rota.pass(id(0)), Some(id(1)));
        assert_eq!(rota.pass(id(1)), None);
        assert!(rota.ask(id(70)));
    }

    #[test]
    fn who_leaves_the_line_is_passed_nothing() {
        let rota = Rota::new();
        assert!(rota.ask(id(0)) && !rota.ask(id(1)) && !rota.ask(id(2)));
        assert_eq!(rota.leave(id(1)), Left::Out);
        assert_eq!(rota.pass(id(0)), Some(id(2)));
        assert_eq!(rota.leave(id(2)), Left::Holds);
        assert_eq!(rota.pass(id(2)), None);
    }
}

/// Every order of every access, by loom; see `doorbell`.
#[cfg(test)]
#[cfg(longwire_loom)]
mod loom_tests {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    use super::*;

    const PREEMPTIONS: usize = 3;

    struct Core {
        rota: Rota,
        inside: AtomicUsize,
        wakes: [Notify; 3],
    }

    impl Core {
        /// Works for one turn when it is `member`'s, then passes the core on.
        fn work(&self, member: MemberId) {
            let mut holds = self.rota.ask(member);
            while !holds {
                self.wakes[member.as_usize()].wait();
                holds = self.rota.is_held_by(member);
            }
            assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            self.inside.fetch_sub(1, Ordering::Relaxed);
            self.pass(member);
        }

        fn pass(&self, member: MemberId) {
            if let Some(next) = self.rota.pass(member) {
                self.wakes[next.as_usize()].notify();
            }
        }

        /// Asks, and changes its mind.
        fn ask_and_leave(&self, member: MemberId) {
            if self.rota.ask(member) {
                return self.pass(member);
            }
            match self.rota.leave(member) {
                Left::Out => {}
                Left::Holds => self.pass(member),
                Left::Awaited => {
                    self.wakes[member.as_usize()].wait();
                    assert_eq!(self.rota.leave(member), Left::Holds);
                    self.pass(member);
                }
            }
        }
    }

    fn in_every_order(lives: [fn(&Core, MemberId); 3]) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(PREEMPTIONS));
        model.check(move || {
            let wakes = std::array::from_fn(|_| Notify::new());
            let core = Core { rota: Rota::new(), inside: AtomicUsize::new(0), wakes };
            let core = Arc::new(core);
            let [first, others @ ..] = lives;
            let threads = [(1, others[0]), (2, others[1])].map(|(number, life)| {
                let core = Arc::clone(&core);
                thread::spawn(move || life(&core, MemberId::new(number)))
            });
            first(&core, MemberId::new(0));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(core.rota.ask(MemberId::new(0)), "it is free when all have done");
        });
    }

    #[test]
    fn everybody_has_a_turn_and_nobody_beside_another() {
        in_every_order([Core::work; 3]);
    }

    #[test]
    fn who_leaves_takes_nobodys_turn() {
        in_every_order([Core::work, Core::ask_and_leave, Core::work]);
    }
}
