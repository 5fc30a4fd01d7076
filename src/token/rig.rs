//! Tokens for tests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The key that the tokens of tests are signed with.
pub(crate) const KEY: &[u8] = b"a key of tests";

/// These claims as a token that [`KEY`] has signed.
pub(crate) fn signed(claims: &str) -> String {
    signed_with(KEY, r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

pub(crate) fn signed_with(key: &[u8], header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(&token);
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
