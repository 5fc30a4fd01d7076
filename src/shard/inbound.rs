//! Bytes from a peer: a request head first, then frames, then nothing that is listened to.
//!
//! Invariants: a whole message that lies in the receive buffer is handed on from there, nothing
//! copied; what arrived in part is kept within the shard's byte budget; a peer decides neither how
//! much is kept nor how long a call takes, only how many calls there are.

use super::connection::Flags;
use super::core::{Core, Turn};
use super::guard;
use super::phase::Phase;
use super::ready::{Rank, ReadyEntry, cost};
use super::slab::Index;
use crate::handler::{Cause, Handler, Message, Peer};
use crate::limits::{PONGS_PER_READ_MAX, TURN_SHARE_BYTES};
use crate::ring::Received;
use crate::ws::close::code;
use crate::ws::{Assembler, CloseReason, Event, OpCode, Role, encode_header};

/// What reading a connection once came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serviced {
    /// The socket may have more: look again in a later turn.
    pub(crate) again: bool,
    /// What it cost of its share of the turn.
    pub(crate) cost: usize,
}

/// Where the parsing of one read stands.
struct Reading {
    frames: u32,
    pongs: u32,
    /// The last ping beyond those answered one by one.
    late_ping: Option<([u8; 125], usize)>,
}

impl<H: Handler> Turn<'_, H> {
    /// Handles what one `recv` said; the bytes, if any, fill the front of `buffer`.
    pub(crate) fn received(
        &mut self,
        handler: &mut H,
        index: Index,
        received: Received,
        buffer: &mut [u8],
    ) -> Serviced {
        let mut serviced = Serviced { again: false, cost: 0 };
        match received {
            Received::Nothing => {}
            Received::End => self.end_of_stream(index),
            Received::Failed(errno) => {
                tracing::debug!(%errno, connection = %self.core.id(index), "receive failed");
                self.core.counters.receive_errors += 1;
                self.cut(index, Cause::Vanished, code::ABNORMAL, "");
            }
            Received::Bytes(count) => {
                self.core.counters.received_bytes += count as u64;
                let frames = self.take_bytes(handler, index, &mut buffer[..count]);
                let half_closed = self.flags(index).has(Flags::HALF_CLOSED);
                serviced.cost = cost(count, frames);
                // Who owes for its frames stands on the list until they are paid for, also if the
                // socket is empty now: its next bytes would come back without the debt.
                let owes = serviced.cost > TURN_SHARE_BYTES;
                serviced.again = count == buffer.len() || half_closed || owes;
            }
        }
        self.tell_endings(handler);
        serviced
    }

    fn flags(&self, index: Index) -> Flags {
        self.core.connections.get(index).map_or(Flags::default(), |one| one.flags)
    }

    fn take_bytes(&mut self, handler: &mut H, index: Index, bytes: &mut [u8]) -> u32 {
        let tick = self.core.tick;
        let connection = self.core.connections.get_mut(index).expect("being read");
        match connection.phase {
            Phase::Handshake => {
                let taken = self.take_head(handler, index, bytes);
                let open = self.core.connections.get(index).is_some_and(|one| one.phase.is_open());
                if open && taken < bytes.len() {
                    return self.take_frames(handler, index, &mut bytes[taken..]);
                }
                0
            }
            Phase::Open | Phase::Closing => {
                connection.heard = tick;
                connection.misses = 0;
                self.take_frames(handler, index, bytes)
            }
            // Thrown away: the kernel must not answer unread bytes with a reset.
            Phase::Discarding | Phase::Lingering | Phase::Retiring => 0,
        }
    }

    /// Parses frames and hands on what they hold; returns how many there were.
    fn take_frames(&mut self, handler: &mut H, index: Index, bytes: &mut [u8]) -> u32 {
        let mut assembler = self.take_assembler(index);
        let route = self.core.connections.get(index).expect("being read").route;
        let limits = self.core.settings.message_limits(route);
        let mut reading = Reading { frames: 0, pongs: 0, late_ping: None };
        let mut offset = 0;
        loop {
            let step = match assembler.next(Role::Server, &limits, &mut bytes[offset..]) {
                Ok(step) => step,
                Err(error) => {
                    self.violated(index, &error);
                    break;
                }
            };
            offset += step.consumed;
            reading.frames += step.frames;
            let Some(event) = step.event else { break };
            self.take_event(handler, index, event, &mut reading);
            let phase = self.core.connections.get(index).map(|one| one.phase);
            if !matches!(phase, Some(Phase::Open | Phase::Closing)) {
                break;
            }
        }
        if let Some((payload, length)) = reading.late_ping {
            self.pong(index, &payload[..length]);
        }
        self.keep_assembler(index, assembler);
        self.core.counters.frames_received += u64::from(reading.frames);
        reading.frames
    }

    fn take_event(&mut self, handler: &mut H, index: Index, event: Event<'_>, read: &mut Reading) {
        match event {
            Event::Message { kind, payload } => {
                self.core.counters.messages_received += 1;
                self.core.counters.messages_received_bytes += payload.len() as u64;
                let id = self.core.id(index);
                if self.core.open(id).is_none() {
                    return; // we have sent our Close: only the peer's is of interest
                }
                let message = Message::validated(kind, payload);
                let done = guard(|| handler.message(&mut Peer::new(self, id), message));
                if done.is_none() {
                    self.panicked(index);
                }
            }
            Event::Ping(payload) if read.pongs < PONGS_PER_READ_MAX => {
                read.pongs += 1;
                self.pong(index, payload);
            }
            Event::Ping(payload) => {
                // RFC 6455 §5.5.3: only the latest of several pings need be answered.
                let mut kept = [0; 125];
                kept[..payload.len()].copy_from_slice(payload);
                if read.late_ping.replace((kept, payload.len())).is_some() {
                    self.core.counters.pongs_coalesced += 1;
                }
            }
            Event::Pong(_) => self.core.counters.pongs_received += 1,
            Event::Close(reason) => self.take_close(index, reason),
        }
    }

    fn pong(&mut self, index: Index, payload: &[u8]) {
        let Some(connection) = self.core.connections.get(index) else { return };
        if !connection.phase.is_open() {
            return;
        }
        self.core.counters.pongs_sent += 1;
        let header = encode_header(true, OpCode::Pong, payload.len(), None);
        let piece = self.copied(&[&header, payload]);
        let _cut_on_overflow = self.queue(index, piece);
    }

    fn take_close(&mut self, index: Index, reason: Option<CloseReason<'_>>) {
        let connection = self.core.connections.get_mut(index).expect("being read");
        connection.flags.set(Flags::PEER_CLOSED);
        if connection.phase == Phase::Closing {
            return self.peer_closed(index);
        }
        let (code, text) = reason.map_or((code::NO_STATUS, ""), |one| (one.code, one.reason));
        self.close_for_good(index, Cause::Peer, code, text);
    }

    /// The peer broke a rule: it is told which, and not listened to any more.
    fn violated(&mut self, index: Index, error: &crate::ws::WsError) {
        self.core.counters.violations += 1;
        let reason = error.to_string();
        tracing::debug!(connection = %self.core.id(index), %error, "protocol violation");
        let phase = self.core.connections.get(index).expect("being read").phase;
        if phase == Phase::Closing {
            return self.peer_closed(index);
        }
        self.close_for_good(index, Cause::Violation, error.close_code(), &reason);
    }

    /// A handler panicked on this connection: it alone is lost.
    pub(super) fn panicked(&mut self, index: Index) {
        self.core.counters.handler_panics += 1;
        tracing::error!(connection = %self.core.id(index), "the handler panicked");
        self.close_from_here(index, Cause::Panic, code::INTERNAL_ERROR, "internal error");
    }

    fn take_assembler(&mut self, index: Index) -> Assembler {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("being read");
        let Some(busy) = &mut connection.busy else { return Assembler::new() };
        core.partial_bytes -= busy.assembler.buffered_bytes();
        std::mem::take(&mut busy.assembler)
    }

    /// Puts back what has not arrived whole, if the connection still wants the rest of it.
    fn keep_assembler(&mut self, index: Index, assembler: Assembler) {
        let core = &mut *self.core;
        let Some(connection) = core.connections.get_mut(index) else { return };
        if !matches!(connection.phase, Phase::Open | Phase::Closing) {
            return;
        }
        if assembler.is_idle() {
            connection.calm();
            return;
        }
        core.partial_bytes += assembler.buffered_bytes();
        connection.busy().assembler = assembler;
        if core.partial_bytes > core.settings.partial_bytes_max {
            core.counters.partial_budget_closes += 1;
            let reason = "too many messages in parts";
            if connection.phase.is_open() {
                self.close_for_good(index, Cause::Violation, code::TRY_AGAIN_LATER, reason);
            } else {
                self.retire(index);
            }
        }
    }
}

impl<H: Handler> Core<H> {
    /// Takes the first entry off a ready list; it is to be read now if it is returned. The others
    /// owe a share, are gone, or are paused until their output has left.
    pub(super) fn next_ready(&mut self, rank: Rank) -> Option<ReadyEntry> {
        let entry = self.ready.pop(rank)?;
        let connection = self.living(entry.index, entry.serial)?;
        if connection.phase == Phase::Retiring {
            return None;
        }
        connection.flags.clear(Flags::READY);
        let is_paused = connection.flags.has(Flags::PAUSED) && connection.phase.is_open();
        let waits = connection.flags.has(Flags::LEAVING) && connection.phase == Phase::Handshake;
        (!is_paused && !waits).then_some(entry)
    }

    /// Puts a connection back on the ready list after its share of this turn.
    pub(super) fn ready_again(&mut self, entry: ReadyEntry, cost: usize) {
        if let Some(connection) = self.living(entry.index, entry.serial)
            && connection.phase != Phase::Retiring
            && !connection.flags.has(Flags::READY)
        {
            connection.flags.set(Flags::READY);
            let rank = connection.rank();
            self.ready.push_again(entry, cost, rank);
        }
    }

    pub(crate) fn ready_count(&self, rank: Rank) -> usize {
        self.ready.len(rank)
    }
}
