//! Mailboxes as another process needs them, and those that another process has had.
//!
//! ```text
//!   channel by channel: what it retains, the oldest first ─▶ its users' mailboxes;  losses
//!   keep_again … ─▶ take_over … ─▶ link_again, as connections come back ─▶ settle
//! ```
//!
//! Nothing is behind in what is carried: whoever stands still has had all of it taken in. Times
//! travel as what has passed, or is left. The order in which a user's mailboxes were left does not
//! travel. Invariants: publications keep their ids, and later ones have larger ones; what does not
//! fit within the bounds is refused, and nothing that was there gives way to it.

use super::log::{self, Kept};
use super::mailbox::{self, Mailbox};
use super::{AckPolicy, Channel, Outstanding};
use std::ops::{Bound, Range};
use std::sync::Arc;

/// A mailbox on its way. `L` is a connection, as the caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedMailbox<L> {
    /// What it may have.
    pub policy: AckPolicy,
    /// The user's connections, in the order in which they came.
    pub links: Vec<L>,
    /// What it has.
    pub places: Vec<CarriedPlace>,
    /// Publications that went unacknowledged, of which the user is to be told.
    pub lost: u64,
    /// How many of them the user was told of, and has said nothing since.
    pub told: u64,
    /// How long it takes what is published while no connection is there.
    pub away_left_ms: u64,
    /// The last id that its home has given. What had it may be acknowledged by now, and who says
    /// so once more is not to mean another.
    pub given_id: u64,
}

/// A publication in a mailbox, by its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedPlace {
    /// The publication's.
    pub id: u64,
    /// How often it was sent again.
    pub try_count: u32,
    /// Until it is sent again.
    pub due_in_ms: u64,
}

/// So high that none is left behind it, no id was ever given.
const ID_MAX: u64 = u64::MAX / 2;

/// Why something was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untakable {
    /// There is no room for it.
    Full,
    /// It is not what it should be: there twice, out of order, or of something that is not there.
    Broken,
}

impl<F: Clone, L: Copy + Ord> Outstanding<F, L> {
    // --- From here --------------------------------------------------------------------------

    /// The channel after this one, of those with mailboxes; the first: `None`.
    pub fn channel_after(&self, channel: Option<&str>) -> Option<&Arc<str>> {
        let behind = channel.map_or(Bound::Unbounded, Bound::Excluded);
        self.channels.range::<str, _>((behind, Bound::Unbounded)).next().map(|(name, _)| name)
    }

    /// What the channel retains behind this id, or all, the oldest first: id, age in milliseconds,
    /// publication.
    pub fn retained(
        &self,
        channel: &str,
        after: Option<u64>,
        now_ms: u64,
    ) -> impl Iterator<Item = (u64, u64, &F)> {
        let log = self.channels.get(channel).into_iter();
        let log = log.flat_map(move |all| all.log.all_after(after));
        log.map(move |(id, kept)| (id, now_ms.saturating_sub(kept.since_ms), &kept.frame))
    }

    /// The mailboxes of the channel behind that of this user, or all, by their users.
    pub fn mailboxes(
        &self,
        channel: &str,
        after: Option<&str>,
        now_ms: u64,
    ) -> impl Iterator<Item = (&Arc<str>, CarriedMailbox<L>)> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let channels = self.channels.get(channel).into_iter();
        let users = channels.flat_map(move |all| all.users.range::<str, _>(behind));
        users.map(move |(user, mailbox)| {
            let carried = CarriedMailbox {
                policy: mailbox.policy,
                links: mailbox.links.values().copied().collect(),
                places: mailbox.carried(now_ms),
                lost: mailbox.lost,
                told: mailbox.told,
                away_left_ms: mailbox.away_until_ms.saturating_sub(now_ms),
                given_id: self.next_id,
            };
            (user, carried)
        })
    }

    /// The next loss in a mailbox that is gone, after the one with this number: its own number, its
    /// channel, its user, and how many publications it is. The first: 0.
    pub fn loss_after(&self, number: u64) -> Option<(u64, &str, &str, u64)> {
        self.losses.next_after(number)
    }

    // --- To here ----------------------------------------------------------------------------

    /// Retains what another process has retained in the channel.
    pub fn keep_again(
        &mut self,
        channel: &str,
        id: u64,
        (frame, frame_bytes): (F, usize),
        since_ms: u64,
    ) -> Result<(), Untakable> {
        if !self.has_room(log::KEPT_BYTES.saturating_add(frame_bytes)) {
            return Err(Untakable::Full);
        }
        let bytes = u32::try_from(frame_bytes).map_err(|_| Untakable::Full)?;
        let all = self.channels.entry(channel.into()).or_insert_with(Channel::new);
        if id <= all.log.last_id() || id > ID_MAX {
            return Err(Untakable::Broken);
        }
        let before = all.log.first();
        self.bytes += all.log.push_taken(id, Kept { frame, bytes, holders: 0, since_ms });
        self.next_id = self.next_id.max(id);
        self.renew_oldest(channel, before);
        Ok(())
    }

    /// Makes the user the mailbox that it had in another process, with what was retained before.
    /// Returns the places of its connections among those of the channel: see
    /// [`link_again`](Self::link_again).
    pub fn take_over<Former>(
        &mut self,
        channel: &str,
        user: &Arc<str>,
        carried: &CarriedMailbox<Former>,
        now_ms: u64,
    ) -> Result<Range<u64>, Untakable> {
        if self.mailbox(channel, user).is_some() || carried.given_id > ID_MAX {
            return Err(Untakable::Broken);
        }
        let charge = mailbox::PLACE_BYTES * carried.places.len();
        if self.mailbox_count >= self.bounds.mailboxes_max || !self.has_room(charge) {
            return Err(Untakable::Full);
        }
        let all = self.channels.entry(channel.into()).or_insert_with(Channel::new);
        let mut mailbox = Mailbox::new(carried.policy);
        let mut last_id = 0;
        for &place in &carried.places {
            let kept = all.log.find(place.id).filter(|_| place.id > last_id);
            mailbox.put_again(place, kept.ok_or(Untakable::Broken)?, now_ms);
            all.log.hold(place.id);
            last_id = place.id;
        }
        mailbox.lost = carried.lost;
        mailbox.told = carried.told.min(carried.lost);
        mailbox.taken_id = all.log.last_id();
        mailbox.away_until_ms = now_ms.saturating_add(carried.away_left_ms);
        self.next_id = self.next_id.max(carried.given_id);
        let first = all.next_link;
        all.next_link += carried.links.len() as u64;
        let places = first..all.next_link;
        all.users.insert(Arc::clone(user), mailbox);
        self.bytes += charge;
        self.mailbox_count += 1;
        Ok(places)
    }

    /// A connection of the user is there again, in its place among those of the channel.
    pub fn link_again(&mut self, channel: &str, user: &Arc<str>, order: u64, link: L) -> bool {
        let Some(all) = self.channels.get_mut(channel) else { return false };
        let Some(mailbox) = all.users.get_mut(user) else { return false };
        mailbox.links.insert(order, link);
        all.links.insert(link, (Arc::clone(user), order));
        true
    }

    /// A mailbox had ended in another process with so many losses that its user is to be told of.
    pub fn lose_again(&mut self, channel: &str, user: &str, lost: u64) {
        self.counters.untold += self.losses.note(channel.into(), user.into(), lost);
    }

    /// One of the user's connections has not come back: it was cut off.
    pub fn cut_off(&mut self, channel: &str, user: &str, now_ms: u64) {
        if let Some(mailbox) = self.mailbox(channel, user) {
            mailbox.away_until_ms = now_ms + mailbox.ttl_ms();
        }
    }

    /// All connections are back that come back: from now on there is time.
    pub fn settle(&mut self, now_ms: u64) {
        let users = |(name, all): (&Arc<str>, &Channel<F, L>)| {
            let name = Arc::clone(name);
            all.users.keys().cloned().map(move |user| (Arc::clone(&name), user)).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.channels.iter().flat_map(users).collect();
        for (channel, user) in all {
            // One of a user may have had to go for another of the same.
            let Some(mailbox) = self.mailbox(&channel, &user) else { continue };
            if mailbox.links.is_empty() && mailbox.away.is_none() {
                self.be_left(&channel, &user, now_ms);
            } else {
                self.schedule(&channel, &user);
            }
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= self.bounds.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::super::AckCounters;
    use super::super::tests::{check, due, publish, user};
    use super::*;
    use crate::hub::AckBounds;

    const POLICY: AckPolicy = AckPolicy { publications_max: 100, bytes_max: 10_000, ttl_s: 600 };

    type Mailboxes = Outstanding<u64, u32>;

    /// All of it in a home of another process, with its connections under new names, where those
    /// that `is_back` names are back. There it is another time.
    fn moved(
        before: &Mailboxes,
        times_ms: [u64; 2],
        bounds: AckBounds,
        is_back: impl Fn(u32) -> bool,
    ) -> Result<Mailboxes, Untakable> {
        let [before_ms, after_ms] = times_ms;
        let mut after = Outstanding::new(bounds, 0);
        let mut channel = None;
        while let Some(name) = before.channel_after(channel) {
            for (id, age_ms, frame) in before.retained(name, None, before_ms) {
                after.keep_again(name, id, (*frame, 10), after_ms - age_ms)?;
            }
            for (who, carried) in before.mailboxes(name, None, before_ms) {
                let orders = after.take_over(name, &user(who), &carried, after_ms)?;
                for (link, order) in carried.links.into_iter().zip(orders) {
                    if is_back(link) {
                        assert!(after.link_again(name, &user(who), order, 1000 + link));
                    } else {
                        after.cut_off(name, who, after_ms);
                    }
                }
            }
            channel = Some(name);
        }
        let mut number = 0;
        while let Some((next, channel, user, lost)) = before.loss_after(number) {
            after.lose_again(channel, user, lost);
            number = next;
        }
        after.settle(after_ms);
        check(&after);
        Ok(after)
    }

    #[test]
    fn mailboxes_go_on_in_another_process_as_if_nothing_had_been() {
        let mut before = Outstanding::new(AckBounds::default(), 1 << 40);
        let (ann, bob, cleo) = (user("ann"), user("bob"), user("cleo"));
        let small = AckPolicy { publications_max: 1, ..POLICY };
        before.enter("a", &ann, 1, POLICY, 0).unwrap();
        before.enter("a", &ann, 2, POLICY, 0).unwrap();
        before.enter("a", &bob, 3, POLICY, 0).unwrap();
        before.enter("a", &cleo, 4, small, 0).unwrap();
        let ids: Vec<u64> = (0..3).map(|_| publish(&mut before, 10, 0).unwrap()).collect();
        before.acknowledge("a", "ann", &[ids[0]]);
        before.leave("a", 3, false, 0);
        assert_eq!(due(&mut before, 1000).len(), 3, "ann's two, cleo's one");
        let times_ms = [1100, 5_001_100];
        let mut after = moved(&before, times_ms, AckBounds::default(), |_| true).unwrap();
        assert_eq!(after.bytes(), before.bytes());
        assert_eq!(after.due_ms().unwrap() - 5_000_000, before.due_ms().unwrap());
        let heard = |all: &mut Mailboxes, now_ms| {
            let due = due(all, now_ms).into_iter();
            due.map(|(link, id, tries)| (link % 1000, id, tries)).collect::<Vec<_>>()
        };
        assert_eq!(heard(&mut after, 5_003_100), heard(&mut before, 3100));
        let next = publish(&mut after, 10, 5_003_200).unwrap();
        assert!(next > ids[2], "numbers go on behind those that were given");
        after.acknowledge("a", "ann", &ids);
        assert_eq!(after.counters().acknowledged, 2, "one of them she had acknowledged there");
        assert_eq!(after.enter("a", &cleo, 9, small, 5_003_200), Ok(3), "two, and the last");
        assert_eq!(after.enter("a", &bob, 5, POLICY, 5_003_200), Ok(0));
        let of_bob = due(&mut after, 5_004_200).into_iter().filter(|(link, ..)| *link == 5);
        assert_eq!(of_bob.map(|(_, id, _)| id).collect::<Vec<_>>(), [&ids[..], &[next]].concat());
    }

    /// Who says once more that it has the last would mean another otherwise.
    #[test]
    fn no_number_is_given_again_in_another_process() {
        let mut before = Outstanding::new(AckBounds::default(), 1 << 40);
        before.enter("a", &user("ann"), 1, POLICY, 0).unwrap();
        let ids: Vec<u64> = (0..3).map(|_| publish(&mut before, 10, 0).unwrap()).collect();
        before.acknowledge("a", "ann", &ids[1..]);
        let mut after = moved(&before, [0, 0], AckBounds::default(), |_| true).unwrap();
        assert!(publish(&mut after, 10, 0).unwrap() > ids[2]);
    }

    #[test]
    fn what_is_left_of_a_time_is_left_of_it_in_another_process() {
        let policy = AckPolicy { ttl_s: 10, ..POLICY };
        let mut before = Outstanding::new(AckBounds::default(), 0);
        before.enter("a", &user("ann"), 1, policy, 0).unwrap();
        publish(&mut before, 10, 0).unwrap();
        before.enter("b", &user("bob"), 2, policy, 0).unwrap();
        let times_ms = [6000, 1_000_000];
        let mut after = moved(&before, times_ms, AckBounds::default(), |link| link == 1).unwrap();
        due(&mut after, 1_003_999);
        assert_eq!(after.counters().lost, 0);
        due(&mut after, 1_004_000);
        assert_eq!((after.counters().lost, after.mailbox_count()), (1, 2));
        due(&mut after, 1_010_000);
        assert_eq!(after.mailbox_count(), 1, "bob has not come back for ten seconds");
    }

    #[test]
    fn what_was_lost_is_told_in_another_process_too() {
        let policy = AckPolicy { ttl_s: 1, ..POLICY };
        let mut before = Outstanding::new(AckBounds::default(), 0);
        for (link, name) in [(1, "ann"), (2, "bob")] {
            before.enter("a", &user(name), link, policy, 0).unwrap();
            publish(&mut before, 10, 0).unwrap();
            before.leave("a", link, false, 0);
        }
        due(&mut before, 2000);
        assert_eq!((before.mailbox_count(), before.counters().lost), (0, 3));
        let mut after = moved(&before, [2000, 9000], AckBounds::default(), |_| true).unwrap();
        let told =
            ["ann", "bob", "cleo"].map(|name| after.enter("a", &user(name), 9, policy, 9000));
        assert_eq!(told, [Ok(2), Ok(1), Ok(0)]);
    }

    #[test]
    fn what_does_not_fit_or_makes_no_sense_is_refused() {
        let mut before = Outstanding::new(AckBounds::default(), 0);
        for (link, name) in [(1, "ann"), (2, "bob")] {
            before.enter("a", &user(name), link, POLICY, 0).unwrap();
        }
        publish(&mut before, 10, 0).unwrap();
        let all = before.bytes();
        let to = |bounds| moved(&before, [0, 0], bounds, |_| true).map(|after| after.counters());
        let bytes_max = |bytes_max| AckBounds { bytes_max, ..AckBounds::default() };
        assert_eq!(to(bytes_max(all)), Ok(AckCounters::default()));
        assert_eq!(to(bytes_max(all - 1)), Err(Untakable::Full));
        assert_eq!(to(bytes_max(1)), Err(Untakable::Full));
        let one = AckBounds { mailboxes_max: 1, ..AckBounds::default() };
        assert_eq!(to(one), Err(Untakable::Full));
        let mut after = Mailboxes::new(AckBounds::default(), 0);
        assert_eq!(after.keep_again("a", u64::MAX, (0, 1), 0), Err(Untakable::Broken));
        assert_eq!(after.keep_again("a", 7, (0, 1), 0), Ok(()));
        assert_eq!(after.keep_again("a", 7, (0, 1), 0), Err(Untakable::Broken), "there twice");
        let (_, mut carried) = before.mailboxes("a", None, 0).next().unwrap();
        let ann = user("ann");
        assert_eq!(after.take_over("a", &ann, &carried, 0), Err(Untakable::Broken), "never kept");
        carried.places[0].id = 7;
        assert_eq!(after.take_over("a", &ann, &carried, 0), Ok(0..1));
        assert_eq!(after.take_over("a", &ann, &carried, 0), Err(Untakable::Broken), "there twice");
    }
}
