//! longwire: a WebSocket server that holds a million long connections on one Linux host.
//!
//! ```text
//!  readiness ─▶ recv into the shard's buffer ─▶ ws ─▶ Handler ─▶ chains ─▶ batched sends
//!                                                      │
//!                       publish ─▶ channel's home ─▶ mesh ─▶ fan-out on every shard
//! ```
//!
//! Each core runs one shard; a shard owns its sockets, its connections and its subscribers, and
//! shares nothing with the others but bounded queues. To embed it, implement [`Handler`] and call
//! [`Server::run`].
//!
//! # An echo server
//!
//! ```no_run
//! use longwire::{Config, Handler, Message, Peer, Request, Server, Upgrade};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Connection = ();
//!
//!     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
//!         Upgrade::accept(())
//!     }
//!
//!     fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
//!         let _gone = peer.send(message);
//!     }
//! }
//!
//! let config = Config::new("127.0.0.1:8000".parse()?);
//! Server::run(config, |_shard| Echo)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A chat room
//!
//! ```
//! use longwire::{Config, Handler, Message, Peer, Request, Route, Routes, Server, Upgrade};
//!
//! struct Chat;
//!
//! impl Handler for Chat {
//!     type Connection = String; // the room
//!
//!     fn routes(&mut self) -> Routes {
//!         Routes::new().route(Route::new("/room/:name"))
//!     }
//!
//!     fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
//!         Upgrade::accept(request.param("name").unwrap_or("lobby").to_owned())
//!     }
//!
//!     fn open(&mut self, peer: &mut Peer<'_, Self>) {
//!         let Some(room) = peer.state().cloned() else { return };
//!         if peer.join(&room).is_err() {
//!             peer.close(1013, "the room is full");
//!         }
//!     }
//!
//!     fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
//!         let Some(room) = peer.state().cloned() else { return };
//!         if peer.publish(&room, message).is_err() {
//!             peer.close(1013, "too busy");
//!         }
//!     }
//! }
//!
//! let config = Config::new("127.0.0.1:0".parse()?);
//! let server = Server::start(config, |_shard| Chat)?;
//! println!("ws://{}/room/lobby", server.address());
//! assert_eq!(server.join().shards_lost, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used))]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod limits;

pub mod address;
pub mod backend;
pub mod bench;
pub mod config;
pub mod control;
pub mod filter;
pub mod handler;
pub mod handover;
pub mod hub;
pub mod mesh;
pub mod metrics;
pub mod protocol;
pub mod ring;
pub mod server;
pub mod session;
pub mod shard;
pub mod sys;
pub mod token;
pub mod ws;

pub use config::{Config, ConfigError};
pub use handler::{
    Accept, Acknowledges, Answer, AskError, Asked, AskedEpoch, Cancelled, Cause, Closed,
    ClosedConnection, ConnectionId, ConsultError, Entered, Entry, Epoch, Handler, Heartbeat,
    JobPanicked, JoinError, JoinEvent, Keep, Limits, Message, MessageKind, Middleware,
    OffloadError, Origins, Overflow, Peer, Position, Present, Publications, PublishError, Question,
    Reading, Recover, Recovered, Refuse, ReportError, Request, Retention, Route, Routes, SendError,
    Shard, ShardLimits, SignIn, SignInError, Since, Upgrade, Whom, Word,
};
pub use metrics::Counters;
pub use server::{
    Hooks, Predecessor, Running, Server, Snapshot, StartError, Succession, SuccessionError,
};
pub use shard::{LiveSettings, SessionSettings, SessionSettingsError, Sessions};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
