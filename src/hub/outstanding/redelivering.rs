//! When what is in a mailbox is sent again, given up, or all of it is over.

use super::{Outstanding, Redelivery};
use crate::limits::{ACK_BACKOFF_MAX, ACK_BACKOFF_MIN};
use std::sync::Arc;

impl<F: Clone, L: Copy + Ord> Outstanding<F, L> {
    /// When [`next_due`](Self::next_due) has something to do.
    pub fn due_ms(&self) -> Option<u64> {
        self.looks.first().map(|(look_ms, ..)| *look_ms)
    }

    /// What is to be sent again next, looking at no more than `budget` mailboxes.
    pub fn next_due(&mut self, now_ms: u64, budget: &mut usize) -> Option<Redelivery<F, L>> {
        while *budget > 0 {
            self.due_ms().filter(|look_ms| *look_ms <= now_ms)?;
            let (_, channel, user) = self.looks.pop_first().expect("looked at above");
            *budget -= 1;
            self.mailbox(&channel, &user).expect("it is looked at").look_ms = u64::MAX;
            self.bring_up(&channel, &user);
            while self.mailbox(&channel, &user).is_some_and(|mailbox| mailbox.is_stale_at(now_ms)) {
                self.lose_oldest(&channel, &user);
            }
            let mailbox = self.mailbox(&channel, &user).expect("nothing took it");
            if mailbox.is_over_at(now_ms) {
                self.forget(&channel, &user);
                continue;
            }
            let due = mailbox.take_due(now_ms);
            let links = mailbox.newest_links();
            self.schedule(&channel, &user);
            if let Some((id, try_number)) = due {
                self.counters.redelivered += 1;
                let frame = self.channels[&channel].log.frame(id).clone();
                return Some(Redelivery { channel, try_number, frame, links });
            }
        }
        None
    }

    /// Puts a mailbox where it is looked at next.
    pub(super) fn schedule(&mut self, channel: &str, user: &str) {
        let (name, all) = self.channels.get_key_value(channel).expect("its channel is kept");
        let (known, mailbox) = all.users.get_key_value(user).expect("it is kept");
        let (before_ms, look_ms) = (mailbox.look_ms, mailbox.next_ms());
        if before_ms == look_ms {
            return;
        }
        let mut key = (before_ms, Arc::clone(name), Arc::clone(known));
        self.mailbox(channel, user).expect("seen above").look_ms = look_ms;
        self.looks.remove(&key);
        if look_ms != u64::MAX {
            key.0 = look_ms;
            self.looks.insert(key);
        }
    }
}

/// After so many, the bound is reached whatever it is.
const ACK_DOUBLINGS_MAX: u32 = 16;
const _: () = assert!(ACK_BACKOFF_MIN.as_secs() << ACK_DOUBLINGS_MAX >= ACK_BACKOFF_MAX.as_secs());

/// How long to wait for an acknowledgement after so many tries: twice as long each time, up to a
/// bound, and up to a quarter less, so that those who were sent the same are not all due at once.
pub(super) fn delay_ms(try_count: u32, id: u64) -> u64 {
    let min_ms = ACK_BACKOFF_MIN.as_secs() * 1000;
    let max_ms = ACK_BACKOFF_MAX.as_secs() * 1000;
    let whole_ms = (min_ms << try_count.min(ACK_DOUBLINGS_MAX)).min(max_ms);
    let mixed = (id ^ u64::from(try_count) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    whole_ms - whole_ms / 4 * mixed / (1 << 16)
}
