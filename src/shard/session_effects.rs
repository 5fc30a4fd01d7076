//! What sessions ask of their shard, and what channels' homes answer.

#![forbid(unsafe_code)]

use serde::de::IgnoredAny;

use super::client_codes;
use super::client_counters::{self, of_error};
use super::client_words::{entry, keep, kind_of, position, question};
use super::sessions::Sessions;
use crate::backend::{self, Unanswered, Verdict};
use crate::handler::{
    Answer, AskError, Asked, ConsultError, Entered, JoinError, Message, Peer, Present,
    PublishError, SignIn, SignInError,
};
use crate::limits::REPLIES_WAITING_BYTES_MAX;
use crate::protocol::{ErrorCode, Format, PresenceStats, Transport};
use crate::session::{
    self, Deferred, Effect, Entry, Keep, Question, Session, SlotId, Span, Terms, Unsubscribed,
};
use crate::sys::clock;
use crate::token::TokenError;

/// Room for what a reply says beside its list: numbers, an epoch, a word or two.
const REPLY_BYTES_MAX: usize = 512;

impl Sessions {
    /// Does what the session asks for.
    pub(super) fn obey(&mut self, peer: &mut Peer<'_, Self>) {
        while let Some(effect) = self.effects.take() {
            match effect {
                Effect::Identified => {
                    let user = peer.state().map(|session| session.user().to_owned());
                    peer.belong_to(&user.unwrap_or_default());
                }
                Effect::Mark { name } => peer.mark(self.effects.name(&name)),
                Effect::Unmark { name } => peer.unmark(self.effects.name(&name)),
                Effect::Connected => be_connected(peer),
                Effect::Alarm { after } => peer.set_alarm(after),
                Effect::SignIn { limit } => self.sign_in(peer, limit),
                Effect::Enter { channel, entry } => self.enter(peer, &channel, &entry),
                Effect::Ask { slot, channel, question } => {
                    self.ask(peer, slot, &channel, &question);
                }
                Effect::ShowAnew => self.show_anew(peer),
                Effect::ShowAnewIn { channel } => self.show_anew_in(peer, &channel),
                Effect::Consult { slot, question } => self.consult(peer, slot, &question),
                Effect::HoldDeliveries => peer.hold_deliveries(),
                Effect::ReleaseDeliveries => {
                    self.flush(peer);
                    peer.release_deliveries();
                }
                Effect::Leave { channel, why } => {
                    peer.shard().counters().client_unsubscribes += 1;
                    if let Some(why) = why {
                        self.tell_unsubscribed(peer, &channel, why);
                    }
                    let name = self.effects.name(&channel);
                    let is_for_good = why.is_some_and(Unsubscribed::is_for_good);
                    let _was_in =
                        if is_for_good { peer.leave(name) } else { peer.leave_for_now(name) };
                }
                Effect::Publish { id, slot, channel, message, keep } => {
                    let result = self.publish(peer, &channel, &message, keep);
                    peer.shard().counters().client_publishes += u64::from(result.is_ok());
                    let result = result.map_err(client_codes::of_publish);
                    let Some(session) = peer.state() else { return };
                    let deferred = session.published(id, slot, result, &mut self.effects);
                    if slot.is_some() {
                        self.resume(peer, deferred);
                    }
                }
                Effect::Pong => self.take_pong(peer),
                Effect::Close(why) => self.close_client(peer, why.code.code(), why.reason),
                Effect::CloseAs { code, reason } => {
                    let reason = self.effects.name(&reason).to_owned();
                    self.close_client(peer, code, &reason);
                }
            }
        }
    }

    /// Asks a channel's home to let the client in. One that wants nothing but what is published
    /// from now on is a member at once, and the home hears of it when it can.
    fn enter(&mut self, peer: &mut Peer<'_, Self>, channel: &Span, wanted: &Entry) {
        let name = self.effects.name(channel);
        let result = if *wanted == Entry::default() {
            peer.join(name).map(|()| Asked::Waits)
        } else {
            let presence = self.present(peer, wanted);
            let user = peer.state().map_or("", |session| session.user());
            let entry = entry(wanted, presence, user, &self.effects);
            peer.enter(self.effects.name(channel), entry)
        };
        let result = match result {
            Ok(Asked::Waits) => return,
            Ok(Asked::Done(entered)) => Ok(entered),
            Err(error) => Err(error),
        };
        let name = self.effects.name(channel).to_owned();
        let deferred = self.take_entered(peer, &name, &result);
        self.resume(peer, deferred);
    }

    /// The client is shown otherwise from now on.
    fn show_anew(&mut self, peer: &mut Peer<'_, Self>) {
        if let Some(session) = peer.state() {
            let present = shown(session, &self.terms, &[]);
            peer.show_anew(&present);
        }
    }

    /// The same in one channel.
    fn show_anew_in(&mut self, peer: &mut Peer<'_, Self>, channel: &Span) {
        let name = self.effects.name(channel);
        if let Some(session) = peer.state() {
            let info = session.shown_in(name, &self.terms).channel_info;
            let present = shown(session, &self.terms, info);
            peer.show_anew_in(name, &present);
        }
    }

    /// The client as it is present in a channel, if it is to be.
    fn present(&mut self, peer: &mut Peer<'_, Self>, wanted: &Entry) -> Option<Present> {
        let session = peer.state().filter(|_| wanted.is_present)?;
        let channel_info = wanted.channel_info.as_ref().map(|info| self.effects.bytes(info));
        let present = shown(session, &self.terms, channel_info.unwrap_or_default());
        Some(if wanted.is_listed { present } else { present.unlisted() })
    }

    /// The home's answer to an entry, or that it was not even asked. What it comes to is among the
    /// effects; returns what is to be read now. An answer may come while effects are obeyed, and
    /// those that it has are obeyed after them, not within.
    pub(super) fn take_entered(
        &mut self,
        peer: &mut Peer<'_, Self>,
        channel: &str,
        result: &Result<Entered, JoinError>,
    ) -> Deferred {
        let format = self.effects.outbox.format();
        let recovered = result.as_ref().ok().and_then(|entered| entered.recovered.as_ref());
        let is_put_in = peer.state().is_some_and(|one| one.is_put_into_channel(channel));
        let list = recovered.map(|recovered| {
            if is_put_in {
                return self.encodings.pushes(&recovered.publications, format);
            }
            let reading = peer.state().map(|session| session.reading(channel)).unwrap_or_default();
            self.encodings.recovered(&recovered.publications, reading, format)
        });
        let list = match list {
            Some(None) => return self.say_unreadable(peer),
            Some(Some(list)) => list,
            None => [].into(),
        };
        // It could not be sent, and a client that is closed over it would come and ask again: it is
        // told to begin anew, as if what it missed were not kept.
        let fits = self.fits(peer, &list);
        let answer = result.as_ref().map(|entered| session::Entered {
            position: entered.position.as_ref().map(position),
            lost: entered.lost,
            recovered: entered.recovered.as_ref().map(|recovered| session::Recovered {
                is_whole: recovered.is_whole && fits,
                publications: if fits { &list } else { &[] },
            }),
        });
        let answer = answer.map_err(|error| client_codes::of_join(*error));
        count_entered(peer, result, fits);
        let Some(session) = peer.state() else { return Deferred::default() };
        self.terms.now = clock::since_epoch();
        session.entered(channel, answer, &self.terms, &mut self.effects)
    }

    /// Whether a list can be sent behind what waits to be.
    fn fits(&self, peer: &mut Peer<'_, Self>, list: &[u8]) -> bool {
        let waiting_bytes = peer.state().map_or(0, |session| session.held_bytes());
        let unsent_bytes = waiting_bytes + self.effects.outbox.byte_count();
        let message_bytes = unsent_bytes + list.len() + REPLY_BYTES_MAX;
        let bytes_max = self.settings.output_bytes_max.min(REPLIES_WAITING_BYTES_MAX);
        message_bytes <= bytes_max && peer.has_room(message_bytes)
    }

    /// Asks a channel's home a question.
    fn ask(&mut self, peer: &mut Peer<'_, Self>, slot: SlotId, channel: &Span, asked: &Question) {
        let user = peer.state().map_or("", |session| session.user());
        let question = question(asked, user, &self.effects);
        let result = match peer.ask(slot.number(), self.effects.name(channel), question) {
            Ok(Asked::Waits) => return,
            Ok(Asked::Done(answer)) => Ok(answer),
            Err(error) => Err(error),
        };
        let deferred = self.take_answer(peer, slot, &result);
        self.resume(peer, deferred);
    }

    /// The same for the answer to a question.
    pub(super) fn take_answer(
        &mut self,
        peer: &mut Peer<'_, Self>,
        slot: SlotId,
        result: &Result<Answer, AskError>,
    ) -> Deferred {
        let format = self.effects.outbox.format();
        let list = match result {
            Ok(Answer::History { publications, .. }) => {
                self.encodings.history(publications, format)
            }
            Ok(Answer::Presence(clients)) => Some(self.encodings.clients(clients, format)),
            _ => Some([].into()),
        };
        let Some(list) = list else { return self.say_unreadable(peer) };
        let answer = match result {
            Ok(Answer::History { position: at, .. }) => {
                Ok(session::Answer::History { position: position(at), publications: &list })
            }
            Ok(Answer::Presence(_)) => Ok(session::Answer::Presence(&list)),
            Ok(Answer::PresenceStats { clients, users }) => {
                let stats = PresenceStats { clients: *clients, users: *users };
                Ok(session::Answer::PresenceStats(stats))
            }
            Ok(Answer::Acknowledged) => Ok(session::Answer::Acknowledged),
            Ok(Answer::Unrecoverable) => Err(ErrorCode::UnrecoverablePosition),
            Ok(Answer::HistoryRemoved) => unreachable!("only back ends ask for it"),
            Err(error) => Err(client_codes::of_ask(*error)),
        };
        let Some(session) = peer.state() else { return Deferred::default() };
        session.answered(slot, answer, &mut self.effects)
    }

    /// Asks the control thread.
    fn consult(&mut self, peer: &mut Peer<'_, Self>, slot: SlotId, question: &backend::Question) {
        // To come again would cost a client more than to wait for its token to be checked; what a
        // back end has not answered in time has failed, and no line is to hide that.
        let asked = match question {
            backend::Question::Token { .. } => {
                peer.consult_in_turn(slot.number(), question.encode())
            }
            backend::Question::Call(_) | backend::Question::Publish(_) => {
                peer.consult(slot.number(), question.encode())
            }
        };
        if let Err(error) = asked {
            let deferred = self.take_verdict(peer, slot, Err(error));
            self.resume(peer, deferred);
        }
    }

    /// The same for its answer.
    pub(super) fn take_verdict(
        &mut self,
        peer: &mut Peer<'_, Self>,
        slot: SlotId,
        result: Result<Box<[u8]>, ConsultError>,
    ) -> Deferred {
        let verdict = match result {
            Ok(bytes) => Ok(Verdict::decode(&bytes).expect("one that was encoded here")),
            Err(ConsultError::Unanswered) => Err(Unanswered::Failed),
            Err(_) => Err(Unanswered::Busy),
        };
        if let Ok(Verdict::Token(verdict)) = &verdict {
            let mut shard = peer.shard();
            let counters = shard.counters();
            counters.tokens_checked += u64::from(!verdict.was_known);
            counters.tokens_known += u64::from(verdict.was_known);
            let is_unavailable = verdict.result == Err(TokenError::Unavailable);
            counters.tokens_unavailable += u64::from(is_unavailable);
        }
        let Some(session) = peer.state() else { return Deferred::default() };
        self.terms.now = clock::since_epoch();
        session.consulted(slot, verdict, &self.terms, &mut self.effects)
    }

    fn publish(
        &mut self,
        peer: &mut Peer<'_, Self>,
        channel: &Span,
        message: &Span,
        kept: Option<Keep>,
    ) -> Result<(), PublishError> {
        let kind = kind_of(self.effects.outbox.format());
        let message = Message::validated(kind, self.effects.bytes(message));
        let name = self.effects.name(channel);
        match kept.map(keep) {
            None => peer.publish(name, message),
            Some(keep) => peer.publish_kept(name, message, keep),
        }
    }

    /// Asks the user's home to let the client in.
    fn sign_in(&mut self, peer: &mut Peer<'_, Self>, limit: u32) {
        let Some(session) = peer.state() else { return };
        let user = session.user().to_owned();
        let result = match peer.sign_in(&user, limit) {
            Ok(SignIn::Asked) => return,
            Ok(SignIn::Done) => Ok(()),
            Err(error) => Err(error),
        };
        let deferred = self.take_sign_in(peer, result);
        self.resume(peer, deferred);
    }

    /// The same for the word of a user's home.
    pub(super) fn take_sign_in(
        &mut self,
        peer: &mut Peer<'_, Self>,
        result: Result<(), SignInError>,
    ) -> Deferred {
        let Some(session) = peer.state() else { return Deferred::default() };
        let result = result.map_err(client_codes::of_sign_in);
        self.terms.now = clock::since_epoch();
        session.signed_in(result, &self.terms, &mut self.effects)
    }

    fn take_pong(&mut self, peer: &mut Peer<'_, Self>) {
        if !peer.answer_heartbeat()
            && let Some(session) = peer.state()
        {
            session.unasked_pong(&mut self.effects);
        }
    }

    /// What was published cannot be said in the client's format: it is closed, and nothing is read
    /// any more.
    pub(super) fn say_unreadable(&mut self, peer: &mut Peer<'_, Self>) -> Deferred {
        if let Some(session) = peer.state() {
            session.unreadable(&mut self.effects);
        }
        Deferred::default()
    }

    fn close_client(&mut self, peer: &mut Peer<'_, Self>, code: u16, reason: &str) {
        self.flush(peer);
        tracing::info!(connection = %peer.id(), code, reason, "disconnected");
        peer.close(code, reason);
    }

    /// Sends what the step has left in the outbox.
    pub(super) fn flush(&mut self, peer: &mut Peer<'_, Self>) {
        let outbox = &mut self.effects.outbox;
        let kind = kind_of(outbox.format());
        for message in outbox.messages() {
            if peer.send(Message::validated(kind, message)).is_err() {
                break; // it is closed, or just being cut, and counted there
            }
        }
        let mut shard = peer.shard();
        let counters = shard.counters();
        counters.client_replies += outbox.reply_count();
        counters.errors_application += outbox.failure_count();
        for error in outbox.errors() {
            *of_error(counters, error.code) += 1;
        }
        counters.client_lists += std::mem::take(&mut self.encodings.made);
        counters.client_lists_shared += std::mem::take(&mut self.encodings.found);
        outbox.clear();
    }
}

/// A client as others are shown it, with what is said of it in one channel.
fn shown(session: &Session, terms: &Terms, channel_info: &[u8]) -> Present {
    let shown = session.shown(terms);
    let (id, format) = (shown.client.bytes(), session.format());
    let info = sayable(shown.connection_info, format);
    let channel_info = sayable(channel_info, format);
    if info == shown.connection_info && channel_info.is_empty() {
        return Present::of_texts(id, session.texts(), shown.user.len());
    }
    Present::new(id, shown.user, info, channel_info)
}

/// The client is told that it has connected.
fn be_connected(peer: &mut Peer<'_, Sessions>) {
    peer.begin_heartbeat();
    let (connection, session) = (peer.id(), peer.state());
    let session = session.as_deref();
    let transport = session.map_or(Transport::WebSocket, session::Session::transport);
    let user = session.map_or("", |session| session.user());
    tracing::info!(%connection, user, transport = transport.name(), "authenticated");
    client_counters::connected(peer.shard().counters(), transport);
}

fn count_entered(peer: &mut Peer<'_, Sessions>, result: &Result<Entered, JoinError>, fits: bool) {
    let Ok(entered) = result else { return };
    let mut shard = peer.shard();
    let counters = shard.counters();
    counters.client_subscribes += 1;
    if let Some(recovered) = &entered.recovered {
        let is_whole = recovered.is_whole && fits;
        counters.client_recoveries += u64::from(is_whole);
        counters.client_recovery_failures += u64::from(!is_whole);
        counters.client_recoveries_oversized += u64::from(!fits);
    }
}

/// What a token says of a client, if all others can be told. That of a client which reads Protobuf
/// may be any bytes, but others read JSON.
fn sayable(info: &[u8], format: Format) -> &[u8] {
    match format {
        Format::Protobuf if serde_json::from_slice::<IgnoredAny>(info).is_err() => &[],
        _ => info,
    }
}

#[cfg(test)]
mod tests {
    use super::super::session_rig::{SessionRig, open_settings};
    use super::super::session_settings::SessionSettings;
    use crate::config::Config;
    use crate::session::{ChannelOptions, Retention, Rules};

    /// Each of the lists could be sent by itself, and two of them together; with all three the
    /// connect reply would be more than the client may have unsent, and end it.
    #[test]
    fn what_a_client_recovers_as_it_connects_is_bounded_over_all_its_channels() {
        let history = Some(Retention { publications_max: 9, ttl_s: 60, meta_ttl_s: 600 });
        let options = ChannelOptions { history, force_recovery: true, ..ChannelOptions::default() };
        let open = open_settings();
        let rules = Rules { without_namespace: options, ..open.rules };
        let settings = SessionSettings { rules, output_bytes_max: 10_000, ..open };
        let config = Config::new(([127, 0, 0, 1], 0).into());
        let mut rig = SessionRig::new(1, 16, config, &settings);
        let publisher = rig.connect(0, "");
        for (id, channel) in ["a", "b", "c"].into_iter().enumerate() {
            let (id, data) = (id + 2, "x".repeat(4_000));
            let request = format!(r#""publish":{{"channel":"{channel}","data":"{data}"}}"#);
            rig.frame(publisher, &format!(r#"{{"id":{id},{request}}}"#));
        }
        let client = rig.dial(0, "");
        let subs = r#"{"a":{"recover":true},"b":{"recover":true},"c":{"recover":true}}"#;
        rig.frame(client, &format!(r#"{{"id":1,"connect":{{"subs":{subs}}}}}"#));
        let now = rig.counters();
        assert_eq!((now.client_recoveries, now.client_recoveries_oversized), (2, 1));
        assert!(rig.is_open(client) && now.output_overflows == 0);
    }
}
