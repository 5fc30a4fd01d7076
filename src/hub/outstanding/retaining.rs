//! How what is published comes into the mailboxes of its channel: a few at a time.
//!
//! ```text
//!   retain ─▶ log ─▶ walk: one mailbox after the other, as far as a turn goes ─▶ next channel
//!                └─▶ who comes, goes or says something has its mailbox brought up before
//! ```
//!
//! Invariant: what a mailbox has yet to take is in the log, and a walk is on its way to it.

use super::log::{self, Kept};
use super::{Outstanding, delay_ms, mailbox};
use std::ops::Bound;
use std::sync::Arc;

/// A walk over all mailboxes of a channel.
pub(super) struct Walk {
    /// Its place among all walks.
    pub(super) turn: u64,
    /// What is under way; none before it begins.
    pass: Option<Pass>,
    /// Something has come up that those behind the pass have not seen.
    is_due_again: bool,
}

#[derive(Clone)]
struct Pass {
    /// The last user who was looked at.
    behind: Option<Arc<str>>,
    /// The last publication when it began.
    last_id: u64,
}

impl<F: Clone, L: Copy + Ord> Outstanding<F, L> {
    /// The id of a publication to the channel that is about to be retained; `None` if it is for
    /// nobody.
    pub fn next_id(&mut self, channel: &str) -> Option<u64> {
        if self.channels.is_empty() || !self.channels.contains_key(channel) {
            return None;
        }
        self.next_id += 1;
        Some(self.next_id)
    }

    /// Retains a publication that has just been sent for all who have a mailbox in the channel:
    /// they take it by and by, as [`take_in`](Self::take_in) comes to them.
    pub fn retain(&mut self, channel: &str, id: u64, frame: &F, frame_bytes: usize, now_ms: u64) {
        let Some(all) = self.channels.get(channel) else { return };
        // Others make room only for what will be kept.
        let is_behind = all.log.behind_count() >= self.bounds.behind_max;
        let bytes = u32::try_from(frame_bytes).ok().filter(|_| !is_behind);
        let bytes = bytes.filter(|_| self.make_room(log::KEPT_BYTES + frame_bytes));
        let all = self.channels.get_mut(channel).expect("it was there");
        let Some(bytes) = bytes else {
            all.unretained += 1;
            all.unretained_ms = now_ms;
            self.counters.unretained += all.users.len() as u64;
            return;
        };
        let frame = frame.clone();
        let before = all.log.first();
        self.bytes += all.log.push(id, Kept { frame, bytes, holders: 0, since_ms: now_ms });
        self.renew_oldest(channel, before);
        self.begin_walk(channel);
    }

    /// Evicts what was retained for longest, in whatever channel, until there is room for so many
    /// bytes: no channel keeps another's publications out. What some have not even taken yet stays.
    fn make_room(&mut self, bytes: usize) -> bool {
        if bytes > self.bounds.bytes_max {
            return false;
        }
        while self.bytes + bytes > self.bounds.bytes_max {
            let channels = &self.channels;
            let channel = self.oldest.first(|channel| channels[channel].log.may_evict());
            let Some(channel) = channel else { return false };
            let all = self.channels.get_mut(&channel).expect("something is retained there");
            let before = all.log.first();
            let kept = all.log.evict_oldest().expect("it may go");
            self.oldest.renew(&channel, before, all.log.first());
            self.counters.lost += u64::from(kept.holders);
            self.bytes -= kept.charge() + kept.holders as usize * mailbox::PLACE_BYTES;
            // Mailboxes that have it give back its place when they are looked at.
            self.begin_walk(&channel);
        }
        true
    }

    /// All mailboxes of the channel are to be looked at.
    fn begin_walk(&mut self, channel: &str) {
        let turn = self.next_walk;
        let (name, _) = self.channels.get_key_value(channel).expect("something is retained there");
        let name = Arc::clone(name);
        let all = self.channels.get_mut(channel).expect("seen above");
        if let Some(walk) = &mut all.walk {
            walk.is_due_again |= walk.pass.is_some();
            return;
        }
        all.walk = Some(Walk { turn, pass: None, is_due_again: false });
        self.walks.insert(turn, name);
        self.next_walk += 1;
    }

    /// Whether [`take_in`](Self::take_in) has something to do.
    pub fn is_behind(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Has mailboxes take what was published, at most about `budget` publications and mailboxes.
    pub fn take_in(&mut self, mut budget: usize) {
        while budget > 0 {
            let Some((_, name)) = self.walks.pop_first() else { return };
            let is_over = self.walk(&name, &mut budget);
            let all = self.channels.get_mut(&name).expect("it is walked");
            if is_over {
                all.walk = None;
                continue;
            }
            // Another channel is next: a crowd does not keep the others waiting.
            all.walk.as_mut().expect("it goes on").turn = self.next_walk;
            self.walks.insert(self.next_walk, name);
            self.next_walk += 1;
        }
    }

    /// Goes on with the walk of a channel; true if it is over.
    fn walk(&mut self, channel: &str, budget: &mut usize) -> bool {
        let all = self.channels.get_mut(channel).expect("it is walked");
        let last_id = all.log.last_id();
        let walk = all.walk.as_mut().expect("it has a turn");
        let mut pass = walk.pass.get_or_insert(Pass { behind: None, last_id }).clone();
        while *budget > 0 {
            let all = self.channels.get_mut(channel).expect("its mailboxes stay");
            let walk = all.walk.as_mut().expect("it has a turn");
            let behind = pass.behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut rest = all.users.range::<str, _>((behind, Bound::Unbounded));
            let Some((user, _)) = rest.next() else {
                walk.pass = None;
                let is_over = !std::mem::take(&mut walk.is_due_again);
                let before = all.log.first();
                self.bytes -= all.log.be_taken(pass.last_id);
                self.renew_oldest(channel, before);
                return is_over;
            };
            pass.behind = Some(Arc::clone(user));
            walk.pass = Some(pass.clone());
            let user = Arc::clone(user);
            let taken = self.bring_up(channel, &user);
            self.schedule(channel, &user);
            *budget = budget.saturating_sub(1 + taken);
        }
        false
    }

    /// Has a mailbox take what was published since it was looked at, and give up what was evicted
    /// meanwhile; returns how many publications it took. They are few: the log says how many.
    pub(super) fn bring_up(&mut self, channel: &str, user: &str) -> usize {
        let Some(all) = self.channels.get_mut(channel) else { return 0 };
        let Some(mailbox) = all.users.get_mut(user) else { return 0 };
        mailbox.give_up_below(all.log.floor_id());
        let unretained = std::mem::replace(&mut mailbox.unretained, all.unretained);
        let last_id = all.log.last_id();
        let behind = all.log.behind(std::mem::replace(&mut mailbox.taken_id, last_id));
        let news: Vec<(u64, u32, u64)> =
            behind.filter(|(.., since_ms)| mailbox.takes_at(*since_ms)).collect();
        if mailbox.takes_at(all.unretained_ms) {
            mailbox.lost += all.unretained - unretained;
        }
        for &(id, bytes, since_ms) in &news {
            self.take(channel, user, (id, bytes, since_ms));
        }
        news.len()
    }

    /// Puts a publication into a mailbox.
    fn take(&mut self, channel: &str, user: &str, (id, bytes, since_ms): (u64, u32, u64)) {
        let has_room = self.make_room(mailbox::PLACE_BYTES);
        let all = self.channels.get_mut(channel).expect("the caller has it");
        let mailbox = all.users.get_mut(user).expect("the caller has it");
        mailbox.give_up_below(all.log.floor_id());
        if !has_room {
            mailbox.lost += 1;
            self.counters.unretained += 1;
            return;
        }
        all.log.hold(id);
        mailbox.put(id, bytes, since_ms, since_ms + delay_ms(0, id));
        self.bytes += mailbox::PLACE_BYTES;
        self.counters.retained += 1;
        while self.mailbox(channel, user).is_some_and(|mailbox| mailbox.is_full()) {
            self.lose_oldest(channel, user);
        }
    }
}
