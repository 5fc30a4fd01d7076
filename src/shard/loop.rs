//! The I/O of a shard: one turn after the other.
//!
//! Invariants:
//! * *One enter per turn* carries the sends of the last turn, the polls and the wait.
//! * *Failures first:* after each enter the completions are drained, failed sends dealt with, the
//!   batch recycled and slots released, in this order, before anything new is sent.
//! * *Every source has a share of a turn,* so none can starve another.

use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{Admission, Passing};
use super::core::{Core, Effect, Turn};
use super::handover::Passed;
use super::listeners::{Listeners, Newcomer};
use super::message::{Counted, Message};
use super::outbound::Send;
use super::slab::Index;
use super::unarmed::is_refusal;
use crate::address::SocketPeer;
use crate::handler::Handler;
use crate::limits::{
    ACCEPT_SHARE, FANOUT_TURN_SHARE, HANDOVER_PAUSE, JOBS_SHARE, JOINS_SHARE, MESH_SHARE,
    RECEIVE_BUFFER_BYTES, SPIN_PERIOD, TURN_EVENTS_MAX, TURN_OUTPUT_BYTES_MAX, TURN_PERIOD_MAX,
    WHEEL_SHARE,
};
use crate::mesh::{Class, MemberId, Received as MeshReceived};
use crate::ring::{Completion, Operation, Ring, Signals, Token, receive};
use crate::sys::bell::Bell;
use crate::sys::{clock, fdpass, socket};

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

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Something happened, or is still to be done.
    Busy,
    /// Nothing happened for a while: parking saves more than it costs.
    Silent,
    /// All connections are closed after a stop.
    Stopped,
}

/// Whether, and until when, connections are still served.
#[derive(Clone, Copy, Debug)]
enum Service {
    Running,
    /// Stopping: closing what is open, entry by entry from `cursor` on.
    Draining {
        deadline: Instant,
        cursor: u32,
    },
}

/// One shard and the ring that carries it.
pub(crate) struct Loop<H: Handler> {
    handler: H,
    core: Core<H>,
    ring: Ring,
    links: Links,
    listeners: Listeners,
    buffer: Box<[u8]>,
    service: Service,
    drain_timeout: Duration,
    stall_threshold: Duration,
    /// When something last happened.
    active: Instant,
    completions: Vec<Completion>,
    effects: Vec<(u32, Effect)>,
    sends: Vec<Send>,
    /// The bell was rung: jobs or messages may be there.
    rung: bool,
    passed_ready: bool,
    parked_timer: bool,
    /// When the next try is to be made to hand requests over.
    hand_over_at: Option<Instant>,
}

impl<H: Handler> Loop<H> {
    pub(crate) fn new(
        handler: H,
        core: Core<H>,
        ring: Ring,
        links: Links,
        drain_timeout: Duration,
        stall_threshold: Duration,
    ) -> Self {
        let mut shard = Self {
            handler,
            core,
            ring,
            links,
            listeners: Listeners::default(),
            buffer: vec![0; RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            service: Service::Running,
            drain_timeout,
            stall_threshold,
            active: clock::now(),
            completions: Vec::new(),
            effects: Vec::new(),
            sends: Vec::new(),
            rung: true,
            passed_ready: true,
            parked_timer: false,
            hand_over_at: None,
        };
        shard.watch_bell();
        shard.watch_passed();
        shard
    }

    /// Starts to accept on a listener; where `proxied`, each connection begins with a PROXY header.
    pub(crate) fn listen(&mut self, listener: OwnedFd, proxied: bool) {
        self.listeners.add(&mut self.ring, listener, proxied);
    }

    /// One pass over everything there is to do. Waits at most for the spin period.
    pub(crate) fn turn(&mut self) -> Turned {
        let waited = self.enter();
        let began = clock::now();
        self.core.set_now(began);
        self.core.counters().turns += 1;
        let happened = self.take_completions();
        self.settle();
        let worked = self.work(began);
        self.drain_connections();
        self.hand_over();
        self.apply_effects();
        self.flush();
        if happened || worked || self.has_work() {
            self.active = began;
        }
        if self.is_stopped() {
            // The last wakes leave too: whoever is told to look must not sleep on.
            if let Err(error) = self.ring.enter(None) {
                tracing::error!(%error, "the last enter of a shard failed");
            }
            return Turned::Stopped;
        }
        let is_running = matches!(self.service, Service::Running);
        let silent = waited && is_running && began.duration_since(self.active) >= SPIN_PERIOD;
        if silent { Turned::Silent } else { Turned::Busy }
    }

    fn has_work(&self) -> bool {
        self.core.has_work() || self.is_pressed()
    }

    /// Whether there is something to do that no completion will announce.
    fn is_pressed(&self) -> bool {
        self.core.is_pressed() || self.listeners.has_newcomers() || self.passed_ready || self.rung
    }

    /// Submits what the last turn queued and waits if there is nothing to do; true if it waited.
    fn enter(&mut self) -> bool {
        let mut patience = self.patience(SPIN_PERIOD);
        let sleepy = !patience.is_zero() && self.core.channels.mesh.prepare_sleep();
        if !sleepy {
            patience = Duration::ZERO;
        }
        let wait = sleepy.then_some(patience);
        if let Err(error) = self.ring.enter(wait) {
            panic!("the ring of shard {} cannot be entered: {error}", self.core.number);
        }
        if sleepy {
            self.core.channels.mesh.woke();
        }
        sleepy
    }

    /// How long there is nothing to do, `longest` at most.
    fn patience(&self, longest: Duration) -> Duration {
        let has_closes = match self.service {
            Service::Running => false,
            Service::Draining { cursor, .. } => cursor < self.core.entries_max(),
        };
        if self.is_pressed() || has_closes {
            return Duration::ZERO;
        }
        let accept = self.listeners.next_deadline();
        let now = self.core.now;
        let hand_over = self.hand_over_at.filter(|_| self.core.has_leavers());
        let rests = self.core.rests_until();
        let deadlines = [self.core.next_deadline(), accept, hand_over, rests];
        let nearest = deadlines.into_iter().flatten().min();
        nearest.map_or(longest, |at| at.saturating_duration_since(now).min(longest))
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
            Operation::Timeout => self.parked_timer = false,
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

    fn turn_parts(&mut self) -> (Turn<'_, H>, &mut H) {
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
    fn work(&mut self, began: Instant) -> bool {
        let mut worked = self.take_messages();
        self.core.catch_up();
        if std::mem::take(&mut self.rung) {
            let (mut turn, handler) = self.turn_parts();
            turn.finish_jobs(handler, JOBS_SHARE);
            self.time("job");
            self.rung = self.core.jobs.has_results();
            worked = true;
        }
        for token in self.core.take_rested() {
            self.rearm(token);
        }
        worked |= self.admit();
        worked |= self.take_passed();
        let mut looks = WHEEL_SHARE;
        let (mut turn, handler) = self.turn_parts();
        turn.expire(handler, &mut looks);
        self.time("deadline");
        worked |= self.announce();
        if !self.core.channels.fanout.has_announcements() {
            worked |= self.read_ready(began);
            worked |= self.announce();
        }
        let (mut turn, handler) = self.turn_parts();
        worked |= turn.fan_out(handler, FANOUT_TURN_SHARE) > 0;
        self.time("fan-out");
        worked
    }

    /// Tells members what became of their joins.
    fn announce(&mut self) -> bool {
        let (mut turn, handler) = self.turn_parts();
        let told = turn.announce(handler, JOINS_SHARE) > 0;
        self.time("joined");
        told
    }

    fn take_messages(&mut self) -> bool {
        for count in 0..MESH_SHARE {
            let Some(MeshReceived { from, message, owes_answer }) =
                self.core.channels.mesh.receive()
            else {
                return count > 0;
            };
            self.core.counters().mesh_received += 1;
            match message.checked() {
                Message::Stop => self.stop(),
                Message::Count { round } => {
                    assert!(owes_answer, "a count is a request");
                    let counted = Box::new(Counted { round, ..self.counted() });
                    self.core.channels.mesh.answer(from, Message::Counted(counted));
                }
                Message::Interested { .. } | Message::Uninterested { .. }
                    if from.as_usize() >= self.core.shard_count =>
                {
                    unreachable!("only shards have members")
                }
                message => {
                    let (mut turn, handler) = self.turn_parts();
                    turn.take(handler, from, message);
                    self.time("signed in");
                }
            }
        }
        // There may be more: the mesh does not let this shard sleep on it.
        true
    }

    /// Reads connections that are ready, in their order.
    fn read_ready(&mut self, began: Instant) -> bool {
        // What a step before this one took is not this one's.
        let mut before = self.core.now;
        let entries = self.core.ready_count().min(TURN_EVENTS_MAX);
        for _ in 0..entries {
            let Some(entry) = self.core.next_ready() else { continue };
            let index = entry.index;
            let Some(socket) = self.core.socket(index) else { continue };
            let received = receive(socket, &mut self.buffer);
            let mut turn = Turn { core: &mut self.core, batch: self.ring.batch() };
            let serviced = turn.received(&mut self.handler, index, received, &mut self.buffer);
            if serviced.again {
                self.core.ready_again(entry, serviced.cost);
            }
            let after = clock::now();
            self.core.now = after;
            self.core.called = false;
            if after - before > self.stall_threshold {
                self.stalled("message", Some(index), after - before);
            }
            before = after;
            let full = self.ring.batch().used() > TURN_OUTPUT_BYTES_MAX;
            if full || after - began > TURN_PERIOD_MAX {
                break;
            }
        }
        entries > 0
    }

    /// Looks at the time after a step that may have called the handler, if it did. Time since the
    /// last look counts as the step's: what lies between calls nothing and is bounded.
    fn time(&mut self, step: &'static str) {
        if !std::mem::take(&mut self.core.called) {
            return;
        }
        let after = clock::now();
        let period = after - std::mem::replace(&mut self.core.now, after);
        if period > self.stall_threshold {
            self.stalled(step, None, period);
        }
    }

    /// Names the step, and the connection and its route where the step is about a single one.
    #[cold]
    fn stalled(&mut self, step: &'static str, index: Option<Index>, period: Duration) {
        let counters = self.core.counters();
        counters.stalls += 1;
        counters.stall_us += u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let connection = index.map(|index| tracing::field::display(self.core.id(index)));
        let route = index.map(|index| self.core.route_of(index));
        tracing::warn!(
            shard = self.core.number,
            step,
            connection,
            route,
            ?period,
            "the handler held the loop; slow work belongs into `offload`"
        );
    }

    /// Takes sockets out of the accept queue.
    fn admit(&mut self) -> bool {
        self.listeners.rearm(&mut self.ring, self.core.now);
        let mut count = 0;
        while count < ACCEPT_SHARE {
            let Some(newcomer) = self.listeners.next() else { break };
            count += 1;
            if matches!(self.service, Service::Draining { .. }) {
                continue; // accepted in the race with the stop: closed by its drop
            }
            self.admit_one(newcomer);
        }
        count > 0
    }

    fn admit_one(&mut self, newcomer: Newcomer) {
        if let Admission::Pass(shard, newcomer) = self.core.admit(newcomer) {
            self.pass(shard, newcomer);
        }
    }

    /// Passes a socket to a shard where a seat is reserved for it.
    fn pass(&mut self, shard: usize, newcomer: Newcomer) {
        let kind = if newcomer.proxied { Passing::SeatedProxied } else { Passing::Seated };
        let socket = newcomer.socket.as_fd();
        let sent = fdpass::send(&*self.links.pass[shard], &[kind as u8], &[socket]);
        if let Err(error) = sent {
            tracing::debug!(?error, shard, "a connection could not be passed on");
            self.core.pass_failed(shard, newcomer);
        }
    }

    /// Hands requests that are for no WebSocket to the control thread.
    fn hand_over(&mut self) {
        if !self.core.has_leavers() || self.hand_over_at.is_some_and(|at| at > self.core.now) {
            return;
        }
        self.hand_over_at = None;
        while let Some(leaver) = self.core.next_leaver() {
            let socket = self.core.socket_ref(leaver.index).expect("it lives");
            let door = self.links.door.as_ref().expect("it leaves by a door");
            let passed = match fdpass::send(&**door, &leaver.message, &[socket]) {
                Ok(()) => Passed::Gone,
                Err(fdpass::SendError::Full | fdpass::SendError::TooManyInFlight) => Passed::Full,
                Err(error) => {
                    tracing::error!(?error, "requests cannot be handed over");
                    Passed::Broken
                }
            };
            self.turn_parts().0.left(leaver, passed);
            if passed == Passed::Full {
                self.hand_over_at = Some(self.core.now + HANDOVER_PAUSE);
                return;
            }
        }
    }

    fn take_passed(&mut self) -> bool {
        if !std::mem::take(&mut self.passed_ready) {
            return false;
        }
        let (mut payload, mut sockets) = ([0; 8], Vec::new());
        for _ in 0..ACCEPT_SHARE {
            match fdpass::receive(&self.links.passed, &mut payload, 1, &mut sockets) {
                Ok(_) => {}
                Err(fdpass::ReceiveError::Empty) => return true,
                Err(fdpass::ReceiveError::Truncated) => {
                    // This shard's table is full: the socket is lost, its seat is not.
                    tracing::error!("a passed connection was lost: no descriptor left");
                    self.core.passed_lost(Passing::of(payload[0]));
                }
                Err(error) => {
                    tracing::error!(?error, "connections cannot be passed here any more");
                    self.core.counters().pass_failures += 1;
                    return true;
                }
            }
            let kind = Passing::of(payload[0]);
            for socket in sockets.drain(..) {
                let newcomer = Newcomer { socket, proxied: kind == Passing::SeatedProxied };
                match (kind, self.service) {
                    (_, Service::Draining { .. }) => self.core.passed_lost(kind),
                    (Passing::Unseated, _) => self.admit_one(newcomer),
                    (Passing::Seated | Passing::SeatedProxied, _) => {
                        self.core.take_passed(newcomer);
                    }
                }
            }
        }
        self.passed_ready = true;
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

    fn apply_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.take_effects(&mut effects);
        for (serial, effect) in effects.drain(..) {
            let (Effect::Watch(index)
            | Effect::WatchWritable(index)
            | Effect::EndRoomPoll(index)
            | Effect::ShutWrite(index)
            | Effect::Shut(index)
            | Effect::Detach(index)) = effect;
            if self.core.serial(index) != serial {
                continue; // the connection it was meant for is gone, and took it with it
            }
            let Some(socket) = self.core.socket(index) else { continue };
            let token = |operation| Token::new(operation, serial, index.as_u32());
            match effect {
                Effect::Watch(_) => self.ring.poll_readable(socket, token(Operation::Readable)),
                Effect::WatchWritable(_) if self.core.is_half_closed(index) => {
                    self.ring.poll_room(socket, token(Operation::Writable));
                }
                Effect::WatchWritable(_) => {
                    self.ring.poll_writable(socket, token(Operation::Writable));
                }
                Effect::EndRoomPoll(_) => self.ring.cancel(token(Operation::Writable)),
                Effect::ShutWrite(_) => self.shut(index, Shutdown::Write),
                Effect::Shut(_) | Effect::Detach(_) => {
                    if matches!(effect, Effect::Shut(_)) {
                        self.shut(index, Shutdown::Both);
                    }
                    for operation in self.core.armed(index) {
                        self.ring.cancel(token(operation));
                    }
                }
            }
        }
        self.effects = effects;
    }

    fn shut(&self, index: Index, how: Shutdown) {
        // It fails only where the connection is gone already.
        let _gone = self.core.socket_ref(index).map(|socket| socket::shutdown(socket, how));
    }

    fn flush(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        Turn { core: &mut self.core, batch: self.ring.batch() }.flush(&mut sends);
        self.core.counters().sends += sends.len() as u64;
        for send in sends.drain(..) {
            if let Some(socket) = self.core.socket(send.index) {
                self.ring.send(socket, send.piece, send.token);
            }
        }
        self.sends = sends;
        let Self { core, ring, links, .. } = self;
        let mut wakes = 0;
        core.channels.mesh.flush(|member: MemberId| {
            wakes += 1;
            match links.rings.get(member.as_usize()) {
                Some(&target) => ring.wake(target),
                None => links.bells[member.as_usize()].ring(),
            }
        });
        core.counters().wakes_sent += wakes;
    }

    /// Ready to sleep for longer? Then a signal or `deadline` wakes it. The caller parks on the
    /// eventfd that the ring signals, and calls [`unpark`](Self::unpark) after.
    pub(crate) fn prepare_park(&mut self) -> bool {
        let patience = self.patience(Duration::MAX);
        // A timer that was cancelled but has not said so yet would pass for the new one.
        if patience.is_zero() || self.parked_timer || !self.core.channels.mesh.prepare_sleep() {
            return false;
        }
        if patience != Duration::MAX {
            self.ring.timeout(patience, Token::of(Operation::Timeout));
            self.parked_timer = true;
        }
        self.ring.signals(Signals::On);
        // The enter submits the timeout, and whatever came while signals were off is seen here:
        // no later event would signal it (design, decision 5).
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let entered = self.ring.enter(None);
        if entered.is_err() || self.ring.has_work() {
            self.unpark();
            return false;
        }
        self.core.counters().parks += 1;
        true
    }

    /// To be called after parking.
    pub(crate) fn unpark(&mut self) {
        self.ring.signals(Signals::Off);
        self.core.channels.mesh.woke();
        if self.parked_timer {
            self.ring.cancel(Token::of(Operation::Timeout));
        }
        self.active = clock::now();
    }

    /// For an executor without a runtime of its own: sleeps in the ring.
    pub(crate) fn sleep(&mut self) {
        let patience = self.patience(Duration::from_hours(1));
        if patience.is_zero() || !self.core.channels.mesh.prepare_sleep() {
            return;
        }
        self.core.counters().parks += 1;
        if let Err(error) = self.ring.enter(Some(patience)) {
            panic!("the ring of shard {} cannot be entered: {error}", self.core.number);
        }
        self.core.channels.mesh.woke();
        self.active = clock::now();
    }

    fn stop(&mut self) {
        if matches!(self.service, Service::Draining { .. }) {
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

    fn is_stopped(&self) -> bool {
        matches!(self.service, Service::Draining { .. })
            && self.core.connection_count() == 0
            && self.listeners.is_over()
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
