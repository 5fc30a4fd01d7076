//! What an application implements, and what it may do: the public face of a shard.
//!
//! ```text
//!   head ─▶ middleware ─▶ upgrade ─▶ open ─▶ message … message ─▶ close ─▶ middleware
//!            (refuse)     (refuse)                └─▶ send, join, publish, offload, close
//! ```
//!
//! Every shard has one [`Handler`] of its own: it needs no lock and no `Send`. Calls for one
//! connection come in the order of its bytes; nothing is called after its `close`.
//!
//! This module names no socket and no ring. A [`Shard`] is a view of something that implements
//! [`Engine`]: the shard's core, or a test's stand-in.

mod closed;
mod engine;
mod heartbeat;
mod message;
mod middleware;
mod offload;
mod present;
mod publications;
mod request;
mod route;
mod shard;
mod stream;
mod word;

pub use closed::{Cause, Closed};
pub use engine::{
    ConnectionId, ConsultError, Engine, JoinError, OffloadError, PublishError, ReportError,
    SendError, ShardLimits, SignIn, SignInError,
};
pub use heartbeat::Heartbeat;
pub use message::{Message, MessageKind};
pub use middleware::{ClosedConnection, Middleware};
pub use offload::{Cancelled, JobPanicked};
#[doc(hidden)]
pub use offload::{Done, Job, Outcome};
pub use present::Present;
#[doc(hidden)]
pub use publications::Form;
pub use publications::Publications;
#[doc(hidden)]
pub use request::Sender;
pub use request::{Accept, Params, Refuse, Request, Upgrade};
pub use route::{Limits, Origins, Route, RouteMatch, Routes};
pub use shard::{Peer, Shard};
pub use stream::{
    Acknowledges, Answer, AskError, Asked, AskedEpoch, Entered, Entry, Epoch, JoinEvent, Keep,
    Overflow, Position, Question, Recover, Recovered, Retention, Since,
};
pub use word::{Whom, Word};

pub use crate::filter::Reading;
use crate::filter::Tags;

/// An application: one instance per shard.
pub trait Handler: Sized + 'static {
    /// The application's own state of one connection; a zero-sized type costs nothing.
    type Connection: 'static;

    /// Which paths are served, with which limits and middleware. Asked once, when the shard starts.
    fn routes(&mut self) -> Routes {
        Routes::any()
    }

    /// Decides on an opening handshake that is valid by RFC 6455, before the 101 is written.
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Self::Connection>;

    /// The connection is open: the 101 is on its way, and sends may follow.
    fn open(&mut self, _peer: &mut Peer<'_, Self>) {}

    /// A whole message arrived, fragments joined, text checked to be UTF-8.
    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>);

    /// The connection is closed for messages in both directions. Called once for every `open`.
    fn close(&mut self, _shard: &mut Shard<'_, Self>, _state: Self::Connection, _closed: &Closed) {}

    /// The kind of message in which a connection reads what is published; `None`, the default, for
    /// those who take it as it was published.
    fn reads(_connection: &Self::Connection) -> Option<MessageKind> {
        None
    }

    /// The payload of a publication as a message of the other kind; `None` if it cannot be said in
    /// it. Asked where members of the channel read the other kind, and not for each of them.
    fn translate(_publication: Message<'_>) -> Option<Vec<u8>> {
        None
    }

    /// The payload of a publication that is kept, with its place in the channel's stream put into
    /// it; `None` to have it kept as it is. Asked once for each, by the channel's home.
    fn numbered(_publication: Message<'_>, _position: Position) -> Option<Vec<u8>> {
        None
    }

    /// The payload of a publication for members who take deltas ([`Reading::Deltas`]), where it is
    /// said whole; `None` if it is said to them as to everybody.
    fn whole(_publication: Message<'_>) -> Option<Vec<u8>> {
        None
    }

    /// The same as what it differs by from the one before it in the same kind of message, which
    /// they have; `None` to have it said whole. Asked once for each kind, by the channel's home.
    fn delta(_publication: Message<'_>, _base: Message<'_>) -> Option<Vec<u8>> {
        None
    }

    /// The payload of a publication with one tag more; `None` if it takes none. Asked where
    /// publications are acknowledged, by the channel's home.
    fn tagged(_publication: Message<'_>, _key: &str, _value: &str) -> Option<Vec<u8>> {
        None
    }

    /// The tags of a publication, for members who read by a filter. Asked once for each on every
    /// shard with such members.
    fn tags(_publication: Message<'_>) -> Tags {
        Tags::new()
    }

    /// Bytes that a connection's state has beside itself, for the account of memory.
    fn memory_bytes(_connection: &Self::Connection) -> usize {
        0
    }

    /// The payloads of text messages that tell these comings and goings in `channel`, for members
    /// who hear of them ([`Entry::hears_joins`]). Asked by the channel's home, for some at a time.
    fn joins(_channel: &str, _events: &[JoinEvent<'_>]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// A publication of `channel` is not of the kind that this member reads, and there is no
    /// translation: it is not sent.
    fn unreadable(&mut self, _peer: &mut Peer<'_, Self>, _channel: &str) {}

    /// A [`Peer::join`] that made a new membership has come to its end. `Ok`: the channel's home
    /// knows of this member, and every publication that the home orders from now on reaches it;
    /// nothing of the channel has been delivered to it before. `Err`: the home has no room for the
    /// channel, and the membership is over.
    ///
    /// Called once for each such join, never from within it, and not at all if the member has
    /// left, or the connection was closed, before.
    fn joined(
        &mut self,
        _peer: &mut Peer<'_, Self>,
        _channel: &str,
        _result: Result<(), JoinError>,
    ) {
    }

    /// The channel's home has answered [`Peer::enter`]. `Ok`: the connection is a member from here
    /// on. `Err`: it is not. Not called if it has left, or was closed, before.
    fn entered(
        &mut self,
        _peer: &mut Peer<'_, Self>,
        _channel: &str,
        _result: Result<Entered, JoinError>,
    ) {
    }

    /// Another connection enters `channel` in the place of this one, which is a member of it until
    /// it leaves or is closed ([`Entry::replaces_others`]).
    fn replaced(&mut self, _peer: &mut Peer<'_, Self>, _channel: &str) {}

    /// A channel's home has answered [`Peer::ask`]. Not called for a connection that was closed
    /// before.
    fn answered(
        &mut self,
        _peer: &mut Peer<'_, Self>,
        _id: u32,
        _result: Result<Answer, AskError>,
    ) {
    }

    /// The control thread has answered [`Peer::consult`]. Not called for a connection that was
    /// closed before.
    fn consulted(
        &mut self,
        _peer: &mut Peer<'_, Self>,
        _id: u32,
        _result: Result<Box<[u8]>, ConsultError>,
    ) {
    }

    /// The user's home has answered [`Peer::sign_in`]. `Ok`: the connection is counted, and
    /// [`Shard::sign_out`] is due when it closes. Not called for a connection that was closed
    /// before: the shard signs it out itself.
    fn signed_in(&mut self, _peer: &mut Peer<'_, Self>, _result: Result<(), SignInError>) {}

    /// The alarm that was set for the connection ([`Peer::set_alarm`]) is due.
    fn alarm(&mut self, _peer: &mut Peer<'_, Self>) {}

    /// Somebody outside has a word for connections, of which [`told`](Self::told) says some at a
    /// time, if there are any: this comes first, and once, also where there is none.
    fn heard(&mut self, _word: Word<'_>) {}

    /// Somebody outside has a word for all connections of a user, or all that bear a mark. These
    /// are some of them, and may be others: the application looks.
    fn told(
        &mut self,
        _shard: &mut Shard<'_, Self>,
        _word: Word<'_>,
        _connections: &[ConnectionId],
    ) {
    }

    /// Whether open connections can go on in another process: then [`pack`](Self::pack) and
    /// [`unpack`](Self::unpack) are there. A server whose handler says no, the default, refuses to
    /// be upgraded.
    fn is_portable() -> bool {
        false
    }

    /// What every handler of the process that takes over has to know, whichever connections it
    /// gets: asked of one of this process's.
    fn legacy(&self) -> Vec<u8> {
        Vec::new()
    }

    /// What [`legacy`](Self::legacy) has said in the other process, before any connection comes;
    /// false if it means nothing here.
    fn inherit(&mut self, _legacy: &[u8]) -> bool {
        true
    }

    /// Whether an open connection ends with this process, whatever becomes of the others.
    fn stays(_connection: &Self::Connection) -> bool {
        false
    }

    /// The state of an open connection, for the process that takes it over, which may be of
    /// another version of the application; `None` if it waits for something, and cannot go now.
    fn pack(_connection: &Self::Connection) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    /// The state of a connection that is taken over, and the heartbeat that it was accepted with;
    /// `None` if these bytes are none. [`open`](Self::open) is not called for it.
    fn unpack(&mut self, _bytes: &[u8]) -> Option<(Self::Connection, Heartbeat)> {
        None
    }

    /// The connection was taken over from another process, or another shard, and is open.
    fn taken_over(&mut self, _peer: &mut Peer<'_, Self>) {}

    /// Whether open connections may go on in another shard of this process while it serves: then
    /// [`pack`](Self::pack) and [`unpack`](Self::unpack) are there, and a connection's name
    /// ([`ConnectionId`]), which is another one in the other shard, is kept nowhere but in what
    /// [`moved`](Self::moved) clears. Those that are idle move where shards have become uneven.
    fn is_movable() -> bool {
        false
    }

    /// A connection goes on in another shard, where [`taken_over`](Self::taken_over) is called for
    /// what [`unpack`](Self::unpack) makes of it; this shard hears no more of it, and
    /// [`close`](Self::close) is not called here.
    fn moved(&mut self, _shard: &mut Shard<'_, Self>, _state: Self::Connection) {}

    /// Many connections have left, and what memory they took is given back: so may be what room
    /// the handler's own buffers have kept.
    fn spare(&mut self) {}

    /// This member of `channel` missed `count` publications, because a queue was full.
    fn missed(&mut self, _peer: &mut Peer<'_, Self>, _channel: &str, _count: u64) {}
}
