//! Connection tokens, signed here and not by the server's code.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The key that the servers under test verify them with.
pub(crate) const KEY: &str = "a key for measuring";

/// A token of this user, who may stay for ever.
pub(crate) fn of_user(user: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}"}}"#));
    let signed = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("a key").chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
