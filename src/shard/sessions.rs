//! The client protocol on a shard: one [`Session`] per connection.
//!
//! ```text
//!   message           ─▶ Session ─▶ Effects ─▶ enter, ask, leave, publish, close
//!   entered, answered ─▶         └▶ Outbox  ─▶ messages, at the end of the step
//! ```
//!
//! A publication is encoded once, where it is published, and once more at its channel's home if
//! members read the other format; every member of a format is sent the same frame. A list of
//! publications that many ask for is encoded once per format, too.

use std::hash::{BuildHasher, RandomState};

use super::client_codes;
use super::client_counters::{self, of_disconnect};
use super::client_words::{format_of, joins, kind_of};
use super::connection::Connection;
use super::encodings::Encodings;
use super::legacy;
use super::live_settings::{InForce, LiveSettings};
use super::recent_words::RecentWords;
use super::session_settings::{SessionSettings, SessionSettingsError};
use crate::filter::Tags;
use crate::handler::{
    Accept, Answer, AskError, Closed, ConnectionId, ConsultError, Entered, Handler, Heartbeat,
    JoinError, JoinEvent, Limits, Message, MessageKind, Origins, Peer, Position, Request, Route,
    Routes, Shard, SignInError, Upgrade, Word,
};
use crate::handover;
use crate::limits::USER_ID_BYTES_MAX;
use crate::protocol::{
    Commands, DisconnectCode, Format, Lineage, Transport, delta, json, protobuf, translate,
};
use crate::session::{Effects, Membership, Session, SessionKey, SlotId, Terms};
use crate::sys::clock;
use crate::token::Revoked;

/// Serves the client protocol: the handler of `longwire serve`.
pub struct Sessions {
    pub(super) settings: InForce,
    pub(super) terms: Terms,
    pub(super) effects: Effects,
    pub(super) encodings: Encodings,
    /// Makes the random bits of client ids: a keyed hash of a count, which nobody can foresee.
    hasher: RandomState,
    session_count: u64,
    pub(super) recent_words: RecentWords,
}

/// A user's id that is too long, no text, or there twice.
struct BadUser;

/// The query by which debugging tools ask for Ping frames instead of pings of the protocol.
const FRAME_PINGS: &str = "cf_ws_frame_ping_pong=true";

impl Sessions {
    /// Makes the handler of each shard, for [`Server::run`](crate::Server::run).
    ///
    /// The process's part of client ids is drawn here, once.
    pub fn for_shards(
        settings: SessionSettings,
    ) -> Result<impl Fn(usize) -> Self + Clone + Send + 'static, SessionSettingsError> {
        Ok(Self::following(&LiveSettings::new(settings)?))
    }

    /// The same with settings that may be replaced while the server runs.
    pub fn following(live: &LiveSettings) -> impl Fn(usize) -> Self + Clone + Send + use<> {
        let (settings, lineage) = (live.follow(), live.lineage());
        let session_key = live.session_key();
        move |_shard| Self::new(settings.clone(), lineage, session_key.clone())
    }

    fn new(settings: InForce, lineage: Lineage, session_key: SessionKey) -> Self {
        let (rules, now) = (settings.rules(), clock::since_epoch());
        Self {
            terms: Terms {
                rules,
                lineage,
                session_key,
                revoked: Revoked::default(),
                word_count: 0,
                now,
            },
            settings,
            effects: Effects::default(),
            encodings: Encodings::default(),
            hasher: RandomState::new(),
            session_count: 0,
            recent_words: RecentWords::default(),
        }
    }

    /// Goes by new settings, if there are any.
    fn look_for_settings(&mut self) {
        if self.settings.look() {
            self.terms.rules = self.settings.rules();
        }
    }

    /// Tells the shard of limits that have changed.
    fn set_limits(&mut self, shard: &mut Shard<'_, Self>) {
        if let Some(limits) = self.settings.take_new_limits() {
            shard.set_limits(limits);
        }
    }

    fn session(&mut self, has_message_pings: bool, format: Format, user: &str) -> Session {
        self.session_count += 1;
        let random = self.hasher.hash_one(self.session_count);
        Session::new(random, has_message_pings, format).of_user(user)
    }

    /// The headers that back ends are told of.
    fn told_headers(&self, request: &Request<'_>) -> Vec<(String, String)> {
        let wanted = &self.terms.rules.hooks.http_headers;
        if wanted.is_empty() {
            return Vec::new();
        }
        // What names the user counts where a trusted proxy says it: back ends believe it, too.
        let user = self.settings.user_id_http_header.as_deref();
        let is_believed = |name: &str| {
            request.is_from_proxy() || user.is_none_or(|user| !name.eq_ignore_ascii_case(user))
        };
        let all = request.headers().filter(|(name, _)| is_believed(name));
        let all = all.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let told = all.filter(|(name, _)| wanted.contains(name));
        // What is no text is nobody's to understand.
        told.filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?.to_owned())))
            .collect()
    }

    /// Begins a step in the format of its client; returns the format.
    pub(super) fn begin(&mut self, peer: &mut Peer<'_, Self>) -> Format {
        let format = peer.state().map_or(Format::default(), |session| session.format());
        self.effects.begin(format);
        format
    }

    /// The user that the proxy in front names, if it is to name one; an error if it cannot be one.
    /// The word of anybody else counts for nothing.
    fn user_of<'a>(&self, request: &'a Request<'_>) -> Result<&'a str, BadUser> {
        let Some(name) = &self.settings.user_id_http_header else { return Ok("") };
        if !request.is_from_proxy() {
            return Ok("");
        }
        let mut values = request.headers().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let Some((_, value)) = values.next() else { return Ok("") };
        // Of two, one may be the client's own.
        if values.next().is_some() || value.len() > USER_ID_BYTES_MAX {
            return Err(BadUser);
        }
        std::str::from_utf8(value).map_err(|_| BadUser)
    }
}

/// How clients are asked whether they are there.
fn heartbeat(by_messages: bool, is_binary: bool) -> Heartbeat {
    match (by_messages, is_binary) {
        (false, _) => Heartbeat::Ping,
        (true, false) => Heartbeat::Text(json::PING),
        (true, true) => Heartbeat::Binary(protobuf::PING),
    }
}

/// Where a session lives: an entry of the slab. What a connected one takes before it subscribes is
/// this and the allocator's and the wheel's share of it, well under 250 bytes.
const _: () = assert!(size_of::<Connection<Session>>() <= 80);

impl Handler for Sessions {
    type Connection = Session;

    fn memory_bytes(session: &Session) -> usize {
        session.memory_bytes()
    }

    fn routes(&mut self) -> Routes {
        let SessionSettings { path, limits, .. } = &*self.settings;
        // Origins are looked at on the upgrade, where those in force are known.
        let limits = Limits { origins: Origins::ANY, ..limits.clone() };
        let route = |path: String| {
            let (slow, stop) = (DisconnectCode::Slow, DisconnectCode::Shutdown);
            Route::new(path)
                .limits(limits.clone())
                .overflow(slow.code(), slow.text())
                .farewell(stop.code(), stop.text())
        };
        Routes::new().route(route(path.clone())).route(route(format!("{path}/")))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Session> {
        self.look_for_settings();
        let origin = request.origin();
        if !self.settings.limits.origins.admits(origin, request.header("host")) {
            let origin = String::from_utf8_lossy(origin.unwrap_or_default());
            tracing::debug!(%origin, "the origin is not allowed");
            return Upgrade::refuse(403);
        }
        let query = request.query().unwrap_or_default();
        let (format, protocol) = Format::asked(request.protocols(), query);
        let has_frame_pings = query.split('&').any(|pair| pair == FRAME_PINGS);
        let Ok(user) = self.user_of(request) else {
            let peer = request.socket_peer().map(tracing::field::display);
            tracing::warn!(peer, "a trusted proxy names several users, or what can be none");
            return Upgrade::refuse(400);
        };
        let transport = request.introduction().map_or(Transport::WebSocket, |one| one.transport);
        let headers = self.told_headers(request);
        let session = self.session(!has_frame_pings, format, user).over(transport);
        let session = session.with_headers(headers);
        let name = transport.is_emulated().then(|| session.secret_name(&self.terms));
        let mut accept = Accept::new(session);
        if let Some(name) = name {
            // For the control thread, which nobody else reads.
            accept = accept.header(Transport::SESSION_HEADER, name);
        }
        let accept = match protocol {
            Some(protocol) => accept.protocol(protocol),
            None => accept,
        };
        let heartbeat = heartbeat(!has_frame_pings, format == Format::Protobuf);
        // The first ping comes after the connect reply, never before it.
        accept.heartbeat(heartbeat).heartbeat_later().into()
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        self.set_limits(&mut peer.shard());
        peer.set_alarm(Some(self.settings.stale_close_delay));
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let format = self.begin(peer);
        let frame = message.payload();
        // The one message that idle clients send: known before anything is decoded.
        if frame == format.ping() && peer.answer_heartbeat() {
            return;
        }
        self.look_for_settings();
        self.set_limits(&mut peer.shard());
        let mut commands = Commands::new(format, frame);
        self.read(peer, &mut commands);
        if let Some(rest) = commands.rest()
            && let Some(session) = peer.state()
            && session.is_busy()
        {
            session.defer(rest, &mut self.effects);
            self.obey(peer);
        }
        if peer.state().is_some_and(|session| session.is_waiting()) {
            self.hold(peer);
        }
        self.flush(peer);
    }

    fn close(&mut self, shard: &mut Shard<'_, Self>, session: Session, closed: &Closed) {
        if session.is_signed_in() {
            shard.sign_out(session.user());
        }
        if session.has_connected() {
            self.tell_disconnected(shard, &session, closed);
        }
        let counters = shard.counters();
        if session.has_connected() {
            client_counters::ended(counters, session.transport());
        }
        if let Some(code) = client_codes::of_closed(closed) {
            *of_disconnect(counters, code) += 1;
        }
    }

    fn reads(session: &Session) -> Option<MessageKind> {
        Some(kind_of(session.format()))
    }

    fn translate(publication: Message<'_>) -> Option<Vec<u8>> {
        translate(publication.payload(), format_of(publication.kind()))
    }

    fn numbered(publication: Message<'_>, position: Position) -> Option<Vec<u8>> {
        let format = format_of(publication.kind());
        format.numbered(publication.payload(), position.offset, position.epoch.as_str())
    }

    fn whole(publication: Message<'_>) -> Option<Vec<u8>> {
        delta::whole(publication.payload(), format_of(publication.kind()))
    }

    fn delta(publication: Message<'_>, base: Message<'_>) -> Option<Vec<u8>> {
        delta::delta(publication.payload(), base.payload(), format_of(publication.kind()))
    }

    fn tagged(publication: Message<'_>, key: &str, value: &str) -> Option<Vec<u8>> {
        delta::tagged(publication.payload(), key, value, format_of(publication.kind()))
    }

    fn tags(publication: Message<'_>) -> Tags {
        delta::tags(publication.payload(), format_of(publication.kind()))
    }

    fn joins(channel: &str, events: &[JoinEvent<'_>]) -> Vec<Vec<u8>> {
        joins(channel, events)
    }

    /// Bytes that are no JSON were published where clients read JSON.
    fn unreadable(&mut self, peer: &mut Peer<'_, Self>, _channel: &str) {
        self.begin(peer);
        let _nothing = self.say_unreadable(peer);
        self.obey(peer);
    }

    fn joined(&mut self, peer: &mut Peer<'_, Self>, channel: &str, result: Result<(), JoinError>) {
        self.entered(peer, channel, result.map(|()| Entered::default()));
    }

    fn entered(
        &mut self,
        peer: &mut Peer<'_, Self>,
        channel: &str,
        result: Result<Entered, JoinError>,
    ) {
        self.begin(peer);
        let deferred = self.take_entered(peer, channel, &result);
        self.go_on(peer, deferred);
    }

    fn replaced(&mut self, peer: &mut Peer<'_, Self>, channel: &str) {
        self.begin(peer);
        if let Some(session) = peer.state() {
            session.replaced(channel, &self.terms, &mut self.effects);
            self.obey(peer);
        }
    }

    fn answered(&mut self, peer: &mut Peer<'_, Self>, id: u32, result: Result<Answer, AskError>) {
        self.begin(peer);
        let deferred = self.take_answer(peer, SlotId::of(id), &result);
        self.go_on(peer, deferred);
    }

    fn consulted(
        &mut self,
        peer: &mut Peer<'_, Self>,
        id: u32,
        result: Result<Box<[u8]>, ConsultError>,
    ) {
        self.begin(peer);
        let unknown_since = peer.state().and_then(|session| session.unknown_since());
        let deferred = self.take_verdict(peer, SlotId::of(id), result);
        self.go_on(peer, deferred);
        if let Some(since) = unknown_since {
            self.catch_up(peer, since);
        }
    }

    fn signed_in(&mut self, peer: &mut Peer<'_, Self>, result: Result<(), SignInError>) {
        self.begin(peer);
        let deferred = self.take_sign_in(peer, result);
        self.go_on(peer, deferred);
    }

    fn heard(&mut self, word: Word<'_>) {
        self.note(word);
    }

    fn told(&mut self, shard: &mut Shard<'_, Self>, word: Word<'_>, connections: &[ConnectionId]) {
        self.command_users(shard, word, connections);
    }

    fn alarm(&mut self, peer: &mut Peer<'_, Self>) {
        self.begin(peer);
        self.terms.now = clock::since_epoch();
        if let Some(session) = peer.state() {
            session.late(&self.terms, &mut self.effects);
            self.obey(peer);
            self.flush(peer);
        }
    }

    fn is_portable() -> bool {
        true
    }

    /// Nothing is known of a connection here but its session; what is counted of it for its user
    /// stays counted.
    fn is_movable() -> bool {
        true
    }

    fn legacy(&self) -> Vec<u8> {
        legacy::of(&self.terms.revoked)
    }

    fn inherit(&mut self, legacy: &[u8]) -> bool {
        let revoked = legacy::revoked(legacy, self.terms.now);
        let is_known = revoked.is_some();
        self.terms.revoked = revoked.unwrap_or_default();
        is_known
    }

    /// Streams over HTTP are the control thread's, and end with it: their clients come back.
    fn stays(session: &Session) -> bool {
        session.transport().is_emulated()
    }

    fn pack(session: &Session) -> Option<Vec<u8>> {
        session.carried().map(|carried| carried.encode())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<(Session, Heartbeat)> {
        let carried = match handover::Session::decode(bytes) {
            Ok(carried) => carried,
            Err(error) => {
                tracing::error!(%error, "a session cannot be taken over");
                return None;
            }
        };
        let heartbeat = heartbeat(carried.has_message_pings, carried.is_binary);
        Some((Session::taken_over(carried)?, heartbeat))
    }

    fn taken_over(&mut self, peer: &mut Peer<'_, Self>) {
        let Some(session) = peer.state() else { return };
        let (user, marks) = (session.user().to_owned(), session.marks());
        let (is_connected, is_signed_in) = (session.has_connected(), session.is_signed_in());
        if is_connected {
            peer.belong_to(&user);
            // That is a date, and it came closer on the way; it is late by what is left of that.
            self.terms.now = clock::since_epoch();
            let session = peer.state().expect("seen above");
            let after = session.until_expiry(&self.terms);
            peer.set_alarm(after);
        }
        for mark in marks {
            peer.mark(&mark);
        }
        if is_signed_in {
            peer.shard().count_again(&user);
        }
    }

    fn spare(&mut self) {
        // Between two steps there is nothing in it.
        self.effects = Effects::default();
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, channel: &str, _count: u64) {
        let Some(membership) = peer.tag(channel).map(Membership::of_bits) else { return };
        self.begin(peer);
        if let Some(session) = peer.state() {
            session.missed(channel, membership, &mut self.effects);
            let is_told = membership.is_positioned && !membership.is_server_side;
            peer.shard().counters().unsubscribes_insufficient_state += u64::from(is_told);
            self.obey(peer);
            self.flush(peer);
        }
    }
}
