//! Whether anything is on its way between the threads of a server that stands still.
//!
//! ```text
//!   round k: each shard says how much it has sent and received, and whether it is idle
//!   all idle, as much received as sent, nothing new sent since round k - 1 ─▶ quiet
//! ```
//!
//! A message that was sent and not received makes the sums differ; one that was on its way between
//! the answers of two shards, and was missed by both sums, has been sent since the round before.
//! Pure: told numbers, returns what they mean.

/// The rounds of one hand-over.
#[derive(Debug)]
pub(super) struct Survey {
    shard_count: usize,
    round: u32,
    answers: usize,
    sent: u64,
    received: u64,
    all_idle: bool,
    /// Messages sent by the end of the round before.
    sent_before: Option<u64>,
}

/// What an answer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Others have yet to answer.
    Nothing,
    /// Something was on its way, or may be: another round is to be made.
    Stir,
    /// Nothing is.
    Quiet,
}

/// What a thread has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Survey {
    pub(super) fn new(shard_count: usize) -> Self {
        Self {
            shard_count,
            round: 0,
            answers: 0,
            sent: 0,
            received: 0,
            all_idle: true,
            sent_before: None,
        }
    }

    /// Begins the next round; returns its number.
    pub(super) fn begin(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1);
        (self.answers, self.sent, self.received, self.all_idle) = (0, 0, 0, true);
        self.round
    }

    /// A shard has answered. `own`: what the asking thread itself has counted, this answer
    /// included, and whether it is idle.
    pub(super) fn answered(
        &mut self,
        round: u32,
        counts: Counts,
        is_idle: bool,
        (own, own_is_idle): (Counts, bool),
    ) -> Found {
        if round != self.round {
            return Found::Nothing; // of a hand-over that was given up
        }
        self.answers += 1;
        // Its answer, which it had not counted.
        self.sent += counts.sent + 1;
        self.received += counts.received;
        self.all_idle &= is_idle;
        if self.answers < self.shard_count {
            return Found::Nothing;
        }
        let (sent, received) = (self.sent + own.sent, self.received + own.received);
        let by_asking = 2 * self.shard_count as u64;
        let before = self.sent_before.replace(sent);
        let is_still = before.is_some_and(|before| before + by_asking == sent);
        let all_idle = self.all_idle && own_is_idle;
        if all_idle && is_still && sent == received { Found::Quiet } else { Found::Stir }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const SHARDS: usize = 3;

    /// Shards with queues between them, and the asking thread behind them.
    struct World {
        queues: Vec<VecDeque<Message>>,
        counts: Vec<Counts>,
    }

    #[derive(Clone, Copy)]
    enum Message {
        Ask(u32),
        Answer(u32, Counts),
        /// Something that leads to so many others.
        Work(u32),
    }

    impl World {
        fn send(&mut self, from: usize, to: usize, message: Message) {
            self.counts[from].sent += 1;
            self.queues[from * (SHARDS + 1) + to].push_back(message);
        }

        fn take(&mut self, from: usize, to: usize) -> Option<Message> {
            let message = self.queues[from * (SHARDS + 1) + to].pop_front()?;
            self.counts[to].received += 1;
            Some(message)
        }

        fn has_work(&self) -> bool {
            let work = |message: &Message| matches!(message, Message::Work(_));
            self.queues.iter().flatten().any(work)
        }
    }

    fn next(random: &mut u64) -> usize {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        usize::try_from(*random >> 33).unwrap()
    }

    #[test]
    fn it_is_quiet_at_last_and_never_while_something_is_on_its_way() {
        let mut stirs = 0;
        for seed in 0..3000_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let members = SHARDS + 1;
            let none = Counts { sent: 0, received: 0 };
            let mut world = World {
                queues: vec![VecDeque::new(); members * members],
                counts: vec![none; members],
            };
            for _ in 0..next(&mut random) % 5 {
                let (from, to) = (next(&mut random) % SHARDS, next(&mut random) % SHARDS);
                world.send(from, to, Message::Work(u32::try_from(next(&mut random) % 6).unwrap()));
            }
            let mut survey = Survey::new(SHARDS);
            let round = survey.begin();
            (0..SHARDS).for_each(|shard| world.send(SHARDS, shard, Message::Ask(round)));
            for step in 0.. {
                assert!(step < 100_000, "seed {seed}: it is never quiet");
                let (from, to) = (next(&mut random) % members, next(&mut random) % members);
                match world.take(from, to) {
                    None => {}
                    Some(Message::Ask(round)) => {
                        let counts = world.counts[to];
                        world.send(to, SHARDS, Message::Answer(round, counts));
                    }
                    Some(Message::Work(left)) => {
                        if let Some(left) = left.checked_sub(1) {
                            world.send(to, next(&mut random) % SHARDS, Message::Work(left));
                        }
                    }
                    Some(Message::Answer(round, counts)) => {
                        match survey.answered(round, counts, true, (world.counts[SHARDS], true)) {
                            Found::Nothing => {}
                            Found::Quiet => {
                                assert!(!world.has_work(), "seed {seed}");
                                break;
                            }
                            Found::Stir => {
                                stirs += 1;
                                let round = survey.begin();
                                (0..SHARDS)
                                    .for_each(|to| world.send(SHARDS, to, Message::Ask(round)));
                            }
                        }
                    }
                }
            }
        }
        assert!(stirs > 3500, "more rounds than two are seen: {stirs}");
    }

    #[test]
    fn who_is_not_idle_has_another_round() {
        let mut survey = Survey::new(1);
        let mut own = Counts { sent: 0, received: 0 };
        let mut found = Vec::new();
        let rounds = [(true, true), (false, true), (true, false), (true, true), (true, true)];
        for (count, (is_idle, own_is_idle)) in (0..).zip(rounds) {
            let round = survey.begin();
            own = Counts { sent: own.sent + 1, received: own.received + 1 };
            let counts = Counts { sent: count, received: count + 1 };
            found.push(survey.answered(round, counts, is_idle, (own, own_is_idle)));
        }
        let stirred = [Found::Stir, Found::Stir, Found::Stir, Found::Quiet, Found::Quiet];
        assert_eq!(found, stirred);
    }
}
