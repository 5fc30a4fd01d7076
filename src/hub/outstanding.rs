//! Publications that users have not acknowledged, until they do.
//!
//! ```text
//!   enter ─▶ a mailbox of the user in the channel ◀─ take_in ◀─ the channel's log ◀─ retain
//!   acknowledge ─▶ gone         next_due ─▶ sent again after 1 s, 2 s, 4 s … 60 s, with jitter
//! ```
//!
//! A mailbox lives at its channel's home, and not at the user's: its bounds are those of one user
//! in one channel, what is retained passes here in its order anyway, and what is sent again goes
//! the way that it went first. It begins when the user first enters, and takes what is published
//! for as long as a connection of the user is there, and for its time after one was cut off. Who
//! leaves for good takes nothing more: its mailbox ends when it is empty.
//!
//! Invariants: a publication leaves a mailbox by an acknowledgement, or is counted as lost there,
//! and the user is told; no mailbox has more, or for longer, than its policy says; all together are
//! charged for no more than the budget; and however many users a channel has, a call looks at few.

mod away;
mod carried;
mod log;
mod losses;
mod mailbox;
mod oldest;
mod redelivering;
mod retaining;

use super::bounds::AckBounds;
pub use carried::{CarriedMailbox, CarriedPlace, Untakable};

use away::Away;
use log::Log;
use losses::Losses;
use mailbox::Mailbox;
use oldest::Oldest;
use redelivering::delay_ms;
use retaining::Walk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is retained for one user in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPolicy {
    /// Publications at most; the oldest goes first.
    pub publications_max: u32,
    /// Bytes of them at most.
    pub bytes_max: u32,
    /// How long each is, and how long a mailbox without connections takes more, in seconds.
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
    /// Publications × users for whom there was no room to retain one.
    pub unretained: u64,
    /// Losses that users will not be told of, because too many others had some.
    pub untold: u64,
}

/// The mailboxes of one home. `L` is a connection, as the caller names it.
pub struct Outstanding<F, L> {
    channels: BTreeMap<Arc<str>, Channel<F, L>>,
    /// When each mailbox is to be looked at.
    looks: BTreeSet<(u64, Arc<str>, Arc<str>)>,
    /// Where what has been retained for longest is.
    oldest: Oldest,
    /// Channels of which some mailbox has yet to take what was published, in turn.
    walks: BTreeMap<u64, Arc<str>>,
    next_walk: u64,
    away: Away,
    losses: Losses,
    next_id: u64,
    mailbox_count: usize,
    /// What all mailboxes are charged for.
    bytes: usize,
    bounds: AckBounds,
    counters: AckCounters,
}

struct Channel<F, L> {
    users: BTreeMap<Arc<str>, Mailbox<L>>,
    /// Whose connections are in it, and when each came.
    links: BTreeMap<L, (Arc<str>, u64)>,
    next_link: u64,
    log: Log<F>,
    /// Publications that were retained for nobody, for want of room.
    unretained: u64,
    /// When the last of those was published.
    unretained_ms: u64,
    /// While some of its mailboxes have yet to be looked at.
    walk: Option<Walk>,
}

impl<F: Clone, L: Copy + Ord> Outstanding<F, L> {
    /// A home without mailboxes. `seed` is drawn at random by the caller: ids begin there, so that
    /// those of another life of the process mean nothing.
    pub fn new(bounds: AckBounds, seed: u64) -> Self {
        Self {
            channels: BTreeMap::new(),
            looks: BTreeSet::new(),
            oldest: Oldest::default(),
            walks: BTreeMap::new(),
            next_walk: 0,
            away: Away::default(),
            losses: Losses::new(bounds.losses_max),
            next_id: seed >> 16,
            mailbox_count: 0,
            bytes: 0,
            bounds,
            counters: AckCounters::default(),
        }
    }

    // --- Who is there -----------------------------------------------------------------------

    /// A connection of the user is in the channel. What the user has not acknowledged is sent
    /// again soon; returns how many publications were lost that the user is to be told of: all
    /// since it has last acknowledged something after it was told, for what it is told now may be
    /// lost with its connection.
    pub fn enter(
        &mut self,
        channel: &str,
        user: &Arc<str>,
        link: L,
        policy: AckPolicy,
        now_ms: u64,
    ) -> Result<u64, MailboxesFull> {
        self.open(channel, user, policy)?;
        self.bring_up(channel, user);
        let soon_ms = now_ms + delay_ms(0, self.next_id);
        let all = self.channels.get_mut(channel).expect("it is there by now");
        let order = all.next_link;
        all.next_link += 1;
        let before = all.links.insert(link, (Arc::clone(user), order));
        let mailbox = all.users.get_mut(user).expect("it is there by now");
        if let Some((_, order)) = before {
            mailbox.links.remove(&order);
        }
        mailbox.links.insert(order, link);
        mailbox.policy = policy;
        mailbox.send_again_at(soon_ms);
        if let Some(order) = mailbox.away.take() {
            self.away.remove(user, order);
        }
        mailbox.told = mailbox.lost;
        let lost = mailbox.lost;
        self.schedule(channel, user);
        Ok(lost)
    }

    /// Makes the user a mailbox, where it has none.
    fn open(
        &mut self,
        channel: &str,
        user: &Arc<str>,
        policy: AckPolicy,
    ) -> Result<(), MailboxesFull> {
        if self.mailbox(channel, user).is_some() {
            return Ok(());
        }
        if self.mailbox_count >= self.bounds.mailboxes_max {
            return Err(MailboxesFull);
        }
        self.mailbox_count += 1;
        let lost = self.losses.take(channel, user);
        let all = self.channels.entry(channel.into()).or_insert_with(Channel::new);
        let mut mailbox = Mailbox::new(policy);
        mailbox.lost = lost;
        mailbox.taken_id = all.log.last_id();
        mailbox.unretained = all.unretained;
        all.users.insert(Arc::clone(user), mailbox);
        Ok(())
    }

    /// A connection is not in the channel any more: it has left it for good, or it was cut off, and
    /// its user may come back.
    pub fn leave(&mut self, channel: &str, link: L, is_for_good: bool, now_ms: u64) {
        let Some(all) = self.channels.get_mut(channel) else { return };
        let Some((user, order)) = all.links.remove(&link) else { return };
        self.bring_up(channel, &user);
        let mailbox = self.mailbox(channel, &user).expect("it has a connection");
        mailbox.links.remove(&order);
        if !is_for_good {
            mailbox.away_until_ms = now_ms + mailbox.ttl_ms();
        }
        if mailbox.links.is_empty() {
            self.be_left(channel, &user, now_ms);
        } else {
            self.schedule(channel, &user);
        }
    }

    /// A mailbox has no connection any more: it ends, or is one of those that its user is not there
    /// for.
    fn be_left(&mut self, channel: &str, user: &Arc<str>, now_ms: u64) {
        let mailbox = self.mailbox(channel, user).expect("the caller has it");
        if mailbox.is_over_at(now_ms) {
            return self.forget(channel, user);
        }
        self.schedule(channel, user);
        let (name, _) = self.channels.get_key_value(channel).expect("seen above");
        let (order, longest_away) = self.away.add(user, name, self.bounds.away_max);
        self.mailbox(channel, user).expect("it is not over").away = Some(order);
        if let Some(channel) = longest_away {
            self.forget(&channel, user);
        }
    }

    /// Ends a mailbox that nobody is there for. What is in it is lost.
    fn forget(&mut self, channel: &str, user: &str) {
        self.bring_up(channel, user);
        while self.mailbox(channel, user).is_some_and(|mailbox| mailbox.oldest_id().is_some()) {
            self.lose_oldest(channel, user);
        }
        let all = self.channels.get_mut(channel).expect("its channel is kept");
        let (user, mailbox) = all.users.remove_entry(user).expect("it is kept");
        let (name, all) = self.channels.get_key_value(channel).expect("seen above");
        let (name, is_last) = (Arc::clone(name), all.users.is_empty());
        self.mailbox_count -= 1;
        if let Some(order) = mailbox.away {
            self.away.remove(&user, order);
        }
        self.looks.remove(&(mailbox.look_ms, Arc::clone(&name), Arc::clone(&user)));
        if mailbox.lost > 0 {
            self.counters.untold += self.losses.note(Arc::clone(&name), user, mailbox.lost);
        }
        if is_last {
            let all = self.channels.remove(&name).expect("seen above");
            self.bytes -= all.log.charge();
            self.oldest.renew(&name, all.log.first(), None);
            if let Some(walk) = all.walk {
                self.walks.remove(&walk.turn);
            }
        }
    }

    /// The user has these, and what it was told of losses; ids that are not known mean nothing.
    pub fn acknowledge(&mut self, channel: &str, user: &str, ids: &[u64]) {
        self.bring_up(channel, user);
        for &id in ids {
            self.counters.acknowledged += u64::from(self.remove(channel, user, id));
        }
        if let Some(mailbox) = self.mailbox(channel, user) {
            mailbox.lost -= std::mem::take(&mut mailbox.told);
            self.schedule(channel, user);
        }
    }

    /// Takes a publication out of a mailbox that was brought up; false if it is not there.
    fn remove(&mut self, channel: &str, user: &str, id: u64) -> bool {
        let Some(all) = self.channels.get_mut(channel) else { return false };
        let Some(mailbox) = all.users.get_mut(user) else { return false };
        if !mailbox.remove(id) {
            return false;
        }
        let before = all.log.first();
        self.bytes -= mailbox::PLACE_BYTES + all.log.release(id);
        self.renew_oldest(channel, before);
        true
    }

    /// What has been retained for longest in the channel may be another than before.
    fn renew_oldest(&mut self, channel: &str, before: Option<log::Age>) {
        let (name, all) = self.channels.get_key_value(channel).expect("its channel is kept");
        self.oldest.renew(name, before, all.log.first());
    }

    fn lose_oldest(&mut self, channel: &str, user: &str) {
        let mailbox = self.mailbox(channel, user).expect("it has something pending");
        let oldest = mailbox.oldest_id().expect("it has something pending");
        mailbox.lost += 1;
        self.counters.lost += 1;
        self.remove(channel, user, oldest);
    }

    fn mailbox(&mut self, channel: &str, user: &str) -> Option<&mut Mailbox<L>> {
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
        Self {
            users: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            log: Log::new(),
            unretained: 0,
            unretained_ms: 0,
            walk: None,
        }
    }
}

#[cfg(test)]
mod tests;
