//! Pure: what one client may do now. Commands in, effects out; no socket, no clock, no channel.
//!
//! ```text
//!   frame ─▶ Commands ─▶ Session::command ─▶ Effects: join, leave, publish, pong, close
//!   a home's answer ─▶ Session::joined, signed_in └─▶ Outbox: replies and pushes ─▶ messages
//! ```
//!
//! Commands are handled one after the other. A subscribe is under way until the channel's home
//! has answered, and a connect until that of a user whose connections are counted has; what the
//! client sends meanwhile waits, bounded, as the bytes it came in. Hence the invariants:
//! * *One reply per command, in their order.* Nothing is answered before what came before it.
//! * *The reply first.* A client hears of its subscription before it is sent a publication, for
//!   it is no member before the home's answer, and the answer is its reply.
//! * *The last word.* After a close nothing is read, said or asked for any more.
#![forbid(unsafe_code)]

mod authentication;
mod claims;
mod command;
mod deferred;
mod effects;
mod extra;
mod options;
mod outbox;
#[cfg(test)]
mod rig;
mod rules;
#[cfg(test)]
mod simulation;
mod state;
mod token;

pub use deferred::Deferred;
pub use effects::{Effect, Effects, Span};
pub use options::{ChannelOptions, DataFormat, Overflow, RecoveryMode, Retention};
pub use outbox::Outbox;
pub use rules::{Rules, RulesError};
pub use state::{Session, Terms};
pub use token::{HmacKey, TokenRules};
