//! Output on its way: into chains, from chains to sends, from failed sends to backlogs.
//!
//! ```text
//!   queue ─▶ chain ─flush─▶ one send ─▶ silent: done
//!                  │                └─▶ short or EAGAIN: the rest becomes the backlog, reading
//!                  │                    pauses, a poll waits for room
//!                  └─ has a backlog: behind it
//! ```
//!
//! Invariants: bytes leave in the order they were queued; a connection's backlog and chain
//! together stay within its output bound, except for one message that is larger by itself; all
//! backlogs together stay within the shard's budget; a peer with a backlog is not read from.

use super::connection::Flags;
use super::core::{Core, Turn};
use super::output::{NONE, Sent};
use super::phase::Phase;
use super::slab::Index;
use crate::handler::{Cause, Handler, SendError};
use crate::limits::BACKLOG_SEND_BYTES;
use crate::ring::{Operation, Piece, Token};
use crate::ws::close::code;

/// One send for the loop to submit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) index: Index,
    pub(crate) piece: Piece,
    pub(crate) token: Token,
}

impl<H: Handler> Core<H> {
    /// Whether so many bytes more are within the bound of the connection's output. An empty one
    /// takes any one message.
    pub(super) fn has_room(&self, index: Index, bytes: usize) -> bool {
        let connection = self.connections.get(index).expect("asked while it lives");
        let chained = match connection.chain {
            NONE => 0,
            chain => self.output.chain(chain).bytes,
        };
        let queued = connection.backlog_bytes() + connection.held_back_bytes() + chained;
        queued == 0 || queued + bytes <= self.settings.output_bytes_max
    }

    fn overflow_of(&self, index: Index, reason: &'static str) -> (u16, &'static str) {
        let route = self.connections.get(index).map_or(0, |connection| connection.route);
        self.routes.overflow_of(route).unwrap_or((code::POLICY_VIOLATION, reason))
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Appends a piece to the connection's chain, or closes it when its output is at the bound.
    pub(super) fn queue(&mut self, index: Index, piece: Piece) -> Result<(), SendError> {
        self.check_room(index, piece.len())?;
        let chain = self.core.connections.get(index).expect("queued to while it lives").chain;
        self.core.output.push(chain, piece);
        Ok(())
    }

    /// Closes the connection when so many bytes more are over the bound of its output. Otherwise
    /// it has a chain.
    pub(super) fn check_room(&mut self, index: Index, bytes: usize) -> Result<(), SendError> {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("queued to while it lives");
        if connection.chain == NONE {
            connection.chain = core.output.begin(index.as_u32());
        }
        let reads = connection.backlog_bytes() == 0;
        if core.has_room(index, bytes) {
            return Ok(());
        }
        core.counters.output_overflows += 1;
        self.overflowed(index, reads);
        Err(SendError::Overflow)
    }

    /// Copies a few bytes into the batch and queues them. An overflow ends the connection, which
    /// is all that the callers would do about it.
    pub(super) fn queue_frame(&mut self, index: Index, frame: &[u8]) {
        let piece = self.copied(&[frame]);
        let _cut_on_overflow = self.queue(index, piece);
    }

    /// `parts` behind each other in the batch; in a frame of their own when the arena is full.
    pub(super) fn copied(&mut self, parts: &[&[u8]]) -> Piece {
        self.batch.copy(parts).unwrap_or_else(|| {
            self.core.counters.arena_overflows += 1;
            self.batch.share(parts.concat().into())
        })
    }

    /// Makes sure that the next settling looks at the connection, also if it has no output.
    pub(super) fn touch(&mut self, index: Index) {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("touched while it lives");
        if connection.chain == NONE {
            connection.chain = core.output.begin(index.as_u32());
        }
    }

    /// A poll said that there is room again.
    pub(crate) fn writable(&mut self, token: Token) {
        if let Some(connection) = self.core.by_token(token)
            && connection.phase != Phase::Retiring
        {
            self.core.writable.push(Index::new(token.index()));
        }
    }

    /// Turns the chains into sends: at most one for each connection.
    pub(crate) fn flush(&mut self, sends: &mut Vec<Send>) {
        for index in std::mem::take(&mut self.core.writable) {
            // Its slot may have been freed since, or be another's, to whom this does no harm.
            if self.core.connections.get(index).is_some() {
                self.touch(index);
            }
        }
        let mut number = 0;
        while (number as usize) < self.core.output.len() {
            if let Some(send) = self.flush_chain(number) {
                sends.push(send);
            }
            self.core.settles_soon |= self.hangs_on(number);
            number += 1;
        }
    }

    /// Whether settling the chain does more than forget it.
    fn hangs_on(&self, number: u32) -> bool {
        let chain = self.core.output.chain(number);
        let connection = self.core.connections.get(Index::new(chain.index));
        let is_plain = connection.is_some_and(|one| {
            let waits = one.backlog_bytes() > 0 || one.set_aside_bytes() > 0;
            one.phase.is_open() && !waits && !one.flags.has(Flags::PAUSED)
        });
        !(is_plain && matches!(chain.sent, Sent::Chain(_)))
    }

    fn flush_chain(&mut self, number: u32) -> Option<Send> {
        let core = &mut *self.core;
        let index = Index::new(core.output.chain(number).index);
        let connection = core.connections.get_mut(index).expect("slots are freed after settling");
        if connection.phase == Phase::Retiring {
            return None;
        }
        let token = Token::new(Operation::Send, connection.serial, index.as_u32());
        let piece = if connection.backlog_bytes() == 0 {
            let piece = core.output.joined(number, self.batch)?;
            core.output.chain_mut(number).sent = Sent::Chain(piece);
            piece
        } else {
            let backlog = &mut connection.busy().backlog;
            for piece in core.output.pieces(number) {
                backlog.append(self.batch.bytes(piece));
                core.backlog_bytes += piece.len();
            }
            if core.is_over_budget() {
                self.cut_for_budget(index);
                return None;
            }
            let connection = core.connections.get_mut(index).expect("seen above");
            if connection.flags.has(Flags::WRITE_WATCHED) {
                return None;
            }
            let head = connection.busy().backlog.head();
            let head = &head[..head.len().min(BACKLOG_SEND_BYTES)];
            let piece = self.batch.copy(&[head]).unwrap_or_else(|| self.batch.share(head.into()));
            core.output.chain_mut(number).sent = Sent::Backlog(piece);
            piece
        };
        Some(Send { index, piece, token })
    }

    /// A send reported: it failed, or came short.
    pub(crate) fn send_failed(&mut self, token: Token, result: i32) {
        let core = &mut *self.core;
        let index = Index::new(token.index());
        if core.by_token(token).is_none_or(|one| one.phase == Phase::Retiring) {
            return;
        }
        let connection = core.connections.get_mut(index).expect("seen above");
        let sent_bytes = match usize::try_from(result) {
            Ok(bytes) => bytes,
            Err(_) if result == -libc::EAGAIN => 0,
            Err(_) => {
                core.counters.send_errors += 1;
                self.cut(index, Cause::Vanished, code::ABNORMAL, "");
                return;
            }
        };
        core.counters.sends_short += 1;
        let number = connection.chain;
        assert_ne!(number, NONE, "a send belongs to a chain of this turn");
        let chain = core.output.chain_mut(number);
        let sent = std::mem::replace(&mut chain.sent, Sent::Failed);
        let tick = core.tick;
        match sent {
            Sent::Chain(piece) => {
                let rest = &self.batch.bytes(piece)[sent_bytes..];
                let busy = connection.busy();
                busy.backlog.append(rest);
                busy.moved = tick;
                core.backlog_bytes += rest.len();
            }
            Sent::Backlog(_) if sent_bytes > 0 => {
                let busy = connection.busy();
                busy.backlog.consume(sent_bytes);
                busy.moved = tick;
                core.backlog_bytes -= sent_bytes;
            }
            Sent::Backlog(_) => {}
            Sent::Nothing | Sent::Failed => unreachable!("{sent:?} reported a result"),
        }
        connection.flags.set(Flags::PAUSED);
        core.watch_writable(index);
        if core.is_over_budget() {
            self.cut_for_budget(index);
            return;
        }
        self.reschedule(index);
    }

    /// The backlogs together are over the shard's budget: the one that grew last pays.
    pub(super) fn cut_for_budget(&mut self, index: Index) {
        self.core.counters.backlog_budget_cuts += 1;
        self.cut_slow(index, "output budget");
    }

    /// The output is at its bound: a peer that has read all so far is told so behind it, one that
    /// has not would never come to read it.
    pub(super) fn overflowed(&mut self, index: Index, reads: bool) {
        const REASON: &str = "output limit";
        if reads {
            let (code, reason) = self.core.overflow_of(index, REASON);
            self.close_from_here(index, Cause::Overflow, code, reason);
        } else {
            self.core.counters.overflow_cuts += 1;
            self.cut_slow(index, REASON);
        }
    }

    /// Cuts a peer that does not read, with the code and reason of its route, if it has some.
    pub(super) fn cut_slow(&mut self, index: Index, reason: &'static str) {
        let (code, reason) = self.core.overflow_of(index, reason);
        self.cut(index, Cause::Overflow, code, reason);
    }

    /// Everything submitted in the last flush has either reported or succeeded: moves on.
    pub(crate) fn settle(&mut self) {
        let mut number = 0;
        while (number as usize) < self.core.output.len() {
            self.settle_chain(number);
            number += 1;
        }
        self.core.output.clear();
        self.core.settles_soon = false;
        self.core.channels.forget_pieces();
    }

    fn settle_chain(&mut self, number: u32) {
        let core = &mut *self.core;
        let chain = *core.output.chain(number);
        let index = Index::new(chain.index);
        let connection = core.connections.get_mut(index).expect("slots are freed after settling");
        connection.chain = NONE;
        if connection.phase == Phase::Retiring || chain.sent == Sent::Failed {
            return;
        }
        if let Sent::Backlog(piece) = chain.sent {
            let tick = core.tick;
            let busy = connection.busy();
            busy.backlog.consume(piece.len());
            busy.moved = tick;
            core.backlog_bytes -= piece.len();
        }
        if connection.backlog_bytes() > 0 {
            if !connection.flags.has(Flags::WRITE_WATCHED) {
                core.writable.push(index);
            }
            return;
        }
        connection.calm();
        if connection.flags.has(Flags::PAUSED) {
            connection.flags.clear(Flags::PAUSED);
            core.make_ready(index);
        }
        core.caught_up(index);
        self.flushed(index);
    }
}
