//! `client.token`: how the tokens of clients are verified.

use std::path::PathBuf;

use crate::config::section::section;
use crate::config::setting::Secret;

section! {
    /// How the tokens of clients are verified.
    pub struct Token in "client.token." {
        /// The key that a back end signs connection tokens with: JWTs of the algorithm HS256.
        /// Without it, and without the previous one, a client that brings a token is refused.
        hmac_secret_key: Secret = Secret::default();
        /// A file with the key in it, in place of `client.token.hmac_secret_key`.
        hmac_secret_key_file: PathBuf = PathBuf::new();
        /// The key before the present one, so that tokens signed with it are still taken.
        hmac_previous_secret_key: Secret = Secret::default();
        /// A file with the previous key in it, in place of
        /// `client.token.hmac_previous_secret_key`.
        hmac_previous_secret_key_file: PathBuf = PathBuf::new();
        /// Until when the previous key is taken, in seconds since 1970; 0 sets no end.
        hmac_previous_secret_key_valid_until: u32 = 0;
        /// What a token must name in its claim `aud`. Empty for anything.
        audience: String = String::new();
        /// What the claim `iss` of a token must be. Empty for anything.
        issuer: String = String::new();
        /// The claim with the user's id. Empty for `sub`.
        user_id_claim: String = String::new();
    }
}
