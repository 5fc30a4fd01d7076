//! The sessions of one thread: what each says when it is told something.
//!
//! ```text
//!   clients ─▶ Open, Message, Broken, Free ─▶ Crowd ─▶ hello, pong │ Found
//! ```
//!
//! Invariants: a session that was begun becomes ready or is counted among the failures, once; in a
//! storm one that failed is begun again, as the SDKs do, until it is ready or the run ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::backoff;
use super::found::Found;
use super::member::{Member, Stage};
use super::parcel::Parcel;
use super::plan::{Scenario, SessionPlan};
use super::words::{self, Place, Publication, Subscribed, Told, Words};
use crate::bench::clients::{Break, Heard, Listener, Speaker};
use crate::bench::share::Share;
use crate::protocol::Format;

/// The sessions of one thread.
pub(super) struct Crowd<'a> {
    plan: &'a SessionPlan,
    share: Share,
    /// Sessions that publish: the first so many.
    publishers: u32,
    /// The last number in each channel, of all threads.
    published: &'a [AtomicU32],
    members: Vec<Member>,
    /// Sessions being begun.
    opening: u32,
    /// Those that have said hello, in the order of their deadlines: (when, slot, life).
    greetings: VecDeque<(Duration, u32, u32)>,
    /// Those that come back: (milliseconds of the run, slot).
    retries: BinaryHeap<Reverse<(u64, u32)>>,
    /// Whether those that end come back.
    pub(super) comes_back: bool,
    /// The streams of the channels, as far as somebody may recover.
    epochs: BTreeMap<u32, Box<str>>,
    /// What the server has announced.
    heartbeat: words::Connected,
    /// Publishers whose last publication has come back to them, where that is what the next one
    /// waits for: each stands here once, and nobody where there is a schedule.
    pub(super) heard_back: Vec<u32>,
    /// What is being said; one for all.
    speech: Vec<u8>,
    /// Sessions that stand, or no longer do, since the last look.
    stood_since: i64,
    /// Arrivals that were told of.
    told: u64,
    /// When measuring began.
    pub(super) measured_from: Option<Duration>,
    pub(super) found: Found,
}

impl<'a> Crowd<'a> {
    /// Sessions of `share`, none of them begun.
    pub(super) fn new(plan: &'a SessionPlan, share: Share, published: &'a [AtomicU32]) -> Self {
        Self {
            plan,
            share,
            publishers: plan.publishers_of(share).count,
            published,
            members: vec![Member::default(); share.count as usize],
            opening: 0,
            greetings: VecDeque::new(),
            retries: BinaryHeap::new(),
            comes_back: false,
            epochs: BTreeMap::new(),
            heartbeat: words::Connected::default(),
            heard_back: Vec::new(),
            speech: Vec::new(),
            stood_since: 0,
            told: 0,
            measured_from: None,
            found: Found::default(),
        }
    }

    /// Sessions being begun.
    pub(super) fn opening(&self) -> u32 {
        self.opening
    }

    /// The session of this slot is begun, and was due at that time.
    pub(super) fn begin(&mut self, slot: u32, due: Duration) {
        let member = &mut self.members[slot as usize];
        member.stage = Stage::Opening;
        if !self.comes_back || member.tries == 0 {
            member.begin(due);
        }
        self.opening += 1;
        self.found.attempts += u64::from(self.comes_back);
    }

    /// It could not even be tried.
    pub(super) fn not_begun(&mut self, slot: u32, now: Duration) {
        self.fell(slot);
        self.rest(slot, now);
    }

    /// The next session that is due to come back.
    pub(super) fn next_retry(&mut self, now: Duration) -> Option<u32> {
        let Reverse((at_ms, _)) = *self.retries.peek()?;
        if u128::from(at_ms) > now.as_millis() {
            return None;
        }
        self.retries.pop().map(|Reverse((_, slot))| slot)
    }

    /// Sessions that have left and are to come back, or are about to.
    pub(super) fn away(&self) -> u64 {
        let is_back = |member: &&Member| member.stage == Stage::Ready;
        self.members.len() as u64 - self.members.iter().filter(is_back).count() as u64
    }

    /// How many are in their channels now.
    pub(super) fn ready(&self) -> u64 {
        let ready = self.members.iter().filter(|member| member.stage == Stage::Ready);
        ready.count() as u64
    }

    /// How many have come to stand while all were begun, with those that were ended since: each
    /// session is either one that never stood or one that was ended, not both.
    pub(super) fn stood(&self) -> u64 {
        self.ready() + self.found.tally.broken
    }

    /// Whether this session is in its channel.
    pub(super) fn is_ready(&self, slot: u32) -> bool {
        self.members[slot as usize].stage == Stage::Ready
    }

    /// Publications that this publisher has made and not got back.
    pub(super) fn unanswered(&self, slot: u32) -> u32 {
        let published = self.published[self.channel(slot) as usize].load(Ordering::Relaxed);
        published.saturating_sub(self.members[slot as usize].number)
    }

    /// Drops a session; it comes back by itself.
    pub(super) fn drop_session(&mut self, slot: u32, speaker: &mut Speaker) -> io::Result<()> {
        let member = &mut self.members[slot as usize];
        self.stood_since -= i64::from(member.stage == Stage::Ready);
        (member.stage, member.tries) = (Stage::Away, 0);
        speaker.close(slot)
    }

    /// Publishes the next of this publisher's channel.
    pub(super) fn publish(
        &mut self,
        slot: u32,
        at: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()> {
        let (channel, data) = self.next_parcel(slot, at);
        self.speech.clear();
        words::publish(self.plan.format, &mut self.speech, &channel, &data);
        self.speak(slot, speaker)
    }

    /// The channel that this publisher is in, and what it publishes there next.
    pub(super) fn next_parcel(&self, slot: u32, at: Duration) -> (String, String) {
        let channel = self.channel(slot);
        let number = self.published[channel as usize].fetch_add(1, Ordering::Relaxed) + 1;
        (self.plan.channel_name(channel), Parcel { number, at }.write(self.plan.size))
    }

    /// Members of channels that somebody publishes into: copies of one publication of each.
    pub(super) fn copies(&self, audience: &[u32]) -> u64 {
        let hears = |slot: &&u32| self.channel(**slot) < self.plan.publishers;
        audience.iter().filter(hears).count() as u64
    }

    /// What has changed since the last look: sessions that stand, and publications that arrived.
    pub(super) fn take_progress(&mut self) -> (i64, u64) {
        let arrived = self.found.tally.arrived - self.told;
        self.told += arrived;
        (std::mem::take(&mut self.stood_since), arrived)
    }

    /// In a chat publications of different sessions overtake each other on their way to the server,
    /// so each is counted: who has had as many as there were, has had each of them once.
    pub(super) fn check_chat(&mut self, audience: &[u32]) {
        for slot in audience {
            let published = self.published[self.channel(*slot) as usize].load(Ordering::Relaxed);
            let member = &self.members[*slot as usize];
            let is_whole = member.number < published || member.offset == sum_up_to(published);
            self.found.tally.corrupt += u64::from(!is_whole);
        }
    }

    /// Copies that have been published to those who were in their channels when it began, all of
    /// whom are among `audience`.
    pub(super) fn expected(&self, audience: &[u32]) -> u64 {
        let of = |slot: &u32| self.published[self.channel(*slot) as usize].load(Ordering::Relaxed);
        audience.iter().map(of).map(u64::from).sum()
    }

    /// The slots of those in their channels.
    pub(super) fn audience(&self) -> Vec<u32> {
        (0..self.share.count).filter(|slot| self.is_ready(*slot)).collect()
    }

    /// Ends those that were not answered in time.
    pub(super) fn expire(&mut self, now: Duration, speaker: &mut Speaker) -> io::Result<()> {
        while let Some(&(at, slot, life)) = self.greetings.front() {
            let is_greeting =
                self.members[slot as usize].stage == Stage::Greeting && speaker.life(slot) == life;
            if is_greeting && at > now {
                break;
            }
            self.greetings.pop_front();
            if is_greeting {
                self.found.failures.timeout += 1;
                self.fell(slot);
                speaker.close(slot)?;
            }
        }
        Ok(())
    }

    /// Pings that each session should have had, and those that came, at most as many each.
    pub(super) fn count_pings(&mut self, measured: Duration) {
        if self.heartbeat.ping == 0 {
            return;
        }
        self.found.ping_s = self.heartbeat.ping;
        // The last one may be late by a moment.
        let whole = measured.as_secs().saturating_sub(1) / u64::from(self.heartbeat.ping);
        for member in &self.members {
            self.found.pings += u64::from(member.pings).min(whole);
        }
        self.found.pings_due = whole * self.found.ready;
    }

    fn channel(&self, slot: u32) -> u32 {
        self.plan.channel(self.share.first + slot)
    }

    /// A session that was being begun, or had begun, is no more.
    fn fell(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if matches!(member.stage, Stage::Opening | Stage::Greeting) {
            self.opening -= 1;
            member.tries = member.tries.saturating_add(1);
        }
        self.stood_since -= i64::from(member.stage == Stage::Ready);
        member.stage = Stage::Away;
    }

    /// Its slot is free: in a storm it comes back.
    fn rest(&mut self, slot: u32, now: Duration) {
        if self.comes_back && self.members[slot as usize].stage == Stage::Away {
            let tries = self.members[slot as usize].tries;
            let seed = u64::from(self.share.first + slot) << 8 | u64::from(tries);
            let at = if tries == 0 && self.plan.scenario == Scenario::Churn {
                now
            } else {
                now + backoff::delay(u32::from(tries), seed)
            };
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            self.retries.push(Reverse((at_ms, slot)));
        }
    }

    fn hello(&mut self, slot: u32, now: Duration, speaker: &mut Speaker) -> io::Result<()> {
        let number = self.share.first + slot;
        let token = self.plan.tokens.as_ref().map(|tokens| tokens.of(number));
        let channel = self.plan.channel(number);
        let member = &mut self.members[slot as usize];
        member.stage = Stage::Greeting;
        let offset = u64::from(member.offset);
        let epoch = self.epochs.get(&channel).filter(|_| self.comes_back);
        let from = epoch.map(|epoch| Place { epoch, offset });
        self.speech.clear();
        let (format, name) = (self.plan.format, self.plan.channel_name(channel));
        words::hello(format, &mut self.speech, token.as_deref(), &name, from);
        self.greetings.push_back((now + self.plan.deadline, slot, speaker.life(slot)));
        self.speak(slot, speaker)
    }

    /// Sends what has been put into words, in a message of the format's kind.
    fn speak(&self, slot: u32, speaker: &mut Speaker) -> io::Result<()> {
        match self.plan.format {
            Format::Json => speaker.text(slot, &self.speech),
            Format::Protobuf => speaker.binary(slot, &self.speech),
        }
    }

    fn told(
        &mut self,
        slot: u32,
        told: Told<'_>,
        now: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()> {
        match told {
            Told::Ping => return self.ping(slot, speaker),
            Told::Connected(heartbeat) => self.heartbeat = heartbeat,
            Told::Subscribed(subscribed) => self.subscribed(slot, &subscribed, now),
            Told::Publication(publication) => self.arrive(slot, &publication, now),
            Told::Refused(_, code) => {
                *self.found.refusals.entry(code).or_default() += 1;
                if self.members[slot as usize].stage == Stage::Greeting {
                    self.fell(slot);
                    return speaker.close(slot);
                }
            }
            Told::Unsubscribed(_) => {
                self.found.unsubscribed += 1;
                self.fell(slot);
                return speaker.close(slot);
            }
            Told::Garbled => self.found.tally.corrupt += 1,
            Told::Published | Told::Other => {}
        }
        Ok(())
    }

    fn ping(&mut self, slot: u32, speaker: &mut Speaker) -> io::Result<()> {
        if self.measured_from.is_some() {
            let member = &mut self.members[slot as usize];
            member.pings = member.pings.saturating_add(1);
        }
        if !self.heartbeat.pong {
            return Ok(());
        }
        self.speech.clear();
        self.speech.extend_from_slice(self.plan.format.ping());
        self.speak(slot, speaker)
    }

    /// A session that was being begun is in its channel.
    fn stand(&mut self, slot: u32) {
        self.members[slot as usize].stage = Stage::Ready;
        self.stood_since += 1;
        self.opening -= 1;
    }

    fn subscribed(&mut self, slot: u32, subscribed: &Subscribed<'_>, now: Duration) {
        let member = &self.members[slot as usize];
        if member.stage != Stage::Greeting {
            self.found.tally.corrupt += 1;
            return;
        }
        let time = member.since_due(now);
        self.stand(slot);
        if self.comes_back {
            self.found.come_back.record(time);
            let count = if subscribed.recovered {
                &mut self.found.recovered
            } else {
                &mut self.found.unrecovered
            };
            *count += 1;
        } else {
            self.found.begin.record(time);
        }
        if !subscribed.recovered && self.plan.scenario != Scenario::Chat {
            self.members[slot as usize].offset = place(subscribed.offset);
        }
        if subscribed.recoverable && self.plan.scenario == Scenario::Storm {
            let channel = self.channel(slot);
            self.epochs.insert(channel, subscribed.epoch.as_str().into());
        }
        for publication in &subscribed.publications {
            self.arrive(slot, publication, now);
        }
    }

    fn arrive(&mut self, slot: u32, publication: &Publication<'_>, now: Duration) {
        let channel = self.channel(slot);
        let parcel = Parcel::read(publication.data, self.plan.size);
        let published = self.published[channel as usize].load(Ordering::Relaxed);
        let Some(Parcel { number, at }) = parcel.filter(|parcel| parcel.number <= published) else {
            self.found.tally.corrupt += 1;
            return;
        };
        let is_chat = self.plan.scenario == Scenario::Chat;
        let member = &mut self.members[slot as usize];
        let is_known = if is_chat { member.number == published } else { number <= member.number };
        if is_known {
            // Or one that a later one had overtaken, which no stream may do either.
            self.found.tally.repeated += 1;
            return;
        }
        (member.number, member.offset) = if is_chat {
            (member.number + 1, member.offset.wrapping_add(number))
        } else {
            (number, place(publication.offset))
        };
        self.found.tally.arrived += 1;
        if channel == 0 {
            self.found.spreads.arrive(number, now);
        }
        if self.measured_from.is_some_and(|from| from <= at) {
            self.found.messages += 1;
            self.found.latency.record(now.saturating_sub(at));
        }
        let is_own = slot < self.publishers && number == published;
        if is_own && self.plan.answers_itself(self.share) {
            self.heard_back.push(slot);
        }
    }

    fn broken(&mut self, slot: u32, how: Break) {
        let code = match how {
            Break::Closed(code) => code.unwrap_or_default(),
            Break::Silent => 0,
            Break::Corrupt => {
                self.found.tally.corrupt += 1;
                0
            }
        };
        *self.found.closes.entry(code).or_default() += 1;
        match self.members[slot as usize].stage {
            Stage::Ready => self.found.tally.broken += 1,
            Stage::Opening | Stage::Greeting => self.found.failures.reset += 1,
            Stage::Away => {}
        }
        self.fell(slot);
    }
}

impl Listener for Crowd<'_> {
    fn hear(
        &mut self,
        slot: u32,
        heard: Heard<'_>,
        now: Duration,
        speaker: &mut Speaker,
    ) -> io::Result<()> {
        match heard {
            // A plain loop knows no sessions.
            Heard::Open if self.plan.bare => {
                self.found.begin.record(self.members[slot as usize].since_due(now));
                self.stand(slot);
            }
            Heard::Open => return self.hello(slot, now, speaker),
            // Why is counted by the clients.
            Heard::Failed => self.fell(slot),
            Heard::Message(kind, message) if kind == self.plan.message_kind() => {
                for told in Words::new(self.plan.format, message) {
                    self.told(slot, told, now, speaker)?;
                }
            }
            // The other format's.
            Heard::Message(..) => self.found.tally.corrupt += 1,
            Heard::Broken(how) => self.broken(slot, how),
            Heard::Free => self.rest(slot, now),
        }
        Ok(())
    }
}

/// 1 + 2 + … + `last`, as members add them up: in 32 bits.
fn sum_up_to(last: u32) -> u32 {
    let sum = u64::from(last) * (u64::from(last) + 1) / 2;
    u32::try_from(sum & u64::from(u32::MAX)).expect("masked")
}

/// A place in a stream; those of one run are far below 2^32.
fn place(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::args;
    use super::*;

    /// Publishers that wait to go on when each has got back `count` publications, and nobody has
    /// looked.
    fn heard_back(scenario: Scenario, publish_rate: Option<u64>, count: u32) -> usize {
        let mut args = args(scenario);
        args.publish_rate = publish_rate;
        let plan = SessionPlan::new(&args).unwrap();
        let published: Vec<_> = (0..plan.channels).map(|_| AtomicU32::new(0)).collect();
        let mut crowd = Crowd::new(&plan, Share::whole(plan.connections), &published);
        for number in 1..=count {
            let data = Parcel { number, at: Duration::ZERO }.write(plan.size);
            let data = data.as_bytes();
            for slot in 0..plan.publishers {
                // In a closed loop the next follows when somebody has looked.
                if plan.answers_itself(crowd.share) && number > 1 {
                    continue;
                }
                published[crowd.channel(slot) as usize].store(number, Ordering::Relaxed);
                crowd.arrive(slot, &Publication { data, offset: 0 }, Duration::ZERO);
            }
        }
        assert_eq!(crowd.found.tally.corrupt, 0);
        crowd.heard_back.len()
    }

    #[test]
    fn publishers_by_a_schedule_do_not_pile_up() {
        assert_eq!(heard_back(Scenario::Fanout, None, 1000), 2);
        assert_eq!(heard_back(Scenario::Fanout, Some(100), 1000), 0);
        assert_eq!(heard_back(Scenario::Echo, Some(100), 1000), 0);
        assert_eq!(heard_back(Scenario::Storm, Some(100), 1000), 2);
    }

    #[test]
    fn who_has_had_each_message_of_a_chat_once_has_them_in_any_order() {
        let plan = SessionPlan::new(&args(Scenario::Chat)).unwrap();
        for (numbers, repeated, corrupt) in
            [([1, 2, 3, 4], 0, 0), ([3, 1, 4, 2], 0, 0), ([1, 1, 3, 4], 0, 1)]
        {
            let published: Vec<_> = (0..plan.channels).map(|_| AtomicU32::new(4)).collect();
            let mut crowd = Crowd::new(&plan, Share::whole(plan.connections), &published);
            for number in numbers {
                let data = Parcel { number, at: Duration::ZERO }.write(plan.size);
                let data = data.as_bytes();
                crowd.arrive(0, &Publication { data, offset: 0 }, Duration::ZERO);
            }
            crowd.check_chat(&[0]);
            assert_eq!(crowd.take_progress(), (0, 4));
            let tally = &crowd.found.tally;
            assert_eq!((tally.repeated, tally.corrupt), (repeated, corrupt), "{numbers:?}");
        }
    }
}
