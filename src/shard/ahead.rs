//! A shard that sends copies of its connections' descriptors to another process, and serves on.
//!
//! ```text
//!   Ahead ─▶ ways are open ─▶ a share of the slots in each turn, message by message ─▶ mark
//!         ─▶ the other shards say that they have as many ─▶ who waits for an answer has a
//!            while to get it ─▶ Copied ─▶ (ends are told on) ─▶ Freeze: `carriage` goes on
//! ```
//!
//! What is sent is bounded: no more is put on a way than a message takes before that has left, and
//! what has left waits in a socket that is never waited for here. Invariant: nothing is done that
//! serving would notice, but for the time: the descriptors are copied by the kernel, the polls stay
//! armed, and who ends is ended as always, and shut down.

use std::time::{Duration, Instant};

use super::copies::Copies;
use super::event_loop::Loop;
use super::way::{Carried, NewWay, Sent, Way};
use crate::handler::Handler;
use crate::limits::{
    COPY_LOOKS_SHARE, COPY_MESSAGES_SHARE, HANDED_FDS_MAX, HANDED_PATIENCE, HANDED_PAUSE,
};
use crate::mesh::{Class, MemberId};
use crate::shard::message::{HandOver, Message};
use crate::sys::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The other ends are awaited.
    Opening,
    /// Slot by slot.
    Copying,
    /// The other shards are to say that they have everything.
    Marked,
    /// They have. Who waits for an answer has until then to get it.
    Waiting { until: Instant },
    /// The control thread knows, and ends are told on.
    Told,
    /// Nobody takes anything out any more: the control thread hears that.
    Over,
}

/// Where a shard stands with it.
pub(super) struct Ahead {
    state: State,
    attempt: u8,
    /// Shards of the other process.
    shard_count: usize,
    /// By their numbers, as soon as all are open.
    ways: Vec<Way>,
    /// The way that is looked at first for a message.
    next_way: usize,
    retry_at: Option<Instant>,
    was_crowded: bool,
}

impl Ahead {
    /// How long there is nothing to do for it. `has_ended`: some are to be told as ended.
    pub(super) fn patience(&self, has_ended: bool, now: Instant) -> Duration {
        let rest = self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        match self.state {
            State::Told if has_ended || self.has_unsent() => rest,
            State::Told | State::Over => Duration::MAX,
            _ => rest,
        }
    }

    fn has_unsent(&self) -> bool {
        self.ways.iter().any(|way| !way.is_empty())
    }

    /// The ways, for who sends all the rest.
    pub(super) fn into_ways(self) -> Vec<Way> {
        self.ways
    }
}

impl<H: Handler> Loop<H> {
    /// Begins to send copies to so many shards of another process.
    pub(super) fn begin_ahead(&mut self, shards: u16, attempt: u8) {
        self.core.has_sent_copies = true;
        self.ahead = Some(Box::new(Ahead {
            state: State::Opening,
            attempt,
            shard_count: usize::from(shards),
            ways: Vec::new(),
            next_way: 0,
            retry_at: None,
            was_crowded: false,
        }));
    }

    /// Nothing comes of it. The marks of those who were copied stay: the other process may not have
    /// ended yet, and until then who ends here is to be shut down.
    pub(super) fn end_ahead(&mut self) {
        (self.ahead, self.core.copies) = (None, None);
    }

    /// Once a turn; true if another turn is to follow at once.
    pub(super) fn copy_ahead(&mut self) -> bool {
        let Some(mut ahead) = self.ahead.take() else { return false };
        let has_more = ahead.retry_at.is_none_or(|at| at <= self.core.now) && {
            ahead.retry_at = None;
            self.copy_some(&mut ahead)
        };
        self.ahead = Some(ahead);
        has_more
    }

    fn copy_some(&mut self, ahead: &mut Ahead) -> bool {
        if ahead.state == State::Over {
            return false;
        }
        let later = self.core.now + HANDED_PAUSE;
        if ahead.state == State::Opening {
            let ways = NewWay::all_of(&mut self.channels, ahead.attempt, ahead.shard_count);
            let Some(ways) = ways else {
                ahead.retry_at = Some(later);
                return false;
            };
            Step::OlderCopying.reached();
            ahead.ways = ways;
            ahead.state = State::Copying;
            self.core.copies = Some(Box::new(Copies::new(ahead.shard_count, self.core.number)));
        }
        self.put_ended(&mut ahead.ways);
        if ahead.state == State::Copying {
            self.put_copies(ahead);
        }
        match self.send_some(ahead) {
            Sent::All => {}
            Sent::Nowhere => ahead.state = State::Over,
            Sent::Broken => self.tell_copied(ahead, None),
            sent @ (Sent::Some | Sent::Crowded) => {
                self.note_wait(&mut ahead.was_crowded, sent);
                ahead.retry_at = Some(later);
                return false;
            }
        }
        match ahead.state {
            State::Marked if ahead.ways.iter_mut().all(|way| way.is_empty() && way.is_marked()) => {
                ahead.state = State::Waiting { until: self.core.now + HANDED_PATIENCE };
            }
            State::Waiting { until }
                if until <= self.core.now || !self.core.waits_for_answers() =>
            {
                let count = self.core.copies.as_ref().map_or(0, |copies| copies.made_count());
                self.tell_copied(ahead, Some(count));
            }
            State::Marked | State::Waiting { .. } => ahead.retry_at = Some(later),
            State::Opening | State::Copying | State::Told | State::Over => {}
        }
        let is_over = matches!(ahead.state, State::Told | State::Over);
        ahead.retry_at.is_none() && !is_over
    }

    /// Puts the next copies, and the marks behind the last.
    fn put_copies(&mut self, ahead: &mut Ahead) {
        let mut looks = COPY_LOOKS_SHARE;
        for _ in 0..HANDED_FDS_MAX {
            if !ahead.ways.iter().all(|way| way.sink.has_room()) {
                return;
            }
            let Some(copied) = self.core.next_to_copy(&mut looks) else { break };
            let carried = Carried::Copy(copied.index, copied.serial);
            ahead.ways[copied.way].sink.copy(copied.number(), carried);
        }
        if self.core.has_copied() {
            ahead.ways.iter_mut().for_each(|way| way.sink.mark());
            ahead.state = State::Marked;
        }
    }

    /// Puts those that no record will name, while there is room; true if none is left.
    pub(super) fn put_ended(&mut self, ways: &mut [Way]) -> bool {
        let Some(copies) = &mut self.core.copies else { return true };
        while copies.has_ended() && ways.iter().all(|way| way.sink.has_room()) {
            let (way, number) = copies.next_ended().expect("just seen");
            ways[way].sink.dropped(number);
        }
        !copies.has_ended()
    }

    /// Sends a few messages: full ones while there is more to put, and else all there are.
    fn send_some(&mut self, ahead: &mut Ahead) -> Sent {
        let mut waits = Sent::All;
        let mut left = COPY_MESSAGES_SHARE;
        let count = ahead.ways.len();
        for turn in 0..count {
            let number = (ahead.next_way + turn) % count;
            let way = &mut ahead.ways[number];
            let is_due = |way: &Way| ahead.state != State::Copying || !way.sink.has_room();
            while is_due(way) && !way.is_empty() {
                if left == 0 {
                    ahead.next_way = number;
                    return waits;
                }
                // One message at a time: what others send between processes, or between shards,
                // has to fit beside it into what the kernel allows a user.
                if way.is_unread() {
                    waits = Sent::Some;
                    break;
                }
                left -= 1;
                match self.send_message(way) {
                    Sent::All => {}
                    // The others may have room.
                    sent @ (Sent::Some | Sent::Crowded) => {
                        waits = sent;
                        break;
                    }
                    ended => return ended,
                }
            }
        }
        waits
    }

    fn tell_copied(&mut self, ahead: &mut Ahead, copies: Option<u64>) {
        ahead.state = if copies.is_some() { State::Told } else { State::Over };
        let control = MemberId::new(self.core.shard_count);
        let said = HandOver::Copied { attempt: ahead.attempt, copies };
        if self.core.channels.mesh.send(control, Message::HandOver(said), Class::Notice).is_err() {
            // The queue to the control thread has a reserve for notices; without room even there
            // the upgrade is late, and given up.
            tracing::error!(shard = self.core.number, "no room to say what was copied");
        }
    }
}
