//! Pure: what the application's back ends are asked, and what they answer (19).
//!
//! ```text
//!   session ─▶ Question ─▶ shard ─ mesh ─▶ control thread ─▶ HTTP ─▶ back end
//!   session ◀─ Verdict  ◀─ shard ◀─ mesh ─ control thread ◀─ HTTP ◀─┘
//! ```
//!
//! A session asks what only the control thread can find out, and goes on when the answer comes.
//! Invariant: a question owns all it says, so whoever asked may be gone when it is answered.
//! Between the threads both travel in a serial form, which says nothing to the shard's core.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod breaker;
mod bytes;
mod departure;
mod proxy;
mod question;
mod verdict;

pub use answer::AnswerError;
pub use body::BodyError;
pub use breaker::{Breaker, BreakerState, Outcome};
pub use departure::{Departure, DepartureKind, Departures, EVENTS};
pub use proxy::{Proxies, Proxy};
pub use question::{Call, Caller, Event, PublishOnce, Question};
pub use verdict::{
    ConnectResult, Disconnect, Fault, PublishResult, RefreshResult, RpcResult, SubscribeResult,
    TokenVerdict, Unanswered, Verdict,
};
