//! Pure: who is at the other end, when proxies stand in between.
//!
//! ```text
//!   socket's peer ─ trusted? ─▶ PROXY header ─ trusted? ─▶ X-Forwarded-For, X-Real-IP ─▶ client
//!                    └─no: it is the client   └─no: it is the client
//! ```
//!
//! Invariant: what a peer says about another address is believed only while every address between
//! that one and the socket is a trusted proxy's; so a client can choose nobody's address but those
//! behind its own, if the proxies set or remove both headers: one that sets `X-Real-IP` alone hands
//! on an `X-Forwarded-For` that the client wrote, and that one comes first.
#![forbid(unsafe_code)]

mod forwarded;
mod fuzz;
mod introduction;
mod other_end;
mod proxy_header;
mod shown;

pub use forwarded::{SocketPeer, TrustedProxies};
pub use fuzz::fuzz_proxy_header;
pub use introduction::{INTRODUCTION_BYTES, Introduction};
pub use other_end::OtherEnd;
pub use proxy_header::{ProxyHeader, ProxyHeaderError};
pub use shown::Shown;
