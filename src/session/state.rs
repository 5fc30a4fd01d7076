//! One client's session: where it stands, and what is under way for it.
//!
//! ```text
//!   Waiting ─── connect ────────────────────────▶ Connected ─ expired ─▶ Closed
//!      ├─ of a user ─▶ SigningIn ── let in ──────────▲                    ▲
//!      ├─────────────────┴── too late, malformed, refused ────────────────┤
//!      └─ token expired ─▶ Refused ── has not left by itself ─────────────┘
//! ```

use std::time::Duration;

use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entrances::Entrances;
use super::entry::Membership;
use super::extra::Extra;
use super::rules::Rules;
use super::session_key::SessionKey;
use super::under_way::{Awaited, SlotId, Taken};
use crate::protocol::{
    ClientId, ClientInfo, Command, Disconnect, DisconnectCode, ErrorCode, Format, Lineage,
    Malformed, Reply, Transport,
};
use crate::token::Revoked;

/// What all sessions of a shard go by.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What clients may do.
    pub rules: Rules,
    /// The process's part of client ids.
    pub lineage: Lineage,
    /// What the names of sessions over HTTP are made with.
    pub session_key: SessionKey,
    /// The tokens that are not to be believed any more.
    pub revoked: Revoked,
    /// How many words there were for users, of which its clients have to obey those that come while
    /// it is not known whose they are.
    pub word_count: u64,
    /// The time since the Unix epoch, read no earlier than the step's connect or refresh began.
    pub now: Duration,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the connect command.
    Waiting,
    /// For the user's home, which counts its connections.
    SigningIn,
    /// For the homes of the channels that it is put into.
    Entering,
    Connected,
    /// It was told why it cannot connect, and is to leave: nothing more is read.
    Refused,
    /// The shard was told to close: nothing is said or asked for any more.
    Closed {
        was_connected: bool,
    },
}

/// The session of one client.
#[derive(Debug)]
pub struct Session {
    /// The session's part of the client id.
    pub(super) random: u64,
    /// Its user and the command that is under way, if there is one of them.
    pub(super) extra: Option<Box<Extra>>,
    /// Channels that it is in, the one under way included.
    pub(super) channel_count: u16,
    pub(super) phase: Phase,
    /// Its pings are messages of the protocol, to be announced and answered as such.
    pub(super) has_message_pings: bool,
    /// It is counted among its user's connections.
    pub(super) is_signed_in: bool,
    format: Format,
    /// What carries it.
    transport: Transport,
    /// How much of its texts is the user's id.
    pub(super) user_bytes: u8,
}

/// A million of them: size is a contract, and what only some have is boxed. With the slab's 64
/// bytes it is well under the 250 that a connected session may take before it subscribes.
const _: () = assert!(size_of::<Option<Session>>() <= 24);

impl Session {
    /// A session that waits for its connect command. `random` is its part of the client id.
    pub fn new(random: u64, has_message_pings: bool, format: Format) -> Self {
        let phase = Phase::Waiting;
        Self {
            random,
            extra: None,
            channel_count: 0,
            phase,
            has_message_pings,
            is_signed_in: false,
            format,
            transport: Transport::WebSocket,
            user_bytes: 0,
        }
    }

    /// The same, carried by something else than a WebSocket.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The name by which its client means it in requests beside its stream.
    pub fn secret_name(&self, terms: &Terms) -> String {
        terms.session_key.name(self.client_id(terms))
    }

    /// The format that its client speaks. Every step's [`Effects`] are begun in it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the client has connected, and is not being closed.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether the client has connected at some time.
    pub fn has_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected | Phase::Closed { was_connected: true })
    }

    /// How many words there were when it asked to be let in, while it is not known whose it is.
    pub fn unknown_since(&self) -> Option<u64> {
        let under_way = self.under_way()?;
        let is_unknown = match self.phase {
            Phase::Waiting => true,
            Phase::SigningIn => !under_way.has_plan(),
            _ => false,
        };
        is_unknown.then_some(under_way.word_count)
    }

    /// Whether it is known whose it is, and it is in or about to be.
    pub fn is_known(&self) -> bool {
        self.is_connected() || self.is_connecting()
    }

    /// Whether it is counted among its user's connections: they are to be told when it is gone.
    pub fn is_signed_in(&self) -> bool {
        self.is_signed_in
    }

    /// Whether anything more is to be read.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Takes the next command of a frame, or what stands in its place. `membership` is that in the
    /// channel that it names, if there is one. False if another is in its way: nothing was
    /// done, and it is to be [deferred](Self::defer) with all that follows it.
    #[must_use]
    pub fn command(
        &mut self,
        command: Result<&Command<'_>, Malformed>,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> bool {
        assert!(!self.is_busy(), "what follows a command that waits is deferred");
        match command {
            _ if self.is_closed() || self.phase == Phase::Refused => {}
            Ok(command) => {
                let channel = command.request.channel().filter(|name| !name.is_empty());
                if self.under_way_mut().is_some_and(|under_way| under_way.blocks(channel)) {
                    return false;
                }
                if self.ask_about_token(command, membership, terms, effects) {
                    return false;
                }
                self.obey(command, membership, terms, effects);
                self.forget_verdict();
            }
            Err(_) => self.close(DisconnectCode::BadRequest, effects),
        }
        true
    }

    /// The user's home has let the client in, or there is no room for it. Returns what was
    /// deferred meanwhile, to be read now.
    pub fn signed_in(
        &mut self,
        result: Result<(), DisconnectCode>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let slot = self.under_way().and_then(|under_way| under_way.find(""));
        let taken = self.take(slot.expect("nothing else was asked before"));
        let Taken { id, awaited: Awaited::SignIn(entrances), .. } = taken else {
            unreachable!("nothing else was asked before")
        };
        self.under_way_mut().expect("it was taken from").leave_first();
        match result {
            Ok(()) => {
                self.is_signed_in = true;
                self.be_let_in(id, entrances, terms, effects);
            }
            Err(code) => self.close(code, effects),
        }
        self.read_on()
    }

    /// How a publish went. Returns what was deferred meanwhile, to be read now.
    pub fn published(
        &mut self,
        id: u32,
        slot: Option<SlotId>,
        result: Result<(), ErrorCode>,
        effects: &mut Effects,
    ) -> Deferred {
        let reply = result.map_or_else(|code| Reply::Error(code.into()), |()| Reply::Publish);
        if let Some(slot) = slot {
            let taken = self.take(slot);
            return self.answer(taken, &reply, effects);
        }
        self.reply(id, &reply, effects);
        Deferred::default()
    }

    /// A publication cannot be said in the client's format.
    pub fn unreadable(&mut self, effects: &mut Effects) {
        self.close(DisconnectCode::InappropriateProtocol, effects);
    }

    /// The user whose channel this is has connected elsewhere, and may do so once only. Others may
    /// be in that channel too, by their tokens: they stay.
    pub fn replaced(&mut self, channel: &str, terms: &Terms, effects: &mut Effects) {
        if terms.rules.personal_channel(self.user()).is_some_and(|own| own == channel) {
            self.close(DisconnectCode::ConnectionLimit, effects);
        }
    }

    /// The time is over in which it was to connect, to leave, or to bring a new token. `terms` are
    /// of this moment.
    pub fn late(&mut self, terms: &Terms, effects: &mut Effects) {
        match self.phase {
            // It did what it could, and may try again.
            Phase::Waiting if self.is_waiting() => self.close(DisconnectCode::Internal, effects),
            Phase::Waiting => self.close(DisconnectCode::Stale, effects),
            // It did what it could, and may try again.
            Phase::SigningIn | Phase::Entering => self.close(DisconnectCode::Internal, effects),
            Phase::Refused => self.close(DisconnectCode::Expired, effects),
            Phase::Connected => self.end_expired(terms, effects),
            Phase::Closed { .. } => {}
        }
    }

    /// The pong that was taken answers no ping.
    pub fn unasked_pong(&mut self, effects: &mut Effects) {
        self.close(DisconnectCode::BadRequest, effects);
    }

    /// The client as others are shown it.
    pub fn shown(&self, terms: &Terms) -> ClientInfo<'_> {
        let info = ClientInfo::of(self.user(), self.client_id(terms));
        ClientInfo { connection_info: self.info(), ..info }
    }

    /// The name by which others know this client.
    pub(super) fn client_id(&self, terms: &Terms) -> ClientId {
        ClientId { random: self.random, lineage: terms.lineage }
    }

    /// Begins a connect that the user's home answers later.
    pub(super) fn begin_sign_in(
        &mut self,
        id: u32,
        limit: u32,
        entrances: Entrances,
        effects: &mut Effects,
    ) {
        self.phase = Phase::SigningIn;
        let under_way = self.begin();
        let slot = under_way.await_answer(id, "", Awaited::SignIn(entrances));
        under_way.block(slot);
        effects.push(Effect::SignIn { limit });
    }

    pub(super) fn close(&mut self, why: impl Into<Disconnect>, effects: &mut Effects) {
        if !self.is_closed() {
            self.end();
            effects.push(Effect::Close(why.into()));
        }
    }

    /// Nothing is read, said or asked for any more.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Closed { was_connected: self.is_connected() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{CLIENT, Rig};
    use super::*;

    fn closed_with(rig: &Rig) -> Option<DisconnectCode> {
        rig.closed.map(|why| why.code)
    }

    #[test]
    fn connect_and_subscribe_in_one_frame_are_answered_in_order() {
        let mut rig = Rig::new(Rules { insecure: true, ..Rules::default() });
        rig.frame("{\"connect\":{},\"id\":1}\n{\"subscribe\":{\"channel\":\"a\"},\"id\":2}\n");
        let version = env!("CARGO_PKG_VERSION");
        let connected = format!(
            concat!(
                r#"{{"id":1,"connect":{{"client":"{}","version":"{}","#,
                r#""ping":25,"pong":true}}}}"#
            ),
            CLIENT, version
        );
        assert_eq!(rig.lines(), [connected], "the subscription waits for its home");
        assert!(rig.has_connected);
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#]);
        assert!(!rig.session.is_busy());
    }

    #[test]
    fn who_does_not_connect_in_time_is_stale_and_who_has_is_not() {
        let mut rig = Rig::new(Rules::default());
        rig.session.late(&rig.terms, &mut rig.effects);
        let close = Effect::Close(DisconnectCode::Stale.into());
        assert_eq!((rig.effects.take(), rig.effects.take()), (Some(close), None));
        let mut rig = Rig::open();
        rig.session.late(&rig.terms, &mut rig.effects);
        assert_eq!(rig.effects.take(), None);
    }

    #[test]
    fn a_pong_answers_a_ping_and_ends_the_session_where_none_was_sent() {
        for pong in ["{}", "{}\n", "{\"id\":0}"] {
            let mut rig = Rig::open();
            rig.pings = 1;
            rig.frame(pong);
            assert_eq!((rig.pings, rig.closed), (0, None));
            rig.frame(pong);
            assert_eq!(closed_with(&rig), Some(DisconnectCode::BadRequest), "{pong}");
        }
    }
}
