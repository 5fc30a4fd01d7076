//! A shard for one session, for tests: does what the effects say, and keeps what was said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Answer, Deferred, Effect, Effects, Entered, Entry, Keep, Membership, Question, Recover,
    Retention, Rules, Session, SessionKey, SlotId, Span, Terms, Unsubscribed,
};
use crate::backend;
use crate::protocol::{Commands, Disconnect, DisconnectCode, ErrorCode, Format, Lineage};
use crate::token::Revoked;
pub(super) use crate::token::rig::{KEY, signed, signed_with};

/// The name that the client of a rig has.
pub(super) const CLIENT: &str = "00000000-0000-4000-8000-000000000000";

pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) terms: Terms,
    pub(super) effects: Effects,
    pub(super) members: BTreeMap<String, Membership>,
    /// The channels whose homes have yet to let it in, in the order in which they were asked, and
    /// what they were asked for.
    pub(super) joining: Vec<(String, Entry)>,
    /// The questions that homes have yet to answer, in the order in which they were asked.
    pub(super) asked: Vec<(SlotId, String, Question)>,
    /// The questions that the control thread has yet to answer, in their order.
    pub(super) consulted: Vec<(SlotId, backend::Question)>,
    /// The texts of the entry that was last asked for: the epoch it recovers from, its info.
    pub(super) entry_texts: (String, String),
    /// Why it has left channels, where it was told.
    pub(super) unsubscribed: Vec<Unsubscribed>,
    /// Nothing of its channels is sent to it.
    pub(super) is_held: bool,
    /// The limit of a sign-in that the user's home has yet to answer.
    pub(super) signing_in: Option<u32>,
    /// What the client was sent.
    pub(super) messages: Vec<String>,
    pub(super) published: Vec<(String, String)>,
    /// How the last publication was to be kept.
    pub(super) retention: Option<Retention>,
    /// What publishing comes to.
    pub(super) publish: Result<(), ErrorCode>,
    pub(super) is_identified: bool,
    /// The names by which it is found.
    pub(super) marks: BTreeSet<String>,
    pub(super) has_connected: bool,
    /// How often others were to be shown something else of it.
    pub(super) shown_anew: u32,
    /// The channels in which they were to be.
    pub(super) shown_anew_in: Vec<String>,
    /// Pings without an answer.
    pub(super) pings: u32,
    /// When it is to be told that it is late.
    pub(super) alarm: Option<Duration>,
    pub(super) closed: Option<Disconnect>,
    /// The same in the words of a back end.
    pub(super) closed_as: Option<(u16, String)>,
}

impl Rig {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            session: Session::new(0, true, Format::Json),
            terms: Terms {
                rules,
                lineage: Lineage::ZERO,
                session_key: SessionKey::new([0; 32]),
                revoked: Revoked::default(),
                word_count: 0,
                now: Duration::ZERO,
            },
            effects: Effects::default(),
            members: BTreeMap::new(),
            joining: Vec::new(),
            asked: Vec::new(),
            consulted: Vec::new(),
            entry_texts: Default::default(),
            unsubscribed: Vec::new(),
            is_held: false,
            signing_in: None,
            messages: Vec::new(),
            published: Vec::new(),
            retention: None,
            publish: Ok(()),
            is_identified: false,
            marks: BTreeSet::new(),
            has_connected: false,
            shown_anew: 0,
            shown_anew_in: Vec::new(),
            pings: 0,
            alarm: None,
            closed: None,
            closed_as: None,
        }
    }

    /// A client that has connected, may do everything, and has read its connect reply.
    pub(super) fn open() -> Self {
        let mut rig = Self::new(Rules { insecure: true, ..Rules::default() });
        rig.frame(r#"{"id":1,"connect":{}}"#);
        assert!(rig.session.is_connected());
        rig.messages.clear();
        rig
    }

    /// The same where every position is known and may be recovered from.
    pub(super) fn positioned() -> Self {
        let mut rig = Self::open();
        let without_namespace = &mut rig.terms.rules.without_namespace;
        without_namespace.history =
            Some(Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 });
        without_namespace.force_recovery = true;
        rig
    }

    /// The client sends a message.
    pub(super) fn frame(&mut self, frame: &str) {
        if self.closed.is_some() {
            return;
        }
        let mut commands = Commands::new(Format::Json, frame.as_bytes());
        self.read(&mut commands);
        if let Some(rest) = commands.rest()
            && self.session.is_busy()
        {
            self.session.defer(rest, &mut self.effects);
        }
        self.obey();
        self.flush();
    }

    /// The home that was asked first lets the client in, with nothing to say, or not.
    pub(super) fn joined(&mut self, result: Result<(), ErrorCode>) {
        self.joined_at(0, result);
    }

    /// A home does so.
    pub(super) fn joined_at(&mut self, index: usize, result: Result<(), ErrorCode>) {
        self.entered_at(index, result.map(|()| Entered::default()));
    }

    /// A home answers.
    pub(super) fn entered_at(&mut self, index: usize, result: Result<Entered<'_>, ErrorCode>) {
        let (channel, entry) = self.joining.remove(index);
        if result.is_ok() {
            self.members.insert(channel.clone(), entry.membership);
        }
        let deferred = self.session.entered(&channel, result, &self.terms, &mut self.effects);
        self.obey();
        self.resume(deferred);
        self.flush();
    }

    /// A home answers the question that was asked at this place.
    pub(super) fn answered_at(&mut self, index: usize, result: Result<Answer<'_>, ErrorCode>) {
        let (slot, ..) = self.asked.remove(index);
        let deferred = self.session.answered(slot, result, &mut self.effects);
        self.obey();
        self.resume(deferred);
        self.flush();
    }

    /// The question that was asked at this place is answered.
    pub(super) fn consulted_at(
        &mut self,
        index: usize,
        result: Result<backend::Verdict, backend::Unanswered>,
    ) {
        let (slot, _) = self.consulted.remove(index);
        let deferred = self.session.consulted(slot, result, &self.terms, &mut self.effects);
        self.obey();
        self.resume(deferred);
        self.flush();
    }

    /// The channels whose homes have yet to let it in.
    pub(super) fn joining_names(&self) -> Vec<&str> {
        self.joining.iter().map(|(name, _)| &**name).collect()
    }

    /// The user's home answers.
    pub(super) fn signed_in(&mut self, result: Result<(), DisconnectCode>) {
        self.signing_in.take().expect("there is a sign-in to answer");
        let deferred = self.session.signed_in(result, &self.terms, &mut self.effects);
        self.obey();
        self.resume(deferred);
        self.flush();
    }

    /// Its alarm rings.
    pub(super) fn late(&mut self) {
        self.session.late(&self.terms, &mut self.effects);
        self.obey();
        self.flush();
    }

    /// Publications of a channel were lost.
    pub(super) fn missed(&mut self, channel: &str) {
        let membership = self.members.get(channel).copied().expect("a member");
        self.session.missed(channel, membership, &mut self.effects);
        self.obey();
        self.flush();
    }

    /// The client's membership in a channel.
    pub(super) fn membership(&self, channel: &str) -> Option<Membership> {
        self.members.get(channel).copied()
    }

    /// What follows a step that was done to the session from outside.
    pub(super) fn end_step(&mut self, deferred: Deferred) {
        self.obey();
        self.resume(deferred);
        self.flush();
    }

    /// Everything the client was sent, by lines.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let messages = std::mem::take(&mut self.messages);
        messages.iter().flat_map(|message| message.split('\n')).map(str::to_owned).collect()
    }

    fn resume(&mut self, mut deferred: Deferred) {
        let Some(lines) = deferred.rest() else { return };
        let mut commands = Commands::resume(Format::Json, lines);
        self.read(&mut commands);
        let left = commands.rest().map_or(0, <[u8]>::len);
        deferred.read_to(left);
        self.session.defer_again(deferred);
        self.obey();
    }

    /// Reads commands until one is under way.
    fn read(&mut self, commands: &mut Commands<'_>) {
        while !self.session.is_busy() && self.closed.is_none() {
            let unread = commands.clone();
            let Some(command) = commands.next() else { return };
            let name = command.as_ref().ok().and_then(|command| command.request.channel());
            let membership = name.and_then(|name| self.members.get(name).copied());
            let command = command.as_ref().map_err(|malformed| *malformed);
            if !self.session.command(command, membership, &self.terms, &mut self.effects) {
                *commands = unread;
                return;
            }
            self.obey();
        }
    }

    fn obey(&mut self) {
        while let Some(effect) = self.effects.take() {
            assert_eq!(self.closed, None, "{effect:?} after the last word");
            match effect {
                Effect::Identified => self.is_identified = true,
                Effect::Mark { name } => self.mark(&name),
                Effect::Unmark { name } => {
                    assert!(self.marks.remove(self.effects.name(&name)), "marked before");
                }
                Effect::Connected => {
                    assert!(!self.has_connected, "once");
                    self.has_connected = true;
                }
                Effect::Alarm { after } => self.alarm = after,
                Effect::SignIn { limit } => {
                    assert_eq!(self.signing_in.replace(limit), None, "once");
                }
                Effect::Enter { channel, entry } => {
                    let name = self.effects.name(&channel).to_owned();
                    assert!(!self.members.contains_key(&name), "{name}: a member enters again");
                    assert!(!self.joining_names().contains(&&*name), "{name}: asked for twice");
                    let epoch = entry.recover.as_ref().map(|recover| match recover {
                        Recover::Missed { since, .. } | Recover::Latest { since } => {
                            self.effects.name(&since.epoch).to_owned()
                        }
                    });
                    let info = entry.channel_info.as_ref().map(|info| self.effects.name(info));
                    self.entry_texts =
                        (epoch.unwrap_or_default(), info.unwrap_or_default().to_owned());
                    self.joining.push((name, entry));
                }
                Effect::Ask { slot, channel, question } => {
                    let name = self.effects.name(&channel).to_owned();
                    self.asked.push((slot, name, question));
                }
                Effect::Consult { slot, question } => self.consulted.push((slot, *question)),
                Effect::Leave { channel, why } => {
                    self.unsubscribed.extend(why);
                    let name = self.effects.name(&channel);
                    let joining = self.joining.iter().position(|(joining, _)| *joining == *name);
                    let was_joining = joining.map(|place| self.joining.remove(place)).is_some();
                    let was_in = self.members.remove(name).is_some() || was_joining;
                    assert!(was_in, "{name}: leaves without being in it");
                }
                Effect::Publish { id, slot, channel, message, keep } => {
                    self.publish((id, slot), &channel, &message, keep);
                }
                Effect::ShowAnew => self.shown_anew += 1,
                Effect::ShowAnewIn { channel } => {
                    self.shown_anew_in.push(self.effects.name(&channel).to_owned());
                }
                Effect::HoldDeliveries => {
                    assert!(!self.is_held, "held once");
                    self.is_held = true;
                }
                Effect::ReleaseDeliveries => {
                    assert!(self.is_held, "held before");
                    self.flush();
                    self.is_held = false;
                }
                Effect::Pong if self.pings > 0 => self.pings -= 1,
                Effect::Pong => self.session.unasked_pong(&mut self.effects),
                Effect::Close(why) => self.closed = Some(why),
                Effect::CloseAs { code, reason } => {
                    self.closed_as = Some((code, self.effects.name(&reason).to_owned()));
                }
            }
        }
    }

    fn mark(&mut self, name: &Span) {
        let name = self.effects.name(name).to_owned();
        assert!(self.marks.insert(name), "marked once");
    }

    fn publish(
        &mut self,
        (id, slot): (u32, Option<SlotId>),
        channel: &Span,
        message: &Span,
        keep: Option<Keep>,
    ) {
        self.retention = keep.map(|keep| keep.retention);
        let name = self.effects.name(channel).to_owned();
        let message = String::from_utf8(self.effects.bytes(message).to_vec()).unwrap();
        if self.publish.is_ok() {
            self.published.push((name, message));
        }
        let deferred = self.session.published(id, slot, self.publish, &mut self.effects);
        self.resume(deferred);
    }

    fn flush(&mut self) {
        let messages = self.effects.outbox.messages();
        let messages = messages.map(|message| String::from_utf8(message.to_vec()).unwrap());
        self.messages.extend(messages);
        self.effects.outbox.clear();
    }
}
