//! Publications that users have not acknowledged, until they do.
//!
//! ```text
//!   enter ─▶ a mailbox of the user in the channel ◀─ retain: a reference in each mailbox
//!   acknowledge ─▶ gone         next_due ─▶ sent again after 1 s, 2 s, 4 s … 60 s, with jitter
//! ```
//!
//! A mailbox lives at its channel's home, and not at the user's: its bounds are those of one user
//! in one channel, what is retained passes here in its order anyway, and what is sent again goes
//! the way that it went first. It begins when the user first enters, takes what is published also
//! while nobody of the user is there, and ends when that has lasted for its time.
//!
//! Invariants: a publication leaves a mailbox by an acknowledgement, or is counted as lost there;
//! no mailbox has more, or for longer, than its policy says, and all together are charged for no
//! more than the budget.

use super::bounds::AckBounds;
use crate::limits::{ACK_BACKOFF_MAX, ACK_BACKOFF_MIN, ACK_LINKS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is retained for one user in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPolicy {
    /// Publications at most; the oldest goes first.
    pub publications_max: u32,
    /// Bytes of them at most.
    pub bytes_max: u32,
    /// How long each is, and how long a mailbox without connections lives, in seconds.
    pub ttl_s: u32,
}

/// There are as many mailboxes as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxesFull;

/// A publication that is to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivery<F, L> {
    /// The channel.
    pub channel: Arc<str>,
    /// Whose it is.
    pub user: Arc<str>,
    /// How often it was sent again, this time included.
    pub try_number: u32,
    /// What is to be sent.
    pub frame: F,
    /// Where to: the user's connections.
    pub links: Vec<L>,
}

/// Events counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckCounters {
    /// Publications × users that something was retained for.
    pub retained: u64,
    /// Those of them that were acknowledged.
    pub acknowledged: u64,
    /// Times that one was sent again.
    pub redelivered: u64,
    /// Those that went unacknowledged: too many, too large, or too old.
    pub lost: u64,
}

/// The mailboxes of one home. `L` is a connection, as the caller names it.
pub struct Outstanding<F, L> {
    channels: BTreeMap<Arc<str>, Channel<F, L>>,
    /// When each mailbox is to be looked at.
    looks: BTreeSet<(u64, Arc<str>, Arc<str>)>,
    next_id: u64,
    mailbox_count: usize,
    /// What all mailboxes are charged for.
    bytes: usize,
    bounds: AckBounds,
    counters: AckCounters,
}

struct Channel<F, L> {
    users: BTreeMap<Arc<str>, Mailbox<F, L>>,
    /// By their ids, bytes and number of mailboxes of those that are retained in any.
    retained: BTreeMap<u64, (u32, u32)>,
}

struct Mailbox<F, L> {
    policy: AckPolicy,
    links: Vec<L>,
    pending: BTreeMap<u64, Pending<F>>,
    /// Bytes of those that are pending.
    bytes: usize,
    /// Publications that went unacknowledged, of which the user has not been told.
    lost: u64,
    /// When its last connection was there.
    seen_ms: u64,
    /// When it is looked at.
    look_ms: u64,
}

struct Pending<F> {
    frame: F,
    bytes: u32,
    try_count: u32,
    since_ms: u64,
    due_ms: u64,
}

impl<F: Clone, L: Copy + PartialEq> Outstanding<F, L> {
    /// A home without mailboxes. `seed` is drawn at random by the caller: ids begin there, so that
    /// those of another life of the process mean nothing.
    pub fn new(bounds: AckBounds, seed: u64) -> Self {
        Self {
            channels: BTreeMap::new(),
            looks: BTreeSet::new(),
            next_id: seed >> 16,
            mailbox_count: 0,
            bytes: 0,
            bounds,
            counters: AckCounters::default(),
        }
    }

    /// A connection of the user is in the channel. What the user has not acknowledged is sent
    /// again soon; returns how many publications were lost that the user has not been told of.
    pub fn enter(
        &mut self,
        channel: &str,
        user: &Arc<str>,
        link: L,
        policy: AckPolicy,
        now_ms: u64,
    ) -> Result<u64, MailboxesFull> {
        let is_known = self.channels.get(channel).is_some_and(|one| one.users.contains_key(user));
        if !is_known {
            if self.mailbox_count >= self.bounds.mailboxes_max {
                return Err(MailboxesFull);
            }
            self.mailbox_count += 1;
            let channel = self.channels.entry(channel.into()).or_insert_with(Channel::new);
            channel.users.insert(Arc::clone(user), Mailbox::new(policy, now_ms));
        }
        let soon_ms = now_ms + delay_ms(0, self.next_id);
        let mailbox = self.mailbox(channel, user).expect("it is there by now");
        mailbox.policy = policy;
        mailbox.links.retain(|known| *known != link);
        mailbox.links.push(link);
        if mailbox.links.len() > ACK_LINKS_MAX {
            mailbox.links.remove(0);
        }
        for pending in mailbox.pending.values_mut() {
            pending.due_ms = soon_ms;
        }
        let lost = std::mem::take(&mut mailbox.lost);
        self.schedule(channel, user);
        Ok(lost)
    }

    /// A connection of the user is not in the channel any more.
    pub fn leave(&mut self, channel: &str, user: &str, link: L, now_ms: u64) {
        let Some(mailbox) = self.mailbox(channel, user) else { return };
        mailbox.links.retain(|known| *known != link);
        mailbox.seen_ms = now_ms;
        self.schedule(channel, user);
    }

    /// The id of a publication to the channel that is about to be retained; `None` if it is for
    /// nobody.
    pub fn next_id(&mut self, channel: &str) -> Option<u64> {
        if self.channels.is_empty() || !self.channels.contains_key(channel) {
            return None;
        }
        self.next_id += 1;
        Some(self.next_id)
    }

    /// Retains a publication that has just been sent for all who have a mailbox in the channel.
    pub fn retain(&mut self, channel: &str, id: u64, frame: &F, frame_bytes: usize, now_ms: u64) {
        let Some((name, one)) = self.channels.get_key_value(channel) else { return };
        let name = Arc::clone(name);
        let Ok(bytes) = u32::try_from(frame_bytes) else { return };
        let users: Vec<Arc<str>> = one.users.keys().cloned().collect();
        for user in users {
            let mailbox = self.mailbox(&name, &user).expect("listed above");
            let due_ms = now_ms + delay_ms(0, id);
            let frame = frame.clone();
            let pending = Pending { frame, bytes, try_count: 0, since_ms: now_ms, due_ms };
            mailbox.bytes += frame_bytes;
            mailbox.pending.insert(id, pending);
            let all = self.channels.get_mut(&name).expect("found above");
            let (_, holders) = all.retained.entry(id).or_insert((bytes, 0));
            *holders += 1;
            self.bytes += Self::PLACE_BYTES + if *holders == 1 { frame_bytes } else { 0 };
            self.counters.retained += 1;
            while self.mailbox(&name, &user).is_some_and(|one| one.is_over()) {
                self.lose_oldest(&name, &user);
            }
            self.schedule(&name, &user);
        }
        self.keep_budget(&name);
    }

    /// What a pending publication is charged for beside its bytes, which are shared.
    const PLACE_BYTES: usize = size_of::<Pending<F>>() + 2 * size_of::<u64>();

    /// What is published most is what makes room.
    fn keep_budget(&mut self, channel: &Arc<str>) {
        while self.bytes > self.bounds.bytes_max {
            let all = &self.channels[channel];
            let Some(&oldest) = all.retained.keys().next() else { return };
            let holders = all.users.iter().filter(|(_, one)| one.pending.contains_key(&oldest));
            let holders: Vec<Arc<str>> = holders.map(|(user, _)| Arc::clone(user)).collect();
            for user in holders {
                self.remove(channel, &user, oldest);
                self.mailbox(channel, &user).expect("a holder").lost += 1;
                self.counters.lost += 1;
            }
        }
    }

    /// The user has these; ids that are not known mean nothing.
    pub fn acknowledge(&mut self, channel: &str, user: &str, ids: &[u64]) {
        for &id in ids {
            self.counters.acknowledged += u64::from(self.remove(channel, user, id));
        }
    }

    /// Takes a publication out of a mailbox; false if it is not there.
    fn remove(&mut self, channel: &str, user: &str, id: u64) -> bool {
        let Some(all) = self.channels.get_mut(channel) else { return false };
        let Some(mailbox) = all.users.get_mut(user) else { return false };
        let Some(pending) = mailbox.pending.remove(&id) else { return false };
        mailbox.bytes -= pending.bytes as usize;
        self.bytes -= Self::PLACE_BYTES;
        let (bytes, holders) = all.retained.get_mut(&id).expect("it was pending here");
        *holders -= 1;
        if *holders == 0 {
            self.bytes -= *bytes as usize;
            all.retained.remove(&id);
        }
        true
    }

    fn lose_oldest(&mut self, channel: &str, user: &str) {
        let mailbox = self.mailbox(channel, user).expect("it has something pending");
        let oldest = *mailbox.pending.keys().next().expect("it has something pending");
        mailbox.lost += 1;
        self.counters.lost += 1;
        self.remove(channel, user, oldest);
    }

    // --- Time -------------------------------------------------------------------------------

    /// When [`next_due`](Self::next_due) has something to do.
    pub fn due_ms(&self) -> Option<u64> {
        self.looks.first().map(|(look_ms, ..)| *look_ms).filter(|look_ms| *look_ms != u64::MAX)
    }

    /// What is to be sent again next, looking at no more than `budget` mailboxes.
    pub fn next_due(&mut self, now_ms: u64, budget: &mut usize) -> Option<Redelivery<F, L>> {
        while *budget > 0 {
            let (look_ms, ..) = self.looks.first()?;
            if *look_ms > now_ms {
                return None;
            }
            let (_, channel, user) = self.looks.pop_first().expect("looked at above");
            *budget -= 1;
            self.mailbox(&channel, &user).expect("it is looked at").look_ms = u64::MAX;
            self.expire(&channel, &user, now_ms);
            let mailbox = self.mailbox(&channel, &user).expect("nothing took it");
            if mailbox.is_over_at(now_ms) {
                self.forget(&channel, &user);
                continue;
            }
            let due = mailbox.take_due(now_ms);
            let links = mailbox.links.clone();
            self.schedule(&channel, &user);
            if let Some((frame, try_number)) = due {
                self.counters.redelivered += 1;
                return Some(Redelivery { channel, user, try_number, frame, links });
            }
        }
        None
    }

    fn expire(&mut self, channel: &str, user: &str, now_ms: u64) {
        let is_old = |mailbox: &Mailbox<F, L>| {
            mailbox.expiry_ms().is_some_and(|expiry_ms| expiry_ms <= now_ms)
        };
        while self.mailbox(channel, user).is_some_and(|mailbox| is_old(mailbox)) {
            self.lose_oldest(channel, user);
        }
    }

    /// Puts a mailbox where it is looked at next.
    fn schedule(&mut self, channel: &str, user: &str) {
        let (name, all) = self.channels.get_key_value(channel).expect("its channel is kept");
        let (known, mailbox) = all.users.get_key_value(user).expect("it is kept");
        let look_ms = mailbox.next_ms();
        let (name, known, before_ms) = (Arc::clone(name), Arc::clone(known), mailbox.look_ms);
        if before_ms != look_ms {
            self.mailbox(channel, user).expect("seen above").look_ms = look_ms;
            let mut key = (before_ms, name, known);
            self.looks.remove(&key);
            key.0 = look_ms;
            self.looks.insert(key);
        }
    }

    fn forget(&mut self, channel: &str, user: &str) {
        let all = self.channels.get_mut(channel).expect("its channel is kept");
        all.users.remove(user).expect("it is kept");
        self.mailbox_count -= 1;
        if all.users.is_empty() {
            self.channels.remove(channel);
        }
    }

    fn mailbox(&mut self, channel: &str, user: &str) -> Option<&mut Mailbox<F, L>> {
        self.channels.get_mut(channel)?.users.get_mut(user)
    }

    // --- Figures ----------------------------------------------------------------------------

    /// Mailboxes there are.
    pub fn mailbox_count(&self) -> usize {
        self.mailbox_count
    }

    /// What all of them are charged for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was counted so far.
    pub fn counters(&self) -> AckCounters {
        self.counters
    }
}

impl<F, L> Channel<F, L> {
    fn new() -> Self {
        Self { users: BTreeMap::new(), retained: BTreeMap::new() }
    }
}

impl<F: Clone, L> Mailbox<F, L> {
    fn new(policy: AckPolicy, now_ms: u64) -> Self {
        Self {
            policy,
            links: Vec::new(),
            pending: BTreeMap::new(),
            bytes: 0,
            lost: 0,
            seen_ms: now_ms,
            look_ms: u64::MAX,
        }
    }

    fn is_over(&self) -> bool {
        let count = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        count > self.policy.publications_max || self.bytes > self.policy.bytes_max as usize
    }

    fn ttl_ms(&self) -> u64 {
        u64::from(self.policy.ttl_s) * 1000
    }

    /// When the oldest that is pending is too old.
    fn expiry_ms(&self) -> Option<u64> {
        let (_, oldest) = self.pending.first_key_value()?;
        Some(oldest.since_ms + self.ttl_ms())
    }

    /// Whether nobody has been there for its time.
    fn is_over_at(&self, now_ms: u64) -> bool {
        let is_idle = self.links.is_empty() && self.pending.is_empty();
        is_idle && self.seen_ms + self.ttl_ms() <= now_ms
    }

    /// When there is something to do.
    fn next_ms(&self) -> u64 {
        let due = self.pending.values().map(|pending| pending.due_ms).min();
        let due = due.filter(|_| !self.links.is_empty());
        let is_idle = self.links.is_empty() && self.pending.is_empty();
        let end = is_idle.then(|| self.seen_ms + self.ttl_ms());
        due.into_iter().chain(self.expiry_ms()).chain(end).min().unwrap_or(u64::MAX)
    }

    /// The oldest that is due, and how often it is sent again with this time.
    fn take_due(&mut self, now_ms: u64) -> Option<(F, u32)> {
        if self.links.is_empty() {
            return None;
        }
        let mut pending = self.pending.iter_mut();
        let (id, due) = pending.find(|(_, pending)| pending.due_ms <= now_ms)?;
        due.try_count += 1;
        due.due_ms = now_ms + delay_ms(due.try_count, *id);
        Some((due.frame.clone(), due.try_count))
    }
}

/// After so many, the bound is reached whatever it is.
const ACK_DOUBLINGS_MAX: u32 = 16;
const _: () = assert!(ACK_BACKOFF_MIN.as_secs() << ACK_DOUBLINGS_MAX >= ACK_BACKOFF_MAX.as_secs());

/// How long to wait for an acknowledgement after so many tries: twice as long each time, up to a
/// bound, and up to a quarter less, so that those who were sent the same are not all due at once.
fn delay_ms(try_count: u32, id: u64) -> u64 {
    let min_ms = ACK_BACKOFF_MIN.as_secs() * 1000;
    let max_ms = ACK_BACKOFF_MAX.as_secs() * 1000;
    let whole_ms = (min_ms << try_count.min(ACK_DOUBLINGS_MAX)).min(max_ms);
    let mixed = (id ^ u64::from(try_count) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    whole_ms - whole_ms / 4 * mixed / (1 << 16)
}

#[cfg(test)]
mod tests;
