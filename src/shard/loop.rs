//! The I/O of a shard: one turn after the other.
//!
//! Invariants:
//! * *One enter per turn* carries the sends of the last turn, the polls and the wait.
//! * *Failures first:* after each enter the completions are drained, failed sends dealt with, the
//!   batch recycled and slots released, in this order, before anything new is sent.
//! * *Every source has a share of a turn,* so none can starve another.

use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ahead::Ahead;
use super::carriage::Carriage;
use super::core::{Core, Effect, Turn};
use super::giving_back::GivingBack;
use super::listeners::Listeners;
use super::message::{Counted, Message};
use super::outbound::Send;
use super::slab::Index;
use super::starvation::Starvation;
use super::unarmed::is_refusal;
use super::way::NewWay;
use crate::address::SocketPeer;
use crate::handler::Handler;
use crate::limits::{
    ARENA_BYTES, EVENTS_STOP_GRACE, JOBS_SHARE, JOINS_SHARE, LISTING_SHARE, MESH_PERIOD_MAX,
    MESH_SHARE, PARK_PERIOD, RECEIVE_BUFFER_BYTES, TELLINGS_SHARE, WHEEL_SHARE,
};
use crate::mesh::{Class, Received as MeshReceived};
use crate::metrics;
use crate::ring::{Completion, Operation, Ring, Token};
use crate::sys::bell::Bell;
use crate::sys::{clock, memory, socket};

/// The descriptors of a shard that are not connections.
pub(crate) struct Links {
    /// Rung by threads without a ring.
    pub(crate) bell: Arc<Bell>,
    /// The bells of all members of the mesh, the control thread's last.
    pub(crate) bells: Vec<Arc<Bell>>,
    /// The rings of all shards, known to this thread's table; empty when posting into a ring does
    /// not work here, and bells are rung instead.
    pub(crate) rings: Vec<RawFd>,
    /// Where connections come in that other shards pass on.
    pub(crate) passed: OwnedFd,
    /// Where to pass connections on to, for each shard.
    pub(crate) pass: Vec<Arc<OwnedFd>>,
    /// Where to hand requests over that are for no WebSocket.
    pub(crate) door: Option<Arc<OwnedFd>>,
}

/// Whether, and until when, connections are still served.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Running,
    /// Stopping: closing what is open, entry by entry from `cursor` on.
    Draining {
        deadline: Instant,
        cursor: u32,
    },
    /// Everything is another process's.
    Left,
}

/// One shard and the ring that carries it.
pub(crate) struct Loop<H: Handler> {
    pub(super) handler: H,
    pub(super) core: Core<H>,
    pub(super) ring: Ring,
    pub(super) links: Links,
    pub(super) listeners: Listeners,
    pub(super) buffer: Box<[u8]>,
    pub(super) service: Service,
    pub(super) drain_timeout: Duration,
    pub(super) starvation: Starvation,
    /// The last turn left something to the next.
    pub(super) stirred: bool,
    /// What had been tried to send through the mesh when the last turn ended.
    pub(super) said: u64,
    pub(super) completions: Vec<Completion>,
    pub(super) effects: Vec<(u32, Effect)>,
    pub(super) sends: Vec<Send>,
    /// The bell was rung: jobs or messages may be there.
    pub(super) rung: bool,
    pub(super) passed_ready: bool,
    pub(super) giving_back: GivingBack,
    /// When the next try is to be made to hand requests over.
    pub(super) hand_over_at: Option<Instant>,
    /// Ways to the shards of another process.
    pub(super) channels: Vec<NewWay>,
    /// Where this shard stands with sending copies to them, while it serves.
    pub(super) ahead: Option<Box<Ahead>>,
    /// Where this shard stands with sending all that it has to them.
    pub(super) carriage: Option<Box<Carriage>>,
    /// The homes have yet to hear of the connections that were taken over.
    pub(super) is_settling_in: bool,
    /// Connections from this slot on that were taken over are not watched yet.
    pub(super) unwatched: Option<u32>,
}

impl<H: Handler> Loop<H> {
    pub(crate) fn new(
        handler: H,
        core: Core<H>,
        ring: Ring,
        links: Links,
        drain_timeout: Duration,
        stall_threshold: Duration,
        give_back: Option<fn()>,
    ) -> Self {
        let giving_back = GivingBack::new(give_back);
        let mut shard = Self {
            handler,
            core,
            ring,
            links,
            listeners: Listeners::default(),
            buffer: vec![0; RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            service: Service::Running,
            drain_timeout,
            starvation: Starvation::new(stall_threshold, clock::now()),
            stirred: true,
            said: 0,
            completions: Vec::new(),
            effects: Vec::new(),
            sends: Vec::new(),
            rung: true,
            passed_ready: true,
            giving_back,
            hand_over_at: None,
            channels: Vec::new(),
            ahead: None,
            carriage: None,
            is_settling_in: false,
            unwatched: None,
        };
        shard.watch_bell();
        shard.watch_passed();
        shard
    }

    /// Starts to accept on a listener of the place with this number; where `proxied`, each
    /// connection begins with a PROXY header.
    pub(crate) fn listen(&mut self, listener: OwnedFd, proxied: bool, place: u16) {
        self.listeners.add(&mut self.ring, listener, proxied, place);
    }

    /// Serves until the shard is stopped and its connections are closed.
    pub(crate) fn run(&mut self) {
        memory::set_apart();
        while self.turn().is_continue() {}
    }

    /// One pass over everything there is to do; waits first, if there is nothing. It breaks when
    /// all connections are closed after a stop.
    pub(super) fn turn(&mut self) -> ControlFlow<()> {
        let waited = self.enter();
        let began = clock::now();
        if waited && began.duration_since(self.core.now) >= PARK_PERIOD {
            self.core.counters().parks += 1;
        }
        self.core.set_now(began);
        self.starvation.look(began);
        self.core.counters().turns += 1;
        let happened = self.take_completions();
        self.settle();
        self.allow_moves();
        let worked = if self.is_settling_in {
            self.work_settling_in()
        } else if self.is_still() {
            self.work_still()
        } else {
            self.work()
        };
        self.drain_connections();
        self.hand_over();
        self.core.send_reports();
        self.apply_effects();
        // Before the commit a client's socket is not written to.
        if self.is_sending() || self.is_settling_in {
            self.flush_mesh();
        } else {
            self.flush();
            self.give_back();
        }
        // Output of clients is work for when they are served.
        let has_work = !self.is_settling_in && self.core.has_work();
        self.stirred = (happened || worked) && self.has_said() || has_work;
        if self.is_stopped() {
            // The last wakes leave too: whoever is told to look must not sleep on.
            if let Err(error) = self.ring.enter(None) {
                tracing::error!(%error, "the last enter of a shard failed");
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Whether this turn sent anything, to peers or to members of the mesh: the next one gives the
    /// batch back, and tries again what was refused. One that has only heard leaves nothing.
    fn has_said(&mut self) -> bool {
        let said = self.core.channels.mesh.counters().tried();
        let by_mesh = std::mem::replace(&mut self.said, said) != said;
        by_mesh || !self.ring.batch().is_empty()
    }

    fn take_completions(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        if let Err(error) = self.ring.drain(&mut completions) {
            panic!("the ring of shard {} cannot be drained: {error}", self.core.number);
        }
        let happened = !completions.is_empty();
        for completion in completions.drain(..) {
            self.take_completion(completion);
        }
        self.completions = completions;
        happened
    }

    fn take_completion(&mut self, completion: Completion) {
        let Completion { token, result, more } = completion;
        match token.operation() {
            Operation::Readable => {
                if result > 0 {
                    let gone = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
                    self.core.readable(token, result & i32::from(gone) != 0);
                }
                if !more {
                    self.core.poll_ended(token, result);
                }
            }
            Operation::Writable => self.take_writable(token, result, more),
            Operation::Send => self.turn_parts().0.send_failed(token, result),
            Operation::Accept => {
                let Self { listeners, ring, core, .. } = self;
                let now = core.now;
                listeners.take(ring, completion, now, core.counters());
            }
            Operation::Bell => {
                self.links.bell.quiet();
                self.rung = true;
                if !more {
                    self.watch_again(token, result);
                }
            }
            Operation::Passed => {
                self.passed_ready = true;
                if !more {
                    self.watch_again(token, result);
                }
            }
            Operation::Wake if result < 0 => {
                tracing::error!(errno = -result, "a wake could not be posted");
            }
            // A wake says only that there is something to look at, and every turn looks.
            Operation::Wake | Operation::Cancel | Operation::Connect | Operation::Ignored => {}
        }
    }

    /// A poll for room reported: room, an error that the send will tell, or only that the peer has
    /// ended its half, which says nothing about room.
    fn take_writable(&mut self, token: Token, result: i32, more: bool) {
        let told = libc::POLLOUT | libc::POLLERR | libc::POLLHUP;
        let room = result > 0 && result & i32::from(told) != 0;
        if more {
            if room {
                self.core.end_room_poll(token);
            }
            return;
        }
        self.core.poll_ended(token, result);
        if room || result == -libc::ECANCELED {
            self.turn_parts().0.writable(token);
        } else if result > 0 {
            self.core.readable(token, true);
            self.core.watch_writable(Index::new(token.index()));
        }
    }

    pub(super) fn turn_parts(&mut self) -> (Turn<'_, H>, &mut H) {
        let turn = Turn { core: &mut self.core, batch: self.ring.batch() };
        (turn, &mut self.handler)
    }

    fn settle(&mut self) {
        self.turn_parts().0.settle();
        self.ring.recycle();
        self.core.release();
        // Only now: what a handler sends when it hears of an end belongs to the next batch.
        let (mut turn, handler) = self.turn_parts();
        turn.tell_endings(handler);
        self.time("send");
    }

    /// All sources, each within its share; true if any of them had something.
    fn work(&mut self) -> bool {
        let mut worked = self.take_messages();
        worked |= self.watch_adopted();
        worked |= self.work_without_clients();
        if !self.core.channels.fanout.has_announcements() {
            worked |= self.read_ready();
            worked |= self.announce();
        }
        // After the reading: who has spoken while this shard was late is not late.
        // Who was taken over may have spoken while nothing was served: all are watched first.
        if self.unwatched.is_none() {
            let mut looks = WHEEL_SHARE;
            let (mut turn, handler) = self.turn_parts();
            turn.expire(handler, &mut looks);
            self.time("deadline");
        }
        worked |= self.fan_out();
        self.offer_moves();
        worked | self.copy_ahead()
    }

    /// What comes from elsewhere than clients, or was left by them.
    pub(super) fn work_without_clients(&mut self) -> bool {
        self.core.catch_up();
        let mut worked = self.finish_jobs();
        for token in self.core.take_rested() {
            self.rearm(token);
        }
        let (mut turn, handler) = self.turn_parts();
        worked |= turn.tell_users(handler, TELLINGS_SHARE) > 0;
        worked |= turn.list_channels(LISTING_SHARE);
        turn.take_arrivals(handler);
        self.time("user command");
        worked |= self.admit();
        worked |= self.take_passed();
        worked | self.announce()
    }

    pub(super) fn fan_out(&mut self) -> bool {
        let budget = self.core.channels.stand_in_line();
        let (mut turn, handler) = self.turn_parts();
        let delivered = turn.fan_out(handler, budget) > 0;
        self.time("fan-out");
        delivered
    }

    pub(super) fn finish_jobs(&mut self) -> bool {
        if !std::mem::take(&mut self.rung) {
            return false;
        }
        let (mut turn, handler) = self.turn_parts();
        turn.finish_jobs(handler, JOBS_SHARE);
        self.time("job");
        self.rung = self.core.jobs.has_results();
        true
    }

    /// Tells members what became of their joins.
    fn announce(&mut self) -> bool {
        let (mut turn, handler) = self.turn_parts();
        let told = turn.announce(handler, JOINS_SHARE) > 0;
        self.time("joined");
        told
    }

    /// Until their share is over, in number or in time: a message that brings in somebody who has
    /// waited for the control thread is as much work as a whole session's subscriptions.
    pub(super) fn take_messages(&mut self) -> bool {
        let began = self.core.now;
        for count in 0..MESH_SHARE {
            if self.core.now - began > MESH_PERIOD_MAX {
                break;
            }
            let Some(MeshReceived { from, message, owes_answer }) =
                self.core.channels.mesh.receive()
            else {
                return count > 0;
            };
            self.core.counters().mesh_received += 1;
            match message.checked() {
                Message::Stop => self.stop(),
                Message::HandOver(step) => self.hand_over_step(step),
                Message::Count { round } => {
                    assert!(owes_answer, "a count is a request");
                    let counted = Box::new(Counted { round, ..self.counted() });
                    self.core.channels.mesh.answer(from, Message::Counted(counted));
                }
                Message::Interested { .. }
                | Message::Uninterested { .. }
                | Message::Enter(_)
                | Message::Absent { .. }
                | Message::ShowAnew(_)
                    if from.as_usize() >= self.core.shard_count =>
                {
                    unreachable!("only shards have members")
                }
                message => {
                    let (mut turn, handler) = self.turn_parts();
                    turn.take(handler, from, message);
                    self.time("answer");
                }
            }
        }
        // There may be more: the mesh does not let this shard sleep on it.
        true
    }

    /// Arms a poll that has ended: at once, or after a rest if the kernel refused it.
    fn watch_again(&mut self, token: Token, result: i32) {
        if is_refusal(result) { self.core.rest_poll(token) } else { self.rearm(token) }
    }

    fn rearm(&mut self, token: Token) {
        match token.operation() {
            Operation::Bell => self.watch_bell(),
            Operation::Passed => self.watch_passed(),
            _ => self.core.rearm(token),
        }
    }

    fn watch_bell(&mut self) {
        self.ring.poll_readable(self.links.bell.as_raw_fd(), Token::of(Operation::Bell));
    }

    fn watch_passed(&mut self) {
        self.ring.poll_readable(self.links.passed.as_raw_fd(), Token::of(Operation::Passed));
    }

    fn stop(&mut self) {
        if !matches!(self.service, Service::Running) {
            return;
        }
        if self.is_settling_in {
            // Nothing has become of it: what it has is the other process's still.
            self.service = Service::Left;
            return;
        }
        let deadline = self.core.now + self.drain_timeout;
        self.service = Service::Draining { deadline, cursor: 0 };
        self.listeners.stop(&mut self.ring);
    }

    /// Closes a share of the connections while the server stops.
    fn drain_connections(&mut self) {
        let Service::Draining { deadline, cursor } = self.service else { return };
        let (mut turn, handler) = self.turn_parts();
        let late = turn.core.now >= deadline;
        let cursor = turn.close_share(handler, cursor, late);
        self.service = Service::Draining { deadline, cursor };
        self.time("stop");
    }

    fn give_back(&mut self) {
        let (released, now) = (self.core.counters().released, self.core.now);
        let is_alone = self.core.connection_count() == 0;
        if let Some(ask) = self.giving_back.look(released, is_alone, now) {
            self.core.shrink();
            self.handler.spare();
            self.ring.shrink();
            self.completions.shrink_to_fit();
            self.effects.shrink_to_fit();
            self.sends.shrink_to_fit();
            self.core.called = true;
            ask();
            self.time("memory given back");
            self.core.counters().memory_given_back += 1;
        }
    }

    fn is_stopped(&mut self) -> bool {
        let deadline = match self.service {
            Service::Running => return false,
            Service::Draining { deadline, .. } => deadline,
            Service::Left => return true,
        };
        if self.core.connection_count() > 0 || !self.listeners.is_over() {
            return false;
        }
        // Another shard may have left without a word to what moves between them.
        let is_awaited = self.core.channels.mesh.is_in_line() || !self.core.moves.is_quiet();
        if is_awaited && self.core.now < deadline {
            return false;
        }
        if self.core.now >= deadline + EVENTS_STOP_GRACE {
            self.core.give_up_reports();
        }
        self.core.has_reported()
    }

    /// What this shard has counted, with what its parts counted for it.
    pub(crate) fn counted(&mut self) -> Counted {
        let mut counted = self.core.counted();
        let ring = self.ring.counts();
        counted.counters.enters = ring.enters;
        counted.counters.completions = ring.completions;
        counted.counters.completion_overflows = ring.overflows;
        let mesh = self.core.channels.mesh.counters();
        let classes = [Class::Delivery, Class::Request, Class::Notice];
        counted.counters.mesh_refused = classes.into_iter().map(|class| mesh.refused(class)).sum();
        counted.counters.cores_passed = mesh.passed;
        counted.memory[metrics::Class::Rings] = self.ring.kernel_bytes();
        let buffers = ARENA_BYTES + RECEIVE_BUFFER_BYTES;
        counted.memory[metrics::Class::Buffers] = buffers as u64;
        counted.submitted =
            Operation::ALL.map(|operation| (operation, ring.submitted(operation))).into();
        counted
    }
}

/// Asks the kernel for the peer's address.
pub(crate) fn address_of(socket: BorrowedFd<'_>) -> SocketPeer {
    match socket::peer_addr(socket) {
        Ok(address) => SocketPeer::Internet(address),
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => SocketPeer::Local,
        Err(_) => SocketPeer::Gone,
    }
}
