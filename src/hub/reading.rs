//! How members read a channel, beside those who read all of it as it is: as deltas to what they
//! have, or only what their filter admits.
//!
//! Equal filters are kept once on a shard, so that one is asked once for all members who have it.
//!
//! Invariant: a filter is kept exactly while a membership reads by it.

use super::arena::Key;
use super::backlog::Step;
use super::channel::Listed;
use super::fanout::MemberId;
use crate::filter::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the frames of one delivery are to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording<'a> {
    /// As they are.
    Plain,
    /// To a member that takes deltas, and does not have what was published before the first.
    FromWhole,
    /// To a member that takes deltas, and has it.
    FromDelta,
    /// Only those that this admits.
    Selected(&'a Arc<Filter>),
}

/// How a member reads the frames of a step. One that takes deltas has the last of them by that.
pub(super) fn wording<'a>(
    listed: &mut Listed,
    step: Step,
    filter_of: impl FnOnce(MemberId) -> &'a Arc<Filter>,
) -> Wording<'a> {
    if step.for_hearers {
        return Wording::Plain;
    }
    if listed.is_selective() {
        return Wording::Selected(filter_of(listed.member()));
    }
    if !listed.takes_deltas() {
        return Wording::Plain;
    }
    let had_base = listed.has_base() && step.missed == 0;
    listed.set_base(step.start < step.frame_count);
    if had_base { Wording::FromDelta } else { Wording::FromWhole }
}

/// The filters of one shard.
#[derive(Default)]
pub(super) struct Filters {
    by_member: BTreeMap<(Key, MemberId), Arc<Filter>>,
    /// Each with the number of memberships that read by it.
    known: BTreeMap<Arc<Filter>, u32>,
    /// Bytes of those that are known.
    bytes: usize,
}

impl Filters {
    /// Notes the filter of a membership that begins.
    pub(super) fn add(&mut self, channel: Key, member: MemberId, filter: Arc<Filter>) {
        let known = self.known.get_key_value(&filter).map(|(known, _)| Arc::clone(known));
        let filter = known.unwrap_or_else(|| {
            self.bytes += filter.bytes();
            filter
        });
        *self.known.entry(Arc::clone(&filter)).or_default() += 1;
        let before = self.by_member.insert((channel, member), filter);
        assert!(before.is_none(), "a membership begins once");
    }

    /// Forgets the filter of a membership that ends.
    pub(super) fn remove(&mut self, channel: Key, member: MemberId) {
        let Some(filter) = self.by_member.remove(&(channel, member)) else { return };
        let count = self.known.get_mut(&filter).expect("somebody reads by it");
        *count -= 1;
        if *count == 0 {
            self.known.remove(&filter);
            self.bytes -= filter.bytes();
        }
    }

    pub(super) fn of(&self, channel: Key, member: MemberId) -> &Arc<Filter> {
        self.by_member.get(&(channel, member)).expect("it is listed as having one")
    }

    pub(super) fn is_known(&self, filter: &Filter) -> bool {
        self.known.contains_key(filter)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, ChannelId, Fanout, FanoutBounds, Homes, ShardId, Standing, Told};
    use super::*;
    use crate::filter::{Node, Reading};
    use std::hash::RandomState;

    /// A fan-out of one shard, where channel `a` has a first member that reads everything.
    fn fanout() -> (Fanout<u8>, ChannelId) {
        let bounds = FanoutBounds { filters_bytes_max: 1000, ..FanoutBounds::default() };
        let mut fanout = Fanout::new(Homes::dealt(1), 10, bounds, RandomState::new());
        let channel = fanout.join("a", MemberId(0)).expect("there is room");
        fanout.drain_changes(ShardId::new(0), |_| Told::Answered(Answer::Confirmed));
        while fanout.next_announcement().is_some() {}
        (fanout, channel)
    }

    fn admit(fanout: &mut Fanout<u8>, member: u32, reading: Reading) {
        fanout.hold("a").expect("there is room");
        fanout.admit("a", MemberId(member), Standing::default(), reading).expect("it is new");
    }

    fn filter(value: &str) -> Arc<Filter> {
        let text = |text: &str| text.to_owned();
        let node = Node { key: text("k"), cmp: text("eq"), val: text(value), ..Node::default() };
        Arc::new(Filter::of(node).expect("it is valid"))
    }

    /// Who is handed what next, and in which words.
    fn deliveries(fanout: &mut Fanout<u8>) -> Vec<(u32, Vec<u8>, String)> {
        let mut all = Vec::new();
        while fanout.has_work() {
            while let Some(next) = fanout.next() {
                let wording = match next.wording {
                    Wording::Selected(_) => "selected".to_owned(),
                    other => format!("{other:?}"),
                };
                all.push((next.member.0, next.frames.to_vec(), wording));
            }
        }
        all
    }

    #[test]
    fn who_takes_deltas_has_a_base_once_it_was_handed_something_and_until_it_loses_it() {
        let (mut fanout, channel) = fanout();
        admit(&mut fanout, 1, Reading::Deltas);
        let next = |fanout: &mut Fanout<u8>, frames: &[u8]| {
            for frame in frames {
                fanout.deliver(channel, *frame, 1).expect("there is room");
            }
            let all = deliveries(fanout);
            assert_eq!(all[0], (0, frames.to_vec(), "Plain".to_owned()));
            assert_eq!((all[1].0, &*all[1].1), (1, frames));
            all[1].2.clone()
        };
        assert_eq!(next(&mut fanout, &[1, 2]), "FromWhole");
        assert_eq!(next(&mut fanout, &[3]), "FromDelta");
        fanout.lose_base(channel, MemberId(1));
        assert_eq!(next(&mut fanout, &[4]), "FromWhole");
        fanout.miss(channel, 1);
        assert_eq!(deliveries(&mut fanout)[1].0, 1, "told of a gap alone");
        assert_eq!(next(&mut fanout, &[5]), "FromWhole");
        fanout.miss(channel, 1);
        assert_eq!(next(&mut fanout, &[6]), "FromWhole", "a gap just before it");
        assert_eq!(next(&mut fanout, &[7]), "FromDelta");
        fanout.leave(channel, MemberId(1));
        admit(&mut fanout, 1, Reading::Deltas);
        assert_eq!(next(&mut fanout, &[8]), "FromWhole", "it is another membership");
        assert!(fanout.takes_deltas(channel, MemberId(1)));
        assert!(!fanout.takes_deltas(channel, MemberId(0)));
    }

    /// Members move in the list as others leave.
    #[test]
    fn a_base_moves_with_its_member() {
        let (mut fanout, channel) = fanout();
        admit(&mut fanout, 1, Reading::Deltas);
        admit(&mut fanout, 2, Reading::Deltas);
        fanout.deliver(channel, 1, 1).expect("there is room");
        let _first = deliveries(&mut fanout);
        admit(&mut fanout, 3, Reading::Deltas);
        fanout.leave(channel, MemberId(0));
        fanout.deliver(channel, 2, 1).expect("there is room");
        let mut words: Vec<_> = deliveries(&mut fanout);
        words.sort();
        let words: Vec<_> = words.iter().map(|(member, _, words)| (*member, &**words)).collect();
        assert_eq!(words, [(1, "FromDelta"), (2, "FromDelta"), (3, "FromWhole")]);
    }

    #[test]
    fn equal_filters_are_charged_for_once_and_as_long_as_somebody_reads_by_them() {
        let (mut fanout, channel) = fanout();
        let bytes = filter("1").bytes();
        for member in 1..4 {
            admit(&mut fanout, member, Reading::Selected(filter("1")));
        }
        admit(&mut fanout, 4, Reading::Selected(filter(&"2".repeat(1000 - 2 * bytes))));
        assert_eq!(fanout.filters.bytes(), 999, "each is there once");
        assert!(fanout.has_room_for(&filter("1")), "it is there");
        assert!(!fanout.has_room_for(&filter("3333")));
        fanout.deliver(channel, 1, 1).expect("there is room");
        let words: Vec<_> = deliveries(&mut fanout).into_iter().map(|one| one.2).collect();
        assert_eq!(words, ["Plain", "selected", "selected", "selected", "selected"]);
        for member in [2, 1, 4] {
            fanout.leave(channel, MemberId(member));
        }
        assert_eq!(fanout.filters.bytes(), bytes);
        fanout.leave_all(MemberId(3), |_, _| {});
        assert_eq!(fanout.filters.bytes(), 0);
    }
}
