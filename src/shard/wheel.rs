//! The deadlines of a shard's connections: schedule, cancel, and who is due now.
//!
//! ```text
//!  tick   …  211   212   213   214  …      a slot for each tick of one rotation (8,192)
//!             ┃     │           │
//!          position ○           ○─○─○      nodes: 12 bytes inside the connection's own entry
//! ```
//!
//! A deadline is a tick, an instant rounded up to 128 ms, so nothing fires early and nothing
//! later than one tick, given the looks that this takes. A node whose tick is further away than
//! one rotation is looked at once per rotation and left where it is. Every call is bounded by
//! the caller's looks, not by the length of a slot, and between two calls any node may be
//! scheduled or cancelled.
//!
//! Ticks are 32 bits and wrap after 8.7 years; a deadline further ahead than half of that is
//! brought back to it.
//!
//! Invariant: every tick below `position` has been drained, so each linked node's tick is
//! `position` or later; a node that is linked is in the slot of its tick, once.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use super::bitmap::Bitmap;
use super::slab::{Index, Slab};
use crate::limits::{SLAB_ENTRIES_MAX, WHEEL_SLOTS, WHEEL_TICK_MS};

const SLOTS: usize = WHEEL_SLOTS as usize;
const TICK_NS: u64 = WHEEL_TICK_MS * 1_000_000;
const SLOT_MASK: u64 = WHEEL_SLOTS as u64 - 1;

/// How far ahead of the wheel's position a deadline can be: half of what 32 bits tell apart.
const AHEAD_MAX: u64 = i32::MAX as u64;

/// The link of a list's ends.
const END: u32 = u32::MAX;
/// What `previous` is in a node of no list.
const UNLINKED: u32 = u32::MAX - 1;

const _: () = assert!(SLAB_ENTRIES_MAX <= UNLINKED);
const _: () = assert!(size_of::<Node>() == 12); // in every connection's entry

/// A point in time by the wheel's grain, modulo 2^32; [`Wheel::tick_of`] makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tick(u32);

impl Tick {
    /// The tick this many ticks later: the same phase of the next heartbeat, for example.
    #[must_use]
    pub const fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// The tick this many ticks earlier.
    #[must_use]
    pub const fn minus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_sub(ticks))
    }

    /// How many ticks this one comes after `earlier`; 0 if it comes before it.
    pub const fn since(self, earlier: Self) -> u32 {
        if self.is_before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }

    /// Whether this tick comes before `other`, which is less than 4.3 years away from it.
    pub const fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }
}

/// The ticks that a duration takes, rounded up.
pub fn ticks_in(duration: Duration) -> u32 {
    let ticks = nanoseconds(duration).div_ceil(TICK_NS).min(AHEAD_MAX);
    u32::try_from(ticks).expect("AHEAD_MAX is below 2^31")
}

/// One deadline, and its links to the others of its slot; lives in the connection's entry.
///
/// An entry must be cancelled before it leaves the slab.
#[derive(Clone, Debug)]
pub struct Node {
    previous: u32,
    next: u32,
    deadline: Tick,
}

impl Node {
    /// True while it waits for its deadline.
    pub const fn is_scheduled(&self) -> bool {
        self.previous != UNLINKED
    }

    /// The tick it is, or was last, scheduled for.
    pub const fn deadline(&self) -> Tick {
        self.deadline
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { previous: UNLINKED, next: END, deadline: Tick(0) }
    }
}

/// Where the wheel finds the nodes that it has only the indexes of.
pub trait Nodes {
    /// The node at an index that was scheduled and not cancelled since.
    fn node(&mut self, index: Index) -> &mut Node;
}

impl<T: AsMut<Node>> Nodes for Slab<T> {
    fn node(&mut self, index: Index) -> &mut Node {
        self.get_mut(index).expect("an entry is cancelled before it leaves").as_mut()
    }
}

/// The slots and the position; see the module's docs.
pub struct Wheel {
    start: Instant,
    /// The tick that is being drained, or will be next; ticks of this field never wrap.
    position: u64,
    /// Where the drain of `position` goes on, once it has begun; its list's end is [`END`].
    cursor: Option<u32>,
    heads: Box<[u32]>,
    counts: Box<[u32]>,
    occupied: Bitmap,
    len: u32,
}

impl Wheel {
    /// An empty wheel whose tick 0 is `start`.
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            position: 0,
            cursor: None,
            heads: vec![END; SLOTS].into_boxed_slice(),
            counts: vec![0; SLOTS].into_boxed_slice(),
            occupied: Bitmap::new(SLOTS),
            len: 0,
        }
    }

    /// Bytes of memory behind the wheel; nodes are in the entries of the slab.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.heads) + size_of_val(&*self.counts)
    }

    /// The first tick that is not before `instant`.
    pub fn tick_of(&self, instant: Instant) -> Tick {
        let since = nanoseconds(instant.saturating_duration_since(self.start));
        narrow(since.div_ceil(TICK_NS).min(self.position + AHEAD_MAX))
    }

    /// Makes `deadline` the deadline of the node at `index`, also when it had one.
    ///
    /// A deadline that has passed fires with the next tick, never within the drain that is
    /// under way: who reschedules from a drain cannot keep it from ending.
    pub fn schedule(&mut self, nodes: &mut impl Nodes, index: Index, deadline: Tick) {
        let deadline = narrow(self.earliest().max(self.widen(deadline)));
        let node = nodes.node(index);
        if node.is_scheduled() {
            if node.deadline == deadline {
                return;
            }
            self.unlink(nodes, index);
        }
        let slot = slot_of(deadline);
        let next = std::mem::replace(&mut self.heads[slot], index.as_u32());
        *nodes.node(index) = Node { previous: END, next, deadline };
        if next != END {
            let follower = nodes.node(Index::new(next));
            debug_assert_eq!(follower.previous, END, "the head of slot {slot}");
            follower.previous = index.as_u32();
        }
        self.counts[slot] += 1;
        self.occupied.insert(slot);
        self.len += 1;
    }

    /// Takes the node at `index` out of the wheel; true if it was in it.
    pub fn cancel(&mut self, nodes: &mut impl Nodes, index: Index) -> bool {
        let scheduled = nodes.node(index).is_scheduled();
        if scheduled {
            self.unlink(nodes, index);
        }
        scheduled
    }

    /// Takes out and names one node whose deadline is not after `now`.
    ///
    /// `looks` is what this may cost, in nodes looked at, and is lowered by what it did. `None`
    /// with looks left means that nothing more is due; with none left, call again in the next
    /// turn: until the drain is through, [`Wheel::next_deadline`] is not after `now`.
    pub fn expire(
        &mut self,
        nodes: &mut impl Nodes,
        now: Instant,
        looks: &mut u32,
    ) -> Option<Index> {
        let due = nanoseconds(now.saturating_duration_since(self.start)) / TICK_NS;
        while self.position <= due {
            let tick = narrow(self.position);
            let mut cursor = self.cursor.unwrap_or(self.heads[slot_of(tick)]);
            while cursor != END {
                self.cursor = Some(cursor);
                *looks = looks.checked_sub(1)?;
                let index = Index::new(cursor);
                let node = nodes.node(index);
                debug_assert!(node.is_scheduled(), "{index:?} in the slot of {tick:?}");
                if node.deadline == tick {
                    self.unlink(nodes, index);
                    return Some(index);
                }
                cursor = node.next;
            }
            self.cursor = None;
            self.position =
                self.next_occupied(self.position + 1).map_or(due + 1, |next| next.min(due + 1));
        }
        None
    }

    /// When to call [`Wheel::expire`] next: the instant of the next tick whose slot has nodes.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = match self.cursor {
            Some(END) => self.next_occupied(self.position + 1)?,
            Some(_) => self.position,
            None => self.next_occupied(self.position)?,
        };
        self.start.checked_add(Duration::from_millis(tick.saturating_mul(WHEEL_TICK_MS)))
    }

    /// The tick with the fewest nodes in its slot among the `within` ticks from `from` on; the
    /// first of them where several are equal.
    ///
    /// With a heartbeat's interval as `within`, phases fill evenly and stay so, because every
    /// later ping is one interval after the last.
    pub fn emptiest_near(&self, from: Tick, within: u32) -> Tick {
        let from = narrow(self.earliest().max(self.widen(from)));
        let window = (0..within.clamp(1, WHEEL_SLOTS)).map(|ticks| from.plus(ticks));
        window.min_by_key(|&tick| self.counts[slot_of(tick)]).unwrap_or(from)
    }

    /// How many nodes are scheduled.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True when no node is scheduled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first tick that a node can still be scheduled for.
    fn earliest(&self) -> u64 {
        self.position + u64::from(self.cursor.is_some())
    }

    /// The tick by its full number: the nearest to the position, before it or after.
    fn widen(&self, tick: Tick) -> u64 {
        let ahead = tick.0.wrapping_sub(narrow(self.position).0).cast_signed();
        self.position.saturating_add_signed(i64::from(ahead))
    }

    /// The first tick from `tick` on, within one rotation, whose slot has nodes.
    fn next_occupied(&self, tick: u64) -> Option<u64> {
        let slot = slot_of(narrow(tick));
        let found = self.occupied.first_from(slot).or_else(|| self.occupied.first_from(0))?;
        Some(tick + ((found as u64).wrapping_sub(slot as u64) & SLOT_MASK))
    }

    fn unlink(&mut self, nodes: &mut impl Nodes, index: Index) {
        let node = nodes.node(index);
        let Node { previous, next, deadline } = *node;
        *node = Node { deadline, ..Node::default() };
        let slot = slot_of(deadline);
        if self.cursor == Some(index.as_u32()) {
            self.cursor = Some(next);
        }
        if previous == END {
            debug_assert_eq!(self.heads[slot], index.as_u32(), "the head of slot {slot}");
            self.heads[slot] = next;
        } else {
            nodes.node(Index::new(previous)).next = next;
        }
        if next != END {
            nodes.node(Index::new(next)).previous = previous;
        }
        self.counts[slot] -= 1;
        if self.counts[slot] == 0 {
            self.occupied.remove(slot);
        }
        self.len -= 1;
    }
}

impl fmt::Debug for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .field("position", &self.position)
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

/// Nanoseconds in 64 bits: enough for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "ticks are told apart modulo 2^32")]
const fn narrow(tick: u64) -> Tick {
    Tick(tick as u32)
}

const fn slot_of(tick: Tick) -> usize {
    tick.0 as usize & (SLOTS - 1)
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the numbers here are exact in 53 bits")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(WHEEL_TICK_MS);
    const ROTATION: u32 = WHEEL_SLOTS;

    impl Nodes for Vec<Node> {
        fn node(&mut self, index: Index) -> &mut Node {
            &mut self[index.as_usize()]
        }
    }

    /// A wheel and its nodes; time is given in ticks since `start`, and may have a part.
    struct Fixture {
        wheel: Wheel,
        nodes: Vec<Node>,
    }

    impl Fixture {
        fn new(node_count: usize) -> Self {
            let wheel = Wheel::new(Instant::now());
            Self { wheel, nodes: vec![Node::default(); node_count] }
        }

        fn instant(&self, ticks: f64) -> Instant {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "≥ 0, < 2^63"
            )]
            let nanoseconds = (ticks * TICK_NS as f64) as u64;
            self.wheel.start + Duration::from_nanos(nanoseconds)
        }

        fn schedule(&mut self, index: u32, ticks: f64) {
            let deadline = self.wheel.tick_of(self.instant(ticks));
            self.wheel.schedule(&mut self.nodes, Index::new(index), deadline);
        }

        fn cancel(&mut self, index: u32) -> bool {
            self.wheel.cancel(&mut self.nodes, Index::new(index))
        }

        fn expire(&mut self, ticks: f64, mut looks: u32) -> Vec<u32> {
            let now = self.instant(ticks);
            let fire = || self.wheel.expire(&mut self.nodes, now, &mut looks);
            std::iter::from_fn(fire).map(Index::as_u32).collect()
        }

        fn next_ticks(&self) -> Option<f64> {
            let next = self.wheel.next_deadline()?.duration_since(self.wheel.start);
            Some(nanoseconds(next) as f64 / TICK_NS as f64)
        }
    }

    #[test]
    fn nothing_fires_early_and_nothing_late() {
        let mut at = Fixture::new(3);
        at.schedule(0, 4.01);
        at.schedule(1, 5.0);
        at.schedule(2, 5.01);
        assert_eq!(at.wheel.len(), 3);
        assert_eq!(at.next_ticks(), Some(5.0));
        assert_eq!(at.expire(4.99, 100), [0; 0]);
        let mut fired = at.expire(5.0, 100);
        fired.sort_unstable();
        assert_eq!(fired, [0, 1]);
        assert_eq!(at.next_ticks(), Some(6.0));
        assert_eq!(at.expire(6.0, 100), [2]);
        assert!(at.wheel.is_empty());
        assert_eq!(at.next_ticks(), None);
        assert_eq!(at.expire(1e6, 100), [0; 0]);
    }

    #[test]
    fn a_deadline_that_has_passed_fires_with_the_next_tick() {
        let mut at = Fixture::new(2);
        at.schedule(0, 0.0);
        assert_eq!(at.expire(1000.0, 100), [0]);
        at.schedule(0, 3.0);
        at.schedule(1, 1000.0);
        assert_eq!(at.next_ticks(), Some(1001.0));
        assert_eq!(at.expire(1000.9, 100), [0; 0]);
        let mut fired = at.expire(1001.0, 100);
        fired.sort_unstable();
        assert_eq!(fired, [0, 1]);
    }

    #[test]
    fn who_reschedules_for_now_does_not_keep_the_drain_from_ending() {
        let mut at = Fixture::new(1);
        at.schedule(0, 1.0);
        let now = at.instant(10.0);
        let mut looks = 1000;
        let mut fired = 0;
        while let Some(index) = at.wheel.expire(&mut at.nodes, now, &mut looks) {
            at.wheel.schedule(&mut at.nodes, index, Tick(0));
            fired += 1;
        }
        assert_eq!(fired, 10, "once for each tick that was caught up");
        assert!(looks > 900);
    }

    #[test]
    fn a_deadline_beyond_the_rotation_costs_one_look_per_rotation() {
        let mut at = Fixture::new(1);
        let rotations = 5;
        let deadline = 100 + rotations * ROTATION;
        at.schedule(0, f64::from(deadline));
        let mut looks = 1000;
        let mut wakes = 0;
        while !at.wheel.is_empty() {
            let now = at.wheel.next_deadline().unwrap();
            let fired = at.wheel.expire(&mut at.nodes, now, &mut looks);
            wakes += 1;
            let passed = now.duration_since(at.wheel.start) >= TICK * deadline;
            assert_eq!(fired.is_some(), passed);
        }
        assert_eq!(wakes, rotations + 1);
        assert_eq!(1000 - looks, rotations + 1);
    }

    #[test]
    fn a_long_slot_drains_over_many_turns() {
        let node_count: u32 = 100_000;
        let mut at = Fixture::new(node_count as usize);
        // Every third one is a rotation later, and costs its look all the same.
        for index in 0..node_count {
            let later = if index % 3 == 0 { ROTATION } else { 0 };
            at.schedule(index, f64::from(7 + later));
        }
        let mut fired = vec![0; node_count as usize];
        let mut turns = 0;
        while at.wheel.next_deadline().unwrap() <= at.instant(7.0) {
            let due = at.expire(7.0, 512);
            assert!(due.len() <= 512);
            for index in due {
                fired[index as usize] += 1;
            }
            turns += 1;
        }
        assert_eq!(turns, node_count.div_ceil(512));
        for index in 0..node_count {
            assert_eq!(fired[index as usize], u32::from(index % 3 != 0), "node {index}");
        }
        assert_eq!(at.wheel.len(), node_count.div_ceil(3));
    }

    #[test]
    fn the_node_that_a_paused_drain_stands_on_can_be_cancelled_and_moved() {
        let mut at = Fixture::new(5);
        (0..5).for_each(|index| at.schedule(index, 1.0));
        assert_eq!(at.expire(1.0, 1), [4]);
        assert!(at.cancel(3), "the next in line");
        at.schedule(2, 9.0);
        at.schedule(4, f64::from(1 + ROTATION));
        assert!(!at.cancel(3));
        assert_eq!(at.expire(1.0, 1), [1]);
        assert!(at.cancel(0), "the last");
        assert_eq!(at.next_ticks(), Some(9.0), "the drain is through");
        assert_eq!(at.expire(9.0, 100), [2]);
        assert_eq!(at.expire(f64::from(1 + ROTATION), 100), [4]);
    }

    #[test]
    fn moving_a_node_leaves_one_deadline() {
        let mut at = Fixture::new(1);
        for ticks in [5.0, 3.0, 3.0, 8.0] {
            at.schedule(0, ticks);
            assert_eq!(at.wheel.len(), 1);
            assert_eq!(at.next_ticks(), Some(ticks));
        }
        assert_eq!(at.expire(7.0, 100), [0; 0]);
        assert_eq!(at.expire(8.0, 100), [0]);
        assert!(!at.nodes[0].is_scheduled());
        assert_eq!(at.nodes[0].deadline(), Tick(8));
    }

    #[test]
    fn ticks_wrap_after_eight_years_without_a_panic() {
        let mut at = Fixture::new(2);
        let wrap = 2.0_f64.powi(32);
        at.schedule(0, wrap);
        let brought_back = AHEAD_MAX as f64;
        assert_eq!(at.expire(brought_back - 1.0, u32::MAX), [0; 0]);
        assert_eq!(at.expire(brought_back, u32::MAX), [0]);
        assert_eq!(at.expire(wrap - 10.0, u32::MAX), [0; 0]);
        at.schedule(0, wrap - 1.0);
        at.schedule(1, wrap + 5.0);
        assert_eq!(at.next_ticks(), Some(wrap - 1.0));
        assert_eq!(at.expire(wrap - 1.0, 100), [0]);
        at.schedule(0, wrap - 100.0);
        assert_eq!(at.next_ticks(), Some(wrap), "it has passed");
        assert_eq!(at.expire(wrap, 100), [0]);
        assert_eq!(at.next_ticks(), Some(wrap + 5.0));
        assert_eq!(at.expire(wrap + 4.0, 100), [0; 0]);
        assert_eq!(at.expire(wrap + 5.0, 100), [1]);
        at.wheel.schedule(&mut at.nodes, Index::new(0), Tick(u32::MAX));
        at.wheel.tick_of(at.wheel.start + Duration::from_secs(1 << 40));
        assert_eq!(at.wheel.tick_of(at.wheel.start.checked_sub(TICK).unwrap()), Tick(0));
    }

    #[test]
    fn durations_round_up_to_ticks() {
        assert_eq!(ticks_in(Duration::ZERO), 0);
        assert_eq!(ticks_in(Duration::from_nanos(1)), 1);
        assert_eq!(ticks_in(TICK), 1);
        assert_eq!(ticks_in(Duration::from_secs(25)), 196);
        assert_eq!(ticks_in(Duration::MAX), i32::MAX.cast_unsigned());
    }

    /// Connections arrive bunched, leave at random, and ping every interval: at any time the
    /// fullest phase has at most twice the mean.
    #[test]
    fn heartbeat_phases_fill_evenly() {
        let interval = ticks_in(Duration::from_secs(25));
        let node_count = 10_000;
        let mut at = Fixture::new(node_count as usize);
        let mut now = 0;
        for index in 0..node_count {
            // A thousand at once, then half an interval of nothing.
            if index % 1000 == 999 {
                now += interval / 2;
                for fired in at.expire(f64::from(now), u32::MAX) {
                    let next = at.nodes[fired as usize].deadline().plus(interval);
                    at.wheel.schedule(&mut at.nodes, Index::new(fired), next);
                }
            }
            let from = at.wheel.tick_of(at.instant(f64::from(now + 1)));
            let phase = at.wheel.emptiest_near(from, interval);
            at.wheel.schedule(&mut at.nodes, Index::new(index), phase);
        }
        let mut fill = vec![0; interval as usize];
        for node in &at.nodes {
            fill[(node.deadline().0 % interval) as usize] += 1;
        }
        let (max, min) = (*fill.iter().max().unwrap(), *fill.iter().min().unwrap());
        let mean = f64::from(node_count) / f64::from(interval);
        assert!(f64::from(max) <= 2.0 * mean, "{max} of {mean} in the fullest phase");
        assert!(f64::from(min) >= 0.5 * mean, "{min} of {mean} in the emptiest phase");
    }

    #[test]
    fn the_emptiest_phase_is_looked_for_within_its_window_only() {
        let mut at = Fixture::new(4);
        at.schedule(0, 10.0);
        at.schedule(1, 11.0);
        at.schedule(2, 11.0);
        assert_eq!(at.wheel.emptiest_near(Tick(10), 1), Tick(10));
        assert_eq!(at.wheel.emptiest_near(Tick(10), 2), Tick(10));
        assert_eq!(at.wheel.emptiest_near(Tick(10), 3), Tick(12));
        assert_eq!(at.wheel.emptiest_near(Tick(11), 0), Tick(11));
        assert_eq!(at.wheel.emptiest_near(Tick(10), u32::MAX), Tick(12));
        assert_eq!(at.expire(10.0, 100), [0]);
        assert_eq!(at.wheel.emptiest_near(Tick(3), 1), Tick(11), "never in the past");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule { index: u32, ahead: i32 },
        Cancel { index: u32 },
        Expire { ticks: u32, looks: u32 },
    }

    const NODES: u32 = 40;

    fn step() -> impl Strategy<Value = Step> {
        let ahead = prop_oneof![
            4 => -20..20_i32,
            2 => 0..3 * ROTATION.cast_signed(),
            1 => (1..4_i32).prop_map(|n| n * ROTATION.cast_signed()),
        ];
        let ticks = prop_oneof![3 => 0..3_u32, 1 => 0..2 * ROTATION, 1 => Just(ROTATION)];
        let looks = prop_oneof![0..5_u32, Just(u32::MAX)];
        prop_oneof![
            4 => (0..NODES, ahead).prop_map(|(index, ahead)| Step::Schedule { index, ahead }),
            1 => (0..NODES).prop_map(|index| Step::Cancel { index }),
            3 => (ticks, looks).prop_map(|(ticks, looks)| Step::Expire { ticks, looks }),
        ]
    }

    /// The model: for each scheduled node the tick that was asked for, and the first tick that
    /// was still to come then.
    fn equals_a_map(steps: &[Step], start_ticks: u64) {
        let mut at = Fixture::new(NODES as usize);
        at.wheel.position = start_ticks;
        let mut model: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let mut now = start_ticks;
        for step in steps {
            match *step {
                Step::Schedule { index, ahead } => {
                    let asked = now.saturating_add_signed(i64::from(ahead));
                    at.wheel.schedule(&mut at.nodes, Index::new(index), narrow(asked));
                    model.insert(index, (asked, now + 1));
                }
                Step::Cancel { index } => {
                    assert_eq!(at.cancel(index), model.remove(&index).is_some());
                }
                Step::Expire { ticks, mut looks } => {
                    now += u64::from(ticks);
                    let at_now = at.wheel.start + Duration::from_millis(now * WHEEL_TICK_MS);
                    let mut last = 0;
                    let mut fire = || at.wheel.expire(&mut at.nodes, at_now, &mut looks);
                    while let Some(index) = fire() {
                        let scheduled = model.remove(&index.as_u32());
                        let (asked, next) = scheduled.expect("fired once, not after a cancel");
                        assert!(asked <= now, "{asked} fired early, at {now}");
                        // In order, but for those that were late when they were scheduled.
                        assert!(asked >= last || asked < next, "{asked} after {last}");
                        last = last.max(asked);
                    }
                    if looks > 0 {
                        for (&index, &(asked, next)) in &model {
                            assert!(asked.max(next) > now, "{index}: {asked} is late at {now}");
                        }
                    }
                }
            }
            assert_eq!(at.wheel.len() as usize, model.len());
            let total: u32 = at.wheel.counts.iter().sum();
            assert_eq!(total, at.wheel.len());
            let earliest = model.values().map(|&(asked, next)| asked.max(next)).min();
            let next = at.wheel.next_deadline().map(|next| {
                next.duration_since(at.wheel.start).as_millis() / u128::from(WHEEL_TICK_MS)
            });
            assert_eq!(next.is_some(), earliest.is_some());
            if let (Some(next), Some(earliest)) = (next, earliest) {
                assert!(next <= u128::from(earliest), "woken at {next}, {earliest} is due");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn it_equals_a_map(steps in prop::collection::vec(step(), 1..200)) {
            equals_a_map(&steps, 0);
        }

        #[test]
        fn it_equals_a_map_across_the_wrap(steps in prop::collection::vec(step(), 1..200)) {
            equals_a_map(&steps, (1 << 32) - 30);
        }
    }
}
