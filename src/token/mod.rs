//! Pure: JWTs that say who a client is and what it may do (14). Text in, claims out.
//!
//! ```text
//!   token ─▶ header: HS256? ─▶ signature ─▶ claims: from whom, for whom, when ─▶ ConnectionToken
//! ```
//!
//! Invariant: no claim is looked at before the signature is known to be right. The algorithm is
//! the server's choice, and never the token's: a token that names another one is refused.
#![forbid(unsafe_code)]

mod claims;
mod error;
#[cfg(test)]
pub(crate) mod rig;
mod rules;
mod subscriptions;

pub use claims::ConnectionToken;
pub use error::TokenError;
pub use rules::{HmacKey, TokenRules};
pub use subscriptions::{Claimed, Override, Overrides};
