//! Tokens for tests, signed here and not by the server's code.
#![allow(dead_code)] // each property uses a part of it

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

pub(crate) const KEY: &str = "a key of tests";

/// A JWT of these claims, signed with [`KEY`].
pub(crate) fn token(claims: &Value) -> String {
    token_by(KEY, claims)
}

pub(crate) fn token_by(key: &str, claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key").chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Seconds since the Unix epoch, this long from now.
pub(crate) fn in_time(life: Duration) -> u64 {
    (SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set") + life).as_secs()
}
