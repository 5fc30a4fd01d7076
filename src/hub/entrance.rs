//! How members come to a channel and leave it, and what the channel's home hears and says of it.
//!
//! ```text
//!   join ──▶ a member at once ──▶ the home's answer ──▶ announced
//!   hold ──▶ the home's answer to whoever enters ──▶ admit: a member from there on, or release
//! ```
//!
//! Invariant: the home knows of a channel, or is about to be told, exactly while the channel has a
//! member here or is held for one.

use super::arena::Key;
use super::bucket::ShardId;
use super::channel::Channel;
use super::fanout::{ChannelId, Fanout, JoinError, MemberId, at, at_mut};
use super::interest::{Answer, InterestChange, Stance, Told};
use super::joining::Announcement;
use super::memberships::Standing;
use crate::filter::{Filter, Reading};

impl<F> Fanout<F> {
    // --- Members ----------------------------------------------------------------------------

    /// Makes `member` a member of the channel: it gets what is queued from now on, and an
    /// [`Announcement`] once the home has answered.
    ///
    /// How many channels one connection may be in is the caller's to bound.
    pub fn join(&mut self, channel: &str, member: MemberId) -> Result<ChannelId, JoinError> {
        let joined = self.try_join(channel, member);
        if joined.is_err_and(|error| !matches!(error, JoinError::AlreadyMember(_))) {
            self.counters.joins_refused += 1;
        }
        joined
    }

    fn try_join(&mut self, name: &str, member: MemberId) -> Result<ChannelId, JoinError> {
        let found = self.channels.find(name);
        if let Some(key) = found.filter(|&key| self.memberships.contains(member, key)) {
            return Err(JoinError::AlreadyMember(ChannelId(key)));
        }
        let key = self.wanted(name, found)?;
        self.append(key, member, None, Reading::Whole);
        match at(&self.channels, key).stance {
            Stance::Here => self.joining.joined(member, key),
            // It is held still, so the refusal found nobody to tell.
            Stance::Refused => self.joining.refused(key),
            _ => {}
        }
        Ok(ChannelId(key))
    }

    /// A channel that is about to have one member, or hold, more.
    fn wanted(&mut self, name: &str, found: Option<Key>) -> Result<Key, JoinError> {
        let memberships_max = self.bounds.memberships_max;
        if self.memberships.len() + self.holds.count() >= memberships_max {
            return Err(JoinError::MembershipsFull { memberships_max });
        }
        let key = match found {
            Some(key) => key,
            None => self.channels.enter(name, Channel::new(self.homes.home_of_channel(name)))?,
        };
        let channel = at_mut(&mut self.channels, key);
        if channel.members.is_empty() && !self.holds.is_held(key) {
            self.interest.joined(channel.home, key, &mut channel.stance);
        }
        Ok(key)
    }

    fn append(&mut self, key: Key, member: MemberId, standing: Option<Standing>, reading: Reading) {
        let channel = at_mut(&mut self.channels, key);
        let list_bytes = channel.list_bytes();
        channel.append(key, member, standing, &reading, &mut self.memberships);
        self.list_bytes += channel.list_bytes() - list_bytes;
        if let Reading::Selected(filter) = reading {
            self.filters.add(key, member, filter);
        }
    }

    /// Whether there is room for a filter beside those that memberships read by.
    pub fn has_room_for(&self, filter: &Filter) -> bool {
        let bytes = self.filters.bytes() + filter.bytes();
        bytes <= self.bounds.filters_bytes_max || self.filters.is_known(filter)
    }

    /// Keeps the home's publications of the channel coming for a member to come: until
    /// [`admit`](Self::admit) or [`release`](Self::release), once for each call.
    pub fn hold(&mut self, channel: &str) -> Result<(), JoinError> {
        let found = self.channels.find(channel);
        let held = self.wanted(channel, found).map(|key| self.holds.add(key));
        self.counters.joins_refused += u64::from(held.is_err());
        held
    }

    /// Ends a hold of the channel: nobody comes.
    pub fn release(&mut self, channel: &str) {
        let key = self.channels.find(channel).expect("a channel that is held is kept");
        self.holds.end(key);
        self.leave_if_empty(key);
    }

    /// Ends a hold of the channel: the home has answered, and what comes from now on is `member`'s.
    /// Nothing is announced.
    pub fn admit(
        &mut self,
        channel: &str,
        member: MemberId,
        standing: Standing,
        reading: Reading,
    ) -> Result<ChannelId, JoinError> {
        let key = self.channels.find(channel).expect("a channel that is held is kept");
        let stance = at(&self.channels, key).stance;
        assert_eq!(stance, Stance::Here, "whoever is let in, the home knew of the interest before");
        if self.memberships.contains(member, key) {
            self.release(channel);
            return Err(JoinError::AlreadyMember(ChannelId(key)));
        }
        self.append(key, member, Some(standing), reading);
        self.holds.end(key);
        Ok(ChannelId(key))
    }

    /// Makes `member`, who was one in another process, a member of the channel again: it gets what
    /// is queued from now on, and nothing is announced.
    pub fn readmit(
        &mut self,
        channel: &str,
        member: MemberId,
        standing: Standing,
        reading: Reading,
    ) -> Result<(), JoinError> {
        let found = self.channels.find(channel);
        if let Some(key) = found.filter(|&key| self.memberships.contains(member, key)) {
            return Err(JoinError::AlreadyMember(ChannelId(key)));
        }
        let key = self.wanted(channel, found)?;
        self.append(key, member, Some(standing), reading);
        Ok(())
    }

    /// Ends a membership, and says how it was; `None` if there was none.
    pub fn leave(&mut self, channel: ChannelId, member: MemberId) -> Option<Standing> {
        let (position, standing) = self.memberships.remove(member, channel.0)?;
        self.filters.remove(channel.0, member);
        self.vacate(channel.0, position);
        Some(standing)
    }

    /// Ends all memberships of a connection that is gone, and tells the name of each channel with
    /// how it stood there. Returns how many there were.
    pub fn leave_all(&mut self, member: MemberId, mut left: impl FnMut(&str, Standing)) -> u32 {
        let mut count = 0;
        while let Some(key) = self.memberships.any(member) {
            let (position, standing) =
                self.memberships.remove(member, key).expect("it has just been found");
            self.filters.remove(key, member);
            left(self.channels.name(key), standing);
            self.vacate(key, position);
            count += 1;
        }
        count
    }

    /// Calls `each` for every channel that a member is in.
    pub fn each_of(&self, member: MemberId, mut each: impl FnMut(&str, Standing)) {
        self.memberships.each(member, |key, standing| each(self.channels.name(key), standing));
    }

    /// The channel of this name, if it has members here.
    pub fn find(&self, channel: &str) -> Option<ChannelId> {
        let key = self.channels.find(channel)?;
        let has_members = !at(&self.channels, key).members.is_empty();
        has_members.then_some(ChannelId(key))
    }

    /// Whether a connection is a member of a channel.
    pub fn is_member(&self, channel: ChannelId, member: MemberId) -> bool {
        self.memberships.contains(member, channel.0)
    }

    /// How a connection stands in a channel; `None` if it is not in it.
    pub fn standing(&self, channel: ChannelId, member: MemberId) -> Option<Standing> {
        self.memberships.standing(member, channel.0)
    }

    /// How a member reads what is published.
    pub fn reading(&self, channel: ChannelId, member: MemberId) -> Option<Reading> {
        let position = self.memberships.position(member, channel.0)?;
        let listed = at(&self.channels, channel.0).members[position as usize];
        Some(match (listed.takes_deltas(), listed.is_selective()) {
            (true, _) => Reading::Deltas,
            (_, true) => Reading::Selected(self.filters.of(channel.0, member).clone()),
            _ => Reading::Whole,
        })
    }

    /// Whether a member takes deltas.
    pub fn takes_deltas(&self, channel: ChannelId, member: MemberId) -> bool {
        let position = self.memberships.position(member, channel.0);
        let listed = |position: u32| at(&self.channels, channel.0).members[position as usize];
        position.is_some_and(|position| listed(position).takes_deltas())
    }

    /// A member does not get, or may not get, what it was last handed out: what it is handed next
    /// has to be whole.
    pub fn lose_base(&mut self, channel: ChannelId, member: MemberId) {
        if let Some(position) = self.memberships.position(member, channel.0) {
            let members = &mut at_mut(&mut self.channels, channel.0).members;
            members[position as usize].set_base(false);
        }
    }

    /// The name of a channel that has members here.
    pub fn name(&self, channel: ChannelId) -> &str {
        self.channels.name(channel.0)
    }

    /// The members that a channel has here.
    pub fn members(&self, channel: ChannelId) -> impl Iterator<Item = MemberId> {
        at(&self.channels, channel.0).members.iter().map(|listed| listed.member())
    }

    /// How many members a channel has here.
    pub fn member_count(&self, channel: ChannelId) -> u32 {
        at(&self.channels, channel.0).member_count()
    }

    fn vacate(&mut self, key: Key, position: u32) {
        let channel = at_mut(&mut self.channels, key);
        let list_bytes = channel.list_bytes();
        channel.vacate(key, position, &mut self.memberships);
        self.list_bytes -= list_bytes - channel.list_bytes();
        if channel.members.is_empty() {
            self.drop_backlog(key);
            self.leave_if_empty(key);
        }
    }

    /// Nobody is in the channel any more, and nobody is to come: the home need not send to it.
    fn leave_if_empty(&mut self, key: Key) {
        let channel = at_mut(&mut self.channels, key);
        if channel.members.is_empty() && !self.holds.is_held(key) {
            self.interest.left(channel.home, key, &mut channel.stance);
            self.forget_if_unused(key);
        }
    }

    pub(super) fn forget_if_unused(&mut self, key: Key) {
        if at(&self.channels, key).is_unused() {
            self.channels.forget(key);
        }
    }

    // --- Interest ---------------------------------------------------------------------------

    /// Whether this home must still be told of a change.
    pub fn has_changes(&self, home: ShardId) -> bool {
        !self.interest.is_empty(home)
    }

    /// Hands the changes that wait for `home` to `tell`, until it says that one did not fit.
    /// What was told is settled; the rest waits.
    pub fn drain_changes(
        &mut self,
        home: ShardId,
        mut tell: impl FnMut(InterestChange<'_>) -> Told,
    ) {
        while let Some(key) = self.interest.next(home) {
            let on = at(&self.channels, key).stance.is_on();
            let ask = self.next_ask;
            let told = tell(InterestChange { channel: self.channels.name(key), on, ask });
            if told == Told::NoRoom {
                return;
            }
            let channel = at_mut(&mut self.channels, key);
            self.interest.told(home, key, &mut channel.stance);
            if on {
                channel.ask = ask;
                self.next_ask = ask.wrapping_add(1);
            }
            match told {
                Told::Answered(answer) if on => self.settle(key, answer),
                _ => self.forget_if_unused(key),
            }
        }
    }

    /// Takes a home's answer to the interest it was told of with the number `ask`; false if it
    /// answers a question that is not asked any more.
    pub fn answered(&mut self, channel: &str, ask: u32, answer: Answer) -> bool {
        let Some(key) = self.channels.find(channel) else { return false };
        let asked = at(&self.channels, key);
        let is_awaited = asked.stance.awaits_answer() && asked.ask == ask;
        if is_awaited {
            self.settle(key, answer);
        }
        is_awaited
    }

    fn settle(&mut self, key: Key, answer: Answer) {
        let channel = at_mut(&mut self.channels, key);
        self.interest.answered(channel.home, key, &mut channel.stance, answer);
        match channel.stance {
            Stance::Here => {
                for listed in &channel.members {
                    self.joining.joined(listed.member(), key);
                }
            }
            Stance::Refused => self.joining.refused(key),
            _ => self.forget_if_unused(key),
        }
    }

    /// Whether a member is to hear what became of its join. It does before anything is delivered.
    pub fn has_announcements(&self) -> bool {
        !self.joining.is_empty()
    }

    /// The next member to hear what became of its join.
    pub fn next_announcement(&mut self) -> Option<Announcement> {
        while let Some((member, key)) = self.joining.next_joined() {
            let is_known = self.channels.get(key).is_some_and(|one| one.stance == Stance::Here);
            if is_known && self.memberships.end_wait(member, key) {
                let channel = self.channels.name(key).into();
                return Some(Announcement { member, channel, is_member: true });
            }
        }
        loop {
            let key = self.joining.first_refused()?;
            let refused = self.channels.get(key).filter(|one| one.stance == Stance::Refused);
            let Some(listed) = refused.and_then(|channel| channel.members.last()) else {
                self.joining.end_refused();
                continue;
            };
            let member = listed.member();
            let channel = self.channels.name(key).into();
            let _ended = self.leave(ChannelId(key), member);
            return Some(Announcement { member, channel, is_member: false });
        }
    }

    /// The channel of this name, if what its home sends now is for its members: they joined, and
    /// the home has confirmed that it knows. What comes otherwise was sent to an interest that
    /// has ended.
    pub fn receiving(&self, channel: &str) -> Option<ChannelId> {
        let key = self.channels.find(channel)?;
        (at(&self.channels, key).stance == Stance::Here).then_some(ChannelId(key))
    }

    /// What the home has answered to the interest in a channel that is held; `None` if it has not.
    pub fn answer(&self, channel: &str) -> Option<Answer> {
        let key = self.channels.find(channel).expect("a channel that is held is kept");
        match at(&self.channels, key).stance {
            Stance::Here => Some(Answer::Confirmed),
            Stance::Refused => Some(Answer::Refused),
            _ => None,
        }
    }

    /// Whether all members of a channel have got all that was queued for them.
    pub fn is_through(&self, channel: ChannelId) -> bool {
        at(&self.channels, channel.0).backlog.is_none()
    }

    /// Whether the home does not know yet that members came to the channel, or that they left.
    ///
    /// A publication that overtakes such a change would miss its own publisher: drain the changes
    /// for that home first, and hold the publication back while this still says true.
    pub fn is_pending(&self, channel: &str) -> bool {
        let found = self.channels.find(channel);
        found.is_some_and(|key| at(&self.channels, key).stance.is_pending())
    }
}
