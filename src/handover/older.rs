//! What the older process does when, and how it goes back as long as it can.
//!
//! ```text
//!   Serving ──asked──▶ Building ──built──▶ Copying ──copied──▶ Moving ──committed──▶ Left
//!      ▲                  │  └── by one that │ takes no copies ──▶│ ▲                  ▲
//!      │   refused, gone, │                  │    late, stuck,    │ └─── committed ────┤
//!      ├──── late, stop ──┴──────────────────┘    stop, refused   ▼                    │
//!      └───────────────── gone ─────────────────────────────── Revoking ───────────────┘
//! ```
//!
//! While it is copying, the older process serves, and the newer has been told nothing that it could
//! commit: it is given up at once. A rehearsal ends when all is copied.
//!
//! The commit is one message of the newer process. Who is first, the message or the older process
//! that does not want it any more, is settled by the kernel: [`Action::Revoke`] shuts the socket
//! for reading, after which the newer process cannot send the message, and what it has sent before
//! can still be read. Hence Revoking: it ends with the message, or with the end of the socket.
//!
//! Invariant: the older process serves again only when the message is not and never will be
//! there, and leaves only when it is: one of the two processes serves, and never both.

use std::fmt;

/// What happens to the older process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants an upgrade, or a rehearsal of it.
    Asked {
        /// Only a rehearsal.
        is_check: bool,
    },
    /// The newer process is ready and has the room.
    Built {
        /// Both sides know of copies that are sent ahead.
        sends_ahead: bool,
    },
    /// The shards have sent copies ahead, and the newer process has said that it has them.
    Copied,
    /// The newer process has taken everything over.
    Committed,
    /// It has closed its end, or died, and everything that it has said was read.
    Gone,
    /// Something stands in the way: the upgrade is to be given up.
    Stuck(Failure),
}

/// What stands in the way of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The newer process could not be started.
    NotStarted,
    /// The newer process said why it cannot.
    Refused,
    /// The newer process ended without a word.
    Died,
    /// What the newer process says is not understood.
    NotUnderstood,
    /// It was not ready in time.
    LateBuilt,
    /// It did not take the copies that were sent ahead in time.
    LateCopied,
    /// The connections were not over there in time.
    LateMoved,
    /// A shard has something that cannot be handed over.
    NotPortable,
    /// A shard, or a way between the processes, broke.
    Broken,
    /// The server is to stop.
    Stopping,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotStarted => "the new binary could not be started",
            Self::Refused => "the new process cannot take over",
            Self::Died => "the new process ended before it took over",
            Self::NotUnderstood => "the new process says what is not understood here",
            Self::LateBuilt => "the new process was not ready in time",
            Self::LateCopied => "the new process did not take what was sent ahead in time",
            Self::LateMoved => "the new process did not take everything over in time",
            Self::NotPortable => "some connections cannot be handed over",
            Self::Broken => "the way to the new process broke",
            Self::Stopping => "the server is to stop",
        })
    }
}

/// What the older process has to do now, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the newer process.
    Start {
        /// Only a rehearsal.
        is_check: bool,
    },
    /// Say that an upgrade is under way already.
    Busy,
    /// Let the shards send copies ahead, while they serve.
    Copy,
    /// Let the shards stand still, and send what they have.
    Freeze,
    /// Shut the socket for reading, and read what is in it.
    Revoke,
    /// Let the shards go on, and forget what was copied.
    Thaw,
    /// End the newer process, and say why: it was a rehearsal if there is no failure.
    End(Option<Failure>),
    /// Everything is the newer process's: close all copies, and end.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Building { is_check: bool },
    Copying { is_check: bool },
    Moving,
    Revoking(Failure),
    Left,
}

/// The older process's part.
#[derive(Debug)]
pub struct Older {
    state: State,
}

impl Default for Older {
    fn default() -> Self {
        Self { state: State::Serving }
    }
}

impl Older {
    /// Takes note of an event; what is to be done about it, in this order.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        use Action::{Busy, Copy, End, Freeze, Leave, Revoke, Start, Thaw};
        let (state, actions) = match (self.state, event) {
            (State::Serving, Event::Asked { is_check }) => {
                (State::Building { is_check }, vec![Start { is_check }])
            }
            (state, Event::Asked { .. }) => (state, vec![Busy]),
            (State::Building { is_check }, Event::Built { sends_ahead: true }) => {
                (State::Copying { is_check }, vec![Copy])
            }
            (State::Building { is_check: true }, Event::Built { .. }) => {
                (State::Serving, vec![End(None)])
            }
            (State::Building { is_check: false }, Event::Built { .. })
            | (State::Copying { is_check: false }, Event::Copied) => (State::Moving, vec![Freeze]),
            (State::Copying { is_check: true }, Event::Copied) => {
                (State::Serving, vec![Thaw, End(None)])
            }
            (State::Copying { .. } | State::Moving, Event::Gone) => {
                (State::Serving, vec![Thaw, End(Some(Failure::Died))])
            }
            (State::Copying { .. }, Event::Stuck(why)) => {
                (State::Serving, vec![Thaw, End(Some(why))])
            }
            (State::Building { .. }, Event::Gone) => {
                (State::Serving, vec![End(Some(Failure::Died))])
            }
            (State::Building { .. }, Event::Stuck(why)) => (State::Serving, vec![End(Some(why))]),
            (State::Moving | State::Revoking(_), Event::Committed) => (State::Left, vec![Leave]),
            (State::Moving, Event::Stuck(why)) => (State::Revoking(why), vec![Revoke]),
            (State::Revoking(why), Event::Gone) => (State::Serving, vec![Thaw, End(Some(why))]),
            // What it says out of turn is not understood: before it can have everything it has
            // taken over nothing.
            (State::Building { .. }, Event::Committed) => {
                (State::Serving, vec![End(Some(Failure::NotUnderstood))])
            }
            (State::Copying { .. }, Event::Committed | Event::Built { .. }) => {
                (State::Serving, vec![Thaw, End(Some(Failure::NotUnderstood))])
            }
            (State::Moving, Event::Built { .. }) => {
                (State::Revoking(Failure::NotUnderstood), vec![Revoke])
            }
            // The end is settled already; or the shards had said so before they heard of another.
            (state @ (State::Serving | State::Revoking(_) | State::Left), _)
            | (state, Event::Copied) => (state, vec![]),
        };
        self.state = state;
        actions
    }

    /// Whether an upgrade is under way.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Serving | State::Left)
    }

    /// Whether the shards send copies ahead, and serve.
    pub fn is_copying(&self) -> bool {
        matches!(self.state, State::Copying { .. })
    }

    /// Whether the shards stand still, or are about to.
    pub fn is_moving(&self) -> bool {
        matches!(self.state, State::Moving | State::Revoking(_))
    }

    /// Whether everything is the newer process's.
    pub fn has_left(&self) -> bool {
        self.state == State::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A step that either side, or chance, can take.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        OlderReads,
        NewerBuilds,
        ShardsHaveCopied,
        NewerCommits,
        NewerRefuses,
        NewerIsKilled,
        TimePasses,
        ShardsAreStuck,
        StopIsAsked,
        AskedAgain,
    }

    /// Those twice that an upgrade has to come through.
    const STEPS: [Step; 14] = [
        Step::OlderReads,
        Step::NewerBuilds,
        Step::ShardsHaveCopied,
        Step::NewerCommits,
        Step::OlderReads,
        Step::NewerBuilds,
        Step::ShardsHaveCopied,
        Step::NewerCommits,
        Step::NewerRefuses,
        Step::NewerIsKilled,
        Step::TimePasses,
        Step::ShardsAreStuck,
        Step::StopIsAsked,
        Step::AskedAgain,
    ];

    /// What the newer process can do next.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Newer {
        Absent,
        Building,
        Built,
        Taking,
        Serving,
        Dead,
    }

    /// Both processes, and the socket between them as the kernel has it.
    struct World {
        older: Older,
        newer: Newer,
        /// What the newer process has said, and the older has not read.
        said: VecDeque<Event>,
        is_revoked: bool,
        /// Both sides know of copies.
        sends_ahead: bool,
        is_copying: bool,
        is_frozen: bool,
        has_left: bool,
        ended: Vec<Option<Failure>>,
        busy_count: usize,
        was_killed_serving: bool,
    }

    impl World {
        fn new(sends_ahead: bool) -> Self {
            Self {
                sends_ahead,
                is_copying: false,
                older: Older::default(),
                newer: Newer::Absent,
                said: VecDeque::new(),
                is_revoked: false,
                is_frozen: false,
                has_left: false,
                ended: Vec::new(),
                busy_count: 0,
                was_killed_serving: false,
            }
        }

        fn on(&mut self, event: Event) {
            for action in self.older.on(event) {
                match action {
                    Action::Start { .. } => {
                        self.newer = Newer::Building;
                        self.said.clear();
                        self.is_revoked = false;
                    }
                    Action::Busy => self.busy_count += 1,
                    Action::Copy => {
                        assert!(!self.is_copying && !self.is_frozen && !self.has_left);
                        self.is_copying = true;
                    }
                    Action::Freeze => {
                        assert!(!self.is_frozen && !self.has_left);
                        assert_eq!(self.is_copying, self.sends_ahead, "nothing is left out");
                        self.is_frozen = true;
                        if self.newer == Newer::Built {
                            self.newer = Newer::Taking;
                        }
                    }
                    Action::Revoke => self.is_revoked = true,
                    Action::Thaw => {
                        assert!((self.is_frozen || self.is_copying) && !self.has_left);
                        (self.is_frozen, self.is_copying) = (false, false);
                    }
                    Action::End(failure) => {
                        assert_ne!(self.newer, Newer::Serving, "ended while it serves");
                        assert!(!self.is_copying, "the copies are forgotten");
                        self.newer = Newer::Dead;
                        self.ended.push(failure);
                    }
                    Action::Leave => self.has_left = true,
                }
            }
        }

        /// The newer process's send: it fails once the older one reads no more.
        fn say(&mut self, event: Event) -> bool {
            if self.is_revoked {
                return false;
            }
            self.said.push_back(event);
            true
        }

        fn take(&mut self, step: Step) {
            match (step, self.newer) {
                (Step::OlderReads, _) if !self.older.is_under_way() => {}
                (Step::OlderReads, newer) => match self.said.pop_front() {
                    Some(event) => self.on(event),
                    None if newer == Newer::Dead || self.is_revoked => self.on(Event::Gone),
                    None => {}
                },
                (Step::NewerBuilds, Newer::Building) => {
                    let is_said = self.say(Event::Built { sends_ahead: self.sends_ahead });
                    self.newer = if is_said { Newer::Built } else { Newer::Dead };
                }
                (Step::ShardsHaveCopied, _) if self.is_copying => self.on(Event::Copied),
                (Step::NewerCommits, Newer::Taking) => {
                    let is_sent = self.say(Event::Committed);
                    self.newer = if is_sent { Newer::Serving } else { Newer::Dead };
                }
                (Step::NewerRefuses, Newer::Building | Newer::Built | Newer::Taking) => {
                    self.say(Event::Stuck(Failure::Refused));
                    self.newer = Newer::Dead;
                }
                (Step::NewerIsKilled, newer) if newer != Newer::Absent => {
                    self.was_killed_serving |= newer == Newer::Serving;
                    self.newer = Newer::Dead;
                }
                (Step::TimePasses, _) if self.older.is_moving() => {
                    self.on(Event::Stuck(Failure::LateMoved));
                }
                (Step::TimePasses, _) => self.on(Event::Stuck(Failure::LateBuilt)),
                (Step::ShardsAreStuck, _) if self.is_frozen => {
                    self.on(Event::Stuck(Failure::NotPortable));
                }
                (Step::StopIsAsked, _) => self.on(Event::Stuck(Failure::Stopping)),
                (Step::AskedAgain, _) => self.on(Event::Asked { is_check: false }),
                _ => {}
            }
            let older_serves = !self.is_frozen && !self.has_left;
            assert!(!(older_serves && self.newer == Newer::Serving), "both serve");
        }

        /// Lets everything come to its end, with time passing.
        fn settle(&mut self) {
            for _ in 0..20 {
                for step in [Step::OlderReads, Step::TimePasses] {
                    self.take(step);
                }
            }
        }
    }

    fn next(random: &mut u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        *random >> 33
    }

    #[test]
    fn in_every_order_of_steps_one_of_the_two_serves() {
        let mut ends = [0_u32; 3];
        for seed in 0..20_000_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut world = World::new(seed % 4 != 0);
            world.on(Event::Asked { is_check: seed % 16 == 1 });
            for _ in 0..next(&mut random) % 32 {
                let index = next(&mut random) % STEPS.len() as u64;
                let step = STEPS[usize::try_from(index).unwrap()];
                world.take(step);
            }
            world.settle();
            let older_serves = !world.is_frozen && !world.has_left;
            let newer_serves = world.newer == Newer::Serving;
            let is_crash = world.has_left && world.was_killed_serving;
            assert!(older_serves ^ (newer_serves || is_crash), "seed {seed}");
            assert!(!world.older.is_under_way(), "seed {seed} never ends");
            ends[usize::from(newer_serves) + 2 * usize::from(is_crash)] += 1;
        }
        assert!(ends.iter().all(|count| *count > 50), "all ends are seen: {ends:?}");
    }

    #[test]
    fn a_second_upgrade_at_the_same_time_is_refused() {
        let mut older = Older::default();
        assert_eq!(older.on(Event::Asked { is_check: false }), [Action::Start { is_check: false }]);
        assert_eq!(older.on(Event::Asked { is_check: true }), [Action::Busy]);
        assert_eq!(older.on(Event::Built { sends_ahead: true }), [Action::Copy]);
        assert!(older.is_copying() && !older.is_moving());
        assert_eq!(older.on(Event::Asked { is_check: false }), [Action::Busy]);
        assert_eq!(older.on(Event::Copied), [Action::Freeze]);
        assert_eq!(older.on(Event::Asked { is_check: false }), [Action::Busy]);
    }

    #[test]
    fn a_rehearsal_freezes_nothing_and_forgets_what_was_copied() {
        let mut older = Older::default();
        older.on(Event::Asked { is_check: true });
        assert_eq!(older.on(Event::Built { sends_ahead: false }), [Action::End(None)]);
        assert!(!older.is_under_way());
        older.on(Event::Asked { is_check: true });
        assert_eq!(older.on(Event::Built { sends_ahead: true }), [Action::Copy]);
        assert_eq!(older.on(Event::Copied), [Action::Thaw, Action::End(None)]);
        assert!(!older.is_under_way());
    }

    #[test]
    fn one_that_is_copying_gives_up_at_once_whatever_happens() {
        let cases = [
            (Event::Gone, Failure::Died),
            (Event::Stuck(Failure::LateCopied), Failure::LateCopied),
            (Event::Committed, Failure::NotUnderstood),
            (Event::Built { sends_ahead: true }, Failure::NotUnderstood),
        ];
        for (event, why) in cases {
            let mut older = Older::default();
            older.on(Event::Asked { is_check: false });
            older.on(Event::Built { sends_ahead: true });
            assert_eq!(older.on(event), [Action::Thaw, Action::End(Some(why))], "{event:?}");
            assert!(!older.is_under_way());
            assert_eq!(older.on(Event::Copied), [], "too late");
        }
    }

    #[test]
    fn a_commit_that_was_sent_before_the_revocation_counts() {
        let mut older = Older::default();
        older.on(Event::Asked { is_check: false });
        older.on(Event::Built { sends_ahead: true });
        older.on(Event::Copied);
        assert_eq!(older.on(Event::Stuck(Failure::LateMoved)), [Action::Revoke]);
        assert_eq!(older.on(Event::Committed), [Action::Leave]);
        assert!(older.has_left());
        assert_eq!(older.on(Event::Gone), []);
    }
}
