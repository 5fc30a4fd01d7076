//! The mesh as its callers see it; the doorbell alone is checked by loom in its own file.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock, mpsc};
use std::thread::{self, Thread};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::MESH_MESSAGE_BYTES;

const CLASSES: [Class; Class::COUNT] = [Class::Delivery, Class::Request, Class::Notice];

fn id(number: usize) -> MemberId {
    MemberId::new(number)
}

fn mesh<M: Send, const N: usize>(slots: usize) -> [Member<M>; N] {
    let members = build_with_slots(N, slots).unwrap();
    members.try_into().expect("as many as were asked for")
}

fn no_wake(target: MemberId) {
    panic!("{target:?} was not asleep");
}

/// The members that a flush wants to be woken.
fn flush<M: Send>(member: &mut Member<M>) -> Vec<usize> {
    let mut woken = Vec::new();
    member.flush(|target| woken.push(target.as_usize()));
    woken
}

fn drain<M: Send>(member: &mut Member<M>) -> Vec<M> {
    std::iter::from_fn(|| member.receive()).map(|received| received.message).collect()
}

/// Sends until it is refused; how many went through.
fn fill(member: &mut Member<u32>, to: usize, class: Class) -> u32 {
    let refused = (0..u32::MAX).find(|&n| member.send(id(to), n, class).is_err());
    refused.expect("a queue is bounded")
}

#[test]
fn what_was_sent_arrives_in_order_after_the_flush() {
    let [mut a, mut b] = mesh(16);
    for n in 0..5 {
        a.send(id(1), n, Class::Delivery).unwrap();
    }
    assert_eq!(b.receive(), None, "the turn has not ended");
    a.flush(no_wake);
    let first = b.receive().unwrap();
    assert_eq!(first, Received { from: id(0), message: 0, owes_answer: false });
    assert_eq!(drain(&mut b), [1, 2, 3, 4]);
    assert_eq!((a.counters().sent, b.counters().received), (5, 5));
    assert_eq!((a.filled_max(id(1)), b.filled_max(id(0))), (5, 0));
}

#[test]
fn sources_take_turns_and_new_ones_join_the_next_round() {
    let [mut target, mut a, mut b, mut c] = mesh(64);
    for (source, base) in [(&mut a, 100), (&mut c, 300)] {
        (0..4).for_each(|n| source.send(id(0), base + n, Class::Delivery).unwrap());
        source.flush(no_wake);
    }
    assert_eq!([target.receive(), target.receive()].map(|r| r.unwrap().message), [100, 300]);
    b.send(id(0), 200, Class::Delivery).unwrap();
    b.flush(no_wake);
    assert_eq!(drain(&mut target), [101, 200, 301, 102, 302, 103, 303]);
}

#[test]
fn a_stopped_receiver_is_full_at_its_bound_and_harms_nobody_else() {
    let [mut a, stopped, mut c] = mesh::<u32, 3>(2);
    assert_eq!(fill(&mut a, 1, Class::Delivery), 1, "two slots, one of them for an answer");
    for n in 0..10 {
        assert_eq!(a.send(id(1), n, Class::Delivery), Err(Full(n)));
        a.send(id(2), n, Class::Delivery).unwrap();
        a.flush(no_wake);
        c.send(id(0), n, Class::Delivery).unwrap();
        c.flush(no_wake);
        assert_eq!(drain(&mut c), [n]);
        assert_eq!(drain(&mut a), [n]);
    }
    assert_eq!(a.counters().refused(Class::Delivery), 11);
    assert_eq!(a.counters().refused(Class::Request), 0);
    assert_eq!(c.counters().refused(Class::Delivery), 0);
    assert_eq!(fill(&mut c, 1, Class::Delivery), 1, "its own queue to the stopped one");
    assert_eq!(stopped.counters(), &Counters::default());
}

#[test]
fn each_class_fills_a_queue_to_the_end_of_its_part() {
    let [mut a, mut b] = mesh(16);
    assert_eq!(fill(&mut b, 0, Class::Request), 4, "as many as there is room for answers");
    b.flush(no_wake);
    assert_eq!(drain(&mut a).len(), 4);
    assert_eq!(fill(&mut a, 1, Class::Delivery), 10);
    assert_eq!(fill(&mut a, 1, Class::Request), 0);
    assert_eq!(fill(&mut a, 1, Class::Notice), 2);
    assert_eq!(a.owed(id(1)), 4);
    (0..4).for_each(|n| a.answer(id(1), n));
    assert_eq!(a.owed(id(1)), 0);
    a.flush(no_wake);
    assert_eq!(a.filled_max(id(1)), 16);
    assert_eq!(CLASSES.map(|class| a.counters().refused(class)), [1, 1, 1]);
    assert_eq!(drain(&mut b).len(), 16);
}

#[test]
fn requests_wait_for_answers_and_not_for_room() {
    let [mut a, mut b] = mesh(16);
    assert_eq!(fill(&mut a, 1, Class::Request), 4);
    a.flush(no_wake);
    assert_eq!(drain(&mut b).len(), 4);
    assert_eq!(a.send(id(1), 7, Class::Request), Err(Full(7)), "the queue is empty");
    assert_eq!(a.send(id(1), 7, Class::Delivery), Ok(()));
    a.flush(no_wake);
    assert!(a.prepare_sleep(), "room is not what it waits for");
    b.answer(id(0), 1);
    assert_eq!(flush(&mut b), [0]);
    a.woke();
    assert_eq!(a.send(id(1), 7, Class::Request), Err(Full(7)), "the answer is not taken yet");
    assert_eq!(drain(&mut a), [1]);
    assert_eq!(fill(&mut a, 1, Class::Request), 1);
}

#[test]
#[should_panic(expected = "an answer belongs to a request")]
fn an_answer_without_a_request_is_our_own_mistake() {
    let [mut a, mut b] = mesh(16);
    a.send(id(1), 1, Class::Delivery).unwrap();
    a.flush(no_wake);
    drain(&mut b);
    b.answer(id(0), 2);
}

#[test]
fn one_sleep_is_woken_once() {
    let [mut target, mut a, mut b] = mesh(16);
    assert!(target.prepare_sleep());
    a.send(id(0), 1, Class::Delivery).unwrap();
    b.send(id(0), 2, Class::Delivery).unwrap();
    assert_eq!(flush(&mut a), [0]);
    b.flush(no_wake);
    a.flush(no_wake);
    assert_eq!((a.counters().wakes, b.counters().wakes), (1, 0));
    target.woke();
    assert!(!target.prepare_sleep(), "it is marked");
    assert_eq!(drain(&mut target), [1, 2]);
    target.flush(no_wake);
    assert!(target.prepare_sleep());
    target.woke();
    a.send(id(0), 3, Class::Delivery).unwrap();
    a.flush(no_wake);
}

#[test]
fn a_refused_sender_is_woken_when_half_is_drained() {
    let [mut a, mut b] = mesh(16);
    assert_eq!(fill(&mut a, 1, Class::Delivery), 10);
    a.flush(no_wake);
    assert!(a.prepare_sleep());
    for _ in 0..4 {
        b.receive().unwrap();
        b.flush(no_wake);
    }
    b.receive().unwrap();
    assert_eq!(flush(&mut b), [0]);
    a.woke();
    assert_eq!(a.receive(), None);
    assert_eq!(fill(&mut a, 1, Class::Delivery), 5);
    a.flush(no_wake);
    b.receive().unwrap();
    b.flush(no_wake);
    drain(&mut b);
    assert!(!a.prepare_sleep(), "room came before it could be told");
    b.flush(no_wake);
    assert_eq!(drain(&mut a).len(), 0);
    assert!(a.prepare_sleep(), "nothing is refused any more");
}

#[test]
fn nobody_sleeps_on_what_a_turn_left_in_its_queues() {
    let [mut a, mut b] = mesh(16);
    for message in [1, 2] {
        a.send(id(1), message, Class::Delivery).unwrap();
    }
    a.flush(no_wake);
    assert_eq!(b.receive().unwrap().message, 1);
    b.flush(no_wake);
    // Its mark went with the first message; what is left is known to nobody but the owner.
    assert!(!b.prepare_sleep());
    assert_eq!(b.receive().unwrap().message, 2);
    assert_eq!(b.receive(), None);
    b.flush(no_wake);
    assert!(b.prepare_sleep());
}

#[test]
#[should_panic(expected = "a turn ends with a flush")]
fn to_sleep_on_messages_that_nobody_was_told_of_is_our_own_mistake() {
    let [mut a, _b] = mesh(16);
    a.send(id(1), 1, Class::Delivery).unwrap();
    a.prepare_sleep();
}

#[test]
#[should_panic(expected = "no queue to itself")]
fn a_member_does_not_send_to_itself() {
    let [mut a] = mesh(16);
    let _ = a.send(id(0), 1, Class::Delivery);
}

#[test]
fn peers_are_all_others() {
    let [a, b, c] = mesh::<(), 3>(2);
    let peers = [a, b, c].map(|member| member.peers().map(MemberId::as_usize).collect::<Vec<_>>());
    assert_eq!(peers, [[1, 2], [0, 2], [0, 1]]);
}

#[test]
fn all_queues_together_stay_within_the_budget() {
    let bytes = size_of::<Envelope<[u64; MESH_MESSAGE_BYTES / 8]>>();
    for count in 1..=MESH_MEMBERS_MAX {
        let slots = slots_of(count, bytes).expect("also the largest mesh fits");
        assert!((MESH_SLOTS_MIN..=MESH_SLOTS_MAX).contains(&slots));
        assert!(slots * bytes * count * (count - 1) <= MESH_BYTES_MAX, "{count} members");
    }
    assert_eq!(slots_of(2, bytes), Ok(MESH_SLOTS_MAX));
    let count = MESH_MEMBERS_MAX;
    assert_eq!(slots_of(count, 2 * bytes), Err(MeshError::TooFewSlots { count, slots: 8 }));
    let count = MESH_MEMBERS_MAX + 1;
    assert_eq!(slots_of(count, 1), Err(MeshError::TooManyMembers { count }));
    assert_eq!(build::<u8>(count).err(), Some(MeshError::TooManyMembers { count }));
    assert_eq!(build::<u8>(3).unwrap().len(), 3);
}

fn sharing(cores: usize) -> [Member<()>; 4] {
    let mut members = mesh(2);
    share_cores(&mut members, cores);
    members
}

#[test]
fn members_of_one_core_do_long_work_one_after_the_other() {
    let [mut a, mut b, mut c, _d] = sharing(2);
    assert!(a.take_core() && b.take_core(), "each is alone on its core as yet");
    assert!(!c.take_core() && c.is_in_line());
    assert_eq!(flush(&mut c), [0; 0]);
    assert!(c.prepare_sleep());
    // The sends of this turn are made in the next.
    assert_eq!(flush(&mut a), [0; 0]);
    assert!(a.holds_core());
    assert!(!a.take_core(), "c comes first");
    assert_eq!(flush(&mut a), [2]);
    c.woke();
    assert_eq!(c.receive(), None);
    assert!(c.take_core());
    flush(&mut c);
    // It has done all it had to.
    flush(&mut c);
    assert!(!c.is_in_line());
    assert!(a.take_core());
}

#[test]
fn who_does_not_ask_again_leaves_the_line_and_passes_on_what_it_was_passed() {
    let [mut a, mut b, mut c, _d] = sharing(1);
    assert!(a.take_core() && !b.take_core() && !c.take_core());
    for member in [&mut a, &mut b, &mut c] {
        flush(member);
    }
    flush(&mut b);
    assert!(!b.is_in_line());
    // Passed to c, which has nothing to do with it any more, and nobody waits.
    flush(&mut a);
    assert!(!a.is_in_line());
    flush(&mut c);
    assert!(!c.is_in_line());
    assert!(b.take_core());
}

#[test]
fn where_there_is_a_core_for_each_nothing_is_shared() {
    for cores in [0, 4, 5] {
        let mut members = sharing(cores);
        assert!(members.iter_mut().all(Member::take_core));
        assert!(!members.iter().any(|one| one.shares_core() || one.is_in_line()));
    }
}

#[test]
#[should_panic(expected = "others wait for the core")]
fn to_sleep_while_holding_a_core_is_our_own_mistake() {
    let [mut a, ..] = sharing(1);
    assert!(a.take_core());
    flush(&mut a);
    a.prepare_sleep();
}

/// One step of the simulation: what one member does.
#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: usize, class: Class },
    Receive { member: usize, count: usize },
    Answer { member: usize, to: usize },
    Flush { member: usize },
}

const MEMBERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let pair = (0..MEMBERS, 1..MEMBERS).prop_map(|(from, by)| (from, (from + by) % MEMBERS));
    let class = prop::sample::select(CLASSES.as_slice());
    prop_oneof![
        8 => (pair.clone(), class).prop_map(|((from, to), class)| Step::Send { from, to, class }),
        2 => (0..MEMBERS, 1..4_usize).prop_map(|(member, count)| Step::Receive { member, count }),
        2 => pair.prop_map(|(member, to)| Step::Answer { member, to }),
        3 => (0..MEMBERS).prop_map(|member| Step::Flush { member }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// `answer` panics when it finds no room, so this fails if the accounting has a hole.
    #[test]
    fn an_answer_always_fits_and_every_pair_is_first_in_first_out(
        slots in 2..20_usize,
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut members: [Member<u32>; MEMBERS] = mesh(slots);
        let mut sent: [[VecDeque<u32>; MEMBERS]; MEMBERS] = Default::default();
        let mut refused = [0; MEMBERS];
        for (serial, step) in (0..).zip(steps) {
            match step {
                Step::Send { from, to, class } => match members[from].send(id(to), serial, class) {
                    Ok(()) => sent[from][to].push_back(serial),
                    Err(Full(message)) => {
                        prop_assert_eq!(message, serial);
                        refused[from] += 1;
                    }
                },
                Step::Receive { member, count } => {
                    for _ in 0..count {
                        let Some(received) = members[member].receive() else { break };
                        let expected = sent[received.from.as_usize()][member].pop_front();
                        prop_assert_eq!(Some(received.message), expected);
                    }
                }
                Step::Answer { member, to } => {
                    if members[member].owed(id(to)) > 0 {
                        members[member].answer(id(to), serial);
                        sent[member][to].push_back(serial);
                    }
                }
                Step::Flush { member } => members[member].flush(no_wake),
            }
        }
        for member in &mut members {
            member.flush(no_wake);
        }
        for (number, member) in members.iter_mut().enumerate() {
            while let Some(received) = member.receive() {
                let expected = sent[received.from.as_usize()][number].pop_front();
                prop_assert_eq!(Some(received.message), expected);
            }
            let counted: u64 = CLASSES.iter().map(|&class| member.counters().refused(class)).sum();
            prop_assert_eq!(counted, refused[number]);
        }
        prop_assert!(sent.iter().flatten().all(VecDeque::is_empty), "nothing is lost");
    }
}

/// What the threads send each other.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// With the number of this message among those of its pair.
    Numbered(u32),
    Answer,
    /// The last one of its source, but for answers.
    Done,
}

/// A thread of the test below, and what it has seen.
struct Worker {
    member: Member<Message>,
    random: u64,
    unsent: u32,
    /// What was refused, to be tried again once per turn.
    refused: VecDeque<(MemberId, Message, Class)>,
    next_to: Vec<u32>,
    next_from: Vec<u32>,
    awaited: u32,
    done: usize,
}

impl Worker {
    fn new(member: Member<Message>, unsent: u32) -> Self {
        let random = 0x9E37_79B9_7F4A_7C15 ^ (member.id().as_usize() as u64 + 1);
        Self {
            member,
            random,
            unsent,
            refused: VecDeque::new(),
            next_to: vec![0; 4],
            next_from: vec![0; 4],
            awaited: 0,
            done: 0,
        }
    }

    /// xorshift64: the same choices in every run, in another order of threads.
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % bound
    }

    /// Sends, or keeps what is refused in its place. True if it was sent.
    fn offer(&mut self, to: MemberId, message: Message, class: Class) -> bool {
        match self.member.send(to, message, class) {
            Ok(()) => {
                self.awaited += u32::from(class == Class::Request);
                true
            }
            Err(Full(message)) => {
                self.refused.push_front((to, message, class));
                false
            }
        }
    }

    fn receive_some(&mut self) {
        for _ in 0..32 {
            let Some(Received { from, message, owes_answer }) = self.member.receive() else {
                return;
            };
            match message {
                Message::Numbered(number) => {
                    let next = &mut self.next_from[from.as_usize()];
                    assert_eq!(number, *next, "once and in order from {from:?}");
                    *next += 1;
                }
                Message::Answer => self.awaited -= 1,
                Message::Done => self.done += 1,
            }
            if owes_answer {
                self.member.answer(from, Message::Answer);
            }
        }
    }

    /// True when there is nothing to send, or it was refused.
    fn send_some(&mut self) -> bool {
        while let Some((to, message, class)) = self.refused.pop_front() {
            if !self.offer(to, message, class) {
                return true;
            }
        }
        if self.unsent == 0 {
            return true;
        }
        for _ in 0..=self.below(48) {
            self.unsent -= 1;
            let own = self.member.id().as_usize();
            let to = (own + 1 + self.below(3)) % 4;
            let class = CLASSES[self.below(3)];
            let number = self.next_to[to];
            self.next_to[to] += 1;
            let is_sent = self.offer(id(to), Message::Numbered(number), class);
            if self.unsent == 0 {
                let goodbyes = self.member.peers().map(|to| (to, Message::Done, Class::Delivery));
                self.refused.extend(goodbyes);
                return false;
            }
            if !is_sent {
                return true;
            }
        }
        false
    }

    /// True when nothing more will come, nor has to go.
    fn has_ended(&self) -> bool {
        self.unsent == 0 && self.refused.is_empty() && self.awaited == 0 && self.done == 3
    }

    fn run(mut self, threads: &[OnceLock<Thread>; 4], rests: &AtomicUsize) -> Member<Message> {
        let wake =
            |target: MemberId| threads[target.as_usize()].get().expect("all have begun").unpark();
        loop {
            self.receive_some();
            let is_stuck = self.send_some();
            self.member.flush(wake);
            if self.has_ended() {
                return self.member;
            }
            if is_stuck {
                rests.fetch_add(1, Ordering::Relaxed);
                if self.member.prepare_sleep() {
                    thread::park();
                    self.member.woke();
                }
            }
        }
    }
}

/// Four threads with small queues sleep whenever they have nothing to receive and were refused
/// or are done. A message or a wake that is lost leaves one asleep for ever.
#[test]
fn threads_that_sleep_when_refused_receive_everything_once_and_in_order() {
    const EACH: u32 = 20_000;
    let threads = Arc::new([const { OnceLock::new() }; 4]);
    let start = Arc::new(Barrier::new(4));
    let rests = Arc::new(AtomicUsize::new(0));
    let (ended, ends) = mpsc::sync_channel(4);
    for member in mesh::<Message, 4>(16) {
        let (threads, start) = (Arc::clone(&threads), Arc::clone(&start));
        let (rests, ended) = (Arc::clone(&rests), ended.clone());
        let run = move || {
            threads[member.id().as_usize()].set(thread::current()).unwrap();
            start.wait();
            ended.send(Worker::new(member, EACH).run(&threads, &rests)).unwrap();
        };
        thread::Builder::new().spawn(run).unwrap();
    }
    drop(ended);
    // The wait is bounded only so that a failure ends instead of hanging.
    let end = || ends.recv_timeout(Duration::from_mins(1)).expect("a member failed or sleeps");
    let members = [(); 4].map(|()| end());
    let total = |count: fn(&Counters) -> u64| members.iter().map(|m| count(m.counters())).sum();
    let (sent, received, wakes): (u64, u64, u64) =
        (total(|c| c.sent), total(|c| c.received), total(|c| c.wakes));
    assert_eq!(sent, received);
    assert!(sent > 4 * u64::from(EACH), "answers and goodbyes beside the messages");
    let rests = u64::try_from(rests.load(Ordering::Relaxed)).unwrap();
    assert!(wakes <= rests, "{wakes} wakes for {rests} times that a member prepared to sleep");
}
