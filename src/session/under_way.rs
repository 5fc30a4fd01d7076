//! Commands whose answers homes owe, and the order in which all replies leave.
//!
//! ```text
//!   first ─▶ [waits: a's home] [written] [waits: b's home] [written] ◀─ commands  ◀─ Deferred
//! ```
//!
//! A reply is written when its answer is there, and leaves when all before it have left. What
//! cannot begin yet, because a channel that it names has a slot or because there are enough
//! slots, waits as the bytes it came in.

use std::collections::VecDeque;
use std::time::Duration;

use super::back_end::PutIn;
use super::deferred::Deferred;
use super::entrances::{Entrances, HeldChannels};
use super::entry::Entrant;
use super::outbox::Written;
use super::subscribe::Wanted;
use crate::filter::Reading;
use crate::limits::COMMANDS_UNDER_WAY_MAX;
use crate::protocol::ErrorCode;
use crate::token::{Fingerprint, TokenError};

/// The place of one command among those of its session that are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    /// That of the question whether the connection goes on, which is no command's.
    pub(super) const REFRESH: Self = Self(u32::MAX);

    /// The numbers from here on are those of no slots.
    const SLOTS_END: u32 = 1 << 31;

    /// Questions whether subscriptions go on have so many numbers.
    pub(super) const SUB_REFRESHES: u32 = 1 << 30;

    /// That of the question of this number whether a subscription goes on.
    pub(super) fn sub_refresh(number: u32) -> Self {
        Self(Self::SLOTS_END + number % Self::SUB_REFRESHES)
    }

    /// The number of such a question, if it is one.
    pub(super) fn as_sub_refresh(self) -> Option<u32> {
        let number = self.0.checked_sub(Self::SLOTS_END)?;
        (number < Self::SUB_REFRESHES).then_some(number)
    }

    /// That of the slot so many places further on.
    fn after(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) % Self::SLOTS_END)
    }

    /// It as a number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The one with this number.
    pub fn of(number: u32) -> Self {
        Self(number)
    }
}

/// What is under way for one session. Never empty but while an answer is taken.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    slots: VecDeque<Slot>,
    /// The name of the first slot; the others are counted from it.
    first: SlotId,
    /// The slot that has to leave before commands are read again.
    blocker: Option<SlotId>,
    pub(super) deferred: Deferred,
    /// What is known of the token of the command that is read next.
    pub(super) verdict: Option<Result<Fingerprint, TokenError>>,
    /// How many words there were for users when the client asked to be let in.
    pub(super) word_count: u64,
    /// Bytes of replies that wait for earlier ones.
    written_bytes: usize,
    /// Memberships that the client has yet to be told of.
    untold_count: usize,
}

#[derive(Debug)]
struct Slot {
    /// The client's number for the command.
    id: u32,
    /// The channel that no later command may touch before; empty for none.
    channel: Box<str>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waits(Awaited),
    /// Its answer is there, and is being put into words.
    Answered,
    Written {
        reply: Written,
        /// It tells the client of a membership.
        is_entry: bool,
    },
}

/// The answer that is awaited.
#[derive(Debug)]
pub(super) enum Awaited {
    /// Of a user's home: may it connect, and be put into these channels?
    SignIn(Entrances),
    /// Of the homes of the channels that it is put into as it connects.
    Entrances(Entrances),
    /// Of the home of the slot's channel: is it a member?
    Entry(Box<Entering>),
    /// The same, where a back end has put it into the channel.
    PutIn(PutIn),
    /// Of the home of the slot's channel: what it was asked.
    Answer,
    /// Of the control thread: is the token of the command that waits behind it signed?
    Token,
    /// Of a back end: who is it? With what it holds of channels.
    Connect(HeldChannels),
    /// Of a back end: may it be in the slot's channel?
    Subscribe(Box<Wanted>),
    /// Of a back end: what the procedure returns.
    Rpc,
    /// Of a back end: may this be published in the slot's channel?
    Publish(Box<[u8]>),
    /// Of the shard: has it been published?
    Published,
    /// Of a back end, which has decided otherwise meanwhile: its answer is this, whatever it says.
    Overruled(ErrorCode),
}

/// A client that subscribes, and what it is told if it may.
#[derive(Debug, Default)]
pub(super) struct Entering {
    pub(super) entrant: Entrant,
    /// When its subscription ends, if it does.
    pub(super) expires: Option<Duration>,
    /// What its token has for it.
    pub(super) data: Box<[u8]>,
    /// How it reads what is published.
    pub(super) reading: Reading,
}

/// A command whose answer has come, and which has yet to be replied to.
pub(super) struct Taken {
    pub(super) slot: SlotId,
    pub(super) id: u32,
    pub(super) awaited: Awaited,
}

impl UnderWay {
    /// Awaits an answer.
    pub(super) fn await_answer(&mut self, id: u32, channel: &str, awaited: Awaited) -> SlotId {
        let slot = self.next();
        self.slots.push_back(Slot { id, channel: channel.into(), stage: Stage::Waits(awaited) });
        slot
    }

    /// Appends what leaves behind everything that was asked for before.
    pub(super) fn append(&mut self, reply: Written) {
        self.written_bytes += reply.len();
        let stage = Stage::Written { reply, is_entry: false };
        self.slots.push_back(Slot { id: 0, channel: Box::default(), stage });
    }

    /// Reads no command before this slot has left.
    pub(super) fn block(&mut self, slot: SlotId) {
        self.blocker = Some(slot);
    }

    /// Whether a command that names this channel has to wait; nothing is read until it may go on.
    pub(super) fn blocks(&mut self, channel: Option<&str>) -> bool {
        let in_the_way = channel.and_then(|channel| self.find(channel));
        let is_full = self.slots.len() >= COMMANDS_UNDER_WAY_MAX;
        self.blocker = in_the_way.or_else(|| is_full.then_some(self.first));
        self.blocker.is_some()
    }

    /// Reads on, whatever stands in the way.
    pub(super) fn clear_way(&mut self) {
        self.blocker = None;
    }

    /// Whether nothing is read now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocker.is_some()
    }

    /// Whether replies have to wait for others.
    pub(super) fn has_slots(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Whether nothing waits in any slot, nor is to be known to the next command.
    pub(super) fn is_over(&self) -> bool {
        self.slots.is_empty() && self.verdict.is_none()
    }

    /// The last slot about a channel.
    pub(super) fn find(&self, channel: &str) -> Option<SlotId> {
        let index = self.slots.iter().rposition(|slot| *slot.channel == *channel)?;
        Some(self.at(index))
    }

    /// How the client wants to read a channel that it is about to enter.
    pub(super) fn reading(&self, channel: &str) -> Option<Reading> {
        let index = self.index(self.awaited_entry(channel)?)?;
        match &self.slots[index].stage {
            Stage::Waits(Awaited::Entry(entering)) => Some(entering.reading.clone()),
            _ => None,
        }
    }

    /// The slot of an entry into a channel, until the channel's home has answered.
    pub(super) fn awaited_entry(&self, channel: &str) -> Option<SlotId> {
        let is_entry = |slot: &Slot| {
            let is_it = matches!(slot.stage, Stage::Waits(Awaited::Entry(..) | Awaited::PutIn(_)));
            is_it && *slot.channel == *channel
        };
        self.slots.iter().rposition(is_entry).map(|index| self.at(index))
    }

    /// Whether that is one of a back end's.
    pub(super) fn awaits_put_in(&self, channel: &str) -> bool {
        let slot = self.awaited_entry(channel).and_then(|slot| self.index(slot));
        slot.is_some_and(|slot| matches!(self.slots[slot].stage, Stage::Waits(Awaited::PutIn(_))))
    }

    /// A back end that is asked whether the client may be in this channel has decided it in another
    /// way: the command is answered with an error. False if none is asked.
    pub(super) fn overrule(&mut self, channel: &str, code: ErrorCode) -> bool {
        let asked = self.slots.iter_mut().find(|slot| {
            matches!(slot.stage, Stage::Waits(Awaited::Subscribe(_))) && *slot.channel == *channel
        });
        let Some(slot) = asked else { return false };
        slot.stage = Stage::Waits(Awaited::Overruled(code));
        true
    }

    /// Whether it is settled which channels a client that connects is put into.
    pub(super) fn has_plan(&self) -> bool {
        let first = self.slots.front().map(|slot| &slot.stage);
        matches!(first, Some(Stage::Waits(Awaited::SignIn(_) | Awaited::Entrances(_))))
    }

    /// The channels that a client which connects is put into, or will be when it is let in.
    pub(super) fn planned(&mut self) -> Option<(SlotId, &mut Entrances)> {
        let first = self.first;
        match &mut self.slots.front_mut()?.stage {
            Stage::Waits(Awaited::SignIn(plan) | Awaited::Entrances(plan)) => Some((first, plan)),
            _ => None,
        }
    }

    /// The channels that a client which connects is put into.
    pub(super) fn entrances(&mut self, slot: SlotId) -> &mut Entrances {
        let index = self.index(slot).expect("a slot stays until its answer has come");
        match &mut self.slots[index].stage {
            Stage::Waits(Awaited::Entrances(entrances)) => entrances,
            stage => unreachable!("{stage:?}: nobody is put into a channel"),
        }
    }

    /// Takes what was noted for the answer that has come.
    pub(super) fn take(&mut self, slot: SlotId) -> Taken {
        let index = self.index(slot).expect("a slot stays until its answer has come");
        let Slot { id, stage, .. } = &mut self.slots[index];
        match std::mem::replace(stage, Stage::Answered) {
            Stage::Waits(awaited) => Taken { slot, id: *id, awaited },
            stage => unreachable!("{stage:?}: an answer comes once"),
        }
    }

    /// The channel that what was taken is about.
    pub(super) fn channel_of(&self, slot: SlotId) -> &str {
        let index = self.index(slot).expect("it was taken and has not left");
        &self.slots[index].channel
    }

    /// Awaits another answer for what was taken.
    pub(super) fn await_more(&mut self, slot: SlotId, awaited: Awaited) -> &str {
        let index = self.index(slot).expect("it was taken and has not left");
        self.slots[index].stage = Stage::Waits(awaited);
        &self.slots[index].channel
    }

    /// Whether no reply is ahead of this one.
    pub(super) fn is_first(&self, slot: SlotId) -> bool {
        slot == self.first
    }

    /// The reply of the first slot has left.
    pub(super) fn leave_first(&mut self) {
        self.slots.pop_front().expect("the first is there");
        self.first = self.first.after(1);
    }

    /// The reply to what was taken has to wait. `is_entry` if it tells of a membership; returns
    /// whether it is the only one of these that waits.
    pub(super) fn write(&mut self, slot: SlotId, reply: Written, is_entry: bool) -> bool {
        self.written_bytes += reply.len();
        self.untold_count += usize::from(is_entry);
        let index = self.index(slot).expect("it was taken and has not left");
        self.slots[index].stage = Stage::Written { reply, is_entry };
        is_entry && self.untold_count == 1
    }

    /// The next reply that may leave now, and whether it was the last to tell of a membership.
    pub(super) fn next_written(&mut self) -> Option<(Written, bool)> {
        if !matches!(self.slots.front()?.stage, Stage::Written { .. }) {
            return None;
        }
        let slot = self.slots.pop_front().expect("looked at above");
        self.first = self.first.after(1);
        let Stage::Written { reply, is_entry } = slot.stage else { unreachable!("see above") };
        self.written_bytes -= reply.len();
        self.untold_count -= usize::from(is_entry);
        Some((reply, is_entry && self.untold_count == 0))
    }

    /// What is to be read now, if what stood in its way has left.
    pub(super) fn unblock(&mut self) -> Deferred {
        if self.blocker.is_some_and(|slot| self.index(slot).is_some()) {
            return Deferred::default();
        }
        self.blocker = None;
        std::mem::take(&mut self.deferred)
    }

    /// Bytes of memory that are kept for the client.
    pub(super) fn held_bytes(&self) -> usize {
        self.deferred.held_bytes() + self.written_bytes + self.entered_bytes()
    }

    /// Bytes of what a client that connects has missed in the channels it is put into, so far.
    fn entered_bytes(&self) -> usize {
        match self.slots.front().map(|slot| &slot.stage) {
            Some(Stage::Waits(Awaited::Entrances(entrances))) => entrances.answered_bytes(),
            _ => 0,
        }
    }

    /// Bytes of replies that wait.
    pub(super) fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    fn next(&self) -> SlotId {
        self.at(self.slots.len())
    }

    fn at(&self, index: usize) -> SlotId {
        let count = u32::try_from(index).expect("there are few slots");
        self.first.after(count)
    }

    fn index(&self, slot: SlotId) -> Option<usize> {
        let distance = slot.0.wrapping_sub(self.first.0) % SlotId::SLOTS_END;
        let index = usize::try_from(distance).ok()?;
        (index < self.slots.len()).then_some(index)
    }
}
