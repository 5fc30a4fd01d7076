//! Pure: what one client may do now. Commands in, effects out; no socket, no clock, no channel.
//!
//! ```text
//!   frame ─▶ Commands ─▶ Session::command ─▶ Effects: join, leave, publish, pong, close
//!   a home's answer ─▶ Session::joined, signed_in └─▶ Outbox: replies and pushes ─▶ messages
//! ```
//!
//! A subscribe is under way until the channel's home has answered, and a connect until that of a
//! user whose connections are counted has. Other commands go on meanwhile, but those that are
//! about the same channel; their replies wait for it, or they do themselves, bounded. Hence the
//! invariants:
//! * *One reply per command, in their order.* Nothing is answered before what came before it.
//! * *The reply first.* A client hears of its subscription before it is sent a publication: it is
//!   no member before the home's answer, and deliveries are held while its reply has to wait.
//! * *The last word.* After a close nothing is read, said or asked for any more.
#![forbid(unsafe_code)]

mod acknowledging;
mod authentication;
mod back_end;
mod carried;
mod command;
mod consulting;
mod deferred;
mod effects;
mod entrances;
mod entry;
mod extra;
#[doc(hidden)]
pub mod fuzz;
mod grants;
mod hooks;
mod lifetimes;
mod losses;
mod options;
mod outbox;
mod patterns;
mod questions;
#[cfg(test)]
pub(crate) mod random;
mod replies;
#[cfg(test)]
mod rig;
mod rules;
mod session_key;
#[cfg(test)]
mod simulation;
mod state;
mod staying;
mod subscribe;
mod token_names;
mod tokens;
mod under_way;
mod vouching;

pub use deferred::Deferred;
pub use effects::{Effect, Effects, Span, Unsubscribed};
pub use entry::{Entered, Entry, Membership, Position, Recover, Recovered, Since};
pub use hooks::{Boundary, ChannelHooks, Hooks, RpcHooks};
pub use options::{AckPolicy, ChannelOptions, DataFormat, Keep, Overflow, RecoveryMode, Retention};
pub use outbox::Outbox;
pub use patterns::{Pattern, Patterns};
pub use questions::{Answer, Question};
pub use rules::{PersonalChannel, Rules, RulesError};
pub use session_key::SessionKey;
pub use state::{Session, Terms};
pub use under_way::SlotId;
