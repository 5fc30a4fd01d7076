//! What a slow connection has not been sent of channels in which it may miss some.
//!
//! ```text
//!   fan-out ─▶ socket takes it ─yes─▶ sent
//!                  └─ behind ─▶ its channel's policy: close ────────▶ backlog, 3008 at its bound
//!                                       drop oldest, latest ─▶ set aside ─ caught up ─▶ sent
//!                                          what a later one of its channel stands for may go
//! ```
//!
//! Invariants: what is set aside are references to frames that others are sent too, in the order
//! in which they came; nothing overtakes what is set aside of its channel; who leaves a channel
//! gets nothing more of it. What may go is within a bound of each connection and one of the shard;
//! the last publication of a channel never goes, and a connection for which those are too much is
//! too slow (3008).

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::carried::Unfit;
use super::connection::{Busy, Connection};
use super::core::{Core, Turn};
use super::forms::{Readable, of_frames};
use super::guard;
use super::output::{NONE, Output};
use super::sections::Section;
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, Overflow};
use crate::handover;
use crate::hub::{ChannelId, MemberId};
use crate::limits::{SET_ASIDE_BYTES_MAX, SET_ASIDE_FRAMES_MAX, SET_ASIDE_SHARE};
use crate::ring::Frame;

/// The frames that wait for one connection, of all its channels that may miss some.
#[derive(Default)]
pub(super) struct SetAside {
    waiting: VecDeque<Aside>,
    bytes: usize,
    /// How many of them may go.
    spare_count: usize,
    /// It has caught up, and stands among those who are sent what waits.
    is_due: bool,
}

struct Aside {
    channel: ChannelId,
    frame: Frame,
    /// It is dropped when a later one of its channel waits.
    gives_way: bool,
    /// It tells of others coming and going, and is no publication.
    tells_joins: bool,
    /// It may be dropped: a later publication of its channel waits, or it is none. The list says.
    may_go: bool,
}

/// Frames of a channel for a member that is behind.
pub(super) struct Behind {
    pub(super) channel: ChannelId,
    pub(super) frames: Vec<Frame>,
    /// They tell of others coming and going: a later one does not stand for them.
    pub(super) tells_joins: bool,
}

/// Publications that a connection will not be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dropped {
    oldest: u64,
    conflated: u64,
}

impl SetAside {
    /// Adds a frame, instead of those of its channel that give way if it is to be the latest, and
    /// drops what is over the bounds and may go.
    fn keep(&mut self, aside: Aside) -> Dropped {
        let channel = aside.channel;
        let gives_way = |one: &Aside| one.channel == channel && one.gives_way;
        let conflated = if aside.gives_way { self.forget(gives_way) } else { 0 };
        self.put(aside);
        let mut oldest = 0;
        while self.is_over() && self.drop_oldest(channel) {
            oldest += 1;
        }
        Dropped { oldest, conflated }
    }

    /// Adds a frame behind all others.
    fn put(&mut self, mut aside: Aside) {
        aside.may_go = aside.tells_joins;
        if !aside.tells_joins {
            let is_last = |one: &&mut Aside| one.channel == aside.channel && !one.may_go;
            if let Some(before) = self.waiting.iter_mut().find(is_last) {
                before.may_go = true;
                self.spare_count += 1;
            }
        }
        self.bytes += charge(&aside.frame);
        self.spare_count += usize::from(aside.may_go);
        self.waiting.push_back(aside);
    }

    fn is_over(&self) -> bool {
        self.waiting.len() > SET_ASIDE_FRAMES_MAX || self.bytes > SET_ASIDE_BYTES_MAX
    }

    /// Whether what may not go is more than may wait for a connection whose output has this bound.
    /// One frame always may.
    fn is_too_much(&self, output_bytes_max: usize) -> bool {
        let bytes_max = output_bytes_max.max(SET_ASIDE_BYTES_MAX);
        self.spare_count == 0 && self.waiting.len() > 1 && self.bytes > bytes_max
    }

    /// Drops the oldest frame that may go, of the channel if one of it may; false if none may.
    fn drop_oldest(&mut self, channel: ChannelId) -> bool {
        if self.spare_count == 0 {
            return false;
        }
        let of_channel = |one: &Aside| one.may_go && one.channel == channel;
        let place = self.waiting.iter().position(of_channel);
        let place = place.or_else(|| self.waiting.iter().position(|one| one.may_go));
        let dropped = self.waiting.remove(place.expect("some may go")).expect("just found");
        self.count_out(&dropped);
        true
    }

    fn count_out(&mut self, one: &Aside) {
        self.bytes -= charge(&one.frame);
        self.spare_count -= usize::from(one.may_go);
    }

    /// Drops all that are meant; returns how many it was.
    fn forget(&mut self, is_meant: impl Fn(&Aside) -> bool) -> u64 {
        let count = self.waiting.len();
        self.waiting.retain(|aside| !is_meant(aside));
        self.bytes = self.waiting.iter().map(|aside| charge(&aside.frame)).sum();
        self.spare_count = self.waiting.iter().filter(|aside| aside.may_go).count();
        (count - self.waiting.len()) as u64
    }

    fn take_first(&mut self) -> Option<Frame> {
        let first = self.waiting.pop_front()?;
        self.count_out(&first);
        Some(first.frame)
    }
}

/// Bytes that a frame takes while it waits, as if nobody else had it.
fn charge(frame: &Frame) -> usize {
    frame.len() + size_of::<Aside>()
}

impl<S> Connection<S> {
    /// Whether frames for it would have to wait: its socket takes no more for now, or others wait
    /// already, or its output of this turn is at the bound.
    pub(super) fn is_behind(&self, output: &Output, frames: &[Frame], bytes_max: usize) -> bool {
        if self.backlog_bytes() > 0 || self.set_aside_bytes() > 0 {
            return true;
        }
        let chained = if self.chain == NONE { 0 } else { output.chain(self.chain).bytes };
        let unsent = chained + self.held_back_bytes();
        unsent > 0 && unsent + frames.iter().map(|frame| frame.len()).sum::<usize>() > bytes_max
    }

    /// What is set aside for it is charged for.
    pub(super) fn set_aside_bytes(&self) -> usize {
        let aside = self.busy.as_ref().and_then(|busy| busy.set_aside.as_ref());
        aside.map_or(0, |aside| aside.bytes)
    }
}

impl<H: Handler> Core<H> {
    /// Sets frames of a channel aside, if the member may miss some; false if it may not.
    fn put_aside(&mut self, index: Index, behind: Behind) -> bool {
        let Behind { channel, frames, tells_joins } = behind;
        let overflow = self.channels.overflow_of(index, channel);
        if overflow == Overflow::Close {
            return false;
        }
        // What waits is sent whole, and some of it may never be.
        self.channels.fanout.lose_base(channel, MemberId(index.as_u32()));
        let share = self.settings.backlog_bytes_max / SET_ASIDE_SHARE;
        let one = self.connections.get_mut(index).expect("a member is a connection");
        let aside = one.busy().set_aside.get_or_insert_default();
        self.set_aside_bytes -= aside.bytes;
        let gives_way = overflow == Overflow::Latest && !tells_joins;
        let mut dropped = Dropped::default();
        for frame in frames {
            let Dropped { oldest, conflated } =
                aside.keep(Aside { channel, frame, gives_way, tells_joins, may_go: false });
            dropped.oldest += oldest;
            dropped.conflated += conflated;
        }
        while self.set_aside_bytes + aside.bytes > share && aside.drop_oldest(channel) {
            dropped.oldest += 1;
        }
        self.set_aside_bytes += aside.bytes;
        self.counters.overflow_dropped_oldest += dropped.oldest;
        self.counters.overflow_conflated += dropped.conflated;
        self.settle_set_aside(index);
        true
    }

    /// Whether what waits for all connections together is over the shard's budget: backlogs have
    /// theirs, and what is set aside beside them its share, or more while they leave it.
    pub(super) fn is_over_budget(&self) -> bool {
        let bytes_max = self.settings.backlog_bytes_max;
        let all_bytes = self.backlog_bytes + self.set_aside_bytes;
        self.backlog_bytes > bytes_max || all_bytes > bytes_max + bytes_max / SET_ASIDE_SHARE
    }

    /// The connection leaves a channel: it gets nothing more of it.
    pub(super) fn forget_set_aside(&mut self, connection: ConnectionId, channel: &str) {
        let Some(channel) = self.channels.fanout.find(channel) else { return };
        let Some(one) = self.open(connection) else { return };
        let Some(aside) = one.busy.as_mut().and_then(|busy| busy.set_aside.as_mut()) else {
            return;
        };
        let bytes = aside.bytes;
        aside.forget(|one| one.channel == channel);
        let freed = bytes - aside.bytes;
        self.set_aside_bytes -= freed;
        self.settle_set_aside(Index::new(connection.index()));
    }

    /// The connection is sent nothing more.
    pub(super) fn end_set_aside(&mut self, index: Index) {
        let Some(one) = self.connections.get_mut(index) else { return };
        let Some(aside) = one.busy.as_mut().and_then(|busy| busy.set_aside.take()) else { return };
        one.calm();
        self.set_aside_bytes -= aside.bytes;
    }

    /// Gives the list back when nothing waits in it any more.
    fn settle_set_aside(&mut self, index: Index) {
        if self.connections.get(index).is_some_and(|one| one.set_aside_bytes() == 0) {
            self.end_set_aside(index);
        }
    }

    /// The socket has taken all that it was sent: what was set aside is due.
    pub(super) fn caught_up(&mut self, index: Index) {
        let Some(one) = self.connections.get_mut(index) else { return };
        let aside = one.busy.as_mut().and_then(|busy| busy.set_aside.as_mut());
        if let Some(aside) = aside.filter(|aside| !aside.is_due) {
            aside.is_due = true;
            let serial = one.serial;
            self.caught_up.push_back((serial, index));
        }
    }
}

impl<H: Handler> Core<H> {
    /// What is set aside for a connection, for another process.
    pub(super) fn carried_aside(&self, busy: &Busy) -> Vec<handover::Aside> {
        let waiting = busy.set_aside.iter().flat_map(|aside| &aside.waiting);
        let carried = waiting.map(|one| handover::Aside {
            channel: self.channels.fanout.name(one.channel).to_owned(),
            frame: one.frame.to_vec(),
            gives_way: one.gives_way,
            tells_joins: one.tells_joins,
        });
        carried.collect()
    }

    /// The same of another process, for a connection that is a member again.
    pub(super) fn take_over_aside(
        &mut self,
        connection: ConnectionId,
        carried: Vec<handover::Aside>,
    ) -> Result<(), Unfit> {
        for handover::Aside { channel, frame, gives_way, tells_joins } in carried {
            let channel = self.channels.fanout.find(&channel).ok_or(Unfit::Channels)?;
            let one = self.open(connection).ok_or(Unfit::State)?;
            let aside = one.busy().set_aside.get_or_insert_default();
            let frame = frame.into();
            aside.put(Aside { channel, frame, gives_way, tells_joins, may_go: false });
        }
        let index = Index::new(connection.index());
        let Some(one) = self.connections.get(index) else { return Ok(()) };
        let (bytes, is_free) = (one.set_aside_bytes(), one.backlog_bytes() == 0);
        self.set_aside_bytes += bytes;
        if is_free {
            self.caught_up(index);
        }
        Ok(())
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Sets frames for a member that is behind aside, if there are some and it may miss some; false
    /// if not. One for which too much would wait is cut.
    pub(super) fn set_aside(&mut self, index: Index, behind: Option<Behind>) -> bool {
        if !behind.is_some_and(|behind| self.core.put_aside(index, behind)) {
            return false;
        }
        let one = self.core.connections.get(index).expect("a member is a connection");
        let aside = one.busy.as_ref().and_then(|busy| busy.set_aside.as_ref());
        let output_bytes_max = self.core.settings.output_bytes_max;
        if aside.is_some_and(|aside| aside.is_too_much(output_bytes_max)) {
            let reads = one.backlog_bytes() == 0;
            self.core.counters.output_overflows += 1;
            self.overflowed(index, reads);
        } else if self.core.is_over_budget() {
            self.cut_for_budget(index);
        }
        true
    }

    /// Sends at most `budget` connections that caught up what was set aside for them; returns how
    /// many it was.
    pub(super) fn relieve(&mut self, budget: usize) -> usize {
        let mut count = 0;
        while count < budget {
            let Some((serial, index)) = self.core.caught_up.pop_front() else { break };
            count += 1;
            let connection = ConnectionId::new(index.as_u32(), serial);
            if self.core.open(connection).is_some() {
                self.send_set_aside(index);
                self.core.settle_set_aside(index);
            }
        }
        count
    }

    /// Sends what is set aside, as far as there is room: the rest follows when that is taken.
    fn send_set_aside(&mut self, index: Index) {
        loop {
            let core = &mut *self.core;
            let one = core.connections.get_mut(index).expect("it is open");
            let reads = one.state.as_ref().and_then(|state| guard(|| H::reads(state)).flatten());
            let is_blocked = one.backlog_bytes() > 0;
            let Some(aside) = one.busy.as_mut().and_then(|busy| busy.set_aside.as_mut()) else {
                return;
            };
            aside.is_due = false;
            let Some(next) = aside.waiting.front() else { return };
            let (channel, frame) = (next.channel, Frame::clone(&next.frame));
            if is_blocked || !core.has_room(index, frame.len()) {
                return;
            }
            let one = core.connections.get_mut(index).expect("it is open");
            let aside = one.busy().set_aside.as_mut().expect("seen above");
            let bytes = aside.bytes;
            aside.take_first();
            core.set_aside_bytes -= bytes - aside.bytes;
            let words = core.channels.home.words;
            let member = MemberId(index.as_u32());
            let takes_deltas = core.channels.fanout.takes_deltas(channel, member);
            let section = if takes_deltas { Section::Whole } else { Section::Plain };
            // What it could not read, it was told when it came.
            let (Readable::Here(piece) | Readable::Translated(piece)) =
                of_frames(&[frame], reads, [section; 2], words, self.batch)
            else {
                continue;
            };
            if self.hand_over(index, channel, piece).is_err() {
                return;
            }
            self.core.counters.deliveries += 1;
            self.core.counters.deliveries_bytes += piece.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Fanout, FanoutBounds, Homes};
    use proptest::prelude::*;
    use std::hash::RandomState;

    fn channels() -> Vec<ChannelId> {
        let (homes, bounds) = (Homes::dealt(1), FanoutBounds::default());
        let mut fanout: Fanout<()> = Fanout::new(homes, 10, bounds, RandomState::new());
        ["a", "b", "c"].map(|name| fanout.join(name, MemberId(0)).unwrap()).into()
    }

    fn frame(number: usize, bytes: usize) -> Frame {
        let mut frame = vec![0; bytes.max(size_of::<usize>())];
        frame[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
        frame.into()
    }

    /// A publication where the oldest are dropped.
    fn one_of(channel: ChannelId, frame: Frame) -> Aside {
        Aside { channel, frame, gives_way: false, tells_joins: false, may_go: false }
    }

    fn number(frame: &Frame) -> usize {
        usize::from_le_bytes(frame[..size_of::<usize>()].try_into().unwrap())
    }

    proptest! {
        /// Against a list that is searched for what the policy says.
        #[test]
        fn what_waits_is_what_the_policies_leave(
            steps in prop::collection::vec((0..3_usize, 0..20_000_usize, 0..12_u8), 0..300),
        ) {
            let (ids, mut aside) = (channels(), SetAside::default());
            // Channel, number, charge, and whether it tells joins, as every tenth of the first
            // channel does. Otherwise that one keeps the latest; the others drop the oldest.
            let mut model: Vec<(usize, usize, usize, bool)> = Vec::new();
            // Where the oldest is that may go: of this channel, if one of it may.
            let oldest = |model: &[(usize, usize, usize, bool)], channel: usize| {
                let may_go = |&at: &usize| {
                    let later = &model[at + 1..];
                    model[at].3 || later.iter().any(|one| one.0 == model[at].0 && !one.3)
                };
                let mut all = (0..model.len()).filter(may_go);
                let of_channel = all.clone().find(|&at| model[at].0 == channel);
                of_channel.or_else(|| all.next())
            };
            for (at, (channel, bytes, step)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(
                        aside.take_first().as_ref().map(number),
                        (!model.is_empty()).then(|| model.remove(0).1),
                    ),
                    1 => {
                        let count = model.len();
                        model.retain(|one| one.0 != channel);
                        let forgotten = aside.forget(|one| one.channel == ids[channel]);
                        prop_assert_eq!(forgotten, (count - model.len()) as u64);
                    }
                    _ => {
                        let (frame, mut dropped) = (frame(at, bytes), Dropped::default());
                        let tells_joins = channel == 0 && step == 2;
                        let gives_way = channel == 0 && !tells_joins;
                        if gives_way {
                            let count = model.len();
                            model.retain(|one| one.0 != channel || one.3);
                            dropped.conflated = (count - model.len()) as u64;
                        }
                        model.push((channel, at, charge(&frame), tells_joins));
                        let is_over = |model: &[(usize, usize, usize, bool)]| {
                            let bytes: usize = model.iter().map(|one| one.2).sum();
                            model.len() > SET_ASIDE_FRAMES_MAX || bytes > SET_ASIDE_BYTES_MAX
                        };
                        while is_over(&model)
                            && let Some(place) = oldest(&model, channel)
                        {
                            model.remove(place);
                            dropped.oldest += 1;
                        }
                        let kept = one_of(ids[channel], frame);
                        let kept = Aside { gives_way, tells_joins, ..kept };
                        prop_assert_eq!(aside.keep(kept), dropped);
                    }
                }
                let waiting: Vec<_> = aside.waiting.iter().map(|one| number(&one.frame)).collect();
                prop_assert_eq!(waiting, model.iter().map(|one| one.1).collect::<Vec<_>>());
                prop_assert_eq!(aside.bytes, model.iter().map(|one| one.2).sum::<usize>());
                let spare = aside.waiting.iter().filter(|one| one.may_go).count();
                prop_assert_eq!(aside.spare_count, spare);
            }
        }
    }

    /// It is what keeps the order: what comes once the backlog is gone would overtake what waits.
    #[test]
    fn who_has_something_waiting_is_behind_also_with_an_empty_backlog() {
        let (mut core, _peer) = super::super::tests::core();
        let index = Index::new(0);
        let is_behind = |core: &Core<_>, frames: &[Frame], bytes_max| {
            let one = core.connections.get(index).unwrap();
            one.is_behind(&core.output, frames, bytes_max)
        };
        let large = [frame(0, 1000)];
        assert!(!is_behind(&core, &large, 10), "an empty output takes any one message");
        let busy = core.connections.get_mut(index).unwrap().busy();
        let aside = busy.set_aside.get_or_insert_default();
        aside.keep(one_of(channels()[0], frame(1, 10)));
        assert!(is_behind(&core, &[], usize::MAX));
        aside_of(&mut core, index).take_first();
        assert!(!is_behind(&core, &large, usize::MAX));
        let mut batch = crate::ring::Batch::new(64);
        Turn { core: &mut core, batch: &mut batch }.queue_frame(index, b"in this turn");
        assert!(!is_behind(&core, &large, 1012));
        assert!(is_behind(&core, &large, 1011), "it would be over the bound");
    }

    fn aside_of(core: &mut Core<super::super::tests::Silent>, index: Index) -> &mut SetAside {
        core.connections.get_mut(index).unwrap().busy().set_aside.as_mut().unwrap()
    }

    #[test]
    fn the_last_of_a_channel_stays_whatever_waits_of_others() {
        let (ids, mut aside) = (channels(), SetAside::default());
        for at in 0..3 {
            aside.keep(one_of(ids[1], frame(at, 100)));
        }
        let large = frame(3, SET_ASIDE_BYTES_MAX);
        let dropped = aside.keep(one_of(ids[2], large.clone()));
        assert_eq!((dropped.oldest, aside.waiting.len(), aside.spare_count), (2, 2, 0));
        assert!(aside.is_too_much(0) && !aside.is_too_much(2 * SET_ASIDE_BYTES_MAX));
        let dropped = aside.keep(one_of(ids[2], large));
        assert_eq!((dropped.oldest, aside.waiting.len()), (1, 2), "that before it");
        assert_eq!(aside.take_first().as_ref().map(number), Some(2));
        assert!(!aside.is_too_much(0), "one alone may be larger than all may be together");
        assert_eq!(aside.take_first().as_ref().map(number), Some(3));
        assert_eq!((aside.bytes, aside.spare_count), (0, 0));
    }
}
