//! The client protocol on a shard: one [`Session`] per connection, and what its effects ask for.
//!
//! ```text
//!   message ─▶ Session ─▶ Effects ─▶ join, leave, publish, close
//!   joined  ─▶         └▶ Outbox  ─▶ messages, at the end of the step
//! ```
//!
//! A publication is encoded once, where it is published; every member is sent the same frame.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::client_counters::{of_disconnect, of_error};
use super::connection::Connection;
use crate::config::Config;
use crate::handler::{
    Accept, Handler, Heartbeat, JoinError, Limits, Message, MessageKind, Peer, PublishError,
    Request, Route, Routes, Upgrade,
};
use crate::limits::{
    MESSAGE_PING_INTERVAL_DEFAULT, MESSAGE_PONG_TIMEOUT_DEFAULT, STALE_CLOSE_DELAY_DEFAULT,
};
use crate::protocol::{Commands, DisconnectCode, ErrorCode, Format, Lineage, json};
use crate::session::{Deferred, Effect, Effects, Rules, RulesError, Session, Terms};

/// How clients are served. Those parts that the shards go by as well are set in their [`Config`]
/// by [`configure`](Self::configure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// The path of the WebSocket endpoint, without a slash at the end
    /// (`websocket.handler_prefix`).
    pub path: String,
    /// Bytes of a message (`websocket.message_size_limit`), origins (`client.allowed_origins`).
    pub limits: Limits,
    /// What clients may do. Its `ping_interval_s` is set from the interval here.
    pub rules: Rules,
    /// Time between two pings (`client.ping_interval`), whole seconds for the clients; `None`
    /// sends none.
    pub ping_interval: Option<Duration>,
    /// Time for a pong (`client.pong_timeout`), after which it is 3012; less than the interval.
    pub pong_timeout: Duration,
    /// Time for the connect command (`client.stale_close_delay`), after which it is 3502.
    pub stale_close_delay: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            path: "/connection/websocket".to_owned(),
            // Who is gone is found out by the pings.
            limits: Limits { idle: None, ..Limits::default() },
            rules: Rules::default(),
            ping_interval: Some(MESSAGE_PING_INTERVAL_DEFAULT),
            pong_timeout: MESSAGE_PONG_TIMEOUT_DEFAULT,
            stale_close_delay: STALE_CLOSE_DELAY_DEFAULT,
        }
    }
}

impl SessionSettings {
    /// Sets what the shards must know: heartbeats, and channels of one connection.
    pub fn configure(&self, config: &mut Config) {
        config.message_ping_interval = self.ping_interval;
        config.message_pong_timeout = self.pong_timeout;
        config.connection_channels_max = self.rules.channel_limit;
    }

    /// Finds what no server could go by.
    pub fn validate(&self) -> Result<(), SessionSettingsError> {
        self.rules.validate().map_err(SessionSettingsError::Rules)?;
        if !self.path.starts_with('/') || self.path.ends_with('/') {
            return Err(SessionSettingsError::Path(self.path.clone()));
        }
        let Some(interval) = self.ping_interval else { return Ok(()) };
        if self.pong_timeout >= interval {
            let pong_timeout = self.pong_timeout;
            return Err(SessionSettingsError::PongTimeout { pong_timeout, interval });
        }
        Ok(())
    }
}

/// Settings that no server could go by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionSettingsError {
    /// One of the rules.
    Rules(RulesError),
    /// The path of the endpoint.
    Path(String),
    /// A pong could come after the next ping.
    PongTimeout {
        /// Time for a pong.
        pong_timeout: Duration,
        /// Time between two pings.
        interval: Duration,
    },
}

impl fmt::Display for SessionSettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(error) => error.fmt(out),
            Self::Path(path) => {
                write!(out, "the path {path:?} must begin with a slash, and not end with one")
            }
            Self::PongTimeout { pong_timeout, interval } => write!(
                out,
                "pong_timeout is {pong_timeout:?}: it must be less than ping_interval, {interval:?}"
            ),
        }
    }
}

impl std::error::Error for SessionSettingsError {}

/// Serves the client protocol: the handler of `longwire serve`.
pub struct Sessions {
    settings: Arc<SessionSettings>,
    terms: Terms,
    effects: Effects,
    /// Makes the random bits of client ids: a keyed hash of a count, which nobody can foresee.
    hasher: RandomState,
    session_count: u64,
}

/// The query by which debugging tools ask for Ping frames instead of pings of the protocol.
const FRAME_PINGS: &str = "cf_ws_frame_ping_pong=true";

impl Sessions {
    /// Makes the handler of each shard, for [`Server::run`](crate::Server::run).
    ///
    /// The process's part of client ids is drawn here, once.
    pub fn for_shards(
        settings: SessionSettings,
    ) -> Result<impl Fn(usize) -> Self + Clone + Send + 'static, SessionSettingsError> {
        settings.validate()?;
        let lineage = Lineage::new(RandomState::new().hash_one(0));
        let settings = Arc::new(settings);
        Ok(move |_shard| Self::new(Arc::clone(&settings), lineage))
    }

    fn new(settings: Arc<SessionSettings>, lineage: Lineage) -> Self {
        let ping_interval_s = settings.ping_interval.map_or(0, whole_seconds);
        let rules = Rules { ping_interval_s, ..settings.rules.clone() };
        Self {
            settings,
            terms: Terms { rules, lineage },
            effects: Effects::default(),
            hasher: RandomState::new(),
            session_count: 0,
        }
    }

    fn session(&mut self, has_message_pings: bool) -> Session {
        self.session_count += 1;
        Session::new(self.hasher.hash_one(self.session_count), has_message_pings)
    }

    /// Reads commands until one is under way or the session is over.
    fn read(&mut self, peer: &mut Peer<'_, Self>, commands: &mut Commands<'_>) {
        while peer.state().is_some_and(|session| !session.is_busy()) {
            let Some(command) = commands.next() else { return };
            let name = command.as_ref().ok().and_then(|command| command.request.channel());
            let is_member = name.is_some_and(|name| peer.is_member(name));
            peer.shard().counters().client_commands += 1;
            let Some(session) = peer.state() else { return };
            let command = command.as_ref().map_err(|malformed| *malformed);
            session.command(command, is_member, &self.terms, &mut self.effects);
            self.obey(peer);
        }
    }

    /// Reads on after the command under way got its answer.
    fn resume(&mut self, peer: &mut Peer<'_, Self>, mut deferred: Deferred) {
        let Some(lines) = deferred.rest() else { return };
        let mut commands = Commands::lines(lines);
        self.read(peer, &mut commands);
        let left = commands.rest().map_or(0, <[u8]>::len);
        deferred.read_to(left);
        if let Some(session) = peer.state() {
            session.defer_again(deferred);
        }
    }

    /// The home's answer to the join under way, or that it was not even asked.
    fn take_answer(&mut self, peer: &mut Peer<'_, Self>, channel: &str, answer: Answer) {
        let Some(session) = peer.state() else { return };
        let deferred = session.joined(channel, answer.map_err(error_of_join), &mut self.effects);
        peer.shard().counters().client_subscribes += u64::from(answer.is_ok());
        self.resume(peer, deferred);
    }

    /// Does what the session asks for.
    fn obey(&mut self, peer: &mut Peer<'_, Self>) {
        while let Some(effect) = self.effects.take() {
            match effect {
                Effect::Connected => {
                    peer.set_alarm(None);
                    peer.shard().counters().client_connects += 1;
                    tracing::info!(connection = %peer.id(), user = "", "authenticated");
                }
                Effect::Join { channel } => {
                    if let Err(error) = peer.join(self.effects.name(&channel)) {
                        let name = self.effects.name(&channel).to_owned();
                        self.take_answer(peer, &name, Err(error));
                    }
                }
                Effect::Leave { channel } => {
                    peer.shard().counters().client_unsubscribes += 1;
                    peer.leave(self.effects.name(&channel));
                }
                Effect::Publish { id, channel, message } => {
                    let message = self.effects.bytes(&message);
                    let message = Message::validated(MessageKind::Text, message);
                    let result = peer.publish(self.effects.name(&channel), message);
                    peer.shard().counters().client_publishes += u64::from(result.is_ok());
                    let Some(session) = peer.state() else { return };
                    session.published(id, result.map_err(error_of_publish), &mut self.effects);
                }
                Effect::Pong => self.take_pong(peer),
                Effect::Close(why) => {
                    self.flush(peer);
                    *of_disconnect(peer.shard().counters(), why.code) += 1;
                    let code = why.code.code();
                    tracing::info!(connection = %peer.id(), code, why.reason, "disconnected");
                    peer.close(why.code.code(), why.reason);
                }
            }
        }
    }

    fn take_pong(&mut self, peer: &mut Peer<'_, Self>) {
        if !peer.answer_heartbeat()
            && let Some(session) = peer.state()
        {
            session.unasked_pong(&mut self.effects);
        }
    }

    /// Sends what the step has left in the outbox.
    fn flush(&mut self, peer: &mut Peer<'_, Self>) {
        let outbox = &mut self.effects.outbox;
        for message in outbox.messages() {
            if peer.send(Message::validated(MessageKind::Text, message)).is_err() {
                break; // it is closed, or just being cut, and counted there
            }
        }
        let mut shard = peer.shard();
        let counters = shard.counters();
        counters.client_replies += outbox.reply_count();
        for error in outbox.errors() {
            *of_error(counters, error.code) += 1;
        }
        outbox.clear();
    }
}

/// Where a session lives: an entry of the slab. What a connected one takes before it subscribes is
/// this and the allocator's and the wheel's share of it, well under 250 bytes.
const _: () = assert!(size_of::<Connection<Session>>() <= 88);

/// What became of a join.
type Answer = Result<(), JoinError>;

impl Handler for Sessions {
    type Connection = Session;

    fn routes(&mut self) -> Routes {
        let SessionSettings { path, limits, .. } = &*self.settings;
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
        let query = request.query().unwrap_or_default();
        let (format, protocol) = Format::asked(request.protocols(), query);
        if format == Format::Protobuf {
            // Not served yet. To be told so at once beats a connection that nobody understands.
            return Upgrade::refuse(501);
        }
        let has_frame_pings = query.split('&').any(|pair| pair == FRAME_PINGS);
        let accept = Accept::new(self.session(!has_frame_pings));
        let accept = match protocol {
            Some(protocol) => accept.protocol(protocol),
            None => accept,
        };
        let heartbeat = if has_frame_pings { Heartbeat::Ping } else { Heartbeat::Text(json::PING) };
        accept.heartbeat(heartbeat).into()
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        peer.set_alarm(Some(self.settings.stale_close_delay));
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        self.effects.clear();
        let frame = message.payload();
        // The one message that idle clients send: known before anything is decoded.
        if frame == json::PING.as_bytes() && peer.answer_heartbeat() {
            return;
        }
        let mut commands = Commands::json(frame);
        self.read(peer, &mut commands);
        if let Some(rest) = commands.rest()
            && let Some(session) = peer.state()
            && session.is_busy()
        {
            session.defer(rest, &mut self.effects);
            self.obey(peer);
        }
        self.flush(peer);
    }

    fn joined(&mut self, peer: &mut Peer<'_, Self>, channel: &str, result: Answer) {
        self.effects.clear();
        self.take_answer(peer, channel, result);
        self.flush(peer);
    }

    fn alarm(&mut self, peer: &mut Peer<'_, Self>) {
        self.effects.clear();
        if let Some(session) = peer.state() {
            session.late(&mut self.effects);
            self.obey(peer);
        }
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, channel: &str, _count: u64) {
        self.effects.clear();
        if let Some(session) = peer.state() {
            session.missed(channel, &mut self.effects);
            peer.shard().counters().unsubscribes_insufficient_state += 1;
            self.obey(peer);
            self.flush(peer);
        }
    }
}

/// What a client is told whose join was refused.
fn error_of_join(error: JoinError) -> ErrorCode {
    match error {
        JoinError::ConnectionChannels => ErrorCode::LimitExceeded,
        JoinError::Name => ErrorCode::BadRequest,
        // The server is full, for now: the client tries again.
        _ => ErrorCode::Internal,
    }
}

/// What a client is told whose publish was refused.
fn error_of_publish(error: PublishError) -> ErrorCode {
    match error {
        PublishError::Full => ErrorCode::TooManyRequests,
        PublishError::Name | PublishError::TooLong => ErrorCode::BadRequest,
    }
}

/// Whole seconds of an interval; a part of one counts as one.
fn whole_seconds(interval: Duration) -> u32 {
    let seconds = interval.as_secs() + u64::from(interval.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
