//! RFC 6455 §4, the opening handshake: HTTP/1.1 heads to a verdict, and the answers to it.
//!
//! ```text
//!   server: bytes ─▶ HeadScanner ─▶ RequestHead ─▶ check_upgrade ─▶ write_switching_protocols
//!                         └──────────────┴── a fault ─────┴───────▶ Refusal::write, then close
//!   client: write_request ─▶ … ─▶ HeadScanner ─▶ ResponseHead ─▶ check_response
//! ```
//!
//! Invariants: every byte of a head is looked at a fixed number of times, whatever it says; a 101
//! is written only when every check has passed; no text from outside reaches an answer with a
//! line break in it; nothing is allocated but the caller's output.

pub mod answer;
pub mod client;
pub mod fields;
pub mod origin;
pub mod request;
pub mod scan;
pub mod server;

#[cfg(test)]
mod oracle;

pub use answer::{WriteError, write_refusal, write_switching_protocols};
pub use client::{ResponseFault, ResponseHead, check_response, client_key, write_request};
pub use fields::is_token;
pub use origin::{AllowedOrigins, BadOrigin, MissingOrigin};
pub use request::RequestHead;
pub use scan::{HeadError, HeadScanner};
pub use server::{Refusal, Upgrade, check_upgrade};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Bytes of a `Sec-WebSocket-Key`: 16 random bytes in base64.
pub const KEY_BYTES: usize = 24;

/// Bytes of a `Sec-WebSocket-Accept`: a SHA-1 in base64.
pub const ACCEPT_BYTES: usize = 28;

/// The only version that RFC 6455 defines (§4.1).
const VERSION: &str = "13";

/// What §1.3 has both ends append to the key: a server that echoes does not know it.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers `key` (§4.2.2).
pub fn accept_key(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    let written = STANDARD.encode_slice(hash, &mut accept).expect("20 bytes are 28 in base64");
    debug_assert_eq!(written, ACCEPT_BYTES);
    accept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gets_the_accept_of_the_rfc() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
