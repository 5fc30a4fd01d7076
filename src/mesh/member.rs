//! A thread's end of the mesh: its queues to and from all others, and its sleep.
//!
//! A turn of its owner: `receive` as often as its share of the turn allows, `send` and
//! `answer`, then `flush`, which tells the others. To wait: `prepare_sleep`, wait for the wake
//! or a deadline of its own, `woke`. What was refused is tried again once per turn; a member
//! that sleeps is woken for it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::doorbell::Doorbell;
use super::link::{Class, Full, Link};
use super::members::{MemberId, MemberSet};
use super::rota::{Left, Rota};

/// A message that came out of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<M> {
    /// Who sent it.
    pub from: MemberId,
    /// What was sent.
    pub message: M,
    /// True for a request: exactly one [`Member::answer`] to `from` is owed for it.
    pub owes_answer: bool,
}

/// What a member has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages sent, of all classes and answers.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages refused, by class.
    refused: [u64; Class::COUNT],
    /// Members that this one had to wake.
    pub wakes: u64,
    /// Times that this one passed the core on to another that shares it.
    pub passed: u64,
}

impl Counters {
    /// Messages of a class that were refused.
    pub const fn refused(&self, class: Class) -> u64 {
        self.refused[class as usize]
    }

    /// Messages sent or refused.
    pub fn tried(&self) -> u64 {
        self.sent + self.refused.iter().sum::<u64>()
    }
}

/// How a member stands with the core that it shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Elsewhere,
    /// In line.
    Waits,
    /// Until the sends of this turn are made, which is in the next.
    Holds,
}

/// One thread's end of the mesh; see the module's docs.
pub struct Member<M> {
    id: MemberId,
    links: Box<[Option<Link<M>>]>,
    doorbells: Arc<[Doorbell]>,
    /// Sources whose queue may hold messages, as far as the owner has taken the marks.
    pending: MemberSet,
    /// The number from which the round over the pending sources goes on.
    round: usize,
    /// Targets that were pushed to since the last flush.
    pushed: MemberSet,
    /// Targets whose queue refused something, and which have not drained it since.
    refused_by: MemberSet,
    /// True when messages were taken since the last flush.
    has_popped: bool,
    /// Those with whom it shares its core, if it does.
    rota: Option<Arc<Rota>>,
    standing: Standing,
    /// Whether it has asked for the core since the last flush.
    has_asked: bool,
    /// Who was passed the core, and does not know.
    next: Option<MemberId>,
    counters: Counters,
}

impl<M: Send> Member<M> {
    pub(super) fn new(id: MemberId, member_count: usize, doorbells: Arc<[Doorbell]>) -> Self {
        Self {
            id,
            links: (0..member_count).map(|_| None).collect(),
            doorbells,
            pending: MemberSet::default(),
            round: 0,
            pushed: MemberSet::default(),
            refused_by: MemberSet::default(),
            has_popped: false,
            rota: None,
            standing: Standing::Elsewhere,
            has_asked: false,
            next: None,
            counters: Counters::default(),
        }
    }

    pub(super) fn connect(&mut self, peer: MemberId, link: Link<M>) {
        self.links[peer.as_usize()] = Some(link);
    }

    pub(super) fn share_core(&mut self, rota: Arc<Rota>) {
        self.rota = Some(rota);
    }

    /// The name by which the others know this member.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// All other members.
    pub fn peers(&self) -> impl Iterator<Item = MemberId> + use<M> {
        let own = self.id;
        (0..self.links.len()).map(MemberId::new).filter(move |&peer| peer != own)
    }

    /// Puts a message into the queue to `to`, which sees it after the next [`Member::flush`].
    ///
    /// # Errors
    ///
    /// The message comes back when its class has no room. If the queue is the reason, this
    /// member is woken when `to` has drained it; if it is the number of awaited answers, the
    /// next answer wakes it.
    pub fn send(&mut self, to: MemberId, message: M, class: Class) -> Result<(), Full<M>> {
        #[cfg(test)]
        if super::planted::refuses() {
            return Err(Full(message));
        }
        let link = self.link(to);
        let is_queue_full = class != Class::Request || !link.awaits_all();
        let sent = link.send(message, class);
        if sent.is_ok() {
            self.refused_by.remove(to);
            self.note_sent(to);
            return sent;
        }
        if is_queue_full {
            link.note_filled();
            self.refused_by.insert(to);
            self.doorbells[to.as_usize()].wait_for_room(self.id);
        }
        self.counters.refused[class as usize] += 1;
        sent
    }

    /// Whether `to` has taken all messages that were sent to it.
    pub fn has_taken_all(&mut self, to: MemberId) -> bool {
        self.link(to).peer_has_taken_all()
    }

    /// Answers a request of `to`. Its room was reserved by the request, so it always fits.
    ///
    /// Answers need not be in the order of the requests, but there is one for each.
    pub fn answer(&mut self, to: MemberId, message: M) {
        self.link(to).answer(message);
        self.note_sent(to);
    }

    /// Takes the next message: of each source in the order it was sent, and of all sources in
    /// turn. The caller bounds how many it takes before its [`Member::flush`].
    pub fn receive(&mut self) -> Option<Received<M>> {
        loop {
            let Some(from) = self.pending.first_from(self.round) else {
                // A round ends. New marks join here, so that no source waits longer than one.
                let marked = self.doorbells[self.id.as_usize()].take_marked();
                self.pending = self.pending.union(marked);
                self.round = 0;
                if self.pending.is_empty() {
                    return None;
                }
                continue;
            };
            self.round = from.as_usize() + 1;
            let Some((message, owes_answer)) = self.link(from).receive() else {
                self.pending.remove(from);
                continue;
            };
            self.has_popped = true;
            self.counters.received += 1;
            return Some(Received { from, message, owes_answer });
        }
    }

    /// Ends a turn: what was sent becomes visible, and `wake` is called for each target that
    /// sleeps and that nobody else wakes.
    pub fn flush(&mut self, mut wake: impl FnMut(MemberId)) {
        let mut targets = std::mem::take(&mut self.pushed);
        self.leave_line();
        for target in targets.iter() {
            self.link(target).note_filled();
            self.doorbells[target.as_usize()].mark(self.id);
        }
        if std::mem::take(&mut self.has_popped) {
            targets = targets.union(self.give_room());
        }
        if let Some(next) = self.next.take() {
            // It finds no message, but it does not sleep on it.
            self.doorbells[next.as_usize()].mark(self.id);
            targets.insert(next);
        }
        for target in targets.iter() {
            if self.doorbells[target.as_usize()].rouse() {
                self.counters.wakes += 1;
                wake(target);
            }
        }
    }

    /// True if this member may do long work in this turn. If not, others that share its core are
    /// before it: it is woken when it is its turn, and leaves the line if it does not ask in each
    /// of its turns until then. What it holds is passed on in the next turn, when the sends of this
    /// one are made.
    pub fn take_core(&mut self) -> bool {
        self.has_asked = true;
        self.pass_core();
        let Some(rota) = &self.rota else { return true };
        let holds = match self.standing {
            Standing::Waits => rota.is_held_by(self.id),
            Standing::Elsewhere | Standing::Holds => rota.ask(self.id),
        };
        self.standing = if holds { Standing::Holds } else { Standing::Waits };
        holds
    }

    /// Whether others may be waiting for this member to pass a core on.
    pub fn is_in_line(&self) -> bool {
        self.standing != Standing::Elsewhere
    }

    /// Whether this member stands in line for the core that it shares.
    pub fn waits_for_core(&self) -> bool {
        self.standing == Standing::Waits
    }

    /// Whether others are on the core that this member is on.
    pub fn shares_core(&self) -> bool {
        self.rota.is_some()
    }

    /// Whether this member has the core still: it has another turn at once.
    pub fn holds_core(&self) -> bool {
        self.standing == Standing::Holds
    }

    fn pass_core(&mut self) {
        if let (Standing::Holds, Some(rota)) = (self.standing, &self.rota) {
            self.standing = Standing::Elsewhere;
            self.next = rota.pass(self.id);
            self.counters.passed += u64::from(self.next.is_some());
        }
    }

    /// For the end of a turn: who has not asked leaves the line.
    fn leave_line(&mut self) {
        if std::mem::take(&mut self.has_asked) {
            return;
        }
        if let (Standing::Waits, Some(rota)) = (self.standing, &self.rota) {
            self.standing = match rota.leave(self.id) {
                Left::Out => Standing::Elsewhere,
                Left::Holds => Standing::Holds,
                // It is told of it, and has another turn.
                Left::Awaited => Standing::Waits,
            };
        }
        self.pass_core();
    }

    /// True when this member may wait: whatever comes from now on wakes it. False when there is
    /// something to receive, or room again where it was refused.
    pub fn prepare_sleep(&mut self) -> bool {
        assert!(self.pushed.is_empty() && !self.has_popped, "a turn ends with a flush");
        assert!(!self.holds_core(), "others wait for the core meanwhile");
        if !self.pending.is_empty() || !self.doorbells[self.id.as_usize()].prepare_sleep() {
            return false;
        }
        // The fence of `prepare_sleep` stands between `wait_for_room` and this look.
        let drained = self.refused_by.iter().find(|&target| self.link(target).peer_has_drained());
        if let Some(target) = drained {
            self.refused_by.remove(target);
            self.woke();
        }
        drained.is_none()
    }

    /// To be called after the wait, whatever has ended it.
    pub fn woke(&mut self) {
        self.doorbells[self.id.as_usize()].woke();
    }

    /// What this member has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes of memory behind the queues that this member reads from.
    pub fn memory_bytes(&self) -> usize {
        self.links.iter().flatten().map(Link::memory_bytes).sum()
    }

    /// The most messages that the queue to `to` held at the end of a turn.
    pub fn filled_max(&self, to: MemberId) -> usize {
        self.links[to.as_usize()].as_ref().map_or(0, Link::filled_max)
    }

    /// Answers that this member still owes to `to`.
    pub fn owed(&self, to: MemberId) -> usize {
        self.links[to.as_usize()].as_ref().map_or(0, Link::owed)
    }

    /// Marks the sources that wait for room in a queue which this member has drained.
    fn give_room(&mut self) -> MemberSet {
        let mut given = MemberSet::default();
        for source in self.doorbells[self.id.as_usize()].waiting().iter() {
            if self.link(source).owner_has_drained() {
                self.doorbells[self.id.as_usize()].end_waiting(source);
                self.doorbells[source.as_usize()].mark(self.id);
                given.insert(source);
            }
        }
        given
    }

    fn note_sent(&mut self, to: MemberId) {
        self.pushed.insert(to);
        self.counters.sent += 1;
    }

    fn link(&mut self, peer: MemberId) -> &mut Link<M> {
        self.links[peer.as_usize()].as_mut().expect("a member has no queue to itself")
    }
}

impl<M> fmt::Debug for Member<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
