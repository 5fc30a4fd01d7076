//! Connection tokens, one for each session: HS256, as a back end makes them (14).
#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Digits of a user's id: as long as those of most databases.
const USER_DIGITS: usize = 24;

/// Makes the tokens of one run.
#[derive(Clone)]
pub struct Tokens {
    keyed: Hmac<Sha256>,
    header: String,
}

impl Tokens {
    /// Tokens signed with the key that the server checks them with.
    pub fn new(key: &str) -> Self {
        let keyed = Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        Self { keyed, header: URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#) }
    }

    /// The token of session `number`, whose user nobody else is. It never expires.
    pub fn of(&self, number: u32) -> String {
        let claims = format!(r#"{{"sub":"{}"}}"#, user(number));
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.keyed.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The user of session `number`.
pub(super) fn user(number: u32) -> String {
    format!("{number:0USER_DIGITS$}")
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_that_of_its_number_and_of_its_key() {
        // HMAC of the same text by Python's hmac and hashlib.
        let token = Tokens::new("secret").of(7);
        let expected = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                        eyJzdWIiOiIwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDcifQ.\
                        DMILNx8z_JK3EbZTQYemrTYoruvB6Jye1wAGyVnjBRI";
        assert_eq!(token, expected);
        assert_ne!(Tokens::new("secret").of(8), token);
        assert_ne!(Tokens::new("other").of(7), token);
    }
}
