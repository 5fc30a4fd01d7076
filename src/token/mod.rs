//! Pure: JWTs that say who a client is and what it may do (14). Text in, claims out.
//!
//! ```text
//!   token ─▶ Jwt ─▶ HMAC? ─ here ──────────────────▶ signature is right ─▶ claims: from whom,
//!                      └─── public key? elsewhere ────────┘                for whom, when
//! ```
//!
//! Signatures by public keys take some ten times as long as the rest, so they are checked where
//! nobody waits but the client; whoever has checked says so by the token's [`Fingerprint`].
//!
//! Invariants: no claim is looked at before the signature is known to be right. Which algorithms
//! there are is the server's choice, and never the token's, and each has keys of its own type.
#![forbid(unsafe_code)]

mod algorithm;
mod claims;
mod error;
mod expected;
mod hmac_key;
mod jwt;
mod key_set;
mod known;
mod public_key;
mod purpose;
mod revoked;
#[cfg(test)]
pub(crate) mod rig;
mod rules;
mod subscriptions;

pub use algorithm::{Algorithm, Digest, PublicAlgorithm};
pub use claims::{ConnectionToken, SubscriptionToken};
pub use error::TokenError;
pub use expected::Expected;
pub use hmac_key::HmacKey;
pub use jwt::{Fingerprint, Jwt, SignedClaims};
pub use key_set::{Found, KeySet, KeySetError};
pub use known::Known;
pub use public_key::{KeyError, PublicKey};
pub use purpose::Purpose;
pub use revoked::{RevocationsFull, Revoked, TokenMarks};
pub use rules::{Check, TokenRules};
pub use subscriptions::{Claimed, Override, Overrides};

#[cfg(test)]
mod tests;
